// What the gradient of max and min needs: how many messages tie, and sums over the winning ones.
//
// The winner is told by the very product that spmm.cu compares: weight * x == extreme. Of 16 bits x never is here.
#include "mask.cuh"
#include "rows.cuh"

// out[i] = the number of messages that equal extreme[i], and one more where that is exactly 0.
template <class T, int V>
struct Ties : RowJob<T, V> {
    typedef typename Number<T>::Wide A;
    Mask<T, V> mask;

    __device__ void read(typename RowJob<T, V>::Term& term, const Place& at, i64 row, i64 entry, i64 id) const {
        const Graph& graph = this->graph;
        mask.of(term.item, graph, at.feature, at.head, entry, graph.or_first(id), row);
#pragma unroll
        for (int v = 0; v < V; v++) term.item[v] = graph.or_nan(id, term.item[v]);
    }
    __device__ void finish(A* acc, const Place& at, i64 row, i64, i64, A*) const {
        A best[V];
        load<V>(mask.extreme + row * this->graph.features + at.feature, best);
#pragma unroll
        for (int v = 0; v < V; v++) acc[v] += best[v] == 0 ? 1 : 0;
        this->write(acc, at, row);
    }
};

// out[r] = sum over e of row r of values[e] * mask * z[c], c = indices[e]; rows are sources if to_src, else destinations.
// The mask is a factor and not a choice: an infinite share of an extreme that is NaN ends as NaN.
template <class T, int V>
struct Masked : RowJob<T, V> {
    typedef typename Number<T>::Wide A;
    Mask<T, V> mask;
    const T *z, *values;
    bool to_src;

    __device__ void read(typename RowJob<T, V>::Term& term, const Place& at, i64 row, i64 entry, i64 id) const {
        const Graph& graph = this->graph;
        i64 col = graph.or_first(id);
        A wins[V], value = graph.or_nan(id, or_one(values, entry * graph.heads + at.head));
        mask.of(wins, graph, at.feature, at.head, entry, to_src ? row : col, to_src ? col : row);
        load<V>(z + col * graph.features + at.feature, term.item);
#pragma unroll
        for (int v = 0; v < V; v++) term.item[v] = value * term.item[v] * wins[v];
    }
};

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256) extreme_ties(GRAPH, typename Number<T>::Wide* partial, T* out, MASK(T)) {
    Ties<T, V> job = {{AS_GRAPH, out}, AS_MASK};
    reduce<hubs>(job, partial);
}

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256) spmm_masked(GRAPH, typename Number<T>::Wide* partial, T* out, MASK(T), const T* z,
                                                   const T* values, i64 to_src) {
    Masked<T, V> job = {{AS_GRAPH, out}, AS_MASK, z, values, to_src != 0};
    reduce<hubs>(job, partial);
}
