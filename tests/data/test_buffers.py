"""Buffers: memory is used again when nothing refers to it."""

from __future__ import annotations

import torch

from gnnkit.data._buffers import Buffers


def test_buffers_are_used_again_when_nothing_refers_to_them() -> None:
    buffers = Buffers(keep=2)
    first = buffers.take((1000, 4), torch.float32)
    place, view = first.data_ptr(), first[3:, 1]
    assert place % 128 == 0
    del first
    assert buffers.take((1000, 4), torch.float32).data_ptr() != place  # the view is alive
    del view
    assert buffers.take((900, 4), torch.float32).data_ptr() == place
    for dtype in (torch.bool, torch.bfloat16, torch.int64):
        assert buffers.take((0, 3), dtype).shape == (0, 3)
        assert buffers.take((5000, 1), dtype).dtype == dtype
    held = [buffers.take((size,), torch.uint8) for size in range(40_000, 60_000, 1000)]
    assert len(buffers.pieces[2**16]) == len(held) == 20
    del held
    assert len(buffers.take((70_000,), torch.uint8)) == 70_000
    assert len(buffers.pieces[2**16]) == 2  # when sizes change, no more than that are kept free
