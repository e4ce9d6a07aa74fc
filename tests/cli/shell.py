"""Commands in this process, and what they print."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

from gnnkit import cli

DATA = os.environ.get("GNNKIT_DATA")
BENCH = ("bench", "karate", "--model", "gcn", "--device", "cpu", "--set", "train.max_epochs=3")


class Shell:
    """Runs commands in this process and keeps what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str) -> str:
        """Give what a command that must succeed prints."""
        code, out, err = self.run(words)
        assert code == 0, err
        assert err == ""
        return out

    def fails(self, *words: str) -> str:
        """Give the one line that a command that must fail prints."""
        code, out, err = self.run(words)
        assert code not in (0, None)
        assert err.endswith("\n")
        assert err.count("\n") == 1, err
        assert err.startswith("gnnkit: ")
        assert "Traceback" not in out + err
        return err.removeprefix("gnnkit: ").strip()

    def run(self, words: Sequence[str]) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(words))
        captured = self.capsys.readouterr()
        return ended.value.code, captured.out, captured.err
