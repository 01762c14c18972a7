/* max_bytes of the pool and of a tier: exact, and refused only where nothing can give way. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "change.h"
#include "threads.h"

static const bp_tier_limits none = {BP_NO_LIMIT, BP_NO_LIMIT, 1};

/* Refused for the quota, counted, and nothing else has changed. */
static void refused(bp_pool *pool, size_t n) {
    bp_stats before = stats_of(pool);
    errno = 0;
    ck_assert_ptr_null(bp_buffer_get(pool, n));
    ck_assert_int_eq(errno, EDQUOT);
    bp_stats after = stats_of(pool);
    ck_assert_uint_eq(after.over_quota, before.over_quota + 1);
    ck_assert_uint_eq(after.requests, before.requests);
    ck_assert_uint_eq(after.in_use_bytes, before.in_use_bytes);
    ck_assert_uint_le(after.owned_bytes, before.owned_bytes);
    ASSERT_POOL(pool);
}

/* ---- the pool's quota ------------------------------------------------------------ */

/* The last byte of it serves, and not one more: of large blocks and small, and alone ones. */
START_TEST(exactly_at_the_limit) {
    static const size_t tiers[] = {1000, 64 * KIB, 5 * MIB};
    static const size_t sizes[] = {1000, 64 * KIB, 5 * MIB, 6 * MIB};
    for (size_t t = 0; t < COUNT_OF(sizes); t++) {
        bp_options o = options_of(tiers, COUNT_OF(tiers));
        o.max_bytes = 7 * sizes[t];
        bp_pool *pool = pool_with(&o);
        bp_buffer *held[7];
        for (int round = 0; round < 2; round++) {
            for (size_t i = 0; i < 7; i++) held[i] = got(pool, sizes[t]);
            ck_assert_uint_eq(stats_of(pool).owned_bytes, o.max_bytes);
            refused(pool, sizes[t]);
            refused(pool, 1);
            refused(pool, 0);
            refused(pool, 20 * MIB);
            size_t capacity = 77;
            ck_assert_ptr_null(bp_raw_get(pool, sizes[t], &capacity));
            ck_assert_uint_eq(capacity, 77);
            for (size_t i = 0; i < 7; i++) give(pool, held[i]);
        }
        ck_assert_uint_eq(stats_of(pool).over_quota, 2 * 5);
        ck_assert_uint_eq(stats_of(pool).peak_owned_bytes, o.max_bytes);
        bp_pool_destroy(pool);
    }
}
END_TEST

START_TEST(one_byte_less_is_one_block_less) {
    static const size_t tiers[] = {1000};
    bp_options o = options_of(tiers, 1);
    o.max_bytes = 2999;
    bp_pool *pool = pool_with(&o);
    bp_buffer *a = got(pool, 1), *b = got(pool, 1000);
    refused(pool, 1);
    bp_buffer *alone = NULL;
    refused(pool, 1001);
    give(pool, a);
    give(pool, b);
    alone = got(pool, 2999); /* what idles gives way */
    refused(pool, 0);
    give(pool, alone);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(a_quota_of_nothing_and_of_all) {
    static const size_t tiers[] = {1000};
    bp_options o = options_of(tiers, 1);
    o.max_bytes = 0;
    bp_pool *pool = pool_with(&o);
    refused(pool, 1);
    refused(pool, 5000);
    ck_assert_int_eq(bp_pool_prewarm(pool, 1000, 1), BP_ERR_QUOTA);
    bp_pool_destroy(pool);
    o.max_bytes = SIZE_MAX - 1;
    pool = pool_with(&o);
    bp_buffer *a = got(pool, 10), *b = got(pool, MIB);
    errno = 0;
    ck_assert_ptr_null(bp_buffer_get(pool, SIZE_MAX));
    ck_assert_int_eq(errno, EINVAL);
    ck_assert_uint_eq(stats_of(pool).over_quota, 0);
    give(pool, a);
    give(pool, b);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* What a thread reserved for later gives way, too, whatever the bound on idle memory. */
START_TEST(what_is_reserved_gives_way) {
    static const size_t tiers[] = {1000, 8000};
    for (size_t idle = 0; idle <= 64 * MIB; idle += 32 * MIB) {
        bp_options o = options_of(tiers, COUNT_OF(tiers));
        o.max_idle = idle;
        o.max_bytes = 20 * 1000;
        bp_pool *pool = pool_with(&o);
        bp_buffer *small = got(pool, 1000); /* and 15 more are reserved */
        bp_buffer *large = got(pool, 8000);
        bp_buffer *alone = got(pool, 10999);
        refused(pool, 2);
        give(pool, small);
        give(pool, large);
        give(pool, alone);
        ASSERT_POOL(pool);
        bp_pool_destroy(pool);
    }
}
END_TEST

/* A part of what idles is all that is needed: it need not be as much as is asked for. */
START_TEST(little_idle_memory_gives_way) {
    static const size_t tiers[] = {64 * KIB};
    bp_options o = options_of(tiers, 1);
    o.max_idle = 256 * KIB;
    o.max_bytes = 1088 * KIB;
    bp_pool *pool = pool_with(&o);
    give(pool, got(pool, 64 * KIB));
    bp_buffer *alone = got(pool, 1088 * KIB);
    give(pool, alone);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* Below what is owned: nothing is taken from anybody, and what idles gives way at once. */
START_TEST(lowered_below_what_is_owned) {
    static const size_t tiers[] = {64 * KIB, 5 * MIB};
    bp_options o = options_of(tiers, COUNT_OF(tiers));
    bp_pool *pool = pool_with(&o);
    bp_buffer *large[4], *small = NULL;
    for (size_t i = 0; i < 4; i++) large[i] = got(pool, 5 * MIB);
    give(pool, large[3]);
    give(pool, large[2]);
    o.max_bytes = 10 * MIB + 64 * KIB;
    ck_assert_int_eq(bp_pool_configure(pool, &o, false, NULL), BP_OK);
    ck_assert_uint_eq(stats_of(pool).owned_bytes, 10 * MIB);
    small = got(pool, 64 * KIB);
    ck_assert_uint_eq(stats_of(pool).owned_bytes, o.max_bytes);
    o.max_bytes = MIB;
    ck_assert_int_eq(bp_pool_configure(pool, &o, false, NULL), BP_OK);
    refused(pool, 1);
    refused(pool, 3 * MIB);
    fill(bp_buffer_data(large[0]), 5 * MIB, 1);
    give(pool, large[1]);
    refused(pool, 1);
    ck_assert(filled(bp_buffer_data(large[0]), 5 * MIB, 1));
    give(pool, large[0]);
    bp_buffer *b = got(pool, 1);
    ck_assert_uint_le(stats_of(pool).owned_bytes, o.max_bytes);
    give(pool, small);
    give(pool, b);
    o.max_bytes = BP_NO_LIMIT;
    ck_assert_int_eq(bp_pool_configure(pool, &o, false, NULL), BP_OK);
    give(pool, got(pool, 30 * MIB));
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(prewarm_is_charged) {
    static const size_t tiers[] = {1000, 64 * KIB};
    bp_tier_limits limits[] = {{BP_NO_LIMIT, 10 * 1000, 1}, {BP_NO_LIMIT, BP_NO_LIMIT, 1}};
    bp_options o = options_of(tiers, COUNT_OF(tiers));
    o.limits = limits;
    o.max_bytes = 128 * KIB + 9999;
    bp_pool *pool = pool_with(&o);
    bp_stats before = stats_of(pool);
    ck_assert_int_eq(bp_pool_prewarm(pool, 1000, 11), BP_ERR_QUOTA);
    ck_assert_int_eq(bp_pool_prewarm(pool, 64 * KIB, 3), BP_ERR_QUOTA);
    ASSERT_UNCHANGED(pool, before);
    ck_assert_int_eq(bp_pool_prewarm(pool, 64 * KIB, 2), BP_OK);
    before = stats_of(pool);
    ck_assert_int_eq(bp_pool_prewarm(pool, 1000, 10), BP_ERR_QUOTA);
    ASSERT_UNCHANGED(pool, before);
    ck_assert_int_eq(bp_pool_prewarm(pool, 1000, 9), BP_OK);
    ck_assert_uint_eq(stats_of(pool).over_quota, 0); /* it counts gets */
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* One thread, and room by what it holds: then there is no refusal; no room: then there is one.
 * Blocks of a slab each, so that no live one pins another. */
START_TEST(never_without_need) {
    static const size_t tiers[] = {3 * MIB, 3 * MIB + 512 * KIB, 4 * MIB - 64, 6 * MIB, 9 * MIB};
    rng r = {seed_of_run("never_without_need")};
    for (int round = 0; round < 6; round++) {
        bp_options o = options_of(tiers, COUNT_OF(tiers));
        o.max_idle = rng_below(&r, 4) ? rng_below(&r, 256) * MIB : 0;
        o.max_bytes = (20 + rng_below(&r, 60)) * MIB + rng_below(&r, 9);
        bp_pool *pool = pool_with(&o);
        bp_buffer *held[32];
        size_t count = 0, bytes = 0, refusals = 0;
        for (int i = 0; i < 3000; i++) {
            if (count > 0 && (count == COUNT_OF(held) || rng_below(&r, 5) < 2)) {
                size_t at = rng_below(&r, count);
                bytes -= bp_buffer_capacity(pool, held[at]);
                give(pool, held[at]);
                held[at] = held[--count];
                continue;
            }
            size_t n = 2 * MIB + rng_below(&r, 9 * MIB);
            size_t tier = tier_serving(tiers, COUNT_OF(tiers), n);
            size_t block = tier < COUNT_OF(tiers) ? tiers[tier] : n;
            bp_buffer *b = bp_buffer_get(pool, n);
            ck_assert_msg((b != NULL) == (bytes + block <= o.max_bytes),
                          "%zu more than %zu bytes of %zu", block, bytes, o.max_bytes);
            if (b == NULL) {
                ck_assert_int_eq(errno, EDQUOT);
                refusals++;
            } else {
                held[count++] = b;
                bytes += block;
            }
            ck_assert_uint_le(stats_of(pool).owned_bytes, o.max_bytes);
        }
        ck_assert_uint_eq(stats_of(pool).over_quota, refusals);
        ck_assert_uint_le(stats_of(pool).peak_owned_bytes, o.max_bytes);
        while (count > 0) give(pool, held[--count]);
        ASSERT_POOL(pool);
        bp_pool_destroy(pool);
    }
}
END_TEST

/* What gives way is what is needed, and not all that idles: not in other threads, either. */
static bp_pool *shared;
static _Atomic int turn;

static void *trade_once(void *arg) {
    (void)arg;
    size_t wrong = 0;
    bp_buffer *b = bp_buffer_get(shared, 1000);
    wrong += b == NULL;
    atomic_store(&turn, 1);
    while (atomic_load(&turn) != 2) usleep(100);
    bp_buffer *c = bp_buffer_get(shared, 4 * MIB); /* a slow half: it hears of the shrink */
    wrong += c == NULL || bp_buffer_release(shared, c) != BP_OK;
    wrong += bp_buffer_release(shared, b) != BP_OK;
    return failures(wrong);
}

START_TEST(shrink_leaves_what_it_says) {
    static const size_t tiers[] = {1000, 4 * MIB};
    bp_options o = options_of(tiers, COUNT_OF(tiers));
    o.max_idle = 256 * MIB;
    shared = pool_with(&o);
    ck_assert_int_eq(bp_pool_prewarm(shared, 4 * MIB, 20), BP_OK);
    pthread_t other;
    start(&other, trade_once, NULL);
    while (atomic_load(&turn) != 1) usleep(100);
    ck_assert_uint_eq(bp_pool_shrink(shared, 60 * MIB), 20 * MIB);
    ck_assert_uint_le(stats_of(shared).tiers[1].depot, 15);
    atomic_store(&turn, 2);
    ck_assert_uint_eq(finish(other), 0);
    ck_assert_uint_eq(stats_of(shared).tiers[1].depot, 15);
    bp_pool_destroy(shared);
}
END_TEST

/* ---- a tier's quota ---------------------------------------------------------------- */

START_TEST(of_a_tier) {
    static const size_t tiers[] = {1000, 64 * KIB};
    bp_tier_limits limits[2] = {none, none};
    limits[0].max_bytes = 5 * 1000 + 999;
    bp_options o = options_of(tiers, COUNT_OF(tiers));
    o.limits = limits;
    bp_pool *pool = pool_with(&o);
    ck_assert_int_eq(bp_pool_prewarm(pool, 64 * KIB, 100), BP_OK);
    bp_buffer *held[5];
    for (size_t i = 0; i < 5; i++) held[i] = got(pool, 500);
    uint64_t idle = stats_of(pool).idle_bytes;
    for (int i = 0; i < 10; i++) refused(pool, 500);
    ck_assert_uint_eq(stats_of(pool).idle_bytes, idle); /* the others keep theirs */
    ck_assert_uint_eq(stats_of(pool).trimmed_bytes, 0);
    give(pool, got(pool, 64 * KIB));
    give(pool, got(pool, MIB));
    give(pool, held[4]);
    held[4] = got(pool, 1000);
    refused(pool, 1000);
    limits[0].max_bytes = 999; /* none at all */
    ck_assert_int_eq(bp_pool_configure(pool, &o, false, NULL), BP_OK);
    refused(pool, 1);
    for (size_t i = 0; i < 5; i++) give(pool, held[i]);
    ck_assert_uint_eq(stats_of(pool).tiers[0].max_bytes, 999);
    give(pool, got(pool, 1)); /* blocks that are there serve */
    (void)bp_pool_trim(pool);
    refused(pool, 1);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------- */

static const size_t mixed[] = {500, 4000, 64 * KIB, MIB, 4 * MIB};
static _Atomic bool stop;
static _Atomic uint64_t refusals, gets;

static void *press(void *arg) {
    rng r = {(uintptr_t)arg * 7919};
    bp_buffer *held[24];
    size_t count = 0, wrong = 0;
    while (!atomic_load(&stop)) {
        if (count > 0 && (count == COUNT_OF(held) || rng_below(&r, 3) == 0)) {
            wrong += bp_buffer_release(shared, held[--count]) != BP_OK;
            continue;
        }
        size_t n = rng_below(&r, rng_below(&r, 8) ? 4000 : 5 * MIB);
        bp_buffer *b = bp_buffer_get(shared, n);
        if (b) {
            held[count++] = b;
            gets++;
        } else {
            wrong += errno != EDQUOT;
            refusals++;
            if (count > 0) wrong += bp_buffer_release(shared, held[--count]) != BP_OK;
        }
    }
    while (count > 0) wrong += bp_buffer_release(shared, held[--count]) != BP_OK;
    return failures(wrong);
}

START_TEST(never_exceeded_under_threads) {
    bp_options o = options_of(mixed, COUNT_OF(mixed));
    o.max_bytes = 24 * MIB;
    shared = pool_with(&o);
    pthread_t ids[8];
    double seconds = SANITIZED ? 2 : 3;
    for (size_t i = 0; i < COUNT_OF(ids); i++) start(&ids[i], press, (void *)(i + 1));
    for (bp_stats s = stats_of(shared); s.uptime_seconds < seconds; s = stats_of(shared)) {
        ck_assert_uint_le(s.owned_bytes, o.max_bytes);
        ck_assert_uint_le(s.peak_owned_bytes, o.max_bytes);
        ck_assert_uint_eq(s.in_use_bytes + s.idle_bytes, s.owned_bytes);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < COUNT_OF(ids); i++) ck_assert_uint_eq(finish(ids[i]), 0);
    bp_stats s = stats_of(shared);
    ck_assert_uint_gt(refusals, 0);
    ck_assert_uint_gt(gets, 1000);
    ck_assert_uint_eq(s.over_quota, refusals);
    ck_assert_uint_eq(s.requests, gets);
    ck_assert_uint_eq(s.in_use, 0);
    ASSERT_POOL(shared);
    bp_pool_destroy(shared);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("quota");
    TCase *pools = add_case(suite, "pool");
    tcase_add_test(pools, exactly_at_the_limit);
    tcase_add_test(pools, one_byte_less_is_one_block_less);
    tcase_add_test(pools, a_quota_of_nothing_and_of_all);
    tcase_add_test(pools, what_is_reserved_gives_way);
    tcase_add_test(pools, little_idle_memory_gives_way);
    tcase_add_test(pools, lowered_below_what_is_owned);
    tcase_add_test(pools, prewarm_is_charged);
    tcase_add_test(pools, never_without_need);
    tcase_add_test(pools, shrink_leaves_what_it_says);
    tcase_add_test(pools, of_a_tier);
    TCase *threads = add_case(suite, "threads");
    tcase_add_test(threads, never_exceeded_under_threads);
    return run_suite(suite);
}
