/* Gets by length: the cells of the caches, the pool's totals, and what both say.
 *
 * A cell belongs to a bucket and a rank of its cache's table. The pool's own totals are cells
 * of the pool's table; what was counted by a table before it is known by bucket (history) and
 * by tier (depot.gone), as the table's ranks mean nothing any more.
 */
#include <string.h>

#include "cache.h"

static bp_cell_total read_cell(const _Atomic uint64_t *cell) {
    uint64_t held = bp_acquire(cell); /* what is read after it is no older */
    return (bp_cell_total){held >> BP_CELL_SHIFT, held & (BP_CELL_ONE - 1)};
}

static void add(bp_cell_total *to, bp_cell_total more) {
    to->count += more.count;
    to->bytes += more.bytes;
}

/* ---- into the pool's totals ------------------------------------------------ */

/* Whether what a cache of that generation counted in a bin is of the tier that has it now. The
 * sums of one that drained went to pool->drained, those of its stale caches with them. */
static bool counts_locked(const bp_pool *pool, uint32_t bin, uint64_t generation) {
    return pool->depots[bin].state != BP_UNUSED && generation >= pool->depots[bin].born;
}

bool bp__cache_counts_locked(const bp_cache *c, uint32_t bin) {
    return counts_locked(c->pool, bin, c->table.generation);
}

static void keep_old_locked(bp_pool *pool, const bp_table *t, uint32_t rank, uint32_t cell,
                            bp_cell_total total) {
    uint32_t bin = t->bins[rank];
    pool->history[cell - rank] += total.count;
    if (bin == BP_BIN_NONE) {
        add(&pool->gone.alone, total);
    } else if (counts_locked(pool, bin, t->generation)) {
        pool->depots[bin].gone.get += total.count;
        pool->depots[bin].gone.asked += total.bytes;
    }
}

static void fold_locked(bp_cache *c, uint32_t rank, uint32_t cell) {
    bp_pool *pool = c->pool;
    bp_cell_total held = read_cell(&c->cells[cell]);
    if (c->table.generation == pool->table.generation) {
        add(&pool->cells[cell], held);
    } else if (held.count > 0) {
        keep_old_locked(pool, &c->table, rank, cell, held);
    }
    bp_poke(&c->cells[cell], 0u);
}

static uint32_t rank_of(const bp_table *t, uint32_t cell) {
    uint32_t rank = 0;
    while (bp__table_cells(t, rank).end <= cell) {
        rank++;
    }
    return rank;
}

void *bp__cell_fold(bp_cache *c, bp_place at, void *result) {
    pthread_mutex_lock(&bp__registry);
    bp_count(&c->bins[at.bin].folded, read_cell(&c->cells[at.cell]).count);
    fold_locked(c, rank_of(&c->table, at.cell), at.cell);
    pthread_mutex_unlock(&bp__registry);
    return result;
}

void bp__cells_keep_locked(bp_cache *c) {
    for (uint32_t rank = 0; rank <= c->table.count; rank++) {
        bp_span cells = bp__table_cells(&c->table, rank);
        for (uint32_t i = cells.first; i < cells.end; i++) {
            fold_locked(c, rank, i);
        }
    }
}

void bp__cells_age_locked(bp_pool *pool) {
    for (uint32_t rank = 0; rank <= pool->table.count; rank++) {
        bp_span cells = bp__table_cells(&pool->table, rank);
        for (uint32_t i = cells.first; i < cells.end; i++) {
            keep_old_locked(pool, &pool->table, rank, i, pool->cells[i]);
        }
    }
    memset(pool->cells, 0, sizeof pool->cells);
}

void bp__count_get(bp_cache *c, bp_place at, size_t n) {
    atomic_thread_fence(memory_order_release); /* who sees the get sees its block owned */
    if (n > BP_CELL_MOST) {
        pthread_mutex_lock(&bp__registry);
        bp_count(&c->bins[at.bin].folded, 1);
        if (c->table.generation == c->pool->table.generation) {
            add(&c->pool->cells[at.cell], (bp_cell_total){1, n});
        } else {
            keep_old_locked(c->pool, &c->table, rank_of(&c->table, at.cell), at.cell,
                            (bp_cell_total){1, n});
        }
        pthread_mutex_unlock(&bp__registry);
    } else if (bp__cell_count(c, at.cell, n)) {
        (void)bp__cell_fold(c, at, NULL);
    }
}

/* ---- sums ------------------------------------------------------------------ */

static bp_span cells_of(const bp_table *t, uint32_t bin) {
    const uint8_t *found = memchr(t->bins, (int)bin, t->count);
    return found == NULL ? (bp_span){0, 0} : bp__table_cells(t, (uint32_t)(found - t->bins));
}

static uint64_t cache_cells(const bp_cache *c, uint32_t bin) {
    bp_span cells = cells_of(&c->table, bin);
    uint64_t got = 0;
    for (uint32_t i = cells.first; i < cells.end; i++) {
        got += read_cell(&c->cells[i]).count;
    }
    return got;
}

uint64_t bp__cache_gets(const bp_cache *c, uint32_t bin) {
    return bp_peek(&c->bins[bin].folded) + cache_cells(c, bin);
}

uint64_t bp__tier_gets_locked(const bp_pool *pool, uint32_t bin) {
    uint64_t got = pool->depots[bin].gone.get;
    bp_span cells = cells_of(&pool->table, bin);
    for (uint32_t i = cells.first; i < cells.end; i++) {
        got += pool->cells[i].count;
    }
    for (const bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        got += bp__cache_counts_locked(c, bin) ? cache_cells(c, bin) : 0;
    }
    return got;
}

/* A table's cells, of a cache or (c NULL) of the pool's totals, into what a snapshot says. */
static void tally_table(const bp_pool *pool, const bp_table *t, const bp_cache *c, bp_tally *out) {
    bool now = t->generation == pool->table.generation;
    for (uint32_t rank = 0; rank <= t->count; rank++) {
        uint32_t bin = t->bins[rank];
        bp_span cells = bp__table_cells(t, rank);
        uint64_t *counts = now ? out->cells + rank : out->history; /* by bucket */
        bp_cell_total sum = {0, 0};
        for (uint32_t i = cells.first; i < cells.end; i++) {
            bp_cell_total cell = c != NULL ? read_cell(&c->cells[i]) : pool->cells[i];
            counts[i - rank] += cell.count;
            add(&sum, cell);
        }
        if (bin == BP_BIN_NONE || counts_locked(pool, bin, t->generation)) {
            add(&out->tiers[bin], sum);
        }
    }
}

void bp__tally_locked(const bp_pool *pool, bp_tally *out) {
    memset(out, 0, sizeof *out);
    memcpy(out->history, pool->history, sizeof out->history);
    for (uint32_t bin = 0; bin < BP_BINS; bin++) {
        out->tiers[bin] = (bp_cell_total){pool->depots[bin].gone.get, pool->depots[bin].gone.asked};
    }
    out->tiers[BP_BIN_NONE] = pool->gone.alone;
    tally_table(pool, &pool->table, NULL, out);
    for (const bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        tally_table(pool, &c->table, c, out);
    }
}

/* ---- the histogram ----------------------------------------------------------- */

/* What a table before counted in a bucket stands in the last of its cells. */
void bp__tally_histogram(const bp_pool *pool, const bp_tally *tally, bp_stats *out) {
    const bp_table *t = &pool->table;
    for (uint32_t rank = 0; rank <= t->count; rank++) {
        bp_span cells = bp__table_cells(t, rank);
        for (uint32_t i = cells.first; i < cells.end; i++) {
            uint64_t next = bp__bucket_least(i - rank + 1);
            bool cut = rank < t->count && next > t->ends[rank];
            uint64_t count = tally->cells[i] + (cut ? 0 : tally->history[i - rank]);
            if (count > 0) {
                out->histogram[out->bucket_count++] =
                    (bp_bucket){cut ? t->ends[rank] : (size_t)next, count};
            }
        }
    }
}
