"""Loaders and the end of a process: Ctrl-C, an iterator that is still open, a fork."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

# a process that was started in the background may ignore Ctrl-C from its parents on
SCRIPT = """
import os, signal, time, torch
signal.signal(signal.SIGINT, signal.default_int_handler)
from torch_geometric.data import Data
from gnnkit.data import NeighborLoader
torch.manual_seed(0)
data = Data(x=torch.randn(500, 16), edge_index=torch.randint(500, (2, 5000)))
def make(num_workers, prefetch):
    return NeighborLoader(data, [3, 2], batch_size=5, num_workers=num_workers, prefetch=prefetch)
"""


@contextmanager
def child(body: str) -> Iterator[subprocess.Popen[str]]:
    # from 3.12 on Python warns of forks beside threads, which this is about
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT + body]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()  # one that does not end by itself has failed its test already


@pytest.mark.slow
def test_control_c_interrupts_a_loop_and_ends_a_process() -> None:
    body = """
def loop(loader):
    while True:
        for batch in loader:
            print("batch", flush=True)
            time.sleep(0.01)
try:
    loop(make(0, 0))
except KeyboardInterrupt:
    print("interrupted", flush=True)
loop(make(2, 2))
"""
    with child(body) as process:
        assert process.stdout is not None
        for ended in (False, True):
            while process.stdout.readline() != "batch\n":
                assert process.poll() is None
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            if not ended:
                while process.stdout.readline() != "interrupted\n":
                    assert process.poll() is None
                    assert time.monotonic() - begin < 60
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - begin < 30
    assert process.returncode in (-signal.SIGINT, 130)
    assert errors.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.slow
def test_a_process_ends_with_an_iterator_open_and_a_fork_makes_its_own() -> None:
    body = """
loader = make(2, 2)
iterator = iter(loader)
next(iterator)
pid = os.fork()
if pid == 0:
    try:
        next(iterator)
    except RuntimeError as error:
        print(str(error).split(",")[0], flush=True)
    print(len(list(loader)), flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
next(iterator)
print("end", flush=True)
"""
    with child(body) as process:
        out, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    refused = "a loader's iterator: expected to be used by the process that made it"
    assert out.splitlines() == [refused, "100", "end"]
