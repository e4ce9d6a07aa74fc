// GAT: the score of an entry is leaky(a_src[src] + a_dst[dst] + a_edge[entry]).
#include "attention.cuh"

#define WIDE typename Number<T>::Wide
#define SCORES const T *x, const WIDE *a_src, const WIDE *a_dst, const WIDE *a_edge, const WIDE *mask, double slope
#define BACKWARD const WIDE *top, const WIDE *total, const T *grad, const WIDE *delta

// For rows that are destinations: the gradients of a_dst, summed, and of a_edge, where there is one.
template <class T, int V>
struct ToDst : Attention<T, V, 1, false, true, false> {
    typedef typename Number<T>::Wide A;
    A *da_dst, *da_edge;

    __device__ void take(A* acc, const Place& at, const typename Attention<T, V, 1, false, true, false>::Term& term) const {
        A alpha, dscore;
        this->weigh(term, at, &alpha, &dscore);
        A draw = dscore * this->slope_at(term.score);
        acc[0] += draw;
        if (this->t.a_edge && this->first_of_head(at)) da_edge[term.edge] = draw;
    }
    __device__ void finish(A* acc, const Place& at, i64 row, i64, i64, A*) const {
        if (at.slot == 0 && this->first_of_head(at)) da_dst[row * this->graph.heads + at.head] = acc[0];
    }
    __device__ void refuse(const Place& at, i64 row) const {
        A nan = not_a_number<A>();
        finish(&nan, at, row, 0, 0, nullptr);
    }
};

// For rows that are sources: the gradients of x and of a_src.
template <class T, int V>
struct ToSrc : Attention<T, V, V + 1, false, true, true> {
    typedef typename Number<T>::Wide A;
    A* da_src;

    __device__ void take(A* acc, const Place& at, const typename Attention<T, V, V + 1, false, true, true>::Term& term) const {
        A alpha, dscore;
        this->weigh(term, at, &alpha, &dscore);
#pragma unroll
        for (int v = 0; v < V; v++) acc[v] += alpha * term.mask * term.grad[v];
        acc[V] += dscore * this->slope_at(term.score);
    }
    __device__ void finish(A* acc, const Place& at, i64 row, i64, i64, A*) const {
        this->write(acc, at, row);
        if (at.slot == 0 && this->first_of_head(at)) da_src[row * this->graph.heads + at.head] = acc[V];
    }
    __device__ void refuse(const Place& at, i64 row) const {
        A nan[V + 1];
        for (int n = 0; n < V + 1; n++) nan[n] = not_a_number<A>();
        finish(nan, at, row, 0, 0, nullptr);
    }
};

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256)
    gat_forward(GRAPH, WIDE* partial, T* out, i64 tiles, SCORES, WIDE* top, WIDE* total) {
    AttentionTables<T> tables = {x, nullptr, nullptr, mask, a_src, a_dst, a_edge};
    tables.slope = (WIDE)slope;
    Attend<T, V, false> job = {{{AS_GRAPH, out}, tables, tiles}, top, total};
    reduce<hubs>(job, partial);
}

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256)
    gat_backward_dst(GRAPH, WIDE* partial, WIDE* da_dst, i64 tiles, SCORES, BACKWARD, WIDE* da_edge) {
    AttentionTables<T> tables = {x, nullptr, nullptr, mask, a_src, a_dst, a_edge, grad, top, total, delta};
    tables.slope = (WIDE)slope;
    ToDst<T, V> job = {{{AS_GRAPH, nullptr}, tables, tiles}, da_dst, da_edge};
    reduce<hubs>(job, partial);
}

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256) gat_backward_src(GRAPH, WIDE* partial, T* out, i64 tiles, SCORES, BACKWARD,
                                                        WIDE* da_src, const void* perm, i64 wide_perm) {
    AttentionTables<T> tables = {x,    nullptr, nullptr, mask,  a_src,
                                 a_dst, a_edge,  grad,    top,   total, delta, {perm, wide_perm != 0}};
    tables.slope = (WIDE)slope;
    ToSrc<T, V> job = {{{AS_GRAPH, out}, tables, tiles}, da_src};
    reduce<hubs>(job, partial);
}
