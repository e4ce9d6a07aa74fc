"""Where the features of nodes go while they are read: to the tensor that stays, or to a file that is mapped."""

from __future__ import annotations

from gnnkit.datasets._card import Card
from gnnkit.datasets._ogb_raw import Sink


def in_memory(facts: Card) -> Sink:
    """Keep features in a tensor; float32 if they are whole numbers that do not name categories.

    Those of a set of links stay what they are, as in ogb.
    """
    floats = facts.task != "link_prediction" and facts.node_categories is None
    return lambda type_, table: table.read(floats)
