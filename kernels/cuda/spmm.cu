// out[i] = reduce over the entries e of row i of values[e] * x[indices[e]]: sum and mean, scaled sum, max and min.
#include "rows.cuh"

template <class T, int V>
struct Messages : RowJob<T, V> {
    typedef typename Number<T>::Wide A;
    const T* x;       // [N_src, H, D]
    const A* values;  // [E, H], never of 16 bits, or null

    __device__ void read(typename RowJob<T, V>::Term& term, const Place& at, i64, i64 entry, i64 id) const {
        const Graph& graph = this->graph;
        A weight = graph.or_nan(id, or_one(values, entry * graph.heads + at.head));
        load<V>(x + graph.or_first(id) * graph.features + at.feature, term.item);
#pragma unroll
        for (int v = 0; v < V; v++) term.item[v] *= weight;
    }
};

template <class T, int V>
struct Sum : Messages<T, V> {
    typedef typename Number<T>::Wide A;
    bool mean;

    __device__ void finish(A* acc, const Place& at, i64 row, i64 begin, i64 end, A*) const {
        if (mean && end > begin)
            for (int v = 0; v < V; v++) acc[v] /= (A)(end - begin);
        this->write(acc, at, row);
    }
};

// Each row of x times a number of its own, and the sum times one of the row.
template <class T, int V>
struct Scaled : Messages<T, V> {
    typedef typename Number<T>::Wide A;
    const A* src_scale;  // [N_src]
    const A* dst_scale;  // [rows]

    __device__ void read(typename RowJob<T, V>::Term& term, const Place& at, i64 row, i64 entry, i64 id) const {
        Messages<T, V>::read(term, at, row, entry, id);
        A scale = src_scale[this->graph.or_first(id)];
#pragma unroll
        for (int v = 0; v < V; v++) term.item[v] *= scale;
    }
    __device__ void finish(A* acc, const Place& at, i64 row, i64, i64, A*) const {
        for (int v = 0; v < V; v++) acc[v] *= dst_scale[row];
        this->write(acc, at, row);
    }
};

// The largest; the smallest is the largest of the negatives. NaN wins; a row without entries gives 0.
template <class T, int V>
struct Extreme : Messages<T, V> {
    typedef typename Number<T>::Wide A;
    A sign;

    __device__ void start(A* acc) const {
        for (int v = 0; v < V; v++) acc[v] = -infinity<A>();
    }
    __device__ void take(A* acc, const typename RowJob<T, V>::Term& term) const {
#pragma unroll
        for (int v = 0; v < V; v++) acc[v] = larger(acc[v], sign * term.item[v]);
    }
    static __device__ A larger(A a, A b) { return b > a || b != b ? b : a; }
    static __device__ void join(A* acc, const A* other) {
#pragma unroll
        for (int v = 0; v < V; v++) acc[v] = larger(acc[v], other[v]);
    }
    __device__ void finish(A* acc, const Place& at, i64 row, i64 begin, i64 end, A*) const {
        for (int v = 0; v < V; v++) acc[v] = end > begin ? sign * acc[v] : 0;
        this->write(acc, at, row);
    }
};

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256)
    spmm_sum(GRAPH, typename Number<T>::Wide* partial, T* out, const T* x, const typename Number<T>::Wide* values, i64 mean) {
    Sum<T, V> job = {{{AS_GRAPH, out}, x, values}, mean != 0};
    reduce<hubs>(job, partial);
}

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256)
    spmm_scaled(GRAPH, typename Number<T>::Wide* partial, T* out, const T* x, const typename Number<T>::Wide* values, const typename Number<T>::Wide* src_scale, const typename Number<T>::Wide* dst_scale) {
    Scaled<T, V> job = {{{AS_GRAPH, out}, x, values}, src_scale, dst_scale};
    reduce<hubs>(job, partial);
}

template <class T, int V, bool hubs>
__global__ void __launch_bounds__(256)
    spmm_extreme(GRAPH, typename Number<T>::Wide* partial, T* out, const T* x, const typename Number<T>::Wide* values, i64 sign) {
    Extreme<T, V> job = {{{AS_GRAPH, out}, x, values}, (typename Number<T>::Wide)sign};
    reduce<hubs>(job, partial);
}
