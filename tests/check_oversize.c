/* Requests above the largest tier: counted once, given back at the last release. */
#include "support.h"

static const size_t one_tier[] = {128};

static bp_pool *small_pool(void) {
    bp_pool *pool = pool_of(one_tier, 1, MIB);
    ck_assert_ptr_nonnull(pool);
    return pool;
}

START_TEST(counted_once) {
    bp_pool *pool = small_pool();
    bp_buffer *b = bp_buffer_get(pool, 129);
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq(bp_buffer_length(b), 129);
    ck_assert_uint_eq(bp_buffer_capacity(pool, b), 129);
    ck_assert_uint_eq(bp_buffer_ref_count(b), 1);
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.discarded, 1);
    ck_assert_uint_eq(s.discarded_put, 0);
    ck_assert_uint_eq(s.discarded_bytes, 129);
    ck_assert_uint_eq(s.requests, 1);
    ck_assert_uint_eq(s.total_get, 0);
    ck_assert_uint_eq(s.in_use, 1);
    ck_assert_uint_ge(s.in_use_bytes, 129);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    s = stats_of(pool);
    ck_assert_uint_eq(s.discarded, 1);
    ck_assert_uint_eq(s.discarded_put, 1);
    ck_assert_uint_eq(s.discarded_bytes, 129);
    ck_assert_uint_eq(s.total_put, 0);
    ck_assert_uint_eq(s.in_use, 0);
    ck_assert_uint_eq(s.in_use_bytes, 0);
    ck_assert_uint_eq(s.owned_bytes, 0);
    ck_assert_uint_ge(s.peak_owned_bytes, 129);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(references_and_put) {
    bp_pool *pool = small_pool(), *other = small_pool();
    bp_buffer *b = bp_buffer_get(pool, 300000);
    fill(bp_buffer_data(b), 300000, 3);
    ck_assert_int_eq(bp_buffer_retain(b), BP_OK);
    ck_assert_int_eq(bp_buffer_retain(b), BP_OK);
    bp_stats before = stats_of(pool), before_other = stats_of(other);
    ck_assert_int_eq(bp_buffer_put(pool, b), BP_ERR_SHARED);
    ck_assert_int_eq(bp_buffer_put(other, b), BP_ERR_FOREIGN);
    ASSERT_UNCHANGED(pool, before);
    ASSERT_UNCHANGED(other, before_other);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    ck_assert(filled(bp_buffer_data(b), 300000, 3));
    ck_assert_int_eq(bp_buffer_put(pool, b), BP_OK);
    ck_assert_uint_eq(stats_of(pool).discarded_put, 1);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
    bp_pool_destroy(other);
}
END_TEST

START_TEST(one_release_too_many) {
    bp_pool *pool = small_pool();
    static const size_t sizes[] = {129, 5000, 300000, 5 * MIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        bp_buffer *b = bp_buffer_get(pool, sizes[i]);
        ck_assert_ptr_nonnull(b);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
        bp_stats before = stats_of(pool);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_ERR_DEAD);
        ck_assert_int_eq(bp_buffer_retain(b), BP_ERR_DEAD);
        ASSERT_UNCHANGED(pool, before);
    }
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

enum { LIVE = 160 };
static bp_buffer *live[LIVE];
static size_t length[LIVE];

static void fill_edges(size_t i) {
    unsigned char *p = bp_buffer_data(live[i]);
    size_t edge = length[i] < 70000 ? length[i] : 70000;
    fill(p, edge, i);
    fill(p + length[i] - edge, edge, i + LIVE);
}

/* The second pattern was written last, so of a short buffer only it is whole. */
static bool edges_filled(size_t i) {
    const unsigned char *p = bp_buffer_data(live[i]);
    if (length[i] >= 140000 && !filled(p, 70000, i)) return false;
    size_t edge = length[i] < 70000 ? length[i] : 70000;
    return filled(p + length[i] - edge, edge, i + LIVE);
}

static size_t oversize_length(rng *r, size_t i) {
    static const size_t fixed[] = {129,     4095,        4096,    4097,         2 * MIB,
                                   4 * MIB, 4 * MIB + 1, 8 * MIB, 12 * MIB + 5, 20 * MIB};
    if (i < COUNT_OF(fixed)) return fixed[i];
    return 129 + rng_below(r, (size_t)1 << (4 + rng_below(r, 21)));
}

START_TEST(many_at_once) {
    rng r = {seed_of_run("many_at_once")};
    bp_pool *pool = small_pool();
    uint64_t requests = 0, bytes = 0;
    for (size_t i = 0; i < LIVE; i++) live[i] = NULL;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < LIVE; i++) {
            if (live[i] && rng_below(&r, 2)) continue;
            if (live[i]) ck_assert_int_eq(bp_buffer_release(pool, live[i]), BP_OK);
            length[i] = oversize_length(&r, i);
            live[i] = bp_buffer_get(pool, length[i]);
            ck_assert_ptr_nonnull(live[i]);
            ck_assert_uint_eq(bp_buffer_length(live[i]), length[i]);
            ck_assert_uint_eq((uintptr_t)bp_buffer_data(live[i]) % 64, 0);
            fill_edges(i);
            requests++;
            bytes += length[i];
        }
        for (size_t i = 0; i < LIVE; i++)
            ck_assert_msg(edges_filled(i), "buffer %zu of %zu bytes was written over", i,
                          length[i]);
        bp_stats s = stats_of(pool);
        ck_assert_uint_eq(s.discarded, requests);
        ck_assert_uint_eq(s.discarded_bytes, bytes);
        ck_assert_uint_eq(s.in_use, LIVE);
        ck_assert_uint_eq(s.total_get, 0);
        ASSERT_POOL(pool);
    }
    for (size_t i = 0; i < LIVE; i++) ck_assert_int_eq(bp_buffer_release(pool, live[i]), BP_OK);
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.discarded_put, requests);
    ck_assert_uint_eq(s.in_use_bytes, 0);
    ck_assert_uint_eq(s.idle_bytes, 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(raw_ones) {
    bp_pool *pool = small_pool();
    static const size_t sizes[] = {129, 4096, 100001, 4 * MIB, 4 * MIB + 1, 20 * MIB};
    unsigned char *p[COUNT_OF(sizes)];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t capacity = 0;
        p[i] = bp_raw_get(pool, sizes[i], &capacity);
        ck_assert_ptr_nonnull(p[i]);
        ck_assert_uint_eq(capacity, sizes[i]);
        p[i][0] = p[i][sizes[i] - 1] = (unsigned char)i;
    }
    bp_stats before = stats_of(pool);
    ck_assert_uint_eq(before.discarded, COUNT_OF(sizes));
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        ck_assert_uint_eq(p[i][0], i);
        ck_assert_uint_eq(p[i][sizes[i] - 1], i);
        ck_assert_int_eq(bp_raw_put(pool, p[i] + 1), BP_ERR_FOREIGN);
        ck_assert_int_eq(bp_raw_put(pool, p[i] + 64), BP_ERR_FOREIGN);
        ck_assert_int_eq(bp_raw_put(pool, p[i] + sizes[i] - 1), BP_ERR_FOREIGN);
    }
    ASSERT_UNCHANGED(pool, before);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        ck_assert_int_eq(bp_raw_put(pool, p[i]), BP_OK);
        before = stats_of(pool);
        /* its memory is gone: "no block of this pool" is as true as "given back" */
        int again = bp_raw_put(pool, p[i]);
        ck_assert(again == BP_ERR_DEAD || again == BP_ERR_FOREIGN);
        ASSERT_UNCHANGED(pool, before);
    }
    ck_assert_uint_eq(stats_of(pool).discarded_put, COUNT_OF(sizes));
    ck_assert_uint_eq(stats_of(pool).in_use, 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* Those that share a slab with live ones give their pages back as well. */
START_TEST(freed_beside_live_ones) {
    bp_pool *pool = small_pool();
    size_t n = 600000, before = memory_is_observable() ? resident() : 0;
    for (size_t i = 0; i < LIVE; i++) {
        live[i] = bp_buffer_get(pool, n);
        ck_assert_ptr_nonnull(live[i]);
        fill(bp_buffer_data(live[i]), n, i);
    }
    if (before) ck_assert_uint_gt(resident(), before + LIVE * n / 2);
    for (size_t i = 0; i < LIVE; i++)
        if (i % 16) ck_assert_int_eq(bp_buffer_release(pool, live[i]), BP_OK);
    if (before) ck_assert_uint_lt(resident(), before + LIVE / 16 * n + 8 * MIB);
    for (size_t i = 0; i < LIVE; i += 16) {
        ck_assert(filled(bp_buffer_data(live[i]), n, i));
        ck_assert_int_eq(bp_buffer_release(pool, live[i]), BP_OK);
    }
    ck_assert_uint_eq(stats_of(pool).owned_bytes, 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* Freed memory is the system's again, and its address space serves the next one:
 * 2 GiB of requests must neither stay resident nor use up 2 GiB of addresses. */
START_TEST(freed_at_the_last_release) {
    bp_pool *pool = small_pool();
    size_t before = memory_is_observable() ? resident() : 0;
    uint64_t reserved = 0;
    for (int i = 0; i < 100; i++) {
        size_t n = (size_t)(i % 20 + 1) * MIB;
        bp_buffer *b = bp_buffer_get(pool, n);
        ck_assert_ptr_nonnull(b);
        touch(bp_buffer_data(b), n);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
        ck_assert_uint_eq(stats_of(pool).owned_bytes, 0);
        if (i == 20) reserved = stats_of(pool).reserved_bytes;
    }
    ck_assert_uint_eq(stats_of(pool).reserved_bytes, reserved);
    if (before) ck_assert_uint_lt(resident(), before + 24 * MIB);
    ck_assert_uint_ge(stats_of(pool).peak_owned_bytes, 20 * MIB);
    ck_assert_uint_lt(stats_of(pool).peak_owned_bytes, 40 * MIB);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("oversize");
    TCase *tc = add_case(suite, "oversize");
    tcase_add_test(tc, counted_once);
    tcase_add_test(tc, references_and_put);
    tcase_add_test(tc, one_release_too_many);
    tcase_add_test(tc, many_at_once);
    tcase_add_test(tc, raw_ones);
    tcase_add_test(tc, freed_beside_live_ones);
    tcase_add_test(tc, freed_at_the_last_release);
    return run_suite(suite);
}
