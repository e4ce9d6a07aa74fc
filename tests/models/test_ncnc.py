"""NCNC: the spec's equations at depth 1 and 2, sampling, and what is computed once."""

from __future__ import annotations

import pytest
import torch
from dense_ncn import example, perturbed, score, scores, simple
from torch import Tensor
from torch.testing import assert_close

from gnnkit.kernels import Sets
from gnnkit.models import NCN, NCNC, _ncn
from gnnkit.models._dropout import keep_at_random
from gnnkit.models._sample_sets import sample_sets


def predictor(seed: int, **options: object) -> NCNC:
    """A predictor whose other arguments change from seed to seed."""
    changing = {"use_xlin": seed % 2 == 0, "tail_activation": seed % 3 == 0, "two_layer_lin": seed % 4 == 0}
    completion = {"alpha": 0.7, "scale": 2.0, "offset": 0.3, "probability": 0.4, "learn_probability": seed % 3 == 1}
    return perturbed(NCNC(6, 8, norm=seed % 5 != 0, **changing, **{**completion, **options}), seed)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("variant", ["cn1", "scn1"])
@pytest.mark.parametrize(("depth", "every"), [(1, 4), (2, 6)])
def test_a_forward_equals_the_dense_equations_on_50_graphs(variant: str, depth: int, every: int, masked: bool) -> None:
    for seed in range(50):
        case, model = example(seed), predictor(seed, variant=variant, depth=depth)
        keep, pairs = case.keep if masked else None, case.pairs[:, ::every]
        model.train(seed % 2 == 1)
        found = model(case.x, case.adj, pairs, keep=keep)
        assert_close(found, scores(model, case.x, case.dense(keep), pairs), rtol=0, atol=1e-10)


def test_float32_is_within_1e_5_of_the_dense_equations() -> None:
    case, model = example(3), predictor(3, depth=2)
    expected = scores(model, case.x, case.dense(None), case.pairs)
    assert_close(model.float()(case.x.float(), case.adj, case.pairs), expected.float(), rtol=0, atol=1e-5)


def test_the_order_of_the_nodes_and_of_a_pairs_ends_does_not_matter() -> None:
    case, model = example(4), predictor(4, depth=2)
    expected = model(case.x, case.adj, case.pairs)
    new = torch.randperm(len(case.x), generator=torch.Generator().manual_seed(0))
    old = new.argsort()
    adj = simple(case.dense(None)[old][:, old])
    assert_close(model(case.x[old], adj, new[case.pairs]), expected)
    assert_close(model(case.x, case.adj, case.pairs.flip(0)), expected)


@pytest.mark.parametrize("depth", [1, 2])
def test_blocks_of_pairs_give_the_numbers_of_all_at_once(depth: int) -> None:
    case, model = example(6), predictor(6, depth=depth)
    whole = [model(case.x, case.adj, case.pairs)]
    whole += torch.autograd.grad(whole[0].sum(), model.parameters())
    model.max_bytes = 300
    assert len(model._blocks(case.adj, case.pairs)) > 1
    parts = [model(case.x, case.adj, case.pairs)]
    parts += torch.autograd.grad(parts[0].sum(), model.parameters())
    assert_close(parts, whole)


@pytest.mark.parametrize("variant", ["cn1", "scn1"])
def test_completion_in_chunks_gives_the_same_numbers_and_gradients(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, model = example(6), predictor(6, variant=variant)
    found = []
    for rows in (2**13, 3):
        monkeypatch.setattr(_ncn, "ROWS", rows)
        logits = model(case.x, case.adj, case.pairs, keep=case.keep)
        found.append([logits, *torch.autograd.grad(logits.sum(), model.parameters())])
        with torch.no_grad():
            assert_close(model(case.x, case.adj, case.pairs, keep=case.keep), logits)
    assert_close(*found)


@pytest.mark.parametrize("seed", [4, 8])  # with t learned, and without
def test_gradients_are_those_of_finite_differences_with_probabilities_held(seed: int) -> None:
    """Scores one depth down carry no gradient, so they are held while a parameter moves."""
    case, model = example(8), predictor(seed)
    held: list[Tensor] = []
    fresh = model._score
    model._score = lambda *_, **__: held[0] if held else fresh(*_)
    held.append(fresh(model._members(case.x).detach(), case.adj, _missing(case), None).detach())

    def forward(h: Tensor, *_: Tensor) -> Tensor:
        return model(h, case.adj, case.pairs[:, :1])

    h = case.x.requires_grad_()
    parameters = [model.beta, *([] if model.ptlin is None else model.ptlin.parameters())]
    assert torch.autograd.gradcheck(forward, (h, *parameters))


def _missing(case: object) -> Tensor:
    """The pairs that the completion of the first pair asks for, as it asks: sorted, each once."""
    A, (i, j) = case.dense(None), case.pairs[:, 0].tolist()
    N = [set(A[v].nonzero().flatten().tolist()) for v in (i, j)]
    pairs = {tuple(sorted((j, u))) for u in N[0] - N[1]} | {tuple(sorted((i, u))) for u in N[1] - N[0]}
    return torch.tensor(sorted(pairs)).reshape(-1, 2).T


def test_scores_one_depth_down_have_no_gradient() -> None:
    case, model = example(8), predictor(0)
    model(case.x.requires_grad_(), case.adj, case.pairs).sum().backward()
    with_completion = case.x.grad.clone()
    # the same with probabilities that are constants by construction
    probabilities = model._probabilities
    model._probabilities = lambda *given: [p.detach() for p in probabilities(*given)]
    case.x.grad = None
    model(case.x, case.adj, case.pairs).sum().backward()
    assert_close(case.x.grad, with_completion)


def test_each_missing_edge_is_scored_once() -> None:
    case, model = example(5), predictor(5)
    asked: list[Tensor] = []
    fresh = model._score

    def score_once(h: Tensor, adj: object, pairs: Tensor, keep: object, **options: bool) -> Tensor:
        asked.append(pairs)
        return fresh(h, adj, pairs, keep, **options)

    model._score = score_once
    pairs = torch.cat([case.pairs, case.pairs, case.pairs.flip(0)], dim=1)
    model(case.x, case.adj, pairs)
    (once,) = asked
    assert torch.equal(once, once.sort(0).values)
    assert once.shape[1] == once.unique(dim=1).shape[1] > 0


def test_without_probabilities_it_is_ncn() -> None:
    case = example(7)
    for nothing in ({"alpha": 0.0}, {"probability": 0.0}):
        model = predictor(7, learn_probability=False, **nothing)
        ncn = NCN(6, 8, use_xlin=False, tail_activation=False, norm=True).double()
        ncn.load_state_dict({name: value for name, value in model.state_dict().items() if name in ncn.state_dict()})
        assert_close(model(case.x, case.adj, case.pairs), ncn(case.x, case.adj, case.pairs))


def test_entries_are_dropped_anew_at_each_depth_from_those_left() -> None:
    case, model = example(9), predictor(9, depth=1, pool_edge_dropout=0.3)
    torch.manual_seed(5)
    found = model.train()(case.x, case.adj, case.pairs, keep=case.keep)
    torch.manual_seed(5)
    drawn = [keep_at_random(case.adj.indices.shape, 0.3, case.adj.device) for _ in range(2)]
    first, second = case.keep & drawn[0], case.keep & drawn[0] & drawn[1]
    outer, inner = case.dense(first), case.dense(second)
    for number, (i, j) in enumerate(case.pairs.T.tolist()):
        a, b = (set(outer[v].nonzero().flatten().tolist()) for v in (i, j))
        common = sum((case.x[u] for u in a & b), torch.zeros(6, dtype=torch.float64))
        for end, members in ((j, a - b), (i, b - a)):
            for u in members:
                q = torch.sigmoid(model.scale * (score(model, case.x, inner, end, u) - model.offset))
                t = model.probability
                common = common + model.alpha * t * q / (t * q + 1 - q) * case.x[u]
        expected = model._combine(case.x[[i]] * case.x[[j]], (common.unsqueeze(0), None))
        assert_close(found[[number]], expected)


# ------------------------------------------------------------------ sampling


def test_sampled_sets_keep_small_sets_and_the_values_of_large_ones() -> None:
    indptr = torch.tensor([0, 0, 3, 53, 55])
    sets = Sets(indptr, torch.arange(100, 155, dtype=torch.int32), torch.arange(55), None)
    torch.manual_seed(0)
    pool = sample_sets(sets, 4)
    assert pool.indptr.tolist() == [0, 0, 3, 7, 9]
    assert pool.indices.dtype == torch.int32
    assert pool.indices[:3].tolist() == [100, 101, 102]
    assert pool.indices[7:].tolist() == [153, 154]
    assert pool.values is not None
    assert pool.values.tolist() == [1, 1, 1, 12.5, 12.5, 12.5, 12.5, 1, 1]
    assert all(103 <= index < 153 for index in pool.indices[3:7].tolist())
    assert sample_sets(sets, 50).values is None  # nothing to draw
    assert sample_sets(sets, None).values is None


def test_draws_are_uniform_and_with_replacement() -> None:
    sets = Sets(torch.tensor([0, 5]), torch.arange(5), torch.arange(5), None)
    torch.manual_seed(0)
    draws = torch.stack([sample_sets(sets, 4).indices for _ in range(2000)])
    counts = draws.flatten().bincount(minlength=5)
    assert (counts - 1600).abs().max() < 5 * (8000 * 0.2 * 0.8) ** 0.5
    assert (draws.sort(1).values.diff() == 0).any()


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_sampled_sums_are_right_in_the_mean(mode: str) -> None:
    case = example(11)
    model = predictor(11, **{f"{'train' if mode == 'train' else 'test'}_degree": 2}).train(mode == "train")
    sums: list[Tensor] = []
    combine = model._combine
    model._combine = lambda product, common: sums.append(common[0]) or combine(product, common)
    torch.manual_seed(0)
    many = case.pairs[:, :2].repeat(1, 4000)
    model(case.x, case.adj, many)
    model.train(mode != "train")(case.x, case.adj, case.pairs[:, :2])  # the other mode does not draw
    drawn, exact = sums[1].view(4000, 2, -1), sums[3]  # each after the sums one depth down
    spread = drawn.std(0) / 4000**0.5
    assert (spread > 0).any()
    assert ((drawn.mean(0) - exact).abs() < 5 * spread + 1e-12).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, r"^depth: expected a whole number >= 1 \(got 0\)$"),
        ({"probability": 1.5}, r"^probability: expected a number in \[0\.0, 1\.0\] \(got 1\.5\)$"),
        ({"train_degree": 0}, r"^train_degree: expected a whole number >= 1 \(got 0\)$"),
        ({"scale": "4"}, r"^scale: expected a number \(got '4'\)$"),
        ({"variant": "cn1res"}, r"^variant: expected one of cn1, scn1 \(got 'cn1res'\)$"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NCNC(6, 8, **options)
