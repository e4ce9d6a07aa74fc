// Two sums over mixed words and their positions, modulo 2^64: whole numbers, so any order gives the same. One pair a block.
#include "random.cuh"

extern __shared__ double arena[];

template <int threads>
__global__ void __launch_bounds__(threads) content_hash(const void* words, i64 wide, i64 count, i64 key, i64* sums) {
    Ids word = {words, wide != 0};
    u64 first = 0, second = 0;
    for (i64 k = (i64)blockIdx.x * threads + threadIdx.x; k < count; k += (i64)gridDim.x * threads) {
        u64 z = mix((u64)word[k] + (u64)(k + 1) * GOLDEN + (u64)key);
        first += z;
        second += (z >> 32) * (z & 0xffffffffull);
    }
    u64* shared = (u64*)arena;  // [2, threads]
    shared[threadIdx.x] = first;
    shared[threads + threadIdx.x] = second;
    __syncthreads();
    for (int half = threads / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            shared[threadIdx.x] += shared[threadIdx.x + half];
            shared[threads + threadIdx.x] += shared[threads + threadIdx.x + half];
        }
        __syncthreads();
    }
    if (threadIdx.x < 2) sums[2 * (i64)blockIdx.x + threadIdx.x] = (i64)shared[threads * threadIdx.x];
}
