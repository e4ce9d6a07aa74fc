// out[i] = reduce over the entries e of row i of values[e] * x[indices[e]]: sum and mean, max and min.
#include "rows.cuh"

template <class T, int V_>
struct Messages {
    typedef typename Number<T>::Wide Acc;
    static const int V = V_;
    const T *x, *values;  // [N_src, H, D]; [E, H] or null
    Ids indices;
    i64 num_src, heads, features;
    T* out;

    __device__ void message(Acc* to, const Place& at, i64 entry) const {
        i64 src = indices[entry];
        if (src < 0 || src >= num_src) {
            for (int v = 0; v < V; v++) to[v] = not_a_number<Acc>();
            return;
        }
        load<V>(x + src * features + at.feature, to);
        if (values) {
            Acc weight = Number<T>::widen(values[entry * heads + at.head]);
#pragma unroll
            for (int v = 0; v < V; v++) to[v] *= weight;
        }
    }
    __device__ void refuse(const Place& at, i64 row) const {
        Acc row_of_nan[V];
        for (int v = 0; v < V; v++) row_of_nan[v] = not_a_number<Acc>();
        write(row_of_nan, at, row);
    }
    __device__ void write(const Acc* acc, const Place& at, i64 row) const {
        if (at.slot == 0 && at.inside) store<V>(out + row * features + at.feature, acc);
    }
};

template <class T, int V>
struct Sum : Messages<T, V> {
    typedef typename Number<T>::Wide Acc;
    bool mean;

    __device__ Acc start() const { return 0; }
    __device__ void absorb(Acc* acc, const Place& at, i64, i64 entry) const {
        Acc term[V];
        this->message(term, at, entry);
#pragma unroll
        for (int v = 0; v < V; v++) acc[v] += term[v];
    }
    static __device__ Acc join(Acc a, Acc b) { return a + b; }
    __device__ void finish(Acc* acc, const Place& at, i64 row, i64 begin, i64 end, Acc*) const {
        if (mean && end > begin)
            for (int v = 0; v < V; v++) acc[v] /= (Acc)(end - begin);
        this->write(acc, at, row);
    }
};

// The largest: the smallest is the largest of the negatives. NaN wins; a row without entries gives 0.
template <class T, int V>
struct Extreme : Messages<T, V> {
    typedef typename Number<T>::Wide Acc;
    Acc sign;

    __device__ Acc start() const { return -infinity<Acc>(); }
    __device__ void absorb(Acc* acc, const Place& at, i64, i64 entry) const {
        Acc term[V];
        this->message(term, at, entry);
#pragma unroll
        for (int v = 0; v < V; v++) acc[v] = join(acc[v], sign * term[v]);
    }
    static __device__ Acc join(Acc a, Acc b) { return b > a || b != b ? b : a; }
    __device__ void finish(Acc* acc, const Place& at, i64 row, i64 begin, i64 end, Acc*) const {
        for (int v = 0; v < V; v++) acc[v] = end > begin ? sign * acc[v] : 0;
        this->write(acc, at, row);
    }
};

#define GRAPH const i64 *indptr, const void *indices, i64 wide, i64 rows, i64 entries, i64 num_src, i64 heads, i64 depth
#define TABLES(T) const T *x, const T *values, T *out
#define WALK i64 span, i64 chunk

template <class Job, class T>
__device__ void fill(Job& job, const void* indices, i64 wide, i64 num_src, i64 heads, i64 depth, TABLES(T)) {
    job.x = x;
    job.values = values;
    job.indices = {indices, wide != 0};
    job.num_src = num_src;
    job.heads = heads;
    job.features = heads * depth;
    job.out = out;
}

template <class T, int V>
__global__ void __launch_bounds__(256) spmm_sum(GRAPH, TABLES(T), WALK, typename Number<T>::Wide* partial, i64 mean) {
    Sum<T, V> job;
    fill(job, indices, wide, num_src, heads, depth, x, values, out);
    job.mean = mean != 0;
    reduce_rows(job, indptr, rows, entries, heads * depth, depth, (int)span, chunk, partial);
}

template <class T, int V>
__global__ void __launch_bounds__(256) spmm_sum_hubs(GRAPH, TABLES(T), WALK, typename Number<T>::Wide* partial, i64) {
    Sum<T, V> job;
    fill(job, indices, wide, num_src, heads, depth, x, values, out);
    job.mean = false;
    reduce_hubs(job, indptr, rows, entries, heads * depth, depth, (int)span, chunk, partial);
}

template <class T, int V>
__global__ void __launch_bounds__(256) spmm_extreme(GRAPH, TABLES(T), WALK, typename Number<T>::Wide* partial, i64 sign) {
    Extreme<T, V> job;
    fill(job, indices, wide, num_src, heads, depth, x, values, out);
    job.sign = (typename Number<T>::Wide)sign;
    reduce_rows(job, indptr, rows, entries, heads * depth, depth, (int)span, chunk, partial);
}

template <class T, int V>
__global__ void __launch_bounds__(256)
    spmm_extreme_hubs(GRAPH, TABLES(T), WALK, typename Number<T>::Wide* partial, i64 sign) {
    Extreme<T, V> job;
    fill(job, indices, wide, num_src, heads, depth, x, values, out);
    job.sign = (typename Number<T>::Wide)sign;
    reduce_hubs(job, indptr, rows, entries, heads * depth, depth, (int)span, chunk, partial);
}
