"""Claim: the hard negatives of cora are those of HeaRT's script, up to ties.

The functions of `create_heart_negatives.py` and `calc_ppr.py` choose 250 negatives for each end of the validation and
test edges of `heart_split`, from their own scores. gnnkit's negatives are compared as they are ranked: nodes of one
rank stand for each other, so that the overlap is the share of negatives that both have once ties are free.

Two things in the script are not what its paper says: what it calls resource allocation divides by the degree of the
candidate (``common="cn/degree"`` here), and its table of cosines is overwritten with ranks, so that a node is ranked in
reverse from its second appearance on. The claim is about the script with a copy of each row of that table; the script
as it is, and ``common="ra"``, stand beside. The control, negatives chosen without features, has to overlap less.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.datasets import load
from gnnkit.links import LinkGraph, LinkSplit, heart_negatives, heart_split
from gnnkit.links._heart_ranks import below, ranks_without
from gnnkit.links._heart_scores import Scores

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _authors import authors_scripts
from _rows import Claim, show, write

THRESHOLD, ALPHA, OTHER_ALPHA, EPS, EACH_END = 0.99, 0.15, 0.5, 1e-5, 250
COPIED, AS_IT_IS = "a copy of each row", "as it is"
THEIRS, BROKEN = "by the script's scores", "without features"


def authors() -> list[ModuleType]:
    """Import their two scripts.

    ogb and joblib, which only their loaders need, and pandas, which nothing does, are replaced by empty modules; what
    chooses negatives is all theirs.
    """
    scripts = ["create_heart_negatives", "calc_ppr"]
    empty = ("ogb", "ogb.linkproppred", "joblib", "pandas")
    return authors_scripts("GNNKIT_HEART", "Juanhui28/HeaRT", scripts, folder="heart_negatives", empty=empty)


class Copied:
    """A table whose rows are copies."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __getitem__(self, row: int) -> Any:
        return self.table[row].copy()


def theirs(split: LinkSplit, x: Tensor, eps: float) -> dict[str, dict[str, Tensor]]:
    """``[P, 2, 250]`` for each script and part: the nodes paired with the first and with the second end."""
    from torch_sparse import SparseTensor

    create, ppr = authors()
    create.set_seeds()
    adj = {}
    for name, graph in (("adj_t", split.graph()), ("train_valid_adj", split.graph(include_valid=True))):
        edges = graph.adj.to_edge_index()
        adj[name] = SparseTensor.from_edge_index(edges, torch.ones(edges.shape[1]), [len(x), len(x)])
    data = {"dataset": "cora", "x": x, "num_nodes": len(x), **adj}
    common = create.calc_CN_metric(data, "RA")
    ranks = ppr.create_sparse_ppr_matrix(*ppr.get_ppr_matrix(split.graph().adj.to_edge_index(), len(x), ALPHA, eps))
    args = SimpleNamespace(num_samples=2 * EACH_END, agg="min", keep_train_val=False)
    found: dict[str, dict[str, Tensor]] = {}
    for script, cosines in ((COPIED, Copied(create.calc_feat_sim(data))), (AS_IT_IS, create.calc_feat_sim(data))):
        for part, pairs in (("valid", split.valid), ("test", split.test)):
            chosen = create.rank_and_merge_edges(pairs.t(), common, ranks, cosines, data, args, test=part == "test")
            ends = torch.from_numpy(chosen).view(-1, 2, EACH_END, 2)  # pairs (a, u), then pairs (v, b)
            found.setdefault(script, {})[part] = torch.stack([ends[:, 0, :, 1], ends[:, 1, :, 0]], dim=1)
    return found


def combined_ranks(pairs: Tensor, known: LinkGraph, scores: Scores) -> Tensor:
    """``[P, 2, N]``: the least rank of each node for each end; where too few have a score, the others share a last."""
    anchors, partners = pairs.t().flatten(), pairs.flip(0).t().flatten()
    tables = [each.numpy() for each in scores.of(anchors)]
    zero = np.logical_and.reduce([table == 0 for table in tables])
    neighbours = torch.zeros(known.num_nodes, known.num_nodes, dtype=torch.bool)
    neighbours[known.edges[0], known.edges[1]] = neighbours[known.edges[1], known.edges[0]] = True
    out = neighbours[anchors].numpy()
    out[np.arange(len(out)), anchors.numpy()] = True
    for table in tables:
        table[out] = -1
    ranks = np.minimum.reduce([ranks_without(table, below(table), partners.numpy()) for table in tables])
    out[np.arange(len(out)), partners.numpy()] = True
    too_few = (~zero & ~out).sum(axis=1, keepdims=True) < EACH_END
    return torch.from_numpy(np.where(zero & too_few, 2**30, ranks)).view(-1, 2, known.num_nodes)


def overlap(first: Tensor, second: Tensor, ranks: Tensor) -> tuple[float, float]:
    """The shares of negatives ``[P, 2, 250]`` that both have: nodes of one rank being one, and being different."""

    def share(one: Tensor, other: Tensor) -> float:
        rows = zip(one.flatten(0, 1).tolist(), other.flatten(0, 1).tolist(), strict=True)
        return sum((Counter(mine) & Counter(each)).total() for mine, each in rows) / other.numel()

    return share(ranks.gather(2, first), ranks.gather(2, second)), share(first, second)


def main() -> int:
    """Compare, write the row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--eps", type=float, default=EPS, help="of the PageRank; the authors take 1e-7, which is slow")
    args = parser.parse_args()
    data = load("cora:heart")
    split = heart_split(data.edge_index, data.num_nodes)
    graph, known = split.graph(), {"valid": split.graph(), "test": split.graph(include_valid=True)}
    script = theirs(split, data.x, args.eps)
    scores = Scores(graph, data.x, "cn/degree", ALPHA, args.eps)  # the script's: what is a tie is told by them
    cases: dict[str, tuple[Tensor | None, dict[str, Any]]] = {
        THEIRS: (data.x, {"common": "cn/degree", "alpha": ALPHA}),
        "resource allocation": (data.x, {"common": "ra", "alpha": ALPHA}),
        "another alpha": (data.x, {"common": "cn/degree", "alpha": OTHER_ALPHA}),
        BROKEN: (None, {"common": "cn/degree", "alpha": ALPHA}),
    }
    rows = []
    for part, pairs in (("valid", split.valid), ("test", split.test)):
        ranks = combined_ranks(pairs, known[part], scores)
        for case, (x, options) in cases.items():
            mine = heart_negatives(graph, pairs, x, known=known[part], eps=args.eps, seed=0, **options)
            ends = mine.view(2, -1, 2, EACH_END)
            nodes = torch.stack([ends[1, :, 0], ends[0, :, 1]], dim=1)  # [P, 2, 250]
            for which, found in script.items():
                tied, same = overlap(nodes, found[part], ranks)
                row = {"gnnkit": case, "script": which, "part": part, "edges": len(nodes)}
                rows.append(row | {"overlap": tied, "overlap_without_ties": same})
    right = [row["overlap"] for row in rows if (row["gnnkit"], row["script"]) == (THEIRS, COPIED)]
    broken = [row["overlap"] for row in rows if (row["gnnkit"], row["script"]) == (BROKEN, COPIED)]
    claim = Claim(
        name="heart_negatives",
        statement=f"Hard negatives of all validation and test edges of cora beside those of HeaRT's script "
        f"(alpha {ALPHA}, eps {args.eps:g}): at least {THRESHOLD:.0%} the same, up to ties, where its table of cosines "
        f"is not overwritten",
        command="GNNKIT_HEART=<clone of Juanhui28/HeaRT> .venv-peers/bin/python benchmarks/claims/heart_negatives.py",
        result=f"{right[0]:.1%} of validation's, {right[1]:.1%} of the test's",
        rows=rows,
        passed=min(right) >= THRESHOLD and max(broken) < THRESHOLD,
        control=f"without features {broken[0]:.1%} and {broken[1]:.1%}, which has to be less than {THRESHOLD:.0%}",
    )
    (write if args.eps == EPS else show)(claim)
    return int(not claim.passed)


if __name__ == "__main__":
    sys.exit(main())
