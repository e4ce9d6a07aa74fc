// Draw entries of rows of a CSR. The host has seen that all rows lie within the entries, and where their draws belong:
// those of row k are indptr[k] … indptr[k + 1] - 1. Draw j of row k is a hash of (key, k, j), see random.cuh.
//
// Floating-point steps are written out, so that none are fused and all backends make the same bits.
#include "random.cuh"

template <class I>
struct Frontier {
    const I* indices;  // in device memory, or in pinned host memory
    const i64 *starts, *ends, *indptr;
    i64 *entries, rows;
    I* neighbors;

    __device__ i64 degree(i64 k) const { return ends[k] - starts[k]; }
    __device__ void take(i64 m, i64 entry) const {
        entries[m] = entry;
        neighbors[m] = indices[entry];
    }
    // The row that owns draw m, the last one that begins at or before it and is not empty.
    __device__ i64 row_of(i64 m) const {
        i64 low = 0, high = rows;
        while (high - low > 1) {
            i64 middle = low + (high - low) / 2;
            if (indptr[middle] <= m)
                low = middle;
            else
                high = middle;
        }
        return low;
    }
};

// The beginning of every kernel's arguments, and what is made of it.
#define FRONTIER(I) \
    const I *indices, const i64 *starts, const i64 *ends, const i64 *indptr, i64 rows, i64 key, i64 *entries, I *neighbors
#define AS_FRONTIER {indices, starts, ends, indptr, entries, rows, neighbors}

// Running sums of the weights of one row of a CSR.
struct Sums {
    const double* sums;  // [degree]
    i64 degree;

    // The first position whose sum is above a value; the last where none is.
    __device__ i64 first_above(double value) const {
        i64 low = 0, high = degree - 1;
        while (low < high) {
            i64 middle = low + (high - low) / 2;
            if (sums[middle] > value)
                high = middle;
            else
                low = middle + 1;
        }
        return low;
    }
    __device__ double total() const { return sums[degree - 1]; }
    __device__ double before(i64 position) const { return position > 0 ? sums[position - 1] : 0; }
    __device__ double weight(i64 position) const { return __dsub_rn(sums[position], before(position)); }
};

// Draws that know nothing of each other, a thread each: with replacement if `replace`, by weights if there are sums;
// else all entries of every row, in order.
template <class I>
__global__ void __launch_bounds__(256) sample_each(FRONTIER(I), i64 count, i64 replace, const double* cumulative) {
    Frontier<I> frontier = AS_FRONTIER;
    i64 m = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (m >= count) return;
    i64 k = frontier.row_of(m), j = m - indptr[k], start = starts[k];
    u64 bits = draw(draw((u64)key, k), j);
    if (replace && cumulative) {
        Sums row = {cumulative + start, frontier.degree(k)};
        j = row.first_above(__dmul_rn(unit(bits), row.total()));
    } else if (replace) {
        j = below(bits, frontier.degree(k));
    }
    frontier.take(m, start + j);
}

// Up to `fanout` different entries of each row, uniformly; `span` lanes a row. Floyd's algorithm: of the last `fanout`
// numbers m of a row, each draws one up to itself, and is taken in its stead where that has been taken. A lane looks at
// the draws that are its own, j = lane, lane + span, …, so nothing is read that another lane has written.
template <class I>
__global__ void __launch_bounds__(256) sample_distinct(FRONTIER(I), i64 fanout, i64 span) {
    Frontier<I> frontier = AS_FRONTIER;
    i64 k = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / span, lane = threadIdx.x % span;
    bool some = k < rows;
    if (!some) k = rows - 1;  // keeps its warp company
    i64 degree = frontier.degree(k), start = starts[k], first = indptr[k];
    bool draws = some && degree > fanout;
    u64 stream = draw((u64)key, k);
    unsigned group = (unsigned)((1ull << span) - 1) << (threadIdx.x % LANES / span * span);  // the lanes of the row
    if (__ballot_sync(ALL_LANES, draws))
        for (i64 j = 0; j < fanout; j++) {
            i64 last = degree - fanout + j, pick = draws ? below(draw(stream, j), last + 1) : 0;
            bool taken = false;
            for (i64 other = lane; draws && other < j; other += span) taken |= entries[first + other] == start + pick;
            if (__ballot_sync(ALL_LANES, taken) & group) pick = last;
            if (draws && j % span == lane) frontier.take(first + j, start + pick);
        }
    if (some && !draws)
        for (i64 j = lane; j < degree; j += span) frontier.take(first + j, start + j);
}

// The same by weights, one draw after the other among what is left; a thread a row. A draw is a point in the row without
// what was taken: it moves on by every taken interval that begins at or before it, from left to right. Where rounding
// puts it on a taken one, the next that is left is meant, from the end on the first. `sorted`: room for [count] picks.
template <class I>
__global__ void __launch_bounds__(256) sample_successive(FRONTIER(I), i64 fanout, const double* cumulative, i64* sorted) {
    Frontier<I> frontier = AS_FRONTIER;
    i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= rows) return;
    i64 degree = frontier.degree(k), start = starts[k], first = indptr[k];
    if (degree <= fanout) {
        for (i64 j = 0; j < degree; j++) frontier.take(first + j, start + j);
        return;
    }
    Sums row = {cumulative + start, degree};
    u64 stream = draw((u64)key, k);
    double left = row.total();
    i64* taken = sorted + first;
    for (i64 j = 0; j < fanout; j++) {
        double value = __dmul_rn(unit(draw(stream, j)), left);
        for (i64 i = 0; i < j; i++)
            if (value >= row.before(taken[i])) value = __dadd_rn(value, row.weight(taken[i]));
        i64 pick = row.first_above(value), place = 0;
        while (place < j && taken[place] < pick) place++;
        while (place < j && taken[place] == pick) {  // the taken ones lie in order
            place++;
            if (++pick == degree) pick = place = 0;
        }
        for (i64 i = j; i > place; i--) taken[i] = taken[i - 1];
        taken[place] = pick;
        left = __dsub_rn(left, row.weight(pick));
        frontier.take(first + j, start + pick);
    }
}
