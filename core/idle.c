/* Idle memory that goes back to the system: over max_idle, or because somebody asks.
 *
 * Only slabs whose blocks are all home can go, and a depot keeps those last in its list.
 */
#include "internal.h"

/* What caches may hold counts as held: they fill without asking. */
bool bp__idle_over(const bp_pool *pool) {
    return bp_peek(&pool->depot_bytes) + bp_peek(&pool->leased) > bp_peek(&pool->max_idle);
}

/* Over the bound, and empty slabs have a part in it. Where only one slab, or a quarter of
 * max_idle or less, is in empty slabs, and the bound has room for it, it is slabs pinned by
 * live blocks that keep the pool over, and giving the few empty ones back would only make the
 * next get in their tier take one anew. */
static bool worth_shrinking(const bp_pool *pool) {
    size_t empty = (size_t)bp_peek(&pool->empty_slabs) << BP_SLAB_SHIFT;
    size_t leased = (size_t)bp_peek(&pool->leased);
    bool too_many = empty > BP_SLAB && empty > bp_peek(&pool->max_idle) / 4;
    return bp__idle_over(pool) && (too_many || empty + leased > bp_peek(&pool->max_idle));
}

/* Any tier's empty slabs will do, not only those of the tier that went over. */
void bp__idle_shrink(bp_pool *pool) {
    uint32_t bins = bp_peek(&pool->bins);
    for (uint32_t t = 0; t < bins && worth_shrinking(pool); t++) {
        bp_depot *d = &pool->depots[t];
        uint32_t chain = BP_NO_SLAB;
        bp__lock(&d->lock);
        while (worth_shrinking(pool) && bp__retire_last_locked(pool, d, &chain)) {
        }
        pthread_mutex_unlock(&d->lock);
        bp__chain_give(pool, chain);
    }
}

/* What the caches may hold counts as held, as for the pool. */
static bool over_locked(const bp_depot *d) {
    uint64_t held = bp_peek(&d->free) * d->size + bp_peek(&d->leased);
    return held > bp_peek(&d->max_idle);
}

bool bp__depot_bound(bp_pool *pool, bp_depot *d) {
    if (bp_peek(&d->lost)) {
        (void)bp__depot_trim(pool, d);
        return false;
    }
    if (bp_peek(&d->max_idle) == BP_NO_LIMIT) {
        return false;
    }
    uint32_t chain = BP_NO_SLAB;
    bp__lock(&d->lock);
    while (over_locked(d) && bp__retire_last_locked(pool, d, &chain)) {
    }
    bool over = over_locked(d);
    pthread_mutex_unlock(&d->lock);
    bp__chain_give(pool, chain);
    return over;
}

/* Until no more than so many bytes idle in all depots; 0: all of this one. */
static size_t depot_shrink(bp_pool *pool, bp_depot *d, size_t idle) {
    uint32_t chain = BP_NO_SLAB;
    bp__lock(&d->lock);
    uint64_t before = bp_peek(&d->free);
    while ((idle == 0 || bp_peek(&pool->depot_bytes) > idle) &&
           bp__retire_last_locked(pool, d, &chain)) {
    }
    size_t blocks = (size_t)(before - bp_peek(&d->free));
    size_t bytes = bp__is_tier(d) ? blocks * d->size : 0;
    pthread_mutex_unlock(&d->lock);
    bp__chain_give(pool, chain);
    return bytes;
}

size_t bp__depot_trim(bp_pool *pool, bp_depot *d) { return depot_shrink(pool, d, 0); }

size_t bp__depots_trim(bp_pool *pool) {
    size_t bytes = 0;
    uint32_t bins = bp_peek(&pool->bins);
    for (unsigned i = 0; i < BP_RUNS; i++) {
        if (i < bins || i >= BP_BINS) {
            bytes += bp__depot_trim(pool, &pool->depots[i]);
        }
    }
    return bytes;
}

/* The largest blocks first, where no change gave bins anew: of them the fewest serve. */
size_t bp__depots_shrink(bp_pool *pool, size_t idle) {
    if (idle == 0) {
        return bp__depots_trim(pool);
    }
    size_t bytes = 0;
    for (uint32_t t = bp_peek(&pool->bins); t-- > 0 && bp_peek(&pool->depot_bytes) > idle;) {
        bytes += depot_shrink(pool, &pool->depots[t], idle);
    }
    return bytes;
}
