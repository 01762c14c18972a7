/* Wiping: what a block holds when it is handed out, and what is left of it in memory when
 * it is idle, read behind the pool's back. */
#include "support.h"

static bp_pool *pool_that_wipes(bp_zero zero) {
    bp_options o;
    bp_options_init(&o);
    o.region_size = 64 * MIB;
    o.zero = zero;
    bp_pool *pool = bp_pool_create(&o, NULL);
    ck_assert_ptr_nonnull(pool);
    return pool;
}

static size_t not_zero(const unsigned char *p, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += p[i] != 0;
    }
    return count;
}

static const size_t lengths[] = {1, 100, 128, 4000, 65536, 2097152};

/* A block written whole, given back, seen idle, and handed out again. */
static void round_trip(bp_zero zero, size_t n, size_t *idle, size_t *again) {
    bp_pool *pool = pool_that_wipes(zero);
    size_t capacity;
    unsigned char *p = bp_raw_get(pool, n, &capacity);
    ck_assert_ptr_nonnull(p);
    memset(p, 0xaa, capacity);
    ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
    *idle = not_zero(p, capacity);
    unsigned char *q = bp_raw_get(pool, n, &capacity);
    ck_assert_ptr_eq(p, q);
    *again = not_zero(q, capacity);
    ck_assert_int_eq(bp_raw_put(pool, q), BP_OK);
    bp_pool_destroy(pool);
}

START_TEST(nothing_is_wiped_without_being_asked) {
    size_t idle, again;
    round_trip(BP_ZERO_NEVER, lengths[_i], &idle, &again);
    ck_assert_uint_gt(idle, 0);
    ck_assert_uint_gt(again, 0);
}
END_TEST

START_TEST(get_hands_out_zeroes) {
    size_t idle, again;
    round_trip(BP_ZERO_GET, lengths[_i], &idle, &again);
    ck_assert_uint_gt(idle, 0);
    ck_assert_uint_eq(again, 0);
}
END_TEST

START_TEST(release_leaves_zeroes) {
    size_t idle, again;
    round_trip(BP_ZERO_RELEASE, lengths[_i], &idle, &again);
    ck_assert_uint_eq(idle, 0);
    ck_assert_uint_eq(again, 0);
}
END_TEST

/* Through caches, depots and back, with more blocks than a cache holds; handles too. */
START_TEST(many_blocks_of_each_tier) {
    static bp_buffer *b[600];
    for (int zero = BP_ZERO_GET; zero <= BP_ZERO_RELEASE; zero++) {
        bp_pool *pool = pool_that_wipes((bp_zero)zero);
        for (int round = 0; round < 3; round++) {
            for (size_t i = 0; i < COUNT_OF(b); i++) {
                size_t n = lengths[i % 5];
                b[i] = bp_buffer_get(pool, n);
                size_t capacity = bp_buffer_capacity(pool, b[i]);
                ck_assert_uint_eq(not_zero(bp_buffer_data(b[i]), capacity), 0);
                memset(bp_buffer_data(b[i]), 0xbb, capacity);
                ck_assert_int_eq(bp_buffer_retain(b[i]), BP_OK);
            }
            for (size_t i = 0; i < COUNT_OF(b); i++) {
                ck_assert_int_eq(bp_buffer_release(pool, b[i]), BP_OK);
                ck_assert_int_eq(*(unsigned char *)bp_buffer_data(b[i]), 0xbb); /* one is left */
                ck_assert_int_eq(bp_buffer_release(pool, b[i]), BP_OK);
            }
        }
        char message[200] = "";
        ck_assert_msg(bp_pool_check(pool, message, sizeof message) == BP_OK, "%s", message);
        bp_stats s = stats_of(pool);
        ck_assert_uint_eq(s.in_use, 0);
        ck_assert_uint_gt(s.tiers[0].hit, 0);
        bp_pool_destroy(pool);
    }
}
END_TEST

START_TEST(an_unknown_way_to_wipe_is_refused) {
    bp_options o;
    bp_error error;
    bp_options_init(&o);
    o.zero = (bp_zero)3;
    ck_assert_ptr_null(bp_pool_create(&o, &error));
    ck_assert_int_eq(error.status, BP_ERR_ARG);
    ck_assert_str_eq(error.message, "zero must be BP_ZERO_NEVER, BP_ZERO_GET or BP_ZERO_RELEASE");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("zero");
    TCase *tc = add_case(suite, "zero");
    tcase_add_loop_test(tc, nothing_is_wiped_without_being_asked, 0, (int)COUNT_OF(lengths));
    tcase_add_loop_test(tc, get_hands_out_zeroes, 0, (int)COUNT_OF(lengths));
    tcase_add_loop_test(tc, release_leaves_zeroes, 0, (int)COUNT_OF(lengths));
    tcase_add_test(tc, many_blocks_of_each_tier);
    tcase_add_test(tc, an_unknown_way_to_wipe_is_refused);
    return run_suite(suite);
}
