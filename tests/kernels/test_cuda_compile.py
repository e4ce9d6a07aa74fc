"""Every kernel that the GPU backend can ask for compiles to machine code, on a machine without a GPU too."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from gnnkit.kernels import _launch, _walk

cuda = pytest.importorskip("cupy.cuda", reason="needs cupy: pip install 'gnnkit[cuda13]'")
try:
    cuda.nvrtc.getVersion()
except Exception as error:  # CuPy's own kinds, by version
    pytest.skip(f"needs NVRTC: pip install 'gnnkit[cuda13]' ({error})", allow_module_level=True)

ARCHITECTURES = ("sm_80", "sm_90")
# those that take longest first, so that none is left to finish alone
JOBS = [
    (source, arch)
    for source in sorted(_walk.instances(), key=lambda s: len(_launch.code(s)))[::-1]
    for arch in ARCHITECTURES
]


def compile_source(source: str, architecture: str) -> tuple[str, bytes, set[str]]:
    """Compile all kernels of a source; return what NVRTC said, the machine code, and the kernels' names in it."""
    nvrtc, kernels = cuda.nvrtc, _walk.instances()[source]
    program = nvrtc.createProgram(_launch.code(source), source, (), ())
    try:
        for kernel in kernels:
            nvrtc.addNameExpression(program, kernel)
        try:
            nvrtc.compileProgram(program, (*_launch.OPTIONS, "-ftz=true", f"-arch={architecture}"))
        except nvrtc.NVRTCError:
            return nvrtc.getProgramLog(program) or "failed", b"", set()
        lowered = {nvrtc.getLoweredName(program, kernel) for kernel in kernels}
        return nvrtc.getProgramLog(program), nvrtc.getCUBIN(program), lowered
    finally:
        nvrtc.destroyProgram(program)


@pytest.fixture(scope="module")
def compiled() -> Iterator[dict[tuple[str, str], Future[tuple[str, bytes, set[str]]]]]:
    """All compilations, on every core."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {job: pool.submit(compile_source, *job) for job in JOBS}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(("source", "architecture"), JOBS)
def test_every_kernel_compiles(
    compiled: dict[tuple[str, str], Future[tuple[str, bytes, set[str]]]], source: str, architecture: str
) -> None:
    log, code, names = compiled[source, architecture].result()
    assert log == ""  # no warning either
    assert code.startswith(b"\x7fELF")
    assert len(names) == len(_walk.instances()[source])


def test_a_faulty_source_is_refused_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = _launch.code("hash.cu").replace("u64 first = 0", "u64 first = nothing")
    monkeypatch.setattr(_launch, "code", lambda source: broken)
    log, code, _ = compile_source("hash.cu", "sm_90")
    assert re.search(r'hash\.cu\(\d+\): error: identifier "nothing" is undefined', log)
    assert code == b""
