"""A wrong command is one line and an exit code, and stores nothing."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
from _command_breakages import COMMANDS
from _tried import EVERY_TIME_THE_SAME, EXAMPLES, RAN, TRIED
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnkit import cli


@pytest.mark.parametrize("breakage", COMMANDS)
def test_a_wrong_command_is_one_line_and_an_exit_code(
    breakage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))

    @settings(EVERY_TIME_THE_SAME, max_examples=EXAMPLES["command line"])
    @given(st.data())
    def refuse(data: Any) -> None:
        words = COMMANDS[breakage](data.draw)
        TRIED.setdefault("command line", set()).add(f"{breakage}: {words}")
        out, err = io.StringIO(), io.StringIO()
        with pytest.raises(SystemExit) as ended, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main(words)
        assert ended.value.code in (1, 2), f"{words} gave {ended.value.code!r}"
        line = err.getvalue()
        assert line.startswith("gnnkit: "), f"{words} printed {line!r}"
        assert line.count("\n") == 1, f"{words} printed {line!r}"
        assert len(line) > len("gnnkit: \n"), f"{words} printed {line!r}"
        assert "--debug shows where" not in line, f"{words} printed {line!r}"  # foreseen, that is
        assert "Traceback" not in line + out.getvalue()

    RAN.add(f"command line-{breakage}")
    refuse()
    assert list(tmp_path.iterdir()) == []  # nothing is stored for what never ran
