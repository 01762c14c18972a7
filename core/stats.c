/* Counters -> one snapshot, and the recent lengths.
 *
 * Each cache's counters have one writer. A snapshot sums them under the registry's
 * lock (so that no cache comes or goes) while their threads go on: puts are read
 * before gets, so a put that is seen has its get seen too.
 */
#include <string.h>

#include "cache.h"

/* The puts of a tier; acquired, so that the gets before them are seen later. */
static uint64_t puts_locked(bp_pool *pool, uint32_t tier) {
    uint64_t put = bp_acquire(&pool->depots[tier].gone.put);
    for (bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        put += bp_acquire(&c->bins[tier].put);
    }
    return put;
}

static uint64_t alone_puts_locked(bp_pool *pool) {
    uint64_t put = pool->gone.alone_put;
    for (bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        put += bp_acquire(&c->alone_put);
    }
    return put;
}

uint64_t bp__pool_outstanding_locked(bp_pool *pool) {
    uint64_t out = 0;
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        out -= puts_locked(pool, t);
    }
    out -= alone_puts_locked(pool);
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        out += bp_peek(&pool->depots[t].gone.hit) + bp_peek(&pool->depots[t].gone.miss);
        for (bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
            out += bp_peek(&c->bins[t].hit) + bp_peek(&c->slow[t].miss);
        }
    }
    out += pool->gone.alone_get;
    for (bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        out += bp_peek(&c->alone_get);
    }
    return out;
}

static void sum_tier_locked(bp_pool *pool, uint32_t tier, bp_tier_stats *s) {
    bp_depot *d = &pool->depots[tier];
    int64_t cached = 0;
    s->hit = bp_peek(&d->gone.hit);
    s->miss = bp_peek(&d->gone.miss);
    for (bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        uint64_t put = bp_acquire(&c->bins[tier].put);
        uint64_t hit = bp_peek(&c->bins[tier].hit);
        uint64_t in = bp_peek(&c->slow[tier].refilled) + put;
        uint64_t out = hit + bp_peek(&c->slow[tier].flushed);
        cached += (int64_t)(in - out);
        s->hit += hit;
        s->miss += bp_peek(&c->slow[tier].miss);
    }
    s->size = pool->sizes[tier];
    s->get = s->hit + s->miss;
    s->in_use = s->get - s->put;
    s->cached = cached > 0 ? (uint64_t)cached : 0; /* negative only mid-flight */
    s->depot = bp_peek(&d->free);
    s->idle = s->cached + s->depot;
    s->owned = s->in_use + s->idle;
}

static void snapshot_locked(bp_pool *pool, bp_stats *out) {
    out->tier_count = pool->tier_count;
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        out->tiers[t].put = puts_locked(pool, t);
    }
    out->discarded_put = alone_puts_locked(pool);
    out->discarded = pool->gone.alone_get;
    out->discarded_bytes = pool->gone.alone_lengths;
    out->requests = pool->gone.requests;
    for (bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        out->discarded += bp_peek(&c->alone_get);
        out->discarded_bytes += bp_peek(&c->alone_lengths);
        out->requests += bp_peek(&c->requests);
        out->threads++;
    }
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        bp_tier_stats *s = &out->tiers[t];
        sum_tier_locked(pool, t, s);
        out->total_get += s->get;
        out->total_put += s->put;
        out->in_use += s->in_use;
        out->in_use_bytes += s->in_use * s->size;
        out->idle_bytes += s->idle * s->size;
    }
    out->in_use += out->discarded - out->discarded_put;
    out->in_use_bytes += bp_peek(&pool->alone_bytes);
    out->owned_bytes = out->in_use_bytes + out->idle_bytes;
}

void bp_pool_stats(bp_pool *pool, bp_stats *out) {
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&bp__registry);
    snapshot_locked(pool, out);
    pthread_mutex_unlock(&bp__registry);
    out->peak_owned_bytes = bp_peek(&pool->peak_owned_bytes);
    out->trimmed_bytes = bp_peek(&pool->trimmed_bytes);
    out->exported = bp_peek(&pool->exported);
    out->max_idle = pool->max_idle;
    uint32_t regions = bp_acquire(&pool->region_count);
    for (uint32_t i = 0; i < regions; i++) {
        out->reserved_bytes += bp_peek(&pool->regions[i])->bytes;
    }
}

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
