// Random numbers that are hashes of what they are for: the same for every order of threads, and on every backend.
#pragma once
#include "numbers.cuh"

#define GOLDEN 0x9E3779B97F4A7C15ull

// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
__device__ inline u64 mix(u64 z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

// The 64 bits of draw j of a stream; streams are draws of a key.
__device__ inline u64 draw(u64 stream, i64 j) { return mix(stream + (u64)(j + 1) * GOLDEN); }

// The number below n, 1 <= n < 2^31, that 64 random bits name.
__device__ inline i64 below(u64 bits, i64 n) {
    return (i64)(((bits >> 32) * (u64)n + (((bits & 0xffffffffull) * (u64)n) >> 32)) >> 32);
}

// The number in [0, 1) that they name.
__device__ inline double unit(u64 bits) { return (double)(bits >> 11) * 0x1p-53; }
