"""InMemory: rows by id, for every dtype and shape, into a buffer; what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

from gnnkit.data import FeatureStore, InMemory
from gnnkit.data._store import check_ids, output

DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(7,), (7, 3), (7, 2, 5), (7, 0)], ids=str)
@pytest.mark.parametrize("ids_dtype", [torch.int32, torch.int64], ids=str)
def test_rows_come_in_the_order_of_the_ids(
    backend: str, dtype: torch.dtype, shape: tuple[int, ...], ids_dtype: torch.dtype
) -> None:
    tensor = torch.randint(0, 100, shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    ids = torch.tensor([6, 0, 0, 3], dtype=ids_dtype)
    store = InMemory(tensor)
    assert (store.shape, store.dtype) == (tensor.shape, dtype)
    assert torch.equal(store.read(ids), tensor[ids.long()])
    out = torch.empty(4, *shape[1:], dtype=dtype)
    assert store.read(ids, out) is out
    assert torch.equal(out, tensor[ids.long()])


def test_no_ids_give_no_rows() -> None:
    assert InMemory(torch.ones(3, 2)).read(torch.empty(0, dtype=torch.int64)).shape == (0, 2)
    assert InMemory(torch.ones(0, 2)).read(torch.empty(0, dtype=torch.int64)).shape == (0, 2)


def test_the_tensor_is_shared_and_not_copied_unless_its_rows_lie_apart() -> None:
    tensor = torch.arange(6.0).view(3, 2)
    assert InMemory(tensor).tensor.data_ptr() == tensor.data_ptr()
    assert InMemory(tensor.t()).read(torch.tensor([1])).tolist() == [[1.0, 3.0, 5.0]]


def test_a_parameter_is_read_without_gradient() -> None:
    assert not InMemory(torch.ones(3, 2, requires_grad=True)).read(torch.tensor([0])).requires_grad


def test_it_is_a_store_and_survives_pickling() -> None:
    store: FeatureStore = pickle.loads(pickle.dumps(InMemory(torch.eye(2))))
    assert isinstance(store, FeatureStore)
    assert store.read(torch.tensor([1])).tolist() == [[0.0, 1.0]]
    assert repr(store) == "InMemory(float32 tensor of shape [2, 2])"


@pytest.mark.parametrize("bad", [None, [[1.0]], torch.tensor(1.0), torch.eye(2).to_sparse()], ids=repr)
def test_what_is_no_table_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^tensor: expected a dense tensor with rows \(got "):
        InMemory(bad)


@pytest.mark.parametrize("bad", [[-1], [3], [0, 1, 3]])
def test_ids_outside_the_table_are_refused(backend: str, bad: list[int]) -> None:
    wrong = bad[-1]
    with pytest.raises(ValueError, match=rf"ids: expected ids in \[0, 3\) \(got {wrong}\)"):
        InMemory(torch.ones(3, 2)).read(torch.tensor(bad))
    with pytest.raises(ValueError, match=rf"ids: expected ids in \[0, 3\) \(got {wrong}\)"):
        check_ids(torch.tensor(bad), 3)


@pytest.mark.parametrize(
    "bad", [torch.tensor([0.0]), torch.tensor([True]), torch.tensor([[0]]), [0], 0, None], ids=repr
)
def test_what_is_no_vector_of_ids_is_refused(bad: Any) -> None:
    for call in (lambda: InMemory(torch.ones(3, 2)).read(bad), lambda: check_ids(bad, 3)):
        with pytest.raises(ValueError, match=r"^ids: expected a 1-D int32 or int64 tensor \(got "):
            call()


@pytest.mark.parametrize(
    "bad",
    [
        torch.empty(2, 3),
        torch.empty(3, 2),
        torch.empty(2, 2, dtype=torch.float64),
        torch.empty(2, 2).t()[:, :],
        torch.empty(2, 2, device="meta"),
        torch.empty(2, 2, requires_grad=True),
        [[0.0] * 2] * 2,
    ],
    ids=["shape", "rows", "dtype", "strides", "device", "gradient", "list"],
)
def test_a_buffer_that_does_not_fit_is_refused(bad: Any) -> None:
    store, ids = InMemory(torch.ones(4, 2)), torch.tensor([0, 1])
    for call in (lambda: store.read(ids, bad), lambda: output(store, ids, bad)):
        with pytest.raises(ValueError, match=r"^out: expected .* \(got "):
            call()
