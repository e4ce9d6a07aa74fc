"""What needs PyG's own path takes it: other forms of a graph, hooks, replaced methods, the explainer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg_nn
from torch import nn
from torch_geometric import EdgeIndex
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import GATConv, GATv2Conv, GCNConv, MessagePassing, SAGEConv
from torch_geometric.utils import to_torch_coo_tensor, to_torch_csr_tensor
from usual_layers import EDGES, LAYERS, Net, X, fast_copy, ran

import gnnkit


@pytest.mark.filterwarnings("ignore:Converting sparse tensor to CSR:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("kind", ["torch_csr", "torch_coo", "EdgeIndex"])
def test_other_forms_of_a_graph(plain: MessagePassing, kind: str) -> None:
    sorted_edges = EDGES[:, EDGES[1].argsort(stable=True)]
    graph: Any = {
        "torch_csr": lambda: to_torch_csr_tensor(EDGES, size=(12, 12)).t().to_sparse_csr(),
        "torch_coo": lambda: to_torch_coo_tensor(EDGES, size=(12, 12)).t().coalesce(),
        "EdgeIndex": lambda: EdgeIndex(sorted_edges, sparse_size=(12, 12), sort_order="col"),
    }[kind]()
    if kind != "EdgeIndex" and isinstance(plain, GATConv | GATv2Conv):
        pytest.skip("PyG's attention takes torch.sparse with torch-sparse only")
    torch.testing.assert_close(fast_copy(plain)(X, graph), plain(X, graph), rtol=0, atol=0)


def test_attention_weights() -> None:
    for make in (LAYERS["gat"], LAYERS["gatv2"]):
        plain = make()
        out, (edges, alpha) = fast_copy(plain)(X, EDGES, return_attention_weights=True)
        expected, (expected_edges, expected_alpha) = plain(X, EDGES, return_attention_weights=True)
        torch.testing.assert_close((out, edges, alpha), (expected, expected_edges, expected_alpha))


HOOKS = [
    "propagate_forward_pre",
    "propagate_forward",
    "message_forward_pre",
    "message_forward",
    "aggregate_forward_pre",
    "aggregate_forward",
]


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_see_what_they_always_saw(plain: MessagePassing, hook: str) -> None:
    layer = fast_copy(plain)
    seen: dict[str, list[Any]] = {"plain": [], "fast": []}
    handles = [
        getattr(one, f"register_{hook}_hook")(lambda _, *inputs, name=name: seen[name].append(inputs))
        for name, one in (("plain", plain), ("fast", layer))
    ]
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES), rtol=0, atol=0)
    torch.testing.assert_close(seen["fast"], seen["plain"])
    assert len(seen["fast"]) == 1
    for handle in handles:
        handle.remove()
    layer(X, EDGES)
    assert len(seen["fast"]) == 1


def test_a_hook_that_changes_messages() -> None:
    plain = SAGEConv(3, 4)
    layer = fast_copy(plain)
    for one in (plain, layer):
        one.register_message_forward_hook(lambda module, inputs, out: 2 * out)
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES))


def test_module_hooks(plain: MessagePassing, kernel_calls: list[int]) -> None:
    layer, seen = fast_copy(plain), []
    layer.register_forward_hook(lambda module, inputs, out: seen.append(out))
    out = layer(X, EDGES)
    assert seen[0] is out
    assert ran(kernel_calls)
    for child in layer.children():
        child.register_forward_hook(lambda module, inputs, out: seen.append(module))
    layer(X, EDGES)
    expected = {child for child in layer.children() if not isinstance(child, pyg_nn.Aggregation)}
    assert expected <= {one for one in seen if isinstance(one, nn.Module)}


def test_a_method_replaced_on_the_instance() -> None:
    plain = SAGEConv(3, 4)
    layer = fast_copy(plain)
    for one in (plain, layer):
        one.message = lambda x_j: 3 * x_j  # type: ignore[method-assign]
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES), rtol=0, atol=0)


def test_another_aggregation_put_in_later() -> None:
    plain = SAGEConv(3, 4)
    layer = fast_copy(plain)
    for one in (plain, layer):
        one.aggr_module = pyg_nn.SoftmaxAggregation()
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES))


def test_explainer(kernel_calls: list[int]) -> None:
    torch.manual_seed(0)
    network = Net()
    masks = []
    for model in (network, fast_copy(network)):
        torch.manual_seed(0)
        explainer = Explainer(
            model,
            GNNExplainer(epochs=5),
            explanation_type="model",
            node_mask_type="attributes",
            edge_mask_type="object",
            model_config={"mode": "multiclass_classification", "task_level": "node", "return_type": "raw"},
        )
        ran(kernel_calls)
        masks.append(explainer(X, EDGES, index=3))
        # the layers are explained on PyG's path, and are fast again afterwards
        torch.testing.assert_close(model(X, EDGES), network(X, EDGES))
        assert ran(kernel_calls) == (model is not network)
    torch.testing.assert_close(masks[1].edge_mask, masks[0].edge_mask)
    torch.testing.assert_close(masks[1].node_mask, masks[0].node_mask)
    assert masks[0].edge_mask.max() > 0


def test_accelerated_after_it_was_explained(plain: MessagePassing, kernel_calls: list[int]) -> None:
    layer = copy.deepcopy(plain)
    layer.explain = True
    layer.explain = None  # PyG has now bound its own propagate to the instance
    gnnkit.accelerate(layer)
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES))
    assert ran(kernel_calls)


def test_feature_decomposition() -> None:
    plain = GCNConv(4, 4, decomposed_layers=2)
    x = torch.randn(12, 4)
    torch.testing.assert_close(fast_copy(plain)(x, EDGES), plain(x, EDGES))
