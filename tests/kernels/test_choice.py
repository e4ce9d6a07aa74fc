"""Our sum or the library's: by a clock that the tests hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gnnkit.kernels import _choice, _cupy, _torch

INDPTR, INDICES = torch.tensor([0, 2, 2, 5]), torch.tensor([1, 0, 3, 1, 1], dtype=torch.int32)


class Clock:
    """Runs what it times, and reads the seconds off the name that the way returns."""

    def __init__(self, seconds: dict[str, list[float]]) -> None:
        self.seconds = seconds
        self.timed: list[str] = []

    def __call__(self, way: Callable[[], Tensor]) -> float:
        name = str(way())
        self.timed.append(name)
        taken = self.seconds[name]
        return taken.pop(0) if len(taken) > 1 else taken[0]


def ways(*names: str) -> dict[str, Callable[[], str]]:
    return {name: lambda name=name: name for name in names}  # type: ignore[misc]


def test_the_fastest_is_measured_once_and_remembered() -> None:
    clock = Clock({"a": [2.0], "b": [1.0]})
    choice = _choice.Choice(clock)
    assert [choice.run("key", ways("a", "b")) for _ in range(3)] == ["b", "b", "b"]
    assert clock.timed == ["a", "b"] * _choice.ROUNDS  # interleaved, and not again


def test_every_key_is_measured_for_itself() -> None:
    choice = _choice.Choice(Clock({"a": [1.0], "b": [2.0]}))
    assert choice.run("small", ways("a", "b")) == "a"
    choice._seconds = Clock({"a": [2.0], "b": [1.0]})
    assert choice.run("large", ways("a", "b")) == "b"
    assert choice.run("small", ways("a", "b")) == "a"


def test_one_slow_round_does_not_decide() -> None:
    assert _choice.Choice(Clock({"a": [50.0, 1.0], "b": [2.0]})).run("key", ways("a", "b")) == "a"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A clock by which the library wins; what was run."""
    ran: list[str] = []
    monkeypatch.setenv("GNNKIT_SPMM", "measured")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)

    def spy(name: str, way: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(*args: Tensor) -> Tensor:
            ran.append(name)
            return way(*args)

        return run

    monkeypatch.setattr(_cupy, "_spmm", spy("ours", _torch.spmm))
    monkeypatch.setattr(_choice, "by_library", spy("library", _choice.by_library))

    def seconds(way: Callable[[], Tensor]) -> float:
        way()
        return 1.0 if ran[-1] == "library" else 2.0

    monkeypatch.setattr(_choice, "_choice", _choice.Choice(seconds))
    return ran


@pytest.mark.parametrize("ids", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_the_library_gives_what_the_reference_gives(
    clock: list[str], reduce: str, weighted: bool, ids: torch.dtype
) -> None:
    draw = torch.Generator().manual_seed(0)
    x, values = torch.randn(4, 1, 3, generator=draw), torch.randn(5, 1, generator=draw) if weighted else None
    args = INDPTR, INDICES.to(ids), x, values, reduce
    _cupy.spmm(*args)
    clock.clear()
    torch.testing.assert_close(_cupy.spmm(*args), _torch.spmm(*args))
    assert clock == ["library"]


def test_what_the_library_does_not_serve_goes_our_way(clock: list[str]) -> None:
    for x, reduce in (
        (torch.ones(4, 1, 2), "max"),
        (torch.ones(4, 2, 2), "sum"),
        (torch.ones(4, 1, 2, dtype=torch.bfloat16), "sum"),
    ):
        _cupy.spmm(INDPTR, INDICES, x, None, reduce)
    _cupy.spmm(torch.tensor([0, 0]), INDICES[:0], torch.ones(4, 1, 2), None, "sum")
    assert clock == ["ours"] * 4


def test_nothing_is_measured_while_a_graph_is_captured(clock: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    args = INDPTR, INDICES, torch.ones(4, 1, 2), None, "sum"
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    _cupy.spmm(*args)
    assert clock == ["ours"]
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    _cupy.spmm(*args)
    clock.clear()
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    _cupy.spmm(*args)
    assert clock == ["library"]


def test_ours_unless_asked(clock: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    args = INDPTR, INDICES, torch.ones(4, 1, 2), None, "sum"
    for value in ("", "ours"):
        monkeypatch.setenv("GNNKIT_SPMM", value)
        _cupy.spmm(*args)
    assert clock == ["ours", "ours"]
    monkeypatch.setenv("GNNKIT_SPMM", "cusparse")
    with pytest.raises(ValueError, match=r"^GNNKIT_SPMM: expected ours or measured \(got 'cusparse'\)$"):
        _cupy.spmm(*args)
