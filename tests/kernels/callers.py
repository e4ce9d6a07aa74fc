"""Callers of every operation, as a script: threads, forked and spawned loader workers, one thread, workqueue."""

import sys
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import DataLoader, Dataset

from gnnkit.kernels import _threads, gat_attention, gatv2_attention, sddmm, segment_matmul, segment_softmax

_threads.GRAIN = 512  # in spawned workers too, which read this file again: the small graph is cut into parts
NUM_NODES, DEGREE, PATIENCE = 200, 12, 60


def outputs(seed: int) -> Tensor:
    """Run each operation forward and backward; all numbers in one row."""
    generator = torch.Generator().manual_seed(seed)
    indptr = torch.arange(0, NUM_NODES * DEGREE + 1, DEGREE)
    indices = torch.randint(NUM_NODES, (NUM_NODES * DEGREE,), generator=generator)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).requires_grad_()

    x, y, att, a_src, a_dst = (
        draw(NUM_NODES, 2, 5),
        draw(NUM_NODES, 2, 5),
        draw(2, 5),
        draw(NUM_NODES, 2),
        draw(NUM_NODES, 2),
    )
    logits, weight = draw(len(indices), 2), draw(4, 2, 5, 3)
    made = [
        gat_attention(indptr, indices, x, a_src, a_dst),
        gatv2_attention(indptr, indices, x, y, att),
        sddmm(indptr, indices, x, y),
        segment_softmax(logits, indptr),
        segment_matmul(x, torch.tensor([0, 3, 3, 90, NUM_NODES]), weight),
    ]
    inputs = x, y, att, a_src, a_dst, logits, weight
    grads = torch.autograd.grad([out.square().sum() for out in made], inputs)
    return torch.cat([t.detach().flatten() for t in (*made, *grads)])


class Outputs(Dataset[Tensor]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, k: int) -> Tensor:
        return outputs(k)


def main(caller: str) -> None:
    torch.set_num_threads(1)
    expected = [outputs(k) for k in range(4)]
    torch.set_num_threads(2)
    assert_close([outputs(k) for k in range(4)], expected)
    if caller == "threads":
        with ThreadPoolExecutor(4) as callers:
            got = list(callers.map(outputs, [0, 1, 2, 3] * 3))
        assert_close(got, expected * 3)
    else:
        loader = DataLoader(Outputs(), batch_size=None, num_workers=1, multiprocessing_context=caller, timeout=PATIENCE)
        assert_close(list(loader), expected)
    print(caller, "agree")


if __name__ == "__main__":
    main(sys.argv[1])
