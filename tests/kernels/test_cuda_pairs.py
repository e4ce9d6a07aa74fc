"""On a GPU the sets of neighbours of pairs are what they are on the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnkit.datasets.synthetic import power_law
from gnnkit.kernels import common_neighbors
from gnnkit.links import LinkGraph

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def _our_kernels() -> None:
    pytest.importorskip("cupy", reason="needs cupy: pip install 'gnnkit[cuda13]'")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_common_neighbors(dtype: torch.dtype, masked: bool) -> None:
    adj = LinkGraph.from_edges(power_law(2_000, 40_000), 2_000).adj
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(2_000, (2, 5_000), generator=generator)
    keep = torch.rand(adj.num_edges, generator=generator) < 0.7 if masked else None

    def found(device: str) -> list[Tensor]:
        tensors = (adj.indptr, adj.indices.to(dtype), pairs)
        given = None if keep is None else keep.to(device)
        sets = common_neighbors(*(tensor.to(device) for tensor in tensors), keep=given)
        return [part for each in sets if each is not None for part in each if part is not None]

    for ours, theirs in zip(found("cuda"), found("cpu"), strict=True):
        assert ours.device.type == "cuda"
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours.cpu(), theirs)
