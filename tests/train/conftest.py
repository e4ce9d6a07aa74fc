"""What several tests of training take."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gnnkit.datasets import load
from gnnkit.train import NodeClassification

sys.path.insert(0, str(Path(__file__).parent))  # for the modules that tests share


@pytest.fixture(scope="module")
def karate() -> NodeClassification:
    """The task of classifying the karate club."""
    data = load("karate")
    return NodeClassification(data, data.card.split(data, 0))
