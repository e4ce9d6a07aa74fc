"""OGB: the ogb package asks nothing and leaves nothing behind, cards are true, its Evaluator scores, damage is told."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import os
import pickle
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnnkit.datasets import _load, _ogb, _ogb_load, card, load, names
from gnnkit.datasets._ogb_cards import ATOMS, BONDS, CARDS, METRICS
from gnnkit.train import METRICS as KNOWN

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ogb") is None, reason="needs the package ogb: pip install 'gnnkit[ogb]'"
)
DATA = Path(os.environ["GNNKIT_DATA"]) if os.environ.get("GNNKIT_DATA") else None


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds nothing yet."""
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and nobody at the keyboard."""

    def no_network(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no network in this test")

    def no_keyboard(*args: Any) -> str:
        raise AssertionError(f"a question was asked: {args}")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr("builtins.input", no_keyboard)


def real(name: str) -> Path:
    """The data root with a real set, or a skip."""
    if DATA is None or not (DATA / "ogb" / name.replace("-", "_")).is_dir():
        pytest.skip(f"needs the raw files of {name}: set GNNKIT_DATA to the folder that holds ogb/")
    return DATA


# ------------------------------------------------------------------ cards


def test_the_cards_are_those_of_all_of_ogbs_datasets_and_agree_with_ogb() -> None:
    known = {name: meta for kind in ("ogbn", "ogbl", "ogbg") for name, meta in _ogb.official(kind).items()}
    assert sorted(CARDS) == sorted(known)
    assert set(CARDS) <= set(names())
    for name, facts in CARDS.items():
        metric = known[name]["eval metric"]
        assert facts.metric == (metric if name.startswith("ogbl-") else METRICS.get(metric, metric))
        assert facts.evaluator == _ogb.OGBEvaluator(name, metric, int(known[name].get("num tasks", 1)))
        if facts.num_tasks is not None:
            assert facts.num_tasks == int(known[name]["num tasks"])
        if not name.startswith("ogbl-"):
            assert facts.num_classes == max(int(known[name]["num classes"]), 0)
            assert ("regression" in known[name]["task type"]) == (facts.task == "graph_regression")
        assert all((facts.title, facts.splits, facts.source, facts.licence))


def test_a_molecules_categories_are_ogbs() -> None:
    _ogb.package("ogbg")
    from ogb.utils.features import get_atom_feature_dims, get_bond_feature_dims

    assert (list(ATOMS), list(BONDS)) == (get_atom_feature_dims(), get_bond_feature_dims())


@pytest.mark.parametrize(("wrong", "right"), [("ogbn-arxv", "ogbn-arxiv"), ("ogbg-moleso", "ogbg-molesol")])
def test_a_name_that_does_not_exist_is_answered_with_the_nearest(wrong: str, right: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"^dataset: expected a name that .* lists, or one .*did you mean '{right}'\?$"
    ) as error:
        load(wrong, tmp_path)
    assert "cora" not in str(error.value)
    assert str(tmp_path) in str(error.value)


# ------------------------------------------------------------------ nothing left behind

SCRIPT = """
import builtins, os, socket, sys, threading
import sklearn.metrics, torch, torch_geometric, torch_geometric.loader  # set variables of their own, once
import gnnkit.datasets
assert gnnkit.datasets.card("ogbn-arxiv").num_nodes == 169343
assert "ogb" not in sys.modules, "a card needs no ogb"

def state():
    return (dict(os.environ), torch.load, builtins.input, set(map(str, torch.serialization.get_safe_globals())),
            sys.stdout, sys.stderr, {name: sys.modules.get(name) for name in ("outdated", "dgl")})

def refuse(*args, **kwargs):
    raise OSError("no network")

started, start = [], threading.Thread.start
socket.socket.connect = socket.getaddrinfo = refuse
threading.Thread.start = lambda thread: (started.append(thread), start(thread))[1]
torch.serialization.add_safe_globals([torch_geometric.data.storage.GlobalStorage])  # as many users do by now
before = state()
first, second = (gnnkit.datasets.load(sys.argv[1], sys.argv[2]) for _ in range(2))
assert torch.equal(first.edge_index, second.edge_index) and torch.equal(first.y, second.y)
assert state() == before, [pair for pair in zip(state(), before) if pair[0] != pair[1]]
started = [thread for thread in started if type(thread).__module__ != "tqdm._monitor"]  # tqdm's own, of any bar
assert not started, started
import ogb.version
assert ogb.version.check_outdated is None
"""


def test_loading_twice_leaves_the_process_as_it_was(ogb_sets: Any, tmp_path: Path) -> None:
    ogb_sets.nodes(tmp_path)
    command = [sys.executable, "-c", SCRIPT, "ogbn-ring", str(tmp_path)]
    environment = {**os.environ, "GNNKIT_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert not [line for line in done.stderr.splitlines() if "torch.jit" not in line and "warnings.warn" not in line]


def test_without_ogb_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _ogb.official.cache_clear()
    for module in [name for name in sys.modules if name == "ogb" or name.startswith("ogb.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "ogb", None)
    with pytest.raises(ImportError, match=r"expected the optional package 'ogb\.\w+': pip install 'gnnkit\[ogb\]'"):
        load("ogbg-molesol", tmp_path)


# ------------------------------------------------------------------ evaluators


def test_accuracy_is_ogbs() -> None:
    score = card("ogbn-arxiv").evaluator
    assert score is not None
    assert score(torch.tensor([0, 1, 2, 1]), torch.eye(4, 40)[[0, 1, 1, 1]]) == 0.75


def test_roc_auc_and_average_precision_are_ogbs_and_pass_over_what_is_unknown() -> None:
    y = torch.rand(40, 12, generator=torch.Generator().manual_seed(0)).round()
    y[0] = float("nan")
    guess = torch.rand(40, 12, generator=torch.Generator().manual_seed(1))
    for name, metric in (("ogbg-moltox21", "rocauc"), ("ogbg-molmuv", "ap")):
        tasks = CARDS[name].num_tasks or 0
        truth, scores = y.repeat(1, 2)[:, :tasks], guess.repeat(1, 2)[:, :tasks]
        theirs = _ogb.package("ogbg").Evaluator(name).eval({"y_true": truth, "y_pred": scores})[metric]
        assert CARDS[name].evaluator(truth, scores) == theirs  # type: ignore[misc]
        ours = KNOWN[METRICS[metric]].score(scores, truth)
        assert theirs == pytest.approx(ours)


def test_rmse_is_ogbs() -> None:
    score = card("ogbg-molesol").evaluator
    assert score is not None
    assert score(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [4.0]])) == pytest.approx(2**0.5)
    assert np.isnan(score(torch.tensor([[1.0]]), torch.tensor([[float("inf")]])))


def test_two_logits_rank_as_their_difference() -> None:
    score = _ogb.OGBEvaluator("ogbn-own", "rocauc")
    logits = torch.tensor([[0.0, 5.0], [5.0, 6.0], [0.0, 3.0]])
    assert score(torch.tensor([1, 0, 0]), logits) == 1.0


def test_hits_and_reciprocal_ranks_are_ogbs() -> None:
    positive, negative = torch.arange(40.0), torch.arange(0.5, 60)
    hits = card("ogbl-ddi").evaluator
    ranks = card("ogbl-citation2").evaluator
    assert hits is not None
    assert ranks is not None
    assert hits(positive, negative) == float((positive > negative.sort(descending=True)[0][19]).float().mean())
    # ogb's rank of a tie is the mean of the best and the worst; none here
    assert ranks(torch.tensor([2.0, 0.0]), torch.tensor([[1.0, 3.0], [1.0, 3.0]])) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert _ogb.OGBEvaluator("ogbl-own", "hits@3")(torch.tensor([2.0, 0.0]), torch.arange(1.0, 5.0)) == 0.0


def test_what_ogb_refuses_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^ogbg-molbbbp: expected input that ogb's Evaluator takes \(got: "):
        CARDS["ogbg-molbbbp"].evaluator(torch.ones(3, 1), torch.rand(3, 1))  # type: ignore[misc]


# ------------------------------------------------------------------ official sets, as files of CSV


def write_official(root: Path, name: str = "ogbg-molesol") -> Path:
    """Write three molecules in the layout of an official set."""
    folder = root / "ogb" / name.replace("-", "_")
    tables: dict[str, list[list[float]]] = {
        "raw/edge": [[0, 1], [1, 2], [0, 1], [0, 1]],
        "raw/num-node-list": [[3], [2], [2]],
        "raw/num-edge-list": [[2], [1], [1]],
        "raw/node-feat": [[5, 0, 1, 5, 0, 0, 0, 0, 0]] * 7,
        "raw/edge-feat": [[0, 0, 0]] * 4,
        "raw/graph-label": [[0.5], [1.5], [2.5]],
        "split/scaffold/train": [[0]],
        "split/scaffold/valid": [[1]],
        "split/scaffold/test": [[2]],
    }
    for place, rows in tables.items():
        path = folder / f"{place}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt", newline="") as file:
            csv.writer(file).writerows(rows)
    (folder / "RELEASE_v1.txt").write_text("a test")
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card for the three molecules in place of the official one."""
    facts = replace(CARDS["ogbg-molesol"], num_graphs=3, num_nodes=7, num_edges=8)
    for cards in (_load._CARDS, _ogb_load.CARDS):
        monkeypatch.setitem(cards, "ogbg-molesol", facts)


@pytest.mark.usefixtures("small")
def test_a_set_of_molecules_loads_twice_from_a_folder_that_stays_as_it_is(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_official(tmp_path)
    before = sorted(map(str, folder.rglob("*")))
    first = load("ogbg-molesol", tmp_path)
    monkeypatch.setattr(_ogb.package("ogbg").PygGraphPropPredDataset, "process", None)  # the second time is cached
    second = load("ogbg-molesol", tmp_path)
    assert sorted(map(str, folder.rglob("*"))) == before
    assert len(list((cache / "processed").iterdir())) == 1
    for dataset in (first, second):
        assert [graph.num_nodes for graph in dataset] == [3, 2, 2]
        assert [graph.y.tolist() for graph in dataset] == [[[0.5]], [[1.5]], [[2.5]]]
        assert dataset[0].edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
        assert (dataset[0].x.dtype, dataset[0].edge_attr.shape) == (torch.int64, (4, 3))
        assert dataset.card.split(dataset, seed=3).sizes == (1, 1, 1)
        assert dataset.card.name == "ogbg-molesol"


@pytest.mark.usefixtures("small")
def test_a_damaged_cache_is_made_anew(tmp_path: Path, cache: Path) -> None:
    write_official(tmp_path)
    first = load("ogbg-molesol", tmp_path)
    (path,) = (cache / "processed").rglob("geometric_data_processed.pt")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match="damaged .*made anew"):
        second = load("ogbg-molesol", tmp_path)
    assert torch.equal(first._data.x, second._data.x)
    assert second.raw_digest == first.raw_digest


@pytest.mark.usefixtures("small")
def test_a_root_as_ogb_itself_uses_it_is_understood(tmp_path: Path) -> None:
    write_official(tmp_path)
    assert len(load("ogbg-molesol", tmp_path / "ogb")) == 3
    (tmp_path / "ogb" / "ogbg_molesol").rename(tmp_path / "ogb" / "ogbg_molesol_pyg")
    assert len(load("ogbg-molesol", tmp_path)) == 3


@pytest.mark.usefixtures("small")
def test_an_archive_in_the_root_is_unpacked_into_the_cache(tmp_path: Path, cache: Path) -> None:
    folder = write_official(tmp_path / "elsewhere")
    zip_folder(folder, tmp_path / "esol.zip", inside="esol/")
    for _ in range(2):
        assert len(load("ogbg-molesol", tmp_path)) == 3
    assert [path.name.rpartition("-")[0] for path in (cache / "raw").iterdir()] == ["ogbg-molesol"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "elsewhere", "esol.zip"]


def zip_folder(folder: Path, archive: Path, inside: str = "") -> None:
    """Pack a folder's files."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*"):
            if path.is_file():
                file.write(path, inside + str(path.relative_to(folder)))


class Download:
    """What urlopen gives: an archive."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __enter__(self) -> Any:
        return io.BytesIO(self.content)

    def __exit__(self, *args: object) -> None:
        pass


@pytest.mark.usefixtures("small")
def test_a_missing_set_is_downloaded_over_https_without_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_official(tmp_path / "there")
    zip_folder(folder, tmp_path / "archive", inside="esol/")
    asked = []

    def urlopen(url: str, timeout: float) -> Download:
        asked.append(url)
        return Download((tmp_path / "archive").read_bytes())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    for _ in range(2):
        assert len(load("ogbg-molesol", tmp_path / "here")) == 3
    assert asked == ["https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/esol.zip"]
    assert sorted(path.name for path in (tmp_path / "here" / "ogb" / "ogbg_molesol").iterdir()) == [
        "RELEASE_v1.txt",
        "raw",
        "split",
    ]


# ------------------------------------------------------------------ bad input: one clear line


def told(error: pytest.ExceptionInfo[BaseException]) -> str:
    """The message, which must be one line."""
    message = str(error.value)
    assert "\n" not in message
    return message


def test_no_network_names_the_folder_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no network in this test") as error:
        load("ogbn-arxiv", tmp_path)
    assert f"gnnkit datasets ogbn-arxiv --download --root {tmp_path}" in told(error)
    assert not (tmp_path / "ogb" / "ogbn_arxiv").exists()


def test_a_truncated_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zip_folder(write_official(tmp_path / "there"), tmp_path / "archive", inside="esol/")
    content = (tmp_path / "archive").read_bytes()[:-100]
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Download(content))
    with pytest.raises(FileNotFoundError, match=r"ogbg-molesol: .*BadZipFile") as error:
        load("ogbg-molesol", tmp_path / "here")
    told(error)
    assert not [path for path in tmp_path.glob("here/**/*") if path.is_file()]


def test_a_truncated_archive_in_the_root_is_told(tmp_path: Path) -> None:
    zip_folder(write_official(tmp_path / "there"), tmp_path / "archive", inside="esol/")
    (tmp_path / "esol.zip").write_bytes((tmp_path / "archive").read_bytes()[:-100])
    with pytest.raises(
        ValueError, match=r"^ogbg-molesol: expected a whole archive .*esol\.zip \(got BadZipFile"
    ) as error:
        load("ogbg-molesol", tmp_path)
    told(error)


@pytest.mark.parametrize("place", ["raw/edge", "raw/node-feat", "split/scaffold/valid"])
@pytest.mark.usefixtures("small")
def test_a_truncated_file_is_named(place: str, tmp_path: Path) -> None:
    folder = write_official(tmp_path)
    path = folder / f"{place}.csv.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"^ogbg-molesol: expected whole files of OGB") as error:
        load("ogbg-molesol", tmp_path)
    assert str(path) in told(error)


@pytest.mark.parametrize("place", ["raw/edge", "raw/num-node-list", "split/scaffold/train"])
@pytest.mark.usefixtures("small")
def test_a_missing_file_is_told(place: str, tmp_path: Path) -> None:
    folder = write_official(tmp_path)
    (folder / f"{place}.csv.gz").unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=r"^ogbg-molesol: expected ") as error:
        load("ogbg-molesol", tmp_path)
    told(error)


def test_another_release_is_an_error_and_no_question(tmp_path: Path) -> None:
    folder = write_official(tmp_path)
    (folder / "RELEASE_v1.txt").rename(folder / "RELEASE_v0.txt")
    with pytest.raises(ValueError, match=r"^ogbg-molesol: expected .*RELEASE_v1\.txt \(got RELEASE_v0\.txt\)") as error:
        load("ogbg-molesol", tmp_path)
    told(error)
    assert folder.exists()


def test_other_sizes_than_the_cards_are_told(tmp_path: Path) -> None:
    write_official(tmp_path)
    with pytest.raises(ValueError, match=r"'num_graphs': 1128, .*'num_graphs': 3,") as error:
        load("ogbg-molesol", tmp_path)
    told(error)


def test_a_file_in_place_of_the_root_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match=r"^ogbn-arxiv: .*not writable: ") as error:
        load("ogbn-arxiv", tmp_path / "file")
    told(error)


@pytest.mark.parametrize("name", ["ogbn-arxiv", "ogbn-own"])
def test_a_root_without_permission_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(PermissionError, match=f"^{name}: expected files that this user may read .*denied") as error:
        load(name, tmp_path)
    told(error)


def test_an_archive_that_climbs_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "esol.zip", "w") as file:
        file.writestr("../../evil.txt", "x")
    with pytest.raises(ValueError, match=r"expected an archive of files below its folder \(got '\.\./\.\./evil\.txt'"):
        load("ogbg-molesol", tmp_path)
    assert not list(tmp_path.rglob("evil.txt"))


class Evil:
    """Runs a command when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_link_split_that_would_run_code_is_refused(ogb_sets: Any, tmp_path: Path) -> None:
    folder = ogb_sets.links(tmp_path)
    torch.save({"train": Evil(tmp_path / "evil")}, folder / "ring" / "split" / "order" / "split_dict.pt")
    with pytest.raises(ValueError, match=r"^ogbl-ring: expected whole files .*UnpicklingError") as error:
        load("ogbl-ring", tmp_path)
    told(error)
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
    with _ogb.readable():
        assert torch.load(tmp_path / "old.pt").tolist() == [0, 1, 2]
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "old.pt")


# ------------------------------------------------------------------ real data


def test_ddi_is_what_its_card_says() -> None:
    root = real("ogbl-ddi")
    for _ in range(2):
        data = load("ogbl-ddi", root)
        assert (data.num_nodes, data.num_edges) == (4267, 2135822)
        sizes = {part: edges["edge"].shape for part, edges in data.split_edge.items()}
        assert sizes == {"train": (1067911, 2), "valid": (133489, 2), "test": (133489, 2)}
        assert all(data.split_edge[part]["edge_neg"].dtype == torch.int64 for part in ("valid", "test"))
    with pytest.raises(ValueError, match=r"ogbl-ddi: expected data\.split_edge"):
        data.card.split(data, seed=0)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("ogbg-molesol", (902, 113, 113)),
        ("ogbg-molfreesolv", (513, 64, 65)),
        ("ogbg-molbbbp", (1631, 204, 204)),
    ],
)
def test_molecules_are_what_their_cards_say(name: str, sizes: tuple[int, int, int]) -> None:
    root = real(name)
    facts = card(name)
    for _ in range(2):
        dataset = load(name, root)
        totals = dataset._data.num_nodes, dataset._data.edge_index.shape[1]
        assert (len(dataset), *totals) == (facts.num_graphs, facts.num_nodes, facts.num_edges)
        assert dataset.card.split(dataset, seed=1).sizes == sizes
        for value, most in ((dataset._data.x, ATOMS), (dataset._data.edge_attr, BONDS)):
            assert bool((value.max(dim=0)[0] < torch.tensor(most)).all())
