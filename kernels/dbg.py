import sys, copy, torch, traceback
sys.path.insert(0,'/work/main/tests/accelerate')
import test_all_convs as T
import gnnkit
from gnnkit._accelerate import _layer
orig=_layer.FastLayer._pending_first
def pf(self, run):
    try: return run(pending=True)
    except Exception:
        traceback.print_exc()
        tb=sys.exc_info()[2]
        while tb.tb_next: tb=tb.tb_next
        f=tb.tb_frame.f_back; print([(type(p), getattr(p,'is_pending',None), p.shape, getattr(p,'table',p).shape) for p in f.f_locals.get('parts',[])], [ (type(p), p.is_pending, p._grad_enabled) for p in f.f_locals['self'].parts if hasattr(p,'is_pending')], torch.is_grad_enabled())

    return run(pending=False)
_layer.FastLayer._pending_first=pf
for name in sys.argv[1:]:
    make,names=T.CASES[name]
    torch.manual_seed(0)
    plain=make().double(); fast=gnnkit.accelerate(copy.deepcopy(plain))
    for s,e,t in ((0,30,True),(1,12,True),(2,60,True)):
        T.outcome(fast.train(t),names,s,e)
