/* Regions from the inside: how slabs are cut, and that no pointer but the start of a
 * block finds a header. */
#include "internal.h"
#include "support.h"

static bp_pool *pool_in(const size_t *sizes, size_t count, size_t region_size) {
    bp_options o;
    bp_options_init(&o);
    o.tiers = sizes;
    o.tier_count = count;
    o.region_size = region_size;
    bp_pool *pool = bp_pool_create(&o, NULL);
    ck_assert_ptr_nonnull(pool);
    return pool;
}

static const uint8_t *data_of(bp_pool *pool, uint32_t slab) {
    bp_region *r = bp__region_of(pool, slab);
    return r->data + ((size_t)(slab & 0xffffff) << BP_SLAB_SHIFT);
}

/* Carves a whole slab: blocks lie in order inside it, apart and aligned, and headers
 * inside their area behind the bitmap. */
static void check_cut(bp_pool *pool, const bp_depot *d, uint32_t slab) {
    bp_region *r = bp__region_of(pool, slab);
    const uint8_t *start = data_of(pool, slab);
    const uint8_t *last_end = start;
    const uint8_t *bitmap_end =
        (const uint8_t *)bp__slab_bitmap(pool, slab) + (d->cut.blocks + 7) / 8;
    for (uint32_t i = 0; i < d->cut.blocks; i++) {
        bp__block_carve(pool, d, slab, i);
        const bp_buffer *b = bp__slab_header(pool, d, slab, i);
        const uint8_t *data = bp_buffer_data(b);
        ck_assert(data >= last_end && (uintptr_t)data % BP_LINE == 0);
        ck_assert((const uint8_t *)b >= bitmap_end);
        ck_assert_ptr_eq(bp__block_find(pool, data), b);
        ck_assert_ptr_null(bp__block_find(pool, data + 1));
        ck_assert_ptr_null(bp__block_find(pool, data + BP_LINE / 2));
        ck_assert(bp__header_valid(pool, b));
        ck_assert(
            !bp__header_valid(pool, (const bp_buffer *)(const void *)((const uint8_t *)b + 8)));
        last_end = data + d->size;
    }
    ck_assert(last_end <= start + BP_SLAB);
    const uint8_t *headers_end =
        (const uint8_t *)bp__slab_header(pool, d, slab, d->cut.blocks - 1) + sizeof(bp_buffer);
    ck_assert(headers_end <= (const uint8_t *)bp__slab_bitmap(pool, slab) + r->header_stride);
    ck_assert_ptr_null(bp__block_find(pool, last_end));
}

START_TEST(slabs_are_cut_without_overlap) {
    static const size_t sizes[] = {1,    64,    65,     100,    128,     1000,    4095,   4096,
                                   4097, 65536, 100000, 524288, 1048577, 2097152, 4194304};
    bp_pool *pool = pool_in(sizes, COUNT_OF(sizes), 0);
    /* Several of each, so that all colours that fit are met. */
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < BP_RUNS; i++) {
            const bp_depot *d = &pool->depots[i];
            if (d->cut.blocks > 0) {
                uint32_t slab = bp__slab_take(pool, d, 1);
                ck_assert_uint_ne(slab, BP_NO_SLAB);
                check_cut(pool, d, slab);
                bp__slab_give(pool, slab);
                ck_assert_ptr_null(bp__block_find(pool, data_of(pool, slab)));
                ck_assert_uint_ne(bp__slab_take(pool, d, 1),
                                  BP_NO_SLAB); /* shifts the next colour */
            }
        }
    }
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(few_of_a_slab_are_lost) {
    size_t count;
    const size_t *sizes = bp_size_power_of_two(&count);
    bp_pool *pool = pool_in(sizes, count, 0);
    for (size_t i = 0; i < count; i++) {
        const bp_depot *d = &pool->depots[i];
        /* At most the gaps (one line in eight of the smallest) and one block. */
        ck_assert_uint_ge((d->cut.blocks + 1) * d->cut.group / BP_GROUP + d->stride, BP_SLAB);
    }
    bp_pool_destroy(pool);
}
END_TEST

/* Every offset of a slab that a block could have, and more, for a size whose stride is no power of two. */
START_TEST(only_the_start_of_a_block_finds_it) {
    static const size_t sizes[] = {1000};
    bp_pool *pool = pool_in(sizes, 1, 0);
    const bp_depot *d = &pool->depots[0];
    uint32_t slab = bp__slab_take(pool, d, 1);
    for (uint32_t i = 0; i < d->cut.blocks; i++) {
        bp__block_carve(pool, d, slab, i);
    }
    uint32_t found = 0;
    for (size_t off = 0; off < BP_SLAB; off += off < 64 * KIB ? 1 : 64) {
        const bp_buffer *b = bp__block_find(pool, data_of(pool, slab) + off);
        if (b != NULL) {
            ck_assert_ptr_eq(bp_buffer_data(b), data_of(pool, slab) + off);
            found++;
        }
    }
    ck_assert_uint_eq(found, d->cut.blocks);
    bp_pool_destroy(pool);
}
END_TEST

/* A look-up that was slow between a slab's use and the cut of its bin, when the slab was given
 * away and the bin given to a tier of more blocks: in this region no header of theirs may exist. */
START_TEST(a_cut_of_more_blocks_leads_nowhere) {
    static const size_t sizes[] = {1048576};
    bp_pool *pool = pool_in(sizes, COUNT_OF(sizes), 0);
    bp_buffer *b = bp_buffer_get(pool, 1);
    uint8_t *p = bp_buffer_data(b);
    bp_cut right = pool->depots[b->bin].cut, other;
    bp__cut_plan(&other, 64, 0);
    ck_assert_ptr_eq(bp__block_find(pool, p), b);
    bp__cut_share(&pool->cuts[b->bin], &other);
    for (size_t at = 64 * 1024; at < BP_SLAB / 2; at += 64 * 1024) {
        (void)bp__block_find(pool, p + at);
    }
    bp__cut_share(&pool->cuts[b->bin], &right);
    ck_assert_ptr_eq(bp__block_find(pool, p), b);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(runs_fit_between_others) {
    static const size_t sizes[] = {4096};
    bp_pool *pool = pool_in(sizes, 1, 16 * BP_SLAB);
    const bp_depot *d = &pool->depots[BP_RUNS];
    uint32_t slabs[16];
    for (unsigned i = 0; i < 16; i++) {
        slabs[i] = bp__slab_take(pool, d, 1);
        ck_assert_uint_eq(slabs[i], i);
    }
    ck_assert_uint_eq(bp_peek(&pool->region_count), 1);
    bp__slab_give(pool, slabs[3]);
    bp__slab_give(pool, slabs[5]);
    bp__slab_give(pool, slabs[6]);
    ck_assert_uint_eq(bp__slab_take(pool, d, 2), 5);
    ck_assert_ptr_null(bp__block_find(pool, data_of(pool, 6))); /* inside a run */
    ck_assert_uint_eq(bp__slab_take(pool, d, 1), 3);
    ck_assert_uint_eq(bp__slab_take(pool, d, 1), 1u << BP_REGION_SHIFT);  /* the next region */
    ck_assert_uint_eq(bp__slab_take(pool, d, 40), 2u << BP_REGION_SHIFT); /* as large as need be */
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(given_memory_reads_as_zero) {
    static const size_t sizes[] = {65536};
    bp_pool *pool = pool_in(sizes, 1, 0);
    const bp_depot *d = &pool->depots[0];
    uint32_t slab = bp__slab_take(pool, d, 1);
    bp__block_carve(pool, d, slab, 0);
    bp_buffer *b = bp__slab_header(pool, d, slab, 0);
    uint8_t *data = bp_buffer_data(b);
    data[0] = 7;
    bp__slab_give(pool, slab);
    ck_assert_uint_eq(data[0], 0);
    ck_assert_int_eq(b->to_data, 0);
    bp_pool_destroy(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("region");
    TCase *tc = add_case(suite, "cut");
    tcase_add_test(tc, slabs_are_cut_without_overlap);
    tcase_add_test(tc, few_of_a_slab_are_lost);
    tcase_add_test(tc, only_the_start_of_a_block_finds_it);
    tcase_add_test(tc, a_cut_of_more_blocks_leads_nowhere);
    tcase_add_test(tc, runs_fit_between_others);
    tcase_add_test(tc, given_memory_reads_as_zero);
    return run_suite(suite);
}
