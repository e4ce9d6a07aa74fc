// out[e] = a[i] . b[indices[e]] for entry e of row i, a head at a time; in sddmm_masked over the winning messages only.
//
// A warp takes a stretch of entries of one length whatever the degrees are, so that it need not care for hubs. A group of
// `span` lanes takes an entry and a head; a tree of shuffles adds what its lanes found.
#include "mask.cuh"

// Look for the row of an entry from the row of an earlier one: mostly the same or the next.
__device__ inline i64 row_from(const Graph& graph, i64 row, i64 entry) {
    for (int step = 0; step < 4; step++, row++)
        if (row + 1 >= graph.rows || graph.indptr[row + 1] > entry) return row;
    return row_of(graph, entry);
}

template <class T, int V, bool masked>
__device__ void products(const Graph& graph, i64 stretch, T* out, const T* a, const T* b, const Mask<T, V>& mask) {
    typedef typename Number<T>::Wide A;
    int lane = threadIdx.x % LANES, group = lane / graph.span, groups = LANES / graph.span;
    i64 first = ((i64)blockIdx.x * warps_in_block() + warp_in_block()) * stretch;
    i64 end = first + stretch < graph.entries ? first + stretch : graph.entries;
    if (first >= end) return;
    i64 row = row_of(graph, first);
    for (i64 base = first * graph.heads; base < end * graph.heads; base += groups) {  // all lanes alike: they shuffle
        i64 item = base + group, entry = item / graph.heads, head = item % graph.heads;
        bool some = item < end * graph.heads;
        A sum = 0;
        if (some) {
            row = row_from(graph, row, entry);
            i64 id = graph.indices[entry], col = graph.or_first(id);
            for (i64 d = (i64)(lane % graph.span) * V; d < graph.depth; d += graph.span * V) {
                i64 feature = head * graph.depth + d;
                A left[V], right[V], wins[V];
                load<V>(a + row * graph.features + feature, left);
                load<V>(b + col * graph.features + feature, right);
                if (masked) mask.of(wins, graph, feature, head, entry, col, row);
#pragma unroll
                for (int v = 0; v < V; v++) sum += masked ? left[v] * right[v] * wins[v] : left[v] * right[v];
            }
            sum = graph.or_nan(id, sum);
        }
        for (int distance = graph.span / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, distance);
        if (some && lane % graph.span == 0) out[item] = Number<T>::narrow(sum);
    }
}

template <class T, int V>
__global__ void __launch_bounds__(256) sddmm(GRAPH, T* out, const T* a, const T* b) {
    products<T, V, false>(AS_GRAPH, chunk, out, a, b, Mask<T, V>());
}

template <class T, int V>
__global__ void __launch_bounds__(256) sddmm_masked(GRAPH, T* out, const T* a, const T* b, MASK(T)) {
    products<T, V, true>(AS_GRAPH, chunk, out, a, b, AS_MASK);
}
