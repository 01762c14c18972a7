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

static bp_buffer no_block; /* no pointer that is put starts it */

static void bin_open(bp_bin *bin) {
    bin->hot = bin->planned > 0 ? NULL : BP_HOT_SHUT;
    bin->limit = bin->base + (bin->planned > 0 ? bin->planned - 1 : 0);
}

bp_cache *bp__cache_new(bp_pool *pool) {
    uint32_t counts[BP_MAX_TIERS];
    size_t lease = plan(pool, counts);
    size_t slots = 1;
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        slots += counts[t];
    }
    size_t ring = pool->recent_exact || pool->recent_size == 0 ? 1 : (size_t)pool->recent_mask + 1;
    bp_cache *c =
        bp__sys_alloc(sizeof *c + ring * sizeof *c->recent + slots * sizeof *c->bins->base);
    if (c == NULL) {
        return NULL;
    }
    c->pool = pool;
    c->slot = pool->own_slot;
    c->lease = lease;
    c->trim_seen = bp_peek(&pool->trim_epoch);
    c->recent_mask = ring - 1;
    c->raw_last = &no_block;
    /* One slot fewer than blocks, for the hot one, and a NULL before them. */
    bp_buffer **next = (bp_buffer **)(void *)(c->recent + ring) + 1;
    for (uint32_t t = 0; t <= BP_MAX_TIERS; t++) {
        bp_bin *bin = &c->bins[t];
        bin->base = bin->top = next;
        bin->planned = t < pool->tier_count ? counts[t] : 0;
        bin_open(bin);
        next += bin->planned;
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
    uint32_t flushed = (uint32_t)(bin->top - bin->base);
    if (flushed > 0) {
        bp__depot_give(c->pool, d, bin->base, flushed);
        bin->top = bin->base;
    }
    if (bp__bin_is_hot(bin)) {
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
        c->bins[t].limit = c->bins[t].base;
    }
    c->shut = true;
}

static void reopen(bp_cache *c) {
    for (uint32_t t = 0; t < c->pool->tier_count; t++) {
        bin_open(&c->bins[t]);
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
    uint32_t cap = (uint32_t)(bin->limit - bin->base);
    bp_buffer **out = cap > 0 ? bin->base : one;
    uint32_t got = bp__depot_take(c->pool, &c->pool->depots[tier], out, cap / 2 + 1);
    if (got == 0) {
        return NULL;
    }
    bin->top = bin->base + got - 1;
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
    bin->fresh = (bp_buffer *)(void *)((uint8_t *)b + ((size_t)1 << d->cut->header_shift));
    bin->fresh_left--;
    bp__owned_add(c->pool, d->size);
    bp_count(&c->slow[tier].miss, 1);
    return b;
}

void bp__cache_store_slow(bp_cache *c, bp_buffer *b) {
    uint32_t tier = b->bin;
    bp_bin *bin = &c->bins[tier];
    bp_depot *d = &c->pool->depots[tier];
    if (bin->limit == bin->base) {
        bp__depot_give(c->pool, d, &b, 1);
        bp_count(&c->slow[tier].flushed, 1);
    } else {
        /* The older half goes; the younger one is still in the processor's cache. */
        size_t held = (size_t)(bin->top - bin->base);
        size_t half = (held + 1) / 2;
        bp__depot_give(c->pool, d, bin->base, (uint32_t)half);
        bp_count(&c->slow[tier].flushed, half);
        memmove(bin->base, bin->base + half, (held - half) * sizeof *bin->base);
        bin->top = bin->base + (held - half);
        *bin->top++ = b;
    }
    keep_bound(c);
    bp_count_publish(&bin->put, 1);
}
