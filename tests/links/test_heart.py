"""Hard negatives follow HeaRT's rules: against dense rows, up to ties; excluded nodes, filling up, seeds, the cache."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from heart_oracle import candidates, score_tables
from torch import Tensor

from gnnkit.links import LinkGraph, LinkSplit, _heart, heart_negatives, heart_split, with_heart_negatives


def random_graph(seed: int, num_nodes: int = 40, num_edges: int = 70) -> LinkGraph:
    """A sparse graph with several components and isolated nodes."""
    draw = torch.Generator().manual_seed(seed)
    return LinkGraph.from_edges(torch.randint(num_nodes - 3, (2, num_edges), generator=draw), num_nodes)


def features(seed: int, num_nodes: int, signed: bool = False) -> Tensor:
    """Words of each node, few and some nodes without; many cosines are equal, and many 0."""
    draw = torch.Generator().manual_seed(seed)
    words = (torch.rand(num_nodes, 12, generator=draw) < 0.15).float()
    return words * torch.randint(-1, 2, words.shape, generator=draw) if signed else words


def other_pairs(graph: LinkGraph, num: int, seed: int) -> Tensor:
    """Pairs of two nodes, edges among them."""
    draw = torch.Generator().manual_seed(seed)
    pairs = torch.randint(graph.num_nodes, (2, 3 * num), generator=draw)
    pairs = torch.cat([graph.edges[:, :3], pairs[:, pairs[0] != pairs[1]]], dim=1)
    return pairs[:, :num]


@pytest.mark.parametrize("combine", ["min", "mean"])
@pytest.mark.parametrize("common", ["ra", "cn", "cn/degree"])
@pytest.mark.parametrize("kind", ["none", "words", "signed"])
def test_negatives_are_the_best_by_the_rules_up_to_ties(kind: str, common: str, combine: str) -> None:
    filled = 0
    for seed in range(12):
        graph = random_graph(seed)
        x = None if kind == "none" else features(seed, graph.num_nodes, signed=kind == "signed")
        known = [graph, random_graph(seed + 100), None][seed % 3]
        pairs, eps = other_pairs(graph, 15, seed), (0.0, 1e-3)[seed % 2]
        found = heart_negatives(
            graph, pairs, x, known=known, per_positive=20, common=common, combine=combine, eps=eps, seed=seed
        )
        assert found.shape == (2, 15, 20)
        tables = score_tables(graph, None if x is None else x.double().numpy(), common, 0.15, eps)
        for (a, b), pair in zip(pairs.t().tolist(), found.permute(1, 0, 2).numpy(), strict=True):
            assert (pair[0, :10] == a).all()
            assert (pair[1, 10:] == b).all()
            for anchor, partner, chosen in ((a, b, pair[1, :10]), (b, a, pair[0, 10:])):
                rank, zero, excluded = candidates(tables, anchor, partner, known, combine)
                assert len(set(chosen)) == 10
                assert not excluded[chosen].any()
                scored = np.flatnonzero(~zero & ~excluded)
                if len(scored) >= 10:
                    assert rank[chosen].tolist() == sorted(rank[~excluded])[:10]
                else:
                    filled += 1
                    assert set(scored) <= set(chosen)
                    assert zero[chosen[len(scored) :]].all()
    assert filled > 0 or kind != "none"


def test_ties_are_decided_by_the_seed_and_evenly() -> None:
    graph = random_graph(0, num_nodes=60, num_edges=20)
    pairs = torch.tensor([[58], [59]])  # without edges: every other node is tied
    ask = functools.partial(heart_negatives, graph, pairs, known=graph, per_positive=20)
    assert torch.equal(ask(seed=3), ask(seed=3))
    counts = torch.zeros(60)
    for seed in range(100):
        counts += torch.bincount(ask(seed=seed)[1, 0, :10], minlength=60)
    assert counts[58:].tolist() == [0, 0]
    expected = 100 * 10 / 58
    assert (counts[:58] - expected).abs().max() < 5 * expected**0.5


def test_the_negatives_of_a_positive_depend_on_nothing_else_in_the_call() -> None:
    graph, x = random_graph(5), features(5, 40)
    pairs = other_pairs(graph, 20, 5)
    ask = functools.partial(heart_negatives, graph, known=graph, per_positive=16)
    whole = ask(pairs, x)
    assert torch.equal(ask(pairs, x, max_bytes=1), whole)
    assert torch.equal(ask(pairs.int(), x.double(), max_bytes=50_000), whole)
    for positive in (0, 7, 19):
        assert torch.equal(ask(pairs[:, [positive]], x), whole[:, [positive]])
    repeated = ask(pairs[:, [3, 3]], x)
    assert torch.equal(repeated[:, 0], repeated[:, 1])


# ------------------------------------------------------------------ a whole split


def split_of(seed: int) -> LinkSplit:
    draw = torch.Generator().manual_seed(seed)
    return heart_split(torch.randint(70, (2, 200), generator=draw), 70)


def test_known_edges_are_no_negatives_and_nothing_of_the_test_is_read() -> None:
    split, x = split_of(0), features(0, 70)
    hard = with_heart_negatives(split, x, per_positive=30)
    assert hard.valid_neg.shape == (2, split.sizes[1], 30)
    assert hard.test_neg.shape == (2, split.sizes[2], 30)
    leaks = hard.leaks()
    assert [leaks[f"{name}_neg in train"] for name in ("valid", "test")] == [0, 0]
    assert leaks["test_neg in valid"] == 0
    # the negatives of a positive stay what they are when the other positives of the test are others
    fewer = LinkSplit(split.train, split.valid, split.valid_neg, split.test[:, :2], split.test_neg, 70)
    assert torch.equal(with_heart_negatives(fewer, x, per_positive=30).test_neg, hard.test_neg[:, :2])
    train, both = split.graph(), split.graph(include_valid=True)
    assert torch.equal(hard.valid_neg, heart_negatives(train, split.valid, x, known=train, per_positive=30))
    assert torch.equal(hard.test_neg, heart_negatives(train, split.test, x, known=both, per_positive=30))


def test_collabs_way_keeps_known_edges_and_reads_validation_at_test() -> None:
    split = split_of(1)
    hard = with_heart_negatives(split, include_valid=True, exclude_known=False, per_positive=30)
    assert hard.leaks()["test_neg in train"] > 0
    both = split.graph(include_valid=True)
    assert torch.equal(hard.test_neg, heart_negatives(both, split.test, known=None, per_positive=30))


# ------------------------------------------------------------------ the cache


def test_the_cache_is_keyed_by_content_and_made_anew_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, x = random_graph(2), features(2, 40)
    pairs = other_pairs(graph, 6, 2)
    ask = functools.partial(heart_negatives, graph, pairs, x, known=graph, per_positive=8, cache=tmp_path / "new")
    first = ask()
    (file,) = (tmp_path / "new").iterdir()  # and no scratch file
    others: list[dict[str, Any]] = [
        {"seed": 1},
        {"eps": 1e-4},
        {"alpha": 0.2},
        {"combine": "mean"},
        {"common": "cn"},
        {"per_positive": 6},
        {"known": None},
        {"known": random_graph(3)},
    ]
    for changed in others:
        ask(**changed)
    assert len(list((tmp_path / "new").iterdir())) == 1 + len(others)
    heart_negatives(graph, pairs, x + 1, known=graph, per_positive=8, cache=tmp_path / "new")
    heart_negatives(graph, pairs, known=graph, per_positive=8, cache=tmp_path / "new")
    heart_negatives(graph, pairs.flip(0), x, known=graph, per_positive=8, cache=tmp_path / "new")
    assert len(list((tmp_path / "new").iterdir())) == 4 + len(others)

    file.write_bytes(file.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"heart-\w+\.pt: damaged \(\w+\), made anew$"):
        assert torch.equal(ask(), first)
    torch.save({"negatives": first[:, 1:].int()}, file)
    with pytest.warns(UserWarning, match=r"damaged \(ValueError\), made anew$"):
        assert torch.equal(ask(), first)

    def never(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(_heart, "choose", never)
    assert torch.equal(ask(), first)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"positives": torch.tensor([[1, 2], [3, 2]])}, r"^positives: expected pairs of two nodes \(got 2 twice\)$"),
        ({"positives": torch.tensor([[40], [3]])}, r"^positives: expected ids in \[0, 40\) \(got 40\)$"),
        ({"x": torch.ones(39, 2)}, r"^x: expected 40 rows of finite numbers \(got float32 tensor of shape \[39, 2\]"),
        ({"x": torch.full((40, 2), float("nan"))}, r"^x: expected 40 rows of finite numbers .* with 80 others\)$"),
        ({"x": torch.ones(40, 2).long()}, r"^x: expected a 2-D float32 or float64 tensor \(got int64 "),
        ({"known": random_graph(0, 41)}, r"^known: expected a LinkGraph of 40 nodes \(got 41 nodes\)$"),
        ({"known": torch.ones(2, 2)}, r"^known: expected a LinkGraph of 40 nodes \(got Tensor\)$"),
        ({"per_positive": 5}, r"^per_positive: expected an even number >= 2 \(got 5\)$"),
        ({"per_positive": 0}, r"^per_positive: expected an even number >= 2 \(got 0\)$"),
        ({"per_positive": 78}, r"^per_positive: expected 39 candidates for each end of a positive \(got 3\d of node "),
        ({"common": "aa"}, r"^common and combine: expected ra, cn or .*\(got 'aa' and 'min'\)$"),
        ({"combine": "max"}, r"^common and combine: .*\(got 'ra' and 'max'\)$"),
        ({"alpha": 0.0}, r"^alpha: expected a number in \(0, 1\) \(got 0.0\)$"),
        ({"eps": -1e-7}, r"^eps: expected a number in \[0, 1\) \(got -1e-07\)$"),
        ({"seed": -1}, r"^seed: expected a whole number >= 0 \(got -1\)$"),
        ({"max_bytes": 0}, r"^max_bytes: expected at least 1 \(got 0\)$"),
    ],
)
def test_what_cannot_be_ranked_is_refused(changed: dict[str, Any], message: str) -> None:
    graph = random_graph(0)
    valid = {"positives": torch.tensor([[0, 1], [2, 3]]), "x": None, "known": graph, "per_positive": 8}
    heart_negatives(graph, **valid)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        heart_negatives(graph, **{**valid, **changed})  # type: ignore[arg-type]
