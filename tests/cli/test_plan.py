"""The command line: `gnnkit plan`."""

from __future__ import annotations

import pytest
from shell import Shell

PAPERS = "plan --layers 64 --hidden 256 --gpus 1024 --nodes 111e6 --edges 1.6e9"


def test_plan_prints_a_labelled_table_the_best_split_and_what_it_assumes(gnnkit_: Shell) -> None:
    lines = gnnkit_(*PAPERS.split(), "--hardware", "h200", "--link-gbps", "800", "--replication", "16=1.5").splitlines()
    assert lines[0].startswith("PREDICTION")
    assert lines[1].split() == ["mode", "stages", "ways", "chunks", "s/epoch", "busy", "GB", "sent", "GB/GPU", "fits"]
    rows = [line.split() for line in lines[2:9]]
    assert sorted(int(row[1]) * int(row[2]) for row in rows) == [1024] * 7
    text = " ".join(lines)
    assert f"Best: {rows[0][1]} stages x {rows[0][2]} ways, {rows[0][3]} chunks" in text
    for words in ("H200", "100 GB/s", "the link given", "measured 16=1.5", "Pipelining is"):
        assert words in text


def test_plan_says_what_its_columns_mean_and_counts_one_as_one(gnnkit_: Shell) -> None:
    line = "plan --layers 1 --hidden 16 --gpus 2 --nodes 1e12 --edges 1e15"
    text = " ".join(gnnkit_(*line.split()).split())
    for words in ("busy: ", "GB sent: by all GPUs", "(R): ", "1 stage x 2 ways, 1 chunk:", "1.71e+07 GB a GPU"):
        assert words in text


def test_plan_says_when_nothing_fits(gnnkit_: Shell) -> None:
    text = gnnkit_(*PAPERS.replace("1024", "8").split(), "--model", "gcnii")
    assert "Smallest: " in text
    assert "No split is predicted to fit" in text


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("--gpus 0", "gpus"),
        ("--layers 0", "layers"),
        ("--nodes 1.5", "nodes: expected a whole number"),
        ("--nodes nan", "nodes"),
        ("--edges inf", "edges"),
        ("--nodes 1e30", "nodes: expected a whole number from 1 to 1,000,000,000,000 (got 1e+30)"),
        ("--edges 1e30", "edges: expected a whole number from 0 to 1,000,000,000,000,000 (got 1e+30)"),
        ("--gpus 8 --nodes 1000 --edges 1e9", "edges: expected at most 1e+06, nodes x nodes (got 1e+09)"),
        ("--hidden 100000000000", "hidden: expected a whole number from 1 to 1,000,000 (got 1e+11)"),
        ("--layers 1000000000", "layers: expected a whole number from 1 to 4,096 (got 1e+09)"),
        ("--model mlp", "'mlp'"),
        ("--hardware abacus", "'abacus'"),
        ("--link-gbps 0", "link-gbps"),
        ("--link-gbps 1e-300", "link-gbps: expected a number from 0.001 to 1,000,000 (got 1e-300)"),
        ("--link-gbps nan", "link-gbps: expected"),
        ("--replication 8=1.0 --replication 8=1.1", "expected each number of ways once (got 8=1 and 8=1.1)"),
        ("--replication 8", "WAYS=RATIO"),
        ("--replication 8=9", "8=9"),
        ("--gpus many", "--gpus"),
    ],
)
def test_plan_refuses_sizes_that_cannot_be(change: str, named: str, gnnkit_: Shell) -> None:
    assert named in gnnkit_.fails(*PAPERS.split(), *change.split())
