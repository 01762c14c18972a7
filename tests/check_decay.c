/* bp_pool_tick gives back what nobody needed for the time of decay, and only that. */
#include <pthread.h>
#include <stdatomic.h>

#include "support.h"
#include "threads.h"

#define DECAY 0.2
#define EVERY 0.01 /* seconds between two ticks */

/* What the contract of bp_pool_tick says of that, and what a busy machine may add. */
#define GONE  (1.5 * DECAY + 3 * EVERY)
#define SLACK (SANITIZED ? 2.0 : 1.0)

static const size_t tiers[] = {1000, 64 * KIB, MIB, 5 * MIB};

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static bp_pool *pool_with(double decay) {
    bp_options o;
    bp_options_init(&o);
    o.tiers = tiers;
    o.tier_count = COUNT_OF(tiers);
    o.max_idle = GIB;
    o.decay = decay;
    bp_pool *pool = bp_pool_create(&o, NULL);
    ck_assert_ptr_nonnull(pool);
    return pool;
}

static void burst(bp_pool *pool, size_t size, size_t bytes) {
    size_t count = bytes / size;
    bp_buffer **held = malloc(count * sizeof *held);
    ck_assert_ptr_nonnull(held);
    for (size_t i = 0; i < count; i++) {
        held[i] = bp_buffer_get(pool, size);
        ck_assert_ptr_nonnull(held[i]);
        touch(bp_buffer_data(held[i]), size);
    }
    for (size_t i = 0; i < count; i++) ck_assert_int_eq(bp_buffer_release(pool, held[i]), BP_OK);
    free(held);
}

/* Ticks for so long, or until no more idles; returns the bytes that went. */
static size_t tick_for(bp_pool *pool, double time, size_t idle) {
    double end = seconds() + time;
    size_t given = 0;
    while (seconds() < end && stats_of(pool).idle_bytes > idle) {
        given += bp_pool_tick(pool);
        usleep((useconds_t)(EVERY * 1e6));
    }
    return given;
}

/* ---- after a burst ------------------------------------------------------------- */

START_TEST(a_burst_goes_in_time) {
    for (size_t t = 0; t < COUNT_OF(tiers); t++) {
        bp_pool *pool = pool_with(DECAY);
        size_t before = memory_is_observable() ? resident() : 0;
        (void)bp_pool_tick(pool);
        burst(pool, tiers[t], 64 * MIB);
        (void)bp_pool_tick(pool);
        uint64_t idle = stats_of(pool).idle_bytes;
        ck_assert_uint_eq(idle, 64 * MIB / tiers[t] * tiers[t]);
        if (memory_is_observable()) ck_assert_uint_gt(resident(), before + 32 * MIB);
        double began = seconds();
        /* Half a decay more: what the cache of this thread holds it gives up first. */
        size_t given = tick_for(pool, GONE + DECAY / 2 + SLACK, 0);
        bp_stats s = stats_of(pool);
        ck_assert_msg(s.idle_bytes == 0, "%" PRIu64 " of %zu idle after %g s", s.idle_bytes,
                      tiers[t], seconds() - began);
        ck_assert_double_ge(seconds() - began, DECAY - 2 * EVERY);
        ck_assert_uint_eq(given, idle);
        ck_assert_uint_eq(s.decayed_bytes, idle);
        ck_assert_uint_eq(s.trimmed_bytes, idle);
        ck_assert_uint_eq(s.trims, 0);
        if (memory_is_observable()) ck_assert_uint_lt(resident(), before + 8 * MIB);
        burst(pool, tiers[t], 8 * MIB);
        ASSERT_POOL(pool);
        bp_pool_destroy(pool);
    }
}
END_TEST

/* What others hold keeps its slab, and goes later. */
START_TEST(live_blocks_keep_their_slabs) {
    bp_pool *pool = pool_with(DECAY);
    burst(pool, 64 * KIB, 32 * MIB);
    bp_buffer *b = bp_buffer_get(pool, 64 * KIB);
    fill(bp_buffer_data(b), 64 * KIB, 5);
    (void)tick_for(pool, GONE + DECAY + SLACK, 4 * MIB);
    bp_stats s = stats_of(pool);
    ck_assert_uint_le(s.idle_bytes, 4 * MIB);
    ck_assert_uint_eq(s.in_use, 1);
    ck_assert(filled(bp_buffer_data(b), 64 * KIB, 5));
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    (void)tick_for(pool, GONE + DECAY + SLACK, 0);
    ck_assert_uint_eq(stats_of(pool).owned_bytes, 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* ---- what is needed stays --------------------------------------------------------- */

/* A burst every so often, and a steady trickle: misses after the first burst. */
static uint64_t misses_of(bool tick, double every, size_t rounds) {
    bp_pool *pool = pool_with(DECAY);
    burst(pool, 64 * KIB, 24 * MIB);
    uint64_t first = stats_of(pool).tiers[1].miss;
    for (size_t round = 0; round < rounds; round++) {
        double end = seconds() + every;
        while (seconds() < end) {
            bp_buffer *b = bp_buffer_get(pool, 64 * KIB);
            ck_assert_ptr_nonnull(b);
            ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
            if (tick) (void)bp_pool_tick(pool);
            usleep(1000);
        }
        burst(pool, 64 * KIB, 24 * MIB);
    }
    uint64_t more = stats_of(pool).tiers[1].miss - first;
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
    return more;
}

START_TEST(a_burst_that_comes_back_meets_its_blocks) {
    ck_assert_uint_eq(misses_of(false, DECAY * 0.6, 8), 0);
    ck_assert_uint_eq(misses_of(true, DECAY * 0.6, 8), 0);
}
END_TEST

/* One that stays away for longer does not: so the case before can fail. */
START_TEST(a_burst_that_is_late_does_not) {
    ck_assert_uint_gt(misses_of(true, 2 * DECAY + SLACK / 4, 2), 100);
}
END_TEST

/* A tier that is used keeps a slab; one that is not keeps nothing. */
START_TEST(a_hot_tier_keeps_a_slab) {
    bp_pool *pool = pool_with(DECAY);
    burst(pool, MIB, 40 * MIB);
    burst(pool, 64 * KIB, 40 * MIB);
    uint64_t miss = stats_of(pool).tiers[2].miss;
    double end = seconds() + GONE + DECAY + SLACK / 2;
    while (seconds() < end) {
        bp_buffer *b = bp_buffer_get(pool, MIB);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
        (void)bp_pool_tick(pool);
        usleep(2000);
    }
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.tiers[2].miss, miss);
    ck_assert_uint_ge(s.tiers[2].owned, 2);
    ck_assert_uint_le(s.tiers[2].owned, 8);
    ck_assert_uint_eq(s.tiers[1].owned, 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* Who only gets uses what its cache holds, as does a thread that only gives back. */
START_TEST(a_cache_that_only_gets_keeps_its_blocks) {
    bp_pool *pool = pool_with(DECAY);
    burst(pool, 1000, 64 * KIB);
    bp_buffer *held[8];
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        held[i] = bp_buffer_get(pool, 1000);
        usleep((useconds_t)(0.6 * DECAY * 1e6)); /* a window is half of it */
        (void)bp_pool_tick(pool);
        ck_assert_uint_gt(stats_of(pool).tiers[0].cached, 0);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        ck_assert_int_eq(bp_buffer_release(pool, held[i]), BP_OK);
    (void)tick_for(pool, GONE + DECAY + SLACK, 0);
    ck_assert_uint_eq(stats_of(pool).idle_bytes, 0);
    bp_pool_destroy(pool);
}
END_TEST

/* ---- options ------------------------------------------------------------------------ */

START_TEST(never_with_decay_0) {
    bp_pool *pool = pool_with(0);
    burst(pool, MIB, 8 * MIB);
    bp_stats before = stats_of(pool);
    ck_assert_uint_eq(tick_for(pool, 2 * DECAY, 0), 0);
    ASSERT_UNCHANGED(pool, before);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(never_without_tick) {
    bp_pool *pool = pool_with(0.001);
    burst(pool, MIB, 8 * MIB);
    bp_stats before = stats_of(pool);
    usleep(50000);
    ASSERT_UNCHANGED(pool, before);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(the_longest_and_the_shortest) {
    bp_pool *pool = pool_with(1e9);
    burst(pool, MIB, 8 * MIB);
    bp_stats before = stats_of(pool);
    ck_assert_uint_eq(tick_for(pool, 0.1, 0), 0);
    ASSERT_UNCHANGED(pool, before);
    bp_pool_destroy(pool);
    pool = pool_with(1e-300);
    burst(pool, MIB, 8 * MIB);
    (void)tick_for(pool, SLACK, 0);
    ck_assert_uint_eq(stats_of(pool).idle_bytes, 0);
    bp_pool_destroy(pool);
}
END_TEST

/* A shorter decay begins when it is set, not when what was due by the one before is. */
START_TEST(a_change_of_decay_counts_at_once) {
    bp_options o;
    bp_options_init(&o);
    o.tiers = tiers;
    o.tier_count = COUNT_OF(tiers);
    bp_pool *pool = pool_with(1e6);
    (void)bp_pool_tick(pool);
    burst(pool, MIB, 8 * MIB);
    o.decay = DECAY;
    ck_assert_int_eq(bp_pool_configure(pool, &o, false, NULL), BP_OK);
    (void)bp_buffer_release(pool, bp_buffer_get(pool, MIB)); /* takes the change up */
    (void)tick_for(pool, GONE + DECAY + SLACK, 0);
    ck_assert_uint_eq(stats_of(pool).idle_bytes, 0);
    bp_pool_destroy(pool);
}
END_TEST

/* A change that leaves decay alone does not put off, or hasten, what is due. */
START_TEST(changes_do_not_hasten) {
    bp_options o;
    bp_options_init(&o);
    o.tiers = tiers;
    o.tier_count = COUNT_OF(tiers);
    o.decay = 1e6;
    bp_pool *pool = pool_with(1e6);
    burst(pool, MIB, 8 * MIB);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(bp_pool_configure(pool, &o, false, NULL), BP_OK);
        ck_assert_uint_eq(bp_pool_tick(pool), 0);
        usleep(2000);
    }
    ck_assert_uint_eq(stats_of(pool).idle_bytes, 8 * MIB);
    bp_pool_destroy(pool);
}
END_TEST

/* The thread that ticks takes up a change, although it gets nothing. */
START_TEST(tick_takes_a_change_up) {
    static const size_t other[] = {MIB / 2};
    bp_options o;
    bp_options_init(&o);
    bp_pool *pool = pool_with(DECAY);
    bp_buffer *b = bp_buffer_get(pool, 1000);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    o.tiers = other;
    o.tier_count = 1;
    o.decay = DECAY;
    ck_assert_int_eq(bp_pool_configure(pool, &o, false, NULL), BP_OK);
    (void)tick_for(pool, GONE + SLACK, 0);
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.owned_bytes, 0);
    ck_assert_uint_eq(s.drained.get, 1);
    ck_assert_uint_eq(s.tier_count, 1);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(a_tick_with_nothing_due_is_cheap) {
    bp_pool *pool = pool_with(3600);
    burst(pool, 1000, 4 * MIB);
    (void)bp_pool_tick(pool);
    double best = 1;
    for (int round = 0; round < 5; round++) {
        double began = seconds();
        for (int i = 0; i < 1000; i++) ck_assert_uint_eq(bp_pool_tick(pool), 0);
        double each = (seconds() - began) / 1000;
        best = each < best ? each : best;
    }
    ck_assert_double_lt(best, SANITIZED ? 1e-4 : 1e-5); /* most systems: 50 ns */
    bp_pool_destroy(pool);
}
END_TEST

/* ---- threads and ends ------------------------------------------------------------------ */

static bp_pool *shared;
static _Atomic bool stop;
static _Atomic uint64_t given;

static void *tick_on(void *arg) {
    (void)arg;
    while (!atomic_load(&stop)) {
        given += bp_pool_tick(shared);
        usleep(500);
    }
    return failures(0);
}

static void *use(void *arg) {
    rng r = {(uintptr_t)arg};
    size_t wrong = 0;
    while (!atomic_load(&stop)) {
        bp_buffer *held[32];
        size_t n = tiers[rng_below(&r, 3)];
        for (size_t i = 0; i < COUNT_OF(held); i++) {
            held[i] = bp_buffer_get(shared, n);
            wrong += held[i] == NULL;
            if (held[i]) fill(bp_buffer_data(held[i]), 64, i + n);
        }
        for (size_t i = 0; i < COUNT_OF(held); i++) {
            wrong += held[i] == NULL || !filled(bp_buffer_data(held[i]), 64, i + n);
            wrong += bp_buffer_release(shared, held[i]) != BP_OK;
        }
    }
    return failures(wrong);
}

START_TEST(several_tick) {
    pthread_t ids[6];
    shared = pool_with(0.004);
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        start(&ids[i], i < 3 ? tick_on : use, (void *)(i + 1));
    usleep(SANITIZED ? 1500000 : 700000);
    atomic_store(&stop, true);
    for (size_t i = 0; i < COUNT_OF(ids); i++) ck_assert_uint_eq(finish(ids[i]), 0);
    bp_stats s = stats_of(shared);
    ck_assert_uint_eq(s.decayed_bytes, given);
    ck_assert_uint_eq(s.in_use, 0);
    ASSERT_POOL(shared);
    bp_pool_destroy(shared);
}
END_TEST

/* An open less: the pool goes on. Closed with a buffer out: nothing is left that could idle. */
START_TEST(of_a_pool_that_closes) {
    bp_options o;
    bp_options_init(&o);
    o.name = "decay";
    o.decay = 0.01;
    bp_pool *pool = bp_pool_create(&o, NULL), *same = bp_pool_open("decay");
    ck_assert_ptr_eq(pool, same);
    burst(pool, 4096, 8 * MIB);
    bp_pool_destroy(same);
    ck_assert_uint_gt(tick_for(pool, SLACK, 0), 0);
    ck_assert_uint_eq(stats_of(pool).idle_bytes, 0);
    bp_pool_destroy(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("decay");
    TCase *gone = add_case(suite, "burst");
    tcase_add_test(gone, a_burst_goes_in_time);
    tcase_add_test(gone, live_blocks_keep_their_slabs);
    TCase *needed = add_case(suite, "needed");
    tcase_add_test(needed, a_burst_that_comes_back_meets_its_blocks);
    tcase_add_test(needed, a_burst_that_is_late_does_not);
    tcase_add_test(needed, a_hot_tier_keeps_a_slab);
    tcase_add_test(needed, a_cache_that_only_gets_keeps_its_blocks);
    TCase *options = add_case(suite, "options");
    tcase_add_test(options, never_with_decay_0);
    tcase_add_test(options, never_without_tick);
    tcase_add_test(options, the_longest_and_the_shortest);
    tcase_add_test(options, a_change_of_decay_counts_at_once);
    tcase_add_test(options, changes_do_not_hasten);
    tcase_add_test(options, tick_takes_a_change_up);
    tcase_add_test(options, a_tick_with_nothing_due_is_cheap);
    TCase *threads = add_case(suite, "threads");
    tcase_add_test(threads, several_tick);
    tcase_add_test(threads, of_a_pool_that_closes);
    return run_suite(suite);
}
