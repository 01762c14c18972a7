/* A change of the tier table in every kind of pool, and to every kind of tier. */
#include "change.h"

static const size_t first[] = {100, 1000, 64 * KIB, MIB};
static const size_t second[] = {300, 1000, 4096, 5 * MIB};

static int change(bp_pool *pool, const size_t *tiers, size_t count) {
    bp_options o = options_of(tiers, count);
    return bp_pool_configure(pool, &o, false, NULL);
}

static int change_to(bp_pool *pool, size_t number) {
    return number % 2 ? change(pool, second, COUNT_OF(second))
                      : change(pool, first, COUNT_OF(first));
}

/* Each length by the table that holds now; all that was got is home afterwards. */
static void serves(bp_pool *pool, const size_t *tiers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        for (size_t n = tiers[i] - 1; n <= tiers[i] + 1; n++) {
            size_t tier = tier_serving(tiers, count, n);
            bp_buffer *b = got(pool, n);
            ck_assert_uint_eq(bp_buffer_capacity(pool, b), tier < count ? tiers[tier] : n);
            fill(bp_buffer_data(b), n, n);
            ck_assert(filled(bp_buffer_data(b), n, n));
            give(pool, b);
        }
    }
    ASSERT_POOL(pool);
}

/* Tiers of one byte need more headers than the regions were made for; and back. */
START_TEST(smaller_tiers_than_the_region_was_made_for) {
    static const size_t large[] = {64 * KIB}, bytes[] = {1, 2, 65}, runs[] = {9 * MIB};
    bp_options o = options_of(large, 1);
    o.region_size = 64 * MIB;
    bp_pool *pool = bp_pool_create(&o, NULL);
    bp_buffer *kept = got(pool, 64 * KIB), *held[20000];
    fill(bp_buffer_data(kept), 64 * KIB, 1);
    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(change(pool, bytes, COUNT_OF(bytes)), BP_OK);
        for (size_t i = 0; i < COUNT_OF(held); i++) {
            held[i] = got(pool, 1 + i % 2);
            *(unsigned char *)bp_buffer_data(held[i]) = (unsigned char)i;
        }
        for (size_t i = 0; i < COUNT_OF(held); i++)
            ck_assert_uint_eq(*(unsigned char *)bp_buffer_data(held[i]), i % 256);
        ASSERT_POOL(pool);
        serves(pool, bytes, COUNT_OF(bytes));
        ck_assert_int_eq(change(pool, large, 1), BP_OK);
        serves(pool, large, 1);
        ck_assert_int_eq(change(pool, runs, 1), BP_OK);
        serves(pool, runs, 1);
        for (size_t i = 0; i < COUNT_OF(held); i++) {
            void *p = bp_buffer_data(held[i]);
            ck_assert_int_eq(bp_raw_put(pool, p), BP_ERR_KIND); /* it finds the header, still */
            ck_assert_int_eq(bp_buffer_put(pool, held[i]), BP_OK);
        }
        serves(pool, runs, 1);
    }
    ck_assert(filled(bp_buffer_data(kept), 64 * KIB, 1));
    ck_assert_int_eq(bp_buffer_put(pool, kept), BP_OK);
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.tier_count, 1);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(tiers_of_runs) {
    static const size_t runs[] = {5 * MIB, 9 * MIB}, others[] = {4 * MIB, 9 * MIB, 20 * MIB};
    bp_pool *pool = pool_of(runs, COUNT_OF(runs), 64 * MIB);
    bp_buffer *a = got(pool, 5 * MIB), *b = got(pool, 9 * MIB);
    size_t capacity;
    void *p = bp_raw_get(pool, 5 * MIB, &capacity);
    fill(bp_buffer_data(a), 5 * MIB, 1);
    fill(bp_buffer_data(b), 9 * MIB, 2);
    fill(p, 5 * MIB, 3);
    ck_assert_int_eq(change(pool, others, COUNT_OF(others)), BP_OK);
    serves(pool, others, COUNT_OF(others));
    ck_assert(filled(bp_buffer_data(a), 5 * MIB, 1) && filled(bp_buffer_data(b), 9 * MIB, 2));
    ck_assert(filled(p, 5 * MIB, 3));
    ck_assert_int_eq(bp_raw_put(pool, (char *)p + 4 * MIB), BP_ERR_FOREIGN);
    ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
    give(pool, a);
    give(pool, b);
    ck_assert_uint_eq(stats_of(pool).drained.get, 2);
    serves(pool, others, COUNT_OF(others));
    bp_pool_destroy(pool);
}
END_TEST

/* The largest that a tier can be: never got, only in tables and back. */
START_TEST(tiers_up_to_the_largest) {
    static const size_t largest[] = {1, BP_MAX_SIZE - 1, BP_MAX_SIZE};
    bp_pool *pool = pool_of(largest, COUNT_OF(largest), 0);
    ck_assert_ptr_nonnull(pool);
    for (int i = 0; i < 4; i++) {
        give(pool, got(pool, 1));
        ASSERT_POOL(pool);
        ck_assert_int_eq(i % 2 ? change(pool, largest, COUNT_OF(largest)) : change_to(pool, 0),
                         BP_OK);
    }
    bp_options o = options_of(largest, COUNT_OF(largest));
    o.max_waste = 0;
    o.max_bytes = SIZE_MAX - 1;
    ck_assert_int_eq(bp_pool_configure(pool, &o, false, NULL), BP_OK);
    bp_buffer *b = got(pool, MIB);
    ck_assert(bp_buffer_is_alone(b));
    give(pool, b);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* Where get or release always takes its slow half. */
START_TEST(pools_of_every_kind) {
    for (int kind = 0; kind < 5; kind++) {
        bp_options o = options_of(first, COUNT_OF(first));
        o.recent_mode = kind == 1 ? BP_RECENT_EXACT : BP_RECENT_RELAXED;
        o.zero = kind == 2 ? BP_ZERO_GET : kind == 3 ? BP_ZERO_RELEASE : BP_ZERO_NEVER;
        o.debug = kind == 4;
        bp_pool *pool = bp_pool_create(&o, NULL);
        for (size_t i = 1; i < 8; i++) {
            bp_buffer *b = got(pool, 90 + i), *c = got(pool, 4000);
            if (kind == 2) ck_assert(*(char *)bp_buffer_data(b) == 0);
            memset(bp_buffer_data(b), 77, bp_buffer_capacity(pool, b));
            ck_assert_int_eq(change_to(pool, i), BP_OK);
            give(pool, b);
            serves(pool, i % 2 ? second : first, 4);
            give(pool, c);
        }
        bp_stats s = stats_of(pool);
        ck_assert_uint_eq(s.requests, 7 * (2 + 12));
        ck_assert_uint_eq(s.overruns + s.late_writes, 0);
        uint64_t last[2];
        ck_assert_uint_eq(bp_pool_recent(pool, last, 2), 2);
        ck_assert(last[0] == 5 * MIB && last[1] == 5 * MIB + 1);
        bp_pool_destroy(pool);
    }
}
END_TEST

START_TEST(opened_twice_and_closed) {
    bp_options o = options_of(first, COUNT_OF(first));
    o.name = "change";
    bp_pool *pool = bp_pool_create(&o, NULL);
    ck_assert_ptr_eq(bp_pool_open("change"), pool);
    ck_assert_int_eq(change_to(pool, 1), BP_OK);
    ck_assert_ptr_eq(bp_pool_open("change"), pool);
    bp_pool_destroy(pool);
    serves(pool, second, COUNT_OF(second));
    bp_pool_destroy(pool);
    ck_assert_int_eq(bp_pool_rollback(pool, false, NULL), BP_OK);
    serves(pool, first, COUNT_OF(first));
    bp_buffer *b = got(pool, 100);
    ck_assert_int_eq(change_to(pool, 1), BP_OK);
    bp_buffer *c = got(pool, 100);
    bp_pool_destroy(pool);
    ck_assert_ptr_null(bp_pool_open("change"));
    give(pool, b); /* its tier had drained but for it */
    give(pool, c);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tables");
    TCase *kinds = add_case(suite, "kinds");
    tcase_add_test(kinds, smaller_tiers_than_the_region_was_made_for);
    tcase_add_test(kinds, tiers_of_runs);
    tcase_add_test(kinds, tiers_up_to_the_largest);
    tcase_add_test(kinds, pools_of_every_kind);
    tcase_add_test(kinds, opened_twice_and_closed);
    return run_suite(suite);
}
