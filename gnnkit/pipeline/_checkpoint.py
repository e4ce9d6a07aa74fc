"""Checkpoints of a pipeline: each process writes its own part, and all of them together are whole or absent."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gnnkit.pipeline import _checkpoint_files as files
from gnnkit.pipeline._launch import all_gather

if TYPE_CHECKING:
    from gnnkit.pipeline._trainer import PipelineTrainer
    from gnnkit.pipeline._transport import Transport

_NAME = re.compile(r"checkpoint-(\d{6,})")
_SCRATCH, _OLD = ".checkpoint.writing", ".checkpoint.removing"


class Checkpoints:
    """Checkpoints of one training run, in a folder of their own that holds the newest.

    Every process writes what its trainer's ``state()`` gives (parameters and optimiser of its stage, historical rows,
    epoch) and its random generators, through torch.distributed.checkpoint, one file a process. They are written to a
    hidden folder, forced to disk, listed with their SHA-256 in a manifest by rank 0, and the folder takes its name in
    one step: a process killed at any moment leaves the old checkpoint or the new one. Only then the old one is removed,
    and what a kill left over goes with the next `save` or `restore`.

    A trainer restored from it goes on to the very parameters of an unbroken run.

    Safety: checksums tell damage, not intent. A stranger's checkpoint cannot run code by what is known of the formats:
    the manifest is JSON, tensors are read by ``torch.load(weights_only=True)``, and the index of torch's, a pickle, by
    an unpickler that knows the classes of an index, torch's dtypes and nothing else, and leaves them as they are. It
    can ask for much memory, and it can hold any numbers. Do not hand its folder to
    ``torch.distributed.checkpoint.load``, which unpickles the index freely.

    Cost: each process writes its state once and reads it back once for its checksum; a restore reads it twice and holds
    it a second time in host memory.

    Args:
        folder: Shared by all processes, those of other hosts too; made when it is missing.
        trainer: What is saved and restored.
        settings: What else makes the run the one it is, such as the learning rate: dicts of plain values.

    Raises:
        ValueError: ``settings`` are not plain values.

    Example:
        >>> import tempfile, torch
        >>> from gnnkit import Adjacency
        >>> from gnnkit.pipeline import Checkpoints, Network, PipelineTrainer, plan
        >>> from torch_geometric.nn import SimpleConv
        >>> ring = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
        >>> def trainer():
        ...     torch.manual_seed(0)
        ...     network = Network(torch.nn.Linear(2, 2), [SimpleConv()], None)
        ...     cut = plan(Adjacency.from_edge_index(ring), 1, chunks=2)
        ...     return PipelineTrainer(
        ...         network, cut, ring, torch.eye(4, 2), torch.tensor([0, 1, 0, 1]), torch.arange(4),
        ...         optimizer=lambda parameters: torch.optim.Adam(parameters),
        ...     )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     one = trainer()
        ...     first = Checkpoints(folder, one)
        ...     before, loss = first.restore(), one.train_epoch()
        ...     path = first.save({"loss": loss})
        ...     two = trainer()
        ...     after = Checkpoints(folder, two).restore()
        >>> before, after == {"loss": loss}, two.epoch
        (None, True, 1)
    """

    def __init__(
        self, folder: str | os.PathLike[str], trainer: PipelineTrainer, settings: dict[str, Any] | None = None
    ) -> None:
        self.folder, self.trainer = Path(folder), trainer
        try:
            self._settings = json.loads(json.dumps(settings or {}))
        except (TypeError, ValueError) as error:
            raise ValueError(f"settings: expected dicts of plain values (got {error})") from None
        self._looked = False

    def save(self, notes: dict[str, Any] | None = None) -> None:
        """Write a checkpoint of the trainer as it is; collective.

        Args:
            notes: What rank 0 wants to find again, plain values; other ranks' are not kept.

        Raises:
            ValueError: `restore` has not been called, so that an earlier run's checkpoints might be lost unseen.
            OSError: A process could not write its part.
            PeerError: A process is gone.
        """
        if not self._looked:
            raise ValueError("save: expected restore() before it, which looks for an earlier checkpoint (got none)")
        transport, scratch = self.trainer.transport, self.folder / _SCRATCH
        tensors: dict[str, torch.Tensor] = {}
        state = {"trainer": self.trainer.state(), "rng": _rng_state()}
        about: dict[str, Any] = {"state": files.split(state, f"{transport.rank}", tensors)}
        if transport.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
        transport.barrier()  # nobody writes what is being removed; and who is gone is named here
        with _named(transport):
            files.write_tensors(scratch, tensors, alone=transport.world_size == 1)
            about["network"] = self._network()
            about["files"] = {path.name: files.checksum(path) for path in scratch.glob(f"__{transport.rank}_*")}
            everybody = all_gather(about)
        if transport.rank == 0:
            self._publish(scratch, {**self._identity(), "notes": notes or {}, "ranks": everybody})

    def restore(self) -> dict[str, Any] | None:
        """Bring the trainer to the newest checkpoint; collective.

        Returns:
            The notes saved with it, or None where there is no checkpoint.

        Raises:
            ValueError: The checkpoint is damaged, or one of another number of processes, plan, network or settings. No
                older one is taken in its place.
        """
        transport = self.trainer.transport
        name = None
        if transport.rank == 0:
            self._clear()
            name = next((f"checkpoint-{number:06d}" for number in sorted(self._numbers(), reverse=True)), None)
        name = transport.broadcast_object(name, 0)
        self._looked = True
        if name is None:
            return None
        state, manifest = None, {}
        error: Exception | None = None
        try:
            manifest = files.read_manifest(self.folder / name)
            state = self._read(self.folder / name, manifest)
        except (ValueError, OSError) as problem:
            error = problem
        except Exception as problem:  # a stranger's manifest may hold anything
            error = ValueError(f"{self.folder / name}: expected a checkpoint (got {type(problem).__name__}: {problem})")
        with _named(transport):
            failures = all_gather(None if error is None else str(error))
        for said in failures:  # all ranks refuse alike
            if said is not None:
                raise ValueError(said) from error
        assert state is not None
        self.trainer.load_state(state["trainer"])
        _restore_rng(state["rng"])
        notes: dict[str, Any] = manifest["notes"]
        return notes

    def _read(self, path: Path, manifest: dict[str, Any]) -> Any:
        rank, ranks = self.trainer.transport.rank, manifest["ranks"]
        mine = self._identity()
        _compare(path, "processes", len(ranks), self.trainer.transport.world_size)
        for name in ("plan", "options", "settings"):
            _compare(path, name, manifest[name], mine[name])
        _compare(path, "network", ranks[rank]["network"], self._network())
        everything = {name: each for row in ranks for name, each in row["files"].items()}
        files.check_file(path / files.INDEX, manifest["index"])
        for name, each in ranks[rank]["files"].items():
            files.check_file(path / name, each)
        return files.join(ranks[rank]["state"], files.read_tensors(path, f"{rank}/", everything))

    def _publish(self, scratch: Path, manifest: dict[str, Any]) -> None:
        missing = [name for row in manifest["ranks"] for name in row["files"] if not (scratch / name).is_file()]
        if missing:
            raise OSError(f"{self.folder}: expected a folder that all processes share (got no {', '.join(missing)})")
        files.write_manifest(scratch, {**manifest, "index": files.checksum(scratch / files.INDEX)})
        number = max(self._numbers(), default=0) + 1  # the epoch may be that of an earlier one
        scratch.rename(self.folder / f"checkpoint-{number:06d}")
        files.sync_folder(self.folder)
        self._sweep()

    def _clear(self) -> None:
        """Remove what a kill left in half."""
        for name in (_SCRATCH, _OLD):
            if (self.folder / name).exists():
                shutil.rmtree(self.folder / name)

    def _sweep(self) -> None:
        """Remove that, and all checkpoints but the newest."""
        self._clear()
        for number in sorted(self._numbers())[:-1]:
            (self.folder / f"checkpoint-{number:06d}").rename(self.folder / _OLD)  # half removed, it must not pass
            shutil.rmtree(self.folder / _OLD)

    def _numbers(self) -> list[int]:
        return [int(found[1]) for path in self.folder.glob("checkpoint-*") if (found := _NAME.fullmatch(path.name))]

    def _identity(self) -> dict[str, Any]:
        plan = self.trainer.plan
        shape = {"stages": plan.num_stages, "ways": plan.ways, "chunks": plan.num_chunks, "nodes": plan.num_nodes}
        options = {"options": self.trainer.options, "settings": self._settings}
        return {"plan": {**shape, "digest": plan.digest()}, **options}

    def _network(self) -> dict[str, str]:
        """The parameters of this rank's stage, in words."""
        return {name: f"{p.dtype} {list(p.shape)}" for name, p in self.trainer.parameters().items()}


@contextmanager
def _named(transport: Transport) -> Iterator[None]:
    """Say who is gone where torch.distributed's own messages do not."""
    try:
        yield
    except RuntimeError:
        transport.barrier()
        raise


def _compare(path: Path, what: str, stored: Any, expected: Any) -> None:
    """Require equality, and say in which entry it fails."""
    if stored == expected:
        return
    if isinstance(stored, dict) and isinstance(expected, dict):
        name = next(name for name in {**expected, **stored} if stored.get(name) != expected.get(name))
        _compare(path, f"{what}.{name}", stored.get(name, "absent"), expected.get(name, "absent"))
    raise ValueError(f"{path}: expected a checkpoint of this run, {what} {expected} (got one with {stored})")


def _rng_state() -> dict[str, Any]:
    """The global generators of torch, which the trainer leaves alone but users may draw from."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None}


def _restore_rng(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
