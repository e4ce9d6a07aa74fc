// What a kernel may touch, and who touched it: exact bounds, races between barriers, lines of 128 bytes per warp.
#pragma once
#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

typedef long long i64;
const i64 LINE = 128;               // bytes of a line of the cache, and of a request over PCIe
const i64 TRACKED_BYTES = 1 << 20;  // larger buffers are checked for bounds only

// Who runs: `thread` counts through the whole grid; the two epochs count the barriers that it has passed.
struct Who {
    int thread, warp, block, block_epoch, warp_epoch;
    bool atomic = false;  // reads and writes at once, in any order with others that do
};

[[noreturn]] void fail(const std::string& what);

// Whether all that `before` did at its epochs has been seen by `now`.
inline bool ordered(const Who& before, const Who& now) {
    if (before.thread == now.thread) return true;
    if (before.block != now.block) return false;
    return before.block_epoch < now.block_epoch || (before.warp == now.warp && before.warp_epoch < now.warp_epoch);
}

struct Byte {
    Who writer{-1, 0, 0, 0, 0}, readers[2]{{-1, 0, 0, 0, 0}, {-1, 0, 0, 0, 0}};

    const Who* conflict(const Who& now, bool write) const {
        auto clash = [&](const Who& other) {
            return other.thread >= 0 && !(other.atomic && now.atomic) && !ordered(other, now);
        };
        if (clash(writer)) return &writer;
        for (const Who& reader : readers)
            if ((write || reader.atomic) && clash(reader)) return &reader;
        return nullptr;
    }
    void note(const Who& now, bool write) {
        if (write) writer = now;
        if (!write || now.atomic) {
            if (readers[0].thread >= 0 && readers[0].thread != now.thread) readers[1] = readers[0];
            readers[0] = now;
        }
    }
};

struct Region {
    const char* name;
    char* start = nullptr;
    i64 size = 0;
    bool tracked = false, counted = false;
    bool written = false, shared = false;  // the kernel may write here, by its type; the other end sees it as it is
    std::vector<Byte> bytes;

    bool holds(const char* address) const { return address >= start && address < start + size; }
    void track() {
        tracked = size <= TRACKED_BYTES;
        bytes.assign(tracked ? size : 0, Byte());
    }
};

struct Lines {  // of the counted buffer: an instruction of a warp is a place in the code and how often a lane was there
    std::map<std::pair<int, void*>, i64> visits;                             // thread, place
    std::map<std::tuple<int, void*, i64>, std::set<const char*>> requests;  // warp, place, visit

    void note(const Who& now, const char* address, i64 size, void* place) {
        i64 visit = visits[{now.thread, place}]++;
        auto& lines = requests[{now.warp, place, visit}];
        for (i64 byte = (i64)address / LINE; byte <= ((i64)address + size - 1) / LINE; byte++)
            lines.insert((const char*)(byte * LINE));
    }
    i64 total() const {
        i64 sum = 0;
        for (auto& request : requests) sum += (i64)request.second.size();
        return sum;
    }
};

struct Memory {
    Region shared{"shared memory"};
    std::vector<Region> buffers;
    Lines lines;

    void access(const Who& now, const char* address, i64 size, bool write, void* place) {
        Region* region = shared.holds(address) ? &shared : nullptr;
        for (Region& buffer : buffers)
            if (!region && buffer.holds(address)) region = &buffer;
        if (!region) return;  // a fiber's own stack; what is nobody's, AddressSanitizer sees
        if (region->counted && !write) lines.note(now, address, size, place);
        if (!region->tracked) return;
        for (i64 byte = address - region->start; byte < address + size - region->start && byte < region->size; byte++) {
            if (const Who* other = region->bytes[byte].conflict(now, write)) {
                char what[200];
                snprintf(what, sizeof what, "race: thread %d %s byte %lld of %s, which thread %d touched with no barrier between",
                         now.thread, write ? "writes" : "reads", byte, region->name, other->thread);
                fail(what);
            }
            region->bytes[byte].note(now, write);
        }
    }
};

// Memory of exactly `size` bytes, at an address with the given remainder of division by 128; all around it is poisoned.
inline char* guarded(i64 size, i64 remainder, std::vector<void*>& blocks) {
    i64 total = (remainder + size + 2 * LINE + LINE - 1) / LINE * LINE;
    char* block = (char*)aligned_alloc(LINE, total);
    blocks.push_back(block);
    char* start = block + LINE + remainder;
    __asan_poison_memory_region(block, total);
    __asan_unpoison_memory_region(start, size);
    return start;
}

// A file of zeros, as large as wanted, that takes memory only where it is touched.
inline char* mapped(const char* path, i64 size) {
    int file = open(path, O_RDWR);
    void* start = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    if (file < 0 || start == MAP_FAILED) fail("cannot map " + std::string(path));
    close(file);
    return (char*)start;
}
