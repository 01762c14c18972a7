/* The cold halves of buffer.c: first use on a thread, empty and full bins, requests
 * that no tier holds, pools that were destroyed, and put with its checks.
 */
#include <errno.h>
#include <string.h>

#include "cache.h"

/* Another thread called trim or shrink: give up what this cache holds, and no more; or tick: what
 * it does not use. */
static void honour_trim(bp_cache *c) {
    uint32_t epoch = bp_peek(&c->pool->trim_epoch);
    if (c->window_seen != bp_peek(&c->pool->windows)) {
        bp__cache_cool(c);
    }
    if (c->trim_seen != epoch) {
        size_t idle = (size_t)bp_peek(&c->pool->depot_bytes);
        c->trim_seen = epoch;
        bp__cache_flush_all(c);
        (void)bp__depots_shrink(c->pool, idle); /* a trim has left next to none */
    }
}

static bp_buffer *block_for(bp_cache *c, uint32_t bin, size_t n) {
    if (bin == BP_BIN_NONE) {
        return bp__alone_get(c->pool, n);
    }
    bp_buffer *b = bp__bin_pop(&c->bins[bin]);
    return b != NULL ? b : bp__cache_refill(c, bin);
}

/* What idles elsewhere gives way to the pool's quota: as much as is needed, and what this cache
 * reserved before. Caches of other threads give up what they hold at their next slow half. */
static bool make_room_in_quota(bp_cache *c, uint32_t bin, size_t size) {
    bp_pool *pool = c->pool;
    uint64_t idle = bp_peek(&pool->depot_bytes), lacks = bp__charge_lacks(pool, size);
    if (bp__tier_is_full(&pool->depots[bin]) || size > bp_peek(&pool->max_bytes) ||
        lacks > idle + bp_peek(&pool->leased) + bp__cache_reserved(c)) {
        return false;
    }
    bp__cache_flush_all(c);
    idle = bp_peek(&pool->depot_bytes);
    lacks = bp__charge_lacks(pool, size);
    if (lacks > 0) {
        (void)bp__pool_trim(pool, c, idle > lacks ? (size_t)(idle - lacks) : 0);
    }
    return true;
}

/* What idles in other tiers may serve where memory or the pool's quota ran out. A request
 * beyond all of it, or over its tier's own quota, must not cost the others their idle blocks. */
static bool make_room(bp_cache *c, uint32_t bin, size_t n) {
    bp_pool *pool = c->pool;
    if (errno == EDQUOT) {
        return make_room_in_quota(c, bin, bin == BP_BIN_NONE ? n : bp_peek(&pool->sizes[bin]));
    }
    if (errno == ESTALE || n > (size_t)bp_peek(&pool->depot_bytes) + bp_peek(&pool->leased)) {
        return false;
    }
    (void)bp__pool_trim(pool, c, 0);
    return true;
}

/* The calling thread's cache, made where it has none; NULL: errno. */
static bp_cache *cache_for(bp_pool *pool) {
    bp_cache *c = bp__cache_of(pool);
    if (c == NULL) {
        c = bp__cache_attach(pool);
    }
    if (c == NULL) {
        errno = bp_peek(&pool->slot) == 0 ? EINVAL : ENOMEM;
        return NULL;
    }
    honour_trim(c);
    return c;
}

/* A block, and by which cache and in what place. Where the table changes on the way, it begins
 * again: the slot it reads then is the new one. */
static bp_buffer *find_block(bp_pool *pool, size_t n, bp_cache **c, bp_place *at) {
    bp_buffer *b;
    do {
        *c = cache_for(pool);
        if (*c == NULL) {
            return NULL;
        }
        *at = bp__table_search(&(*c)->table, n);
        b = block_for(*c, at->bin, n);
        if (b == NULL && make_room(*c, at->bin, n)) {
            b = block_for(*c, at->bin, n);
        }
    } while (b == NULL && errno == ESTALE);
    return b;
}

bp_buffer *bp__buffer_get_slow(bp_pool *pool, size_t n, uint32_t refs) {
    if (n > BP_MAX_SIZE) {
        errno = EINVAL;
        return NULL;
    }
    bp_cache *c = NULL;
    bp_place at = {BP_BIN_NONE, 0};
    bp_buffer *b = find_block(pool, n, &c, &at);
    if (b == NULL) {
        bp_add(&pool->over_quota, errno == EDQUOT ? 1u : 0u);
        return NULL;
    }
    if (pool->debug) {
        bp__debug_issue(pool, b, n);
    }
    if (pool->zero_get && b->bin != BP_BIN_NONE) { /* an alone one is new memory each time */
        memset(bp_buffer_data(b), 0, bp_peek(&pool->sizes[b->bin]));
    }
    bp__cache_issue(c, b, n, refs);
    bp__count_get(c, at, n);
    if (pool->recent_exact) {
        bp__recent_push(pool, n);
    }
    bp__peak_look(c, at.bin);
    return b;
}

void *bp__raw_get_slow(bp_pool *pool, size_t n, size_t *capacity) {
    bp_buffer *b = bp__buffer_get_slow(pool, n, BP_RAW_REF);
    if (b == NULL) {
        return NULL;
    }
    bp_cache *c = bp__cache_of(pool);
    if (c != NULL) { /* the table may have changed meanwhile */
        c->raw_last = b;
    }
    if (capacity != NULL) {
        *capacity = bp_buffer_capacity(pool, b);
    }
    return bp_buffer_data(b);
}

int bp__raw_put_other(bp_pool *pool, void *p) {
    bp_buffer *b = bp__block_find(pool, p);
    if (BP_UNLIKELY(b == NULL)) {
        return BP_ERR_FOREIGN;
    }
    uint32_t refs = bp_acquire(&b->refs);
    if (BP_UNLIKELY(refs != BP_RAW_REF)) {
        return refs == 0 ? bp__release_dead(pool) : BP_ERR_KIND;
    }
    bp_cache *c = bp__cache_of(pool);
    return BP_LIKELY(c != NULL && bp__cache_put(c, b)) ? BP_OK : bp__buffer_release_slow(pool, b);
}

int bp__release_dead(bp_pool *pool) {
    bp_add(&pool->double_releases, 1u);
    return BP_ERR_DEAD;
}

/* A thread without a cache, which it has for good where the pool is closed: the
 * block goes straight home, and memory to the system without the registry's lock. Until the
 * block is counted the pool stays. Counted under the lock, so that of several last releases
 * of a closed pool exactly one frees it. */
static void release_uncached(bp_pool *pool, bp_buffer *b) {
    bp_depot *d = b->bin == BP_BIN_NONE ? NULL : &pool->depots[b->bin];
    bool closed = bp_peek(&pool->slot) == 0;
    if (d == NULL) {
        bp__alone_free(pool, b);
    } else {
        bp__depot_give(pool, d, &b, 1);
        if (closed) {
            (void)bp__depot_trim(pool, d); /* nobody gets from it any more */
        } else {
            (void)bp__depot_bound(pool, d);
            bp__idle_shrink(pool);
        }
    }
    pthread_mutex_lock(&bp__registry);
    if (d == NULL) {
        pool->gone.alone_put++;
    } else {
        bp_count_publish(&d->gone.put, 1);
    }
    if (pool->closed && !closed && d != NULL) {
        (void)bp__depot_trim(pool, d); /* closed meanwhile */
    }
    if (pool->closed && --pool->check_in == 0) {
        (void)bp__pool_reap_locked(pool);
    }
    bp__registry_unlock();
}

/* So that the compiler can not find that nobody reads it. */
static void wipe(void *p, size_t bytes) {
    memset(p, 0, bytes);
#if defined(__GNUC__)
    __asm__ volatile("" : : "r"(p) : "memory");
#else
    (void)*(volatile uint8_t *)p;
#endif
}

int bp__buffer_release_slow(bp_pool *pool, bp_buffer *b) {
    bp_cache *c = bp__cache_of(pool);
    if (pool->zero_release && b->bin != BP_BIN_NONE) { /* an alone one goes to the system */
        wipe(bp_buffer_data(b), bp_peek(&pool->sizes[b->bin]));
    }
    int status = pool->debug && !bp__debug_retire(pool, b) ? BP_ERR_OVERRUN : BP_OK;
    bp_poke(&b->refs, 0u);
    if (c == NULL) {
        c = bp__cache_attach(pool);
    }
    if (c == NULL) {
        release_uncached(pool, b);
        return status;
    }
    honour_trim(c);
    if (b->bin == BP_BIN_NONE) {
        bp__alone_free(pool, b);
        bp_count_publish(&c->alone_put, 1);
    } else if (bp__bin_push(&c->bins[b->bin], b)) {
        bp_count_publish(&c->bins[b->bin].put, 1);
    } else {
        bp__cache_store_slow(c, b);
    }
    return status;
}

/* Ordered, so that whoever sees the bit sees all that was written before. */
int bp_buffer_freeze(bp_buffer *b) {
    uint32_t refs = bp_peek(&b->refs);
    if (refs == 0 || refs == BP_RAW_REF) {
        return refs == 0 ? BP_ERR_DEAD : BP_ERR_KIND;
    }
    atomic_fetch_or_explicit(&b->refs, BP_FROZEN_BIT, memory_order_release);
    return BP_OK;
}

bool bp_buffer_is_frozen(const bp_buffer *b) { return (bp_acquire(&b->refs) & BP_FROZEN_BIT) != 0; }

int bp_buffer_put(bp_pool *pool, bp_buffer *b) {
    if (b == NULL || !bp__header_valid(pool, b)) {
        return BP_ERR_FOREIGN;
    }
    uint32_t refs = bp_acquire(&b->refs);
    if (BP_REFS(refs) != 1 || refs == BP_RAW_REF) {
        return refs == 0            ? bp__release_dead(pool)
               : refs == BP_RAW_REF ? BP_ERR_KIND
                                    : BP_ERR_SHARED;
    }
    return bp_buffer_release(pool, b);
}
