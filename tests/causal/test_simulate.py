"""Simulated networks: the paper's are those of its code, ours vary as much and overlap as far as asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch_geometric.data import Data
from torch_geometric.utils import is_undirected

from gnnkit.causal import simulate, simulate_paper
from gnnkit.causal._data import mean_of_neighbours
from gnnkit.datasets import load

# what the authors' generator (commit 589f5f5 of their public code) draws for seed 0:
# numbers of edges and treated nodes, sums of outcomes and effects
PUBLISHED = {
    ("ba", "simple_h"): (7870, 416, 1247.453, 2378.178),
    ("ba", "local_x"): (7870, 416, 1403.941, 1951.994),
    ("ba", "higher_order"): (7870, 416, 1143.411, 2108.693),
    ("ba", "interaction"): (7870, 416, 1090.433, 1977.213),
    ("er", "simple_h"): (50158, 471, 949.056, 2015.911),
    ("sbm", "simple_h"): (55226, 471, 954.222, 2020.377),
}


@pytest.mark.parametrize(("graph", "effect"), PUBLISHED)
def test_the_papers_data_are_those_of_its_code(graph: Any, effect: Any) -> None:
    data = simulate_paper(effect, graph, seed=0)
    edges, treated, outcomes, effects = PUBLISHED[graph, effect]
    assert (data.edge_index.shape[1], int(data.treatment.sum())) == (edges, treated)
    assert float(data.outcome.double().sum()) == pytest.approx(outcomes, abs=0.01)
    assert float(data.effect.double().sum()) == pytest.approx(effects, abs=0.01)
    assert data.propensity is None


def test_the_papers_effects_hardly_vary_but_for_the_local_one() -> None:
    variances = {
        effect: np.mean([float(simulate_paper(effect, "er", seed).effect.var()) for seed in range(5)])  # type: ignore[arg-type]
        for effect in ("simple_h", "local_x")
    }
    assert variances["simple_h"] < 0.01 < 0.8 < variances["local_x"]


@pytest.mark.parametrize("graph", ["ba", "er", "sbm"])
def test_effects_vary_as_asked_through_graph_and_features(graph: str) -> None:
    for share in (0.0, 0.3, 1.0):
        data = simulate(graph, 1, num_nodes=4000, share=share)
        assert float(data.effect.var()) == pytest.approx(0.96, abs=0.15)
        own = torch.corrcoef(torch.stack([data.effect, data.x[:, 0].sin()]))[0, 1].square()
        assert float(own) == pytest.approx(1 - share, abs=0.12)
    assert float(simulate(graph, 1, heterogeneity=0.0, average=3.0).effect.std()) == 0


def test_treatment_is_drawn_from_the_propensity_and_overlap_is_controlled() -> None:
    trial, usual, hard = (simulate("er", 2, num_nodes=5000, selection=scale) for scale in (0.0, 1.0, 4.0))
    assert trial.propensity is not None
    assert usual.propensity is not None
    assert hard.propensity is not None
    assert trial.propensity.unique().tolist() == [0.5]
    low = [float(((data.propensity < 0.05) | (data.propensity > 0.95)).float().mean()) for data in (usual, hard)]
    assert low[0] < 0.02 < 0.3 < low[1]
    for part in (usual.propensity < 0.3, usual.propensity > 0.7):
        assert float(usual.treatment[part].mean()) == pytest.approx(float(usual.propensity[part].mean()), abs=0.05)


def test_the_outcome_is_made_of_its_parts() -> None:
    one = simulate("ba", 3, noise=0.0, spillover=0.0)
    two = simulate("ba", 3, noise=0.0, spillover=2.0)
    assert two.exposure is not None
    assert_close(two.outcome, one.outcome + 2 * two.exposure)
    assert_close(two.exposure.unsqueeze(1), mean_of_neighbours(two.treatment.unsqueeze(1), two.edge_index))
    rest = one.outcome - one.treatment * one.effect - 0.5 * one.x[:, 1]  # H_0
    assert (float(rest.mean()), float(rest.std())) == (pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-3))
    assert_close(one.effect, 2 + 1.5 * rest.sin(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["any", "count"])
def test_exposures_count_neighbours_by_hand(kind: str) -> None:
    data = simulate("ba", 4, num_nodes=50, spillover=1.0, exposure=kind)
    assert data.exposure is not None
    for node in range(50):
        treated = int(data.treatment[data.edge_index[0, data.edge_index[1] == node]].sum())
        assert data.exposure[node] == (treated if kind == "count" else treated > 0)


def test_homophily_makes_neighbours_alike() -> None:
    def alike(homophily: float) -> float:
        data = simulate("sbm", 5, num_nodes=3000, homophily=homophily)
        src, dst = data.edge_index
        return float((data.x[src] * data.x[dst]).mean())

    assert abs(alike(0.0)) < 0.02
    assert 0.1 < alike(0.3) < alike(0.6) < alike(0.9)
    assert alike(0.9) > 0.4


def test_blocks_have_ten_times_as_many_edges_within() -> None:
    data = simulate("sbm", 6, num_nodes=4000)
    blocks = torch.arange(4000) * 2 // 4000
    within = float((blocks[data.edge_index[0]] == blocks[data.edge_index[1]]).float().mean())
    assert within == pytest.approx(10 / 11, abs=0.01)
    assert data.edge_index.shape[1] / 4000 == pytest.approx(10, abs=0.1)
    assert is_undirected(data.edge_index)


def test_a_graph_of_the_users_own_keeps_its_features() -> None:
    karate = load("karate")
    data = simulate(Data(x=karate.x, edge_index=karate.edge_index), 0)
    assert torch.equal(data.x, karate.x)
    assert torch.equal(data.edge_index, karate.edge_index)
    assert float(data.effect.std()) > 0.3


@pytest.mark.parametrize("make", [simulate_paper, lambda *_, seed: simulate("ba", seed)], ids=["paper", "ours"])
def test_seeds_decide_everything_and_nothing_else_is_disturbed(make: Any) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    first, second, other = (make("simple_h", "ba", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.outcome, second.outcome)
    assert not torch.equal(first.outcome, other.outcome)
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_data_go_to_pyg() -> None:
    data = simulate("ba", 0, num_nodes=30, spillover=1.0)
    pyg = data.to_pyg()
    assert (pyg.num_nodes, pyg.num_features) == (30, 10)
    assert torch.equal(pyg.y, data.outcome)
    assert {"treatment", "effect", "propensity", "exposure"} <= set(pyg.keys())
    assert "propensity" not in simulate_paper(num_nodes=30).to_pyg()


def given(edges: list[list[int]]) -> Data:
    """Thirty nodes with two features."""
    return Data(x=torch.rand(30, 2), edge_index=torch.tensor(edges))


DIRECTED = Data(x=torch.rand(30, 2), edge_index=torch.tensor([[0], [1]]))
UNKNOWN = Data(x=torch.full((30, 2), float("nan")), edge_index=torch.tensor([[0, 1], [1, 0]]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"graph": "ring"}, "graph: expected one of ba, er, sbm"),
        ({"graph": DIRECTED}, "graph: expected both directions"),
        ({"graph": UNKNOWN}, "graph: expected finite features"),
        ({"graph": Data(edge_index=torch.tensor([[0], [1]]))}, "graph: expected a Data with x"),
        ({"graph": given([[0, 30], [30, 0]])}, r"graph.edge_index: expected ids"),
        ({"graph": given([[0, -1], [-1, 0]])}, r"graph.edge_index: expected ids"),
        ({"graph": Data(x=torch.rand(30, 2), edge_index=torch.rand(2, 4))}, "graph: expected edge_index"),
        ({"graph": Data(x=torch.rand(0, 2), edge_index=torch.zeros(2, 0).long())}, "graph: expected at least 20 nodes"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"share": 1.1}, "share: expected"),
        ({"homophily": 1.0}, "homophily: expected"),
        ({"exposure": "mean"}, "exposure: expected one of share, any, count"),
        ({"noise": -0.1}, "noise: expected a finite number >= 0"),
        ({"selection": float("inf")}, "selection: expected"),
        ({"spillover": float("nan")}, "spillover: expected a finite number"),
        ({"num_nodes": 3}, "num_nodes >= 20"),
        ({"num_features": 1}, "num_features >= 2"),
    ],
    ids=str,
)
def test_wrong_arguments_are_value_errors_that_say_what_came(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=rf"{said}.*\(got .+\)$"):
        simulate(**arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"effect": "global"}, "effect: expected one of simple_h"),
        ({"graph": "ring"}, "graph: expected one of ba"),
        ({"seed": 2.5}, "seed: expected"),
        ({"num_nodes": 4}, "expected at least 5"),
        ({"noise": -1.0}, "noise >= 0"),
    ],
    ids=str,
)
def test_wrong_arguments_of_the_paper_are_value_errors(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=rf"{said}.*\(got .+\)$"):
        simulate_paper(**arguments)
