"""What torch does with modules works with accelerated layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv, MessagePassing, SAGEConv
from usual_layers import EDGES, X, fast_copy, ran

from gnnkit._accelerate._layer import FastLayer


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(plain: MessagePassing, dynamic: bool) -> None:
    layer = fast_copy(plain)
    compiled = torch.compile(layer, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    torch.testing.assert_close(compiled(X, EDGES), plain(X, EDGES))
    compiled(X, EDGES).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_script(plain: MessagePassing) -> None:
    if isinstance(plain, GATConv | GATv2Conv):
        pytest.skip("PyG's own attention layers do not compile as TorchScript")
    layer = fast_copy(plain)
    scripted = torch.jit.script(layer)
    torch.testing.assert_close(scripted(X, EDGES), plain(X, EDGES))
    assert isinstance(layer, FastLayer)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_trace_bakes_no_graph_in() -> None:
    plain = SAGEConv(3, 4)
    traced = torch.jit.trace(fast_copy(plain), (X, EDGES))
    other = EDGES.flip(0).contiguous()
    torch.testing.assert_close(traced(X, other), plain(X, other))


def test_functional_transforms(plain: MessagePassing) -> None:
    layer = fast_copy(plain)
    parameters = dict(layer.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(layer, parameters, (x, EDGES)).square().sum()

    grads = torch.func.grad(loss)(parameters, X)
    layer(X, EDGES).square().sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(grads[name], parameter.grad)
    _, derivative = torch.func.jvp(lambda x: layer(x, EDGES), (X,), (torch.ones_like(X),))
    assert derivative.shape == layer(X, EDGES).shape


def test_autocast(plain: MessagePassing) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, expected = fast_copy(plain)(X, EDGES), plain(X, EDGES)
    assert out.dtype == expected.dtype
    torch.testing.assert_close(out, expected, rtol=0.02, atol=0.02)


def test_half_precision_is_left_to_pyg() -> None:
    plain = SAGEConv(3, 4).bfloat16()
    x = X.bfloat16()
    torch.testing.assert_close(fast_copy(plain)(x, EDGES), plain(x, EDGES), rtol=0.02, atol=0.02)


def test_activation_checkpointing(plain: MessagePassing) -> None:
    layer = fast_copy(plain)
    x = X.clone().requires_grad_()
    torch.utils.checkpoint.checkpoint(layer, x, EDGES, use_reentrant=False).square().sum().backward()
    y = X.clone().requires_grad_()
    plain(y, EDGES).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_distributed_data_parallel(plain: MessagePassing, tmp_path: Path, kernel_calls: list[int]) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(fast_copy(plain))
        parallel(X, EDGES).square().sum().backward()
        plain(X, EDGES).square().sum().backward()
        assert ran(kernel_calls)
        for a, b in zip(parallel.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad)
    finally:
        torch.distributed.destroy_process_group()
