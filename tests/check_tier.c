/* Tables of tiers: which are taken, which tier serves a length, which are refused. */
#include <errno.h>

#include "support.h"

/* ---- tables that are refused ------------------------------------------------- */

static void refused(const size_t *tiers, size_t count, bool has_index, size_t index) {
    bp_options o;
    bp_error e;
    bp_options_init(&o);
    o.tiers = tiers;
    o.tier_count = count;
    memset(&e, 0x7E, sizeof e);
    ck_assert_ptr_null(bp_pool_create(&o, &e));
    ck_assert_int_eq(e.status, BP_ERR_ARG);
    ck_assert_ptr_nonnull(memchr(e.message, 0, sizeof e.message));
    ck_assert_msg(strstr(e.message, "tier") != NULL, "message: %s", e.message);
    if (has_index) ck_assert_uint_eq(e.index, index);
    ck_assert_ptr_null(bp_pool_create(&o, NULL));
}

START_TEST(wrong_counts) {
    size_t many[BP_MAX_TIERS + 1];
    for (size_t i = 0; i < COUNT_OF(many); i++) many[i] = 64 * (i + 1);
    refused(many, 0, false, 0);
    refused(many, BP_MAX_TIERS + 1, false, 0);
    refused(many, SIZE_MAX, false, 0);
    refused(NULL, 3, false, 0);
}
END_TEST

START_TEST(wrong_entries) {
    refused((size_t[]){0}, 1, true, 0);
    refused((size_t[]){0, 1, 2}, 3, true, 0);
    refused((size_t[]){64, 64}, 2, true, 1);
    refused((size_t[]){64, 128, 256, 256, 512}, 5, true, 3);
    refused((size_t[]){64, 63}, 2, true, 1);
    refused((size_t[]){1024, 2048, 512}, 3, true, 2);
    refused((size_t[]){64, 128, 0}, 3, true, 2);
    refused((size_t[]){BP_MAX_SIZE + 1}, 1, true, 0);
    refused((size_t[]){1, 2, SIZE_MAX}, 3, true, 2);
    size_t last[BP_MAX_TIERS];
    for (size_t i = 0; i < COUNT_OF(last); i++) last[i] = 64 * (i + 1);
    last[63] = last[62];
    refused(last, COUNT_OF(last), true, 63);
}
END_TEST

START_TEST(wrong_options_beside_the_table) {
    bp_options o;
    bp_error e;
    bp_options_init(&o);
    o.recent_size = 65537;
    memset(&e, 0, sizeof e);
    ck_assert_ptr_null(bp_pool_create(&o, &e));
    ck_assert_int_eq(e.status, BP_ERR_ARG);
    ck_assert_msg(strstr(e.message, "recent_size") != NULL, "message: %s", e.message);
    bp_options_init(&o);
    o.recent_mode = (bp_recent_mode)2;
    memset(&e, 0, sizeof e);
    ck_assert_ptr_null(bp_pool_create(&o, &e));
    ck_assert_int_eq(e.status, BP_ERR_ARG);
    ck_assert_msg(strstr(e.message, "recent_mode") != NULL, "message: %s", e.message);
}
END_TEST

/* ---- tables that are taken --------------------------------------------------- */

static void take_one(bp_pool *pool, const size_t *tiers, size_t count, size_t n) {
    size_t t = tier_serving(tiers, count, n);
    bp_stats before = stats_of(pool);
    bp_buffer *b = bp_buffer_get(pool, n);
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq(bp_buffer_length(b), n);
    ck_assert_uint_eq(bp_buffer_capacity(pool, b), t < count ? tiers[t] : n);
    bp_stats s = stats_of(pool);
    for (size_t i = 0; i < count; i++)
        ck_assert_msg(s.tiers[i].get == before.tiers[i].get + (i == t),
                      "length %zu: wrong get count in tier %zu, expected tier %zu", n, i, t);
    ck_assert_uint_eq(s.discarded, before.discarded + (t == count));
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    s = stats_of(pool);
    for (size_t i = 0; i < count; i++) ck_assert_uint_eq(s.tiers[i].put, s.tiers[i].get);
}

static void table_serves(const size_t *tiers, size_t count) {
    bp_pool *pool = pool_of(tiers, count, 64 * MIB);
    ck_assert_ptr_nonnull(pool);
    size_t sizes[BP_MAX_TIERS];
    ck_assert_uint_eq(bp_pool_sizes(pool, sizes), count);
    ck_assert_mem_eq(sizes, tiers, count * sizeof *tiers);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(stats_of(pool).tiers[i].size, tiers[i]);
        for (size_t n = tiers[i] - 1; n <= tiers[i] + 1; n++) take_one(pool, tiers, count, n);
    }
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}

START_TEST(tables_of_every_shape) {
    table_serves((size_t[]){1}, 1);
    table_serves((size_t[]){4096}, 1);
    table_serves((size_t[]){1, 2, 3}, 3);
    table_serves((size_t[]){1, 63, 64, 65, 127, 129}, 6);
    table_serves((size_t[]){101, 1009, 10007, 100003, 1000003}, 5);
    table_serves((size_t[]){512, 2560, 4096, 5632, 8192, 12288, 16384, 24576}, 8);
    table_serves((size_t[]){4 * MIB - 1, 4 * MIB, 4 * MIB + 1}, 3);
    table_serves((size_t[]){3 * MIB, 5 * MIB, 16 * MIB}, 3);
    size_t full[BP_MAX_TIERS];
    for (size_t i = 0; i < COUNT_OF(full); i++) full[i] = i + 1;
    table_serves(full, COUNT_OF(full));
    for (size_t i = 0; i < COUNT_OF(full); i++) full[i] = 1000 * i + 7;
    table_serves(full, COUNT_OF(full));
    for (size_t i = 0; i < COUNT_OF(full); i++) full[i] = (i + 1) * 100003;
    table_serves(full, COUNT_OF(full));
}
END_TEST

START_TEST(the_table_is_copied) {
    size_t tiers[] = {100, 200};
    bp_pool *pool = pool_of(tiers, 2, MIB);
    ck_assert_ptr_nonnull(pool);
    tiers[0] = tiers[1] = 0;
    ck_assert_uint_eq(sizes_of(pool)[0], 100);
    ck_assert_uint_eq(sizes_of(pool)[1], 200);
    bp_pool_destroy(pool);
}
END_TEST

static int rising(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* Sizes close together, far apart and larger than a slab, each kind often. */
static size_t random_table(rng *r, size_t *tiers) {
    size_t count = 1 + rng_below(r, rng_below(r, 2) ? BP_MAX_TIERS : 8), kept = 0;
    unsigned widest = 4 + (unsigned)rng_below(r, 20);
    for (size_t i = 0; i < count; i++)
        tiers[i] = 1 + rng_below(r, (size_t)1 << (1 + rng_below(r, widest)));
    qsort(tiers, count, sizeof *tiers, rising);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || tiers[i] != tiers[kept - 1]) tiers[kept++] = tiers[i];
    return kept;
}

START_TEST(random_tables_against_a_linear_search) {
    rng r = {seed_of_run("random_tables_against_a_linear_search")};
    for (int trial = 0; trial < 150; trial++) {
        size_t tiers[BP_MAX_TIERS];
        size_t count = random_table(&r, tiers);
        bp_pool *pool = pool_of(tiers, count, 64 * MIB);
        ck_assert_ptr_nonnull(pool);
        for (int i = 0; i < 60; i++) {
            size_t edge = tiers[rng_below(&r, count)];
            size_t n = rng_below(&r, 2)
                           ? edge - 1 + rng_below(&r, 3)
                           : rng_below(&r, tiers[count - 1] + tiers[count - 1] / 8 + 2);
            take_one(pool, tiers, count, n);
        }
        ASSERT_POOL(pool);
        bp_pool_destroy(pool);
    }
}
END_TEST

/* ---- blocks of unusual tiers ------------------------------------------------- */

enum { MANY = 12000 };
static bp_buffer *held[MANY];

static void hold_and_verify(bp_pool *pool, const size_t *tiers, size_t tier_count, size_t count) {
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < count; i++) {
            size_t n = tiers[i % tier_count];
            held[i] = bp_buffer_get(pool, n);
            ck_assert_ptr_nonnull(held[i]);
            fill(bp_buffer_data(held[i]), n, i);
        }
        for (size_t i = 0; i < count; i++)
            ck_assert_msg(filled(bp_buffer_data(held[i]), tiers[i % tier_count], i),
                          "block %zu was written over", i);
        for (size_t i = 0; i < count; i++)
            ck_assert_int_eq(bp_buffer_release(pool, held[i]), BP_OK);
        ASSERT_POOL(pool);
    }
}

START_TEST(smallest_blocks) {
    static const size_t tiers[] = {1, 2, 3};
    bp_pool *pool = pool_of(tiers, 3, 64 * MIB);
    ck_assert_ptr_nonnull(pool);
    hold_and_verify(pool, tiers, 3, MANY);
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.tiers[1].hit, MANY / 3);
    ck_assert_uint_eq(s.tiers[1].miss, MANY / 3);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(blocks_larger_than_a_slab) {
    static const size_t tiers[] = {3 * MIB, 5 * MIB, 16 * MIB};
    bp_pool *pool = pool_of(tiers, 3, 512 * MIB);
    ck_assert_ptr_nonnull(pool);
    hold_and_verify(pool, tiers, 3, 9);
    bp_stats s = stats_of(pool);
    for (size_t t = 0; t < 3; t++) {
        ck_assert_uint_eq(s.tiers[t].miss, 3);
        ck_assert_uint_eq(s.tiers[t].hit, 3);
    }
    ck_assert_uint_eq(s.idle_bytes, 3 * (3 + 5 + 16) * MIB);
    ck_assert_uint_eq(bp_pool_trim(pool), s.idle_bytes);
    ck_assert_uint_eq(stats_of(pool).idle_bytes, 0);
    hold_and_verify(pool, tiers, 3, 9);
    bp_pool_destroy(pool);
}
END_TEST

/* A tier may be larger than anything the machine can give: creating the pool
 * costs nothing, and only the get fails. */
START_TEST(largest_tier_there_can_be) {
    static const size_t tiers[] = {128, BP_MAX_SIZE};
    bp_pool *pool = pool_of(tiers, 2, MIB);
    ck_assert_ptr_nonnull(pool);
    take_one(pool, tiers, 2, 128);
    if (!SANITIZED) { /* sanitizers may end the process over a mapping this large */
        bp_stats before = stats_of(pool);
        errno = 0;
        bp_buffer *b = bp_buffer_get(pool, 129);
        if (b) {
            ck_assert_uint_eq(bp_buffer_capacity(pool, b), BP_MAX_SIZE);
            ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
        } else {
            ck_assert_int_eq(errno, ENOMEM);
            ck_assert_uint_eq(stats_of(pool).total_get, before.total_get);
            ck_assert_uint_eq(stats_of(pool).requests, before.requests);
        }
    }
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tier");
    TCase *tc = add_case(suite, "refused");
    tcase_add_test(tc, wrong_counts);
    tcase_add_test(tc, wrong_entries);
    tcase_add_test(tc, wrong_options_beside_the_table);
    tc = add_case(suite, "taken");
    tcase_add_test(tc, tables_of_every_shape);
    tcase_add_test(tc, the_table_is_copied);
    tcase_add_test(tc, random_tables_against_a_linear_search);
    tc = add_case(suite, "blocks");
    tcase_add_test(tc, smallest_blocks);
    tcase_add_test(tc, blocks_larger_than_a_slab);
    tcase_add_test(tc, largest_tier_there_can_be);
    return run_suite(suite);
}
