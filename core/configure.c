/* What a pool goes by, and its change while threads work.
 *
 * A change gives each tier of the new table a bin: the one it has, where the table before had
 * that size or it still drains, else one that nobody has. It then gives the pool another slot,
 * so that every thread misses its cache in the next get or release, whose slow half makes one
 * by the new table. Nobody waits, and no fast path asks.
 */
#include <stdio.h>
#include <string.h>

#include "internal.h"

#define MAX_DECAY 1e9 /* seconds */

static const bp_tier_limits no_limits = {BP_NO_LIMIT, BP_NO_LIMIT, 1};

/* ---- settings --------------------------------------------------------------- */

static bool refuse(bp_error *e, bp_status status, size_t index, const char *message) {
    e->status = status;
    e->index = index;
    (void)snprintf(e->message, sizeof e->message, "%s", message);
    return false;
}

static bool is_share(double x) { return x >= 0 && x <= 1; }

bool bp__settings_validate(const bp_options *o, bp_error *e) {
    if (!bp__tier_validate(o->tiers, o->tier_count, e)) {
        return false;
    }
    for (size_t i = 0; o->limits != NULL && i < o->tier_count; i++) {
        if (!is_share(o->limits[i].max_waste)) {
            return refuse(e, BP_ERR_ARG, i, "max_waste of a tier must be from 0 to 1");
        }
    }
    if (!is_share(o->max_waste)) {
        return refuse(e, BP_ERR_ARG, 0, "max_waste must be from 0 to 1");
    }
    if (!(o->decay >= 0 && o->decay <= MAX_DECAY)) {
        return refuse(e, BP_ERR_ARG, 0, "decay must be from 0 to 1e9 seconds");
    }
    return true;
}

void bp__settings_of(bp_settings *s, const bp_options *o) {
    memset(s, 0, sizeof *s);
    s->tier_count = o->tier_count;
    for (size_t i = 0; i < o->tier_count; i++) {
        s->tiers[i] = o->tiers[i];
        s->limits[i] = o->limits != NULL ? o->limits[i] : no_limits;
    }
    s->max_idle = o->max_idle;
    s->max_bytes = o->max_bytes;
    s->max_waste = o->max_waste;
    s->decay = o->decay;
}

/* ---- bins ------------------------------------------------------------------- */

static uint32_t bin_of_size(const bp_pool *pool, size_t size) {
    for (uint32_t i = 0; i < pool->row_count; i++) {
        if (pool->depots[pool->rows[i]].size == size) {
            return pool->rows[i];
        }
    }
    return BP_BIN_NONE;
}

/* A bin for each tier; false where there are too few. Changes nothing. */
static bool choose_bins_locked(const bp_pool *pool, const bp_settings *s, uint8_t *bins) {
    uint32_t unused = 0;
    for (size_t i = 0; i < s->tier_count; i++) {
        uint32_t bin = bin_of_size(pool, s->tiers[i]);
        if (bin == BP_BIN_NONE) {
            while (unused < BP_BINS && pool->depots[unused].state != BP_UNUSED) {
                unused++;
            }
            if (unused == BP_BINS) {
                return false;
            }
            bin = unused++;
        }
        bins[i] = (uint8_t)bin;
    }
    return true;
}

/* A bin that nobody had: no block, no count and no cache is the tier's yet. */
static void open_bin_locked(bp_pool *pool, uint32_t bin, size_t size, uint64_t generation) {
    bp_depot *d = &pool->depots[bin];
    bp__lock(&d->lock);
    bp__depot_plan(pool, bin, size);
    d->low = d->low_before = 0;
    d->born = generation;
    pthread_mutex_unlock(&d->lock);
    bp_poke(&d->leased, 0u);
    bp_poke(&pool->sizes[bin], size);
    d->used_before = 0;
    if (bin >= bp_peek(&pool->bins)) {
        bp_poke(&pool->bins, bin + 1);
    }
}

static int by_size(const bp_pool *pool, uint32_t a, uint32_t b) {
    return pool->depots[a].size < pool->depots[b].size ? -1 : 1;
}

/* Under the depot's lock: from then on it gives nothing to a thread that has not seen the change. */
static void mark_lost_locked(bp_depot *d) {
    bp__lock(&d->lock);
    bp_poke(&d->lost, d->state == BP_DRAINING);
    pthread_mutex_unlock(&d->lock);
}

static void list_rows_locked(bp_pool *pool) {
    pool->row_count = 0;
    for (uint32_t bin = 0; bin < bp_peek(&pool->bins); bin++) {
        if (pool->depots[bin].state == BP_UNUSED) {
            continue;
        }
        uint32_t at = pool->row_count++;
        for (; at > 0 && by_size(pool, bin, pool->rows[at - 1]) < 0; at--) {
            pool->rows[at] = pool->rows[at - 1];
        }
        pool->rows[at] = (uint8_t)bin;
    }
}

/* Each bin serves, drains or is unused by what the new table says. */
static void assign_bins_locked(bp_pool *pool, const bp_settings *s, const uint8_t *bins) {
    for (uint32_t i = 0; i < pool->row_count; i++) {
        pool->depots[pool->rows[i]].state = BP_DRAINING;
    }
    pool->draining = pool->row_count;
    for (size_t i = 0; i < s->tier_count; i++) {
        bp_depot *d = &pool->depots[bins[i]];
        if (d->state == BP_UNUSED) {
            open_bin_locked(pool, bins[i], s->tiers[i], s->generation);
        } else {
            pool->draining--;
        }
        d->state = BP_SERVING;
        bp_poke(&d->max_idle, s->limits[i].max_idle);
        bp_poke(&d->max_bytes, s->limits[i].max_bytes);
    }
    list_rows_locked(pool);
    for (uint32_t i = 0; i < pool->row_count; i++) {
        mark_lost_locked(&pool->depots[pool->rows[i]]);
    }
}

static void apply_locked(bp_pool *pool, const bp_settings *s, const uint8_t *bins) {
    if (s->decay < pool->now.decay || s->decay > pool->now.decay) {
        bp__decay_set(pool, s->decay);
    }
    pool->now = *s;
    bp_poke(&pool->max_idle, s->max_idle);
    bp_poke(&pool->max_bytes, s->max_bytes);
    bp__cells_age_locked(pool);
    assign_bins_locked(pool, s, bins);
    bp__table_build(&pool->table, s, bins, pool->slow_get);
}

void bp__settings_first(bp_pool *pool, const bp_settings *s) {
    uint8_t bins[BP_MAX_TIERS];
    bp_settings first = *s;
    first.generation = 1;
    (void)choose_bins_locked(pool, &first, bins);
    apply_locked(pool, &first, bins);
}

/* ---- the change --------------------------------------------------------------- */

/* What the table lost, and what new bounds have no room for, goes back: with what this thread's
 * cache held, as other threads do in their next slow half. */
static void give_back(bp_pool *pool) {
    bp__cache_drop_stale(pool);
    uint32_t bins = bp_peek(&pool->bins);
    for (uint32_t i = 0; i < bins; i++) {
        (void)bp__depot_bound(pool, &pool->depots[i]);
    }
    bp__idle_shrink(pool);
    uint64_t lacks = bp__charge_lacks(pool, 0), idle = bp_peek(&pool->depot_bytes);
    if (lacks > 0) {
        (void)bp__pool_trim(pool, NULL, idle > lacks ? (size_t)(idle - lacks) : 0);
    }
}

/* s NULL: back to what was before. */
static bool change_locked(bp_pool *pool, const bp_settings *s, bool dry_run, bp_error *e) {
    uint8_t bins[BP_MAX_TIERS];
    bp_settings next = s != NULL ? *s : pool->before;
    bp__tiers_retire_locked(pool);
    if (pool->closed) {
        return refuse(e, BP_ERR_ARG, 0, "pool is closed");
    }
    if (next.tier_count == 0) {
        return refuse(e, BP_ERR_ARG, 0, "there is nothing to roll back to");
    }
    if (!choose_bins_locked(pool, &next, bins)) {
        return refuse(e, BP_ERR_LIMIT, 0, "too many tiers of earlier tables still have buffers");
    }
    if (!dry_run) {
        if (!bp__registry_add_locked(pool)) {
            return refuse(e, BP_ERR_LIMIT, 0, "too many pools in this process");
        }
        next.generation = pool->now.generation + 1;
        pool->before = pool->now;
        apply_locked(pool, &next, bins);
    }
    return true;
}

static int change(bp_pool *pool, const bp_settings *s, bool dry_run, bp_error *e) {
    pthread_mutex_lock(&bp__registry);
    bool done = change_locked(pool, s, dry_run, e);
    pthread_mutex_unlock(&bp__registry);
    if (done && !dry_run) {
        give_back(pool);
    }
    return e->status;
}

int bp_pool_configure(bp_pool *pool, const bp_options *o, bool dry_run, bp_error *error) {
    bp_error unasked = {BP_OK, 0, ""}, *e = error != NULL ? error : &unasked;
    bp_settings s;
    memset(e, 0, sizeof *e);
    if (!bp__settings_validate(o, e)) {
        return e->status;
    }
    bp__settings_of(&s, o);
    return change(pool, &s, dry_run, e);
}

int bp_pool_rollback(bp_pool *pool, bool dry_run, bp_error *error) {
    bp_error unasked = {BP_OK, 0, ""}, *e = error != NULL ? error : &unasked;
    memset(e, 0, sizeof *e);
    return change(pool, NULL, dry_run, e);
}

void bp_pool_settings(bp_pool *pool, bp_settings *out) {
    pthread_mutex_lock(&bp__registry);
    *out = pool->now;
    pthread_mutex_unlock(&bp__registry);
}

void bp_pool_settings_before(bp_pool *pool, bp_settings *out) {
    pthread_mutex_lock(&bp__registry);
    *out = pool->before;
    pthread_mutex_unlock(&bp__registry);
}

size_t bp_pool_sizes(bp_pool *pool, size_t sizes[BP_MAX_TIERS]) {
    pthread_mutex_lock(&bp__registry);
    size_t count = pool->now.tier_count;
    memcpy(sizes, pool->now.tiers, count * sizeof *sizes);
    pthread_mutex_unlock(&bp__registry);
    return count;
}
