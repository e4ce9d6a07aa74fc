"""Checkpoints: whole or absent, restored exactly, and refused where they do not belong or are damaged."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.metadata import StorageMeta

from gnnkit.pipeline import Checkpoints, Plan
from gnnkit.pipeline import _checkpoint_files as files
from gnnkit.pipeline._transport import Transport

SETTINGS = {"train": {"lr": 0.01, "betas": [0.9, 0.99]}, "dataset": "karate"}


class Steps:
    """Of a trainer what a checkpoint sees: all kinds of state, and epochs that change it."""

    def __init__(self, seed: int = 0, width: int = 3, order_seed: int = 0, ways: int = 1, chunks: int = 2) -> None:
        cells = torch.arange(6) % (ways * chunks)
        self.plan = Plan(((0, 2),), cells // chunks, cells % chunks, seed=order_seed)
        self.options: dict[str, Any] = {"seed": 0, "refresh": 1, "prime": True, "precision": "full"}
        self.transport, self.epoch = Transport(), 0
        draw = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(2, width, generator=draw))
        self.adam = torch.optim.Adam([self.weight], lr=0.1)
        self.history = {"0.0": torch.randn(6, 2, generator=draw).to(torch.bfloat16), "1.0": torch.zeros(0, 4)}

    def parameters(self) -> dict[str, nn.Parameter]:
        return {"layers.0.weight": self.weight}

    def state(self) -> dict[str, Any]:
        model = {"layers.0.weight": self.weight.detach()}
        more = {"nothing": None, "pair": (1, 0.1), "yes": True}
        return {
            "epoch": self.epoch,
            "model": model,
            "optimizer": self.adam.state_dict(),
            "history": self.history,
            **more,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.epoch, self.history = state["epoch"], state["history"]
        self.weight.data.copy_(state["model"]["layers.0.weight"])
        self.adam.load_state_dict(state["optimizer"])

    def train_epoch(self) -> None:
        self.adam.zero_grad()
        (self.weight * torch.randn(2, self.weight.shape[1])).sum().backward()
        self.adam.step()
        self.history["0.0"] = self.history["0.0"] + 1
        self.epoch += 1


def optioned(**options: Any) -> Steps:
    """Make a trainer of other options."""
    steps = Steps()
    steps.options |= options
    return steps


def checkpoints(folder: Path, trainer: Any, settings: dict[str, Any] | None = None) -> Checkpoints:
    return Checkpoints(folder, trainer, SETTINGS if settings is None else settings)


def saved(folder: Path, epochs: int = 1) -> Steps:
    """A trainer after some epochs, saved after each."""
    trainer = Steps()
    one = checkpoints(folder, trainer)
    one.restore()
    for _ in range(epochs):
        trainer.train_epoch()
        one.save({"epoch": trainer.epoch})
    return trainer


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def equal(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(two) and all(map(equal, one, two))
    return bool(one == two)


# ------------------------------------------------------------------ whole


def test_a_trainer_is_restored_exactly_and_goes_on_like_an_unbroken_one(tmp_path: Path) -> None:
    torch.manual_seed(5)
    unbroken = saved(tmp_path, epochs=3)
    state = deepcopy(unbroken.state())
    unbroken.train_epoch()
    torch.manual_seed(6)  # another process
    resumed = Steps(seed=1)
    assert checkpoints(tmp_path, resumed).restore() == {"epoch": 3}
    assert equal(resumed.state(), state)
    resumed.train_epoch()
    assert equal(resumed.state(), unbroken.state())


def test_where_there_is_none_nothing_happens(tmp_path: Path) -> None:
    trainer, before = Steps(), Steps().state()
    assert checkpoints(tmp_path / "not" / "there", trainer).restore() is None
    assert equal(trainer.state(), before)


def test_the_newest_is_kept_and_what_is_left_over_is_removed(tmp_path: Path) -> None:
    saved(tmp_path, epochs=4)
    assert names(tmp_path) == ["checkpoint-000004"]
    for name in (".checkpoint.writing", ".checkpoint.removing"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-notes.txt").write_text("the user's")
    shutil.copytree(tmp_path / "checkpoint-000004", tmp_path / "checkpoint-000003")
    trainer = Steps()
    again = checkpoints(tmp_path, trainer)
    again.restore()
    assert names(tmp_path) == ["checkpoint-000003", "checkpoint-000004", "checkpoint-notes.txt"]
    again.save()
    assert names(tmp_path) == ["checkpoint-000005", "checkpoint-notes.txt"]


def test_saving_before_looking_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(ValueError, match=r"expected restore\(\) before it, .* \(got none\)"):
        checkpoints(tmp_path, Steps()).save()
    assert names(tmp_path) == ["checkpoint-000001"]


def test_what_is_no_plain_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"settings: expected dicts of plain values \(got "):
        checkpoints(tmp_path, Steps(), {"rate": torch.ones(1)})
    trainer = Steps()
    one = checkpoints(tmp_path, trainer)
    one.restore()
    trainer.history["0.0"] = {1, 2}  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"history/0.0: expected tensors, plain values, .* \(got set\)"):
        one.save()
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ foreign


@pytest.mark.parametrize(
    ("trainer", "settings", "said"),
    [
        (Steps(order_seed=1), SETTINGS, r"this run, plan.digest \w{64} \(got one with \w{64}\)"),
        (Steps(ways=2), SETTINGS, r"this run, plan.ways 2 \(got one with 1\)"),
        (Steps(chunks=3), SETTINGS, r"this run, plan.chunks 3 \(got one with 2\)"),
        (Steps(width=4), SETTINGS, r"network.layers.0.weight torch.float32 \[2, 4\] \(got one with .* \[2, 3\]\)"),
        (Steps(), {**SETTINGS, "dataset": "cora"}, r"settings.dataset cora \(got one with karate\)"),
        (Steps(), {**SETTINGS, "train": {"lr": 0.02}}, r"settings.train.lr 0.02 \(got one with 0.01\)"),
        (optioned(refresh=None), SETTINGS, r"options.refresh None \(got one with 1\)"),
        (optioned(precision="bf16"), SETTINGS, r"options.precision bf16 \(got one with full\)"),
        (Steps(), {**SETTINGS, "more": 1}, r"settings.more 1 \(got one with absent\)"),
        (Steps(), {}, r"settings.train absent \(got one with \{'lr'"),
    ],
)
def test_a_foreign_checkpoint_is_refused_by_what_differs(
    trainer: Steps, settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    saved(tmp_path)
    before = deepcopy(trainer.state())
    with pytest.raises(ValueError, match=said):
        checkpoints(tmp_path, trainer, settings).restore()
    assert equal(trainer.state(), before)
    assert names(tmp_path) == ["checkpoint-000001"]


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest, with the right checksum."""
    content = files.read_manifest(folder)
    change(content)
    files.write_manifest(folder, content)


def test_a_checkpoint_of_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    rewritten(tmp_path / "checkpoint-000001", lambda content: content["ranks"].append(content["ranks"][0]))
    with pytest.raises(ValueError, match=r"this run, processes 1 \(got one with 2\)"):
        checkpoints(tmp_path, Steps()).restore()


# ------------------------------------------------------------------ damaged


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


DAMAGE: dict[str, Callable[[Path], None]] = {"flipped": flip, "cut": cut, "removed": Path.unlink}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata", "manifest.json"])
def test_damage_is_refused_and_no_older_checkpoint_taken_instead(how: str, name: str, tmp_path: Path) -> None:
    saved(tmp_path, epochs=2)
    shutil.copytree(tmp_path / "checkpoint-000002", tmp_path / "checkpoint-000001")
    DAMAGE[how](tmp_path / "checkpoint-000002" / name)
    trainer = Steps()
    before = deepcopy(trainer.state())
    with pytest.raises(ValueError, match=rf"checkpoint-000002/{name}: expected .* \(got .*\)"):
        checkpoints(tmp_path, trainer).restore()
    assert equal(trainer.state(), before)
    assert names(tmp_path) == ["checkpoint-000001", "checkpoint-000002"]


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch evil",)


def test_a_strangers_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path)
    folder = tmp_path / "checkpoint-000001"
    for name, payload, said in (
        (".metadata", pickle.dumps(Evil()), r"expected an index of tensors \(got UnpicklingError: it names \w+.system"),
        ("__0_0.distcp", None, r"expected a checkpoint's tensors \(got "),
    ):
        kept = (folder / name).read_bytes()
        if payload is None:
            torch.save({"a": Evil()}, folder / name)
            payload = (folder / name).read_bytes().ljust(len(kept), b"\0")
        (folder / name).write_bytes(payload)

        def change(content: dict[str, Any]) -> None:
            content["index"] = files.checksum(folder / ".metadata")
            content["ranks"][0]["files"] = {"__0_0.distcp": files.checksum(folder / "__0_0.distcp")}

        rewritten(folder, change)
        with pytest.raises(ValueError, match=said):
            checkpoints(tmp_path, Steps()).restore()
        (folder / name).write_bytes(kept)
    assert not (tmp_path / "evil").exists()
    pickle.loads(pickle.dumps(Evil()))
    assert (tmp_path / "evil").exists()  # it would have


def put_index(folder: Path, index: bytes) -> None:
    """Replace torch's index, with the right checksum."""
    (folder / ".metadata").write_bytes(index)
    rewritten(folder, lambda content: content.update(index=files.checksum(folder / ".metadata")))


PATH = b"cpathlib\nPosixPath\n"
RECORD = b"ctorch.distributed.checkpoint.metadata\nStorageMeta\n"
STATE = b"(N}X\x08\x00\x00\x00is_mount\x88st"  # (None, {"is_mount": True}): what pickle gives by setattr


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (PATH + STATE + b"b", r"changes <class 'pathlib.*PosixPath'>"),
        (RECORD + STATE + b"b", r"changes <class '.*StorageMeta'>"),
        (b"ctorch.serialization\n_get_layout\n" + STATE + b"b", "changes <function _get_layout"),
        (b"ctorch\nfloat32\n" + STATE + b"b", "changes torch.float32"),
        (PATH + b"X\x01\x00\x00\x00a\x85R" + STATE + b"b", "changes a"),
        (PATH + PATH + b"\x85R", r"calls <class 'pathlib.*PosixPath'>"),
        (RECORD + b")R", r"calls <class '.*StorageMeta'>"),
        (PATH + b")\x81", r"makes <class 'pathlib.*PosixPath'>"),
        (PATH + b")}\x92", "makes something in a way of old pickles"),
        (b"(" + RECORD + b"o", "makes something in a way of old pickles"),
        (b"(i" + PATH[1:], "makes something in a way of old pickles"),
    ],
)
def test_a_strangers_index_changes_no_class(does: bytes, said: str, tmp_path: Path) -> None:
    saved(tmp_path)
    before = {kind: dict(vars(kind)) for kind in (type(tmp_path), StorageMeta)}
    put_index(tmp_path / "checkpoint-000001", b"\x80\x04" + does + b".")
    with pytest.raises(ValueError, match=rf"expected an index of tensors \(got UnpicklingError: it {said}"):
        checkpoints(tmp_path, Steps()).restore()
    assert {kind: dict(vars(kind)) for kind in before} == before


def test_a_manifest_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    rewritten(tmp_path / "checkpoint-000001", lambda content: content.pop("ranks"))
    with pytest.raises(ValueError, match=r"checkpoint-000001: expected a checkpoint \(got KeyError: 'ranks'\)"):
        checkpoints(tmp_path, Steps()).restore()


def test_an_index_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    rewritten(tmp_path / "checkpoint-000001", lambda content: content["ranks"][0].update(files={}))
    with pytest.raises(ValueError, match=r"expected an index of tensors \(got .*it names __0_0.distcp\)"):
        checkpoints(tmp_path, Steps()).restore()


# ------------------------------------------------------------------ killed


class Killed(BaseException):
    """What ends a process at a moment: nothing of ours runs after it."""


def moments(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Ways to be killed inside ``save``; each is undone before the next."""

    def replace(where: Any, name: str, when: Callable[..., bool] = lambda *a: True, half: bool = False) -> None:
        real = getattr(where, name)

        def dying(*arguments: Any, **options: Any) -> Any:
            if when(*arguments):
                if half:
                    real(*arguments, **options)
                raise Killed
            return real(*arguments, **options)

        monkeypatch.setattr(where, name, dying)

    yield lambda: replace(files, "write_tensors")
    yield lambda: replace(files, "write_tensors", half=True)
    yield lambda: replace(files, "checksum")
    yield lambda: replace(files, "write_manifest")
    yield lambda: replace(files, "write_manifest", half=True)
    yield lambda: replace(Path, "rename", lambda path, to: "checkpoint-" in str(to))
    yield lambda: replace(Path, "rename", lambda path, to: "checkpoint-" in str(to), half=True)
    yield lambda: replace(Path, "rename", lambda path, to: "removing" in str(to))
    yield lambda: replace(Path, "rename", lambda path, to: "removing" in str(to), half=True)
    yield lambda: replace(shutil, "rmtree", lambda path: "removing" in str(path))


def test_killed_at_any_moment_the_old_one_or_the_new_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number, die in enumerate(moments(monkeypatch)):
        folder = tmp_path / str(number)
        trainer = saved(folder, epochs=3)
        states = {3: deepcopy(trainer.state())}
        one = checkpoints(folder, trainer)
        one.restore()
        trainer.train_epoch()
        states[4] = deepcopy(trainer.state())
        with monkeypatch.context():
            die()
            with pytest.raises(Killed):
                one.save({"epoch": 4})
            monkeypatch.undo()
        after = Steps(seed=1)
        two = checkpoints(folder, after)
        notes = two.restore()
        assert notes == {"epoch": after.epoch}
        assert equal(after.state(), states[after.epoch])
        found.append(after.epoch)
        two.save()
        assert len(names(folder)) == 1
    assert found == [3, 3, 3, 3, 3, 3, 4, 4, 4, 4]


# ------------------------------------------------------------------ two processes


@pytest.mark.slow
def test_two_ranks_write_their_parts_and_refuse_together(tmp_path: Path) -> None:
    script = Path(__file__).with_name("checkpoint_ranks.py")
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        told = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], told
    facts = [json.loads(said.splitlines()[-1]) for said in told]
    assert [fact["epoch"] for fact in facts] == [2, 2]
    assert facts[0]["weight"] != facts[1]["weight"]  # each its own
    assert facts[0]["notes"] == facts[1]["notes"] == {"of": 0}
    assert facts[0]["refused"] == facts[1]["refused"]
    assert "__1_0.distcp: expected the file as it was written" in facts[0]["refused"]
    assert "rank 1 could not write its part (" in facts[0]["full"]
    assert facts[0]["after"] == facts[1]["after"] == ["checkpoint-000001"]
