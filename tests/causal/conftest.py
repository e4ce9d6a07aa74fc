"""The folder's shared modules, and the data of the learners' tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gnnkit.causal import CausalData, simulate

sys.path.insert(0, str(Path(__file__).parent))  # for the modules that tests share


@pytest.fixture(scope="session")
def data() -> CausalData:
    return simulate("ba", seed=0, num_nodes=300, share=0.5)
