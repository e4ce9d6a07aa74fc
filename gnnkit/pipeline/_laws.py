"""What every part of a network has to keep to, tried on a `Probe`: rows follow what the contract lets them follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gnnkit.pipeline._probe import CHANGED, CHANGED_EDGE, FAR, REACHED, Probe

_NORMALISES = "a layer that normalises by itself sees the piece's degrees; what adapters.adapt makes sees the whole's"


class Laws:
    """Calls functions on rows drawn at random, changes one row, and compares."""

    def __init__(self, probe: Probe, dtype: torch.dtype) -> None:
        self.probe, self.dtype = probe, dtype
        self.generator = torch.Generator().manual_seed(0)

    def draw(self, width: int, count: int | None = None) -> Tensor:
        """Draw rows, one a node of the graph unless ``count`` says."""
        count = self.probe.whole.adj.num_dst if count is None else count
        return torch.randn(count, width, dtype=self.dtype, generator=self.generator)

    def like(self, rows: Tensor) -> Tensor:
        """Draw rows of the same shape, which require a gradient if those do."""
        return self.draw(rows.shape[1], len(rows)).requires_grad_(rows.requires_grad)

    def call(self, where: str, function: Callable[..., Any], *inputs: Any) -> Any:
        """Call a function; what it raises, or an input that it writes, breaks the contract."""
        tensors = [each for each in inputs if isinstance(each, Tensor)]
        versions = [each._version for each in tensors]
        try:
            out = function(*inputs)
        except Exception as error:
            widths = ", ".join(str(each.shape[1]) for each in tensors)
            got = f"{type(error).__name__}: {error}"
            raise ValueError(f"{where}: expected it to run on rows of width {widths} (got {got})") from error
        if [each._version for each in tensors] != versions:
            raise ValueError(f"{where}: expected its input to be left as it is (got one written in place)")
        return out

    def row_by_row(
        self, where: str, part: nn.Module, function: Callable[..., Any], inputs: tuple[Tensor | None, ...]
    ) -> None:
        """Require that a row follows one node's rows, also where other nodes are absent."""
        self.own_row(where, part, function, inputs)
        part.eval()
        nodes = self.probe.sources
        rows = self.call(where, function, *inputs)
        few = self.call(where, function, *(None if x is None else x[nodes] for x in inputs))
        self._are_rows(where, few, len(nodes))
        if self.changed(rows[nodes], few).any():
            raise ValueError(
                f"{where}: expected a row to depend on that node's row alone (got others where fewer nodes came, in "
                "evaluation mode)"
            )

    def own_row(
        self, where: str, part: nn.Module, function: Callable[..., Any], inputs: tuple[Tensor | None, ...]
    ) -> None:
        """Require that no row follows another node's rows in ``inputs``."""
        others = tuple(None if x is None else self._change(x, CHANGED) for x in inputs)
        for mode, rows, moved in self._both(where, part, function, inputs, others):
            follows = self.changed(rows, moved)
            follows[CHANGED] = False
            if follows.any():
                raise ValueError(
                    f"{where}: expected a row to depend on that node's row alone (got one that changed with another "
                    f"node's, {mode})"
                )

    def one_hop(self, where: str, part: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> None:
        """Require that a row follows its node's and its in-neighbours' rows in x alone."""
        for mode, rows, moved in self._both(where, part, function, (x,), (self._change(x, CHANGED),)):
            follows = self.changed(rows, moved)
            for node, what in FAR.items():
                if follows[node]:
                    raise ValueError(
                        f"{where}: expected one hop, a node's row that follows itself and its in-neighbours (got one "
                        f"that changed with {what}, {mode})"
                    )

    def own_edges(
        self,
        where: str,
        part: nn.Module,
        function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]],
        x: Tensor,
        states: Tensor,
    ) -> None:
        """Require that edges' states are read at their destinations, and new ones follow what those read."""
        dst = self.probe.whole.adj.to_edge_index()[1]
        edges, nodes = torch.zeros(len(dst), dtype=torch.bool), torch.zeros(len(x), dtype=torch.bool)
        nodes[dst[CHANGED_EDGE]] = True
        of_node = torch.isin(dst, torch.tensor(REACHED))
        part.eval()
        rows, new = self.call(where, function, x, states)
        moved, moved_new = self.call(where, function, x, self._change(states, CHANGED_EDGE))
        if (self.changed(rows, moved) & ~nodes).any():
            raise ValueError(f"{where}: expected an edge's state to be read at its destination (got it elsewhere)")
        if new is None:
            return
        self._are_rows(f"{where}, states of the edges", new, len(dst))
        edges = dst == dst[CHANGED_EDGE]
        _, followed = self.call(where, function, self._change(x, CHANGED), states)
        if (self.changed(new, moved_new) & ~edges).any() or (self.changed(new, followed) & ~of_node).any():
            raise ValueError(
                f"{where}: expected an edge's new state to follow the nodes and edges that its destination reads (got "
                "one that changed with others)"
            )

    def same_in_a_piece(self, where: str, whole: Any, part: Any, ids: Tensor) -> None:
        """Require that a piece of the graph gives the rows that the whole gives for the same nodes (or edges)."""
        self._are_rows(where, part, len(ids))
        if self.changed(whole[ids], part).any():
            raise ValueError(
                f"{where}: expected a piece of the graph to give the rows of the whole (got others; {_NORMALISES})"
            )

    def changed(self, a: Tensor, b: Tensor) -> Tensor:
        """``[n]``: which rows differ by more than rounding."""
        scale = max(float(a.abs().nan_to_num().amax()), 1e-30) if a.numel() else 1.0
        near = torch.isclose(a, b, rtol=0, atol=100 * torch.finfo(a.dtype).eps * scale, equal_nan=True)
        return ~near.all(dim=1)

    def _both(
        self, where: str, part: nn.Module, function: Callable[..., Any], *inputs: tuple[Tensor | None, ...]
    ) -> list[tuple[str, Tensor, Tensor]]:
        """Call on two inputs in both modes, with the same random numbers."""
        found = []
        for training, mode in ((False, "in evaluation mode"), (True, "in training mode")):
            part.train(training)
            outs = []
            for each in inputs:
                torch.default_generator.manual_seed(0)  # torch.manual_seed would seed other devices too
                outs.append(self.call(where, function, *each))
                self._are_rows(where, outs[-1], self.probe.whole.adj.num_dst)
            found.append((mode, outs[0], outs[1]))
        return found

    def _change(self, x: Tensor, index: int) -> Tensor:
        changed = x.detach().clone()
        changed[index] = self.draw(x.shape[1], 1)[0]
        return changed

    def _are_rows(self, where: str, rows: Any, count: int) -> None:
        if not isinstance(rows, Tensor) or rows.dim() != 2 or len(rows) != count:
            got = list(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
            raise ValueError(f"{where}: expected {count} rows (got {got})")
