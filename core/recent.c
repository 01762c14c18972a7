/* The lengths of the last requests: a ring in each cache, and one in the pool. */
#include "cache.h"

void bp__recent_push(bp_pool *pool, uint64_t length) {
    uint64_t place = bp_add(&pool->recent_next, 1);
    bp_poke(&pool->recent[place & pool->recent_mask], length);
}

/* A walk backwards through one ring. */
typedef struct ring {
    _Atomic uint64_t *at;
    uint64_t mask, next, left;
} ring;

static ring ring_of(_Atomic uint64_t *at, uint64_t mask, uint64_t next, uint64_t size) {
    return (ring){at, mask, next, next < size ? next : size};
}

static uint64_t ring_back(ring *r) {
    r->left--;
    r->next--;
    return bp_peek(&r->at[r->next & r->mask]);
}

void bp__recent_keep_locked(bp_cache *c) {
    bp_pool *pool = c->pool;
    if (pool->recent_exact || pool->recent_size == 0) {
        return;
    }
    uint64_t next = bp_peek(&c->requests);
    uint64_t size = next < pool->recent_size ? next : pool->recent_size;
    uint64_t place = bp_add(&pool->recent_next, size);
    for (uint64_t i = next - size; i < next; i++) {
        bp_poke(&pool->recent[place++ & pool->recent_mask],
                bp_peek(&c->recent[i & c->recent_mask]));
    }
}

/* In relaxed mode each thread's last request, then each one's last but one, and so
 * on; a single thread's order is exact. Rings of the caches after the first pass
 * are found again by walking the list: their number has no bound. */
static size_t merge_locked(bp_pool *pool, uint64_t *out, size_t max) {
    size_t got = 0;
    ring gone =
        ring_of(pool->recent, pool->recent_mask, bp_peek(&pool->recent_next), pool->recent_size);
    for (uint64_t depth = 0, found = 1; found > 0 && got < max; depth++) {
        found = 0;
        for (bp_cache *c = pool->caches; c != NULL && got < max; c = c->pool_next) {
            ring r =
                ring_of(c->recent, c->recent_mask, bp_acquire(&c->requests), pool->recent_size);
            if (depth < r.left) {
                r.next -= depth;
                out[got++] = ring_back(&r);
                found++;
            }
        }
        if (found == 0 && gone.left > 0 && got < max) {
            out[got++] = ring_back(&gone);
            found++;
        }
    }
    return got;
}

size_t bp_pool_recent(bp_pool *pool, uint64_t *out, size_t max) {
    size_t got = 0;
    if (out == NULL) {
        return pool->recent_size;
    }
    max = max < pool->recent_size ? max : pool->recent_size;
    pthread_mutex_lock(&bp__registry);
    if (pool->recent_exact) {
        ring r = ring_of(pool->recent, pool->recent_mask, bp_peek(&pool->recent_next),
                         pool->recent_size);
        while (got < max && r.left > 0) {
            out[got++] = ring_back(&r);
        }
    } else {
        got = merge_locked(pool, out, max);
    }
    pthread_mutex_unlock(&bp__registry);
    for (size_t i = 0; i < got / 2; i++) {
        uint64_t swap = out[i];
        out[i] = out[got - 1 - i];
        out[got - 1 - i] = swap;
    }
    return got;
}
