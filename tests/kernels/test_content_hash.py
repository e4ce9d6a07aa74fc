"""content_hash: both backends agree, and any difference shows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnkit.kernels import content_hash

DTYPES = [torch.int32, torch.int64, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 7, (1 << 15) - 1, 1 << 15, (1 << 15) + 1, 100_003])
def test_backends_agree(count: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    x = (torch.randn(count, generator=torch.Generator().manual_seed(0)) * 1e5).to(dtype)
    found = []
    for name in ("torch", "numba"):
        monkeypatch.setenv("GNNKIT_BACKEND", name)
        found.append(content_hash(x))
    assert found[0] == found[1]
    assert 0 <= found[0] < 2**128


def test_threads_do_not_change_it() -> None:
    x = torch.arange(500_000)
    before = torch.get_num_threads()
    found = set()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.add(content_hash(x))
    torch.set_num_threads(before)
    assert len(found) == 1


def changes(x: Tensor) -> dict[str, Tensor]:
    """Small edits of a tensor."""
    swapped, first, last, bit = x.clone(), x.clone(), x.clone(), x.clone()
    swapped[[3, 4]] = x[[4, 3]]
    first[0] += 1
    last[-1] += 1
    bit.view(torch.uint8)[8 * 11] ^= 1
    shifted = torch.cat([x[1:], x[:1]])
    return {"swap": swapped, "first": first, "last": last, "bit": bit, "shift": shifted, "flip": x.flip(0)}


@pytest.mark.parametrize("change", ["swap", "first", "last", "bit", "shift", "flip"])
def test_every_edit_shows(change: str, backend: str) -> None:
    x = torch.randint(1000, (1000,), generator=torch.Generator().manual_seed(0))
    x[3], x[4] = 1, 2
    assert content_hash(changes(x)[change]) != content_hash(x)


def test_no_collision_among_many_small_graphs() -> None:
    graphs = torch.cartesian_prod(*[torch.arange(4)] * 6)
    assert len({content_hash(graph.reshape(2, 3)) for graph in graphs}) == len(graphs)


def test_strides_do_not_matter_and_row_major_order_does() -> None:
    x = torch.arange(12).reshape(3, 4)
    assert content_hash(x.t()) == content_hash(x.t().contiguous())
    assert content_hash(x.t()) != content_hash(x)


def test_signs_and_zeros_are_bits() -> None:
    assert content_hash(torch.tensor([0.0])) != content_hash(torch.tensor([-0.0]))
    assert content_hash(torch.tensor([1])) != content_hash(torch.tensor([-1]))


@pytest.mark.parametrize("wrong", [None, [1, 2], torch.ones(2, dtype=torch.bfloat16), torch.eye(2).to_sparse()])
def test_refuses_what_it_cannot_read(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"x: expected an int32, int64, float32 or float64 tensor \(got"):
        content_hash(wrong)  # type: ignore[arg-type]
