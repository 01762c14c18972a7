/* Tiers: the ready tables, validation, and what a depot is made for: stride, run, page classes. */
#include <stdio.h>

#include "internal.h"

#define ALIAS        4096u              /* addresses that far apart look alike to a load */
#define SPREAD_UP_TO ((size_t)64 << 10) /* above, a line more would cost a block of the slab */

static const size_t power_of_two[] = {128,   256,   512,    1024,   2048,   4096,    8192,   16384,
                                      32768, 65536, 131072, 262144, 524288, 1048576, 2097152};
static const size_t stream[] = {1024, 4096, 16384, 32768, 65536, 131072};

const size_t *bp_size_power_of_two(size_t *count) {
    *count = sizeof power_of_two / sizeof power_of_two[0];
    return power_of_two;
}

const size_t *bp_size_stream(size_t *count) {
    *count = sizeof stream / sizeof stream[0];
    return stream;
}

static bool refuse(bp_error *e, size_t index, const char *format, size_t a, size_t b) {
    e->status = BP_ERR_ARG;
    e->index = index;
    (void)snprintf(e->message, sizeof e->message, format, index, a, b);
    return false;
}

bool bp__tier_validate(const size_t *sizes, size_t count, bp_error *e) {
    if (sizes == NULL || count < 1 || count > BP_MAX_TIERS) {
        e->status = BP_ERR_ARG;
        (void)snprintf(e->message, sizeof e->message, "tiers must be 1 to %d sizes, got %zu",
                       BP_MAX_TIERS, sizes == NULL ? (size_t)0 : count);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] < 1 || sizes[i] > BP_MAX_SIZE) {
            return refuse(e, i, "tiers[%zu] is %zu, must be from 1 to %zu", sizes[i], BP_MAX_SIZE);
        }
        if (i > 0 && sizes[i] <= sizes[i - 1]) {
            return refuse(e, i, "tiers[%zu] is %zu, not above the one before it, %zu", sizes[i],
                          sizes[i - 1]);
        }
    }
    return true;
}

size_t bp__canary_bytes(const bp_pool *pool) { return pool->debug ? BP_CANARY : 0; }

/* number < BP_BINS: a tier of blocks on cache lines. Above: a page class, whose blocks lie on
 * pages so that one alone can be given back. Under the depot's lock where others know the pool. */
void bp__depot_plan(bp_pool *pool, unsigned number, size_t size) {
    bp_depot *d = &pool->depots[number];
    bool paged = number >= BP_BINS;
    d->size = size;
    d->stride = paged ? bp__round_up(size, bp__sys_page())
                      : bp__round_up(size + bp__canary_bytes(pool), BP_LINE);
    /* Blocks of whole pages would all begin at the same place of a page, and a load from one
     * wait for a store to another. Large ones are few, and would not fill their slab. */
    if (!paged && d->stride % ALIAS == 0 && d->stride <= SPREAD_UP_TO) {
        d->stride += BP_LINE;
    }
    d->run = (uint32_t)((d->stride + BP_SLAB - 1) >> BP_SLAB_SHIFT);
    size_t take = ((size_t)64 << 10) / d->stride;
    /* Two headers share a line: reserved in pairs, two threads do not begin with one each. */
    d->bins_take = take < 2 ? 2 : take > 16 ? 16 : (uint32_t)take / 2 * 2;
    d->head = d->tail = BP_NO_SLAB;
    d->carving = BP_NO_SLAB;
    bp__cut_plan(&d->cut, d->stride, paged ? 0 : BP_LINE);
    bp__cut_share(&pool->cuts[number], &d->cut);
    d->footprint =
        d->stride > BP_SLAB ? bp__round_up(d->stride, bp__sys_page()) : d->cut.group / BP_GROUP;
    bp_poke(&d->max_idle, BP_NO_LIMIT);
    bp_poke(&d->max_bytes, BP_NO_LIMIT);
    size_t area = bp__header_area(&d->cut);
    if (area > bp_peek(&pool->header_area)) {
        bp_poke(&pool->header_area, area);
    }
}

bp_depot *bp__depot_alone(bp_pool *pool, size_t n) {
    size_t size = bp__sys_page();
    for (unsigned k = 0; k < BP_PAGE_CLASSES; k++, size <<= 1) {
        if (n + bp__canary_bytes(pool) <= size) {
            return &pool->depots[BP_BINS + k];
        }
    }
    return NULL;
}
