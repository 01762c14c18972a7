/* Idle memory is bounded by max_idle, and trim gives it back to the system. */
#include <stdatomic.h>

#include "support.h"
#include "threads.h"

/* Shadow memory makes a touched byte cost several under the sanitizers. */
#define BURST (SANITIZED ? 64 * MIB : 512 * MIB)

static const size_t sizes[] = {1000, 4096, 64 * KIB, MIB, 5 * MIB};

static void shuffle(bp_buffer **held, size_t count, rng *r) {
    for (size_t i = count; i > 1; i--) {
        size_t k = rng_below(r, i);
        bp_buffer *swap = held[i - 1];
        held[i - 1] = held[k];
        held[k] = swap;
    }
}

/* Gets `bytes` of the tier all at once, touches them, releases them: in the same
 * order, or in a random one where r is given. */
static void burst(bp_pool *pool, size_t size, size_t bytes, rng *r) {
    size_t count = bytes / size;
    bp_buffer **held = malloc(count * sizeof(*held));
    ck_assert_ptr_nonnull(held);
    for (size_t i = 0; i < count; i++) {
        held[i] = bp_buffer_get(pool, size);
        ck_assert_ptr_nonnull(held[i]);
        touch(bp_buffer_data(held[i]), size);
    }
    ck_assert_uint_eq(stats_of(pool).in_use_bytes, count * size);
    if (r) shuffle(held, count, r);
    for (size_t i = 0; i < count; i++) ck_assert_int_eq(bp_buffer_release(pool, held[i]), BP_OK);
    free(held);
}

static void usable(bp_pool *pool) {
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        bp_buffer *a = bp_buffer_get(pool, sizes[i]), *b = bp_buffer_get(pool, sizes[i]);
        ck_assert_ptr_nonnull(a);
        ck_assert_ptr_nonnull(b);
        fill(bp_buffer_data(a), sizes[i], 1);
        fill(bp_buffer_data(b), sizes[i], 2);
        ck_assert(filled(bp_buffer_data(a), sizes[i], 1));
        ck_assert(filled(bp_buffer_data(b), sizes[i], 2));
        ck_assert_int_eq(bp_buffer_release(pool, a), BP_OK);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    }
}

START_TEST(a_burst_leaves_max_idle) {
    size_t max_idle = 16 * MIB;
    bp_pool *pool = pool_of(sizes, COUNT_OF(sizes), max_idle);
    ck_assert_ptr_nonnull(pool);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t before = memory_is_observable() ? resident() : 0;
        burst(pool, sizes[i], sizes[i] == 64 * KIB && !SANITIZED ? 256 * MIB : 64 * MIB, NULL);
        bp_stats s = stats_of(pool);
        ck_assert_uint_le(s.idle_bytes, max_idle);
        ck_assert_uint_eq(s.in_use_bytes, 0);
        ck_assert_uint_gt(s.idle_bytes, 0);
        ck_assert_uint_gt(s.trimmed_bytes, 0);
        if (before) ck_assert_uint_lt(resident(), before + max_idle + 24 * MIB);
        ASSERT_POOL(pool);
    }
    usable(pool);
    ck_assert_uint_le(stats_of(pool).idle_bytes, max_idle);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* Released in random order, blocks of every slab are among the last that come back:
 * what a cache keeps of them must not hold all the slabs above the bound. */
START_TEST(the_order_of_releases_does_not_matter) {
    rng r = {seed_of_run("the_order_of_releases_does_not_matter")};
    static const size_t max_idle[] = {0, MIB, 16 * MIB};
    for (size_t k = 0; k < COUNT_OF(max_idle); k++) {
        bp_pool *pool = pool_of(sizes, COUNT_OF(sizes), max_idle[k]);
        ck_assert_ptr_nonnull(pool);
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            burst(pool, sizes[i], 40 * MIB, &r);
            bp_stats s = stats_of(pool);
            ck_assert_msg(s.idle_bytes <= max_idle[k],
                          "tier %zu: %" PRIu64 " bytes idle, max_idle is %zu", sizes[i],
                          s.idle_bytes, max_idle[k]);
            ASSERT_POOL(pool);
        }
        usable(pool);
        bp_pool_destroy(pool);
    }
}
END_TEST

/* The bound is one for the pool, not one for each tier. */
START_TEST(all_tiers_share_the_bound) {
    size_t max_idle = 8 * MIB;
    bp_pool *pool = pool_of(sizes, COUNT_OF(sizes), max_idle);
    bp_buffer *held[COUNT_OF(sizes)][40];
    for (int round = 0; round < 3; round++) {
        for (size_t t = 0; t < COUNT_OF(sizes); t++)
            for (int i = 0; i < 40; i++) held[t][i] = bp_buffer_get(pool, sizes[t]);
        for (int i = 0; i < 40; i++)
            for (size_t t = 0; t < COUNT_OF(sizes); t++)
                ck_assert_int_eq(bp_buffer_release(pool, held[t][i]), BP_OK);
        ck_assert_uint_le(stats_of(pool).idle_bytes, max_idle);
        ASSERT_POOL(pool);
    }
    bp_pool_destroy(pool);
}
END_TEST

/* A block larger than a slab takes several, and each of them counts. */
START_TEST(blocks_of_many_slabs_keep_the_bound) {
    static const size_t large[] = {32 * MIB, 256 * MIB};
    for (size_t t = 0; t < COUNT_OF(large); t++) {
        bp_pool *pool = pool_of(large, COUNT_OF(large), 2 * large[t]);
        bp_buffer *held[8];
        for (size_t i = 0; i < COUNT_OF(held); i++) {
            held[i] = bp_buffer_get(pool, large[t]);
            ck_assert_ptr_nonnull(held[i]);
        }
        for (size_t i = 0; i < COUNT_OF(held); i++) {
            ck_assert_int_eq(bp_buffer_release(pool, held[i]), BP_OK);
            ck_assert_uint_le(stats_of(pool).idle_bytes, 2 * large[t]);
            ASSERT_POOL(pool);
        }
        bp_pool_destroy(pool);
    }
}
END_TEST

START_TEST(max_idle_zero_keeps_none) {
    bp_pool *pool = pool_of(sizes, COUNT_OF(sizes), 0);
    ck_assert_ptr_nonnull(pool);
    ck_assert_uint_eq(stats_of(pool).max_idle, 0);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        burst(pool, sizes[i], 20 * MIB, NULL);
        bp_stats s = stats_of(pool);
        ck_assert_uint_eq(s.idle_bytes, 0);
        ck_assert_uint_eq(s.owned_bytes, 0);
        ck_assert_uint_eq(s.tiers[i].idle, 0);
        ASSERT_POOL(pool);
    }
    ck_assert_int_eq(bp_pool_prewarm(pool, 1000, 1), BP_ERR_LIMIT);
    usable(pool);
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.idle_bytes, 0);
    ck_assert_uint_eq(bp_pool_trim(pool), 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(trim_gives_all_back) {
    bp_pool *pool = pool_of(sizes, COUNT_OF(sizes), 2 * GIB);
    ck_assert_ptr_nonnull(pool);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t before = memory_is_observable() ? resident() : 0;
        uint64_t trimmed = stats_of(pool).trimmed_bytes;
        size_t bytes = sizes[i] == 64 * KIB ? BURST : BURST / 4; /* page faults take the time */
        burst(pool, sizes[i], bytes, NULL);
        uint64_t idle = stats_of(pool).idle_bytes;
        ck_assert_uint_eq(idle, bytes / sizes[i] * sizes[i]);
        if (before) ck_assert_uint_gt(resident(), before + bytes / 2);
        ck_assert_uint_eq(bp_pool_trim(pool), idle);
        bp_stats s = stats_of(pool);
        ck_assert_uint_eq(s.idle_bytes, 0);
        ck_assert_uint_eq(s.tiers[i].cached, 0);
        ck_assert_uint_eq(s.trimmed_bytes, trimmed + idle);
        if (before) ck_assert_uint_lt(resident(), before + 16 * MIB);
        ASSERT_POOL(pool);
    }
    ck_assert_uint_eq(bp_pool_trim(pool), 0);
    usable(pool);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* A GiB over all tiers, touched: idle as a whole before the trim, or trimmed by the default
 * bound already. */
START_TEST(a_touched_gib_goes_back) {
    enum { CYCLES = 256, MOST = 15 };
    static bp_buffer *held[CYCLES][MOST];
    bp_options o;
    bp_options_init(&o);
    if (_i) o.max_idle = 2 * GIB;
    size_t before = resident(), bytes = 0;
    bp_pool *pool = bp_pool_create(&o, NULL);
    ck_assert_ptr_nonnull(pool);
    ck_assert_uint_eq(o.tier_count, MOST);
    for (size_t i = 0; i < CYCLES; i++)
        for (size_t t = 0; t < MOST; t++) {
            held[i][t] = bp_buffer_get(pool, o.tiers[t]);
            ck_assert_ptr_nonnull(held[i][t]);
            touch(bp_buffer_data(held[i][t]), o.tiers[t]);
            bytes += o.tiers[t];
        }
    size_t full = resident();
    for (size_t i = 0; i < CYCLES; i++)
        for (size_t t = 0; t < MOST; t++)
            ck_assert_int_eq(bp_buffer_release(pool, held[i][t]), BP_OK);
    uint64_t idle = stats_of(pool).idle_bytes;
    size_t released = resident();
    ck_assert_uint_eq(bp_pool_trim(pool), idle);
    size_t trimmed = resident();
    printf("idle: max_idle %zu MiB: resident %zu MiB, with %zu MiB out %zu, released %zu, trimmed "
           "%zu\n",
           o.max_idle / MIB, before / MIB, bytes / MIB, full / MIB, released / MIB, trimmed / MIB);
    if (_i) ck_assert_uint_eq(idle, bytes);
    ck_assert_uint_gt(full, before + bytes - 16 * MIB);
    ck_assert_uint_le(idle, o.max_idle);
    ck_assert_uint_lt(trimmed, before + 16 * MIB);
    ASSERT_POOL(pool);
    usable(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* Live blocks pin their slabs; what they hold must survive the trim around them. */
static void *get_and_release(void *arg) {
    bp_pool *pool = ((void **)arg)[0];
    pthread_barrier_t *turn = ((void **)arg)[1];
    size_t wrong = 0;
    for (int i = 0; i < 2; i++) {
        bp_buffer *b = bp_buffer_get(pool, 64 * KIB);
        bp_buffer *alone = bp_buffer_get(pool, 6 * MIB); /* a slow half */
        wrong += b == NULL || bp_buffer_release(pool, b) != BP_OK;
        wrong += alone == NULL || bp_buffer_release(pool, alone) != BP_OK;
        pthread_barrier_wait(turn);
        pthread_barrier_wait(turn);
    }
    return failures(wrong);
}

/* A thread that follows gives up what its cache holds, and no more. */
START_TEST(shrink_leaves_its_share_where_other_threads_follow) {
    bp_pool *pool = pool_of(sizes, COUNT_OF(sizes), 256 * MIB);
    pthread_barrier_t turn;
    ck_assert_int_eq(pthread_barrier_init(&turn, NULL, 2), 0);
    void *arg[] = {pool, &turn};
    pthread_t id;
    start(&id, get_and_release, arg);
    pthread_barrier_wait(&turn);
    burst(pool, 64 * KIB, 64 * MIB, NULL);
    ck_assert_uint_gt(bp_pool_shrink(pool, 32 * MIB), 16 * MIB);
    size_t left = stats_of(pool).idle_bytes;
    ck_assert_uint_gt(left, 24 * MIB);
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    ck_assert_uint_gt(stats_of(pool).idle_bytes, 24 * MIB);
    pthread_barrier_wait(&turn);
    ck_assert_uint_eq(finish(id), 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
    pthread_barrier_destroy(&turn);
}
END_TEST

/* Also for what the cache of the thread that makes the change holds. */
START_TEST(a_lower_bound_counts_at_once) {
    bp_pool *pool = pool_of(sizes, COUNT_OF(sizes), 64 * MIB);
    burst(pool, 4096, 200 * 4096, NULL);
    ck_assert_uint_eq(stats_of(pool).idle_bytes, 200 * 4096);
    bp_options o;
    bp_options_init(&o);
    o.tiers = sizes;
    o.tier_count = COUNT_OF(sizes);
    o.max_idle = 0;
    ck_assert_int_eq(bp_pool_configure(pool, &o, false, NULL), BP_OK);
    ck_assert_uint_eq(stats_of(pool).idle_bytes, 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

static atomic_uint_least64_t given; /* what shrinks returned */

/* The shrinks of one thread: a burst, of which half may stay. */
static void *bursts_and_shrinks(void *arg) {
    bp_pool *pool = arg;
    bp_buffer *held[64];
    size_t wrong = 0;
    for (int i = 0; i < 200; i++) {
        for (size_t k = 0; k < COUNT_OF(held); k++) held[k] = bp_buffer_get(pool, MIB);
        for (size_t k = 0; k < COUNT_OF(held); k++)
            wrong += held[k] == NULL || bp_buffer_release(pool, held[k]) != BP_OK;
        atomic_fetch_add(&given, bp_pool_shrink(pool, 32 * MIB));
    }
    return failures(wrong);
}

/* Each counts what it gave back itself, and a thread that follows a shrink tells nobody. */
START_TEST(shrinks_of_several_threads_count_nothing_twice) {
    bp_pool *pool = pool_of(sizes, COUNT_OF(sizes), GIB);
    pthread_t ids[2];
    for (size_t i = 0; i < COUNT_OF(ids); i++) start(&ids[i], bursts_and_shrinks, pool);
    for (size_t i = 0; i < COUNT_OF(ids); i++) ck_assert_uint_eq(finish(ids[i]), 0);
    ck_assert_uint_gt(given, 0);
    ck_assert_uint_le(given, stats_of(pool).trimmed_bytes);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(trim_beside_live_blocks) {
    enum { COUNT = 4000 };
    static bp_buffer *held[COUNT];
    bp_pool *pool = pool_of(sizes, COUNT_OF(sizes), GIB);
    for (size_t i = 0; i < COUNT; i++) {
        held[i] = bp_buffer_get(pool, 4096);
        fill(bp_buffer_data(held[i]), 4096, i);
    }
    for (size_t i = 0; i < COUNT; i++)
        if (i % 1000) ck_assert_int_eq(bp_buffer_release(pool, held[i]), BP_OK);
    bp_pool_trim(pool);
    for (size_t i = 0; i < COUNT; i += 1000) ck_assert(filled(bp_buffer_data(held[i]), 4096, i));
    ck_assert_uint_eq(stats_of(pool).in_use, 4);
    ASSERT_POOL(pool);
    usable(pool);
    for (size_t i = 0; i < COUNT; i += 1000) {
        ck_assert(filled(bp_buffer_data(held[i]), 4096, i));
        ck_assert_int_eq(bp_buffer_release(pool, held[i]), BP_OK);
    }
    bp_pool_trim(pool);
    ck_assert_uint_eq(stats_of(pool).owned_bytes, 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* An emptied slab must serve any tier again, or address space is lost each time. */
START_TEST(trimmed_slabs_serve_other_tiers) {
    bp_pool *pool = pool_of(sizes, COUNT_OF(sizes), GIB);
    uint64_t reserved = 0;
    rng r = {1};
    for (int round = 0; round < 40; round++) {
        size_t t = (size_t)round % COUNT_OF(sizes);
        burst(pool, sizes[t], 15 * MIB, round % 2 ? &r : NULL);
        bp_pool_trim(pool);
        ck_assert_uint_eq(stats_of(pool).owned_bytes, 0);
        if (round == 0) reserved = stats_of(pool).reserved_bytes;
        ASSERT_POOL(pool);
    }
    ck_assert_uint_eq(stats_of(pool).reserved_bytes, reserved);
    bp_pool_destroy(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("idle");
    TCase *tc = add_case(suite, "bound");
    tcase_add_test(tc, a_burst_leaves_max_idle);
    tcase_add_test(tc, the_order_of_releases_does_not_matter);
    tcase_add_test(tc, all_tiers_share_the_bound);
    tcase_add_test(tc, blocks_of_many_slabs_keep_the_bound);
    tcase_add_test(tc, max_idle_zero_keeps_none);
    tc = add_case(suite, "trim");
    tcase_add_test(tc, trim_gives_all_back);
    if (memory_is_observable()) tcase_add_loop_test(tc, a_touched_gib_goes_back, 0, 2);
    else printf("idle: a GiB skipped, the process's memory is not observable here\n");
    tcase_add_test(tc, shrink_leaves_its_share_where_other_threads_follow);
    tcase_add_test(tc, shrinks_of_several_threads_count_nothing_twice);
    tcase_add_test(tc, a_lower_bound_counts_at_once);
    tcase_add_test(tc, trim_beside_live_blocks);
    tcase_add_test(tc, trimmed_slabs_serve_other_tiers);
    return run_suite(suite);
}
