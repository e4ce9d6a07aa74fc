"""Studies of learners on simulated networks: the published grid, and the same question asked fairly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.model_selection import KFold
from torch import Tensor

from gnnkit.causal._data import CausalData
from gnnkit.causal._folds import folds_of, nuisances
from gnnkit.causal._linear_stages import ConstantStage, KnownStage, LinearStage
from gnnkit.causal._meta_learners import GraphDRLearner, GraphSLearner, GraphTLearner, GraphXLearner, with_treatment
from gnnkit.causal._observed import Observed, observed
from gnnkit.causal._paper import draw_paper
from gnnkit.causal._peers import PEERS, peer_effect
from gnnkit.causal._published import published_stage
from gnnkit.causal._r_learner import GraphRLearner
from gnnkit.causal._random import seeded
from gnnkit.causal._simulate import GRAPHS, simulate
from gnnkit.causal._stages import Asked, Stage, fit_all, make_stage
from gnnkit.causal._task import Task
from gnnkit.datasets import load

MODES = ("paper", "repaired")
_OF_PAPER = ("effect", "network")  # settings without effect in the other mode
_OF_REPAIRED = ("share", "heterogeneity", "selection", "homophily")
EFFECTS = ("constant", "linear", "linear-graph", "mlp", "gcn", "sage", "sign")


@dataclass(frozen=True)
class Study:
    """What is simulated and which estimators are asked.

    Attributes:
        mode: ``"paper"``: `simulate_paper` and the published networks, epochs and folds. ``"repaired"``: `simulate` and
            the defaults of the learners.
        graph: ``"ba"``, ``"er"``, ``"sbm"``; in paper mode also ``"cora"``, in repaired mode any dataset of one graph.
        effect: Of paper mode, see `simulate_paper`.
        network: Of paper mode, ``"gcn"`` or ``"gat"``.
        num_nodes: Of a drawn graph.
        noise: Of the outcome.
        share: Of repaired mode: part of the effects' variance that comes through the graph.
        heterogeneity: Of repaired mode, see `simulate`, as are the next two.
        selection: How far treatment depends on features and graph.
        homophily: How alike neighbours are.
        peers: Ask EconML's estimators too.
    """

    mode: str = "paper"
    graph: str = "ba"
    effect: str = "simple_h"
    network: str = "gcn"
    num_nodes: int = 1000
    noise: float = 0.5
    share: float = 1.0
    heterogeneity: float = 1.5
    selection: float = 1.0
    homophily: float = 0.0
    peers: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode: expected {' or '.join(MODES)} (got {self.mode!r})")
        idle = _OF_REPAIRED if self.mode == "paper" else _OF_PAPER
        for name in idle:
            if getattr(self, name) != getattr(type(self), name):
                raise ValueError(f"{name}: expected its default in {self.mode} mode (got {getattr(self, name)!r})")
        if self.network not in ("gcn", "gat"):
            raise ValueError(f"network: expected gcn or gat (got {self.network!r})")

    @property
    def graph_aware(self) -> str:
        """The method that the study is about."""
        return f"{self.network} + {self.network}" if self.mode == "paper" else "sign + sign"


def run_seed(study: Study, seed: int, root: str | None = None) -> dict[str, Any]:
    """Simulate one seed and estimate its effects by every method.

    Returns:
        ``{"seed", "errors": {method: mean squared error of the effects}, "facts": {name: number}}``; a method is named
        ``nuisances + effect``. Facts: mean and variance of the true effects, the treated share, and in paper mode the
        errors of hubs (degree at the 0.9 quantile or above) and periphery (0.5 or below).

    Raises:
        ValueError: The study's settings do not fit each other.
        ImportError: EconML is asked for and absent.

    Example:
        >>> from gnnkit.causal import Study, run_seed
        >>> row = run_seed(Study(num_nodes=200), seed=0)
        >>> row["errors"]["gcn + linear-no-intercept"] > 10 * row["errors"]["gcn + linear"]
        True
    """
    if study.mode == "repaired":
        return _repaired(study, seed, root)
    with seeded(seed):
        data = draw_paper(study.effect, study.graph, num_nodes=study.num_nodes, noise=study.noise, root=root)
        estimates = dict(_published(observed(data, None, None, None, "binary"), study.network))
    estimates |= _peers(study, data, seed)
    facts = _facts(data)
    degree = torch.bincount(data.edge_index[0], minlength=data.num_nodes).float()
    groups = {"hubs": degree >= degree.quantile(0.9), "periphery": degree <= degree.quantile(0.5)}
    for method in (f"mlp + {study.network}", study.graph_aware):
        for name, nodes in groups.items():
            facts[f"{name}: {method}"] = _error(estimates[method][nodes], data.effect[nodes])
    return _row(seed, data, estimates, facts)


def _published(data: Observed, network: str) -> Iterator[tuple[str, Tensor]]:
    """Effects by the published methods, random numbers drawn in the order of the published code."""
    folds = folds_of(KFold(2, shuffle=True, random_state=42), data.treatment, "binary", None)
    rows = torch.arange(len(data.nodes))
    tasks = {}
    for name in ("mlp", network):
        m, e = nuisances(data, folds, published_stage(name, 150), published_stage(name, 150), "binary")
        tasks[name] = Task("effect", data.outcome - m, data.treatment - e)
    linear: dict[str, Stage] = {
        "linear-no-intercept": make_stage("effect", "linear-no-intercept", r_loss=True),
        "linear": LinearStage(ridge=0.1),  # the same ridge, with the constant that the former lacks
        "constant": ConstantStage(),
    }
    for name, task in tasks.items():
        for effect, stage in linear.items():
            yield f"{name} + {effect}", stage.fit_task(task, data.nodes, rows).predictions
    asked = [Asked(published_stage(network, 200), task, rows) for task in tasks.values()]
    for name, model in zip(tasks, fit_all(asked, data.nodes), strict=True):
        yield f"{name} + {network}", model.predictions
    one = published_stage(network, 150).fit_task(
        Task("regression", data.outcome), with_treatment(data.nodes, data.treatment), rows
    )
    arms = (with_treatment(data.nodes, torch.full_like(data.treatment, arm)) for arm in (1.0, 0.0))
    treated, untreated = (one.predict(nodes) for nodes in arms)
    yield "s-learner", treated - untreated


def _repaired(study: Study, seed: int, root: str | None) -> dict[str, Any]:
    graph = study.graph if study.graph in GRAPHS else load(study.graph, root)
    data = simulate(
        graph,
        seed,
        num_nodes=study.num_nodes,
        share=study.share,
        heterogeneity=study.heterogeneity,
        noise=study.noise,
        selection=study.selection,
        homophily=study.homophily,
    )
    estimates = {"true mean": torch.full_like(data.effect, data.average_effect)}
    given = observed(data, None, None, None, "binary")
    for name in ("mlp", "sign"):
        folds, stage = folds_of(5, data.treatment, "binary", seed), make_stage("nuisances", name)
        with seeded(seed):  # those of GraphRLearner(name, name, random_state=seed), for all final stages
            m, e = nuisances(given, folds, stage, stage, "binary")
        known = KnownStage(m), KnownStage(e)
        for effect in EFFECTS:
            learner = GraphRLearner(*known, effect, random_state=seed).fit(data)
            estimates[f"{name} + {effect}"] = learner.effect(data)
    others: dict[str, Callable[..., Any]] = {
        "t-learner": GraphTLearner,
        "s-learner": GraphSLearner,
        "x-learner": GraphXLearner,
        "dr-learner": GraphDRLearner,
    }
    estimates |= {name: learner(random_state=seed).fit(data).effect(data) for name, learner in others.items()}
    return _row(seed, data, estimates | _peers(study, data, seed), _facts(data))


def _peers(study: Study, data: CausalData, seed: int) -> dict[str, Tensor]:
    return {name: peer_effect(name, data, seed) for name in PEERS} if study.peers else {}


def _row(seed: int, data: CausalData, estimates: dict[str, Tensor], facts: dict[str, float]) -> dict[str, Any]:
    errors = {method: _error(estimate, data.effect) for method, estimate in estimates.items()}
    return {"seed": seed, "errors": errors, "facts": facts}


def _facts(data: CausalData) -> dict[str, float]:
    return {
        "mean effect": data.average_effect,
        "variance of effects": float(data.effect.var(correction=0)),
        "treated": float(data.treatment.mean()),
    }


def _error(estimate: Tensor, truth: Tensor) -> float:
    return float((estimate - truth).square().mean())
