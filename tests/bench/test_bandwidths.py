"""What `gnnkit doctor` says about the transfer of rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnnkit.bench import _bandwidths, _doctor
from gnnkit.data import Bandwidths


def test_the_tiers_that_are_here_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bandwidths, "_TABLE_BYTES", 2**20)
    monkeypatch.setattr(_bandwidths, "_FILE_BYTES", 2**20)
    monkeypatch.setattr(_bandwidths, "_PAGES", 50)
    found, copied = _bandwidths.bandwidths(tmp_path)
    assert copied > 0
    assert found.memory is not None
    assert found.memory > 0
    assert list(tmp_path.iterdir()) == []  # the scratch file is gone
    facts = _bandwidths.describe(found, copied)
    assert facts["rows"].startswith("prediction for a million random rows of 400 bytes from ")


def test_the_prediction_names_every_tier() -> None:
    facts = _bandwidths.describe(Bandwidths(1e12, 12.8e9, 4e9, 100e6), 10e9)
    assert facts["memory"].startswith("copy 10.0 GB/s, read and written; random rows")
    assert "100 MB/s" in facts["disk"]
    assert "from pinned memory 12.8 GB/s" in facts["gpu memory"]
    assert facts["rows"].endswith("device 0.0004 s, pinned 0.04 s, memory 0.1 s, disk 44.8 s")


def test_a_machine_without_room_is_no_broken_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_bandwidths, "bandwidths", full)
    assert _doctor._transfers() == {"rows": "not measured: OSError: No space left on device"}
