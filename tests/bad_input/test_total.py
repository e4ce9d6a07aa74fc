"""How many bad inputs there were; pytest runs the files by name, and this one last."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from _all_surfaces import PLAN, SURFACES
from _command_breakages import COMMANDS
from _tried import RAN, TRIED

AT_LEAST = 500


class Total:
    """Adds a line to the summary that pytest prints."""

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        counts = Counter({surface: len(inputs) for surface, inputs in TRIED.items()})
        parts = ", ".join(f"{surface} {count}" for surface, count in counts.most_common())
        terminalreporter.write_line(f"bad inputs tried: {counts.total()} different ones ({parts})")


def test_at_least_500_different_bad_inputs_were_tried(request: pytest.FixtureRequest) -> None:
    everything = {f"{p.values[0]}-{p.values[1]}-{p.values[2]}" for p in PLAN} | {f"command line-{b}" for b in COMMANDS}
    if everything - RAN:
        pytest.skip("only a part of this folder ran in this process")
    request.config.pluginmanager.register(Total(), "gnnkit-bad-inputs")
    assert sum(map(len, TRIED.values())) >= AT_LEAST
    assert set(TRIED) == {*SURFACES, "command line"}
