// Reduce the entries of every row of a CSR, in an order that depends on nothing but the graph and the shape.
//
// A warp takes a row. Its lanes lie side by side along the features; where a row has fewer features than that, groups
// of lanes take every second, fourth … entry, and a tree of shuffles joins them. A row of more than `chunk` entries, a
// hub, would keep its warp busy long after the others have finished: reduce_hubs() has a block reduce every chunk of a
// hub beforehand, into `partial`, and the row's warp joins the partial results in order. A block finds the hubs in its
// chunk by itself, so the host need not know the degrees. Nothing is added atomically.
//
// A Job says what is reduced:
//     Acc, V                                  one accumulator; how many a lane has (neighbouring features)
//     Acc start() const                       the reduction of nothing
//     void absorb(Acc*, Place, row, entry)    take in an entry
//     static Acc join(Acc, Acc)               of two parts; commutative
//     void finish(Acc*, Place, row, begin, end, Acc* hub)   hub: where a hub's result may be left, else null
//     void refuse(Place, row)                 the row's pointers are wrong
#pragma once
#include "numbers.cuh"

extern __shared__ double arena[];

struct Place {
    int lane, span;     // lanes side by side, a power of two
    int slot, slots;    // which entries of a row the lane takes: slot, slot + slots, …
    i64 feature, head;  // the lane's first feature, and the head that it belongs to
    bool inside;        // whether there is such a feature
};

// features = heads * depth; gridDim.y tiles of span * V features cover them.
__device__ inline Place place(i64 features, i64 depth, int span, int per_lane) {
    Place at;
    at.lane = threadIdx.x % LANES;
    at.span = span;
    at.slot = at.lane / span;
    at.slots = LANES / span;
    at.feature = ((i64)blockIdx.y * span + at.lane % span) * per_lane;
    at.inside = at.feature < features;
    at.head = at.inside ? at.feature / depth : 0;
    return at;
}

__device__ inline int warp_in_block() { return threadIdx.x / LANES; }
__device__ inline int warps_in_block() { return blockDim.x / LANES; }

template <class A>
__device__ inline A from_lane_across(A value, int distance) {
    return __shfl_xor_sync(ALL_LANES, value, distance);
}

template <class Job>
__device__ inline void join_slots(typename Job::Acc* acc, const Place& at) {
    for (int distance = at.span; distance < LANES; distance *= 2)
#pragma unroll
        for (int v = 0; v < Job::V; v++) acc[v] = Job::join(acc[v], from_lane_across(acc[v], distance));
}

template <class Job>
__device__ inline void absorb_entries(const Job& job, typename Job::Acc* acc, const Place& at, i64 row, i64 begin, i64 end) {
    if (at.inside)
#pragma unroll 4
        for (i64 entry = begin + at.slot; entry < end; entry += at.slots) job.absorb(acc, at, row, entry);
}

// Two partial results a chunk: 0 of the row that owns its first entry, 1 of a hub that begins further on.
__device__ inline i64 partial_index(i64 c, i64 begin, i64 chunk, i64 features, i64 feature) {
    return (2 * c + (begin > c * chunk)) * features + feature;
}

template <class Job>
__device__ void reduce_rows(const Job& job, const i64* indptr, i64 rows, i64 entries, i64 features, i64 depth, int span,
                            i64 chunk, typename Job::Acc* partial) {
    typedef typename Job::Acc Acc;
    i64 row = (i64)blockIdx.x * warps_in_block() + warp_in_block();
    if (row >= rows) return;
    Place at = place(features, depth, span, Job::V);
    i64 begin = indptr[row], end = indptr[row + 1];
    if (begin < 0 || end < begin || end > entries) {
        job.refuse(at, row);
        return;
    }
    Acc acc[Job::V];
#pragma unroll
    for (int v = 0; v < Job::V; v++) acc[v] = job.start();
    bool hub = end - begin > chunk;
    if (!hub) {
        absorb_entries(job, acc, at, row, begin, end);
    } else if (at.inside) {
        for (i64 c = begin / chunk + at.slot; c <= (end - 1) / chunk; c += at.slots)
#pragma unroll
            for (int v = 0; v < Job::V; v++)
                acc[v] = Job::join(acc[v], partial[partial_index(c, begin, chunk, features, at.feature + v)]);
    }
    join_slots<Job>(acc, at);
    Acc* left = hub ? partial + partial_index(begin / chunk, begin, chunk, features, at.feature) : nullptr;
    if (at.inside) job.finish(acc, at, row, begin, end, left);
}

// The part of a hub that lies in the block's chunk: which = 0, 1 as in partial_index. False if there is none.
__device__ inline bool hub_in_chunk(const i64* indptr, i64 rows, i64 entries, i64 chunk, int which, i64* row, i64* begin,
                                    i64* low, i64* high) {
    i64 first = (i64)blockIdx.x * chunk, last = first + chunk < entries ? first + chunk : entries;
    i64 owner = row_of(indptr, rows, first);
    *row = which ? row_of(indptr, rows, last - 1) : owner;
    if (which && *row == owner) return false;
    *begin = indptr[*row];
    i64 end = indptr[*row + 1];
    *low = *begin > first ? *begin : first;
    *high = end < last ? end : last;
    return *begin >= 0 && end <= entries && end - *begin > chunk;
}

template <class Job>
__device__ void reduce_hubs(const Job& job, const i64* indptr, i64 rows, i64 entries, i64 features, i64 depth, int span,
                            i64 chunk, typename Job::Acc* partial) {
    typedef typename Job::Acc Acc;
    Place at = place(features, depth, span, Job::V);
    Acc* shared = (Acc*)arena + warp_in_block() * LANES * Job::V + at.lane;  // [warps, V, lanes]
    for (int which = 0; which < 2; which++) {  // each warp ends with its own place, so the next hub may begin at once
        i64 row, begin, low, high;
        if (!hub_in_chunk(indptr, rows, entries, chunk, which, &row, &begin, &low, &high)) continue;  // all threads alike
        i64 piece = (high - low + warps_in_block() - 1) / warps_in_block();
        i64 from = low + warp_in_block() * piece, to = from + piece < high ? from + piece : high;
        Acc acc[Job::V];
#pragma unroll
        for (int v = 0; v < Job::V; v++) acc[v] = job.start();
        absorb_entries(job, acc, at, row, from, to);
        join_slots<Job>(acc, at);
#pragma unroll
        for (int v = 0; v < Job::V; v++) shared[v * LANES] = acc[v];
        __syncthreads();
        for (int half = warps_in_block() / 2; half > 0; half /= 2) {  // a power of two of warps
            if (warp_in_block() < half)
#pragma unroll
                for (int v = 0; v < Job::V; v++)
                    shared[v * LANES] = Job::join(shared[v * LANES], shared[(half * Job::V + v) * LANES]);
            __syncthreads();
        }
        if (warp_in_block() == 0 && at.slot == 0 && at.inside)
#pragma unroll
            for (int v = 0; v < Job::V; v++)
                partial[partial_index(blockIdx.x, begin, chunk, features, at.feature + v)] = shared[v * LANES];
    }
}
