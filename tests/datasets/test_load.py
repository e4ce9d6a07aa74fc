"""Datasets: names and cards tell the truth, and data are what their cards say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from small_sets import EMBEDDED, PLANETOID, undirected

from gnnkit.datasets import card, load, names
from gnnkit.train import METRICS

pytestmark = pytest.mark.usefixtures("known_cache")

# ------------------------------------------------------------------ names and cards


def test_the_list_of_names_begins_with_the_small_sets() -> None:
    assert names()[: len(EMBEDDED | PLANETOID)] == [*EMBEDDED, *PLANETOID]
    assert len(set(names())) == len(names())


@pytest.mark.parametrize("name", [name for name in names() if not name.startswith("ogb")])
def test_a_card_says_all_that_a_reported_number_needs(name: str) -> None:
    facts = card(name)
    assert facts.name == name
    assert facts.metric in METRICS
    assert facts.task in ("node_classification", "graph_classification", "graph_regression")
    assert all((facts.title, facts.splits, facts.source, facts.licence))
    assert repr(facts) == f"Card({name!r})"


@pytest.mark.parametrize("name", [*EMBEDDED, *PLANETOID])
def test_a_card_holds_the_published_sizes(name: str) -> None:
    facts = card(name)
    sizes = (facts.num_nodes, facts.num_edges, facts.num_features, facts.num_classes)
    assert sizes == (EMBEDDED | PLANETOID)[name]


@given(st.text())
def test_an_unknown_name_is_a_value_error_that_says_where_they_are_listed(name: str) -> None:
    if name in names():
        return
    with pytest.raises(ValueError, match="dataset: expected a name that `gnnkit datasets` lists") as error:
        load(name)
    assert f"(got {name!r})" in str(error.value)


@pytest.mark.parametrize(("wrong", "right"), [("Cora", "cora"), ("pub-med", "pubmed"), ("karat", "karate")])
def test_a_misspelt_name_is_answered_with_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{right}'"):
        card(wrong)


# ------------------------------------------------------------------ what is loaded


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_set_is_what_its_card_says(name: str, offline: None, tmp_path: Path) -> None:
    check_card(load(name, tmp_path / "nothing-here"), name)
    assert not (tmp_path / "nothing-here").exists()


@pytest.mark.parametrize("name", PLANETOID)
def test_a_planetoid_set_is_what_its_card_says(name: str, data_folder: Path, offline: None) -> None:
    data = load(name, data_folder)
    check_card(data, name)
    split = data.card.split(data, seed=0)
    assert split.sizes == (20 * data.card.num_classes, 500, 1000)
    assert data.y[split.train].bincount().tolist() == [20] * data.card.num_classes
    other = data.card.split(data, seed=1)
    assert all(torch.equal(getattr(split, part), getattr(other, part)) for part in ("train", "valid", "test"))


def check_card(data: Any, name: str) -> None:
    nodes, edges, features, classes = (EMBEDDED | PLANETOID)[name]
    assert data.card is card(name)
    assert (data.num_nodes, data.num_edges) == (nodes, edges)
    assert data.x.shape == (nodes, features)
    assert data.x.dtype == torch.float32
    assert bool(data.x.isfinite().all())
    assert data.y.shape == (nodes,)
    assert data.y.unique().tolist() == list(range(classes))
    assert data.edge_index.shape == (2, edges)
    assert data.edge_index.dtype == torch.int64
    assert 0 <= int(data.edge_index.min()) <= int(data.edge_index.max()) < nodes
    assert undirected(data.edge_index)
    assert "Card" in repr(data)
    assert len(repr(data)) < 400


def test_digits_joins_each_image_with_its_ten_nearest_in_both_directions() -> None:
    data = load("digits")
    pixels, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    assert torch.equal(data.x * 16, pixels.float())
    assert torch.equal(data.y, labels)
    square = pixels.square().sum(dim=1)
    distance = square[:, None] + square - 2 * pixels @ pixels.t()  # [N, N], whole numbers: exact
    distance.fill_diagonal_(torch.inf)
    tenth = distance.kthvalue(10, dim=1).values[:, None]  # [N, 1]
    joined = torch.zeros_like(distance, dtype=torch.bool)
    joined[data.edge_index[0], data.edge_index[1]] = True
    assert int(joined.sum()) == data.num_edges  # no edge twice, none from a node to itself
    surely, perhaps = distance < tenth, distance <= tenth  # the tenth may be one of several as near
    assert bool(joined[surely | surely.t()].all())
    assert not bool(joined[~(perhaps | perhaps.t())].any())


def test_the_digits_split_draws_20_and_30_a_class_from_the_seed() -> None:
    data = load("digits")
    split, again, other = (data.card.split(data, seed) for seed in (0, 0, 1))
    assert split.sizes == (200, 300, 1297)
    assert data.y[split.train].bincount().tolist() == [20] * 10
    assert data.y[split.valid].bincount().tolist() == [30] * 10
    assert torch.cat([split.train, split.valid, split.test]).unique().numel() == 1797
    for part in ("train", "valid", "test"):
        assert torch.equal(getattr(split, part), getattr(again, part))
        assert not torch.equal(getattr(split, part), getattr(other, part))


def test_the_karate_split_keeps_pygs_training_nodes_and_draws_the_rest() -> None:
    data = load("karate")
    split, again, other = (data.card.split(data, seed) for seed in (0, 0, 1))
    assert split.sizes == (4, 10, 20)
    assert sorted(data.y[split.train].tolist()) == [0, 1, 2, 3]
    assert torch.equal(split.train, other.train)
    assert torch.equal(split.valid, again.valid)
    assert not torch.equal(split.valid, other.valid)
    assert torch.cat([split.train, split.valid, split.test]).unique().numel() == 34


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_call_gives_data_of_its_own(name: str) -> None:
    first = load(name)
    first.x.zero_()
    assert bool(load(name).x.any())
