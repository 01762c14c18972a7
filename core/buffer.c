/* get, retain, release: the hot path, with cache.h beside it. */
#include "cache.h"

BP_HOT bp_buffer *bp_buffer_get(bp_pool *pool, size_t n) {
    bp_cache *c = bp__cache_of(pool);
    if (BP_LIKELY(c != NULL)) {
        bp_spot at = bp__spot_of(c, n);
        bp_buffer *b = bp__cache_get(c, at.bin, n, 1);
        if (BP_LIKELY(b != NULL)) {
            return bp__cell_count(c, at.cell, n) ? bp__cell_fold(c, bp__place_of(c, at), b) : b;
        }
    }
    return bp__buffer_get_slow(pool, n, 1);
}

int bp_buffer_retain(bp_buffer *b) {
    uint32_t refs = bp_peek(&b->refs);
    if (BP_UNLIKELY(BP_REFS(refs) - 1u >= BP_MAX_REFS - 1u || refs == BP_RAW_REF)) {
        return refs == 0 ? BP_ERR_DEAD : refs == BP_RAW_REF ? BP_ERR_KIND : BP_ERR_LIMIT;
    }
    bp_ref_take(&b->refs);
    return BP_OK;
}

/* A sole owner needs no locked instruction: nobody else can change the count. */
BP_HOT int bp_buffer_release(bp_pool *pool, bp_buffer *b) {
    uint32_t refs = bp_acquire(&b->refs);
    if (BP_UNLIKELY(refs != 1)) {
        if (BP_UNLIKELY(refs == 0 || refs == BP_RAW_REF)) {
            return refs == 0 ? bp__release_dead(pool) : BP_ERR_KIND;
        }
        if (BP_REFS(bp_ref_drop(&b->refs)) > 1) {
            return BP_OK;
        }
    }
    bp_cache *c = bp__cache_of(pool);
    return BP_LIKELY(c != NULL && bp__cache_put(c, b)) ? BP_OK : bp__buffer_release_slow(pool, b);
}

BP_HOT void *bp_raw_get(bp_pool *pool, size_t n, size_t *capacity) {
    bp_cache *c = bp__cache_of(pool);
    if (BP_LIKELY(c != NULL)) {
        bp_spot at = bp__spot_of(c, n);
        bp_buffer *b = bp__cache_get(c, at.bin, n, BP_RAW_REF);
        if (BP_LIKELY(b != NULL)) {
            c->raw_last = b;
            if (capacity != NULL) {
                *capacity = bp_peek(&pool->sizes[b->bin]);
            }
            void *data = bp_buffer_data(b);
            return bp__cell_count(c, at.cell, n) ? bp__cell_fold(c, bp__place_of(c, at), data)
                                                 : data;
        }
    }
    return bp__raw_get_slow(pool, n, capacity);
}

/* The block that this thread got last is tried first: the guess costs one comparison and
 * frees the next get from waiting for the arithmetic of a look-up. */
BP_HOT int bp_raw_put(bp_pool *pool, void *p) {
    bp_cache *c = bp__cache_of(pool);
    if (BP_LIKELY(c != NULL)) {
        bp_buffer *b = c->raw_last;
        if (BP_LIKELY(bp_buffer_data(b) == p && bp_acquire(&b->refs) == BP_RAW_REF)) {
            return BP_LIKELY(bp__cache_put(c, b)) ? BP_OK : bp__buffer_release_slow(pool, b);
        }
    }
    return bp__raw_put_other(pool, p);
}

size_t bp_raw_capacity(bp_pool *pool, const void *p) {
    const bp_buffer *b = bp__block_find(pool, p);
    bool out = b != NULL && bp_acquire(&b->refs) == BP_RAW_REF;
    return out ? bp_buffer_capacity(pool, b) : 0;
}

void *bp_buffer_data(const bp_buffer *b) { return (uint8_t *)(uintptr_t)b + bp_peek(&b->to_data); }

size_t bp_buffer_length(const bp_buffer *b) { return (size_t)b->length; }

size_t bp_buffer_capacity(const bp_pool *pool, const bp_buffer *b) {
    return b->bin < BP_BINS ? bp_peek(&pool->sizes[b->bin]) : (size_t)b->length;
}

bool bp_buffer_is_alone(const bp_buffer *b) { return b->bin == BP_BIN_NONE; }

size_t bp_buffer_view(const bp_pool *pool, const bp_buffer *b, void **data) {
    *data = bp_buffer_data(b);
    return bp_buffer_capacity(pool, b);
}

uint32_t bp_buffer_ref_count(const bp_buffer *b) { return BP_REFS(bp_acquire(&b->refs)); }
