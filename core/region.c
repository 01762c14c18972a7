/* Address space under a pool: reserve regions, hand out slabs and runs of them, commit
 * them, give their memory back to the system.
 *
 * What is free, and the regions themselves, change under the pool's region lock; a slab's memory
 * is given back before it is free. A slab's state belongs to whoever took it (a depot, under its
 * lock) until it is given.
 */
#include "internal.h"

#define DEFAULT_REGION ((size_t)(sizeof(size_t) > 4 ? 16384 : 512) << 20)

bp_region *bp__region_of(bp_pool *pool, uint32_t slab) {
    return bp_acquire(&pool->regions[slab >> BP_REGION_SHIFT]);
}

bp_slab *bp__slab_at(bp_pool *pool, uint32_t slab) {
    return &bp__region_of(pool, slab)->slabs[bp__slab_place(slab)];
}

/* Each region maps its slab table, their uses, the header areas, then the slabs. */
static bp_region *region_map(bp_pool *pool, size_t slabs) {
    size_t page = bp__sys_page();
    size_t header_stride = bp__round_up(bp_peek(&pool->header_area), page);
    size_t table = slabs * sizeof(bp_slab);
    size_t head = bp__round_up(table + slabs, page);
    if (slabs > (SIZE_MAX - head) / (header_stride + BP_SLAB)) {
        return NULL;
    }
    size_t bytes = head + slabs * (header_stride + BP_SLAB);
    bp_region *r = bp__sys_alloc(sizeof *r);
    if (r == NULL) {
        return NULL;
    }
    r->base = bp__sys_reserve(bytes);
    if (r->base == NULL || !bp__sys_commit(r->base, head)) {
        if (r->base != NULL) {
            bp__sys_unmap(r->base, bytes);
        }
        bp__sys_free(r);
        return NULL;
    }
    r->bytes = bytes;
    r->slabs = (bp_slab *)(void *)r->base;
    r->uses = (_Atomic uint8_t *)(void *)(r->base + table);
    r->headers = r->base + head;
    r->data = r->headers + slabs * header_stride;
    r->header_stride = header_stride;
    r->slab_count = (uint32_t)slabs;
    return r;
}

/* Slabs to reserve: what the option says or RAM suggests, and as much again as the
 * pool has, so that a small first region does not end in very many. */
static size_t slabs_wanted(bp_pool *pool, uint32_t regions) {
    size_t want = pool->region_size;
    size_t before = 0;
    if (want == 0) {
        want = BP_SLAB;
        while (want < bp__sys_ram() && want < DEFAULT_REGION) {
            want <<= 1;
        }
    }
    for (uint32_t i = 0; i < regions; i++) {
        before += (size_t)bp_peek(&pool->regions[i])->slab_count << BP_SLAB_SHIFT;
    }
    before = before < DEFAULT_REGION ? before : DEFAULT_REGION;
    want = want > before ? want : before;
    size_t room = bp__sys_address_room() / 4;
    size_t slabs = (want < room ? want : room) >> BP_SLAB_SHIFT;
    size_t most = ((size_t)1 << BP_REGION_SHIFT) - 1;
    return slabs < most ? slabs : most;
}

/* One more region with room for `need` slabs: as large as is sensible, then a
 * quarter of that as often as the system refuses. */
static bp_region *region_add(bp_pool *pool, uint32_t need) {
    uint32_t count = bp_peek(&pool->region_count);
    if (count == BP_MAX_REGIONS) {
        return NULL;
    }
    for (size_t slabs = slabs_wanted(pool, count);; slabs /= 4) {
        slabs = slabs > need ? slabs : need;
        bp_region *r = region_map(pool, slabs);
        if (r != NULL) {
            bp_publish(&pool->regions[count], r);
            bp_publish(&pool->region_count, count + 1);
            return r;
        }
        if (slabs == need) {
            return NULL;
        }
    }
}

/* The first of `run` neighbouring free slabs below bump, or slab_count. */
static uint32_t find_free(const bp_region *r, uint32_t run) {
    uint32_t bump = bp_peek(&r->bump);
    if (r->free_count < run) {
        return r->slab_count;
    }
    for (uint32_t i = r->free_hint, length = 0; i < bump; i++) {
        length = bp_peek(&r->uses[i]) == BP_USE_FREE ? length + 1 : 0;
        if (length == run) {
            return i + 1 - run;
        }
    }
    return r->slab_count;
}

/* The data first: where the system refuses memory it refuses the larger piece, and
 * nothing has been charged. */
static bool commit(bp_region *r, uint32_t first, uint32_t run) {
    uint8_t *data = r->data + ((size_t)first << BP_SLAB_SHIFT);
    size_t bytes = (size_t)run << BP_SLAB_SHIFT;
    if (!bp__sys_commit(data, bytes)) {
        return false;
    }
    if (!bp__sys_commit(r->headers + first * r->header_stride, run * r->header_stride)) {
        bp__sys_uncommit(data, bytes);
        return false;
    }
    bp_publish(&r->bump, first + run);
    r->free_count += run;
    return true;
}

static void slab_open(bp_pool *pool, bp_region *r, uint32_t at, const bp_depot *d, uint32_t run) {
    bp_slab *s = &r->slabs[at];
    *s = (bp_slab){.run = run, .next = BP_NO_SLAB, .prev = BP_NO_SLAB};
    for (uint32_t i = 1; i < run; i++) {
        bp_poke(&r->uses[at + i], (uint8_t)BP_USE_TAIL);
    }
    r->free_count -= run;
    bp_add(&pool->slabs_used, 1u);
    if (run == 1 && at >= r->free_hint) {
        r->free_hint = at + 1;
    }
    bp_publish(&r->uses[at], (uint8_t)(d->number + 1));
}

/* Where a commit is refused, free slabs of later regions still serve; but another region
 * would only reserve more of what there is no memory for. */
static uint32_t take_locked(bp_pool *pool, const bp_depot *d, uint32_t run) {
    uint32_t count = bp_peek(&pool->region_count);
    bool refused = false;
    for (uint32_t i = 0; i < count || (i == count && !refused); i++) {
        bp_region *r = i < count ? bp_peek(&pool->regions[i]) : region_add(pool, run);
        if (r == NULL) {
            break;
        }
        if (bp__header_area(&d->cut) > r->header_stride) {
            continue; /* made before the pool had tiers of so small blocks */
        }
        uint32_t at = find_free(r, run);
        uint32_t bump = bp_peek(&r->bump);
        if (at == r->slab_count && run <= r->slab_count - bump && !refused) {
            refused = !commit(r, bump, run);
            at = refused ? at : bump;
        }
        if (at < r->slab_count) {
            slab_open(pool, r, at, d, run);
            return i << BP_REGION_SHIFT | at;
        }
    }
    return BP_NO_SLAB;
}

uint32_t bp__slab_take(bp_pool *pool, const bp_depot *d, uint32_t run) {
    pthread_mutex_lock(&pool->region_lock);
    uint32_t slab = take_locked(pool, d, run);
    pthread_mutex_unlock(&pool->region_lock);
    return slab;
}

/* A look-up that read the old use may still read headers here: it looks at the use
 * again, after the fence of still() in block.c. */
void bp__slab_give(bp_pool *pool, uint32_t slab) {
    bp_region *r = bp__region_of(pool, slab);
    uint32_t at = bp__slab_place(slab);
    uint32_t run = r->slabs[at].run;
    uint8_t *data = r->data + ((size_t)at << BP_SLAB_SHIFT);
    if (pool->debug) {
        bp__debug_forget(data); /* of a run only its first slab is poisoned */
    }
    bp__sys_decommit(data, (size_t)run << BP_SLAB_SHIFT);
    bp__sys_decommit(r->headers + at * r->header_stride, r->header_stride);
    pthread_mutex_lock(&pool->region_lock);
    for (uint32_t i = 0; i < run; i++) {
        bp_poke(&r->uses[at + i], (uint8_t)BP_USE_FREE);
    }
    atomic_thread_fence(memory_order_release);
    r->free_count += run;
    bp_sub(&pool->slabs_used, 1u);
    r->free_hint = at < r->free_hint ? at : r->free_hint;
    pthread_mutex_unlock(&pool->region_lock);
}

static void forget(const bp_region *r) {
    for (uint32_t at = 0; at < bp_peek(&r->bump); at++) {
        uint8_t use = bp_peek(&r->uses[at]);
        if (use != BP_USE_FREE && use != BP_USE_TAIL) {
            bp__debug_forget(r->data + ((size_t)at << BP_SLAB_SHIFT));
        }
    }
}

void bp__regions_free(bp_pool *pool) {
    uint32_t regions = bp_peek(&pool->region_count);
    for (uint32_t i = 0; i < regions; i++) {
        bp_region *r = bp_peek(&pool->regions[i]);
        if (pool->debug) {
            forget(r);
        }
        bp__sys_unmap(r->base, r->bytes);
        bp__sys_free(r);
    }
}
