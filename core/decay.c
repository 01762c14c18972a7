/* bp_pool_tick: idle memory that nobody needed for a while goes back.
 *
 * Time is cut into windows of half the decay. Each depot keeps the least number of blocks that
 * were idle in it during a window: so many were there for nothing all the time. What was there
 * for nothing in two windows in a row goes: a burst that comes back within the decay meets its
 * blocks, and what goes was idle for 1 to 1.5 times the decay.
 */
#include "cache.h"

static uint64_t now_ms(void) { return (uint64_t)(bp__sys_seconds() * 1e3); }

static uint64_t window_after(uint64_t now, double decay) {
    return now + (uint64_t)(decay * 500) + 1;
}

void bp__decay_set(bp_pool *pool, double decay) {
    bp_poke(&pool->decay, decay);
    bp_poke(&pool->next_window, window_after(now_ms(), decay));
}

/* One caller of several, once for each window. */
static bool begins_window(bp_pool *pool, double decay) {
    uint64_t now = now_ms(), due = bp_peek(&pool->next_window);
    uint64_t next = window_after(now, decay);
    return now >= due &&
           atomic_compare_exchange_strong_explicit(&pool->next_window, &due, next,
                                                   memory_order_relaxed, memory_order_relaxed);
}

/* Whether a tier was used since the last look. */
static bool is_hot_locked(bp_pool *pool, uint32_t bin) {
    bp_depot *d = &pool->depots[bin];
    uint64_t used = bp__tier_gets_locked(pool, bin) + bp__tier_puts_locked(pool, bin);
    bool hot = used != d->used_before;
    d->used_before = used;
    return hot;
}

/* What a cache did not touch for a window it gives up: a cached block keeps its slab, up to 4 MiB,
 * from going. Each thread does it for itself, in its next slow half. */
void bp__cache_cool(bp_cache *c) {
    uint32_t bins = bp_peek(&c->pool->bins);
    c->window_seen = bp_peek(&c->pool->windows);
    for (uint32_t i = 0; i < bins; i++) {
        uint64_t used = bp__cache_gets(c, i) + bp_peek(&c->bins[i].put);
        if (used == c->slow[i].used_seen) {
            bp__cache_flush_bin(c, i);
        }
        c->slow[i].used_seen = used;
    }
}

/* Of a hot tier the last slab that has free blocks stays. */
static size_t decay_depot(bp_pool *pool, bp_depot *d, bool hot) {
    uint32_t chain = BP_NO_SLAB;
    uint64_t gone = 0, bytes;
    bp__lock(&d->lock);
    uint64_t surplus = d->low < d->low_before ? d->low : d->low_before;
    d->low_before = d->low;
    while (d->tail != BP_NO_SLAB && !(hot && d->head == d->tail)) {
        uint64_t blocks = bp__slab_at(pool, d->tail)->free;
        if (gone + blocks > surplus || !bp__retire_last_locked(pool, d, &chain)) {
            break;
        }
        gone += blocks;
    }
    d->low = bp_peek(&d->free);
    d->low_before = d->low_before > gone ? d->low_before - gone : 0;
    bytes = gone * d->size;
    pthread_mutex_unlock(&d->lock);
    bp__chain_give(pool, chain);
    return (size_t)bytes;
}

static size_t decay_all(bp_pool *pool) {
    bool hot[BP_BINS] = {false};
    uint8_t rows[BP_BINS];
    bp_cache *c = bp__cache_of(pool);
    pthread_mutex_lock(&bp__registry);
    uint32_t count = pool->row_count;
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = pool->rows[i];
        hot[i] = is_hot_locked(pool, rows[i]);
    }
    pthread_mutex_unlock(&bp__registry);
    bp_add(&pool->windows, 1u);
    if (c != NULL) {
        bp__cache_cool(c);
    } else {
        bp__cache_drop_stale(pool);
    }
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += decay_depot(pool, &pool->depots[rows[i]], hot[i]);
    }
    bp_add(&pool->decayed_bytes, bytes);
    return bytes;
}

size_t bp_pool_tick(bp_pool *pool) {
    double decay = bp_peek(&pool->decay);
    bool due = decay > 0 && bp_peek(&pool->slot) != 0 && begins_window(pool, decay);
    return due ? decay_all(pool) : 0;
}
