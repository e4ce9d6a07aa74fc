"""How many bad inputs are drawn, always the same ones, and which were really tried."""

from __future__ import annotations

from hypothesis import Phase, settings

EXAMPLES = {  # bad inputs for each breakage (on each backend, where there are two)
    "Adjacency": 4,
    "kernels": 4,
    "data": 6,
    "config": 10,
    "command line": 6,
}
# the first failure is shown as it was drawn: the cases are small, and shrinking one takes a hundred times longer
EVERY_TIME_THE_SAME = settings(deadline=None, derandomize=True, database=None, phases=[Phase.generate])
TRIED: dict[str, set[str]] = {}  # surface -> the different bad inputs that were really tried
RAN: set[str] = set()  # the tests that ran, to tell a whole run of this folder from a part of it
