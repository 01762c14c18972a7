/* Requests that no tier serves, above the largest or wasting too much of it: allocated alone,
 * freed at the last release.
 *
 * Up to 512 pages they share slabs of a page class, so that a small one does not
 * cost a slab of address space; above, each is a run of slabs. Neither keeps its bytes
 * when released; of each class one empty slab stays, with its headers.
 */
#include <errno.h>

#include "internal.h"

static bp_buffer *from_class(bp_pool *pool, bp_depot *d) {
    bp_buffer *b = NULL;
    if (bp__depot_take(pool, d, BP_ANY_TABLE, &b, 1) == 1 ||
        bp__depot_fresh(pool, d, BP_ANY_TABLE, 1, &b) == 1) {
        return b;
    }
    return NULL;
}

static bp_buffer *from_run(bp_pool *pool, size_t n) {
    const bp_depot *d = &pool->depots[BP_RUNS];
    uint32_t run = (uint32_t)((n + bp__canary_bytes(pool) + BP_SLAB - 1) >> BP_SLAB_SHIFT);
    uint32_t slab = bp__slab_take(pool, d, run);
    if (slab == BP_NO_SLAB) {
        return NULL;
    }
    bp__block_carve(pool, d, slab, 0);
    bp__slab_at(pool, slab)->carved = 1;
    return bp__slab_header(pool, d, slab, 0);
}

static size_t footprint(size_t n) { return bp__round_up(n, bp__sys_page()); }

bp_buffer *bp__alone_get(bp_pool *pool, size_t n) {
    if (!bp__charge(pool, n)) {
        errno = EDQUOT;
        return NULL;
    }
    bp_depot *d = bp__depot_alone(pool, n);
    bp_buffer *b = d != NULL ? from_class(pool, d) : from_run(pool, n);
    if (b == NULL) {
        bp__discharge(pool, n);
        errno = ENOMEM;
        return NULL;
    }
    bp__owned_add(pool, n);
    bp_add(&pool->alone_bytes, n);
    bp_add(&pool->alone_footprint, footprint(n));
    return b;
}

void bp__alone_free(bp_pool *pool, bp_buffer *b) {
    size_t n = bp_buffer_length(b);
    bp_depot *d = bp__depot_alone(pool, n);
    bp_sub(&pool->owned_bytes, n);
    bp__discharge(pool, n);
    bp_sub(&pool->alone_bytes, n);
    bp_sub(&pool->alone_footprint, footprint(n));
    bp_add(&pool->returned_bytes, footprint(n));
    if (d != NULL) {
        bp__sys_decommit(bp_buffer_data(b), d->stride);
        bp__depot_give(pool, d, &b, 1);
    } else {
        bp__slab_give(pool, b->slab);
    }
}
