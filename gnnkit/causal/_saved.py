"""Files of fitted learners: tensors and plain values, from which nothing is executed when they are read."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import KFold
from torch import Tensor

from gnnkit.causal._linear_stages import ConstantStage, FittedKnown, FittedLinear, KnownStage, LinearStage
from gnnkit.causal._networks import GraphNetwork
from gnnkit.causal._overlap import Overlap
from gnnkit.causal._stages import FittedNetwork, NetworkStage

_STAGES = {cls.__name__: cls for cls in (NetworkStage, LinearStage, ConstantStage, KnownStage)}
_PLAIN: dict[str, Any] = _STAGES | {"Overlap": Overlap, "KFold": KFold}
_VERSION = 1


def write(learner: Any, path: Path) -> None:
    """Write a fitted learner, beside the file first and then in its place."""
    fitted = {name: _plain(name, value) for name, value in vars(learner).items() if name.endswith("_")}
    params = {name: _plain(name, value) for name, value in learner.get_params(deep=False).items()}
    content = {"gnnkit_learner": type(learner).__name__, "version": _VERSION, "params": params, "fitted": fitted}
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: expected an existing folder (got none)")
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        torch.save(content, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read(cls: type, path: Path) -> Any:
    """Read a learner of class ``cls``."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: expected a file that save wrote (got {type(error).__name__})") from error
    if not isinstance(content, dict) or content.get("gnnkit_learner") != cls.__name__:
        got = content.get("gnnkit_learner") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: expected a {cls.__name__} (got {got})")
    if content.get("version") != _VERSION:
        raise ValueError(f"{path}: expected version {_VERSION} (got {content.get('version')})")
    try:
        learner = cls(**{name: _made(value) for name, value in content["params"].items()})
        for name, value in content["fitted"].items():
            setattr(learner, name, _made(value))
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"{path}: expected the parts of a {cls.__name__} (got {type(error).__name__} {error})"
        ) from error
    return learner


def _plain(name: str, value: Any) -> Any:
    """Tensors, numbers, strings, lists, and dictionaries that say what they were."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, list):
        return [_plain(name, item) for item in value]
    if isinstance(value, Overlap):
        return {"made": "Overlap", **dataclasses.asdict(value)}
    if type(value) is KFold:
        return {
            "made": "KFold",
            "n_splits": value.n_splits,
            "shuffle": value.shuffle,
            "random_state": value.random_state,
        }
    if isinstance(value, FittedKnown):
        return {"made": "FittedKnown", "values": value.values.cpu(), "predictions": value.predictions.cpu()}
    if isinstance(value, NetworkStage | LinearStage | ConstantStage | KnownStage):
        params = {key: _plain(key, item) for key, item in value.get_params(deep=False).items()}
        return {"made": type(value).__name__, **params}
    if isinstance(value, FittedNetwork) and isinstance(value.network, GraphNetwork):
        shape = {"kind": value.network.kind, "sizes": list(value.network.sizes)}
        base = _plain(name, value.base)
        return {"made": "FittedNetwork", **shape, **value.state(), "base": base, "predictions": value.predictions.cpu()}
    if isinstance(value, FittedLinear):
        return {"made": "FittedLinear", **value.state(), "predictions": value.predictions.cpu()}
    expected = "stages of gnnkit with their own networks, and a number of folds"
    raise ValueError(f"{name}: expected {expected}; pickle a learner with others (got {type(value).__name__})")


def _made(value: Any) -> Any:
    if isinstance(value, list):
        return [_made(item) for item in value]
    if not isinstance(value, dict):
        return value
    content = dict(value)
    kind = content.pop("made")
    if kind in _PLAIN:
        return _PLAIN[kind](**content)
    predictions = content.pop("predictions")
    if kind == "FittedLinear":
        made: Any = FittedLinear(**content, nodes=None)
    elif kind == "FittedKnown":
        made = FittedKnown(**content, nodes=None)
    else:
        network = GraphNetwork(content.pop("kind"), *content.pop("sizes"))
        network.load_state_dict(content.pop("network"))
        epochs = content.pop("epochs")
        made = FittedNetwork(network, _made(content.pop("base")), **content)
        made.epochs = epochs
    made.predictions = predictions
    return made
