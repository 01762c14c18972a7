/* The thread cache's slow halves: made, refilled, flushed. They run on the cache's
 * own thread, or under the registry's lock when its thread ends.
 */
#include <string.h>

#include "cache.h"

#define FLOOR ((size_t)32 << 10)

static bp_buffer no_block; /* no pointer that is put starts it */

/* The bytes of a bound on idle memory that the next cache may fill. All caches together have
 * half of it, so that the depots have the other half. Each gets a part of what is left that
 * shrinks with their number: of 256 MiB the first has 16 MiB, the 60th 235 KiB. */
static size_t share_of(const bp_pool *pool, size_t max_idle, const _Atomic uint64_t *leased) {
    size_t budget = max_idle / 2;
    size_t taken = (size_t)bp_peek(leased);
    size_t left = budget > taken ? budget - taken : 0;
    return left / ((size_t)bp_peek(&pool->cache_count) + 8);
}

/* The most blocks of a tier that a cache of that share holds: 1 MiB of them or one. None where
 * one would take an eighth of the share: it would starve the other tiers; and none so large
 * that the fast half could not count its gets. */
static uint32_t most_of(const bp_pool *pool, const bp_depot *d, size_t share) {
    size_t size = d->size, own = bp_peek(&d->max_idle);
    size_t count = BP_CACHE_BYTES / size;
    count = count < 1 ? 1 : count > BP_CACHE_BLOCKS ? BP_CACHE_BLOCKS : count;
    if (own != BP_NO_LIMIT) {
        size_t of_tier = share_of(pool, own, &d->leased) / size;
        count = of_tier < count ? of_tier : count;
    }
    return size > share / 8 || size > BP_CELL_MOST ? 0 : (uint32_t)count;
}

/* How many blocks of each bin a cache may hold, within its share: first FLOOR bytes of each,
 * so that large tiers do not leave small ones a handful, then of what is left the part that
 * each would like. Returns the lease. */
static size_t plan(const bp_pool *pool, uint32_t counts[BP_BINS]) {
    size_t share = share_of(pool, bp_peek(&pool->max_idle), &pool->leased);
    size_t tiers = pool->now.tier_count;
    size_t floor = share / tiers < FLOOR ? share / tiers : FLOOR;
    size_t lease = 0, want = 0;
    memset(counts, 0, BP_BINS * sizeof *counts);
    for (uint32_t r = 0; r < pool->table.count; r++) {
        uint32_t bin = pool->table.bins[r];
        if (bin != BP_BIN_NONE) {
            size_t size = pool->depots[bin].size;
            uint32_t most = most_of(pool, &pool->depots[bin], share);
            counts[bin] = floor / size < most ? (uint32_t)(floor / size) : most;
            lease += counts[bin] * size;
            want += (most - counts[bin]) * size;
        }
    }
    double part = want == 0 ? 0 : (double)(share - lease) / (double)want;
    for (uint32_t r = 0; r < pool->table.count; r++) {
        uint32_t bin = pool->table.bins[r];
        if (bin != BP_BIN_NONE) {
            uint32_t more = most_of(pool, &pool->depots[bin], share) - counts[bin];
            more = part < 1 ? (uint32_t)(part * (double)more) : more;
            counts[bin] += more;
            lease += more * pool->depots[bin].size;
        }
    }
    return lease;
}

static void bin_open(const bp_pool *pool, bp_bin *bin, uint32_t cap) {
    bin->cap = cap;
    bin->limit = bin->base + (pool->slow_put ? 0 : cap);
}

bp_cache *bp__cache_new_locked(bp_pool *pool) {
    uint32_t counts[BP_BINS];
    size_t lease = plan(pool, counts);
    size_t slots = 1;
    for (uint32_t t = 0; t < BP_BINS; t++) {
        slots += counts[t] > 0 ? counts[t] + 1 : 0;
    }
    size_t ring = pool->recent_exact || pool->recent_size == 0 ? 1 : (size_t)pool->recent_mask + 1;
    size_t bytes = sizeof(bp_cache) + ring * sizeof(_Atomic uint64_t) + slots * sizeof(bp_buffer *);
    bp_cache *c = bp__sys_alloc(bytes);
    if (c == NULL) {
        return NULL;
    }
    c->bytes = bytes;
    c->pool = pool;
    c->slot = pool->own_slot;
    c->lease = lease;
    c->table = pool->table;
    c->trim_seen = bp_peek(&pool->trim_epoch);
    c->window_seen = bp_peek(&pool->windows);
    c->recent_mask = ring - 1;
    c->raw_last = &no_block;
    /* Before each bin's slots lies a NULL. */
    bp_buffer **next = (bp_buffer **)(void *)(c->recent + ring) + 1;
    for (uint32_t t = 0; t <= BP_BINS; t++) {
        bp_bin *bin = &c->bins[t];
        bin->base = bin->top = next;
        bin->planned = t < BP_BINS ? counts[t] : 0;
        bin_open(pool, bin, bin->planned);
        next += bin->planned > 0 ? bin->planned + 1 : 0;
    }
    return c;
}

/* ---- giving up ----------------------------------------------------------- */

static void drop_fresh(bp_cache *c, uint32_t index) {
    bp_bin *bin = &c->bins[index];
    if (bin->fresh_left > 0) {
        bp__depot_unfresh(c->pool, &c->pool->depots[index], bin->fresh, bin->fresh_left);
        bin->fresh_left = 0;
    }
}

void bp__cache_flush_bin(bp_cache *c, uint32_t index) {
    bp_bin *bin = &c->bins[index];
    bp_depot *d = &c->pool->depots[index];
    uint32_t flushed = bp__bin_held(bin);
    if (flushed > 0) {
        bp__depot_give(c->pool, d, bin->base, flushed);
        bin->top = bin->base;
        bp_count(&c->slow[index].flushed, flushed);
    }
    drop_fresh(c, index);
    (void)bp__depot_bound(c->pool, d);
}

void bp__cache_flush_all(bp_cache *c) {
    uint32_t bins = bp_peek(&c->pool->bins);
    for (uint32_t t = 0; t < bins; t++) {
        bp__cache_flush_bin(c, t);
    }
    c->raw_last = &no_block; /* its slab may be another's soon */
}

uint64_t bp__cache_reserved(const bp_cache *c) {
    uint64_t bytes = 0;
    uint32_t bins = bp_peek(&c->pool->bins);
    for (uint32_t t = 0; t < bins; t++) {
        bytes += (uint64_t)c->bins[t].fresh_left * bp_peek(&c->pool->sizes[t]);
    }
    return bytes;
}

/* One cached block, or one reserved, keeps its slab from being empty, and so up to 4 MiB from
 * going back. Where the pool is over its idle bound although little is empty, this cache gives
 * up all it holds, and until that is over holds so few blocks that the slabs they may pin are
 * a quarter of the bound: none, or one of each tier, for which pairs stay fast. */
static void shut(bp_cache *c) {
    const bp_pool *pool = c->pool;
    size_t tiers = 0;
    for (uint32_t rank = 0; rank < c->table.count; rank++) {
        tiers += c->table.bins[rank] != BP_BIN_NONE;
    }
    size_t few = (bp_peek(&pool->max_idle) / 4 >> BP_SLAB_SHIFT) / tiers;
    bp__cache_flush_all(c);
    bp__idle_shrink(c->pool);
    for (uint32_t t = 0; t < BP_BINS; t++) {
        bp_bin *bin = &c->bins[t];
        bin_open(pool, bin, few < bin->planned ? (uint32_t)few : bin->planned);
    }
    c->shut = true;
}

static void reopen(bp_cache *c) {
    for (uint32_t t = 0; t < BP_BINS; t++) {
        bin_open(c->pool, &c->bins[t], c->bins[t].planned);
    }
    c->shut = false;
}

/* After a release that found its bin full. */
static void keep_bound(bp_cache *c) {
    if (BP_LIKELY(!bp__idle_over(c->pool))) {
        return;
    }
    uint32_t bins = bp_peek(&c->pool->bins);
    for (uint32_t t = 0; t < bins; t++) {
        drop_fresh(c, t);
    }
    bp__idle_shrink(c->pool);
    if (!c->shut && bp__idle_over(c->pool)) {
        shut(c);
    }
}

/* ---- trading with the depot ----------------------------------------------- */

/* Three quarters at once: bursts then trade a third less often than with halves, and a bin that
 * was just filled or flushed still has room for a quarter the other way. */
static uint32_t trade_of(uint32_t blocks) { return blocks - blocks / 4; }

static bp_buffer *refill_from_depot(bp_cache *c, bp_bin *bin, uint32_t index) {
    bp_buffer *one[1];
    uint32_t cap = bin->cap;
    bp_buffer **out = cap > 0 ? bin->base : one;
    uint32_t got = bp__depot_take(c->pool, &c->pool->depots[index], c->table.generation, out,
                                  cap > 0 ? trade_of(cap) : 1);
    if (got == 0) {
        return NULL;
    }
    bin->top = bin->base + got - 1;
    bp_count(&c->slow[index].refilled, got);
    return out[got - 1];
}

bp_buffer *bp__cache_refill(bp_cache *c, uint32_t index) {
    bp_bin *bin = &c->bins[index];
    bp_depot *d = &c->pool->depots[index];
    if (BP_UNLIKELY(c->shut && !bp__idle_over(c->pool))) {
        reopen(c);
    }
    bp_buffer *b = refill_from_depot(c, bin, index);
    if (b != NULL) {
        return b;
    }
    if (bin->fresh_left == 0) {
        bin->fresh_left = bp__depot_fresh(c->pool, d, c->table.generation, 0, &bin->fresh);
        if (bin->fresh_left == 0) {
            return NULL;
        }
    }
    b = bin->fresh;
    bin->fresh = b + 1;
    bin->fresh_left--;
    bp__blocks_own(c->pool, d, 1);
    bp_count(&c->slow[index].miss, 1); /* before its get, so that who sees that sees this */
    return b;
}

void bp__cache_store_slow(bp_cache *c, bp_buffer *b) {
    uint32_t index = b->bin;
    bp_bin *bin = &c->bins[index];
    bp_depot *d = &c->pool->depots[index];
    if (bp__bin_held(bin) < bin->cap) { /* only the fast half may not */
        *bin->top++ = b;
        bp_count_publish(&bin->put, 1);
        return;
    }
    if (bin->cap == 0) {
        bp__depot_give(c->pool, d, &b, 1);
        bp_count(&c->slow[index].flushed, 1);
    } else {
        /* The older ones go; the younger are still in the processor's cache. */
        uint32_t held = bp__bin_held(bin);
        uint32_t older = trade_of(held);
        bp__depot_give(c->pool, d, bin->base, older);
        bp_count(&c->slow[index].flushed, older);
        memmove(bin->base, bin->base + older, (held - older) * sizeof *bin->base);
        bin->top = bin->base + (held - older);
        *bin->top++ = b;
    }
    bool bounded = bp_peek(&d->lost) || bp_peek(&d->max_idle) != BP_NO_LIMIT;
    if (BP_UNLIKELY(bounded) && bp__depot_bound(c->pool, d)) { /* this bin may pin slabs */
        bp__cache_flush_bin(c, index);
    }
    keep_bound(c);
    bp_count_publish(&bin->put, 1);
}
