/* One buffer and its neighbours: get, retain, release, put, accessors, statuses. */
#include <errno.h>

#include "support.h"

#define CREATE(pool)                            \
    bp_pool *pool = bp_pool_create(NULL, NULL); \
    ck_assert_ptr_nonnull(pool)

START_TEST(one_buffer_and_its_reuse) {
    CREATE(pool);
    bp_buffer *b = bp_buffer_get(pool, 4000);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_nonnull(bp_buffer_data(b));
    ck_assert_uint_eq(bp_buffer_length(b), 4000);
    ck_assert_uint_eq(bp_buffer_capacity(pool, b), 4096);
    ck_assert_uint_eq(bp_buffer_ref_count(b), 1);
    memset(bp_buffer_data(b), 0x5A, 4096);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);

    b = bp_buffer_get(pool, 2049);
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq(bp_buffer_length(b), 2049);
    ck_assert_int_eq(bp_buffer_put(pool, b), BP_OK);

    bp_stats s = stats_of(pool);
    size_t t = tier_serving(sizes_of(pool), s.tier_count, 4096);
    ck_assert_uint_eq(s.tiers[t].size, 4096);
    ck_assert_uint_eq(s.tiers[t].get, 2);
    ck_assert_uint_eq(s.tiers[t].put, 2);
    ck_assert_uint_eq(s.tiers[t].miss, 1);
    ck_assert_uint_eq(s.tiers[t].hit, 1);
    ck_assert_uint_eq(s.in_use, 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(length_zero_is_a_buffer) {
    CREATE(pool);
    bp_buffer *a = bp_buffer_get(pool, 0);
    bp_buffer *b = bp_buffer_get(pool, 0);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_ne(a, b);
    ck_assert_ptr_ne(bp_buffer_data(a), bp_buffer_data(b));
    ck_assert_uint_eq(bp_buffer_length(a), 0);
    ck_assert_uint_eq(bp_buffer_capacity(pool, a), 128);
    ck_assert_uint_eq(stats_of(pool).tiers[0].get, 2);
    ck_assert_int_eq(bp_buffer_release(pool, a), BP_OK);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(payloads_are_aligned_to_64) {
    static const size_t tiers[] = {1, 65, 100, 1000, 4097, 70001};
    bp_pool *pool = pool_of(tiers, COUNT_OF(tiers), 64 * MIB);
    ck_assert_ptr_nonnull(pool);
    bp_buffer *held[COUNT_OF(tiers) + 1][50];
    for (size_t t = 0; t <= COUNT_OF(tiers); t++)
        for (size_t i = 0; i < 50; i++) {
            /* the row past the tiers is oversize */
            size_t n = t < COUNT_OF(tiers) ? tiers[t] : 70002 + i * 1000;
            held[t][i] = bp_buffer_get(pool, n);
            ck_assert_ptr_nonnull(held[t][i]);
            ck_assert_uint_eq((uintptr_t)bp_buffer_data(held[t][i]) % 64, 0);
        }
    for (size_t t = 0; t <= COUNT_OF(tiers); t++)
        for (size_t i = 0; i < 50; i++)
            ck_assert_int_eq(bp_buffer_release(pool, held[t][i]), BP_OK);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(references_are_counted) {
    CREATE(pool);
    bp_buffer *b = bp_buffer_get(pool, 100);
    for (uint32_t i = 1; i < 1000; i++) {
        ck_assert_int_eq(bp_buffer_retain(b), BP_OK);
        ck_assert_uint_eq(bp_buffer_ref_count(b), i + 1);
    }
    ck_assert_uint_eq(stats_of(pool).in_use, 1);
    for (uint32_t i = 1000; i > 1; i--) {
        ck_assert_uint_eq(bp_buffer_ref_count(b), i);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
        ck_assert_uint_eq(stats_of(pool).total_put, 0);
    }
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    ck_assert_uint_eq(stats_of(pool).total_put, 1);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(one_release_too_many) {
    CREATE(pool);
    static const size_t sizes[] = {0, 128, 4096, 2 * MIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        bp_buffer *b = bp_buffer_get(pool, sizes[i]);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
        bp_stats before = stats_of(pool);
        for (int again = 0; again < 3; again++) {
            ck_assert_int_eq(bp_buffer_release(pool, b), BP_ERR_DEAD);
            ck_assert_int_eq(bp_buffer_retain(b), BP_ERR_DEAD);
            ck_assert_int_eq(bp_buffer_put(pool, b), BP_ERR_DEAD);
        }
        ASSERT_UNCHANGED(pool, before);
        ASSERT_POOL(pool);
    }
    /* the block must not sit in a free list twice */
    bp_buffer *x = bp_buffer_get(pool, 128), *y = bp_buffer_get(pool, 128);
    ck_assert_ptr_ne(x, y);
    ck_assert_int_eq(bp_buffer_release(pool, x), BP_OK);
    ck_assert_int_eq(bp_buffer_release(pool, y), BP_OK);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(put_of_a_shared_buffer) {
    CREATE(pool);
    bp_buffer *b = bp_buffer_get(pool, 500);
    ck_assert_int_eq(bp_buffer_retain(b), BP_OK);
    fill(bp_buffer_data(b), 500, 7);
    bp_stats before = stats_of(pool);
    ck_assert_int_eq(bp_buffer_put(pool, b), BP_ERR_SHARED);
    ASSERT_UNCHANGED(pool, before);
    ck_assert_uint_eq(bp_buffer_ref_count(b), 2);
    ck_assert(filled(bp_buffer_data(b), 500, 7));
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    ck_assert_int_eq(bp_buffer_put(pool, b), BP_OK);
    ck_assert_uint_eq(stats_of(pool).in_use, 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(put_of_what_is_no_buffer) {
    CREATE(pool);
    CREATE(other);
    bp_buffer *mine = bp_buffer_get(pool, 64);
    bp_buffer *theirs = bp_buffer_get(other, 64);
    bp_buffer *their_large = bp_buffer_get(other, 5 * MIB);
    uint64_t stack[16] = {0};
    char *heap = calloc(4, 64);
    void *wrong[] = {
        NULL,
        theirs,
        their_large,
        stack,
        (char *)stack + 1,
        heap,
        (char *)mine + 1,
        bp_buffer_data(mine),
        bp_buffer_data(theirs),
        (void *)(uintptr_t)1,
        (void *)(UINTPTR_MAX - 63),
    };
    bp_stats before = stats_of(pool), before_other = stats_of(other);
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        ck_assert_msg(bp_buffer_put(pool, wrong[i]) == BP_ERR_FOREIGN, "pointer %zu", i);
    ASSERT_UNCHANGED(pool, before);
    ASSERT_UNCHANGED(other, before_other);
    free(heap);
    ck_assert_int_eq(bp_buffer_put(other, theirs), BP_OK);
    ck_assert_int_eq(bp_buffer_put(other, their_large), BP_OK);
    ck_assert_int_eq(bp_buffer_put(pool, mine), BP_OK);
    ASSERT_POOL(pool);
    ASSERT_POOL(other);
    bp_pool_destroy(pool);
    bp_pool_destroy(other);
}
END_TEST

START_TEST(requests_that_are_refused) {
    CREATE(pool);
    bp_stats before = stats_of(pool);
    static const size_t sizes[] = {BP_MAX_SIZE + 1, SIZE_MAX / 2, SIZE_MAX};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        errno = 0;
        ck_assert_ptr_null(bp_buffer_get(pool, sizes[i]));
        ck_assert_int_eq(errno, EINVAL);
        errno = 0;
        ck_assert_ptr_null(bp_raw_get(pool, sizes[i], NULL));
        ck_assert_int_eq(errno, EINVAL);
    }
    ASSERT_UNCHANGED(pool, before);
    if (!SANITIZED) { /* sanitizers may end the process over a mapping this large */
        errno = 0;
        bp_buffer *b = bp_buffer_get(pool, BP_MAX_SIZE);
        if (b) {
            ck_assert_uint_eq(bp_buffer_length(b), BP_MAX_SIZE);
            ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
        } else {
            ck_assert_int_eq(errno, ENOMEM);
            ck_assert_uint_eq(stats_of(pool).requests, 0);
            ck_assert_uint_eq(stats_of(pool).discarded, 0);
        }
    }
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

static void tiers_at_their_edges(const size_t *tiers, size_t count) {
    bp_pool *pool = pool_of(tiers, count, 64 * MIB);
    ck_assert_ptr_nonnull(pool);
    for (size_t i = 0; i < count; i++)
        for (size_t n = tiers[i] - 1; n <= tiers[i] + 1; n++) {
            size_t t = tier_serving(tiers, count, n);
            bp_stats before = stats_of(pool);
            bp_buffer *b = bp_buffer_get(pool, n);
            ck_assert_ptr_nonnull(b);
            ck_assert_uint_eq(bp_buffer_length(b), n);
            ck_assert_uint_eq(bp_buffer_capacity(pool, b), t < count ? tiers[t] : n);
            fill(bp_buffer_data(b), n, n);
            ck_assert(filled(bp_buffer_data(b), n, n));
            bp_stats s = stats_of(pool);
            if (t < count) {
                ck_assert_uint_eq(s.tiers[t].get, before.tiers[t].get + 1);
                ck_assert_uint_eq(s.discarded, before.discarded);
            } else {
                ck_assert_uint_eq(s.total_get, before.total_get);
                ck_assert_uint_eq(s.discarded, before.discarded + 1);
            }
            ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
        }
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}

START_TEST(every_tier_at_its_edges) {
    size_t count = 0;
    const size_t *tiers = bp_size_power_of_two(&count);
    ck_assert_uint_eq(count, 15);
    ck_assert_uint_eq(tiers[0], 128);
    ck_assert_uint_eq(tiers[14], 2097152);
    tiers_at_their_edges(tiers, count);
    tiers = bp_size_stream(&count);
    ck_assert_uint_eq(count, 6);
    ck_assert_uint_eq(tiers[0], 1024);
    ck_assert_uint_eq(tiers[5], 131072);
    tiers_at_their_edges(tiers, count);
}
END_TEST

enum { LIVE = 3000 };
static bp_buffer *live[LIVE];

/* The whole capacity is the owner's, so the pattern covers it and not just the length. */
static void take(bp_pool *pool, size_t i, rng *r) {
    size_t n = rng_below(r, (size_t)1 << (4 + rng_below(r, 14)));
    live[i] = bp_buffer_get(pool, n);
    ck_assert_ptr_nonnull(live[i]);
    fill(bp_buffer_data(live[i]), bp_buffer_capacity(pool, live[i]), i);
}

START_TEST(neighbours_never_overlap) {
    static const size_t odd[] = {1, 63, 64, 65, 200, 777, 4096, 4999, 33333, 131072};
    rng r = {seed_of_run("neighbours_never_overlap")};
    bp_pool *pool = pool_of(odd, COUNT_OF(odd), 64 * MIB);
    ck_assert_ptr_nonnull(pool);
    for (size_t i = 0; i < LIVE; i++) take(pool, i, &r);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < LIVE; i++) {
            bp_buffer *b = live[i];
            ck_assert_msg(filled(bp_buffer_data(b), bp_buffer_capacity(pool, b), i),
                          "buffer %zu was written over", i);
        }
        for (size_t i = 0; i < LIVE; i++)
            if (rng_below(&r, 2)) {
                ck_assert_int_eq(bp_buffer_release(pool, live[i]), BP_OK);
                take(pool, i, &r);
            }
        ck_assert_uint_eq(stats_of(pool).in_use, LIVE);
        ASSERT_POOL(pool);
    }
    for (size_t i = 0; i < LIVE; i++) ck_assert_int_eq(bp_buffer_release(pool, live[i]), BP_OK);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(texts_and_version) {
    for (int s = BP_ERR_LIMIT; s <= BP_OK; s++) {
        ck_assert_ptr_nonnull(bp_strerror(s));
        ck_assert_uint_gt(strlen(bp_strerror(s)), 0);
        for (int other = BP_ERR_LIMIT; other < s; other++)
            ck_assert_str_ne(bp_strerror(s), bp_strerror(other));
    }
    ck_assert_ptr_nonnull(bp_strerror(1));
    ck_assert_ptr_nonnull(bp_strerror(-1000));
    ck_assert_str_eq(bp_version(), BP_VERSION);
}
END_TEST

/* The mark is a bit of the count: it must not show in it, nor stay for the next getter. */
START_TEST(a_frozen_buffer_counts_as_any_other) {
    CREATE(pool);
    bp_buffer *b = bp_buffer_get(pool, 100);
    ck_assert(!bp_buffer_is_frozen(b));
    ck_assert_int_eq(bp_buffer_freeze(b), BP_OK);
    ck_assert_int_eq(bp_buffer_freeze(b), BP_OK);
    ck_assert(bp_buffer_is_frozen(b));
    ck_assert_uint_eq(bp_buffer_ref_count(b), 1);
    ck_assert_int_eq(bp_buffer_retain(b), BP_OK);
    ck_assert_uint_eq(bp_buffer_ref_count(b), 2);
    ck_assert_int_eq(bp_buffer_put(pool, b), BP_ERR_SHARED);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    ck_assert(bp_buffer_is_frozen(b));
    ck_assert_int_eq(bp_buffer_put(pool, b), BP_OK);
    ck_assert_int_eq(bp_buffer_freeze(b), BP_ERR_DEAD);
    bp_buffer *next = bp_buffer_get(pool, 100);
    ck_assert_ptr_eq(next, b);
    ck_assert(!bp_buffer_is_frozen(next));
    ck_assert_int_eq(bp_buffer_freeze(next), BP_OK);
    ck_assert_int_eq(bp_buffer_release(pool, next), BP_OK);
    void *p = bp_raw_get(pool, 100, NULL);
    ck_assert_ptr_eq(p, bp_buffer_data(b));
    ck_assert_int_eq(bp_buffer_freeze(b), BP_ERR_KIND);
    ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
    bp_pool_destroy(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("buffer");
    TCase *tc = add_case(suite, "one");
    tcase_add_test(tc, one_buffer_and_its_reuse);
    tcase_add_test(tc, length_zero_is_a_buffer);
    tcase_add_test(tc, payloads_are_aligned_to_64);
    tcase_add_test(tc, references_are_counted);
    tc = add_case(suite, "misuse");
    tcase_add_test(tc, one_release_too_many);
    tcase_add_test(tc, put_of_a_shared_buffer);
    tcase_add_test(tc, put_of_what_is_no_buffer);
    tcase_add_test(tc, requests_that_are_refused);
    tc = add_case(suite, "many");
    tcase_add_test(tc, every_tier_at_its_edges);
    tcase_add_test(tc, neighbours_never_overlap);
    tcase_add_test(tc, texts_and_version);
    tcase_add_test(tc, a_frozen_buffer_counts_as_any_other);
    return run_suite(suite);
}
