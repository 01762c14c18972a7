/* The thread cache's fast half: which tier, which cache, pop and push.
 *
 * The cache knows nothing of the depot; the slow halves in cache.c trade batches
 * with it. Everything here runs on the cache's own thread, without a lock.
 */
#ifndef BP_CACHE_H
#define BP_CACHE_H

#include "internal.h"

/* The bucket of m: its power of two and the three bits below the highest. */
BP_INLINE uint32_t bp__bucket(size_t m) {
#if defined(__GNUC__)
    uint32_t e = 63u - (uint32_t)__builtin_clzll((unsigned long long)m | 8u);
#else
    uint32_t e = 3;
    while (e < 63 && ((uint64_t)m >> (e + 1)) != 0) {
        e++;
    }
#endif
    return ((e - 2u) << 3) + ((uint32_t)((uint64_t)m >> (e - 3u)) & 7u);
}

/* The lowest tier that holds n >= 1; tier_count where none does, whose size is
 * SIZE_MAX. n = 0 wraps to the last bucket and so to the slow half. */
BP_INLINE uint32_t bp__tier_of(const bp_pool *pool, size_t n) {
    uint32_t t = pool->bucket[bp__bucket(n - 1)];
    while (pool->sizes[t] < n) {
        t++;
    }
    return t;
}

/* NULL where this thread has none yet, or the pool is closed. */
BP_INLINE bp_cache *bp__cache_of(bp_pool *pool) {
    return bp_peek(&bp__thread->caches[bp_peek(&pool->slot)]);
}

/* The last blocks pushed, or NULL. */
BP_INLINE bp_buffer *bp__bin_pop(bp_bin *bin) {
    bp_buffer *b = bin->hot;
    if (BP_LIKELY((uintptr_t)b > (uintptr_t)BP_HOT_SHUT)) {
        bin->hot = NULL;
        return b;
    }
    if (BP_LIKELY(bin->n > 0)) {
        return bin->slots[--bin->n];
    }
    return NULL;
}

/* False where the bin is full or shut. */
BP_INLINE bool bp__bin_push(bp_bin *bin, bp_buffer *b) {
    if (BP_LIKELY(bin->hot == NULL)) {
        bin->hot = b;
        return true;
    }
    if (BP_LIKELY(bin->n < bin->cap)) {
        bin->slots[bin->n++] = b;
        return true;
    }
    return false;
}

/* Marks a block as handed out: one reference, n bytes, remembered. */
BP_INLINE bp_buffer *bp__cache_issue(bp_pool *pool, bp_cache *c, bp_buffer *b, size_t n,
                                     uint8_t kind) {
    b->length = n;
    bp_poke(&b->kind, kind);
    bp_poke(&b->refs, 1u);
#ifndef BP_BENCH_BARE /* only the bench leaves it out: what does it cost? */
    uint64_t place = bp_peek(&c->requests);
    bp_poke(&c->recent[place & c->recent_mask], n);
    bp_publish(&c->requests, place + 1);
    if (BP_UNLIKELY(pool->recent_exact)) {
        bp__recent_push(pool, n);
    }
#else
    (void)pool, (void)c;
#endif
    return b;
}

/* A block or NULL: then the slow half goes on. */
BP_INLINE bp_buffer *bp__cache_get(bp_pool *pool, size_t n, uint8_t kind) {
    bp_cache *c = bp__cache_of(pool);
    if (BP_UNLIKELY(c == NULL)) {
        return NULL;
    }
    bp_bin *bin = &c->bins[bp__tier_of(pool, n)];
    bp_buffer *b = bp__bin_pop(bin);
    if (BP_UNLIKELY(b == NULL)) {
        return NULL;
    }
#ifndef BP_BENCH_BARE
    bp_count(&bin->hit, 1);
#endif
    return bp__cache_issue(pool, c, b, n, kind);
}

/* Takes back a block whose last reference the caller gives up. False: the slow
 * half must. Counting the put is the last thing done to shared memory: whoever
 * sees it may free a closed pool. */
BP_INLINE bool bp__cache_put(bp_pool *pool, bp_buffer *b) {
    bp_cache *c = bp__cache_of(pool);
    if (BP_UNLIKELY(c == NULL)) {
        return false;
    }
    bp_bin *bin = &c->bins[b->bin];
    bp_poke(&b->refs, 0u);
    if (BP_UNLIKELY(!bp__bin_push(bin, b))) {
        return false;
    }
#ifndef BP_BENCH_BARE
    bp_count_publish(&bin->put, 1);
#endif
    return true;
}

#endif
