// out[k] = table[ids[k]] for rows of any dtype, as units of 1 to 16 bytes. A group of `span` lanes takes a row.
//
// The table may be pinned host memory, read over PCIe in lines of 128 bytes. Rows of other lengths do not begin where
// lines do, and every read of a warp would touch one line more than it needs. With `shift` the lanes stand where the
// row's first line begins, and those before the row read its first unit along: a row then asks for the lines that it lies
// in, each once. (Min et al., PVLDB 14(11), 2021, have them read the row's end, whose lines are asked for again.)
#include "numbers.cuh"

template <class Word, int V>
struct Row {  // `units` of V words; null where there is no such row
    typedef Pack<Word, V> Unit;
    const Unit* from;

    __device__ Row(const Word* table, i64 num_rows, i64 row, i64 units)
        : from(row >= 0 && row < num_rows ? (const Unit*)table + row * units : nullptr) {}

    __device__ void copy(Word* out, i64 slot, i64 units, i64 span, bool shift) const {
        Unit* to = (Unit*)out + slot * units;
        Unit nothing;  // all bits: NaN, -1, true
        for (int v = 0; v < V; v++) nothing.item[v] = (Word)~(Word)0;
        // units of 1 or 2 bytes: a read is less than a line, and begins where such a part of it does
        i64 ahead = shift ? (i64)((u64)from % 128 / sizeof(Unit)) % span : 0;
        for (i64 unit = threadIdx.x % span - ahead; unit < units; unit += span) {
            Unit read = from ? from[unit > 0 ? unit : 0] : nothing;
            if (unit >= 0) to[unit] = read;
        }
    }
};

// order: null, or a permutation of 0 … num_ids - 1 in which the ids are served; out is the same.
template <class Word, int V>
__global__ void __launch_bounds__(256) gather_rows(const Word* table, i64 num_rows, const void* ids, i64 wide, i64 num_ids,
                                                   const i64* order, Word* out, i64 units, i64 span, i64 shift) {
    i64 k = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / span;
    if (k >= num_ids) return;
    i64 slot = order ? order[k] : k;
    if (slot < 0 || slot >= num_ids) return;
    Row<Word, V>(table, num_rows, Ids{ids, wide != 0}[slot], units).copy(out, slot, units, span, shift);
}

// out[k] = lines[where[k]], or staged[-1 - where[k]] where that is negative. Only staged rows are shifted: lines lie in
// device memory, which is read by the 32 bytes.
template <class Word, int V>
__global__ void __launch_bounds__(256)
    gather_cached(const Word* lines, i64 num_lines, const Word* staged, i64 num_staged, const i64* where, i64 count, Word* out,
                  i64 units, i64 span, i64 shift) {
    i64 k = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / span;
    if (k >= count) return;
    i64 place = where[k];
    if (place >= 0)
        Row<Word, V>(lines, num_lines, place, units).copy(out, k, units, span, false);
    else
        Row<Word, V>(staged, num_staged, -1 - place, units).copy(out, k, units, span, shift);
}
