"""On a GPU the operations give what they give on the CPU, forward and backward."""

import pytest
import torch

from gnnkit import Adjacency
from gnnkit.kernels import gather_rows, group_by, sddmm, segment_reduce, segment_softmax, spmm

pytestmark = pytest.mark.cuda
NUM_SRC, NUM_DST, NUM_EDGES = 50, 40, 300


@pytest.fixture
def adj() -> Adjacency:
    torch.manual_seed(0)
    edge_index = torch.stack([torch.randint(NUM_SRC, (NUM_EDGES,)), torch.randint(NUM_DST, (NUM_EDGES,))])
    return Adjacency.from_edge_index(edge_index, (NUM_SRC, NUM_DST))


def on_both(function, *tensors):
    """Return outputs and gradients of a function on the CPU and on the GPU."""
    results = []
    for device in ("cpu", "cuda"):
        inputs = [t.to(device).requires_grad_(t.is_floating_point()) for t in tensors]
        out = function(*inputs)
        grads = torch.autograd.grad(out.square().sum(), [t for t in inputs if t.requires_grad])
        results.append([t.cpu() for t in (out, *grads)])
    return results


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize("weighted", [False, True])
def test_spmm(adj, reduce, weighted):
    x, values = torch.randn(NUM_SRC, 2, 9), torch.randn(NUM_EDGES, 2)
    tensors = (adj.indptr, adj.indices, x, *([values] if weighted else []))
    cpu, gpu = on_both(lambda i, j, x, *v: spmm(i, j, x, *v, reduce=reduce), *tensors)
    torch.testing.assert_close(cpu, gpu)


def test_sddmm(adj):
    a, b = torch.randn(NUM_DST, 2, 9), torch.randn(NUM_SRC, 2, 9)
    torch.testing.assert_close(*on_both(sddmm, adj.indptr, adj.indices, a, b))


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
def test_segments(adj, reduce):
    logits = torch.randn(NUM_EDGES, 3)
    torch.testing.assert_close(*on_both(lambda x, i: segment_reduce(x, i, reduce), logits, adj.indptr))
    torch.testing.assert_close(*on_both(segment_softmax, logits, adj.indptr))


def test_gather_rows_result_lives_where_the_ids_do():
    table, ids = torch.randn(100, 7), torch.randint(100, (30,))
    pinned = table.pin_memory()
    assert gather_rows(pinned, ids.cuda()).device.type == "cuda"
    torch.testing.assert_close(gather_rows(pinned, ids.cuda()).cpu(), table[ids])
    torch.testing.assert_close(*on_both(gather_rows, table, ids))


def test_group_by_and_adjacency(adj):
    keys = torch.randint(9, (100,))
    for cpu, gpu in zip(group_by(keys, 9), group_by(keys.cuda(), 9), strict=True):
        assert torch.equal(cpu, gpu.cpu())
    moved = adj.to("cuda")
    x = torch.randn(NUM_SRC, 4)
    torch.testing.assert_close(moved.spmm(x.cuda()).cpu(), adj.spmm(x))
    assert torch.equal(moved.to_edge_index().cpu(), adj.to_edge_index())


def test_a_wrong_index_is_an_error(adj):
    with pytest.raises(ValueError, match="indices: expected ids"):
        spmm(adj.indptr.cuda(), (adj.indices + 1).cuda(), torch.randn(NUM_SRC, 4).cuda())
