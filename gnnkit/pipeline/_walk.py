"""One epoch of one process: every chunk forward, then every chunk backward in the reverse order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from gnnkit.pipeline._boundary import Arriving, Boundary, landed
from gnnkit.pipeline._rows import Trade
from gnnkit.pipeline._schedule import Task
from gnnkit.pipeline._stage import Stage
from gnnkit.pipeline._trace import Trace

Rows = dict[str, Tensor]


class Walk:
    """Runs a stage over the chunks of an epoch. While a chunk is computed, the next one's rows arrive.

    Args:
        stage: The layers.
        boundary: The stages before and after.
        features: ``features(chunk)`` gives ``[n, F]`` at the first stage.
        loss: ``loss(outputs, chunk)`` gives a chunk's share of the loss at the last stage.
        trades: ``trades(hop, chunk, epoch)`` says how ways trade rows.
        recompute: Whether a chunk is computed once more on its way back, in place of keeping all it computed.
        trace: Told what happened when.
    """

    def __init__(
        self,
        stage: Stage,
        boundary: Boundary,
        features: Callable[[int], Tensor],
        loss: Callable[[Tensor, int], Tensor],
        trades: Callable[[int, int, int], Trade],
        recompute: bool,
        trace: Trace,
    ) -> None:
        self.stage, self.boundary, self.trace = stage, boundary, trace
        self.features, self.loss, self.trades, self.recompute = features, loss, trades, recompute

    def run(self, tasks: Sequence[Task], epoch: int) -> Tensor:
        """Walk all chunks forward and back, as the stage's schedule says; gradients add up in the parameters.

        Returns:
            The sum of the chunks' losses, float64; 0 before the last stage.
        """
        total = torch.zeros((), dtype=torch.float64, device=self.stage.device)
        forward = [task.chunk for task in tasks if task.kind == "forward"]
        backward = [task.chunk for task in tasks if task.kind == "backward"]
        fresh = torch.zeros(len(forward), dtype=torch.bool, device=self.stage.device)
        kept: dict[int, tuple[Rows, Rows, Tensor]] = {}
        for chunk, arriving in _ahead(forward, lambda chunk: self.boundary.rows(chunk, epoch)):
            inputs = self._inputs(chunk, arriving)
            fresh = fresh.clone()  # which chunks' rows this one reads as this epoch's
            fresh[chunk] = True
            with self.trace.event("forward", chunk), torch.set_grad_enabled(not self.recompute):
                outputs = self._compute(chunk, inputs, fresh, epoch, replay=False)
            if "loss" in outputs:
                total += outputs["loss"].detach().double()
            self.boundary.send_rows(outputs, chunk, epoch)
            kept[chunk] = inputs, {} if self.recompute else outputs, fresh
            del inputs, outputs
        for chunk, arriving in _ahead(backward, lambda chunk: self.boundary.gradients(chunk, epoch)):
            gradients = self._wait(chunk, arriving)
            inputs, outputs, fresh = kept.pop(chunk)
            with self.trace.event("backward", chunk):
                if self.recompute:
                    outputs = self._compute(chunk, inputs, fresh, epoch, replay=True)
                _backward(outputs, gradients)
            self.boundary.send_gradients(inputs, chunk, epoch)
            del inputs, outputs
        self.boundary.drain()
        return total

    def _inputs(self, chunk: int, arriving: Arriving) -> Rows:
        """What a chunk comes with: the features at the first stage, later what the stage before sends."""
        if self.boundary.previous is None:
            return {}
        return {name: rows.requires_grad_() for name, rows in self._wait(chunk, arriving).items()}

    def _wait(self, chunk: int, arriving: Arriving) -> Rows:
        if not arriving:
            return {}
        with self.trace.event("wait", chunk):
            return landed(arriving)

    def _compute(self, chunk: int, inputs: Rows, fresh: Tensor, epoch: int, replay: bool) -> Rows:
        stage = self.stage
        if self.boundary.previous is None:
            x = stage.enter(self.features(chunk), chunk).to(stage.dtype)
            shared = x if stage.shares else None
        else:
            x, shared = inputs["x"], inputs.get("shared")
        edges = inputs["edges"] if "edges" in inputs else stage.edge_states(chunk)
        x, edges = stage.forward(chunk, x, shared, edges, fresh, lambda hop, at: self.trades(hop, at, epoch), replay)
        if self.boundary.following is None:
            return {"loss": self.loss(stage.leave(x, chunk), chunk)}
        return {name: rows for name, rows in (("x", x), ("shared", shared), ("edges", edges)) if rows is not None}


def _backward(outputs: Rows, gradients: Rows) -> None:
    """Walk back from a loss, or from outputs whose gradients came in."""
    if "loss" in outputs:
        outputs["loss"].backward()  # type: ignore[no-untyped-call]
        return
    names = [name for name in gradients if outputs[name].requires_grad]
    torch.autograd.backward([outputs[name] for name in names], [gradients[name] for name in names])


def _ahead(order: Sequence[int], post: Callable[[int], Arriving]) -> Iterator[tuple[int, Arriving]]:
    """Give each chunk with what arrives for it, posted while the one before it is worked on."""
    arriving = post(order[0])
    for position, chunk in enumerate(order):
        current = arriving
        arriving = post(order[position + 1]) if position + 1 < len(order) else {}
        yield chunk, current
