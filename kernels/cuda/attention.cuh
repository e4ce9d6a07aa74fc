// Attention along the entries of a row, scores and all, with nothing of size [E, H] kept: what GAT and GATv2 share.
//
// With s the score of an entry from src to dst, as sums over rows and from rows
//     forward     out[dst] = sum of alpha * m * x[src],   alpha = exp(s - top[dst]) / total[dst],   m the dropout mask
//     backward    ds = alpha * (m * grad[dst] . x[src] - delta[dst]),   delta = grad . out
//
// A head's features lie on `span` lanes, heads side by side, and what lanes are left take further entries of the row. A
// head of more features than 32 lanes hold is cut into tiles; each of these forms the inner products over all of them.
#pragma once
#include "online.cuh"
#include "rows.cuh"

template <class T>
struct AttentionTables {
    typedef typename Number<T>::Wide A;
    const T *x, *x_dst, *att;            // [N_src, H, D]; GATv2: [N_dst, H, D], [H, D]
    const A *mask;                       // [E, H] or null; what is no row of features never has 16 bits
    const A *a_src, *a_dst, *a_edge;     // GAT: [N_src, H], [N_dst, H], [E, H] or null
    const T *grad;                       // backward: [N_dst, H, D]
    const A *top, *total, *delta;        // backward: [N_dst, H]
    Ids perm;                            // transposed: where an entry's mask and a_edge lie; null: where it does
    A slope;
};

// With `v2` the scores of GATv2, else of GAT. With `to_src` rows are sources and ids destinations: the transpose.
template <class T, int V, int N, bool v2, bool backward, bool to_src>
struct Attention : RowJob<T, V, N> {
    typedef typename Number<T>::Wide A;
    AttentionTables<T> t;
    i64 tiles;

    struct Term {
        A x[V], grad[V], mixed[V];  // of the lane's own features; mixed = leaky(x[src] + x_dst[dst])
        A score, product, mask;     // product = grad[dst] . x[src]
        i64 dst, edge;              // edge: of [E, H]
        bool some;                  // false: a lane beyond the end, which goes along for the shuffles
    };

    __device__ int side() const {  // heads side by side in a warp
        int side = LANES / this->graph.span;
        while (side / 2 >= this->graph.heads) side /= 2;
        return side;
    }
    __device__ i64 units() const { return this->graph.heads * tiles * this->graph.span; }
    __device__ Place place() const {
        const Graph& graph = this->graph;
        int lane = threadIdx.x % LANES, across = side();
        i64 tile = blockIdx.y % tiles, d = (tile * graph.span + lane % graph.span) * V;
        Place at;
        at.slot = lane / (graph.span * across);
        at.slots = LANES / (graph.span * across);
        at.head = blockIdx.y / tiles * across + lane / graph.span % across;
        at.inside = at.head < graph.heads && d < graph.depth;
        if (at.head >= graph.heads) at.head = 0;
        at.unit = (at.head * tiles + tile) * graph.span + lane % graph.span;
        at.feature = at.head * graph.depth + (at.inside ? d : 0);
        return at;
    }
    __device__ bool first_of_head(const Place& at) const {  // of the lanes that hold the same number of a head
        return at.inside && at.feature == at.head * this->graph.depth;
    }
    __device__ A leaky(A raw) const { return raw > 0 ? raw : raw * t.slope; }
    __device__ A slope_at(A activated) const { return activated > 0 ? (A)1 : t.slope; }

    // Add what V features give to the inner products.
    __device__ void multiply(A* x, A* grad, A* mixed, A* score, A* product, i64 src, i64 dst, i64 feature) const {
        i64 features = this->graph.features;
        load<V>(t.x + src * features + feature, x);
        if (backward) load<V>(t.grad + dst * features + feature, grad);
        if (v2) {
            A att[V];
            load<V>(t.x_dst + dst * features + feature, mixed);
            load<V>(t.att + feature, att);
#pragma unroll
            for (int v = 0; v < V; v++) {
                mixed[v] = leaky(x[v] + mixed[v]);
                *score += att[v] * mixed[v];
            }
        }
        if (backward)
#pragma unroll
            for (int v = 0; v < V; v++) *product += grad[v] * x[v];
    }
    __device__ void read(Term& term, const Place& at, i64 row, i64 entry, i64 id) const {
        const Graph& graph = this->graph;
        i64 other = graph.or_first(id), src = to_src ? row : other;
        term.dst = to_src ? other : row;
        term.edge = (t.perm.data ? t.perm[entry] : entry) * graph.heads + at.head;
        term.mask = or_one(t.mask, term.edge);
        term.score = term.product = 0;
        multiply(term.x, term.grad, term.mixed, &term.score, &term.product, src, term.dst, at.feature);
        if (!at.inside) term.score = term.product = 0;  // it has read the head's first features
        if (tiles > 1 && (v2 || backward)) {
            i64 lane = threadIdx.x % graph.span * V, stride = graph.span * V, own = blockIdx.y % tiles * stride + lane;
            for (i64 d = lane; d < graph.depth; d += stride) {
                A x[V], grad[V], mixed[V];
                if (d != own) multiply(x, grad, mixed, &term.score, &term.product, src, term.dst, at.head * graph.depth + d);
            }
        }
        if (!v2) {
            A raw = t.a_src[src * graph.heads + at.head] + t.a_dst[term.dst * graph.heads + at.head];
            if (t.a_edge) raw += t.a_edge[term.edge];
            term.score = graph.or_nan(id, leaky(raw));
        }
    }
    __device__ void add_up(Term& term, i64 id) const {
        for (int distance = this->graph.span / 2; distance > 0; distance /= 2) {
            if (v2) term.score += __shfl_xor_sync(ALL_LANES, term.score, distance);
            if (backward) term.product += __shfl_xor_sync(ALL_LANES, term.product, distance);
        }
        if (v2) term.score = this->graph.or_nan(id, term.score);
    }
    // Backward: alpha, and the gradient of the score.
    __device__ void weigh(const Term& term, const Place& at, A* alpha, A* dscore) const {
        i64 k = term.dst * this->graph.heads + at.head;
        *alpha = exponential(term.score - t.top[k]) / t.total[k];
        *dscore = *alpha * (term.mask * term.product - t.delta[k]);
    }

    template <int count, class Job>
    static __device__ void together(const Job& job, A* acc, const Place& at, i64 row, i64 base, i64 end) {
        i64 entries[count], ids[count];
        Term terms[count];
#pragma unroll
        for (int k = 0; k < count; k++) {
            i64 entry = base + at.slot + k * at.slots;
            terms[k].some = entry < end;
            entries[k] = entry < end ? entry : base;
            ids[k] = job.graph.indices[entries[k]];
        }
#pragma unroll
        for (int k = 0; k < count; k++) job.read(terms[k], at, row, entries[k], ids[k]);
#pragma unroll
        for (int k = 0; k < count; k++) job.add_up(terms[k], ids[k]);
#pragma unroll
        for (int k = 0; k < count; k++)
            if (terms[k].some) job.take(acc, at, terms[k]);
    }
    template <class Job>
    static __device__ void walk(const Job& job, A* acc, const Place& at, i64 row, i64 begin, i64 end) {
        i64 base = begin;
        for (; base + at.slots < end; base += 2 * at.slots) together<2>(job, acc, at, row, base, end);
        if (base < end) together<1>(job, acc, at, row, base, end);
    }
};

template <class T, int V, bool v2>
struct Attend : Attention<T, V, V + 2, v2, false, false> {  // out, top, total
    typedef typename Number<T>::Wide A;
    A *top, *total;

    __device__ void start(A* acc) const {
        for (int n = 0; n < V + 2; n++) acc[n] = 0;
        acc[V] = -infinity<A>();
    }
    __device__ void take(A* acc, const Place&, const typename Attention<T, V, V + 2, v2, false, false>::Term& term) const {
        A share, keep = absorb_exponent(acc + V, acc + V + 1, term.score, &share);
#pragma unroll
        for (int v = 0; v < V; v++) acc[v] = acc[v] * keep + share * term.mask * term.x[v];
    }
    static __device__ void join(A* acc, const A* other) {
        A share, keep = join_exponents(acc + V, acc + V + 1, other[V], other[V + 1], &share);
#pragma unroll
        for (int v = 0; v < V; v++) acc[v] = acc[v] * keep + share * other[v];
    }
    __device__ void refuse(const Place& at, i64 row) const {
        A nan[V + 2];
        for (int n = 0; n < V + 2; n++) nan[n] = not_a_number<A>();
        finish(nan, at, row, 0, 1, nullptr);
    }
    __device__ void finish(A* acc, const Place& at, i64 row, i64 begin, i64 end, A*) const {
        bool any = end > begin;
        for (int v = 0; v < V; v++) acc[v] = any ? acc[v] / acc[V + 1] : 0;
        this->write(acc, at, row);
        if (at.slot || !this->first_of_head(at)) return;
        i64 k = row * this->graph.heads + at.head;
        top[k] = any ? acc[V] : 0;
        total[k] = any ? acc[V + 1] : 0;
    }
};
