// A CSR, the shape of the tables that lie along it, and which part of them a lane serves.
#pragma once
#include "numbers.cuh"

struct Graph {
    const i64* indptr;
    Ids indices;
    i64 rows, entries, num_cols;  // indices are below num_cols
    i64 heads, depth, features;   // features = heads * depth
    int span;                     // lanes side by side along the features, a power of two
    i64 chunk;                    // a row of more entries is a hub

    // An id that is none reads row 0 and makes NaN of it: no branch, so that the reads of several entries overlap. The host
    // has seen that there is a row 0.
    __device__ bool knows(i64 col) const { return col >= 0 && col < num_cols; }
    __device__ i64 or_first(i64 col) const { return knows(col) ? col : 0; }
    template <class A>
    __device__ A or_nan(i64 col, A number) const {
        return knows(col) ? number : not_a_number<A>();
    }
};

// The beginning of every kernel's arguments, and what is made of it.
#define GRAPH                                                                                                         \
    const i64 *indptr, const void *indices, i64 wide, i64 rows, i64 entries, i64 num_cols, i64 heads, i64 depth, i64 span, \
        i64 chunk
#define AS_GRAPH {indptr, {indices, wide != 0}, rows, entries, num_cols, heads, depth, heads * depth, (int)span, chunk}

struct Place {
    int slot, slots;    // which entries of a row the lane takes: slot, slot + slots, …
    i64 feature, head;  // the lane's first feature, and the head that it belongs to
    i64 unit;           // the number of the lane among all that a row has, in every tile
    bool inside;        // whether there is such a feature
};

// gridDim.y tiles of span * per_lane features cover them all.
__device__ inline Place place(const Graph& graph, int per_lane) {
    int lane = threadIdx.x % LANES;
    Place at;
    at.slot = lane / graph.span;
    at.slots = LANES / graph.span;
    at.unit = (i64)blockIdx.y * graph.span + lane % graph.span;
    at.feature = at.unit * per_lane;
    at.inside = at.feature < graph.features;
    at.head = at.inside ? at.feature / graph.depth : 0;
    return at;
}

__device__ inline int warp_in_block() { return threadIdx.x / LANES; }
__device__ inline int warps_in_block() { return blockDim.x / LANES; }

// The row of a CSR that holds an entry: the last one that begins at or before it. In [0, rows) for any pointers.
__device__ inline i64 row_of(const Graph& graph, i64 entry) {
    i64 low = 0, high = graph.rows;  // the row is in [low, high)
    while (high - low > 1) {
        i64 middle = low + (high - low) / 2;
        if (graph.indptr[middle] <= entry)
            low = middle;
        else
            high = middle;
    }
    return low;
}
