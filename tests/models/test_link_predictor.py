"""LinkPredictor: encoder and predictor see one mask, and pieces give what the whole gives."""

from __future__ import annotations

import torch
from dense_ncn import encode, example, perturbed, scores
from torch.testing import assert_close

from gnnkit.models import NCN, NCNC, LinkEncoder, LinkPredictor


def test_encoder_and_predictor_see_the_graph_without_what_is_held_back() -> None:
    for seed in range(5):
        case = example(seed)
        for predictor in (NCN(8, 8, use_xlin=True), NCNC(8, 8, scale=2.0, offset=0.0)):
            model = perturbed(LinkPredictor(LinkEncoder(6, 8, 1, jumping_knowledge=True), predictor), seed)
            A = case.dense(case.keep)
            expected = scores(model.predictor, encode(model.encoder, case.x, A), A, case.pairs)
            assert_close(model(case.x, case.adj, case.pairs, keep=case.keep), expected)


def test_pairs_scored_in_pieces_of_one_encoding_give_what_they_give_together() -> None:
    case = example(3)
    model = perturbed(LinkPredictor(LinkEncoder(6, 8, 2), NCN(8, 8, use_xlin=True)), 3).eval()
    h = model.encode(case.x, case.adj)
    pieces = torch.cat([model.score(h, case.adj, part) for part in case.pairs.split(3, dim=1)])
    assert_close(pieces, model(case.x, case.adj, case.pairs))


def test_a_state_is_restored_with_buffers() -> None:
    case = example(3)
    models = [
        LinkPredictor(LinkEncoder(6, 8, 1, jumping_knowledge=True), NCNC(8, 8, alpha=alpha, scale=scale)).double()
        for alpha, scale in ((0.3, 4.0), (1.0, 5.0))
    ]
    models[1].load_state_dict(models[0].state_dict())
    first, second = (model(case.x, case.adj, case.pairs) for model in models)
    assert torch.equal(first, second)
