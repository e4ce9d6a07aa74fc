"""GraphLearner: what the learners share: scikit-learn's conventions, seeds, effects of new nodes, files."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.causal._data import CausalData
from gnnkit.causal._nodes import Nodes
from gnnkit.causal._observed import nodes_of, observed
from gnnkit.causal._overlap import Overlap, warn_of
from gnnkit.causal._random import seeded
from gnnkit.causal._saved import read, write
from gnnkit.causal._stages import Fitted


class GraphLearner(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Estimates what a treatment does to each node of a graph; see the classes that derive from it."""

    random_state: int | None
    effect_stage: Any
    n_features_in_: int
    models_: list[Fitted]
    overlap_: Overlap

    def __setattr__(self, name: str, value: Any) -> None:
        # scikit-learn keeps a parameter in the attribute of its name, and the name `effect` is the method's
        super().__setattr__("effect_stage" if name == "effect" else name, value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments the learner was made with, as scikit-learn does; ``deep`` those of its stages too."""
        params: dict[str, Any] = super().get_params(deep)
        if "effect" in params:
            stage = params["effect"] = self.effect_stage
            if deep and hasattr(stage, "get_params") and not isinstance(stage, type):
                params |= {f"effect__{name}": value for name, value in stage.get_params().items()}
        return params

    def fit(self, X: Any, T: Any = None, Y: Any = None, edge_index: Any = None) -> Self:
        """Fit on a graph whose nodes were treated or not.

        Args:
            X: ``[N, d]`` features, an array or a tensor; or a `Data` with ``x``, ``edge_index``, ``treatment`` and
                ``y``, or a `CausalData`, with nothing else given.
            T: ``[N]`` or ``[N, 1]``, 0 or 1; any numbers where ``treatment="continuous"``.
            Y: ``[N]`` or ``[N, 1]`` outcomes.
            edge_index: ``[2, E]``, both directions of an undirected edge.

        Raises:
            ValueError: Sizes differ, a number is not finite, all nodes have the same treatment, a treatment is neither
                0 nor 1, ids of the graph are not those of the nodes, or there are fewer nodes of one treatment than
                folds.
        """
        data = observed(X, T, Y, edge_index, getattr(self, "treatment", "binary"))
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)  # of an earlier fit
        with self._drawing():
            self._fit(data)
        self.n_features_in_ = data.nodes.x.shape[1]
        if hasattr(self, "overlap_"):
            warn_of(self.overlap_, getattr(self, "clip", 0.0))
        return self

    def effect(self, X: Any, edge_index: Any = None) -> Any:
        """Return the effect on each node ``[N]``, a tensor for tensors and PyG's data and else an array.

        Args:
            X: ``[N, d]`` features, or a `Data` or `CausalData` with the graph.
            edge_index: ``[2, E]``; the graph may be another one than that of ``fit``, with as many features.

        Raises:
            ValueError: Not what ``fit`` would take, or another number of features.
        """
        return as_given(self._effect(self._nodes(X, edge_index)), X)  # on the device of the fit

    def save(self, path: str | Path) -> None:
        """Write parameters and what was fitted to a file that `load` reads without running any code from it.

        Raises:
            ValueError: A stage is an estimator of scikit-learn or a module of your own: pickle such a learner.
        """
        check_is_fitted(self, "n_features_in_")
        write(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: The file is of another class or not a learner's.
        """
        learner: Self = read(cls, Path(path))
        return learner

    def _drawing(self) -> AbstractContextManager[None]:
        return nullcontext() if self.random_state is None else seeded(self.random_state)

    def _nodes(self, x: Any, edge_index: Any) -> Nodes:
        check_is_fitted(self, "n_features_in_")
        nodes = nodes_of(x, edge_index).to(self.models_[0].predictions.device)
        if nodes.x.shape[1] != self.n_features_in_:
            raise ValueError(f"X: expected {self.n_features_in_} features, as in fit (got {nodes.x.shape[1]})")
        return nodes

    def _fit(self, data: Any) -> None:
        raise NotImplementedError

    def _effect(self, nodes: Nodes) -> Tensor:
        raise NotImplementedError


def as_given(values: Tensor, given: Any) -> Any:
    """An array where no tensor was given."""
    return values if isinstance(given, Tensor | Data | CausalData) else values.cpu().numpy()


def probability(name: str, value: Any, most: float) -> None:
    """Require a number in [0, most)."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < most:
        raise ValueError(f"{name}: expected a number in [0, {most:g}) (got {value!r})")
