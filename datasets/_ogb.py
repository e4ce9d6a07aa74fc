"""The ogb package, called so that it asks nothing, phones nobody and leaves nothing behind (ogb 1.3.6)."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from gnnkit._optional import require

_ABSENT: Any = object()


def package(kind: str) -> ModuleType:
    """Import ``ogb.nodeproppred``, ``ogb.linkproppred`` or ``ogb.graphproppred`` for ogbn, ogbl or ogbg.

    Raises:
        ImportError: ogb is absent; the message holds the install command.
    """
    with alone():
        if kind == "ogbn":
            return require("ogb.nodeproppred", "ogb")
        return require("ogb.linkproppred", "ogb") if kind == "ogbl" else require("ogb.graphproppred", "ogb")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Import ogb without its side effects.

    It starts a thread that asks PyPI for a newer version when it finds the package ``outdated``, sets an environment
    variable, and imports DGL where that is installed. None in ``sys.modules`` makes a package look absent, which ogb
    provides for. A DGL that the user has imported stays visible.
    """
    hidden = ["outdated"] + ["dgl"] * ("dgl" not in sys.modules)
    modules = {name: sys.modules.get(name, _ABSENT) for name in hidden}
    variable = os.environ.get("OUTDATED_IGNORE")
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, module in modules.items():
            del sys.modules[name]
            if module is not _ABSENT:
                sys.modules[name] = module
        os.environ.pop("OUTDATED_IGNORE", None)
        if variable is not None:
            os.environ["OUTDATED_IGNORE"] = variable


@cache
def official(kind: str) -> dict[str, dict[str, str]]:
    """Return what ogb knows of each of its datasets of a kind, by name: URL, version, split, number of tasks, …"""
    file = package(kind).__file__
    assert file is not None
    rows = list(csv.reader(Path(file).with_name("master.csv").read_text().splitlines()))
    return {name: {row[0]: row[column] for row in rows[1:]} for column, name in enumerate(rows[0]) if column}


@dataclass(frozen=True)
class OGBEvaluator:
    """ogb's own ``Evaluator`` of a dataset as a function.

    For nodes and graphs ``(y_true, y_pred)``: classes ``[P]`` and logits ``[P, C]``, or ``[P, T]`` each.
    For links ``(y_pred_pos, y_pred_neg)``: scores of the true ``[P]`` and of the false ones, ``[P, K]`` for mrr.
    For F1 (ogbg-code2) a list of words each graph: ``(y_true, y_pred)``.

    Attributes:
        name: The dataset.
        metric: In ogb's words: acc, rocauc, ap, rmse, hits@K, mrr, F1.
        num_tasks: T.

    Raises:
        ImportError: ogb is absent.
        ValueError: ogb refuses the input; the message says why.
    """

    name: str
    metric: str
    num_tasks: int = 1

    def __call__(self, first: Any, second: Any) -> float:
        if self.metric == "F1":
            return self._score({"seq_ref": first, "seq_pred": second})
        for value in (first, second):
            if not isinstance(value, Tensor):
                raise ValueError(f"{self.name}: expected tensors for {self.metric} (got {type(value).__name__})")
        if not bool(second.isfinite().all()):
            return math.nan  # a diverged model: the loop says so at the next loss
        first, second = first.detach().cpu(), second.detach().cpu()
        if self.name.startswith("ogbl-"):
            inputs = {"y_pred_pos": first, "y_pred_neg": second}
        else:
            if self.metric == "acc":  # ogb compares classes; one logit a task says yes where it is positive
                second = second.argmax(dim=-1) if first.dim() == 1 else (second > 0).to(first.dtype)
            elif first.dim() == 1 and second.shape[-1] == 2:  # ogb ranks by one number a row
                second = second[:, 1] - second[:, 0]
            inputs = {"y_true": first.reshape(-1, self.num_tasks), "y_pred": second.reshape(-1, self.num_tasks)}
        return self._score(inputs)

    def _score(self, inputs: dict[str, Any]) -> float:
        try:
            scores = _evaluator(self.name, self.metric, self.num_tasks).eval(inputs)
        except RuntimeError as error:
            raise ValueError(f"{self.name}: expected input that ogb's Evaluator takes (got: {error})") from error
        if self.metric == "mrr":
            return float(scores["mrr_list"].mean())
        return float(scores[self.metric])


@cache
def _evaluator(name: str, metric: str, num_tasks: int) -> Any:
    kind = name.partition("-")[0]
    base = package(kind).Evaluator
    if name in official(kind):
        return base(name)

    class Custom(base):  # type: ignore[misc, valid-type]
        """ogb's, for a dataset that is not in ogb's list: only the look-up is left out."""

        def __init__(self) -> None:
            self.name, self.eval_metric, self.num_tasks = name, metric, num_tasks
            if metric.startswith("hits@"):
                self.K = int(metric.removeprefix("hits@"))

    return Custom()
