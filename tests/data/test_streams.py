"""SideStream: what happens on which stream, with a CUDA made of Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler import SamplerOutput

from gnnkit.data import NeighborLoader, NeighborSampler
from gnnkit.data._streams import tensors_of


class Cuda:
    """Streams that note what is asked of them; batches stay on the CPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[Any] = []
        self.current = "main"
        cuda = self

        class Stream:
            def __init__(self, name: Any) -> None:
                self.name = "main" if name == "main" else "side"

            def wait_stream(self, other: Stream) -> None:
                cuda.log.append((self.name, "waits for", other.name))

            def wait_event(self, event: int) -> None:
                cuda.log.append((self.name, "waits for event", event))

            def record_event(self) -> int:
                cuda.log.append("event")
                return cuda.log.count("event") - 1

        @contextmanager
        def stream(one: Stream) -> Iterator[None]:
            before, cuda.current = cuda.current, one.name
            yield
            cuda.current = before

        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "stream", stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream("main"))


@pytest.mark.parametrize("filter_per_worker", [True, False])
def test_the_caller_waits_for_each_batch(monkeypatch: pytest.MonkeyPatch, filter_per_worker: bool) -> None:
    cuda = Cuda(monkeypatch)
    monkeypatch.setattr(NeighborSampler, "device", SimpleNamespace(type="cuda"))
    monkeypatch.setattr(NeighborSampler, "_sample", on_side(cuda, NeighborSampler._sample))
    data = Data(x=torch.eye(6), edge_index=torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]]))
    loader = NeighborLoader(data, [2], batch_size=2, filter_per_worker=filter_per_worker, prefetch=1)
    for k, batch in enumerate(loader):
        assert torch.equal(batch.x, data.x[batch.n_id])
        assert ("main", "waits for event", k) in cuda.log
    assert cuda.log[0] == ("side", "waits for", "main")
    assert cuda.log.count("event") == 3


def on_side(cuda: Cuda, sample: Any) -> Any:
    """The sampler, on the CPU, where it is launched on the side stream."""

    def sampled(self: Any, seeds: Any, time: Any, key: int) -> Any:
        assert cuda.current == "side"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(NeighborSampler, "device", torch.device("cpu"))
            return sample(self, seeds, time, key)

    return sampled


def test_every_tensor_of_a_batch_is_found() -> None:
    one, two, three = (torch.tensor([k]) for k in range(3))
    data = HeteroData(a={"x": one}, b={"x": two})
    data["a", "to", "b"].edge_index = three
    out = SamplerOutput(one, two, three, None, metadata=(one, None, [two]))
    for batch, expected in (
        (Data(x=one, parts=[two, {"z": three}]), [0, 1, 2]),
        (data, [0, 1, 2]),
        (out, [0, 1, 2, 0, 1]),
        ((one, "text"), [0]),
    ):
        assert sorted(int(tensor) for tensor in tensors_of(batch)) == sorted(expected)
