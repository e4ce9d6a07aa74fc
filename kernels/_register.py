"""Registering a function as an operation of torch.

`torch.library.custom_op` would serve, but its first call in a process imports ``torch._dynamo``, about a second,
whether or not anything is compiled, and every call passes through more Python. This makes the same registrations with
the public functions beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload


def operation(name: str, *, gradient: bool) -> Callable[[Callable[..., Any]], OpOverload]:
    """Register a function of tensors that changes none of them and returns new ones; its annotations are the schema.

    `fake` has to follow, and `torch.library.register_autograd` where there is a gradient. Where there is none, asking
    for it is an error: torch by itself would leave it out, and only warn.
    """

    def register(function: Callable[..., Any]) -> OpOverload:
        schema = torch.library.infer_schema(function, mutates_args=())
        torch.library.define(name, schema, tags=torch.Tag.pt2_compliant_tag)
        torch.library.impl(name, "default", _hidden(function))
        if not gradient:
            torch.library.register_autograd(name, _refuse(name))
        namespace, _, short = name.partition("::")
        overload: OpOverload = getattr(getattr(torch.ops, namespace), short).default
        return overload

    return register


def fake(operation: OpOverload) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the function that tells torch.compile the shapes of an operation's results."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        torch.library.register_fake(operation, function)
        return function

    return register


def _refuse(name: str) -> Callable[..., None]:
    def backward(ctx: Any, *grads: Any) -> None:
        raise RuntimeError(f"{name} has no gradient: it serves the backward of another operation")

    return backward


def _hidden(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, hidden from torch.compile, which may look into what runs beside the graphs that it made."""
    disabled: Callable[..., Any] | None = None

    def call(*args: Any) -> Any:
        nonlocal disabled
        if disabled is None:
            if "torch._dynamo" not in sys.modules:
                return function(*args)  # nothing is compiled in this process: do not import what would compile
            disabled = _disabled(function)
        return disabled(*args)

    return _disabled(function) if "torch._dynamo" in sys.modules else call


def _disabled(function: Callable[..., Any]) -> Callable[..., Any]:
    result: Callable[..., Any] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return result
