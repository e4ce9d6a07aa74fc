"""What each process sends in an epoch of a pipeline, counted by its transport and by the kernel."""

from __future__ import annotations

import gc
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from gnnkit.pipeline import Network, PipelineTrainer, adapters
from gnnkit.pipeline._transport import Handle, Transport

FEATURES, CLASSES = 64, 5
KINDS = ("activations", "gradients", "boundary", "boundary_gradients", "parameters")


class Case(NamedTuple):
    """One network trained for an epoch; ``counts`` is how its transport counts."""

    graph: str
    model: str
    stages: int
    ways: int
    counts: str = "right"

    @property
    def mode(self) -> str:
        return "pipeline" if self.ways == 1 else "graph" if self.stages == 1 else "hybrid"

    @property
    def processes(self) -> int:
        return self.stages * self.ways


def named(case: Case) -> str:
    """Both models read the same edges in the same parts."""
    return f"{case.graph} {case.stages} {case.ways}"


def network_of(model: str, layers: int, hidden: int) -> Network:
    """The same on every rank."""
    torch.manual_seed(0)
    return adapters.MODELS[model](FEATURES, hidden, CLASSES, layers, dropout=0.0)


class Miscounting(Transport):
    """Counts the gradients between stages as activations."""

    def send(self, tensor: Tensor, to: int, what: str, kind: str) -> Handle:
        handle = super().send(tensor, to, what, kind)
        if kind == "gradients":
            self.sent_bytes["gradients"] -= tensor.nbytes
            self.sent_bytes["activations"] += tensor.nbytes
        return handle


class Forgetful(Transport):
    """Does not count the gradients of replicas."""

    def exchange(
        self, sends: Sequence[tuple[int, Tensor]], receives: Sequence[tuple[int, Tensor]], what: str, kind: str
    ) -> Handle:
        handle = super().exchange(sends, receives, what, kind)
        if kind == "boundary_gradients":
            self.sent_bytes[kind] -= sum(tensor.nbytes for _, tensor in sends)
        return handle


TRANSPORTS = {"right": Transport, "miscounting": Miscounting, "forgetful": Forgetful}


def acknowledged_bytes() -> int:
    """What the kernel has seen arrive of all that this process sent over the TCP connections it has open."""
    total = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own descriptor is gone, and only TCP has such counts
            if stat.S_ISSOCK(link.stat().st_mode):
                with socket.socket(fileno=os.dup(int(link.name))) as copy:
                    info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
                    total += struct.unpack_from("Q", info, 120)[0]  # tcpi_bytes_acked of linux/tcp.h
    return total


def rank_main(rank: int, folder: Path, world_size: int, layers: int, hidden: int) -> None:
    """Train an epoch of every case of so many processes; leave the counts in the folder."""
    torch.set_num_threads(1)
    meeting = f"file://{folder / f'meeting{world_size}'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world_size)
    found = {}
    for number, case in enumerate(torch.load(folder / "cases.pt", weights_only=False)):
        if case.processes == world_size:
            begin = time.perf_counter()
            found[number] = epoch_of(case, rank, folder, layers, hidden)
            gc.collect()
            if rank == 0:
                print(f"{case}: {time.perf_counter() - begin:.1f} s", file=sys.stderr, flush=True)
    torch.save(found, folder / f"rank{world_size}.{rank}.pt")
    dist.destroy_process_group()


def epoch_of(case: Case, rank: int, folder: Path, layers: int, hidden: int) -> dict[str, int]:
    """Train one epoch; count, by kind and by the kernel, what this rank sends meanwhile."""
    cut = torch.load(folder / f"{named(case)}.plan", weights_only=False)
    part = torch.load(folder / f"{named(case)}.{cut.place(rank)[1]}", weights_only=False)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(cut.num_nodes, FEATURES, generator=draw)
    y = torch.randint(CLASSES, (cut.num_nodes,), generator=draw)
    transport = TRANSPORTS[case.counts]()
    trainer = PipelineTrainer(
        network_of(case.model, layers, hidden),
        cut,
        part,
        x,
        y,
        torch.arange(cut.num_nodes),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01),
        prime=False,
        transport=transport,
    )
    transport.barrier()
    counted, kernel = dict(transport.sent_bytes), acknowledged_bytes()
    transport.barrier()  # nobody sends before everybody has looked
    trainer.train_epoch()
    transport.barrier()  # all that was sent has arrived
    time.sleep(0.05)  # and has been acknowledged
    sent = {kind: transport.sent_bytes[kind] - counted[kind] for kind in KINDS}
    sent["kernel"] = acknowledged_bytes() - kernel
    transport.barrier()
    transport.close()
    return sent
