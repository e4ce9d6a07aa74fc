"""`gnnkit doctor --warm`: it compiles what the common layers call, and says where the compiled loops are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gnnkit.bench import _doctor, _warm
from gnnkit.cli import main

LAYERS = """
import torch
from torch_geometric.nn import GAT, GCN, GIN, GraphSAGE
import gnnkit
from gnnkit.bench._warm import counts, warm

done = list(warm())
assert (sum(w.compiled for w in done), sum(w.loaded for w in done)) == counts()
before = counts()
assert sum(before) > 0
x, edge_index = torch.randn(5, 8, requires_grad=True), torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 2]])
weight = torch.rand(6)
for make in (GCN, GraphSAGE, lambda *a: GraphSAGE(*a, aggr="max"), GIN, GAT, lambda *a: GAT(*a, v2=True, heads=2)):
    model = gnnkit.accelerate(make(8, 8, 2))
    model(x, edge_index).sum().backward()
    model.eval()(x.detach(), edge_index)
gnnkit.accelerate(GCN(8, 8, 2))(x, edge_index, weight).sum().backward()
assert all(w.compiled == w.loaded == 0 for w in warm())
print(before, counts())
assert before == counts(), "a layer needed a loop that the common set does not have"
"""


def test_the_common_layers_need_no_loop_that_is_not_in_the_set() -> None:
    done = subprocess.run([sys.executable, "-c", LAYERS], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_doctor_warm_prints_every_entry_and_the_total(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--warm"])
    out = capfd.readouterr().out
    assert not ended.value.code
    table = out[out.index("first calls") :].splitlines()[2:]
    names = [*_warm.common_set(), "total"]
    assert [line[: len(name)] for line, name in zip(table, names, strict=True)] == names
    assert "compiled loops" in out
    assert "huge pages" in out


def test_another_backend_has_nothing_to_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNKIT_BACKEND", "torch")
    with pytest.raises(ValueError, match=r"expected numba, or nothing, .* \(got torch\)"):
        next(_warm.warm())


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("always [madvise] never", "madvise (available to madvise)"),
        ("[always] madvise never", "always (available to madvise)"),
        ("always madvise [never]", "never (not available to madvise)"),
        (None, "unknown: this system has no setting"),
    ],
)
def test_doctor_says_whether_huge_pages_can_be_had(
    setting: str | None, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_doctor, "_HUGE_PAGES", tmp_path / "enabled")
    if setting is not None:
        (tmp_path / "enabled").write_text(setting + "\n")
    assert _doctor._huge_pages() == found


def test_doctor_says_so_where_compiled_loops_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_doctor, "cache_folder", lambda: None)
    assert "compiled anew in every process" in _doctor._compiled()
