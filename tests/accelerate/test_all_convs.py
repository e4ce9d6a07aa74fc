"""Every convolution of PyG gives the output and the gradients that it gives without us, and the docs say on what."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch_geometric.nn.conv as convs

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def _load() -> Any:
    # under a name of its own: a package of PyPI is called coverage
    spec = importlib.util.spec_from_file_location("gnnkit_benchmarks_conv_table", BENCHMARKS / "conv_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


coverage = _load()
# a hash of neighbours' labels: it passes no messages
LEFT = {"WLConv"}


@pytest.mark.parametrize("name", coverage.CASES)
def test_equal(name: str) -> None:
    row = coverage.row(name)
    assert row.error <= coverage.TOLERANCE
    assert row.taken.startswith(("yes", "its ")) == (name not in LEFT)
    assert bool(row.kernels) == (name not in LEFT)


def test_no_convolution_is_forgotten() -> None:
    known = {name.split()[0] for name in coverage.CASES} | set(coverage.ABSENT) | {"MessagePassing"}
    assert {name for name in convs.__all__ if not name.startswith("CuGraph")} == known


def test_the_table_of_the_docs_is_what_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert coverage.main(["--check"]) == 0, "run benchmarks/conv_table.py"
    assert capsys.readouterr().out == "the table matches\n"


def test_a_stale_table_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "coverage.md"
    page.write_text(coverage.PAGE.read_text().replace("| GCNConv | yes |", "| GCNConv | no |"))
    assert coverage.main(["--check"], page=page) == 1
    assert "stale" in capsys.readouterr().out
    page.write_text("no markers")
    with pytest.raises(ValueError, match="expected <!-- coverage:begin -->"):
        coverage.main(["--check"], page=page)
