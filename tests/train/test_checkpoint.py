"""Checkpoints: what goes in comes out, damage is named, no code runs, a kill leaves the old one."""

from __future__ import annotations

import hashlib
import io
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gnnkit.train import load_checkpoint, save_checkpoint

STATE: dict[str, Any] = {
    "model": {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.tensor([1, 2], dtype=torch.int64)},
    "history": [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1e-300}],
    "rng": torch.arange(16, dtype=torch.uint8),
    "best": None,
    "config": "TrainConfig(lr=0.01)",
    "flag": True,
}


def same(left: Any, right: Any) -> bool:
    """Compare to the bit, tensors in dicts and lists included."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return isinstance(right, dict) and list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.ckpt", STATE)
    assert same(load_checkpoint(tmp_path / "a.ckpt"), STATE)


def test_a_path_may_be_a_string(tmp_path: Path) -> None:
    save_checkpoint(str(tmp_path / "a.ckpt"), STATE)
    assert same(load_checkpoint(str(tmp_path / "a.ckpt")), STATE)


def test_models_optimisers_and_schedules_come_out_as_they_went_in(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=9)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        scheduler.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    save_checkpoint(tmp_path / "a.ckpt", state)
    loaded = load_checkpoint(tmp_path / "a.ckpt")
    assert same(dict(loaded["model"]), dict(state["model"]))
    assert same(loaded["optimizer"], state["optimizer"])
    assert same(loaded["scheduler"], state["scheduler"])


def test_a_second_checkpoint_replaces_the_first_and_leaves_no_other_file(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.ckpt", {"epoch": 1})
    save_checkpoint(tmp_path / "a.ckpt", {"epoch": 2})
    assert load_checkpoint(tmp_path / "a.ckpt") == {"epoch": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_missing_checkpoint_is_a_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "a.ckpt")


# ------------------------------------------------------------------ damage


def test_a_checkpoint_cut_anywhere_is_a_value_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "whole.ckpt"
    save_checkpoint(path, STATE)
    whole, cut = path.read_bytes(), tmp_path / "cut.ckpt"
    for length in range(0, len(whole), 10):
        cut.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.ckpt: expected a checkpoint.*\(got "):
            load_checkpoint(cut)


def test_a_byte_altered_anywhere_is_a_value_error_or_alters_nothing(tmp_path: Path) -> None:
    path = tmp_path / "whole.ckpt"
    save_checkpoint(path, STATE)
    whole, damaged = path.read_bytes(), tmp_path / "damaged.ckpt"
    for position in range(0, len(whole), 17):
        altered = bytearray(whole)
        altered[position] ^= 0xFF
        damaged.write_bytes(altered)
        try:
            loaded = load_checkpoint(damaged)
        except ValueError as error:
            assert "damaged.ckpt" in str(error)  # noqa: PT017 (either outcome is right)
        else:
            assert same(loaded, STATE), f"byte {position} of {len(whole)} changed the state in silence"


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"not a checkpoint" * 100, b"PK\x03\x04" + b"\0" * 60])
def test_what_is_no_checkpoint_is_a_value_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.ckpt: expected a checkpoint.*\(got "):
        load_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("content", [[1, 2], torch.ones(3), "text", 5])
def test_what_holds_no_dict_is_a_value_error(tmp_path: Path, content: Any) -> None:
    save_checkpoint(tmp_path / "a.ckpt", content)  # whole and with its checksum, of the wrong kind
    with pytest.raises(ValueError, match=rf"expected a checkpoint \(got a {type(content).__name__}\)"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_a_folder_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a checkpoint"):
        load_checkpoint(tmp_path)


# ------------------------------------------------------------------ code in a pickle


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.mark,)


@pytest.mark.parametrize("writer", ["torch", "torch-legacy", "pickle"])
def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, writer: str) -> None:
    mark = tmp_path / "the-code-has-run"
    buffer = io.BytesIO()
    if writer == "pickle":
        pickle.dump({"model": Evil(mark)}, buffer)
    else:
        torch.save({"model": Evil(mark)}, buffer, _use_new_zipfile_serialization=writer == "torch")
    payload = buffer.getvalue()
    (tmp_path / "evil.ckpt").write_bytes(payload + hashlib.sha256(payload).digest())  # the checksum is no secret
    with pytest.raises(ValueError, match=r"evil\.ckpt: expected a checkpoint"):
        load_checkpoint(tmp_path / "evil.ckpt")
    assert not mark.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_the_same_file_does_run_code_when_read_carelessly(tmp_path: Path, legacy: bool) -> None:
    # the negative control of the test above
    mark = tmp_path / "the-code-has-run"
    torch.save({"model": Evil(mark)}, tmp_path / "evil.ckpt", _use_new_zipfile_serialization=not legacy)
    torch.load(tmp_path / "evil.ckpt", weights_only=False)
    assert mark.exists()


# ------------------------------------------------------------------ interruptions


def test_an_error_inside_the_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, STATE)

    def half(state: Any, file: Any) -> None:
        file.write(b"half a checkpoint")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("gnnkit.train._checkpoint.torch.save", half)
        with pytest.raises(OSError, match="no space"):
            save_checkpoint(path, {"epoch": 2})
    assert same(load_checkpoint(path), STATE)
    save_checkpoint(path, {"epoch": 3})  # and what was left behind is in nobody's way
    assert load_checkpoint(path) == {"epoch": 3}


KILLED = """
import io, os, signal, sys
from pathlib import Path
import torch
from gnnkit.train import save_checkpoint

real_save, real_replace = torch.save, Path.replace

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def half(state, file):
    buffer = io.BytesIO()
    real_save(state, buffer)
    file.write(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    file.flush()
    die()

def before(self, target):
    die()

def after(self, target):
    real_replace(self, target)
    die()

for moment, path in zip(sys.argv[1::2], sys.argv[2::2]):
    child = os.fork()
    if child == 0:
        if moment == "half":
            torch.save = half
        else:
            Path.replace = before if moment == "before" else after
        save_checkpoint(path, {"epoch": 2})
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_kill_inside_the_write_leaves_the_old_checkpoint_or_the_new_one(tmp_path: Path) -> None:
    moments = {"half": 1, "before": 1, "after": 2}  # killed when -> the epoch that is on disk then
    paths = {moment: tmp_path / f"{moment}.ckpt" for moment in moments}
    for path in paths.values():
        save_checkpoint(path, {"epoch": 1})
    arguments = [word for moment, path in paths.items() for word in (moment, str(path))]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(moments)
    assert {moment: load_checkpoint(path)["epoch"] for moment, path in paths.items()} == moments
    for path in paths.values():
        save_checkpoint(path, {"epoch": 3})
        assert load_checkpoint(path) == {"epoch": 3}
