/* The thread cache's slow halves: made, refilled, flushed. They run on the cache's
 * own thread, or under the registry's lock when its thread ends.
 */
#include <string.h>

#include "cache.h"

/* The bytes of max_idle that the next cache may fill. All caches together have half of
 * max_idle, so that the depots have the other half. A first few get all they like, and
 * the sixtieth still something. */
static size_t share_of(const bp_pool *pool) {
    size_t budget = pool->max_idle / 2;
    size_t leased = (size_t)bp_peek(&pool->leased);
    size_t left = budget > leased ? budget - leased : 0;
    size_t fair = budget / (3 * ((size_t)pool->cache_count + 2));
    return fair < left / 2 ? fair : left / 2;
}

/* How many blocks of each tier a cache may hold: within 1 MiB or one block of it, and
 * all tiers within its share. A tier so large that one block would take an eighth of
 * the share has none: it would starve the others. Returns the lease. */
static size_t plan(const bp_pool *pool, uint32_t *counts) {
    size_t share = share_of(pool);
    size_t want = 0;
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        size_t size = pool->sizes[t];
        size_t count = BP_CACHE_BYTES / size;
        counts[t] = count < 1 ? 1 : count > BP_CACHE_BLOCKS ? BP_CACHE_BLOCKS : (uint32_t)count;
        if (size > share / 8) {
            counts[t] = 0;
        }
        want += counts[t] * size;
    }
    if (want <= share) {
        return want;
    }
    size_t lease = 0;
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        double part = (double)share * (double)counts[t] * (double)pool->sizes[t] / (double)want;
        counts[t] = (uint32_t)(part / (double)pool->sizes[t]);
        lease += counts[t] * pool->sizes[t];
    }
    return lease;
}

bp_cache *bp__cache_new(bp_pool *pool) {
    uint32_t counts[BP_MAX_TIERS];
    size_t lease = plan(pool, counts);
    size_t slots = 0;
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        slots += counts[t];
    }
    size_t ring = pool->recent_exact || pool->recent_size == 0 ? 1 : (size_t)pool->recent_mask + 1;
    bp_cache *c = bp__sys_alloc(sizeof *c + ring * sizeof *c->recent + slots * sizeof(bp_buffer *));
    if (c == NULL) {
        return NULL;
    }
    c->pool = pool;
    c->slot = pool->own_slot;
    c->lease = lease;
    c->trim_seen = bp_peek(&pool->trim_epoch);
    c->recent = (_Atomic uint64_t *)(void *)(c + 1);
    c->recent_mask = ring - 1;
    bp_buffer **next = (bp_buffer **)(void *)(c->recent + ring);
    for (uint32_t t = 0; t <= BP_MAX_TIERS; t++) {
        bp_bin *bin = &c->bins[t];
        if (t >= pool->tier_count || counts[t] == 0) {
            bin->hot = BP_HOT_SHUT;
        } else {
            bin->slots = next;
            bin->cap = bin->planned = counts[t] - 1; /* the hot one is the other */
            next += counts[t];
        }
        if (t < pool->tier_count) {
            bin->fresh_step = 1u << pool->cuts[t].header_shift;
        }
    }
    return c;
}

/* ---- giving up ----------------------------------------------------------- */

static void drop_fresh(bp_cache *c, uint32_t tier) {
    bp_bin *bin = &c->bins[tier];
    if (bin->fresh_left > 0) {
        bp__depot_unfresh(c->pool, &c->pool->depots[tier], bin->fresh, bin->fresh_left);
        bin->fresh_left = 0;
    }
}

static void flush_bin(bp_cache *c, uint32_t tier) {
    bp_bin *bin = &c->bins[tier];
    bp_depot *d = &c->pool->depots[tier];
    uint32_t flushed = bin->n;
    if (bin->n > 0) {
        bp__depot_give(c->pool, d, bin->slots, bin->n);
        bin->n = 0;
    }
    if ((uintptr_t)bin->hot > (uintptr_t)BP_HOT_SHUT) {
        bp__depot_give(c->pool, d, &bin->hot, 1);
        bin->hot = NULL;
        flushed++;
    }
    bp_count(&c->slow[tier].flushed, flushed);
    drop_fresh(c, tier);
}

void bp__cache_flush_all(bp_cache *c) {
    for (uint32_t t = 0; t < c->pool->tier_count; t++) {
        flush_bin(c, t);
    }
}

/* One cached block, or one reserved, keeps its slab from being empty, and so up to
 * 4 MiB from going back. Where the pool is over its idle bound although nothing is
 * empty, this cache holds nothing until that is over: each release then goes home. */
static void shut(bp_cache *c) {
    bp__cache_flush_all(c);
    bp__idle_shrink(c->pool);
    for (uint32_t t = 0; t < c->pool->tier_count; t++) {
        c->bins[t].hot = BP_HOT_SHUT;
        c->bins[t].cap = 0;
    }
    c->shut = true;
}

static void reopen(bp_cache *c) {
    for (uint32_t t = 0; t < c->pool->tier_count; t++) {
        bp_bin *bin = &c->bins[t];
        if (bin->slots != NULL) {
            bin->hot = NULL;
            bin->cap = bin->planned;
        }
    }
    c->shut = false;
}

/* After each slow half of a release. */
static void keep_bound(bp_cache *c) {
    if (BP_LIKELY(!bp__idle_over(c->pool))) {
        return;
    }
    for (uint32_t t = 0; t < c->pool->tier_count; t++) {
        drop_fresh(c, t);
    }
    bp__idle_shrink(c->pool);
    if (!c->shut && bp__idle_over(c->pool)) {
        shut(c);
    }
}

/* ---- trading with the depot ----------------------------------------------- */

static bp_buffer *refill_from_depot(bp_cache *c, bp_bin *bin, uint32_t tier) {
    bp_buffer *one[1];
    bp_buffer **out = bin->cap > 0 ? bin->slots : one;
    uint32_t got = bp__depot_take(c->pool, &c->pool->depots[tier], out, bin->cap / 2 + 1);
    if (got == 0) {
        return NULL;
    }
    bin->n = got - 1;
    bp_count(&c->slow[tier].refilled, got);
    bp_count(&bin->hit, 1);
    return out[got - 1];
}

bp_buffer *bp__cache_refill(bp_cache *c, uint32_t tier) {
    bp_bin *bin = &c->bins[tier];
    bp_depot *d = &c->pool->depots[tier];
    if (BP_UNLIKELY(c->shut && !bp__idle_over(c->pool))) {
        reopen(c);
    }
    bp_buffer *b = refill_from_depot(c, bin, tier);
    if (b != NULL) {
        return b;
    }
    if (bin->fresh_left == 0) {
        bin->fresh_left = bp__depot_fresh(c->pool, d, d->bins_take, &bin->fresh);
        if (bin->fresh_left == 0) {
            return NULL;
        }
    }
    b = bin->fresh;
    bin->fresh = (bp_buffer *)(void *)((uint8_t *)b + bin->fresh_step);
    bin->fresh_left--;
    bp__owned_add(c->pool, d->size);
    bp_count(&c->slow[tier].miss, 1);
    return b;
}

void bp__cache_store_slow(bp_cache *c, bp_buffer *b) {
    uint32_t tier = b->bin;
    bp_bin *bin = &c->bins[tier];
    bp_depot *d = &c->pool->depots[tier];
    if (bin->cap == 0) {
        bp__depot_give(c->pool, d, &b, 1);
        bp_count(&c->slow[tier].flushed, 1);
    } else {
        /* The older half goes; the younger one is still in the processor's cache. */
        uint32_t half = (bin->n + 1) / 2;
        bp__depot_give(c->pool, d, bin->slots, half);
        bp_count(&c->slow[tier].flushed, half);
        bin->n -= half;
        memmove(bin->slots, bin->slots + half, bin->n * sizeof *bin->slots);
        bin->slots[bin->n++] = b;
    }
    keep_bound(c);
    bp_count_publish(&bin->put, 1);
}
