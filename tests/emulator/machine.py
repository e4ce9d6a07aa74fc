"""Builds a `.cu` source into a program for the CPU, and runs launches in it: see ``runtime.cpp``."""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _launch

HERE = Path(__file__).parent
SANITIZE = ["-fsanitize=address", "-fno-sanitize-recover=all"]
COMMON = ["-std=c++17", "-g1", "-fno-strict-aliasing", "-I", str(HERE)]
# every access of a kernel is a call, so that runtime.cpp sees it
KERNEL = [*COMMON, "-O0", *SANITIZE, "--param", "asan-instrumentation-with-call-threshold=0", "-Wno-attributes"]
SIZES = ("1", "2", "4", "8", "16", "N")
WRAP = [f"-Wl,--wrap=__asan_{kind}{size}" for kind in ("load", "store") for size in SIZES]


class EmulatorError(Exception):
    """What a sanitizer or the emulator itself found."""


@cache
def missing() -> str | None:
    """Why the emulator cannot be built here, or None."""
    if shutil.which("g++") is None:
        return "needs g++"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "main.cpp"
        source.write_text("int main() {}\n")
        done = _compile([*COMMON, *SANITIZE, "-fsanitize=undefined", str(source), "-o", str(source.with_suffix(""))])
        return None if done is None else f"needs g++ with sanitizers: {done.splitlines()[0]}"


def _compile(arguments: list[str]) -> str | None:
    done = subprocess.run(["g++", *arguments], capture_output=True, text=True, check=False)
    return done.stderr or "g++ failed" if done.returncode else None


_one_at_a_time = Lock()


def _runtime(folder: Path) -> Path:
    target = folder / "runtime.o"
    with _one_at_a_time:
        if not target.exists():
            error = _compile([*COMMON, "-O2", "-c", str(HERE / "runtime.cpp"), "-o", str(target)])
            assert error is None, error
    return target


def build(
    folder: Path, source: str, kernels: Iterable[str], edit: Sequence[str] = (), *, undefined: bool = True
) -> Path:
    """Compile kernels of a source; with an ``edit`` its first text, which must be there once, becomes the second.

    ``undefined`` looks for undefined behaviour too, which doubles the time to compile.
    """
    code = _launch.code(source)
    if edit:
        assert code.count(edit[0]) == 1, f"{source} holds {code.count(edit[0])} times: {edit[0]}"
        code = code.replace(edit[0], edit[1])
    entries = "".join(f"    KERNEL({kernel}),\n" for kernel in kernels)
    table = f"const emulator::Kernel emulator::kernels[] = {{\n{entries}    {{nullptr, nullptr, nullptr}}}};\n"
    target = Path(tempfile.mkdtemp(prefix=Path(source).stem, dir=folder)) / "machine"
    unit = target.with_suffix(".cpp")
    unit.write_text(f'#include "cuda.h"\n{code}\n{table}')
    sanitize = ["-fsanitize=undefined"] if undefined else []
    error = _compile([*KERNEL, *sanitize, *WRAP, str(unit), str(_runtime(folder)), "-o", str(target)])
    assert error is None, error
    return target


class Machine:
    """One program that runs launches; `run` stands in for `gnnkit.kernels._launch.run`."""

    def __init__(self, programs: dict[str, Path]) -> None:
        self.programs = programs
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.errors: dict[str, Any] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what a test has set."""
        self.seed = 0
        self.count_lines_of: int | None = None  # the position of an argument
        self.lines = 0
        self.last_blocks: int | None = None  # run only so many
        self.files: dict[int, str] = {}  # the address of a sparse tensor, and its file
        self.launched: list[str] = []

    def run(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int],
        block: int,
        args: Sequence[_launch.Argument],
        shared_bytes: int,
    ) -> None:
        """Run a kernel on CPU tensors and leave in them what it wrote."""
        self.launched.append(kernel)
        buffers: dict[tuple[int, int], Tensor] = {}
        encoded = []
        for value in args:
            if isinstance(value, Tensor) and value.numel():
                assert value.is_contiguous(), f"{kernel}: a kernel knows no strides"
                key = value.data_ptr(), value.numel() * value.element_size()
                buffers.setdefault(key, value)
                encoded.append(struct.pack("<qq", ord("b"), list(buffers).index(key)))
            elif value is None or isinstance(value, Tensor):
                encoded.append(struct.pack("<qq", ord("n"), 0))
            elif isinstance(value, float):
                encoded.append(struct.pack("<qd", ord("d"), value))
            else:
                encoded.append(struct.pack("<qq", ord("i"), value))
        blocks = grid[0] * grid[1]
        first = 0 if self.last_blocks is None else max(0, blocks - self.last_blocks)
        counted = -1 if self.count_lines_of is None else self.count_lines_of
        parts = [_text(kernel), struct.pack("<8q", *grid, block, shared_bytes, self.seed, first, counted, len(buffers))]
        for (address, size), tensor in buffers.items():
            path = self.files.get(address, "")
            parts += [_text(path), struct.pack("<qq", size, address % 128)]
            if not path:
                parts.append(_bytes(tensor).numpy().tobytes())
        self._exchange(source, b"".join([*parts, struct.pack("<q", len(encoded)), *encoded]), buffers)

    def _exchange(self, source: str, request: bytes, buffers: dict[tuple[int, int], Tensor]) -> None:
        if source not in self.running:
            self.errors[source] = tempfile.TemporaryFile()  # noqa: SIM115
            self.running[source] = subprocess.Popen(
                [self.programs[source]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors[source]
            )
        process = self.running[source]
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(request)
            process.stdin.flush()
            (self.lines,) = struct.unpack("<q", _read(process.stdout, 8))
            for tensor in buffers.values():
                (size,) = struct.unpack("<q", _read(process.stdout, 8))
                if size:  # the kernel may have written here
                    written = torch.frombuffer(bytearray(_read(process.stdout, size)), dtype=torch.uint8)
                    _bytes(tensor).copy_(written)
        except (EOFError, BrokenPipeError):
            process.wait()
            self.errors[source].seek(0)
            report = self.errors[source].read().decode(errors="replace")
            self.stop(source)
            raise EmulatorError(report or f"the program ended with {process.returncode}") from None

    def stop(self, *sources: str) -> None:
        """End the programs of some sources, or of all."""
        for source in sources or list(self.running):
            process = self.running.pop(source)
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.stdout.close()
            process.wait()
            self.errors.pop(source).close()


def _text(value: str) -> bytes:
    return struct.pack("<q", len(value)) + value.encode()


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().view(-1).view(torch.uint8)


def _read(stream: Any, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return bytes(data)
