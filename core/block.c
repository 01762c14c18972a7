/* The arithmetic between pointers, headers and blocks: how a tier cuts a slab, where
 * the header of a block is, and which block starts at a pointer.
 *
 * Look-ups take no lock and trust nothing around the pointer. They read a slab's use and the
 * cut of the tier that has it, drop what they found where either has changed meanwhile, and
 * stay inside that slab's header area, which can be read whatever becomes of the slab.
 */
#include "internal.h"

#define COLOURS 32u

static uint64_t magic(uint32_t divisor) { return (((uint64_t)1 << 44) + divisor - 1) / divisor; }

static size_t block_offset(const bp_cut *cut, uint32_t index) {
    return (size_t)(index / BP_GROUP) * cut->group + (size_t)(index % BP_GROUP) * cut->stride;
}

void bp__cut_plan(bp_cut *cut, size_t stride, size_t gap) {
    if (stride > BP_SLAB) { /* a run: one block, and no other offset starts it */
        stride = BP_SLAB;
        gap = 0;
    }
    size_t group = stride * BP_GROUP + gap;
    size_t groups = BP_SLAB / group;
    size_t rest = (BP_SLAB - groups * group) / stride;
    cut->stride = (uint32_t)stride;
    cut->group = (uint32_t)group;
    cut->stride_magic = magic(cut->stride);
    cut->group_magic = magic(cut->group);
    cut->blocks = (uint32_t)(groups * BP_GROUP + (rest < BP_GROUP ? rest : BP_GROUP));
    cut->bitmap = (uint32_t)bp__round_up((cut->blocks + 7) / 8, BP_LINE);
    size_t used = block_offset(cut, cut->blocks - 1) + stride;
    size_t slack = gap == 0 ? 0 : (BP_SLAB - used) / BP_LINE;
    uint32_t colours = COLOURS; /* a power of two: look-ups are without a division */
    while (colours > slack + 1) {
        colours /= 2;
    }
    cut->data_colour = colours - 1;
}

/* Odd while the rest is being written. Who reads an old number before and after read all of one
 * writing: the fences order the number's stores and loads with the others'. */
void bp__cut_share(bp_shared_cut *to, const bp_cut *cut) {
    uint32_t version = bp_peek(&to->version);
    bp_poke(&to->version, version + 1);
    atomic_thread_fence(memory_order_release);
    bp_poke(&to->group, cut->group);
    bp_poke(&to->stride, cut->stride);
    bp_poke(&to->blocks, cut->blocks);
    bp_poke(&to->bitmap, cut->bitmap);
    bp_poke(&to->data_colour, cut->data_colour);
    bp_poke(&to->group_magic, cut->group_magic);
    bp_poke(&to->stride_magic, cut->stride_magic);
    bp_publish(&to->version, version + 2);
}

size_t bp__header_area(const bp_cut *cut) {
    return cut->bitmap + COLOURS * BP_LINE + cut->blocks * sizeof(bp_buffer);
}

/* The place of a slab in its region colours it. */
static size_t first_header(uint32_t bitmap, size_t at) { return bitmap + at % COLOURS * BP_LINE; }

static size_t first_block(uint32_t data_colour, size_t at) { return (at & data_colour) * BP_LINE; }

uint64_t *bp__slab_bitmap(bp_pool *pool, uint32_t slab) {
    bp_region *r = bp__region_of(pool, slab);
    return (uint64_t *)(void *)(r->headers + bp__slab_place(slab) * r->header_stride);
}

/* `off` bytes into the header area of a slab. */
static bp_buffer *header(const bp_region *r, size_t at, size_t off) {
    return (bp_buffer *)(void *)(r->headers + at * r->header_stride + off);
}

bp_buffer *bp__slab_header(bp_pool *pool, const bp_depot *d, uint32_t slab, uint32_t index) {
    size_t at = bp__slab_place(slab);
    size_t off = first_header(d->cut.bitmap, at) + index * sizeof(bp_buffer);
    return header(bp__region_of(pool, slab), at, off);
}

void bp__block_carve(bp_pool *pool, const bp_depot *d, uint32_t slab, uint32_t index) {
    bp_region *r = bp__region_of(pool, slab);
    size_t at = bp__slab_place(slab);
    bp_buffer *b = bp__slab_header(pool, d, slab, index);
    uint8_t *data = r->data + (at << BP_SLAB_SHIFT) + first_block(d->cut.data_colour, at) +
                    block_offset(&d->cut, index);
    b->bin = d->bin;
    b->slab = slab;
    b->index = index;
    bp_poke(&b->to_data, data - (uint8_t *)b);
}

/* ---- look-ups ------------------------------------------------------------------ */

#define NO_BLOCK UINT32_MAX

/* The index of the block that starts `rel` bytes behind the first one, or NO_BLOCK.
 * The quotients are exact: rel < 2^22, and magic = ceil(2^44 / divisor). */
static uint32_t block_index(const bp_shared_cut *cut, uint32_t rel) {
    uint32_t group = (uint32_t)(rel * bp_peek(&cut->group_magic) >> 44);
    uint32_t in_group = rel - group * bp_peek(&cut->group);
    uint32_t place = (uint32_t)(in_group * bp_peek(&cut->stride_magic) >> 44);
    uint32_t index = group * BP_GROUP + place;
    bool starts = place * bp_peek(&cut->stride) == in_group && place < BP_GROUP && rel < BP_SLAB;
    return starts && index < bp_peek(&cut->blocks) ? index : NO_BLOCK;
}

/* How a place in a region is cut. The tier that has the bin may change while we look: what is
 * reckoned with meanwhile is bounded by itself, and dropped where still() says so. */
typedef struct look {
    const bp_shared_cut *cut;
    uint32_t version;
    uint8_t use;
} look;

/* False where nothing starts there. */
BP_INLINE bool look_at(const bp_pool *pool, const bp_region *r, size_t at, look *l) {
    l->use = bp_acquire(&r->uses[at]);
    if (l->use == BP_USE_FREE || l->use == BP_USE_TAIL) {
        return false;
    }
    l->cut = &pool->cuts[l->use - 1];
    l->version = bp_acquire(&l->cut->version);
    return true;
}

/* b was handed out at some time, and its slab was not given away while we looked: the
 * owner of a good pointer keeps that from happening, a stale one must not mislead. */
BP_INLINE bool still(const bp_region *r, size_t at, const look *l, const bp_buffer *b) {
    bool carved = bp_peek(&b->to_data) != 0;
    atomic_thread_fence(memory_order_acquire);
    bool same = (l->version & 1u) == 0 && bp_peek(&l->cut->version) == l->version;
    return carved && same && bp_peek(&r->uses[at]) == l->use;
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
        look l;
        if (!look_at(pool, r, at, &l)) {
            return NULL;
        }
        size_t first = first_block(bp_peek(&l.cut->data_colour), at);
        uint32_t index = block_index(l.cut, (uint32_t)(off & (BP_SLAB - 1)) - (uint32_t)first);
        size_t to = first_header(bp_peek(&l.cut->bitmap), at) + index * sizeof(bp_buffer);
        /* A slab that was given away may be another tier's, with a larger area elsewhere. */
        if (index == NO_BLOCK || to > r->header_stride - sizeof(bp_buffer)) {
            return NULL;
        }
        bp_buffer *b = header(r, at, to);
        return still(r, at, &l, b) ? b : NULL;
    }
    return NULL;
}

bool bp__header_valid(bp_pool *pool, const bp_buffer *b) {
    uint32_t regions = bp_acquire(&pool->region_count);
    for (uint32_t i = 0; i < regions; i++) {
        const bp_region *r = bp_peek(&pool->regions[i]);
        size_t off = (uintptr_t)b - (uintptr_t)r->headers;
        size_t at = off / r->header_stride;
        if (at >= bp_acquire(&r->bump)) {
            continue;
        }
        look l;
        if (!look_at(pool, r, at, &l)) {
            return false;
        }
        size_t rel = off % r->header_stride - first_header(bp_peek(&l.cut->bitmap), at);
        bool starts = rel % sizeof *b == 0 && rel / sizeof *b < bp_peek(&l.cut->blocks);
        return starts && still(r, at, &l, b);
    }
    return false;
}
