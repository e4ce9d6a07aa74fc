"""What a stage trades with the stage before it and the one after it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnnkit.pipeline._part import Part

if TYPE_CHECKING:
    from gnnkit.pipeline._transport import Handle, Transport

Arriving = Mapping[str, "Handle"]


class Boundary:
    """Sends and receives a chunk's rows and their gradients: ``"x"``, and where they travel ``"shared"``, ``"edges"``.

    At most the messages of two chunks are on their way out at a time.

    Args:
        transport: Carries them.
        part: The graph's part, which says how many rows and edges a chunk has.
        previous: Rank of the stage before, None at the first.
        following: Rank of the stage after, None at the last.
        incoming: Widths of what comes in, by name.
        outgoing: Widths of what goes on, by name.
        dtype: Of the rows.
        device: Where they lie.
    """

    def __init__(
        self,
        transport: Transport,
        part: Part,
        previous: int | None,
        following: int | None,
        incoming: Mapping[str, int],
        outgoing: Mapping[str, int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.transport, self.part = transport, part
        self.previous, self.following = previous, following
        self.incoming = incoming if previous is not None else {}
        self.outgoing = outgoing if following is not None else {}
        self.dtype, self.device = dtype, device
        self._leaving: deque[list[Handle]] = deque()

    def rows(self, chunk: int, epoch: int, kind: str = "activations") -> Arriving:
        """Start to receive a chunk's rows from the stage before."""
        return self._receive(self.previous, self.incoming, chunk, f"of epoch {epoch}", kind)

    def gradients(self, chunk: int, epoch: int) -> Arriving:
        """Start to receive the gradients of a chunk's rows from the stage after."""
        return self._receive(self.following, self.outgoing, chunk, f"of epoch {epoch}, backward", "gradients")

    def send_rows(self, rows: Mapping[str, Tensor], chunk: int, epoch: int, kind: str = "activations") -> None:
        """Send a chunk's rows to the stage after."""
        chosen = {name: rows[name].detach() for name in self.outgoing}
        self._send(self.following, chosen, chunk, f"of epoch {epoch}", kind)

    def send_gradients(self, rows: Mapping[str, Tensor], chunk: int, epoch: int) -> None:
        """Send the gradients of what came in to the stage before; what nobody used has zeros."""
        grads = {name: rows[name].grad for name in self.incoming}
        chosen = {name: torch.zeros_like(rows[name]) if grad is None else grad for name, grad in grads.items()}
        self._send(self.previous, chosen, chunk, f"of epoch {epoch}, backward", "gradients")

    def drain(self) -> None:
        """Wait until all that was sent is gone."""
        while self._leaving:
            for handle in self._leaving.popleft():
                handle.wait()

    def _receive(self, source: int | None, widths: Mapping[str, int], chunk: int, when: str, kind: str) -> Arriving:
        arriving: dict[str, Handle] = {}
        for name, width in widths.items():
            assert source is not None
            buffer = torch.empty(self._count(chunk, name), width, dtype=self.dtype, device=self.device)
            what = f"{name} of chunk {chunk} {when}"
            arriving[name] = self.transport.receive(buffer, source, what, kind)
        return arriving

    def _send(self, to: int | None, rows: Mapping[str, Tensor], chunk: int, when: str, kind: str) -> None:
        if to is None:
            return
        while len(self._leaving) >= 2:
            for handle in self._leaving.popleft():
                handle.wait()
        sent = [
            self.transport.send(tensor.contiguous(), to, f"{name} of chunk {chunk} {when}", kind)
            for name, tensor in rows.items()
        ]
        self._leaving.append(sent)

    def _count(self, chunk: int, name: str) -> int:
        low, high = self.part.rows(chunk)
        if name != "edges":
            return high - low
        return sum(piece.graph.adj.num_edges for piece in self.part.pieces[chunk])


def landed(arriving: Arriving) -> dict[str, Tensor]:
    """Wait for what was to be received; return it by name."""
    rows = {name: handle.wait() for name, handle in arriving.items()}
    return {name: tensor for name, tensor in rows.items() if tensor is not None}
