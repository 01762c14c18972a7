/* get, retain, release: the hot path, with cache.h beside it. */
#include <errno.h>

#include "cache.h"

bp_buffer *bp_buffer_get(bp_pool *pool, size_t n) {
    bp_buffer *b = bp__cache_get(pool, n, BP_KIND_HANDLE);
    return BP_LIKELY(b != NULL) ? b : bp__buffer_get_slow(pool, n, BP_KIND_HANDLE);
}

int bp_buffer_retain(bp_buffer *b) {
    uint32_t refs = bp_peek(&b->refs);
    if (BP_UNLIKELY(refs - 1u >= BP_MAX_REFS - 1u)) {
        return refs == 0 ? BP_ERR_DEAD : BP_ERR_LIMIT;
    }
    bp_ref_take(&b->refs);
    return BP_OK;
}

/* A sole owner needs no locked instruction: nobody else can change the count. */
int bp_buffer_release(bp_pool *pool, bp_buffer *b) {
    uint32_t refs = bp_acquire(&b->refs);
    if (refs > 1 && bp_ref_drop(&b->refs) > 1) {
        return BP_OK;
    }
    if (BP_LIKELY(refs > 0 && bp__cache_put(pool, b))) {
        return BP_OK;
    }
    return refs > 0 ? bp__buffer_release_slow(pool, b) : BP_ERR_DEAD;
}

void *bp_raw_get(bp_pool *pool, size_t n, size_t *capacity) {
    bp_buffer *b = bp__cache_get(pool, n, BP_KIND_RAW);
    if (BP_UNLIKELY(b == NULL)) {
        b = bp__buffer_get_slow(pool, n, BP_KIND_RAW);
        if (b == NULL) {
            return NULL;
        }
    }
    bp__cache_of(pool)->raw_last = b;
    if (capacity != NULL) {
        *capacity = bp_buffer_capacity(pool, b);
    }
    return bp_buffer_data(b);
}

/* The block that starts at p. What this thread got last is tried first: the guess costs
 * one comparison and frees the next get from waiting for the arithmetic of a look-up. A
 * header whose slab went back is zero, and must not pass for its own payload. */
BP_INLINE bp_buffer *raw_block(bp_pool *pool, const void *p) {
    bp_cache *c = bp__cache_of(pool);
    bp_buffer *last = c != NULL ? c->raw_last : NULL;
    bool guessed = last != NULL && p != last && bp_buffer_data(last) == p;
    return BP_LIKELY(guessed) ? last : bp__block_find(pool, p);
}

int bp_raw_put(bp_pool *pool, void *p) {
    bp_buffer *b = raw_block(pool, p);
    if (BP_UNLIKELY(b == NULL)) {
        return BP_ERR_FOREIGN;
    }
    if (BP_UNLIKELY(bp_acquire(&b->refs) == 0)) {
        return BP_ERR_DEAD;
    }
    if (BP_UNLIKELY(bp_peek(&b->kind) != BP_KIND_RAW)) {
        return BP_ERR_KIND;
    }
    return BP_LIKELY(bp__cache_put(pool, b)) ? BP_OK : bp__buffer_release_slow(pool, b);
}

size_t bp_raw_capacity(bp_pool *pool, const void *p) {
    const bp_buffer *b = bp__block_find(pool, p);
    bool out = b != NULL && bp_acquire(&b->refs) > 0 && bp_peek(&b->kind) == BP_KIND_RAW;
    return out ? bp_buffer_capacity(pool, b) : 0;
}

void *bp_buffer_data(const bp_buffer *b) { return (uint8_t *)(uintptr_t)b + bp_peek(&b->to_data); }

size_t bp_buffer_length(const bp_buffer *b) { return (size_t)b->length; }

size_t bp_buffer_capacity(const bp_pool *pool, const bp_buffer *b) {
    return b->bin < pool->tier_count ? pool->sizes[b->bin] : (size_t)b->length;
}

uint32_t bp_buffer_ref_count(const bp_buffer *b) { return bp_peek(&b->refs); }
