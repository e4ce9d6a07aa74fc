"""Random numbers by what they are for."""

from __future__ import annotations

import torch
from oracle import seeded

from gnnkit.pipeline._keys import Keyed, key


def test_keys_are_those_documented() -> None:
    """SplitMix64 from 0: the first outputs of its reference implementation are those of parts 0 and 0, 0."""
    assert key(0) == 0xE220A8397B1DCDAF
    seeded(3, -1, 2, 5, 0, 1)
    expected = torch.rand(4)
    keyed = Keyed(3, torch.device("cpu"))
    keyed.epoch = -1
    keyed.at(2, 5, 0, 1)
    assert torch.equal(torch.rand(4), expected)


def test_no_two_pieces_of_work_share_a_key() -> None:
    keys = {
        key(seed, epoch, layer, chunk, way, phase)
        for seed in range(2)
        for epoch in range(-1, 3)
        for layer in range(5)
        for chunk in range(6)
        for way in range(3)
        for phase in range(4)
    }
    assert len(keys) == 2 * 4 * 5 * 6 * 3 * 4


def test_users_generator_goes_on() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    keyed = Keyed(1, torch.device("cpu"))
    with keyed.leave_alone():
        keyed.at(0, 0, 0, 0)
        torch.rand(7)
    assert torch.equal(torch.rand(2), expected)
