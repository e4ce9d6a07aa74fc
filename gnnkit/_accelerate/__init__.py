"""accelerate: PyG layers on gnnkit's kernels, by one line."""

from __future__ import annotations

from typing import TypeVar

from torch import nn
from torch_geometric.nn.conv import MessagePassing

from gnnkit._accelerate._layer import FastLayer, convert, refusal, remark, revert
from gnnkit._accelerate._mixins import mixin_of

__all__ = ["accelerate"]

Module = TypeVar("Module", bound=nn.Module)


def accelerate(module: Module, *, undo: bool = False, verbose: bool = False) -> Module:
    r"""Put the aggregation of a model's PyG layers on gnnkit's CPU kernels, in place.

    Parameters, ``state_dict``, signatures, ``isinstance`` and outputs stay what they were (to rounding: sums run in
    another order). Taken is every ``MessagePassing`` layer with PyG's own ``propagate``, of PyG or of your own. Where
    its message is ``x_j`` or ``weight * x_j``, messages are never written out:

    .. math:: out_i = \mathrm{reduce}_{j \to i} \; w_{ji} x_j

    is one `gnnkit.kernels.spmm`. A dot product ``(x_i * x_j).sum(-1)`` is one `gnnkit.kernels.sddmm`; a linear map or
    an activation of ``x_j`` is computed once a node. Any other message is computed as before, and gathered and reduced
    by our kernels. PyG's ``softmax(alpha, index)`` and its aggregations run on them too. What a layer computes of a
    graph alone, ``gcn_norm`` for one, is remembered. ``RGCNConv``, ``RGATConv`` and ``HGTConv`` compute once for every
    distinct (node, relation) what PyG computes for every edge or node.

    Inside a message ``x_j`` is of a subclass of ``Tensor`` (ask ``isinstance``, not for the exact type) whose rows are
    not gathered yet. A message that does with it what such rows cannot pass, an ``autograd.Function`` or TorchScript,
    gets gathered rows from then on; a ``UserWarning``, one for each class, names the class and the reason.

    The topology of an ``edge_index`` is found again by a hash of its content, computed at every call (about
    1 ms for 2 million edges), so it may be written in place by anything at all. At most 1 GiB of topologies is
    kept, the least recently used go first; the newest stays whatever its size.

    Calls that the kernels do not serve run PyG's own code: sparse matrices and ``EdgeIndex`` in place of an
    ``edge_index``, CUDA tensors, half precision, layers being explained or with message-passing hooks,
    GAT's ``return_attention_weights``, tracing and forward-mode differentiation. Inside ``torch.compile`` PyG's layers
    with a message ``x_j`` or ``weight * x_j`` call the kernels, GCNConv, GATConv and GATv2Conv among them; others are
    compiled as PyG's.

    Args:
        module: A layer or a model with PyG layers. Copies and pickles of it are accelerated too.
        undo: Give every layer its own class back.
        verbose: Print for every PyG layer whether it was taken, and if not, why.

    Returns:
        ``module`` itself.

    Raises:
        ValueError: ``module`` is no ``torch.nn.Module``.

    Example:
        >>> import torch, gnnkit
        >>> from torch_geometric.nn import GCN
        >>> model = gnnkit.accelerate(GCN(8, 16, num_layers=2, out_channels=3), verbose=True)
        convs.0 (GCNConv): accelerated
        convs.1 (GCNConv): accelerated
        >>> model(torch.randn(4, 8), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
        torch.Size([4, 3])
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"module: expected a torch.nn.Module (got {type(module).__name__})")
    lines = []
    for name, layer in module.named_modules():
        if not isinstance(layer, MessagePassing):
            continue
        what = f"{name or 'module'} ({type(layer).__name__})"
        if undo:
            if isinstance(layer, FastLayer):
                revert(layer)
                lines.append(f"{what}: PyG's own again")
        elif isinstance(layer, FastLayer):
            lines.append(f"{what}: accelerated before{remark(layer)}")
        elif reason := refusal(layer):
            lines.append(f"{what}: left as it is, it {reason}")
        else:
            convert(layer, mixin_of(type(layer)))
            lines.append(f"{what}: accelerated{remark(layer)}")
    if verbose:
        print("\n".join(lines or ["no PyG layers"]))
    return module
