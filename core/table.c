/* The tier table as gets read it: from a length to its rank, and to the bin that serves it. */

#include "cache.h"

static void add_rank(bp_table *t, size_t end, uint8_t bin) {
    t->ends[t->count] = end;
    t->bins[t->count] = bin;
    t->count++;
}

/* The longest request below a tier that wastes too much of its block, and would take less
 * memory alone; 0 where there is none. */
static size_t too_short(size_t size, double max_waste) {
    double least = (double)size * (1 - max_waste); /* that wastes no more */
    size_t whole = (size_t)least;
    size_t below = whole > 0 && (double)whole == least ? whole - 1 : whole;
    size_t pages = size <= 1 ? 0 : (size - 1) / bp__sys_page() * bp__sys_page();
    return below < pages ? below : pages;
}

static uint32_t entry(const bp_table *t, uint32_t rank) {
    return rank << 16 | t->bins[rank] * (uint32_t)sizeof(bp_bin);
}

/* A bucket names the lowest rank that holds n = m + 1 for its lowest m: where its other m need
 * a higher one, bp__spot_of walks up. */
static void fill_entries(bp_table *t, bool slow_get) {
    uint32_t rank = slow_get ? t->count : 0;
    for (uint32_t i = 0; i < BP_BUCKETS; i++) {
        uint64_t lowest = bp__bucket_least(i);
        while (rank < t->count && t->ends[rank] <= lowest) {
            rank++;
        }
        t->entries[i] = entry(t, rank);
    }
}

void bp__table_build(bp_table *t, const bp_settings *s, const uint8_t *bins, bool slow_get) {
    t->count = 0;
    t->generation = s->generation;
    for (size_t i = 0; i < s->tier_count; i++) {
        double own = s->limits[i].max_waste;
        size_t below = i > 0 ? s->tiers[i - 1] : 0;
        size_t alone = too_short(s->tiers[i], own < s->max_waste ? own : s->max_waste);
        if (alone > below) {
            add_rank(t, alone, BP_BIN_NONE);
        }
        add_rank(t, s->tiers[i], bins[i]);
    }
    for (uint32_t r = t->count; r < BP_RANKS; r++) {
        t->ends[r] = SIZE_MAX;
        t->bins[r] = BP_BIN_NONE;
    }
    fill_entries(t, slow_get);
}

bp_place bp__table_search(const bp_table *t, size_t n) {
    uint32_t from = 0;
    for (uint32_t to = t->count; from < to;) {
        uint32_t mid = (from + to) / 2;
        if (t->ends[mid] < n) {
            from = mid + 1;
        } else {
            to = mid;
        }
    }
    return (bp_place){t->bins[from], (uint32_t)bp__bucket(n > 0 ? n - 1 : 0) + from};
}

bp_span bp__table_cells(const bp_table *t, uint32_t rank) {
    size_t above = rank > 0 ? t->ends[rank - 1] : 0;
    size_t most = rank < t->count ? t->ends[rank] : BP_MAX_SIZE;
    return (bp_span){(uint32_t)bp__bucket(above) + rank, (uint32_t)bp__bucket(most - 1) + rank + 1};
}
