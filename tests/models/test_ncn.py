"""NCN: the spec's equations on random graphs, and what follows from them."""

from __future__ import annotations

import copy

import pytest
import torch
from dense_ncn import example, perturbed, scores, simple
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from gnnkit.models import NCN, NCNC, _ncn
from gnnkit.models._dropout import keep_at_random
from gnnkit.models._mlp import SumMLP

VARIANTS = ("cn0", "cn1", "scn1", "cn1.5", "cn1res")


def predictor(variant: str, seed: int) -> NCN:
    """A predictor whose other arguments change from seed to seed."""
    options = {"use_xlin": seed % 2 == 0, "tail_activation": seed % 3 == 0, "two_layer_lin": seed % 4 == 0}
    return perturbed(NCN(6, 8, variant=variant, norm=seed % 5 != 0, walk_counts=seed % 7 != 0, **options), seed)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_forward_equals_the_dense_equations_on_50_graphs(variant: str, masked: bool) -> None:
    for seed in range(50):
        case, model = example(seed), predictor(variant, seed)
        keep = case.keep if masked else None
        model.train(seed % 2 == 1)  # without dropout they are the same
        pairs = case.pairs[:, ::2]
        found = model(case.x, case.adj, pairs, keep=keep)
        assert_close(found, scores(model, case.x, case.dense(keep), pairs), rtol=0, atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_float32_is_within_1e_5_of_the_dense_equations(variant: str) -> None:
    case, model = example(3), predictor(variant, 3)
    expected = scores(model, case.x, case.dense(None), case.pairs)
    found = model.float()(case.x.float(), case.adj, case.pairs)
    assert_close(found, expected.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_order_of_the_nodes_and_of_a_pairs_ends_does_not_matter(variant: str) -> None:
    case, model = example(4), predictor(variant, 4)
    expected = model(case.x, case.adj, case.pairs)
    new = torch.randperm(len(case.x), generator=torch.Generator().manual_seed(0))  # the new number of each node
    old = new.argsort()
    adj = simple(case.dense(None)[old][:, old])
    assert_close(model(case.x[old], adj, new[case.pairs]), expected)
    assert_close(model(case.x, case.adj, case.pairs.flip(0)), expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_blocks_of_pairs_give_the_numbers_of_all_at_once(variant: str) -> None:
    case, model = example(6), predictor(variant, 6)
    whole = [model(case.x, case.adj, case.pairs)]
    whole += torch.autograd.grad(whole[0].sum(), model.parameters())
    model.max_bytes = 300
    assert len(model._blocks(case.adj, case.pairs)) > 1
    parts = [model(case.x, case.adj, case.pairs)]
    parts += torch.autograd.grad(parts[0].sum(), model.parameters())
    assert_close(parts, whole)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_are_those_of_finite_differences(variant: str) -> None:
    case, model = example(8), predictor(variant, 8)
    weight = next(model.xijlin.parameters())

    def forward(h: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return model(h, case.adj, case.pairs[:, :4], keep=case.keep)

    assert torch.autograd.gradcheck(forward, (case.x.requires_grad_(), weight))


def test_masked_entries_are_as_if_they_were_not_in_the_graph() -> None:
    case, model = example(2), predictor("cn1.5", 2)
    alone = simple(case.dense(case.keep))
    assert_close(
        model(case.x, case.adj, case.pairs, keep=case.keep), model(case.x, alone, case.pairs), rtol=0, atol=1e-12
    )


def test_dropped_entries_are_as_if_they_were_masked_and_only_in_training() -> None:
    case, model = example(9), predictor("cn1", 9)
    model.pool_edge_dropout = 0.4
    torch.manual_seed(5)
    found = model.train()(case.x, case.adj, case.pairs, keep=case.keep)
    torch.manual_seed(5)
    drawn = keep_at_random(case.adj.indices.shape, 0.4, case.adj.device)
    assert_close(found, scores(model, case.x, case.dense(case.keep & drawn), case.pairs))
    found = model.eval()(case.x, case.adj, case.pairs, keep=case.keep)
    assert_close(found, scores(model, case.x, case.dense(case.keep), case.pairs))


def test_rows_of_members_alone_are_transformed_as_all_rows_are() -> None:
    case, model = example(10), predictor("cn1res", 10)
    assert model.xlin is not None
    expected = model(case.x, case.adj, case.pairs)
    seen: list[int] = []
    model.xlin.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    assert_close(model(case.x, case.adj, case.pairs[:, :1]), expected[:1])
    members = {int(u) for v in case.pairs[:, 0] for u in case.dense(None)[v].nonzero()}
    assert seen == [len(members)]
    assert len(members) < len(case.x)


def test_the_published_models_have_as_many_parameters() -> None:
    def count(module: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    # OGB's leaderboard: ddi 1,412,098 with a table of 4268 rows of 224, ppa 33,538 of which the encoder has 16,448
    assert count(NCN(224, 224, use_xlin=True, two_layer_lin=True)) == 1_412_098 - 4268 * 224
    assert count(NCN(64, 64, tail_activation=True)) == 33_538 - 16_448


def test_no_pairs_give_no_scores_and_a_copy_is_the_same_model() -> None:
    case, model = example(1), predictor("cn1", 1)
    assert model(case.x, case.adj, torch.empty(2, 0, dtype=torch.int64)).shape == (0,)
    assert_close(copy.deepcopy(model)(case.x, case.adj, case.pairs), model(case.x, case.adj, case.pairs))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "cn3"}, r"^variant: expected one of cn0, cn1, scn1, cn1\.5, cn1res \(got 'cn3'\)$"),
        ({"dropout": 1.0}, r"^dropout: expected a rate in \[0, 1\) \(got 1\.0\)$"),
        ({"pool_edge_dropout": -0.1}, r"^pool_edge_dropout: expected a rate in \[0, 1\) \(got -0\.1\)$"),
        ({"max_bytes": 0}, r"^max_bytes: expected a whole number >= 1 \(got 0\)$"),
        ({"beta": float("nan")}, r"^beta: expected a number in \[-inf, inf\] \(got nan\)$"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NCN(6, 8, **options)


@pytest.mark.parametrize("variant", VARIANTS)
def test_wrong_input_is_refused(variant: str) -> None:
    case, model = example(0), predictor(variant, 0)
    size = len(case.x)
    for pairs, message in (
        (torch.tensor([[2], [2]]), r"^pairs: expected two different nodes \(got node 2 twice\)$"),
        (torch.tensor([[0], [size]]), rf"^pairs: expected ids in \[0, {size}\) \(got {size}\)$"),
        (torch.tensor([[-1], [0]]), r"\(got -1\)$"),
        (torch.tensor([0, 1]), r"^pairs: expected an int32 or int64 tensor of shape \[2, P\] \(got .*\)$"),
    ):
        with pytest.raises(ValueError, match=message):
            model(case.x, case.adj, pairs)
    with pytest.raises(ValueError, match=rf"^h: expected shape \[{size}, 6\] \(got \[{size}, 5\]\)$"):
        model(case.x[:, :5], case.adj, case.pairs)
    with pytest.raises(ValueError, match=r"^keep: expected a bool tensor of shape"):
        model(case.x, case.adj, case.pairs, keep=torch.ones(3).bool())


@pytest.mark.parametrize("max_bytes", [2**28, 300])
@pytest.mark.parametrize("variant", VARIANTS)
def test_chunks_without_gradient_give_the_numbers_of_all_at_once(
    variant: str, max_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ncn, "ROWS", 3)
    for seed in (6, 7):
        case, model = example(seed), predictor(variant, seed).eval()
        model.max_bytes = max_bytes
        expected = model(case.x, case.adj, case.pairs, keep=case.keep)
        for pairs in (case.pairs, case.pairs[:, :0]):
            with torch.no_grad():
                found = model(case.x, case.adj, pairs, keep=case.keep)
            assert_close(found, expected[: pairs.shape[1]].detach())


@pytest.mark.parametrize("variant", [*VARIANTS, "ncnc"])
def test_a_checkpoint_descends_the_gradient_of_what_it_gives(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ncn, "ROWS", 3)
    case, options, found = example(6), {"use_xlin": True, "dropout": 0.4, "pool_edge_dropout": 0.2}, []
    model = (NCNC(6, 8, **options) if variant == "ncnc" else NCN(6, 8, variant=variant, **options)).double()
    for again in (False, True):
        torch.manual_seed(2)
        x = case.x.clone().requires_grad_()
        given = x, case.adj, case.pairs
        logits = checkpoint(model, *given, use_reentrant=True) if again else model(*given)
        logits.square().sum().backward()
        found.append([logits.detach(), x.grad])
    assert_close(*found)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_what_an_empty_set_gives_is_that_of_a_sum_of_zero(rate: float) -> None:
    model = perturbed(SumMLP(6, 8, rate, norm=True, tail_activation=False), 0)
    sums = torch.rand(2, 6, dtype=torch.float64, requires_grad=True)
    place = torch.tensor([2, 0, 2, 2, 1, 2, 2])
    whole = torch.cat([sums, sums.new_zeros(1, 6)])[place]
    results = []
    for given in ((whole,), (sums, place)):
        torch.manual_seed(0)
        out = model(*given)
        results.append([out, *torch.autograd.grad(out.square().sum(), (sums, *model.parameters()))])
    assert_close(*results)


def test_sums_of_few_sets_are_made_for_these_alone() -> None:
    case, model = example(5), predictor("cn1", 5)  # none of the pairs has a common neighbour when edges are held back
    rows: list[int] = []
    assert model.xcnlin is not None
    model.xcnlin.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    model(case.x, case.adj, case.pairs, keep=case.keep)
    model(case.x, case.adj, case.pairs)
    assert rows[0] == 0
    assert rows[1] in (len(case.pairs.T), int(((case.dense(None)[case.pairs]).prod(0).sum(1) > 0).sum()))
