"""OGB: cards are true, its Evaluator scores, the ogb package leaves nothing behind, real data are as published."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

from gnnkit.datasets import _ogb, card, load, names
from gnnkit.datasets._ogb_cards import ATOMS, BONDS, CARDS, METRICS
from gnnkit.train import METRICS as KNOWN

pytestmark = [
    pytest.mark.usefixtures("empty_cache", "alone"),
    pytest.mark.skipif(
        importlib.util.find_spec("ogb") is None, reason="needs the package ogb: pip install 'gnnkit[ogb]'"
    ),
]
DATA = Path(os.environ["GNNKIT_DATA"]) if os.environ.get("GNNKIT_DATA") else None


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


def test_classes_of_several_types_have_no_split_of_their_own() -> None:
    data = HeteroData()
    data["a"].num_nodes = data["b"].num_nodes = 3
    data.card = CARDS["ogbn-arxiv"]
    with pytest.raises(ValueError, match=r"^ogbn-arxiv: expected one type of nodes with classes \(got None of a, b\)$"):
        data.card.split(data, 0)


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


@pytest.mark.parametrize("name", [name for name in CARDS if CARDS[name].task == "link_prediction"])
def test_scores_of_links_are_ogbs(name: str) -> None:
    draw = torch.Generator().manual_seed(0)
    positive = torch.rand(200, generator=draw)
    negative = torch.rand((200, 7) if CARDS[name].metric == "mrr" else (300,), generator=draw) - 0.2
    theirs = _ogb.package("ogbl").Evaluator(name).eval({"y_pred_pos": positive, "y_pred_neg": negative})
    expected = theirs["mrr_list"].mean() if CARDS[name].metric == "mrr" else theirs[CARDS[name].metric]
    score = CARDS[name].evaluator(positive, negative)  # type: ignore[misc]
    assert score == pytest.approx(float(expected))
    assert 0 < score < 1


def test_words_are_scored_as_sets_by_f1() -> None:
    score = CARDS["ogbg-code2"].evaluator
    assert score is not None
    truth, guess = [["get", "name"], ["run"], ["a", "b", "a"]], [["name", "get"], [], ["a", "c", "d"]]
    assert score(truth, guess) == pytest.approx((1 + 0 + 2 / 5) / 3)
    with pytest.raises(ValueError, match=r"^ogbg-code2: expected input that ogb's Evaluator takes \(got: Length of"):
        score(truth, guess[:2])
    with pytest.raises(ValueError, match=r"^ogbn-arxiv: expected tensors for acc \(got list\)$"):
        CARDS["ogbn-arxiv"].evaluator([1], torch.ones(1, 40))  # type: ignore[misc]


def test_what_ogb_refuses_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^ogbg-molbbbp: expected input that ogb's Evaluator takes \(got: "):
        CARDS["ogbg-molbbbp"].evaluator(torch.ones(3, 1), torch.rand(3, 1))  # type: ignore[misc]


# ------------------------------------------------------------------ real data


def test_ddi_is_what_its_card_says() -> None:
    root = real("ogbl-ddi")
    for _ in range(2):
        data = load("ogbl-ddi", root)
        assert (data.num_nodes, data.num_edges) == (4267, 2135822)
        sizes = {part: edges["edge"].shape for part, edges in data.split_edge.items()}
        assert sizes == {"train": (1067911, 2), "valid": (133489, 2), "test": (133489, 2)}
        assert all(data.split_edge[part]["edge_neg"].dtype == torch.int64 for part in ("valid", "test"))
    split = data.card.split(data, seed=0)
    assert split.sizes == (1067911, 133489, 133489)
    assert torch.equal(split.test_neg, data.split_edge["test"]["edge_neg"].t())


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
