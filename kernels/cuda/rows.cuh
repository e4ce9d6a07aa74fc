// Reduce the entries of every row of a CSR, in an order that depends on nothing but the graph and the shape.
//
// A warp takes a row. Its lanes lie side by side along the features; where a row has fewer features than that, groups
// of lanes take every second, fourth … entry, and a tree of shuffles joins them. A row of more than `chunk` entries, a
// hub, would keep its warp busy long after the others have finished: reduce<true> has a block reduce every chunk of a
// hub beforehand, into `partial`, and the row's warp joins the partial results in order. A block finds the hubs in its
// chunk by itself, so the host need not know the degrees. Nothing is added atomically.
//
// A job, derived from RowJob, says what is reduced, in N numbers a lane:
//     void start(A*) const                    the reduction of nothing
//     void read(Term&, Place, row, entry, id) read what an entry brings; id: indices[entry], if IDS
//     void take(A*, Term) const               take it in
//     static void join(A*, const A*)          take in another part; commutative
//     void finish(A*, Place, row, begin, end, A* hub)   by all slots; hub: a hub's place in `partial`, else null
//     void refuse(Place, row)                 the row's pointers are wrong
// and, where lanes lie otherwise than side by side along the features, place(), units() and walk().
#pragma once
#include "graph.cuh"

extern __shared__ double arena[];

template <class T, int V_, int N_ = V_>
struct RowJob {
    typedef typename Number<T>::Wide A;
    static const int V = V_;  // features of a lane, side by side
    static const int N = N_;  // numbers that a lane reduces to
    static const bool IDS = true;
    struct Term {
        A item[V];
    };
    Graph graph;
    T* out;  // [rows, features]

    __device__ Place place() const { return ::place(graph, V); }
    __device__ i64 units() const { return graph.features / V; }
    template <class Job>
    static __device__ void walk(const Job& job, A* acc, const Place& at, i64 row, i64 begin, i64 end);
    __device__ void start(A* acc) const {
        for (int n = 0; n < N; n++) acc[n] = 0;
    }
    __device__ void take(A* acc, const Term& term) const {
#pragma unroll
        for (int v = 0; v < V; v++) acc[v] += term.item[v];
    }
    static __device__ void join(A* acc, const A* other) {
#pragma unroll
        for (int n = 0; n < N; n++) acc[n] += other[n];
    }
    __device__ void write(const A* acc, const Place& at, i64 row) const {
        if (at.slot == 0) store<V>(out + row * graph.features + at.feature, acc);
    }
    __device__ void finish(A* acc, const Place& at, i64 row, i64, i64, A*) const { write(acc, at, row); }
    __device__ void refuse(const Place& at, i64 row) const {
        if (at.slot == 0) store_nan<V>(out + row * graph.features + at.feature);
    }
};

template <class Job>
__device__ inline void join_slots(typename Job::A* acc, const Place& at) {
    for (int distance = LANES / at.slots; distance < LANES; distance *= 2) {
        typename Job::A other[Job::N];
#pragma unroll
        for (int n = 0; n < Job::N; n++) other[n] = __shfl_xor_sync(ALL_LANES, acc[n], distance);
        Job::join(acc, other);
    }
}

const int AHEAD = 4;  // entries whose rows are asked for before the first is needed

template <int count, class Job>
__device__ inline void take_entries(const Job& job, typename Job::A* acc, const Place& at, i64 row, i64 entry) {
    i64 ids[count];
    typename Job::Term terms[count];
#pragma unroll
    for (int k = 0; k < count; k++) ids[k] = Job::IDS ? job.graph.indices[entry + k * at.slots] : 0;
#pragma unroll
    for (int k = 0; k < count; k++) job.read(terms[k], at, row, entry + k * at.slots, ids[k]);
#pragma unroll
    for (int k = 0; k < count; k++) job.take(acc, terms[k]);
}

template <class T, int V, int N>
template <class Job>
__device__ inline void RowJob<T, V, N>::walk(const Job& job, A* acc, const Place& at, i64 row, i64 begin, i64 end) {
    if (!at.inside) return;
    i64 entry = begin + at.slot;
    for (; entry + (AHEAD - 1) * at.slots < end; entry += AHEAD * at.slots)
        take_entries<AHEAD>(job, acc, at, row, entry);
    for (; entry < end; entry += at.slots) take_entries<1>(job, acc, at, row, entry);
}

// Where a lane's N numbers lie. Two partial results a chunk: 0 of the row that owns its first entry, 1 of a hub that
// begins further on.
template <class Job>
__device__ inline i64 partial_index(const Job& job, i64 c, i64 begin, i64 unit) {
    return ((2 * c + (begin > c * job.graph.chunk)) * job.units() + unit) * Job::N;
}

template <class Job>
__device__ void reduce_rows(const Job& job, typename Job::A* partial) {
    const Graph& graph = job.graph;
    i64 row = (i64)blockIdx.x * warps_in_block() + warp_in_block();
    if (row >= graph.rows) return;
    Place at = job.place();
    i64 begin = graph.indptr[row], end = graph.indptr[row + 1];
    if (begin < 0 || end < begin || end > graph.entries) {
        if (at.inside) job.refuse(at, row);
        return;
    }
    typename Job::A acc[Job::N], *hub = nullptr;
    job.start(acc);
    if (end - begin <= graph.chunk) {
        Job::walk(job, acc, at, row, begin, end);
    } else {
        hub = partial + partial_index(job, begin / graph.chunk, begin, at.unit);
        for (i64 c = begin / graph.chunk + at.slot; at.inside && c <= (end - 1) / graph.chunk; c += at.slots)
            Job::join(acc, partial + partial_index(job, c, begin, at.unit));
    }
    join_slots<Job>(acc, at);
    if (at.inside) job.finish(acc, at, row, begin, end, hub);
}

// The part of a hub that lies in the block's chunk: which = 0, 1 as in partial_index.
struct HubPart {
    i64 row, begin, low, high;  // the entries low … high - 1 of the row that begins at `begin`
    bool any;

    __device__ HubPart(const Graph& graph, int which) {
        i64 first = (i64)blockIdx.x * graph.chunk;
        i64 last = first + graph.chunk < graph.entries ? first + graph.chunk : graph.entries;
        i64 owner = row_of(graph, first);
        row = which ? row_of(graph, last - 1) : owner;
        begin = graph.indptr[row];
        i64 end = graph.indptr[row + 1];
        low = begin > first ? begin : first;
        high = end < last ? end : last;
        any = !(which && row == owner) && begin >= 0 && end <= graph.entries && end - begin > graph.chunk;
    }
};

template <class Job>
__device__ void reduce_hubs(const Job& job, typename Job::A* partial) {
    typedef typename Job::A A;
    const int N = Job::N;
    Place at = job.place();
    A* shared = (A*)arena + warp_in_block() * LANES * N + threadIdx.x % LANES;  // [warps, N, lanes]
    for (int which = 0; which < 2; which++) {  // each warp ends with its own place, so the next hub may begin at once
        HubPart part(job.graph, which);
        if (!part.any) continue;  // all threads alike
        i64 piece = (part.high - part.low + warps_in_block() - 1) / warps_in_block();
        i64 from = part.low + warp_in_block() * piece, to = from + piece < part.high ? from + piece : part.high;
        A acc[N];
        job.start(acc);
        Job::walk(job, acc, at, part.row, from, to);
        join_slots<Job>(acc, at);
#pragma unroll
        for (int n = 0; n < N; n++) shared[n * LANES] = acc[n];
        __syncthreads();
        for (int half = warps_in_block() / 2; half > 0; half /= 2) {  // a power of two of warps
            if (warp_in_block() < half) {
                A other[N];
#pragma unroll
                for (int n = 0; n < N; n++) other[n] = shared[(half * N + n) * LANES];
                Job::join(acc, other);
#pragma unroll
                for (int n = 0; n < N; n++) shared[n * LANES] = acc[n];
            }
            __syncthreads();
        }
        if (warp_in_block() == 0 && at.slot == 0 && at.inside)
#pragma unroll
            for (int n = 0; n < N; n++) partial[partial_index(job, blockIdx.x, part.begin, at.unit) + n] = acc[n];
    }
}

template <bool hubs, class Job>
__device__ void reduce(const Job& job, typename Job::A* partial) {
    if (hubs)
        reduce_hubs(job, partial);
    else
        reduce_rows(job, partial);
}
