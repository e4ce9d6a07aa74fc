"""Whether somebody looks at what a layer does in between, or has put something in its place."""

from __future__ import annotations

import torch
from torch.nn.modules.module import _has_any_global_hook
from torch_geometric.nn.conv import MessagePassing

# methods of MessagePassing that the kernels stand in for
INTERNALS = ("_check_input", "_collect", "_index_select", "_index_select_safe", "_lift", "_set_size")
_METHODS = {
    "propagate",
    "edge_updater",
    "message",
    "edge_update",
    "update",
    "message_and_aggregate",
    "aggregate",
    *INTERNALS,
}
_HOOKS = tuple(
    f"_{stage}_forward_{kind}"
    for stage in ("propagate", "message", "aggregate", "edge_update")
    for kind in ("pre_hooks", "hooks")
)


def is_unwatched(layer: MessagePassing) -> bool:
    """Whether nobody looks at what a layer does in between, not even a tracer, or has put something in its place."""
    return not is_transformed() and is_untouched(layer)


def is_untouched(layer: MessagePassing) -> bool:
    """Whether a layer has no hooks, explains nothing, and has every method of its class."""
    return (
        not layer.explain
        and layer.decomposed_layers == 1
        and not any(getattr(layer, hooks) for hooks in _HOOKS)
        and not _has_any_global_hook()  # type: ignore[no-untyped-call]
        and (layer.aggr_module is None or not any(map(is_watched, layer.aggr_module.modules())))
        and not replaced(layer)
    )


def is_watched(module: torch.nn.Module) -> bool:
    """Whether somebody would miss the call of a module, or has put another in its place."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return any(hooks) or "forward" in module.__dict__


def is_transformed() -> bool:
    """Whether the call is traced, compiled or differentiated forward: a hash of content has no place there."""
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None  # make_fx
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    )


def is_compiled() -> bool:
    """Whether ``torch.compile`` traces this call, and nothing else does."""
    return (
        torch.compiler.is_dynamo_compiling()
        and not torch.compiler.is_exporting()
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
    )


def replaced(layer: MessagePassing) -> set[str]:
    """Return the methods that somebody replaced on the instance; PyG itself binds two of its own."""
    names: set[str] = _METHODS & layer.__dict__.keys()
    if "propagate" in names:
        function = getattr(layer.__dict__["propagate"], "__func__", None)
        if function in (type(layer)._jinja_propagate, type(layer)._orig_propagate):
            names.remove("propagate")
    return names
