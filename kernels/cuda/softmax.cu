// Softmax over the entries of each row, a head at a time, and its gradient: rows are read twice, and no more is stored
// than what hubs reduce to. The graph's depth is 1: its features are the heads of [E, H].
#include "online.cuh"
#include "rows.cuh"

// After its reduction a row goes over its entries again; those of hubs are left to write_hubs().
template <class Job>
__device__ void finish_entries(const Job& job, const typename Job::A* acc, const Place& at, i64 begin, i64 end,
                               typename Job::A* hub) {
    if (!hub)
        for (i64 entry = begin + at.slot; entry < end; entry += at.slots) job.emit(acc, entry * job.graph.heads + at.head);
    else if (at.slot == 0)
        for (int n = 0; n < Job::N; n++) hub[n] = acc[n];
}

template <class Job>
__device__ void write_hubs(const Job& job, const typename Job::A* partial) {
    Place at = job.place();
    for (int which = 0; which < 2; which++) {
        HubPart part(job.graph, which);
        if (!part.any || !at.inside) continue;
        const typename Job::A* acc = partial + partial_index(job, part.begin / job.graph.chunk, part.begin, at.unit);
        i64 first = part.low + warp_in_block() * at.slots + at.slot, stride = warps_in_block() * at.slots;
        for (i64 entry = first; entry < part.high; entry += stride) job.emit(acc, entry * job.graph.heads + at.head);
    }
}

template <class T>
struct Softmax : RowJob<T, 1, 2> {  // top, sum
    typedef typename Number<T>::Wide A;
    static const bool IDS = false;
    const T* logits;

    __device__ void start(A* acc) const {
        acc[0] = -infinity<A>();
        acc[1] = 0;
    }
    __device__ void read(typename RowJob<T, 1, 2>::Term& term, const Place& at, i64, i64 entry, i64) const {
        term.item[0] = Number<T>::widen(logits[entry * this->graph.heads + at.head]);
    }
    __device__ void take(A* acc, const typename RowJob<T, 1, 2>::Term& term) const {
        A share;
        absorb_exponent(acc, acc + 1, term.item[0], &share);
    }
    static __device__ void join(A* acc, const A* other) {
        A share;
        join_exponents(acc, acc + 1, other[0], other[1], &share);
    }
    __device__ void emit(const A* acc, i64 k) const {
        this->out[k] = Number<T>::narrow(exponential(Number<T>::widen(logits[k]) - acc[0]) / acc[1]);
    }
    __device__ void finish(A* acc, const Place& at, i64, i64 begin, i64 end, A* hub) const {
        finish_entries(*this, acc, at, begin, end, hub);
    }
    __device__ void refuse(const Place&, i64) const {}  // which entries are the row's is not known
};

template <class T>
struct SoftmaxBackward : RowJob<T, 1> {  // the sum of result * grad
    typedef typename Number<T>::Wide A;
    static const bool IDS = false;
    const T *result, *grad;

    __device__ void read(typename RowJob<T, 1>::Term& term, const Place& at, i64, i64 entry, i64) const {
        i64 k = entry * this->graph.heads + at.head;
        term.item[0] = Number<T>::widen(result[k]) * Number<T>::widen(grad[k]);
    }
    __device__ void emit(const A* acc, i64 k) const {
        this->out[k] = Number<T>::narrow(Number<T>::widen(result[k]) * (Number<T>::widen(grad[k]) - acc[0]));
    }
    __device__ void finish(A* acc, const Place& at, i64, i64 begin, i64 end, A* hub) const {
        finish_entries(*this, acc, at, begin, end, hub);
    }
    __device__ void refuse(const Place&, i64) const {}
};

#define STEPS(job, step, partial)          \
    if (step == 0)                         \
        reduce_hubs(job, partial);         \
    else if (step == 1)                    \
        reduce_rows(job, partial);         \
    else                                   \
        write_hubs(job, partial)

template <class T, int step>
__global__ void __launch_bounds__(256) softmax(GRAPH, typename Number<T>::Wide* partial, T* out, const T* logits) {
    Softmax<T> job = {{AS_GRAPH, out}, logits};
    STEPS(job, step, partial);
}

template <class T, int step>
__global__ void __launch_bounds__(256)
    softmax_backward(GRAPH, typename Number<T>::Wide* partial, T* out, const T* result, const T* grad) {
    SoftmaxBackward<T> job = {{AS_GRAPH, out}, result, grad};
    STEPS(job, step, partial);
}
