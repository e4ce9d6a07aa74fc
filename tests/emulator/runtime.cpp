// The machine that runs kernels: blocks one after another, threads as fibers in random order, barriers that are real.
//
// It reads launches from the standard input and writes what the buffers then hold to the standard output (runner.py
// is the other end). Whatever is wrong is told on the standard error, and the process ends.
#include "cuda.h"
#include "fiber.h"
#include "memory.h"

#include <pthread.h>

#include <algorithm>
#include <random>

Dim3 threadIdx, blockIdx, blockDim, gridDim;
const i64 SHARED_BYTES = 48 << 10;  // what a block gets without asking the driver for more
double arena[SHARED_BYTES / sizeof(double)] __attribute__((aligned(128)));

namespace {
enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };
struct Thread {
    Fiber fiber;
    State state;
    Who who;
    Dim3 index;
};
struct Warp {
    unsigned mask = 0, arrived = 0;
    char left[2][32][8];  // what lanes leave for each other, by the parity of the warp's epoch
};

Fiber scheduler;
std::vector<Thread> threads;  // as many as the largest block had
int num_threads = 0;
std::vector<Warp> warps;
Thread* self = nullptr;
int waiting = 0;  // at the block's barrier
Memory memory;
std::mt19937_64 chance;
const emulator::Kernel* kernel;
std::vector<emulator::Slot> slots;

void wait(State state) {
    self->state = state;
    switch_fiber(self->fiber, scheduler);
}

void run_thread() {
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
    kernel->run(slots.data());
    self->state = DONE;
    switch_fiber(self->fiber, scheduler);
    abort();
}

int lane_of(const Thread& thread) { return thread.who.thread % 32; }

std::string stuck() {
    std::string what = "deadlock: a barrier is not reached by all threads:";
    const char* states[] = {"ready", "at __syncthreads", "at a warp's barrier or shuffle", "finished"};
    for (int t = 0; t < num_threads; t++)
        if (!t || threads[t].state != threads[t - 1].state)
            what += "\n  from thread " + std::to_string(t) + " of the block on: " + states[threads[t].state];
    return what;
}

void run_block(int block) {
    memory.shared.track();
    memset(arena, 0xff, memory.shared.size);  // NaN: nobody may count on zeros
    warps.assign(num_threads / 32, Warp());
    waiting = 0;
    std::vector<int> ready;
    for (int t = 0; t < num_threads; t++) {
        Thread& thread = threads[t];
        thread.state = READY;
        thread.who = {block * num_threads + t, block * (int)warps.size() + t / 32, block, 0, 0};
        thread.index = {(unsigned)t, 0, 0};
        prepare_fiber(thread.fiber, run_thread);
    }
    while (true) {
        ready.clear();
        for (int t = 0; t < num_threads; t++)
            if (threads[t].state == READY) ready.push_back(t);
        if (ready.empty()) break;
        std::shuffle(ready.begin(), ready.end(), chance);
        for (int t : ready) {  // those released meanwhile have their turn in the next round
            self = &threads[t];
            threadIdx = self->index;
            switch_fiber(scheduler, self->fiber);
            self = nullptr;
        }
    }
    for (int t = 0; t < num_threads; t++)
        if (threads[t].state != DONE) fail(stuck());
}
}  // namespace

[[noreturn]] void fail(const std::string& what) {
    fprintf(stderr, "EMULATOR: %s: %s\n", kernel ? kernel->name : "no kernel", what.c_str());
    if (self) __sanitizer_print_stack_trace();
    fflush(stderr);
    _exit(1);
}

namespace emulator {
int own_lane() { return lane_of(*self); }

void block_barrier() {
    if (++waiting < num_threads) return wait(AT_BLOCK_BARRIER);
    waiting = 0;
    for (int t = 0; t < num_threads; t++) {
        threads[t].who.block_epoch++;
        if (&threads[t] != self) threads[t].state = READY;
    }
}

void warp_barrier(unsigned mask) {
    Warp& warp = warps[self->who.warp % warps.size()];
    unsigned own = 1u << own_lane();
    if (!(mask & own)) fail("a lane waits at a barrier whose mask leaves it out");
    if (warp.arrived && warp.mask != mask) fail("lanes wait at one barrier with different masks");
    warp.mask = mask;
    warp.arrived |= own;
    if (warp.arrived != mask) return wait(AT_WARP_BARRIER);
    warp.arrived = 0;
    Thread* first = self - own_lane();
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1) {
            first[lane].who.warp_epoch++;
            if (first + lane != self) first[lane].state = READY;
        }
}

void exchange(unsigned mask, const void* mine, void* theirs, int size, int lane) {
    if (lane < 0 || lane > 31 || !(mask >> lane & 1)) fail("a shuffle reads a lane outside its mask");
    auto& left = warps[self->who.warp % warps.size()].left[self->who.warp_epoch % 2];
    memcpy(left[own_lane()], mine, size);
    warp_barrier(mask);
    memcpy(theirs, left[lane], size);
}

unsigned ballot(unsigned mask, bool vote) {
    auto& left = warps[self->who.warp % warps.size()].left[self->who.warp_epoch % 2];
    left[own_lane()][0] = vote;
    warp_barrier(mask);
    unsigned votes = 0;
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1 && left[lane][0]) votes |= 1u << lane;
    return votes;
}
}  // namespace emulator

// ------------------------------------------------------------------ every access of the kernels comes by here

#define ACCESS(kind, size, write)                                                               \
    extern "C" void __real___asan_##kind##size(void*);                                          \
    extern "C" void __wrap___asan_##kind##size(void* address) {                                 \
        __real___asan_##kind##size(address);                                                    \
        if (self) memory.access(self->who, (char*)address, size, write, __builtin_return_address(0)); \
    }
#define ACCESS_N(kind, write)                                                                   \
    extern "C" void __real___asan_##kind##N(void*, size_t);                                     \
    extern "C" void __wrap___asan_##kind##N(void* address, size_t size) {                       \
        __real___asan_##kind##N(address, size);                                                 \
        if (self) memory.access(self->who, (char*)address, size, write, __builtin_return_address(0)); \
    }
ACCESS(load, 1, false)
ACCESS(load, 2, false)
ACCESS(load, 4, false)
ACCESS(load, 8, false)
ACCESS(load, 16, false)
ACCESS_N(load, false)
ACCESS(store, 1, true)
ACCESS(store, 2, true)
ACCESS(store, 4, true)
ACCESS(store, 8, true)
ACCESS(store, 16, true)
ACCESS_N(store, true)

unsigned emulator::atomic_min(unsigned* address, unsigned value) {
    __real___asan_store4(address);
    if ((size_t)address % sizeof *address) fail("an atomic at a misaligned address");
    Who now = self->who;
    now.atomic = true;
    memory.access(now, (char*)address, sizeof *address, true, nullptr);
    unsigned before = *address;
    if (value < before) *address = value;
    return before;
}

// ------------------------------------------------------------------ launches, one after another

extern "C" const char* __asan_default_options() { return "detect_leaks=0:abort_on_error=0"; }

namespace {
void receive(void* target, i64 size) {
    if (size && fread(target, 1, size, stdin) != (size_t)size) _exit(0);  // the other end is gone
}

i64 number() {
    i64 value;
    receive(&value, sizeof value);
    return value;
}

std::string text() {
    std::string value(number(), ' ');
    receive(&value[0], (i64)value.size());
    return value;
}

void launch(const std::string& name) {
    kernel = emulator::kernels;
    while (kernel->name && name != kernel->name) kernel++;
    if (!kernel->name) {
        kernel = nullptr;
        fail("not compiled: " + name);
    }
    i64 grid_x = number(), grid_y = number(), block_size = number(), shared_bytes = number(), seed = number();
    i64 first_block = number(), counted = number(), num_buffers = number();
    memory = Memory();
    std::vector<void*> blocks;
    for (i64 k = 0; k < num_buffers; k++) {
        Region buffer{"a tensor"};
        std::string path = text();
        buffer.size = number();
        i64 remainder = number();
        buffer.shared = !path.empty();
        buffer.start = buffer.shared ? mapped(path.c_str(), buffer.size) : guarded(buffer.size, remainder, blocks);
        if (!buffer.shared) receive(buffer.start, buffer.size);
        memory.buffers.push_back(buffer);
    }
    i64 num_args = number();
    if (num_args != (i64)strlen(kernel->kinds)) fail("called with " + std::to_string(num_args) + " arguments");
    slots.assign(num_args, {});
    for (i64 k = 0; k < num_args; k++) {
        char given = (char)number(), wanted = kernel->kinds[k];
        i64 value = number();
        bool pointer = given == 'b' || given == 'n';  // a buffer or null
        if (pointer != (wanted == 'r' || wanted == 'w') || (!pointer && given != wanted))
            fail("argument " + std::to_string(k) + " is of kind " + given + ", expected " + wanted);
        slots[k].integer = value;
        if (given == 'b') {
            Region& buffer = memory.buffers[value];
            slots[k].pointer = buffer.start;
            if (wanted == 'w') buffer.track();
            if (wanted == 'w') buffer.written = true;
            if (k == counted) buffer.counted = true;
        }
    }
    chance.seed(seed);
    if (shared_bytes > SHARED_BYTES) fail("more shared memory than a block has");
    memory.shared.start = (char*)arena;
    memory.shared.size = shared_bytes;
    __asan_poison_memory_region((char*)arena + shared_bytes, SHARED_BYTES - shared_bytes);
    if (block_size < 32 || block_size > 1024 || block_size % 32) fail("a block is 1 to 32 whole warps");
    num_threads = (int)block_size;
    if ((int)threads.size() < num_threads) threads.resize(num_threads);
    blockDim = {(unsigned)num_threads, 1, 1};
    gridDim = {(unsigned)grid_x, (unsigned)grid_y, 1};
    std::vector<i64> order;
    for (i64 block = first_block; block < grid_x * grid_y; block++) order.push_back(block);
    std::shuffle(order.begin(), order.end(), chance);
    for (i64 block : order) {
        blockIdx = {(unsigned)(block % grid_x), (unsigned)(block / grid_x), 0};
        run_block((int)(block - first_block));
    }
    __asan_unpoison_memory_region(arena, SHARED_BYTES);
    i64 lines = memory.lines.total();
    fwrite(&lines, sizeof lines, 1, stdout);
    for (Region& buffer : memory.buffers) {
        i64 size = buffer.written && !buffer.shared ? buffer.size : 0;
        fwrite(&size, sizeof size, 1, stdout);
        fwrite(buffer.start, 1, size, stdout);
        if (buffer.shared) munmap(buffer.start, buffer.size);
    }
    fflush(stdout);
    for (void* block : blocks) free(block);
}
}  // namespace

int main() {
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, (void**)&scheduler.stack, &scheduler.stack_bytes);
    while (true) launch(text());
}

namespace emulator {
float half_to_float(unsigned short bits) {
    _Float16 number;
    memcpy(&number, &bits, 2);
    return (float)number;
}

unsigned short float_to_half(float number) {
    _Float16 rounded = (_Float16)number;
    unsigned short bits;
    memcpy(&bits, &rounded, 2);
    return bits;
}
}  // namespace emulator
