"""On a GPU the kernels of the data layer give what they give on the CPU, from device and from pinned memory."""

from __future__ import annotations

import pytest
import torch

from gnnkit.kernels import gather_cached, gather_rows, relabel, sample_hops, sample_neighbors
from gnnkit.kernels._backend import backend

pytestmark = pytest.mark.cuda
NUM_NODES, NUM_EDGES = 500, 20_000


@pytest.fixture(autouse=True)
def _our_kernels() -> None:
    pytest.importorskip("cupy", reason="needs cupy: pip install 'gnnkit[cuda13]'")


@pytest.fixture
def graph() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pointers, indices and running sums of weights; the first row is a hub."""
    torch.manual_seed(0)
    dst = torch.cat([torch.zeros(5000, dtype=torch.int64), torch.randint(NUM_NODES, (NUM_EDGES - 5000,))])
    degrees = torch.bincount(dst, minlength=NUM_NODES)
    indices = torch.randint(NUM_NODES, (NUM_EDGES,), dtype=torch.int32)
    sums = [row.cumsum(0) for row in torch.rand(NUM_EDGES, dtype=torch.float64).split(degrees.tolist())]
    return torch.cat([degrees.new_zeros(1), degrees.cumsum(0)]), indices, torch.cat(sums)


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("fanout", [-1, 3, 10, 40])
def test_sample_neighbors(graph, fanout, replace, weighted, pinned):
    indptr, indices, sums = graph
    sums = sums if weighted else None
    for key in (0, 2**63 + 5):
        cpu = sample_neighbors(indices, indptr[:-1], indptr[1:], fanout, key, replace=replace, cumulative=sums)
        tables = [None if t is None else t.pin_memory() if pinned else t.cuda() for t in (indices, sums)]
        rows = indptr[:-1].cuda(), indptr[1:].cuda()
        gpu = sample_neighbors(tables[0], *rows, fanout, key, replace=replace, cumulative=tables[1])
        for ours, theirs in zip(gpu, cpu, strict=True):
            assert ours.device.type == "cuda"
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours.cpu(), theirs)


@pytest.mark.parametrize("pinned", [False, True])
def test_sample_hops(graph, pinned):
    indptr, indices, _ = graph
    seeds = torch.randperm(NUM_NODES)[:20]
    cpu = sample_hops(indptr, indices, seeds, [10, 5], [1, 2**64 - 1])
    tables = (t.pin_memory() if pinned else t.cuda() for t in (indptr, indices))
    gpu = sample_hops(*tables, seeds.cuda(), [10, 5], [1, 2**64 - 1])
    assert all(torch.equal(ours.cpu(), theirs) for ours, theirs in zip(gpu[:4], cpu[:4], strict=True))
    assert gpu[4:] == cpu[4:]


def test_a_wrong_range_and_a_wrong_id_are_errors(graph):
    _, indices, _ = graph
    ends = torch.tensor([5, NUM_EDGES + 1], device="cuda")
    with pytest.raises(ValueError, match="starts and ends"):
        sample_neighbors(indices.cuda(), torch.zeros_like(ends), ends, 3, 0)
    local = torch.full((5,), -1, dtype=torch.int32, device="cuda")
    with pytest.raises(ValueError, match=r"^ids: .*\(got 5\)$"):
        relabel(local, 0, torch.tensor([1, 5], device="cuda"))
    assert local.eq(-1).all()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_relabel(dtype):
    tables = [torch.full((100_000,), -1, dtype=torch.int32, device=device) for device in ("cpu", "cuda")]
    known = 0
    for size in (1000, 200_000, 50_000):
        ids = torch.randint(100_000, (size,), dtype=dtype)
        cpu, gpu = relabel(tables[0], known, ids), relabel(tables[1], known, ids.cuda())
        for ours, theirs in zip((*gpu, tables[1]), (*cpu, tables[0]), strict=True):
            assert torch.equal(ours.cpu(), theirs)
        known += len(cpu[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8], ids=str)
@pytest.mark.parametrize("width", [7, 64, 300, 602, 1024])
def test_rows_in_the_order_of_their_ids(width, dtype):
    table, ids = torch.randint(100, (3000, width)).to(dtype), torch.randint(3000, (5000,)).cuda()
    for source in (table.pin_memory(), table.pin_memory()[1:], table.cuda()):
        ids = ids.clamp(max=len(source) - 1)
        out = torch.zeros(5000, width, dtype=dtype, device="cuda")
        backend(ids).gather_rows(source, ids, out, ids.argsort())
        assert torch.equal(out, source.cuda()[ids])
        assert torch.equal(gather_rows(source, ids), out)


@pytest.mark.parametrize("width", [7, 300, 602])
def test_gather_cached(width):
    lines, staged = torch.randn(100, width, device="cuda"), torch.randn(50, width)
    where = torch.randint(-50, 100, (1000,), device="cuda")
    expected = torch.cat([staged.flip(0).cuda(), lines])[where + 50]
    for table in (staged.pin_memory(), staged, staged.cuda()):
        assert torch.equal(gather_cached(lines, table, where), expected)
    assert gather_cached(lines, staged.cuda(), torch.tensor([100], device="cuda")).isnan().all()
