"""The emulator itself: faults that it must report, and sound kernels that look like them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from machine import EmulatorError, Machine, build

from gnnkit.kernels import _launch

SOURCE = """
typedef long long i64;
extern __shared__ double arena[];

template <int distance, bool whole_block, bool sync>
__global__ void exchange(i64* out) {  // leave a number for a neighbour, take the neighbour's
    arena[threadIdx.x] = threadIdx.x;
    if (sync && whole_block) __syncthreads();
    if (sync && !whole_block) __syncwarp();
    out[threadIdx.x] = (i64)arena[threadIdx.x ^ distance];
}

template <int what>
__global__ void fault(const i64* in, i64* out, i64 count) {
    int t = threadIdx.x;
    if (what == 0 && t == 5) return;               // leaves before the barrier
    if (what == 1 && t == 7) __syncwarp();         // a barrier that its warp does not reach
    if (what == 2 && t == 0) arena[64] = 1;        // past the shared memory
    if (what == 3 && t == 0) out[0] = in[count];   // past the tensor
    if (what == 4 && t == 0) out[count] = 1;
    if (what == 5 && t == 0) out[0] = *(const i64*)((const char*)in + 4);  // across two numbers
    if (what == 6 && t == 0) out[0] = (int)count * 2000000000;
    if (what == 7) out[0] = t;                     // all write one number
    if (what == 8) out[0] = __shfl_sync(0x0000ffffu, t, 0);  // lanes outside the mask take part
    if (what == 9) out[t] = __shfl_sync(t < 32 ? 0xffffffffu : 0x0fffffffu, t, 31);
    if (what == 10) {                              // another block's number
        out[blockIdx.x * 64 + t] = t;
        if (blockIdx.x == 1 && t == 0) out[64] = out[0];
    }
    if (what == 11 && t == 0) out[0] = in[-1];
    unsigned* word = (unsigned*)out;
    if (what == 12) t == 9 && t < *word ? *word = t : atomicMin(word, t);  // one of them is not atomic
    if (what == 13) t == 9 ? out[t] = *word : atomicMin(word, t);          // read while others write
    if (what == 14 && t == 0) atomicMin(word + 2 * count, 1);
    if (what == 15 && t == 0) atomicMin((unsigned*)((char*)word + 2), 1);
    if (what == 16) __ballot_sync(0x0fffffffu, t);
    __syncthreads();
}

template <int threads>
__global__ void sound(const i64* in, i64* out, i64 count) {  // sum by shuffles, then by shared memory
    i64 number = threadIdx.x < count ? in[threadIdx.x] : 0;
    for (int distance = 16; distance > 0; distance /= 2) number += __shfl_xor_sync(0xffffffffu, number, distance);
    i64* shared = (i64*)arena;
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = number;
    __syncthreads();
    if (threadIdx.x == 0) out[0] = shared[0] + shared[1];
}

template <int threads>
__global__ void least(const i64* in, i64* out) {  // the same by atomics and by votes
    unsigned* word = (unsigned*)out;
    atomicMin(word, (unsigned)in[threadIdx.x]);
    __syncthreads();
    unsigned votes = __ballot_sync(0xffffffffu, in[threadIdx.x] == *word);
    if (threadIdx.x % 32 == 0) out[1 + threadIdx.x / 32] = votes;
}
"""
FAULTS = (
    "finished",
    "at a warp's barrier",
    "AddressSanitizer",
    "AddressSanitizer",
    "AddressSanitizer",
    "misaligned address",
    "signed integer overflow",
    "race: .* writes byte",
    "leaves it out|outside its mask",
    "leaves it out|outside its mask",
    "race: .* byte",
    "AddressSanitizer",
    "race: .* byte",
    "race: .* byte",
    "AddressSanitizer",
    "misaligned address",
    "leaves it out",
)
EXCHANGES = [
    f"exchange<{d}, {whole}, {sync}>" for d in (1, 32) for whole in ("true", "false") for sync in ("true", "false")
]


@pytest.fixture(scope="module")
def played(folder: Path) -> Iterator[Machine]:
    """A machine that runs the kernels above."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_launch, "code", lambda source: SOURCE)
        kernels = ["sound<64>", "least<64>", *EXCHANGES, *(f"fault<{what}>" for what in range(len(FAULTS)))]
        machine = Machine({"test.cu": build(folder, "test.cu", kernels)})
    yield machine
    machine.stop()


@pytest.mark.parametrize("what", range(len(FAULTS)))
def test_a_fault_is_reported(played: Machine, what: int) -> None:
    for played.seed in range(3):
        args = torch.arange(40), torch.zeros(128, dtype=torch.int64)
        with pytest.raises(EmulatorError, match=FAULTS[what]):
            played.run("test.cu", f"fault<{what}>", (2, 1), 64, (*args, 128 if what in (4, 14) else 40), 64 * 8)


@pytest.mark.parametrize("kernel", EXCHANGES)
def test_a_race_is_reported_where_no_barrier_orders_it(played: Machine, kernel: str) -> None:
    distance, whole_block, sync = kernel.removeprefix("exchange<").rstrip(">").split(", ")
    ordered = sync == "true" and (whole_block == "true" or distance == "1")  # a warp's barrier orders the warp
    out = torch.zeros(64, dtype=torch.int64)
    for played.seed in range(3):
        if ordered:
            played.run("test.cu", kernel, (1, 1), 64, (out,), 64 * 8)
            assert out.tolist() == [t ^ int(distance) for t in range(64)]
        else:
            with pytest.raises(EmulatorError, match="race: "):
                played.run("test.cu", kernel, (1, 1), 64, (out,), 64 * 8)


@pytest.mark.parametrize("seed", range(4))
def test_a_sound_kernel_is_let_through(played: Machine, seed: int) -> None:
    played.seed, out = seed, torch.zeros(1, dtype=torch.int64)
    played.run("test.cu", "sound<64>", (1, 1), 64, (torch.arange(40), out, 40), 2 * 8)
    assert out.item() == sum(range(40))


@pytest.mark.parametrize("seed", range(3))
def test_atomics_of_one_place_are_no_race(played: Machine, seed: int) -> None:
    played.seed, numbers = seed, torch.arange(64).flip(0) + 5
    out = torch.tensor([2**32 - 1, 0, 0])
    played.run("test.cu", "least<64>", (1, 1), 64, (numbers, out), 0)
    assert out.tolist() == [5, 0, 2**31]


def test_a_kernel_of_other_arguments_or_none_is_refused(played: Machine) -> None:
    out = torch.zeros(64, dtype=torch.int64)
    for kernel, args, message in (
        ("sound<64>", (out,), "called with 1 arguments"),
        ("sound<64>", (out, out, 0.5), "argument 2 is of kind d, expected i"),
        ("unknown", (out,), "not compiled: unknown"),
    ):
        with pytest.raises(EmulatorError, match=message):
            played.run("test.cu", kernel, (1, 1), 64, args, 64 * 8)
