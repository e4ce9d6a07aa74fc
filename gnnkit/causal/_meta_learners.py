"""The other learners of effects, on graphs: T, S, X and DR."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnnkit.causal._average import corrections
from gnnkit.causal._folds import fold_numbers, folds_of, mean_prediction, over_folds
from gnnkit.causal._learner import GraphLearner, probability
from gnnkit.causal._nodes import Nodes
from gnnkit.causal._observed import Observed
from gnnkit.causal._overlap import overlap
from gnnkit.causal._stages import Asked, fit_all, make_stage
from gnnkit.causal._task import Task


class GraphTLearner(GraphLearner):
    r"""Estimate effects as the difference of two outcome models, one of treated and one of untreated nodes.

    :math:`\hat\tau = \hat\mu_1(X, G) - \hat\mu_0(X, G)`. Source: Künzel et al., arXiv 1706.03461. Each model's errors
    enter the effect as they are. Cost: two fits.

    Args:
        outcome: As in `GraphRLearner`.
        random_state: Seed; None goes on from the global generators.

    Example:
        >>> from gnnkit.causal import GraphTLearner, simulate
        >>> data = simulate("ba", seed=0, num_nodes=300)
        >>> GraphTLearner("linear-graph", random_state=0).fit(data).effect(data).shape
        torch.Size([300])
    """

    def __init__(self, outcome: Any = "sign", *, random_state: int | None = None) -> None:
        self.outcome = outcome
        self.random_state = random_state

    def _fit(self, data: Observed) -> None:
        stage, task = make_stage("outcome", self.outcome), Task("regression", data.outcome)
        arms = [(data.treatment == arm).nonzero()[:, 0] for arm in (0, 1)]
        self.models_ = fit_all([Asked(stage, task, arm) for arm in arms], data.nodes)

    def _effect(self, nodes: Nodes) -> Tensor:
        untreated, treated = self.models_
        return treated.predict(nodes) - untreated.predict(nodes)


class GraphSLearner(GraphLearner):
    r"""Estimate effects with one outcome model that has the treatment among its features.

    :math:`\hat\tau = f([X, 1], G) - f([X, 0], G)`, with all nodes treated in the one and none in the other: a model
    that passes messages sees the neighbours' treatments change too. Source: Künzel et al., arXiv 1706.03461; what
    arXiv 2511.13018 calls a T-learner. A model may leave the treatment aside, and effects come out too small. Cost:
    one fit.

    Args:
        outcome: As in `GraphRLearner`.
        random_state: Seed; None goes on from the global generators.

    Example:
        >>> from gnnkit.causal import GraphSLearner, simulate
        >>> data = simulate("ba", seed=0, num_nodes=300)
        >>> GraphSLearner("sage", random_state=0).fit(data).effect(data).shape
        torch.Size([300])
    """

    def __init__(self, outcome: Any = "sign", *, random_state: int | None = None) -> None:
        self.outcome = outcome
        self.random_state = random_state

    def _fit(self, data: Observed) -> None:
        nodes = with_treatment(data.nodes, data.treatment)
        rows = torch.arange(len(nodes), device=data.outcome.device)
        stage = make_stage("outcome", self.outcome)
        self.models_ = [stage.fit_task(Task("regression", data.outcome), nodes, rows)]

    def _effect(self, nodes: Nodes) -> Tensor:
        treated, untreated = (with_treatment(nodes, torch.full_like(nodes.x[:, 0], arm)) for arm in (1.0, 0.0))
        return self.models_[0].predict(treated) - self.models_[0].predict(untreated)


class GraphXLearner(GraphLearner):
    r"""Estimate effects from each arm's outcomes against what the other arm's model expects of them.

    :math:`D^1 = Y - \hat\mu_0` of treated nodes and :math:`D^0 = \hat\mu_1 - Y` of untreated ones are modelled by
    :math:`\hat\tau_1, \hat\tau_0`; then :math:`\hat\tau = \hat e \hat\tau_0 + (1 - \hat e) \hat\tau_1`. Source: Künzel
    et al., arXiv 1706.03461. It gains where one arm is small. Propensities weigh and do not divide, so nothing is
    clipped; where they are near 0 or 1 ``fit`` warns. Cost: five fits.

    Args:
        outcome: As in `GraphRLearner`.
        propensity: As there.
        effect: As there, fitted to D as a regression.
        random_state: Seed; None goes on from the global generators.

    Example:
        >>> from gnnkit.causal import GraphXLearner, simulate
        >>> data = simulate("ba", seed=0, num_nodes=300)
        >>> GraphXLearner("linear-graph", "linear", "linear-graph", random_state=0).fit(data).effect(data).shape
        torch.Size([300])
    """

    def __init__(
        self, outcome: Any = "sign", propensity: Any = "sign", effect: Any = "sign", *, random_state: int | None = None
    ) -> None:
        self.outcome = outcome
        self.propensity = propensity
        self.effect_stage = effect
        self.random_state = random_state

    def _fit(self, data: Observed) -> None:
        outcome, propensity = make_stage("outcome", self.outcome), make_stage("propensity", self.propensity)
        effect = make_stage("effect", self.effect_stage)
        rows = torch.arange(len(data.nodes), device=data.outcome.device)
        arms = [(data.treatment == arm).nonzero()[:, 0] for arm in (0, 1)]
        task = Task("regression", data.outcome)
        untreated, treated = (m.predictions for m in fit_all([Asked(outcome, task, arm) for arm in arms], data.nodes))
        differences = (treated - data.outcome, data.outcome - untreated)
        asked = [Asked(effect, Task("regression", d), arm) for d, arm in zip(differences, arms, strict=True)]
        asked.append(Asked(propensity, Task("classification", data.treatment), rows))
        self.models_ = fit_all(asked, data.nodes)
        self.overlap_ = overlap(self.models_[2].predictions.sigmoid(), data.treatment)

    def _effect(self, nodes: Nodes) -> Tensor:
        untreated, treated, propensity = (model.predict(nodes) for model in self.models_)
        chance = propensity.sigmoid()
        return chance * untreated + (1 - chance) * treated


class GraphDRLearner(GraphLearner):
    r"""Estimate effects by modelling each node's doubly robust score.

    .. math:: \hat\mu_1 - \hat\mu_0 + \frac{T - \hat e}{\hat e (1 - \hat e)} (Y - \hat\mu_T)

    with cross-fitted nuisances; the score's mean is right where either the outcomes or the propensity are. Source:
    Kennedy, arXiv 2004.14497. Small propensities make it noisy, where the R-learner gives such nodes little weight.
    Cost: ``4 n_folds`` fits.

    Args:
        outcome: As in `GraphRLearner`, fitted to each arm.
        propensity: As there.
        effect: As there, fitted to the score as a regression, once a fold.
        n_folds: As there.
        clip: As there.
        random_state: Seed; None goes on from the global generators.

    Attributes:
        scores_: ``[N]`` doubly robust scores.
        held_out_effect_: ``[N]`` effects by fits that did not see the node.
        fold_: ``[N]``, which fold each node was held out with.
        overlap_: How far every node could have had either treatment.

    Raises:
        ValueError: Propensities are 0 or 1 and ``clip`` is 0.

    Example:
        >>> from gnnkit.causal import GraphDRLearner, simulate
        >>> data = simulate("ba", seed=0, num_nodes=300)
        >>> GraphDRLearner("linear-graph", "linear", "linear-graph", random_state=0).fit(data).effect(data).shape
        torch.Size([300])
    """

    scores_: Tensor
    held_out_effect_: Tensor
    fold_: Tensor

    def __init__(
        self,
        outcome: Any = "sign",
        propensity: Any = "sign",
        effect: Any = "sign",
        n_folds: Any = 5,
        *,
        clip: float = 0.01,
        random_state: int | None = None,
    ) -> None:
        self.outcome = outcome
        self.propensity = propensity
        self.effect_stage = effect
        self.n_folds = n_folds
        self.clip = clip
        self.random_state = random_state

    def _fit(self, data: Observed) -> None:
        probability("clip", self.clip, 0.5)
        outcome, propensity = make_stage("outcome", self.outcome), make_stage("propensity", self.propensity)
        effect = make_stage("effect", self.effect_stage)
        folds = folds_of(self.n_folds, data.treatment, "binary", self.random_state)
        task, given = Task("regression", data.outcome), Task("classification", data.treatment)
        means = [over_folds(outcome, task, data.nodes, folds, rows=data.treatment == arm)[0] for arm in (0, 1)]
        raw = over_folds(propensity, given, data.nodes, folds)[0].sigmoid()
        self.overlap_, self.fold_ = overlap(raw, data.treatment, self.clip), fold_numbers(folds, raw)
        chance = raw.clamp(self.clip, 1 - self.clip)
        if bool(((chance == 0) | (chance == 1)).any()):
            raise ValueError("clip: expected a number > 0, such as 0.01, where propensities are 0 or 1 (got 0)")
        residual = data.outcome - torch.where(data.treatment == 1, means[1], means[0])
        self.scores_ = means[1] - means[0] + corrections(data.treatment, chance, residual, "binary")
        scored = Task("regression", self.scores_)
        self.held_out_effect_, self.models_ = over_folds(effect, scored, data.nodes, folds)

    def _effect(self, nodes: Nodes) -> Tensor:
        return mean_prediction(self.models_, nodes)


def with_treatment(nodes: Nodes, treatment: Tensor) -> Nodes:
    """The nodes with their treatment as last feature."""
    return nodes.with_features(torch.cat([nodes.x, treatment.unsqueeze(1)], dim=1))
