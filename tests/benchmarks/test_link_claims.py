"""What the claims on topological concentration and on HeaRT's negatives compute beside gnnkit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gnnkit.links import LinkGraph, approximate_concentration, heart_negatives
from gnnkit.links._heart_scores import Scores

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "claims")]

import concentration  # noqa: E402
import heart_negatives as claim  # noqa: E402


def drawn(num_nodes: int, num_edges: int) -> LinkGraph:
    draw = torch.Generator().manual_seed(0)
    return LinkGraph.from_edges(torch.randint(num_nodes, (2, num_edges), generator=draw), num_nodes)


@pytest.mark.parametrize("hops", [1, 2])
def test_the_limit_of_atc_is_the_overlap_of_walks(hops: int) -> None:
    graph = drawn(40, 70)
    dense = torch.zeros(40, 40, dtype=torch.float64)
    dense[graph.edges[0], graph.edges[1]] = dense[graph.edges[1], graph.edges[0]] = 1
    steps = dense / dense.sum(1, keepdim=True).clamp(min=1)
    walks = steps + (steps @ steps if hops == 2 else 0)
    limit = concentration.atc_limit(graph, hops, rows=7)
    torch.testing.assert_close(limit, (steps * (walks @ walks.T)).sum(1))
    wide = approximate_concentration(graph, hops=hops, dim=2**15)
    torch.testing.assert_close(wide.double(), limit, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("above", "said"), [([1, 1], "confirmed (2 of 2)"), ([0, 0], "refuted (0 of 2)")])
def test_a_verdict_counts_the_cases_of_one_performance(above: list[int], said: str) -> None:
    lines = [{"performance": "recall", "tc_above_degree": bool(each)} for each in above]
    others = [{"performance": "hits", "tc_above_degree": each} for each in (True, False)]
    assert concentration.verdict([*lines, *others], "recall") == f"recall: {said}"
    assert concentration.verdict([*lines, *others], "hits") == "hits: neither (1 of 2)"


def test_negatives_of_two_seeds_differ_by_ties_alone() -> None:
    graph = drawn(700, 1500)
    x = (torch.rand(700, 40, generator=torch.Generator().manual_seed(1)) < 0.05).float()
    pairs = graph.edges[:, :6]
    ranks = claim.combined_ranks(pairs, graph, Scores(graph, x, "cn/degree", claim.ALPHA, claim.EPS))

    def chosen(seed: int, features: Tensor | None = x) -> Tensor:
        ends = heart_negatives(graph, pairs, features, known=graph, common="cn/degree", eps=claim.EPS, seed=seed)
        halves = ends.view(2, -1, 2, claim.EACH_END)
        return torch.stack([halves[1, :, 0], halves[0, :, 1]], dim=1)

    tied, same = claim.overlap(chosen(0), chosen(1), ranks)
    assert tied == 1.0
    assert same < 0.9
    assert claim.overlap(chosen(0), chosen(0), ranks) == (1.0, 1.0)
    assert claim.overlap(chosen(0, None), chosen(0), ranks)[0] < 1.0
