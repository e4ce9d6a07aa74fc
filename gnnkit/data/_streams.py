"""SideStream: batches made on a CUDA stream of their own, ordered by events before they are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class SideStream:
    """The stream on which an iterator's threads work; the caller's streams wait for a batch, and not for the next one.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # the graph and the features may still be on their way
        self._stream.wait_stream(torch.cuda.current_stream(device))
        self._device = device

    @contextmanager
    def work(self) -> Iterator[None]:
        """Launch what follows on the side stream."""
        with torch.cuda.stream(self._stream):
            yield

    def depart(self, batch: Any) -> tuple[Any, Any]:
        """A batch, and the event after which it is there."""
        return batch, self._stream.record_event()

    def arrive(self, departed: tuple[Any, Any]) -> Any:
        """Let the caller's stream wait for a batch, whose memory then is not used again before that stream is done."""
        batch, event = departed
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(event)
        for tensor in tensors_of(batch):
            if tensor.is_cuda:
                tensor.record_stream(stream)
        return batch


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Every tensor of a batch or of a sampler's output."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors_of(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_of(part)
    elif hasattr(value, "to_dict"):
        yield from tensors_of(value.to_dict())
    elif hasattr(value, "__dict__"):
        yield from tensors_of(vars(value))
