// out[k] = table[ids[k]] for rows of any dtype, as units of 1 to 16 bytes. A group of `span` lanes takes a row.
//
// The table may be pinned host memory, read over PCIe in lines of 128 bytes. Rows of other lengths do not begin where
// lines do, and every read of a warp would touch one line more than it needs. With `shift` lane t begins o units earlier,
// o being the row's place within its line, so that reads begin where lines do; what falls off the row's front comes from
// its end (Min et al., PVLDB 14(11), 2021).
#include "numbers.cuh"

template <class Word, int V>
__global__ void __launch_bounds__(256) gather_rows(const Word* table, i64 num_rows, const void* ids, i64 wide, i64 num_ids,
                                                   Word* out, i64 units, i64 span, i64 shift) {
    typedef Pack<Word, V> Unit;
    i64 k = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / span;
    if (k >= num_ids) return;
    i64 row = Ids{ids, wide != 0}[k];
    bool known = row >= 0 && row < num_rows;
    const Unit* from = (const Unit*)table + (known ? row * units : 0);
    Unit* to = (Unit*)out + k * units;
    Unit nothing;  // all bits: NaN, -1, true
    for (int v = 0; v < V; v++) nothing.item[v] = (Word)~(Word)0;
    i64 ahead = shift ? (i64)((u64)from % 128 / sizeof(Unit)) : 0;
    for (i64 t = threadIdx.x % span; t < units; t += span) {
        i64 unit = t - ahead;
        if (unit < 0) unit += units;
        to[unit] = known ? from[unit] : nothing;
    }
}
