/* Address space under a pool: reserve regions, cut them into slabs, commit, give
 * back to the system; and the arithmetic between pointers, headers and blocks.
 *
 * Slabs are taken and given under the pool's region lock. A slab's state belongs
 * to whoever took it (a depot, under its lock) until it is given. Look-ups take no
 * lock: they read `use` and immutable geometry, and check what they computed.
 */
#include "internal.h"

#define DEFAULT_REGION ((size_t)16 << 30)
#define COLOURS        32u

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

static size_t bitmap_bytes(const bp_depot *d) { return round_up((d->blocks + 7) / 8, BP_LINE); }

static size_t header_area(const bp_depot *d) {
    return bitmap_bytes(d) + COLOURS * BP_LINE + ((size_t)d->blocks << d->header_shift);
}

static size_t block_offset(const bp_depot *d, uint32_t index) {
    return (index / BP_GROUP) * d->group + (index % BP_GROUP) * d->stride;
}

bp_region *bp__region_of(bp_pool *pool, uint32_t slab) {
    return bp_acquire(&pool->regions[slab >> BP_REGION_SHIFT]);
}

static uint32_t local(uint32_t slab) { return slab & ((1u << BP_REGION_SHIFT) - 1); }

bp_slab *bp__slab_at(bp_pool *pool, uint32_t slab) {
    return &bp__region_of(pool, slab)->slabs[local(slab)];
}

static uint8_t *headers_at(bp_pool *pool, uint32_t slab) {
    bp_region *r = bp__region_of(pool, slab);
    return r->headers + (size_t)local(slab) * r->header_stride;
}

uint64_t *bp__slab_bitmap(bp_pool *pool, uint32_t slab) {
    return (uint64_t *)(void *)headers_at(pool, slab);
}

bp_buffer *bp__slab_header(bp_pool *pool, const bp_depot *d, uint32_t slab, uint32_t index) {
    size_t at = bp__slab_at(pool, slab)->header_off + ((size_t)index << d->header_shift);
    return (bp_buffer *)(void *)(headers_at(pool, slab) + at);
}

/* Each region maps its slab table, the header areas, then the slabs. */
static bp_region *region_map(bp_pool *pool, size_t slabs) {
    size_t header_stride = 0;
    for (unsigned i = 0; i < BP_DEPOTS; i++) {
        const bp_depot *d = &pool->depots[i];
        if (d->blocks > 0 && header_area(d) > header_stride) {
            header_stride = header_area(d);
        }
    }
    header_stride = round_up(header_stride, bp__sys_page());
    size_t table = round_up(slabs * sizeof(bp_slab), bp__sys_page());
    size_t bytes = table + slabs * (header_stride + BP_SLAB);
    bp_region *r = bp__sys_alloc(sizeof *r);
    if (r == NULL) {
        return NULL;
    }
    r->base = bp__sys_reserve(bytes);
    if (r->base == NULL || !bp__sys_commit(r->base, table)) {
        if (r->base != NULL) {
            bp__sys_unmap(r->base, bytes);
        }
        bp__sys_free(r);
        return NULL;
    }
    r->bytes = bytes;
    r->slabs = (bp_slab *)(void *)r->base;
    r->headers = r->base + table;
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
    for (uint32_t i = 0, length = 0; i < bump; i++) {
        length = bp_peek(&r->slabs[i].use) == BP_USE_FREE ? length + 1 : 0;
        if (length == run) {
            return i + 1 - run;
        }
    }
    return r->slab_count;
}

static uint32_t bump_free(bp_region *r, uint32_t run) {
    uint32_t first = bp_peek(&r->bump);
    if (run > r->slab_count - first ||
        !bp__sys_commit(r->headers + first * r->header_stride, run * r->header_stride) ||
        !bp__sys_commit(r->data + ((size_t)first << BP_SLAB_SHIFT), (size_t)run << BP_SLAB_SHIFT)) {
        return r->slab_count;
    }
    bp_publish(&r->bump, first + run);
    r->free_count += run;
    return first;
}

static uint64_t magic(size_t divisor) { return (((uint64_t)1 << 44) + divisor - 1) / divisor; }

static void slab_open(bp_region *r, uint32_t at, const bp_depot *d, uint32_t run) {
    bp_slab *s = &r->slabs[at];
    size_t used = run > 1 ? BP_SLAB : block_offset(d, d->blocks - 1) + d->stride;
    size_t slack = (BP_SLAB - used) / BP_LINE;
    bool paged = d->bin == BP_BIN_NONE;
    s->data_colour = paged ? 0 : (uint32_t)(at % (slack < COLOURS ? slack + 1 : COLOURS)) * BP_LINE;
    s->header_off = (uint32_t)bitmap_bytes(d) + at % COLOURS * BP_LINE;
    s->run = run;
    s->blocks = d->blocks;
    s->header_shift = (uint8_t)d->header_shift;
    s->stride = (uint32_t)(run > 1 ? BP_SLAB : d->stride);
    s->group = (uint32_t)(run > 1 ? BP_SLAB : d->group);
    s->stride_magic = magic(s->stride);
    s->group_magic = magic(s->group);
    s->carved = s->free = s->hint = 0;
    s->next = s->prev = BP_NO_SLAB;
    s->place = BP_UNLISTED;
    for (uint32_t i = 1; i < run; i++) {
        bp_poke(&r->slabs[at + i].use, (uint8_t)BP_USE_TAIL);
    }
    r->free_count -= run;
    bp_publish(&s->use, (uint8_t)(d->number + 1));
}

static uint32_t take_locked(bp_pool *pool, const bp_depot *d, uint32_t run) {
    uint32_t count = bp_peek(&pool->region_count);
    for (uint32_t i = 0; i <= count; i++) {
        bp_region *r = i < count ? bp_peek(&pool->regions[i]) : region_add(pool, run);
        if (r == NULL) {
            break;
        }
        uint32_t at = find_free(r, run);
        if (at == r->slab_count) {
            at = bump_free(r, run);
        }
        if (at < r->slab_count) {
            slab_open(r, at, d, run);
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

void bp__slab_give(bp_pool *pool, uint32_t slab) {
    bp_region *r = bp__region_of(pool, slab);
    uint32_t at = local(slab);
    uint32_t run = r->slabs[at].run;
    bp__sys_decommit(r->data + ((size_t)at << BP_SLAB_SHIFT), (size_t)run << BP_SLAB_SHIFT);
    bp__sys_decommit(r->headers + at * r->header_stride, r->header_stride);
    pthread_mutex_lock(&pool->region_lock);
    for (uint32_t i = 0; i < run; i++) {
        bp_poke(&r->slabs[at + i].use, (uint8_t)BP_USE_FREE);
    }
    r->free_count += run;
    pthread_mutex_unlock(&pool->region_lock);
}

void bp__block_carve(bp_pool *pool, const bp_depot *d, uint32_t slab, uint32_t index) {
    bp_region *r = bp__region_of(pool, slab);
    bp_buffer *b = bp__slab_header(pool, d, slab, index);
    uint8_t *data = r->data + ((size_t)local(slab) << BP_SLAB_SHIFT) +
                    bp__slab_at(pool, slab)->data_colour + block_offset(d, index);
    b->bin = d->bin;
    b->slab = slab;
    b->index = index;
    b->to_data = data - (uint8_t *)b;
}

/* The index of the block that starts `rel` bytes behind the first one, or s->blocks.
 * The quotients are exact: rel < 2^22, and magic = ceil(2^44 / divisor). */
static uint32_t block_index(const bp_slab *s, uint32_t rel) {
    uint32_t group = (uint32_t)(rel * s->group_magic >> 44);
    uint32_t in_group = rel - group * s->group;
    uint32_t place = (uint32_t)(in_group * s->stride_magic >> 44);
    uint32_t index = group * BP_GROUP + place;
    bool starts = place * s->stride == in_group && place < BP_GROUP && rel < BP_SLAB;
    return starts && index < s->blocks ? index : s->blocks;
}

bp_buffer *bp__block_find(bp_pool *pool, const void *p) {
    uint32_t regions = bp_acquire(&pool->region_count);
    for (uint32_t i = 0; i < regions; i++) {
        const bp_region *r = bp_peek(&pool->regions[i]);
        size_t off = (uintptr_t)p - (uintptr_t)r->data;
        size_t at = off >> BP_SLAB_SHIFT;
        if (at >= bp_acquire(&r->bump)) {
            continue;
        }
        const bp_slab *s = &r->slabs[at];
        uint8_t use = bp_acquire(&s->use);
        if (use == BP_USE_FREE || use == BP_USE_TAIL) {
            return NULL;
        }
        uint32_t index = block_index(s, (uint32_t)(off & (BP_SLAB - 1)) - s->data_colour);
        if (index == s->blocks) {
            return NULL;
        }
        uint8_t *headers = r->headers + at * r->header_stride + s->header_off;
        bp_buffer *b = (bp_buffer *)(void *)(headers + ((size_t)index << s->header_shift));
        return b->to_data != 0 ? b : NULL;
    }
    return NULL;
}

bool bp__header_valid(bp_pool *pool, const bp_buffer *b) {
    uint32_t regions = bp_acquire(&pool->region_count);
    for (uint32_t i = 0; i < regions; i++) {
        bp_region *r = bp_peek(&pool->regions[i]);
        size_t off = (uintptr_t)b - (uintptr_t)r->headers;
        size_t at = off / r->header_stride;
        if (at >= bp_acquire(&r->bump)) {
            continue;
        }
        const bp_slab *s = &r->slabs[at];
        uint8_t use = bp_acquire(&s->use);
        if (use == BP_USE_FREE || use == BP_USE_TAIL) {
            return false;
        }
        size_t rel = off % r->header_stride - s->header_off;
        return rel >> s->header_shift < s->blocks && rel % ((size_t)1 << s->header_shift) == 0 &&
               b->to_data != 0;
    }
    return false;
}

void bp__regions_free(bp_pool *pool) {
    uint32_t regions = bp_peek(&pool->region_count);
    for (uint32_t i = 0; i < regions; i++) {
        bp_region *r = bp_peek(&pool->regions[i]);
        bp__sys_unmap(r->base, r->bytes);
        bp__sys_free(r);
    }
}
