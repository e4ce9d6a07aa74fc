// GATv2: the score of an entry is att . leaky(x[src] + x_dst[dst]).
#include "attention.cuh"

#define WIDE typename Number<T>::Wide
#define SCORES const T *x, const T *x_dst, const T *att, const WIDE *mask, double slope
#define BACKWARD const WIDE *top, const WIDE *total, const T *grad, const WIDE *delta

// For rows that are destinations: the gradients of x_dst, summed, and a row's part of the gradient of att.
template <class T, int V>
struct ToDst : Attention<T, V, 2 * V, true, true, false> {
    typedef typename Number<T>::Wide A;
    A* datt;  // [N_dst, H, D]

    __device__ void take(A* acc, const Place& at, const typename Attention<T, V, 2 * V, true, true, false>::Term& term) const {
        A alpha, dscore, att[V];
        this->weigh(term, at, &alpha, &dscore);
        load<V>(this->t.att + at.feature, att);
#pragma unroll
        for (int v = 0; v < V; v++) {
            acc[v] += dscore * att[v] * this->slope_at(term.mixed[v]);
            acc[V + v] += dscore * term.mixed[v];
        }
    }
    __device__ void finish(A* acc, const Place& at, i64 row, i64, i64, A*) const {
        this->write(acc, at, row);
        if (at.slot == 0) store<V>(datt + row * this->graph.features + at.feature, acc + V);
    }
    __device__ void refuse(const Place& at, i64 row) const {
        A nan[2 * V];
        for (int n = 0; n < 2 * V; n++) nan[n] = not_a_number<A>();
        finish(nan, at, row, 0, 0, nullptr);
    }
};

// For rows that are sources: the gradient of x, by the sum and by the scores.
template <class T, int V>
struct ToSrc : Attention<T, V, V, true, true, true> {
    typedef typename Number<T>::Wide A;

    __device__ void take(A* acc, const Place& at, const typename Attention<T, V, V, true, true, true>::Term& term) const {
        A alpha, dscore, att[V];
        this->weigh(term, at, &alpha, &dscore);
        load<V>(this->t.att + at.feature, att);
#pragma unroll
        for (int v = 0; v < V; v++)
            acc[v] += alpha * term.mask * term.grad[v] + dscore * att[v] * this->slope_at(term.mixed[v]);
    }
};

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256)
    gatv2_forward(GRAPH, WIDE* partial, T* out, i64 tiles, SCORES, WIDE* top, WIDE* total) {
    AttentionTables<T> tables = {x, x_dst, att, mask};
    tables.slope = (WIDE)slope;
    Attend<T, V, true> job = {{{AS_GRAPH, out}, tables, tiles}, top, total};
    reduce<hubs>(job, partial);
}

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256)
    gatv2_backward_dst(GRAPH, WIDE* partial, T* out, i64 tiles, SCORES, BACKWARD, WIDE* datt) {
    AttentionTables<T> tables = {x, x_dst, att, mask, nullptr, nullptr, nullptr, grad, top, total, delta};
    tables.slope = (WIDE)slope;
    ToDst<T, V> job = {{{AS_GRAPH, out}, tables, tiles}, datt};
    reduce<hubs>(job, partial);
}

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256) gatv2_backward_src(GRAPH, WIDE* partial, T* out, i64 tiles, SCORES, BACKWARD,
                                                          const void* perm, i64 wide_perm) {
    AttentionTables<T> tables = {x,       x_dst, att,  mask, nullptr, nullptr,
                                 nullptr, grad,  top,  total, delta,  {perm, wide_perm != 0}};
    tables.slope = (WIDE)slope;
    ToSrc<T, V> job = {{{AS_GRAPH, out}, tables, tiles}};
    reduce<hubs>(job, partial);
}
