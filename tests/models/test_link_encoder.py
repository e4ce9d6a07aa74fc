"""LinkEncoder: its layers' equations on random graphs, masks, dropout, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from dense_ncn import encode, example, perturbed, simple
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.nn import GCNConv

from gnnkit import Adjacency
from gnnkit.models import LinkEncoder
from gnnkit.models._dropout import dropout

KINDS = ("puregcn", "puresum", "gcn")


def encoder(kind: str, seed: int, num_layers: int, in_channels: int = 6) -> LinkEncoder:
    """An encoder whose other arguments change from seed to seed."""
    options = {"residual": seed % 2 == 0, "norm": seed % 3 != 0, "jumping_knowledge": num_layers > 0 and seed % 4 < 2}
    return perturbed(LinkEncoder(in_channels, 6, num_layers, kind, **options), seed)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_forward_equals_the_dense_equations_on_50_graphs(kind: str, masked: bool) -> None:
    for seed in range(50):
        case, model = example(seed), encoder(kind, seed, seed % 4)
        keep = case.keep if masked else None
        model.train(seed % 2 == 1)
        found = model(case.x, case.adj, keep=keep)
        assert_close(found, encode(model, case.x, case.dense(keep)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_edges_count_in_the_row_sums_and_learn(kind: str) -> None:
    case, model = example(5), encoder(kind, 5, 2)
    weight = torch.rand(case.adj.num_edges, dtype=torch.float64, requires_grad=True)
    dense = torch.zeros(len(case.x), len(case.x), dtype=torch.float64)
    dense[case.adj.entries[0].long(), case.adj.indices.long()] = weight * case.keep
    found = model(case.x, case.adj, keep=case.keep, edge_weight=weight)
    expected = encode(model, case.x, dense)
    assert_close(found, expected)
    gradients = [torch.autograd.grad(out.square().sum(), weight)[0] for out in (found, expected)]
    assert_close(*gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_added_weights_come_on_top_of_what_is_normalised(kind: str) -> None:
    case = example(6)
    model = perturbed(LinkEncoder(6, 6, 1, kind, norm=False), 6).eval()
    added = torch.rand(case.adj.num_edges, dtype=torch.float64)
    dense = torch.zeros(len(case.x), len(case.x), dtype=torch.float64)
    dense[case.adj.entries[0].long(), case.adj.indices.long()] = added * case.keep
    rows = model.maps[0].weight if kind == "gcn" else None
    h = case.x @ rows.t() if rows is not None else model.entry(case.x)
    found = model(case.x, case.adj, keep=case.keep, added_weight=added)
    model.exits[0] = torch.nn.Identity()
    before = model(case.x, case.adj, keep=case.keep)
    expected = before + dense @ h
    assert_close(found, expected.relu() if kind == "gcn" else expected)
    with pytest.raises(ValueError, match=r"added_weight: expected none below 0"):
        model(case.x, case.adj, added_weight=-added)


@pytest.mark.parametrize("kind", KINDS)
def test_masked_entries_are_as_if_they_were_not_in_the_graph(kind: str) -> None:
    case, model = example(2), encoder(kind, 2, 3)
    alone = simple(case.dense(case.keep))
    assert_close(model(case.x, case.adj, keep=case.keep), model(case.x, alone))


def test_gcn_is_pygs() -> None:
    case = example(3)
    model = LinkEncoder(6, 4, 1, "gcn", norm=False).double()
    conv = GCNConv(6, 4).double()
    conv.load_state_dict({"lin.weight": model.maps[0].weight, "bias": model.maps[0].bias})
    edge_index = torch.stack([case.adj.indices.long(), case.adj.entries[0].long()])
    assert_close(model(case.x, case.adj), conv(case.x, edge_index).relu())


@pytest.mark.parametrize("kind", KINDS)
def test_nodes_in_another_order_give_rows_in_that_order(kind: str) -> None:
    case, model = example(4), encoder(kind, 4, 2)
    old = torch.randperm(len(case.x), generator=torch.Generator().manual_seed(0))
    assert_close(model(case.x[old], simple(case.dense(None)[old][:, old])), model(case.x, case.adj)[old])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    case, model = example(8), encoder(kind, 1, 2)
    parameters = [parameter for name, parameter in model.named_parameters() if "bias" not in name]
    assert torch.autograd.gradcheck(
        lambda x, *_: model(x, case.adj, keep=case.keep), (case.x.requires_grad_(), *parameters)
    )


def test_dropped_entries_are_rescaled_and_drawn_in_every_layer() -> None:
    case = example(9)
    model = LinkEncoder(6, 6, 2, edge_dropout=0.4).double()
    torch.manual_seed(5)
    found = model(case.x, case.adj, keep=case.keep)
    torch.manual_seed(5)
    x = model.entry(case.x)
    for _ in range(2):
        weight = dropout(case.keep.double(), 0.4)
        assert len(weight.unique()) == 2
        A = torch.zeros(len(x), len(x), dtype=torch.float64)
        A[case.adj.entries[0].long(), case.adj.indices.long()] = weight
        n = (1 + A.sum(1, keepdim=True)).rsqrt()
        x = n * (A @ (n * x) + n * x)
    assert_close(found, x)
    assert_close(model.eval()(case.x, case.adj), encode(model, case.x, case.dense(None)))


def rates(model: LinkEncoder) -> tuple[list[float], list[list[float]]]:
    """The rates of dropout at the input and after each layer."""

    def of(layers: torch.nn.Module) -> list[float]:
        return [layer.p for layer in layers if isinstance(layer, torch.nn.Dropout)]

    return of(model.entry), [of(layers) for layers in model.exits]


def test_dropout_stands_where_the_spec_says() -> None:
    given = {"input_dropout": 0.1, "dropout": 0.2, "output_dropout": 0.3}
    assert rates(LinkEncoder(6, 8, 2, **given)) == ([0.1, 0.2], [[], [0.3]])
    assert rates(LinkEncoder(6, 8, 3, "gcn", **given)) == ([0.1], [[0.2], [0.2], []])
    assert rates(LinkEncoder(6, 8, 1, "gcn", **given)) == ([0.1], [[0.2]])
    assert rates(LinkEncoder(None, 8, 1, "puresum", num_embeddings=5, **given)) == ([0.2], [[0.3]])
    assert rates(LinkEncoder(6, 8, 0, **given)) == ([0.1, 0.2], [])


def test_a_table_of_rows_is_orthogonal_at_first_and_read_by_node_or_by_kind() -> None:
    case = example(3)
    size = len(case.x)
    model = LinkEncoder(None, 4, 1, "puresum", num_embeddings=size).double()
    assert model.embedding is not None
    table = model.embedding.weight
    assert_close(table.T @ table, torch.eye(4, dtype=torch.float64), atol=1e-6, rtol=0)
    assert_close(model(None, case.adj), case.dense(None) @ table)
    kinds = torch.arange(size) % 3
    model = LinkEncoder(None, 4, 2, "gcn", num_embeddings=3).double()
    assert model.embedding is not None
    assert_close(model(kinds, case.adj), encode(model, model.embedding.weight[kinds], case.dense(None)))
    with pytest.raises(ValueError, match=r"^x: expected rows of the table, for it has 3 and not one a node \(got None"):
        model(None, case.adj)
    with pytest.raises(ValueError, match=r"^x: expected ids in \[0, 3\) \(got 3\)$"):
        model(kinds + 1, case.adj)


def test_the_published_encoders_have_as_many_parameters() -> None:
    def count(model: LinkEncoder) -> int:
        return sum(parameter.numel() for parameter in model.parameters())

    # with test_ncn.py's: ddi 4268 rows of 224 and nothing else, ppa 16,448
    assert count(LinkEncoder(None, 224, 1, "puresum", num_embeddings=4268, residual=True)) == 4268 * 224
    assert count(LinkEncoder(None, 64, 3, "gcn", num_embeddings=58, residual=True)) == 16_448


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": None}, r"^expected one of in_channels and num_embeddings \(got in_channels=None, num_"),
        ({"num_embeddings": 3}, r"^expected one of in_channels and num_embeddings \(got in_channels=6, num_"),
        ({"kind": "gat"}, r"^kind: expected one of puregcn, puresum, gcn \(got 'gat'\)$"),
        ({"num_layers": -1}, r"^num_layers: expected a whole number >= 0 \(got -1\)$"),
        ({"num_layers": 0, "jumping_knowledge": True}, r"^jumping_knowledge: expected num_layers >= 1 \(got 0\)$"),
        ({"hidden_channels": 2.5}, r"^hidden_channels: expected a whole number >= 1 \(got 2\.5\)$"),
        ({"edge_dropout": 1}, r"^edge_dropout: expected a rate in \[0, 1\) \(got 1\)$"),
    ],
)
def test_wrong_options_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinkEncoder(**{"in_channels": 6, "hidden_channels": 8, "num_layers": 1, **arguments})


def test_wrong_input_is_refused() -> None:
    case, model = example(0), LinkEncoder(6, 8, 1)
    x = case.x.float()
    for wrong, message in (
        (x[:, :5], r"^x: expected shape \[\d+, 6\] \(got \[\d+, 5\]\)$"),
        (x[1:], r"^x: expected shape \[\d+, 6\] \(got \[\d+, 6\]\)$"),
        (x.long(), r"^x: expected a 2-D float32 or float64 tensor \(got int64 tensor of shape"),
        (None, r"^x: expected a 2-D float32 or float64 tensor \(got NoneType\)$"),
    ):
        with pytest.raises(ValueError, match=message):
            model(wrong, case.adj)
    with pytest.raises(ValueError, match=r"^keep: expected a bool tensor of shape"):
        model(x, case.adj, keep=torch.ones(case.adj.num_edges))
    with pytest.raises(ValueError, match=r"^edge_weight: expected none below 0 \(got -1\.0\)$"):
        model(x, case.adj, edge_weight=-torch.ones(case.adj.num_edges))
    with pytest.raises(ValueError, match=r"^adj: expected a simple undirected graph, .* \(got an edge without its rev"):
        model(x[:2], Adjacency.from_csr(torch.tensor([0, 1, 1]), torch.tensor([1])))


@pytest.mark.parametrize(("kind", "num_layers"), [("puregcn", 2), ("puregcn", 0), ("gcn", 2)])
def test_sparse_features_give_the_numbers_and_gradients_of_dense_ones(kind: str, num_layers: int) -> None:
    case, model = example(6), encoder(kind, 6, num_layers)
    x = case.x * (case.x > 0.2)
    results = []
    for rows in (x, x.to_sparse()):
        out = model(rows, case.adj)
        results.append([out, *torch.autograd.grad(out.square().sum(), model.parameters())])
    assert_close(*results)
    with pytest.raises(ValueError, match=r"^x: expected shape \[\d+, 6\] \(got \[\d+, 6\]\)$"):
        model(x[1:].to_sparse(), case.adj)
    with pytest.raises(
        ValueError, match=r"^x: expected coalesced float32 or float64 features \(got sparse_coo int64 t"
    ):
        model(x.long().to_sparse(), case.adj)


def test_dropout_of_sparse_features_drops_what_is_not_zero_and_keeps_the_mean() -> None:
    case = example(6)
    model = LinkEncoder(6, 6, 0, input_dropout=0.5).double()
    x = (case.x * (case.x > 0.2)).to_sparse()
    torch.manual_seed(0)
    mean = torch.stack([model(x, case.adj) for _ in range(2000)]).mean(0)
    assert (mean - model.eval()(x, case.adj)).abs().max() < 0.1 * model(x, case.adj).abs().max()
    assert not torch.equal(model.train()(x, case.adj), model(x, case.adj))


def test_one_mask_serves_forward_and_backward_of_a_training_step() -> None:
    case, model = example(6), encoder("puregcn", 6, 2)

    def gradients(adj: Adjacency, keep: Tensor | None) -> list[Tensor]:
        loss = model(case.x, adj, keep=keep).square().sum()
        return list(torch.autograd.grad(loss, model.parameters()))

    assert_close(gradients(case.adj, case.keep), gradients(simple(case.dense(case.keep)), None))
