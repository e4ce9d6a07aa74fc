"""On a GPU the operations give what they give on the CPU, forward and backward; what the emulator cannot tell."""

from __future__ import annotations

import pytest
import torch

from gnnkit import Adjacency
from gnnkit.kernels import (
    backend_name,
    content_hash,
    gat_attention,
    gather_rows,
    gatv2_attention,
    group_by,
    sddmm,
    segment_reduce,
    segment_softmax,
    spmm,
    spmm_scaled,
)

pytestmark = pytest.mark.cuda
NUM_SRC, NUM_DST, NUM_EDGES = 50, 40, 3000  # the first destination is a hub, cut into chunks


@pytest.fixture(autouse=True)
def _our_kernels() -> None:
    pytest.importorskip("cupy", reason="needs cupy: pip install 'gnnkit[cuda13]'")


@pytest.fixture
def adj() -> Adjacency:
    torch.manual_seed(0)
    dst = torch.cat([torch.zeros(2000, dtype=torch.int64), torch.randint(NUM_DST, (NUM_EDGES - 2000,))])
    return Adjacency.from_edge_index(torch.stack([torch.randint(NUM_SRC, (NUM_EDGES,)), dst]), (NUM_SRC, NUM_DST))


def on_both(function, *tensors):
    """Return outputs and gradients of a function on the CPU and on the GPU."""
    results = []
    for device in ("cpu", "cuda"):
        inputs = [t.to(device).requires_grad_(t.is_floating_point()) for t in tensors]
        out = function(*inputs)
        grads = torch.autograd.grad(out.square().sum(), [t for t in inputs if t.requires_grad])
        results.append([t.cpu() for t in (out, *grads)])
    return results


def test_cuda_tensors_are_served_by_our_kernels():
    assert backend_name(torch.ones(1, device="cuda")) == "cupy"


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("depth", [8, 9])
def test_spmm(adj, reduce, weighted, depth):
    x, values = torch.randn(NUM_SRC, 2, depth, dtype=torch.float64), torch.randn(NUM_EDGES, 2, dtype=torch.float64)
    tensors = (adj.indptr, adj.indices, x, *([values] if weighted else []))
    cpu, gpu = on_both(lambda i, j, x, *v: spmm(i, j, x, *v, reduce=reduce), *tensors)
    torch.testing.assert_close(cpu, gpu)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_halves_are_added_in_float32(adj, dtype, reduce):
    x, values = torch.rand(NUM_SRC, 2, 8, dtype=dtype), torch.rand(NUM_EDGES, 2, dtype=dtype)
    expected = spmm(adj.indptr, adj.indices, x.double(), values.double(), reduce)
    out = spmm(adj.indptr.cuda(), adj.indices.cuda(), x.cuda(), values.cuda(), reduce)
    assert out.dtype == dtype
    torch.testing.assert_close(out.cpu().double(), expected, rtol=8e-3, atol=1e-3)


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_the_measured_choice_changes_no_result(adj, reduce, monkeypatch):
    args = adj.indptr.cuda(), adj.indices.cuda(), torch.randn(NUM_SRC, 16, device="cuda")
    expected = spmm(*args, reduce=reduce)
    monkeypatch.setenv("GNNKIT_SPMM", "measured")
    for _ in range(2):
        torch.testing.assert_close(spmm(*args, reduce=reduce), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [8, 9])
def test_spmm_scaled(adj, depth):
    shapes = (NUM_SRC, 2, depth), (NUM_SRC,), (NUM_DST,), (NUM_EDGES,)
    tensors = (torch.randn(*shape, dtype=torch.float64) for shape in shapes)
    torch.testing.assert_close(*on_both(spmm_scaled, adj.indptr, adj.indices, *tensors))


def test_sddmm(adj):
    a, b = torch.randn(NUM_DST, 2, 9, dtype=torch.float64), torch.randn(NUM_SRC, 2, 9, dtype=torch.float64)
    torch.testing.assert_close(*on_both(sddmm, adj.indptr, adj.indices, a, b))


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
def test_segments(adj, reduce):
    logits = torch.randn(NUM_EDGES, 3, dtype=torch.float64)
    torch.testing.assert_close(*on_both(lambda x, i: segment_reduce(x, i, reduce), logits, adj.indptr))
    torch.testing.assert_close(*on_both(segment_softmax, logits, adj.indptr))


@pytest.mark.parametrize("version", ["gat", "gatv2"])
def test_attention(adj, version):
    x, z = torch.randn(NUM_SRC, 4, 8, dtype=torch.float64), torch.randn(NUM_DST, 4, 8, dtype=torch.float64)
    edge, mask = torch.randn(NUM_EDGES, 4, dtype=torch.float64), torch.rand(NUM_EDGES, 4, dtype=torch.float64).round()
    inputs = (x, x[..., 0].clone(), z[..., 0].clone(), edge) if version == "gat" else (x, z, z[0].clone())
    attention = gat_attention if version == "gat" else gatv2_attention

    def layer(indptr, indices, *tensors):
        return attention(indptr, indices, *tensors, mask=mask.to(indptr.device))

    torch.testing.assert_close(*on_both(layer, adj.indptr, adj.indices, *inputs))


def test_twenty_runs_give_the_same_bits(adj):
    x = torch.randn(NUM_SRC, 33, device="cuda", requires_grad=True)
    csr = adj.indptr.cuda(), adj.indices.cuda()

    def run():
        out = spmm(*csr, x, reduce="sum") + spmm(*csr, x, reduce="max")
        return out, *torch.autograd.grad(out.square().sum(), x)

    first = run()
    assert all(torch.equal(a, b) for _ in range(20) for a, b in zip(run(), first, strict=True))


@pytest.mark.parametrize("width", [7, 64, 300, 602])
def test_gather_rows_result_lives_where_the_ids_do(width):
    table, ids = torch.randn(100, width), torch.randint(100, (30,))
    pinned = table.pin_memory()
    for source in (pinned, table, table.cuda()):
        out = gather_rows(source, ids.cuda())
        assert out.device.type == "cuda"
        assert torch.equal(out.cpu(), table[ids])
    torch.testing.assert_close(*on_both(gather_rows, table, ids))


def test_pinned_memory_is_kept_until_it_has_been_read():
    ids, expected = torch.randint(20_000, (100_000,), device="cuda"), torch.arange(20_000.0)
    for _ in range(20):
        out = gather_rows(expected.expand(256, -1).t().contiguous().pin_memory(), ids)
        torch.zeros(20_000, 256).pin_memory()  # would take the place of the table, if that were free
        assert torch.equal(out[:, 0], ids.float())


def test_work_is_queued_on_the_current_stream(adj):
    csr, x = (adj.indptr.cuda(), adj.indices.cuda()), torch.ones(NUM_SRC, 4, device="cuda")
    expected = spmm(*csr, x)
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        late = torch.zeros_like(x)
        torch.cuda._sleep(100_000_000)
        late += x
        out = spmm(*csr, late)  # on another stream it would not see the ones
    assert not stream.query()  # and nothing has waited
    stream.synchronize()
    assert torch.equal(out, expected)


def test_a_call_can_be_captured_in_a_graph(adj):
    """What can be captured neither waits for the device nor copies to the host."""
    csr, x = (adj.indptr.cuda(), adj.indices.cuda()), torch.ones(NUM_SRC, 4, device="cuda")
    expected = [spmm(*csr, x, reduce=reduce) for reduce in ("sum", "max")]
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = [spmm(*csr, x, reduce=reduce) for reduce in ("sum", "max")]
    graph.replay()
    torch.cuda.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(out, expected, strict=True))


def test_group_by_hash_and_adjacency(adj):
    keys = torch.randint(9, (100,))
    for cpu, gpu in zip(group_by(keys, 9), group_by(keys.cuda(), 9), strict=True):
        assert torch.equal(cpu, gpu.cpu())
    assert content_hash(keys) == content_hash(keys.cuda())
    moved = adj.to("cuda")
    x = torch.randn(NUM_SRC, 4, dtype=torch.float64)
    torch.testing.assert_close(moved.spmm(x.cuda()).cpu(), adj.spmm(x))
    assert torch.equal(moved.to_edge_index().cpu(), adj.to_edge_index())


def test_a_wrong_index_is_nan_and_on_request_an_error(adj, monkeypatch):
    indices = adj.indices.clone()
    indices[-1] = NUM_SRC
    args = adj.indptr.cuda(), indices.cuda(), torch.ones(NUM_SRC, 4, device="cuda")
    out = spmm(*args)
    assert out.isnan().any(1).sum() == 1
    monkeypatch.setenv("GNNKIT_CHECK", "1")
    with pytest.raises(ValueError, match="indices: expected ids"):
        spmm(*args)
