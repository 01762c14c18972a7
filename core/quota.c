/* max_bytes: what the pool has carved, and its live alone blocks, against its quota and those
 * of its tiers. Asked where memory is taken from the system, never on a fast path.
 */
#include "internal.h"

/* No add that another would have to take back: who meets the quota then meets it for real. */
bool bp__charge(bp_pool *pool, size_t bytes) {
    size_t most = bp_peek(&pool->max_bytes);
    uint64_t held = bp_peek(&pool->charged_bytes);
    do {
        if (bytes > most || held > most - bytes) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&pool->charged_bytes, &held, held + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

void bp__discharge(bp_pool *pool, size_t bytes) { bp_sub(&pool->charged_bytes, bytes); }

static size_t tier_room(const bp_depot *d) {
    size_t bytes = bp_peek(&d->max_bytes);
    size_t most = bytes / d->size;
    return bytes == BP_NO_LIMIT ? SIZE_MAX : most > d->carved ? most - (size_t)d->carved : 0;
}

bool bp__charge_all_locked(bp_pool *pool, bp_depot *d, size_t blocks) {
    if (!bp__is_tier(d)) {
        return true;
    }
    if (blocks > tier_room(d) || blocks > BP_NO_LIMIT / d->size ||
        !bp__charge(pool, blocks * d->size)) {
        return false;
    }
    d->carved += blocks;
    return true;
}

uint32_t bp__charge_blocks_locked(bp_pool *pool, bp_depot *d, uint32_t most) {
    while (most > 0 && !bp__charge_all_locked(pool, d, most)) {
        most /= 2;
    }
    return most;
}

void bp__discharge_blocks_locked(bp_pool *pool, bp_depot *d, size_t blocks) {
    if (bp__is_tier(d)) {
        d->carved -= blocks;
        bp__discharge(pool, blocks * d->size);
    }
}

bool bp__tier_is_full(bp_depot *d) {
    if (!bp__is_tier(d)) {
        return false;
    }
    bp__lock(&d->lock);
    bool full = tier_room(d) == 0;
    pthread_mutex_unlock(&d->lock);
    return full;
}

/* What a bin reserves counts as owned: of large blocks it is no more than what is asked for. */
uint32_t bp__fresh_at_once_locked(const bp_pool *pool, const bp_depot *d) {
    bool bounded =
        bp_peek(&pool->max_bytes) != BP_NO_LIMIT || bp_peek(&d->max_bytes) != BP_NO_LIMIT;
    return bounded && d->bins_take == 2 ? 1 : d->bins_take;
}

/* The tier's own where that is full, as make_room of a get has it. */
void bp_pool_quota(bp_pool *pool, size_t n, bp_quota *out) {
    pthread_mutex_lock(&bp__registry);
    uint32_t bin = bp__table_search(&pool->table, n).bin;
    bp_depot *d = bin == BP_BIN_NONE ? NULL : &pool->depots[bin];
    *out = (bp_quota){.max_bytes = bp_peek(&pool->max_bytes),
                      .held = (size_t)bp_peek(&pool->charged_bytes),
                      .more = d != NULL ? d->size : n};
    if (d != NULL) {
        bp__lock(&d->lock);
        if (tier_room(d) == 0) {
            out->tier = d->size;
            out->max_bytes = bp_peek(&d->max_bytes);
            out->held = (size_t)d->carved * d->size;
        }
        pthread_mutex_unlock(&d->lock);
    }
    pthread_mutex_unlock(&bp__registry);
}
