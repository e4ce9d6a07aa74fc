// Members of two rows, or of one of them alone, for every pair of rows; a warp a pair. Its lanes take the entries of one
// row side by side and seek each in the other row by halves: for members of both rows the shorter one is walked, so a hub
// costs its partner's entries times the logarithm of its own. The host has seen that all rows lie within the entries, and
// that they increase; if they do not, the sets are wrong, and nothing outside the rows is read.
#include "numbers.cuh"

template <class I>
struct Row {
    const I* indices;
    const bool* keep;  // which entries count, or null
    i64 start, end;

    __device__ bool counts(i64 entry) const { return !keep || keep[entry]; }
    // The entry of a column, or -1 where it has none that counts.
    __device__ i64 find(I column) const {
        i64 low = start, high = end;
        while (low < high) {
            i64 middle = low + (high - low) / 2;
            if (indices[middle] < column)
                low = middle + 1;
            else
                high = middle;
        }
        return low < end && indices[low] == column && counts(low) ? low : -1;
    }
};

// The beginning of every kernel's arguments: the rows of each pair, and whether members of both are wanted, or those of
// the first row alone.
#define PAIRS(I)                                                                                       \
    const I *indices_a, const bool *keep_a, const i64 *starts_a, const i64 *ends_a, const I *indices_b, \
        const bool *keep_b, const i64 *starts_b, const i64 *ends_b, i64 pairs, i64 both

template <class I>
struct Walk {
    Row<I> walked, other;
    bool flip;  // the second row is walked

    __device__ Walk(PAIRS(I), i64 p) {
        Row<I> a = {indices_a, keep_a, starts_a[p], ends_a[p]}, b = {indices_b, keep_b, starts_b[p], ends_b[p]};
        flip = both && b.end - b.start < a.end - a.start;
        walked = flip ? b : a;
        other = flip ? a : b;
    }
    // Whether an entry of the walked row is a member, and where its column stands in the other row.
    __device__ bool takes(i64 entry, i64 both, i64* place) const {
        if (entry >= walked.end || !walked.counts(entry)) return false;
        *place = other.find(walked.indices[entry]);
        return (*place >= 0) == (both != 0);
    }
};
#define AS_WALK (indices_a, keep_a, starts_a, ends_a, indices_b, keep_b, starts_b, ends_b, pairs, both, p)

// counts[p] = how many members pair p has.
template <class I>
__global__ void __launch_bounds__(256) count_members(PAIRS(I), i64* counts) {
    i64 p = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / LANES, lane = threadIdx.x % LANES;
    if (p >= pairs) return;  // a whole warp
    Walk<I> walk AS_WALK;
    i64 count = 0, place;
    for (i64 entry = walk.walked.start + lane; entry - lane < walk.walked.end; entry += LANES)
        count += __popc(__ballot_sync(ALL_LANES, walk.takes(entry, both, &place)));
    if (lane == 0) counts[p] = count;
}

// The members of pair p, from pointers[p] on, and where they stand in the first row; of both, in the second row as well.
template <class I>
__global__ void __launch_bounds__(256)
    write_members(PAIRS(I), const i64* pointers, I* members, i64* entries, i64* other_entries) {
    i64 p = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / LANES, lane = threadIdx.x % LANES;
    if (p >= pairs) return;
    Walk<I> walk AS_WALK;
    i64 first = pointers[p], place = -1;
    for (i64 entry = walk.walked.start + lane; entry - lane < walk.walked.end; entry += LANES) {
        bool takes = walk.takes(entry, both, &place);
        unsigned taken = __ballot_sync(ALL_LANES, takes);
        if (takes) {
            i64 m = first + __popc(taken & ((1u << lane) - 1));  // behind those of the lanes before
            members[m] = walk.walked.indices[entry];
            entries[m] = walk.flip ? place : entry;
            if (both) other_entries[m] = walk.flip ? entry : place;
        }
        first += __popc(taken);
    }
}
