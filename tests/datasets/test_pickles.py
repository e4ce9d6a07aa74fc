"""No file of a dataset runs code while it is read: a pickle that would, in each place where one is read."""

from __future__ import annotations

import importlib.util
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_sets import write_set
from ogb_archives import write_official

from gnnkit.datasets import load
from gnnkit.datasets._ogb_split import readable

pytestmark = [
    pytest.mark.usefixtures("empty_cache", "alone"),
    pytest.mark.skipif(
        importlib.util.find_spec("ogb") is None, reason="needs the package ogb: pip install 'gnnkit[ogb]'"
    ),
]


class Evil:
    """Runs a command when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def as_torch(path: Path, evil: Evil) -> None:
    torch.save({"train": evil}, path)


def as_old_torch(path: Path, evil: Evil) -> None:
    torch.save({"train": evil}, path, _use_new_zipfile_serialization=False)


def as_pickle(path: Path, evil: Evil) -> None:
    path.write_bytes(pickle.dumps({"train": evil}, protocol=2))


def as_array(path: Path, evil: Evil) -> None:
    torch.save({"train": np.array([evil], dtype=object)}, path)


WRITERS = (as_torch, as_old_torch, as_pickle, as_array)
Writer = Callable[[Path, Evil], None]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("file", ["train", "valid", "split_dict"])
def test_a_split_of_links(write: Writer, file: str, tmp_path: Path) -> None:
    folder = write_set(tmp_path, "ogbl-citation2")
    write(folder / "split" / "time" / f"{file}.pt", Evil(tmp_path / "evil"))
    with pytest.raises(ValueError, match=r"^ogbl-citation2: expected whole files of OGB in .*UnpicklingError") as error:
        load("ogbl-citation2", tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", ["ogbn-mag", "ogbg-moltox21"])
def test_a_split_of_nodes_or_of_graphs(name: str, tmp_path: Path) -> None:
    folder = write_set(tmp_path, name)
    (protocol,) = (folder / "split").iterdir()
    as_torch(protocol / "split_dict.pt", Evil(tmp_path / "evil"))
    with pytest.raises(ValueError, match=rf"^{name}: expected whole files of OGB in .*UnpicklingError"):
        load(name, tmp_path)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("file", ["data.npz", "node-label.npz"])
def test_an_array_of_objects(file: str, tmp_path: Path) -> None:
    folder = write_set(tmp_path, "ogbn-papers100M")
    path = folder / "raw" / file
    with np.load(path) as archive:
        content: dict[str, Any] = dict(archive)
    last = list(content)[-1]
    content[last] = np.array([Evil(tmp_path / "evil")], dtype=object)
    np.savez(path, **content)
    with pytest.raises(ValueError, match=rf"expected numbers in {last} \(got object\)"):
        load("ogbn-papers100M", tmp_path)
    assert not (tmp_path / "evil").exists()


def test_the_description_of_a_users_own_set(ogb_sets: Any, tmp_path: Path) -> None:
    folder = ogb_sets.nodes(tmp_path)
    as_torch(folder / "meta_dict.pt", Evil(tmp_path / "evil"))
    with pytest.raises(ValueError, match=r"^ogbn-ring: expected what ogb\.io\.DatasetSaver writes"):
        load("ogbn-ring", tmp_path)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.usefixtures("small")
def test_what_is_kept_in_the_cache(write: Writer, tmp_path: Path, empty_cache: Path) -> None:
    write_official(tmp_path)
    load("ogbg-molesol", tmp_path)
    (path,) = (empty_cache / "processed").rglob("content.pt")
    write(path, Evil(tmp_path / "evil"))
    with pytest.warns(UserWarning, match="damaged .*made anew"):
        assert len(load("ogbg-molesol", tmp_path)) == 3
    assert not (tmp_path / "evil").exists()


def test_pickles_of_older_numpy_are_read(tmp_path: Path) -> None:
    """Official link splits were written by NumPy 1, whose arrays name another module."""
    path = tmp_path / "split.pt"
    torch.save(np.arange(3), path, pickle_protocol=2)
    with zipfile.ZipFile(path) as file, zipfile.ZipFile(tmp_path / "old.pt", "w") as old:
        for member in file.namelist():
            content = file.read(member)
            assert (b"numpy._core.multiarray" in content) == member.endswith("data.pkl")
            old.writestr(member, content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    with readable():
        assert torch.load(tmp_path / "old.pt", weights_only=True).tolist() == [0, 1, 2]
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "old.pt", weights_only=True)


def test_what_may_be_read_holds_for_the_reading_alone(tmp_path: Path) -> None:
    before = set(map(str, torch.serialization.get_safe_globals()))
    with readable():
        assert set(map(str, torch.serialization.get_safe_globals())) > before
    assert set(map(str, torch.serialization.get_safe_globals())) == before
