/* Blocks made ready before anybody asks: bp_pool_prewarm. */
#include "internal.h"

#define STALE 1 /* beside the numbers of bp_status: a depot is another tier's by now */

/* Carves up to n blocks of a slab as idle ones and touches their pages. */
static uint32_t prewarm_slab_locked(bp_pool *pool, bp_depot *d, uint32_t slab, size_t n) {
    bp_slab *s = bp__slab_at(pool, slab);
    uint64_t *bits = bp__slab_bitmap(pool, slab);
    uint32_t made = 0;
    for (; made < n && s->carved < d->cut.blocks; made++, s->carved++) {
        bp__block_carve(pool, d, slab, s->carved);
        bp_buffer *b = bp__slab_header(pool, d, slab, s->carved);
        volatile uint8_t *data = bp_buffer_data(b);
        for (size_t at = 0; at < d->size; at += bp__sys_page()) {
            data[at] = 0;
        }
        data[d->size - 1] = 0;
        bp__set_free_locked(bits, s, s->carved);
    }
    bp__settle_locked(pool, d, slab, s);
    if (s->carved < d->cut.blocks) {
        d->carving = slab;
    }
    return made;
}

/* Of the tier's own bound, what idles in it counts as held, and what caches may hold. */
static bool tier_fits_locked(const bp_depot *d, size_t size, size_t count) {
    size_t most = bp_peek(&d->max_idle);
    uint64_t held = bp_peek(&d->free) * size + bp_peek(&d->leased);
    return most == BP_NO_LIMIT || count == 0 || (held <= most && count <= (most - held) / size);
}

/* Counts the bytes that are to come, so that two threads do not pass the same bound. */
static bool pool_fits(bp_pool *pool, size_t size, size_t count) {
    size_t max_idle = bp_peek(&pool->max_idle);
    if (count == 0) {
        return true;
    }
    if (count > max_idle / size) {
        return false;
    }
    size_t bytes = count * size;
    if (bp_add(&pool->depot_bytes, bytes) + bytes + bp_peek(&pool->leased) <= max_idle) {
        return true;
    }
    bp_sub(&pool->depot_bytes, bytes);
    return false;
}

/* Slabs for as many blocks as the open one has no room for: all of them, or none. */
static bool take_slabs_locked(bp_pool *pool, bp_depot *d, size_t count, uint32_t *chain) {
    uint32_t open = d->carving;
    size_t room = open == BP_NO_SLAB ? 0 : d->cut.blocks - bp__slab_at(pool, open)->carved;
    for (; room < count; room += d->cut.blocks) {
        uint32_t slab = bp__slab_take(pool, d, d->run);
        if (slab == BP_NO_SLAB) {
            return false;
        }
        bp__slab_at(pool, slab)->next = *chain;
        *chain = slab;
    }
    return true;
}

static void make_locked(bp_pool *pool, bp_depot *d, size_t count, uint32_t chain) {
    uint32_t open = d->carving;
    d->carving = BP_NO_SLAB;
    size_t made = open == BP_NO_SLAB ? 0 : prewarm_slab_locked(pool, d, open, count);
    while (chain != BP_NO_SLAB) {
        uint32_t slab = chain;
        chain = bp__slab_at(pool, slab)->next;
        made += prewarm_slab_locked(pool, d, slab, count - made);
    }
}

/* All slabs are taken before the first block is made: then nothing can fail. */
static int prewarm_locked(bp_pool *pool, bp_depot *d, size_t size, size_t count, uint32_t *chain) {
    if (d->size != size || bp_peek(&d->lost)) {
        return STALE;
    }
    if (!tier_fits_locked(d, size, count)) {
        return BP_ERR_LIMIT;
    }
    if (!bp__charge_all_locked(pool, d, count)) {
        return BP_ERR_QUOTA;
    }
    if (!take_slabs_locked(pool, d, count, chain)) {
        bp__discharge_blocks_locked(pool, d, count);
        return BP_ERR_NOMEM;
    }
    make_locked(pool, d, count, *chain);
    *chain = BP_NO_SLAB;
    bp_poke(&d->free, bp_peek(&d->free) + count); /* depot_bytes knows them already */
    bp__blocks_own(pool, d, count);
    return BP_OK;
}

static int prewarm_depot(bp_pool *pool, bp_depot *d, size_t size, size_t count) {
    if (!pool_fits(pool, size, count)) {
        return BP_ERR_LIMIT;
    }
    uint32_t chain = BP_NO_SLAB;
    bp__lock(&d->lock);
    int status = prewarm_locked(pool, d, size, count, &chain);
    pthread_mutex_unlock(&d->lock);
    bp__chain_give(pool, chain);
    if (status != BP_OK) {
        bp_sub(&pool->depot_bytes, count * size);
    }
    return status;
}

/* By the table as it is; STALE where that changed on the way. */
static int prewarm(bp_pool *pool, size_t size, size_t count) {
    pthread_mutex_lock(&bp__registry);
    uint32_t bin = bp__table_search(&pool->table, size).bin;
    size_t block = bin == BP_BIN_NONE ? 0 : bp_peek(&pool->sizes[bin]);
    pthread_mutex_unlock(&bp__registry);
    if (bin == BP_BIN_NONE) {
        return BP_ERR_ARG;
    }
    bp_depot *d = &pool->depots[bin];
    int status = prewarm_depot(pool, d, block, count);
    if (bp_peek(&d->lost)) { /* what was made goes */
        (void)bp__depot_bound(pool, d);
    }
    return status;
}

int bp_pool_prewarm(bp_pool *pool, size_t size, size_t count) {
    int status;
    do {
        status = prewarm(pool, size, count);
    } while (status == STALE);
    return status;
}
