"""Attention, sddmm, softmax and segment_matmul serve threads and loader workers, under Numba's workqueue layer too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("callers.py")  # a process of its own: a spawned worker reads its parent's script


@pytest.mark.parametrize("caller", ["threads", "fork", "spawn"])
def test_callers_agree_with_one_thread(caller: str) -> None:
    environment = os.environ | {"NUMBA_THREADING_LAYER": "workqueue", "GNNKIT_BACKEND": "numba"}
    run = subprocess.run(
        [sys.executable, str(SCRIPT), caller], env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"{caller} agree\n"
