// What the .cu sources need of CUDA, for g++: the words of the language, the built-in variables, barriers and shuffles.
// `runtime.cpp` holds the other side: the fibers that are the threads, and the checks.
#pragma once
#define EMULATOR 1

#include <math.h>
#include <stddef.h>

#define __global__
#define __device__
#define __shared__  // only `extern __shared__`, which runtime.cpp defines; a test holds the sources to it
#define __restrict__ __restrict
#define __launch_bounds__(...)

struct Dim3 {
    unsigned x, y, z;
};
extern Dim3 threadIdx, blockIdx, blockDim, gridDim;  // of the fiber that runs

namespace emulator {
void block_barrier();
void warp_barrier(unsigned mask);
// Leave `mine` for the other lanes of the mask, wait for them, and take what `lane` left.
void exchange(unsigned mask, const void* mine, void* theirs, int size, int lane);
int own_lane();
unsigned ballot(unsigned mask, bool vote);
unsigned atomic_min(unsigned* address, unsigned value);
float half_to_float(unsigned short bits);
unsigned short float_to_half(float number);

template <class T>
T shuffle(unsigned mask, T value, int lane) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "CUDA shuffles 4 or 8 bytes");
    T other;
    exchange(mask, &value, &other, sizeof(T), lane);
    return other;
}
}  // namespace emulator

inline void __syncthreads() { emulator::block_barrier(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulator::warp_barrier(mask); }

template <class T>
T __shfl_sync(unsigned mask, T value, int lane) {
    return emulator::shuffle(mask, value, lane & 31);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask) {
    return emulator::shuffle(mask, value, emulator::own_lane() ^ lane_mask);
}

inline unsigned __ballot_sync(unsigned mask, bool vote) { return emulator::ballot(mask, vote); }

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

inline unsigned atomicMin(unsigned* address, unsigned value) { return emulator::atomic_min(address, value); }

inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }

inline unsigned __float_as_uint(float number) {
    unsigned bits;
    __builtin_memcpy(&bits, &number, 4);
    return bits;
}

inline float __uint_as_float(unsigned bits) {
    float number;
    __builtin_memcpy(&number, &bits, 4);
    return number;
}

// ------------------------------------------------------------------ calling a kernel by its name

namespace emulator {
// An argument as the launcher sends it: 8 bytes. So a kernel takes pointers, long long and double, nothing else.
union Slot {
    void* pointer;
    long long integer;
    double number;
};

template <class T>
struct Argument;
template <class T>
struct Argument<T*> {
    static constexpr char kind = 'w';
    static T* of(Slot slot) { return (T*)slot.pointer; }
};
template <class T>
struct Argument<const T*> {
    static constexpr char kind = 'r';
    static const T* of(Slot slot) { return (const T*)slot.pointer; }
};
template <>
struct Argument<long long> {
    static constexpr char kind = 'i';
    static long long of(Slot slot) { return slot.integer; }
};
template <>
struct Argument<double> {
    static constexpr char kind = 'd';
    static double of(Slot slot) { return slot.number; }
};

template <int... N>
struct Sequence {};
template <int N, int... M>
struct Count : Count<N - 1, N - 1, M...> {};
template <int... M>
struct Count<0, M...> {
    typedef Sequence<M...> All;
};

template <auto kernel>
struct Call;
template <class... P, void (*kernel)(P...)>
struct Call<kernel> {
    static constexpr char kinds[] = {Argument<P>::kind..., 0};
    template <int... N>
    static void with(const Slot* slots, Sequence<N...>) {
        kernel(Argument<P>::of(slots[N])...);
    }
    static void run(const Slot* slots) { with(slots, typename Count<sizeof...(P)>::All()); }
};

struct Kernel {
    const char* name;
    const char* kinds;
    void (*run)(const Slot*);
};
extern const Kernel kernels[];  // made by build.py, ends with a null name
}  // namespace emulator

#define KERNEL(...) {#__VA_ARGS__, emulator::Call<&::__VA_ARGS__>::kinds, emulator::Call<&::__VA_ARGS__>::run}
