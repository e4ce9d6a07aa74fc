// GAT: the score of an entry is leaky(a_src[src] + a_dst[dst] + a_edge[entry]).
#include "attention.cuh"

#define SCORES(T) const T *x, const T *a_src, const T *a_dst, const T *a_edge, const T *mask, double slope
#define BACKWARD(T) const T *top, const T *total, const T *grad, const T *delta

// For rows that are destinations: the gradients of a_dst, summed, and of a_edge, where there is one.
template <class T, int V>
struct ToDst : Attention<T, V, 1, false, true, false> {
    typedef typename Number<T>::Wide A;
    T* da_edge;

    __device__ void take(A* acc, const Place& at, const typename Attention<T, V, 1, false, true, false>::Term& term) const {
        A alpha, dscore;
        this->weigh(term, at, &alpha, &dscore);
        A draw = dscore * this->slope_at(term.score);
        acc[0] += draw;
        if (this->t.a_edge && this->first_of_head(at)) da_edge[term.edge] = Number<T>::narrow(draw);
    }
    __device__ void finish(A* acc, const Place& at, i64 row, i64, i64, A*) const {
        if (at.slot == 0 && this->first_of_head(at)) this->out[row * this->graph.heads + at.head] = Number<T>::narrow(acc[0]);
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
    T* da_src;

    __device__ void take(A* acc, const Place& at, const typename Attention<T, V, V + 1, false, true, true>::Term& term) const {
        A alpha, dscore;
        this->weigh(term, at, &alpha, &dscore);
#pragma unroll
        for (int v = 0; v < V; v++) acc[v] += alpha * term.mask * term.grad[v];
        acc[V] += dscore * this->slope_at(term.score);
    }
    __device__ void finish(A* acc, const Place& at, i64 row, i64, i64, A*) const {
        this->write(acc, at, row);
        if (at.slot == 0 && this->first_of_head(at)) da_src[row * this->graph.heads + at.head] = Number<T>::narrow(acc[V]);
    }
    __device__ void refuse(const Place& at, i64 row) const {
        A nan[V + 1];
        for (int n = 0; n < V + 1; n++) nan[n] = not_a_number<A>();
        finish(nan, at, row, 0, 0, nullptr);
    }
};

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256)
    gat_forward(GRAPH, typename Number<T>::Wide* partial, T* out, i64 tiles, SCORES(T), T* top, T* total) {
    AttentionTables<T> tables = {x, mask, a_src, a_dst, a_edge};
    tables.slope = (typename Number<T>::Wide)slope;
    Attend<T, V, false> job = {{{AS_GRAPH, out}, tables, tiles}, top, total};
    reduce<hubs>(job, partial);
}

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256) gat_backward_dst(GRAPH, typename Number<T>::Wide* partial, T* out, i64 tiles, SCORES(T),
                                                        BACKWARD(T), T* da_edge) {
    AttentionTables<T> tables = {x, mask, a_src, a_dst, a_edge, nullptr, nullptr, top, total, grad, delta};
    tables.slope = (typename Number<T>::Wide)slope;
    ToDst<T, V> job = {{{AS_GRAPH, out}, tables, tiles}, da_edge};
    reduce<hubs>(job, partial);
}

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256) gat_backward_src(GRAPH, typename Number<T>::Wide* partial, T* out, i64 tiles, SCORES(T),
                                                        BACKWARD(T), T* da_src, const void* perm, i64 wide_perm) {
    AttentionTables<T> tables = {x, mask, a_src, a_dst, a_edge, nullptr, nullptr, top, total, grad, delta, {perm, wide_perm != 0}};
    tables.slope = (typename Number<T>::Wide)slope;
    ToSrc<T, V> job = {{{AS_GRAPH, out}, tables, tiles}, da_src};
    reduce<hubs>(job, partial);
}
