"""Every kernel that the GPU backend can ask for compiles to machine code, on a machine without a GPU too."""

from __future__ import annotations

import pytest

from gnnkit.kernels import _launch, _walk

cuda = pytest.importorskip("cupy.cuda", reason="needs cupy: pip install 'gnnkit[cuda13]'")

ARCHITECTURES = ("sm_80", "sm_90")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", sorted(_walk.instances()))
def test_every_kernel_compiles(source: str, architecture: str) -> None:
    nvrtc, kernels = cuda.nvrtc, _walk.instances()[source]
    program = nvrtc.createProgram(_launch.code(source), source, (), ())
    try:
        for kernel in kernels:
            nvrtc.addNameExpression(program, kernel)
        options = (*_launch.OPTIONS, "-ftz=true", f"-arch={architecture}")
        try:
            nvrtc.compileProgram(program, options)
        except nvrtc.NVRTCError:
            pytest.fail(nvrtc.getProgramLog(program))
        assert nvrtc.getProgramLog(program) == ""  # no warning
        assert nvrtc.getCUBIN(program).startswith(b"\x7fELF")
        lowered = {nvrtc.getLoweredName(program, kernel) for kernel in kernels}
        assert len(lowered) == len(set(kernels))
    finally:
        nvrtc.destroyProgram(program)
