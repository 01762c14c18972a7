/* The thread cache's fast half: which tier, which cache, pop and push.
 *
 * The cache knows nothing of the depot; the slow halves in cache.c trade batches
 * with it. Everything here runs on the cache's own thread, without a lock.
 */
#ifndef BP_CACHE_H
#define BP_CACHE_H

#include "internal.h"

/* The bucket of m: its power of two and the three bits below the highest. */
BP_INLINE size_t bp__bucket(size_t m) {
#if defined(__GNUC__)
    size_t e = 63u ^ (size_t)__builtin_clzll((unsigned long long)m | 8u);
#else
    size_t e = 3;
    while (e < 63 && ((uint64_t)m >> (e + 1)) != 0) {
        e++;
    }
#endif
    return (m >> (e - 3u)) + e * 8u - 24u;
}

/* The least m of a bucket. */
BP_INLINE uint64_t bp__bucket_least(uint32_t bucket) {
    return bucket < 8 ? bucket : (uint64_t)(8 + bucket % 8) << (bucket / 8 - 1);
}

/* Where a fast get looks, and counts. */
typedef struct bp_spot {
    bp_bin *bin;
    size_t cell;
} bp_spot;

BP_INLINE bp_bin *bp__bin_at(bp_cache *c, size_t bytes) {
    return (bp_bin *)(void *)((char *)c->bins + bytes);
}

/* The bin and the cell of n >= 1, by this cache's own table. What no tier serves gets
 * BP_BIN_NONE, which is empty; so does n = 0, which wraps to the last bucket. The cell: bucket
 * and rank grow with n, so no other pair of them has the same sum. */
BP_INLINE bp_spot bp__spot_of(bp_cache *c, size_t n) {
    size_t bucket = bp__bucket(n - 1);
    size_t entry = c->table.entries[bucket];
    size_t rank = entry >> 16;
    bp_bin *bin = bp__bin_at(c, entry & 0xffffu);
    while (BP_UNLIKELY(c->table.ends[rank] < n)) {
        bin = &c->bins[c->table.bins[++rank]];
    }
    return (bp_spot){bin, bucket + rank};
}

BP_INLINE bp_place bp__place_of(const bp_cache *c, bp_spot at) {
    return (bp_place){(uint32_t)(at.bin - c->bins), (uint32_t)at.cell};
}

/* NULL where this thread has none yet, or the pool is closed. No order is asked for: who gave a
 * slot anew had seen it empty in every thread, under the registry's lock, and the second load
 * needs the first one's value for its address, which every processor with threads of today keeps
 * in order. */
BP_INLINE bp_cache *bp__cache_of(const bp_pool *pool) {
    return bp_peek(&bp__thread->caches[bp_peek(&pool->slot)]);
}

/* Blocks in it; the bin's own thread, or a quiet pool. */
BP_INLINE uint32_t bp__bin_held(const bp_bin *bin) { return (uint32_t)(bin->top - bin->base); }

/* The last block pushed, or NULL. */
BP_INLINE bp_buffer *bp__bin_pop(bp_bin *bin) {
    bp_buffer **top = bin->top - 1;
    bp_buffer *b = *top;
    if (BP_LIKELY(b != NULL)) {
        bin->top = top;
    }
    return b;
}

/* False where the bin is full or shut. */
BP_INLINE bool bp__bin_push(bp_bin *bin, bp_buffer *b) {
    bp_buffer **top = bin->top;
    if (BP_UNLIKELY(top >= bin->limit)) {
        return false;
    }
    *top = b;
    bin->top = top + 1;
    return true;
}

/* Marks a block as handed out, n bytes long, and remembers the length. */
BP_INLINE void bp__cache_issue(bp_cache *c, bp_buffer *b, size_t n, uint32_t refs) {
    b->length = n;
    bp_poke(&b->refs, refs);
#ifndef BP_BENCH_BARE
    bp_poke(&c->recent[bp_peek(&c->requests) & c->recent_mask], n);
#endif
    bp_count_one_publish(&c->requests);
}

/* A block or NULL: then the slow half goes on. The caller counts the get in its cell. */
BP_INLINE bp_buffer *bp__cache_get(bp_cache *c, bp_bin *bin, size_t n, uint32_t refs) {
    bp_buffer *b = bp__bin_pop(bin);
    if (BP_LIKELY(b != NULL)) {
        bp__cache_issue(c, b, n, refs);
    }
    return b;
}

/* Counts a get of n bytes, BP_CELL_MOST at most; true: bp__cell_fold must follow. */
BP_INLINE bool bp__cell_count(bp_cache *c, size_t cell, size_t n) {
    return BP_UNLIKELY(bp_count_signed(&c->cells[cell], BP_CELL_ONE + n));
}

/* Takes back a block whose last reference the caller gives up. False: the slow
 * half must. Counting the put is the last thing done to shared memory: whoever
 * sees it may free a closed pool. */
BP_INLINE bool bp__cache_put(bp_cache *c, bp_buffer *b) {
    bp_bin *bin = &c->bins[b->bin];
    bp_poke(&b->refs, 0u);
    if (BP_UNLIKELY(!bp__bin_push(bin, b))) {
        return false;
    }
    bp_count_one_publish(&bin->put);
    return true;
}

#endif
