// Number ids in the order of their first appearance, with no table of hashes: `local` has a place for every node.
//
// As whole numbers without a sign, labels lie below FIRST, the positions in `ids` above, and -1, unknown, beyond all of
// them. So one minimum an id leaves a known label as it is, and else the position of the id's first appearance: the same
// for every order of threads.
#include "numbers.cuh"

#define FIRST 0x80000000u
const i64 WRONG = 1ll << 32;  // beyond the number of ids, so that one sum counts both

template <class I>
__global__ void __launch_bounds__(256) claim(const I* ids, i64 count, unsigned* local, i64 num_nodes) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    i64 id = ids[i];
    if (id >= 0 && id < num_nodes) atomicMin(local + id, FIRST + (unsigned)i);
}

// marks[i] = 1 where an unknown id appears first, else 0. WRONG where an id is none, its label is not below `known`, or
// `local` had a negative number other than -1, which looks like the position of another id.
template <class I>
__global__ void __launch_bounds__(256)
    mark(const I* ids, i64 count, const unsigned* local, i64 num_nodes, i64 known, i64* marks) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    i64 id = ids[i];
    if (id < 0 || id >= num_nodes) {
        marks[i] = WRONG;
        return;
    }
    i64 first = (i64)local[id] - FIRST;
    if (first < 0)
        marks[i] = local[id] < known ? 0 : WRONG;
    else
        marks[i] = first < count && ids[first] == id ? first == i : WRONG;
}

// ranks: the running sums of marks, all ids being right.
template <class I>
__global__ void __launch_bounds__(256)
    label(const I* ids, i64 count, const unsigned* local, i64 known, const i64* ranks, i64* labels, I* appeared) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    unsigned found = local[ids[i]];
    if (found < FIRST) {
        labels[i] = found;
        return;
    }
    i64 first = found - FIRST, rank = ranks[first] - 1;
    labels[i] = known + rank;
    if (first == i) appeared[rank] = ids[i];
}

template <class I>
__global__ void __launch_bounds__(256) settle(const I* appeared, i64 count, i64 known, int* local) {
    i64 n = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (n < count) local[appeared[n]] = (int)(known + n);
}
