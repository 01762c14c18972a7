/* Counters -> one snapshot.
 *
 * Each cache's counters have one writer. A snapshot sums them under the registry's
 * lock (so that no cache comes or goes, and no cell is folded) while their threads go on:
 * puts are read before gets, so a put that is seen has its get seen too, and misses after
 * them, so that no miss counts as a hit.
 */
#include <string.h>

#include "cache.h"

/* ---- sums over the caches -------------------------------------------------- */

/* The puts of a tier; acquired, so that the gets before them are seen later. */
uint64_t bp__tier_puts_locked(const bp_pool *pool, uint32_t bin) {
    uint64_t put = bp_acquire(&pool->depots[bin].gone.put);
    for (const bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        put += bp__cache_counts_locked(c, bin) ? bp_acquire(&c->bins[bin].put) : 0;
    }
    return put;
}

static uint64_t misses_locked(const bp_pool *pool, uint32_t bin) {
    uint64_t miss = bp_acquire(&pool->depots[bin].gone.miss);
    for (const bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        miss += bp__cache_counts_locked(c, bin) ? bp_acquire(&c->slow[bin].miss) : 0;
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
    for (uint32_t i = 0; i < pool->row_count; i++) {
        out -= bp__tier_puts_locked(pool, pool->rows[i]);
    }
    out -= alone_puts_locked(pool);
    bp_tally got;
    bp__tally_locked(pool, &got);
    for (uint32_t i = 0; i < pool->row_count; i++) {
        out += got.tiers[pool->rows[i]].count;
    }
    return out + got.tiers[BP_BIN_NONE].count;
}

/* ---- tiers that drained ------------------------------------------------------ */

/* All its blocks are home and gone on to the system, and everybody has counted. */
static bool has_drained_locked(bp_pool *pool, uint32_t bin) {
    bp_depot *d = &pool->depots[bin];
    bp__lock(&d->lock);
    bool empty = d->carved == 0;
    pthread_mutex_unlock(&d->lock);
    uint64_t put = empty ? bp__tier_puts_locked(pool, bin) : 0;
    return empty && put == bp__tier_gets_locked(pool, bin);
}

/* What is counted for it moves to pool->drained. Nobody will count for it again but stale
 * caches, whose counts are in these sums already. */
static void retire_locked(bp_pool *pool, uint32_t bin, bp_cell_total got) {
    bp_depot *d = &pool->depots[bin];
    bp_drained_stats *to = &pool->drained;
    uint64_t miss = misses_locked(pool, bin);
    to->tiers++;
    to->get += got.count;
    to->put += got.count;
    to->miss += miss;
    to->hit += got.count - miss;
    to->asked_bytes += got.bytes;
    to->waste_bytes += got.count * d->size - got.bytes;
    to->collected += bp_peek(&d->collected);
    bp_poke(&d->collected, 0u);
    bp_poke(&d->gone.miss, 0u);
    bp_poke(&d->gone.put, 0u);
    d->gone.get = d->gone.asked = 0;
    bp_poke(&d->peak_owned, 0u);
    bp_poke(&d->peak_in_use, 0u);
    d->hit = 0;
    d->state = BP_UNUSED;
}

/* Summed after the last look: until then one of them may have been got and counted by a stale
 * cache, and have come home. */
void bp__tiers_retire_locked(bp_pool *pool) {
    uint8_t drained[BP_BINS];
    uint32_t kept = 0, count = 0;
    for (uint32_t i = 0; i < pool->row_count; i++) {
        uint8_t bin = pool->rows[i];
        bool gone = pool->depots[bin].state == BP_DRAINING && has_drained_locked(pool, bin);
        *(gone ? &drained[count++] : &pool->rows[kept++]) = bin;
    }
    pool->row_count = kept;
    pool->draining -= count;
    if (count > 0) {
        bp_tally tally;
        bp__tally_locked(pool, &tally);
        for (uint32_t i = 0; i < count; i++) {
            retire_locked(pool, drained[i], tally.tiers[drained[i]]);
        }
    }
}

/* ---- peaks of what is in use ------------------------------------------------- */

/* A snapshot counts in_use high; a peak that was never there would stay for good. So here
 * the gets are read before the puts: at the moment between the two no less was in use. A
 * block's memory may go before its put is counted, hence the second bound. */
static void raise_peaks_locked(bp_pool *pool, const bp_tally *got) {
    uint64_t bytes = bp_acquire(&pool->alone_bytes);
    for (uint32_t i = 0; i < pool->row_count; i++) {
        uint32_t bin = pool->rows[i];
        bp_depot *d = &pool->depots[bin];
        uint64_t put = bp__tier_puts_locked(pool, bin);
        uint64_t out = got->tiers[bin].count > put ? got->tiers[bin].count - put : 0;
        uint64_t most = bp_peek(&d->peak_owned);
        bp_raise(&d->peak_in_use, out < most ? out : most);
        bytes += out * d->size;
    }
    uint64_t most = bp_peek(&pool->peak_owned_bytes);
    bp_raise(&pool->peak_in_use_bytes, bytes < most ? bytes : most);
}

static bool well_above(uint64_t bound, uint64_t peak) { return bound > peak + peak / 32; }

static bool tier_looks_higher(bp_cache *c, uint32_t bin) {
    const bp_depot *d = &c->pool->depots[bin];
    uint64_t idle = bp_peek(&d->free) + bp__bin_held(&c->bins[bin]);
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
void bp__peak_look(bp_cache *c, uint32_t bin) {
    bp_pool *pool = c->pool;
    bool alone = bin == BP_BIN_NONE;
    bool higher = !alone && tier_looks_higher(c, bin);
    if (!higher && !bytes_look_higher(pool)) {
        return;
    }
    bool sure = (higher || alone) && bp_peek(&pool->cache_count) == 1;
    if ((!sure && ++c->unsampled % 64 != 0) || pthread_mutex_trylock(&bp__registry) != 0) {
        return;
    }
    bp_tally got;
    bp__tally_locked(pool, &got);
    raise_peaks_locked(pool, &got);
    pthread_mutex_unlock(&bp__registry);
}

/* ---- the snapshot -------------------------------------------------------------- */

/* Each cache's counters close to each other: what it does meanwhile is the error. */
static uint64_t cached_locked(const bp_pool *pool, uint32_t bin) {
    int64_t cached = 0;
    for (const bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        if (!bp__cache_counts_locked(c, bin)) {
            continue;
        }
        const struct bp_slow_counts *slow = &c->slow[bin];
        uint64_t put = bp_acquire(&c->bins[bin].put);
        uint64_t in = put + bp_peek(&slow->refilled) + bp_acquire(&slow->miss);
        cached += (int64_t)(in - bp__cache_gets(c, bin) - bp_peek(&slow->flushed));
    }
    return cached > 0 ? (uint64_t)cached : 0; /* negative only mid-flight */
}

/* The puts, in s->put, were read before, and then the gets. A miss whose get is not seen yet would
 * let the hits fall; they are not fewer than they were. */
static void fill_tier_locked(bp_pool *pool, uint32_t bin, bp_cell_total got, bp_tier_stats *s) {
    bp_depot *d = &pool->depots[bin];
    s->size = d->size;
    s->get = got.count;
    s->asked_bytes = got.bytes;
    uint64_t miss = misses_locked(pool, bin);
    uint64_t hit = s->get > miss ? s->get - miss : 0;
    d->hit = hit > d->hit ? hit : d->hit;
    s->hit = d->hit;
    s->miss = s->get - s->hit;
    s->in_use = s->get - s->put;
    s->cached = cached_locked(pool, bin);
    s->depot = bp_peek(&d->free);
    s->idle = s->cached + s->depot;
    s->owned = s->in_use + s->idle;
    s->waste_bytes = s->get * s->size - s->asked_bytes;
    s->collected = bp_peek(&d->collected);
    s->max_idle = bp_peek(&d->max_idle);
    s->max_bytes = bp_peek(&d->max_bytes);
    s->draining = d->state == BP_DRAINING;
}

static uint64_t resident_locked(bp_pool *pool) {
    uint64_t bytes = sizeof *pool + (pool->recent_mask + 1) * sizeof *pool->recent;
    for (uint32_t i = 0; i < pool->row_count; i++) {
        const bp_depot *d = &pool->depots[pool->rows[i]];
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
    out->collected += s->collected;
}

static void start_from_drained(bp_stats *out, const bp_drained_stats *drained) {
    out->drained = *drained;
    out->total_get = drained->get;
    out->total_put = drained->put;
    out->asked_bytes = drained->asked_bytes;
    out->waste_bytes = drained->waste_bytes;
    out->collected = drained->collected;
}

/* What is owned is known exactly, however high in_use was counted meanwhile. */
static void split_owned(bp_stats *out, uint64_t owned) {
    out->owned_bytes = owned;
    out->in_use_bytes = out->in_use_bytes < owned ? out->in_use_bytes : owned;
    out->idle_bytes = owned - out->in_use_bytes;
}

static void snapshot_locked(bp_pool *pool, bp_stats *out) {
    if (pool->draining > 0) {
        bp__tiers_retire_locked(pool);
    }
    start_from_drained(out, &pool->drained);
    out->tier_count = pool->row_count;
    for (uint32_t i = 0; i < pool->row_count; i++) {
        out->tiers[i].put = bp__tier_puts_locked(pool, pool->rows[i]);
    }
    out->discarded_put = alone_puts_locked(pool);
    out->requests = pool->gone.requests;
    for (bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        out->requests += bp_peek(&c->requests);
        out->threads++;
    }
    bp_tally got;
    bp__tally_locked(pool, &got);
    bp__tally_histogram(pool, &got, out);
    for (uint32_t i = 0; i < pool->row_count; i++) {
        fill_tier_locked(pool, pool->rows[i], got.tiers[pool->rows[i]], &out->tiers[i]);
        add_tier(out, &out->tiers[i]);
    }
    out->discarded = got.tiers[BP_BIN_NONE].count;
    out->discarded_bytes = got.tiers[BP_BIN_NONE].bytes;
    out->in_use += out->discarded - out->discarded_put;
    out->in_use_bytes += bp_peek(&pool->alone_bytes);
    split_owned(out, bp_peek(&pool->owned_bytes));
    raise_peaks_locked(pool, &got);
    for (uint32_t i = 0; i < pool->row_count; i++) {
        const bp_depot *d = &pool->depots[pool->rows[i]];
        out->tiers[i].peak_in_use = bp_acquire(&d->peak_in_use);
        out->tiers[i].peak_owned = bp_peek(&d->peak_owned);
    }
    out->resident_bytes = resident_locked(pool);
    out->generation = pool->now.generation;
    out->max_idle = pool->now.max_idle;
    out->max_bytes = pool->now.max_bytes;
    out->max_waste = pool->now.max_waste;
    out->decay = pool->now.decay;
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
    out->over_quota = bp_peek(&pool->over_quota);
    out->decayed_bytes = bp_peek(&pool->decayed_bytes);
    out->uptime_seconds = bp__sys_seconds() - pool->created;
    uint32_t regions = bp_acquire(&pool->region_count);
    for (uint32_t i = 0; i < regions; i++) {
        out->reserved_bytes += bp_peek(&pool->regions[i])->bytes;
    }
}

/* ---- what only the outside knows --------------------------------------------------- */

void bp_buffer_count_collected(bp_pool *pool, const bp_buffer *b) {
    bp_add(b->bin < BP_BINS ? &pool->depots[b->bin].collected : &pool->alone_collected, 1u);
}

void bp_pool_count_dead(bp_pool *pool) {
    pthread_mutex_lock(&bp__registry);
    if (bp__registry_has_locked(pool)) {
        bp_add(&pool->double_releases, 1u);
    }
    pthread_mutex_unlock(&bp__registry);
}
