"""What the tests of the command line take."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gnnkit import cli

sys.path.insert(0, str(Path(__file__).parent))  # for the modules that tests share
from shell import Shell


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, with a cache beside it."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GNNKIT_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")  # no cell folds
    monkeypatch.setattr(cli, "_debug", False)
    return tmp_path / "work"


@pytest.fixture
def gnnkit_(capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command, without the process."""
    return Shell(capsys)
