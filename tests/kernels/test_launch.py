"""The one launcher, with CuPy and the device played: what a kernel is handed, on which stream; sources in one piece."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gnnkit.kernels import _launch, _walk


class OnGpu(torch.Tensor):
    """A tensor that says that it lies on the second GPU."""

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda", 1)


class CompileError(Exception):
    """CuPy's, played."""


class Event:
    """An event that is over when the test says so."""

    over = False

    def record(self, stream: object) -> None:
        pass

    def query(self) -> bool:
        return Event.over


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What was done, in order."""
    done: list[Any] = []

    def entering(name: str) -> Callable[..., Any]:
        @contextmanager
        def enter(*args: object) -> Iterator[None]:
            done.append((name, *args))
            yield

        return enter

    class RawModule:
        def __init__(self, code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]) -> None:
            done.append(("compile", code.splitlines()[0], options, name_expressions))

        def get_function(self, name: str) -> Callable[..., None]:
            if name == "wrong":
                raise CompileError("spmm.cu(3): error: first\nspmm.cu(9): error: last")
            return lambda grid, block, args, shared_mem: done.append(("launch", name, grid, block, args, shared_mem))

    cupy = SimpleNamespace(
        RawModule=RawModule,
        cuda=SimpleNamespace(
            Device=entering("cupy device"),
            ExternalStream=entering("stream"),
            compiler=SimpleNamespace(CompileException=CompileError),
        ),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(torch.cuda, "device", entering("torch device"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=77))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(Event, "over", False)
    _launch._function.cache_clear()
    _launch._reading.clear()
    yield done
    _launch._function.cache_clear()
    _launch._reading.clear()


def on_gpu(size: int) -> torch.Tensor:
    return torch.zeros(size).as_subclass(OnGpu)


def test_a_kernel_gets_addresses_and_numbers_of_64_bits_on_torchs_stream(calls: list[Any]) -> None:
    table = on_gpu(3)
    for _ in range(2):
        _launch.launch("spmm.cu", "spmm_sum<float, 4, false>", (5, 2), (table, 7, 0.5, None, -1), shared_bytes=96)
    compiled, *rest = (call for call in calls if call[0] in ("compile", "launch"))
    name = "spmm_sum<float, 4, false>"
    assert compiled == ("compile", '#line 1 "spmm.cu"', ("-std=c++17",), (name,))
    assert len(rest) == 2  # compiled once
    for call in rest:
        assert call == ("launch", name, (5, 2), (256,), (table.data_ptr(), 7, 0.5, 0, -1), 96)
        assert [type(value) for value in call[4]] == [np.uint64, np.int64, np.float64, np.int64, np.int64]
    assert [call for call in calls if call[0] not in ("compile", "launch")] == 2 * [
        ("torch device", torch.device("cuda", 1)),
        ("cupy device", 1),
        ("stream", 77, 1),
    ]


def test_nothing_is_launched_for_an_empty_grid(calls: list[Any]) -> None:
    for grid in ((0, 1), (1, 0)):
        _launch.launch("spmm.cu", "spmm_sum<float, 4, false>", grid, (on_gpu(3),))
    assert calls == []


def test_host_memory_is_kept_until_the_device_has_read_it(calls: list[Any]) -> None:
    host = torch.zeros(4)
    _launch.launch("gather.cu", "gather_rows<unsigned, 4>", (1, 1), (host, on_gpu(3)))
    assert [tensor is host for _, tensor in _launch._reading] == [True]
    Event.over = True
    _launch.launch("gather.cu", "gather_rows<unsigned, 4>", (1, 1), (on_gpu(3),))
    assert not _launch._reading


def test_a_capture_records_and_asks_for_no_event(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    monkeypatch.setattr(Event, "query", None)
    _launch._reading.append((torch.cuda.Event(), torch.zeros(1)))
    _launch.launch("gather.cu", "gather_rows<unsigned, 4>", (1, 1), (torch.zeros(4), on_gpu(3)))
    assert len(_launch._reading) == 1


def test_what_nvrtc_says_is_shown_whole(calls: list[Any]) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)^spmm\.cu: NVRTC refused wrong\n.*error: first\n.*error: last$"):
        _launch.launch("spmm.cu", "wrong", (1, 1), (on_gpu(3),))


@pytest.mark.parametrize("source", sorted(_walk.instances()))
def test_a_source_holds_what_it_includes_once_and_knows_its_lines(source: str) -> None:
    code = _launch.code(source)
    assert "#include" not in code
    assert code.count("typedef long long i64;") == 1
    file, number, found = "", 0, 0
    for line in code.splitlines():
        if directive := re.fullmatch(r'#line (\d+) "(.*)"', line):
            number, file = int(directive[1]), directive[2]
            continue
        if line.startswith("struct ") and line.endswith("{"):
            original = (_launch.files("gnnkit.kernels") / "cuda" / file).read_text().splitlines()
            assert original[number - 1] == line
            found += 1
        number += 1
    assert found


@pytest.mark.parametrize("source", sorted(_walk.instances()))
def test_shared_memory_is_dynamic_and_nothing_is_added_atomically(source: str) -> None:
    """The emulator knows no other shared memory, and determinism no atomics but a minimum, whose order says nothing."""
    code = _launch.code(source)
    assert all(line.startswith("extern __shared__") for line in code.splitlines() if "__shared__" in line)
    assert "atomic" not in re.sub(r"//.*", "", code).replace("atomicMin", "")
