"""Bad input: a valid case with exactly one thing broken is a ValueError that says what it got, and never more."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from _all_surfaces import PLAN, SURFACES
from _tried import EVERY_TIME_THE_SAME, EXAMPLES, RAN, TRIED
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytestmark = pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta state:UserWarning")


def show(value: Any) -> str:
    """Write a value so that different inputs look different and equal ones equal."""
    if isinstance(value, Tensor):
        plain = value.layout == torch.strided and value.device.type == "cpu"
        content = value.tolist() if plain else f"{value.layout} on {value.device}"
        return f"{value.dtype}{list(value.shape)} {content}"
    if isinstance(value, dict):
        return ", ".join(f"{key}={show(v)}" for key, v in value.items())
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(show, value))})"
    plain = isinstance(value, (int, float, complex, str, bytes, np.ndarray, np.generic)) or value is None
    return repr(value) if plain else type(value).__name__


# Every surface has a maker of valid arguments, a call, and breakages. A breakage takes the arguments and
# gives those to replace. Each example first makes the call unbroken, which must succeed, so that what is refused
# is refused for the breakage alone.
@pytest.mark.parametrize(("surface", "breakage", "backend"), PLAN)
def test_a_valid_case_with_one_thing_broken_is_a_value_error_that_says_what_it_got(
    surface: str, breakage: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend:
        monkeypatch.setenv("GNNKIT_BACKEND", backend)
    it = SURFACES[surface]

    @settings(EVERY_TIME_THE_SAME, max_examples=EXAMPLES[it.kind])
    @given(st.data())
    def refuse(data: Any) -> None:
        args = it.make(data.draw)
        it.call(**args)  # valid so far
        changes = it.breakages[breakage](data.draw, args)
        what = f"{surface}, {breakage}: {show(changes)} in {show(args)}"
        TRIED.setdefault(surface, set()).add(f"{backend} {what}")
        check_refused(functools.partial(it.call, **{**args, **changes}), what)

    RAN.add(f"{surface}-{breakage}-{backend}")
    refuse()


def check_refused(call: Callable[[], Any], what: str) -> None:
    """Require a ValueError that says what it got."""
    try:
        result = call()
    except ValueError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{what}\ngave {type(error).__name__}: {error}") from error
    else:
        raise AssertionError(f"{what}\nwas taken in silence and gave {show(result)}")
    assert "(got " in message, f"{what}\ngave a message that does not say what it got: {message}"
    assert "\n" not in message.partition("(got ")[0]
