// Numbers as they are stored and as they are computed with; several of them at once; ids of either width.
#pragma once

typedef long long i64;
typedef unsigned long long u64;

#define LANES 32
#define ALL_LANES 0xffffffffu

#ifdef EMULATOR
using emulator::float_to_half;
using emulator::half_to_float;
#else  // two instructions, and no header to look for
__device__ inline float half_to_float(unsigned short bits) {
    float number;
    asm("cvt.f32.f16 %0, %1;" : "=f"(number) : "h"(bits));
    return number;
}

__device__ inline unsigned short float_to_half(float number) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(number));
    return bits;
}
#endif

struct Half {
    unsigned short bits;
};

struct Bfloat {
    unsigned short bits;
};

// Wide: what sums are made of.
template <class T>
struct Number {
    typedef T Wide;
    static __device__ Wide widen(T number) { return number; }
    static __device__ T narrow(Wide number) { return number; }
};

template <>
struct Number<Half> {
    typedef float Wide;
    static __device__ float widen(Half number) { return half_to_float(number.bits); }
    static __device__ Half narrow(float number) { return {float_to_half(number)}; }
};

template <>
struct Number<Bfloat> {
    typedef float Wide;
    static __device__ float widen(Bfloat number) { return __uint_as_float((unsigned)number.bits << 16); }
    static __device__ Bfloat narrow(float number) {
        unsigned bits = __float_as_uint(number);
        if (number != number) return {0x7fff};
        return {(unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};  // to nearest, ties to even
    }
};

template <class A>
__device__ inline A infinity() {
    return (A)__uint_as_float(0x7f800000u);
}

// What comes of an id outside its table: no read, and no number that could be taken for a result.
template <class A>
__device__ inline A not_a_number() {
    return (A)__uint_as_float(0x7fffffffu);
}

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }

// V neighbours in memory, read and written with one instruction: their address is a multiple of their size.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
    T item[V];
};

template <int V, class T>
__device__ inline void load(const T* from, typename Number<T>::Wide* to) {
    Pack<T, V> pack = *(const Pack<T, V>*)from;
#pragma unroll
    for (int v = 0; v < V; v++) to[v] = Number<T>::widen(pack.item[v]);
}

template <int V, class T>
__device__ inline void store(T* to, const typename Number<T>::Wide* from) {
    Pack<T, V> pack;
#pragma unroll
    for (int v = 0; v < V; v++) pack.item[v] = Number<T>::narrow(from[v]);
    *(Pack<T, V>*)to = pack;
}

template <int V, class T>
__device__ inline void store_nan(T* to) {
    typename Number<T>::Wide nan[V];
#pragma unroll
    for (int v = 0; v < V; v++) nan[v] = not_a_number<typename Number<T>::Wide>();
    store<V>(to, nan);
}

// values[k], or 1 where there are no values.
template <class T>
__device__ inline typename Number<T>::Wide or_one(const T* values, i64 k) {
    return values ? Number<T>::widen(values[k]) : (typename Number<T>::Wide)1;
}

// int32 or int64, told apart at run time: a choice that all threads make alike, beside a whole row read.
struct Ids {
    const void* data;
    bool wide;
    __device__ i64 operator[](i64 k) const { return wide ? ((const i64*)data)[k] : ((const int*)data)[k]; }
};
