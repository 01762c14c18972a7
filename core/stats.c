/* Counters -> one snapshot.
 *
 * Each cache's counters have one writer. A snapshot sums them under the registry's
 * lock (so that no cache comes or goes, and no cell is folded) while their threads go on:
 * puts are read before gets, so a put that is seen has its get seen too, and misses after
 * them, so that no miss counts as a hit.
 */
#include <string.h>

#include "cache.h"

/* ---- cells --------------------------------------------------------------- */

/* The cells of a tier, neighbours; of tier_count: those of oversize requests. */
typedef struct span {
    uint32_t first, end;
} span;

static span cells_of(const bp_pool *pool, uint32_t tier) {
    size_t above = tier > 0 ? pool->sizes[tier - 1] : 0;
    size_t most = tier < pool->tier_count ? pool->sizes[tier] : BP_MAX_SIZE;
    return (span){bp__bucket(above) + tier, bp__bucket(most - 1) + tier + 1};
}

static uint64_t cell_count(uint64_t cell) { return cell >> BP_CELL_SHIFT; }

static uint64_t cell_bytes(uint64_t cell) { return cell & (BP_CELL_ONE - 1); }

static void fold_locked(bp_cache *c, uint32_t cell) {
    uint64_t held = bp_peek(&c->cells[cell]);
    c->pool->cells[cell].count += cell_count(held);
    c->pool->cells[cell].bytes += cell_bytes(held);
    bp_poke(&c->cells[cell], 0u);
}

void *bp__cell_fold(bp_cache *c, bp_place at, void *result) {
    pthread_mutex_lock(&bp__registry);
    bp_count(&c->bins[at.tier].folded, cell_count(bp_peek(&c->cells[at.cell])));
    fold_locked(c, at.cell);
    pthread_mutex_unlock(&bp__registry);
    return result;
}

void bp__cells_keep_locked(bp_cache *c) {
    for (uint32_t i = 0; i < BP_CELLS; i++) {
        fold_locked(c, i);
    }
}

void bp__count_get(bp_cache *c, uint32_t tier, size_t n) {
    bp_place at = {tier, bp__bucket(n > 0 ? n - 1 : 0) + tier};
    atomic_thread_fence(memory_order_release); /* who sees the get sees its block owned */
    if (n > BP_CELL_MOST) {
        pthread_mutex_lock(&bp__registry);
        bp_count(&c->bins[tier].folded, 1);
        c->pool->cells[at.cell].count++;
        c->pool->cells[at.cell].bytes += n;
        pthread_mutex_unlock(&bp__registry);
    } else if (bp__cell_count(c, at.cell, n)) {
        (void)bp__cell_fold(c, at, NULL);
    }
}

/* The cells are acquired, so that what is read after them is no older. */
uint64_t bp__cache_gets(const bp_cache *c, uint32_t tier) {
    span cells = cells_of(c->pool, tier);
    uint64_t got = bp_peek(&c->bins[tier].folded);
    for (uint32_t i = cells.first; i < cells.end; i++) {
        got += cell_count(bp_acquire(&c->cells[i]));
    }
    return got;
}

/* ---- sums over the caches -------------------------------------------------- */

static uint64_t gets_locked(const bp_pool *pool, uint32_t tier) {
    uint64_t got = 0;
    span cells = cells_of(pool, tier);
    for (uint32_t i = cells.first; i < cells.end; i++) {
        got += pool->cells[i].count;
        for (const bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
            got += cell_count(bp_acquire(&c->cells[i]));
        }
    }
    return got;
}

/* The puts of a tier; acquired, so that the gets before them are seen later. */
static uint64_t puts_locked(bp_pool *pool, uint32_t tier) {
    uint64_t put = bp_acquire(&pool->depots[tier].gone.put);
    for (bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        put += bp_acquire(&c->bins[tier].put);
    }
    return put;
}

static uint64_t misses_locked(bp_pool *pool, uint32_t tier) {
    uint64_t miss = bp_acquire(&pool->depots[tier].gone.miss);
    for (bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        miss += bp_acquire(&c->slow[tier].miss);
    }
    return miss;
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
    for (uint32_t t = 0; t <= pool->tier_count; t++) {
        out += gets_locked(pool, t);
    }
    return out;
}

/* ---- peaks of what is in use ------------------------------------------------- */

/* A snapshot counts in_use high; a peak that was never there would stay for good. So here
 * the gets (`got`, by tier) are read before the puts: at the moment between the two no less
 * was in use. A block's memory may go before its put is counted, hence the second bound. */
static void raise_peaks_locked(bp_pool *pool, const uint64_t *got) {
    uint64_t bytes = bp_acquire(&pool->alone_bytes);
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        uint64_t put = puts_locked(pool, t);
        uint64_t out = got[t] > put ? got[t] - put : 0;
        uint64_t most = bp_peek(&pool->depots[t].peak_owned);
        bp_raise(&pool->depots[t].peak_in_use, out < most ? out : most);
        bytes += out * pool->sizes[t];
    }
    uint64_t most = bp_peek(&pool->peak_owned_bytes);
    bp_raise(&pool->peak_in_use_bytes, bytes < most ? bytes : most);
}

static bool well_above(uint64_t bound, uint64_t peak) { return bound > peak + peak / 32; }

static bool tier_looks_higher(bp_cache *c, uint32_t tier) {
    const bp_depot *d = &c->pool->depots[tier];
    uint64_t idle = bp_peek(&d->free) + bp__bin_held(&c->bins[tier]);
    uint64_t owned = bp_peek(&d->owned);
    return owned > idle && well_above(owned - idle, bp_peek(&d->peak_in_use));
}

static bool bytes_look_higher(const bp_pool *pool) {
    uint64_t idle = bp_peek(&pool->depot_bytes);
    uint64_t owned = bp_peek(&pool->owned_bytes);
    return owned > idle && well_above(owned - idle, bp_peek(&pool->peak_in_use_bytes));
}

/* What is out of the depots bounds what is in use. Above a peak by more than a 32nd it is
 * worth a sum; where idle blocks in other bins may be the difference, and so for long, only
 * now and then. */
void bp__peak_look(bp_cache *c, uint32_t tier) {
    bp_pool *pool = c->pool;
    bool alone = tier == pool->tier_count;
    bool higher = !alone && tier_looks_higher(c, tier);
    if (!higher && !bytes_look_higher(pool)) {
        return;
    }
    bool sure = (higher || alone) && bp_peek(&pool->cache_count) == 1;
    if ((!sure && ++c->unsampled % 64 != 0) || pthread_mutex_trylock(&bp__registry) != 0) {
        return;
    }
    uint64_t got[BP_MAX_TIERS];
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        got[t] = gets_locked(pool, t);
    }
    raise_peaks_locked(pool, got);
    pthread_mutex_unlock(&bp__registry);
}

/* ---- the snapshot -------------------------------------------------------------- */

static void add_bucket(const bp_pool *pool, uint32_t tier, uint32_t cell, uint64_t count,
                       bp_stats *out) {
    if (count > 0) {
        uint64_t le = bp__bucket_least(cell - tier + 1);
        bool ends = tier < pool->tier_count && le > pool->sizes[tier];
        out->histogram[out->bucket_count++] =
            (bp_bucket){ends ? pool->sizes[tier] : (size_t)le, count};
    }
}

/* Gets and lengths of a tier, or of the oversize requests, into *got and *bytes; each cell
 * becomes a bucket. */
static void sum_cells_locked(const bp_pool *pool, uint32_t tier, uint64_t *got, uint64_t *bytes,
                             bp_stats *out) {
    span cells = cells_of(pool, tier);
    for (uint32_t i = cells.first; i < cells.end; i++) {
        uint64_t count = pool->cells[i].count;
        *bytes += pool->cells[i].bytes;
        for (const bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
            uint64_t cell = bp_acquire(&c->cells[i]);
            count += cell_count(cell);
            *bytes += cell_bytes(cell);
        }
        *got += count;
        add_bucket(pool, tier, i, count, out);
    }
}

/* Each cache's counters close to each other: what it does meanwhile is the error. */
static uint64_t cached_locked(const bp_pool *pool, uint32_t tier) {
    int64_t cached = 0;
    for (const bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        const struct bp_slow_counts *slow = &c->slow[tier];
        uint64_t put = bp_acquire(&c->bins[tier].put);
        uint64_t in = put + bp_peek(&slow->refilled) + bp_acquire(&slow->miss);
        cached += (int64_t)(in - bp__cache_gets(c, tier) - bp_peek(&slow->flushed));
    }
    return cached > 0 ? (uint64_t)cached : 0; /* negative only mid-flight */
}

/* The puts, in s->put, were read before. A miss whose get is not seen yet would let the hits fall;
 * they are not fewer than they were. */
static void sum_tier_locked(bp_pool *pool, uint32_t tier, bp_stats *out) {
    bp_depot *d = &pool->depots[tier];
    bp_tier_stats *s = &out->tiers[tier];
    s->size = pool->sizes[tier];
    sum_cells_locked(pool, tier, &s->get, &s->asked_bytes, out);
    uint64_t miss = misses_locked(pool, tier);
    uint64_t hit = s->get > miss ? s->get - miss : 0;
    d->hit = hit > d->hit ? hit : d->hit;
    s->hit = d->hit;
    s->miss = s->get - s->hit;
    s->in_use = s->get - s->put;
    s->cached = cached_locked(pool, tier);
    s->depot = bp_peek(&d->free);
    s->idle = s->cached + s->depot;
    s->owned = s->in_use + s->idle;
    s->waste_bytes = s->get * s->size - s->asked_bytes;
    s->collected = bp_peek(&d->collected);
}

static uint64_t resident_locked(bp_pool *pool) {
    uint64_t bytes = sizeof *pool + (pool->recent_mask + 1) * sizeof *pool->recent;
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        const bp_depot *d = &pool->depots[t];
        bytes += bp_peek(&d->owned) * (d->footprint + sizeof(bp_buffer));
    }
    for (const bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        bytes += c->bytes;
    }
    bytes += (uint64_t)bp_peek(&pool->slabs_used) * bp__sys_page();
    return bytes + bp_peek(&pool->alone_footprint);
}

static void add_tier(bp_stats *out, const bp_tier_stats *s) {
    out->total_get += s->get;
    out->total_put += s->put;
    out->asked_bytes += s->asked_bytes;
    out->waste_bytes += s->waste_bytes;
    out->in_use += s->in_use;
    out->in_use_bytes += s->in_use * s->size;
    out->idle_bytes += s->idle * s->size;
    out->collected += s->collected;
}

static void snapshot_locked(bp_pool *pool, bp_stats *out) {
    out->tier_count = pool->tier_count;
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        out->tiers[t].put = puts_locked(pool, t);
    }
    out->discarded_put = alone_puts_locked(pool);
    out->requests = pool->gone.requests;
    for (bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        out->requests += bp_peek(&c->requests);
        out->threads++;
    }
    uint64_t got[BP_MAX_TIERS];
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        sum_tier_locked(pool, t, out);
        add_tier(out, &out->tiers[t]);
        got[t] = out->tiers[t].get;
    }
    sum_cells_locked(pool, pool->tier_count, &out->discarded, &out->discarded_bytes, out);
    out->in_use += out->discarded - out->discarded_put;
    out->in_use_bytes += bp_peek(&pool->alone_bytes);
    out->owned_bytes = out->in_use_bytes + out->idle_bytes;
    raise_peaks_locked(pool, got);
    for (uint32_t t = 0; t < pool->tier_count; t++) {
        out->tiers[t].peak_in_use = bp_acquire(&pool->depots[t].peak_in_use);
        out->tiers[t].peak_owned = bp_peek(&pool->depots[t].peak_owned);
    }
    out->resident_bytes = resident_locked(pool);
}

void bp_pool_stats(bp_pool *pool, bp_stats *out) {
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&bp__registry);
    snapshot_locked(pool, out);
    pthread_mutex_unlock(&bp__registry);
    out->peak_in_use_bytes = bp_peek(&pool->peak_in_use_bytes);
    out->peak_owned_bytes = bp_peek(&pool->peak_owned_bytes);
    out->trimmed_bytes = bp_peek(&pool->trimmed_bytes);
    out->returned_bytes = bp_peek(&pool->returned_bytes);
    out->trims = bp_peek(&pool->trims);
    out->collected += bp_peek(&pool->alone_collected);
    out->double_releases = bp_peek(&pool->double_releases);
    out->exported = bp_peek(&pool->exported);
    out->overruns = bp_peek(&pool->overruns);
    out->late_writes = bp_peek(&pool->late_writes);
    out->max_idle = pool->max_idle;
    out->uptime_seconds = bp__sys_seconds() - pool->created;
    uint32_t regions = bp_acquire(&pool->region_count);
    for (uint32_t i = 0; i < regions; i++) {
        out->reserved_bytes += bp_peek(&pool->regions[i])->bytes;
    }
}

/* ---- what only the outside knows --------------------------------------------------- */

void bp_buffer_count_collected(bp_pool *pool, const bp_buffer *b) {
    bp_add(b->bin < pool->tier_count ? &pool->depots[b->bin].collected : &pool->alone_collected,
           1u);
}

void bp_pool_count_dead(bp_pool *pool) {
    pthread_mutex_lock(&bp__registry);
    if (bp__registry_has_locked(pool)) {
        bp_add(&pool->double_releases, 1u);
    }
    pthread_mutex_unlock(&bp__registry);
}
