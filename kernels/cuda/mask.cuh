// Which messages are their destination's extreme.
#pragma once
#include "graph.cuh"

template <class T, int V>
struct Mask {
    typedef typename Number<T>::Wide A;
    const T *x, *extreme, *weight;  // [N_src, H, D], [N_dst, H, D], [E, H] or null

    // 1 where the message of an entry wins, else 0, for V features from one on.
    __device__ void of(A* wins, const Graph& graph, i64 feature, i64 head, i64 entry, i64 src, i64 dst) const {
        A best[V], w = or_one(weight, entry * graph.heads + head);
        load<V>(x + src * graph.features + feature, wins);
        load<V>(extreme + dst * graph.features + feature, best);
#pragma unroll
        for (int v = 0; v < V; v++) wins[v] = w * wins[v] == best[v] ? (A)1 : (A)0;
    }
};

#define MASK(T) const T *x, const T *extreme, const T *weight
#define AS_MASK {x, extreme, weight}
