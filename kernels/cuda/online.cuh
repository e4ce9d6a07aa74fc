// A sum of exponentials kept beside its largest exponent: exp(top) * sum. Nothing yet is (-infinity, 0).
#pragma once
#include "numbers.cuh"

// Take in another such sum; both then count from one top. Returns by how much what was added under `top` has to shrink,
// and in `*share` by how much what was added under the other's.
template <class A>
__device__ inline A join_exponents(A* top, A* sum, A other_top, A other_sum, A* share) {
    *share = 0;
    if (other_top == -infinity<A>() && other_sum == 0) return 1;
    A larger = *top > other_top ? *top : other_top;  // a NaN ends in the sum either way
    A keep = *sum == 0 && *top == -infinity<A>() ? (A)0 : exponential(*top - larger);
    *share = exponential(other_top - larger);
    *sum = *sum * keep + other_sum * *share;
    *top = larger;
    return keep;
}

// Take in exp(x): of -infinity nothing, so that a row of nothing else ends with a sum of 0.
template <class A>
__device__ inline A absorb_exponent(A* top, A* sum, A x, A* share) {
    return join_exponents(top, sum, x, x == -infinity<A>() ? (A)0 : (A)1, share);
}
