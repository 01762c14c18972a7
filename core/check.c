/* bp_pool_check: the invariants of types.h, counted in the structures themselves
 * and compared with what the counters say.
 */
#include <stdio.h>

#include "cache.h"

typedef struct report {
    char *message;
    size_t size;
    bool failed;
} report;

/* Keeps the first broken equation; of which depot, or BP_DEPOTS for the pool. */
static bool equal(report *r, const char *what, uint64_t depot, uint64_t left, uint64_t right) {
    if (left != right && !r->failed) {
        r->failed = true;
        if (r->message != NULL) {
            (void)snprintf(r->message, r->size, "%s %llu: %s: %llu is not %llu",
                           depot == BP_DEPOTS ? "pool, depots" : "depot", (unsigned long long)depot,
                           what, (unsigned long long)left, (unsigned long long)right);
        }
    }
    return !r->failed;
}

static uint64_t popcount(uint64_t word) {
    uint64_t n = 0;
    for (; word != 0; word &= word - 1) {
        n++;
    }
    return n;
}

typedef struct tally {
    uint64_t free, carved, live, empty;
} tally;

/* Walks one slab: the bitmap agrees with slab.free, and no free block has a
 * reference. */
static void count_slab(bp_pool *pool, bp_depot *d, uint32_t slab, tally *t, report *r) {
    const bp_slab *s = bp__slab_at(pool, slab);
    const uint64_t *bits = bp__slab_bitmap(pool, slab);
    uint64_t set = 0;
    for (uint32_t i = 0; i < (d->cut.blocks + 63) / 64; i++) {
        set += popcount(bits[i]);
        equal(r, "no bit below slab.hint", d->number, i < s->hint ? bits[i] : 0, 0);
    }
    equal(r, "slab.free = bits set", d->number, s->free, set);
    uint8_t place = s->free == 0 ? BP_UNLISTED : s->free < s->carved ? BP_PARTIAL : BP_EMPTY;
    equal(r, "a slab with free blocks is listed, empty ones last", d->number, s->place, place);
    t->empty += place == BP_EMPTY && d->bin != BP_BIN_NONE ? s->run : 0;
    for (uint32_t i = 0; i < s->carved; i++) {
        const bp_buffer *b = bp__slab_header(pool, d, slab, i);
        bool is_free = (bits[i / 64] >> (i % 64) & 1) != 0;
        bool is_live = bp_peek(&b->refs) > 0;
        t->live += is_live ? 1 : 0;
        equal(r, "a free block has no reference", d->number, is_free && is_live, 0);
        equal(r, "header names its place", d->number,
              b->slab == slab && b->index == i && bp_peek(&b->to_data) != 0, 1);
    }
    t->free += s->free;
    t->carved += s->carved;
}

static void count_slabs(bp_pool *pool, tally *tallies, report *r) {
    uint32_t regions = bp_peek(&pool->region_count);
    for (uint32_t i = 0; i < regions; i++) {
        bp_region *region = bp_peek(&pool->regions[i]);
        uint32_t free = 0;
        for (uint32_t at = 0; at < bp_peek(&region->bump); at++) {
            uint8_t use = bp_peek(&region->uses[at]);
            if (use == BP_USE_FREE) {
                free++;
            } else if (use != BP_USE_TAIL) {
                count_slab(pool, &pool->depots[use - 1], i << BP_REGION_SHIFT | at,
                           &tallies[use - 1], r);
            }
        }
        equal(r, "region.free_count = free slabs", BP_DEPOTS, region->free_count, free);
    }
}

/* What the bins of one number hold, and that each cache's own counters say so. */
static void count_bins(bp_pool *pool, uint32_t index, uint64_t *cached, uint64_t *fresh,
                       report *r) {
    for (bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        const bp_bin *bin = &c->bins[index];
        const struct bp_slow_counts *slow = &c->slow[index];
        uint64_t held = bp__bin_held(bin);
        uint64_t counted = bp_peek(&slow->refilled) + bp_peek(&bin->put) + bp_peek(&slow->miss) -
                           bp__cache_gets(c, index) - bp_peek(&slow->flushed);
        if (bp__cache_counts_locked(c, index)) {
            equal(r, "cached = refilled + put + miss - get - flushed", index, held, counted);
        }
        equal(r, "a bin holds no more than its cap", index, bp__bin_held(bin) <= bin->cap, 1);
        equal(r, "NULL lies under a bin's first slot", index, bin->base[-1] == NULL, 1);
        *cached += held;
        *fresh += bin->fresh_left;
    }
}

/* What one snapshot says of a tier. */
static void check_counts(const bp_tier_stats *s, uint64_t t, report *r) {
    equal(r, "get = hit + miss", t, s->get, s->hit + s->miss);
    equal(r, "asked <= size * get", t, s->asked_bytes <= s->size * s->get, 1);
    equal(r, "waste = size * get - asked", t, s->waste_bytes, s->size * s->get - s->asked_bytes);
    equal(r, "in_use <= peak_in_use", t, s->in_use <= s->peak_in_use, 1);
    equal(r, "peak_in_use <= peak_owned", t, s->peak_in_use <= s->peak_owned, 1);
    equal(r, "owned <= peak_owned", t, s->owned <= s->peak_owned, 1);
}

static void check_buckets(const bp_stats *s, report *r) {
    uint64_t sum = 0;
    for (size_t i = 0; i < s->bucket_count; i++) {
        equal(r, "buckets rise and none is empty", BP_DEPOTS,
              s->histogram[i].count > 0 && (i == 0 || s->histogram[i].le > s->histogram[i - 1].le),
              1);
        sum += s->histogram[i].count;
    }
    equal(r, "requests = sum over buckets", BP_DEPOTS, s->requests, sum);
}

static void check_tier_locked(bp_pool *pool, uint32_t bin, const bp_tier_stats *s,
                              const tally *found, report *r) {
    bp_depot *d = &pool->depots[bin];
    uint64_t cached = 0, fresh = 0;
    count_bins(pool, bin, &cached, &fresh, r);
    check_counts(s, bin, r);
    equal(r, "in_use = get - put = live headers", bin, s->get - s->put, found->live);
    equal(r, "cached = blocks in bins", bin, s->cached, cached);
    equal(r, "depot = bits set", bin, s->depot, found->free);
    equal(r, "owned = blocks made and not given back", bin, s->owned, bp_peek(&d->owned));
    equal(r, "carved = owned + fresh", bin, found->carved, s->owned + fresh);
    equal(r, "depot.carved = carved", bin, d->carved, found->carved);
    equal(r, "a tier that drains keeps no empty slab", bin, s->draining && found->empty > 0, 0);
    equal(r, "a bin's tier has its size", bin, bp_peek(&pool->sizes[bin]), s->size);
}

static void check_unused(bp_pool *pool, const tally *tallies, report *r) {
    for (uint32_t bin = 0; bin < BP_BINS; bin++) {
        if (pool->depots[bin].state == BP_UNUSED) {
            equal(r, "a bin that nobody has is empty", bin,
                  tallies[bin].carved + pool->depots[bin].carved, 0);
        }
    }
}

/* Those whose threads have not seen the last change yet hold by what was before. */
static void check_leases(const bp_pool *pool, report *r) {
    uint64_t leased = 0, fresh = 0;
    for (const bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        leased += c->lease;
        fresh += c->table.generation == pool->table.generation ? c->lease : 0;
    }
    equal(r, "leased = sum of leases", BP_DEPOTS, bp_peek(&pool->leased), leased);
    equal(r, "leased <= max_idle / 2", BP_DEPOTS, fresh <= bp_peek(&pool->max_idle) / 2, 1);
}

static void check_locked(bp_pool *pool, const bp_stats *s, report *r) {
    tally tallies[BP_DEPOTS] = {{0, 0, 0, 0}};
    uint64_t alone = 0, empty = 0, owned_bytes = bp_peek(&pool->alone_bytes);
    uint64_t charged = owned_bytes;
    count_slabs(pool, tallies, r);
    check_unused(pool, tallies, r);
    for (uint32_t i = 0; i < pool->row_count; i++) {
        uint32_t bin = pool->rows[i];
        check_tier_locked(pool, bin, &s->tiers[i], &tallies[bin], r);
        owned_bytes += s->tiers[i].owned * s->tiers[i].size;
        charged += tallies[bin].carved * s->tiers[i].size;
        empty += tallies[bin].empty;
    }
    check_buckets(s, r);
    for (uint32_t i = BP_BINS; i < BP_DEPOTS; i++) {
        alone += tallies[i].live;
        equal(r, "alone: depot.free = bits set", i, bp_peek(&pool->depots[i].free),
              tallies[i].free);
    }
    equal(r, "discarded - put = live alone headers", BP_DEPOTS, s->discarded - s->discarded_put,
          alone);
    equal(r, "requests = total_get + discarded", BP_DEPOTS, s->requests,
          s->total_get + s->discarded);
    equal(r, "owned_bytes = sum of owned * size + alone", BP_DEPOTS, bp_peek(&pool->owned_bytes),
          owned_bytes);
    equal(r, "peak_owned_bytes >= owned_bytes", BP_DEPOTS,
          bp_peek(&pool->peak_owned_bytes) >= owned_bytes, 1);
    equal(r, "empty_slabs = slabs with free = carved", BP_DEPOTS, bp_peek(&pool->empty_slabs),
          empty);
    equal(r, "charged = carved * size + alone", BP_DEPOTS, bp_peek(&pool->charged_bytes), charged);
    check_leases(pool, r);
}

int bp_pool_check(bp_pool *pool, char *message, size_t size) {
    report r = {size > 0 ? message : NULL, size, false};
    bp_stats s;
    bp_pool_stats(pool, &s);
    equal(&r, "exported = tokens of the pool", BP_DEPOTS, s.exported, bp__tokens_count(pool));
    pthread_mutex_lock(&bp__registry);
    check_locked(pool, &s, &r);
    pthread_mutex_unlock(&bp__registry);
    return r.failed ? BP_ERR_ARG : BP_OK;
}
