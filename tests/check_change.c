/* Changes of the tier table while threads sleep, run and fork, and more often than there are
 * slots. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "change.h"
#include "threads.h"

static const size_t first[] = {100, 1000, 64 * KIB, MIB};
static const size_t second[] = {300, 1000, 4096, 5 * MIB};

static bp_pool *pool_of_first(void) { return pool_of(first, COUNT_OF(first), 64 * MIB); }

static int change(bp_pool *pool, const size_t *tiers, size_t count) {
    bp_options o = options_of(tiers, count);
    return bp_pool_configure(pool, &o, false, NULL);
}

static int change_to(bp_pool *pool, size_t number) {
    return number % 2 ? change(pool, second, COUNT_OF(second))
                      : change(pool, first, COUNT_OF(first));
}

/* ---- threads ---------------------------------------------------------------------------- */

static bp_pool *shared;
static _Atomic int asleep, wake;
static _Atomic bool stop;

/* Sleeps with blocks in its cache and buffers of two tiers out, and then gives back. */
static void *sleep_through(void *arg) {
    size_t wrong = 0;
    bp_buffer *held[8];
    (void)arg;
    for (size_t i = 0; i < COUNT_OF(held); i++) held[i] = bp_buffer_get(shared, first[i % 4]);
    for (size_t i = 4; i < COUNT_OF(held); i++) wrong += bp_buffer_release(shared, held[i]) != 0;
    for (size_t i = 0; i < 4; i++) fill(bp_buffer_data(held[i]), first[i], i);
    asleep++;
    while (!atomic_load(&wake)) usleep(500);
    for (size_t i = 0; i < 4; i++) {
        wrong += !filled(bp_buffer_data(held[i]), first[i], i);
        wrong += bp_buffer_capacity(shared, held[i]) != first[i];
        wrong += bp_buffer_release(shared, held[i]) != BP_OK;
    }
    return failures(wrong);
}

START_TEST(a_thread_sleeps_across_many_changes) {
    pthread_t ids[4];
    shared = pool_of_first();
    for (size_t i = 0; i < COUNT_OF(ids); i++) start(&ids[i], sleep_through, NULL);
    while (atomic_load(&asleep) != COUNT_OF(ids)) usleep(500);
    for (size_t i = 0; i < 200; i++) {
        size_t tiers[] = {200 + i, 3000 + i % 7};
        ck_assert_int_eq(change(shared, tiers, 2), BP_OK);
        give(shared, got(shared, 150));
    }
    bp_stats s = stats_of(shared);
    ck_assert_uint_eq(s.in_use, 4 * COUNT_OF(ids));
    ck_assert_uint_eq(s.threads, COUNT_OF(ids) + 1);
    ASSERT_POOL(shared);
    atomic_store(&wake, 1);
    for (size_t i = 0; i < COUNT_OF(ids); i++) ck_assert_uint_eq(finish(ids[i]), 0);
    s = stats_of(shared);
    ck_assert_uint_eq(s.in_use, 0);
    ck_assert_uint_eq(s.requests, 8 * COUNT_OF(ids) + 200);
    ck_assert_uint_eq(s.threads, 1);
    for (size_t i = 0; i < s.tier_count; i++) ck_assert(!s.tiers[i].draining);
    ASSERT_POOL(shared);
    bp_pool_destroy(shared);
}
END_TEST

/* A thread that takes only fast halves: its next get is by the new table. */
static void *pairs(void *arg) {
    size_t wrong = 0;
    (void)arg;
    while (!atomic_load(&stop)) {
        int seen = atomic_load(&wake);
        bp_buffer *b = bp_buffer_get(shared, 90);
        size_t capacity = bp_buffer_capacity(shared, b);
        /* What was so before the get is taken up; what comes meanwhile may be. */
        if (seen >= 0 && seen == atomic_load(&wake)) wrong += capacity != (seen % 2 ? 300 : 100);
        wrong += bp_buffer_release(shared, b) != BP_OK;
        asleep++;
    }
    return failures(wrong);
}

START_TEST(fast_halves_take_a_change_up_at_the_next_call) {
    pthread_t id;
    shared = pool_of_first();
    start(&id, pairs, NULL);
    for (int i = 1; i < 200; i++) {
        atomic_store(&wake, -1); /* not known for a while */
        ck_assert_int_eq(change_to(shared, (size_t)i), BP_OK);
        atomic_store(&wake, i);
        int now = atomic_load(&asleep);
        while (atomic_load(&asleep) < now + 3) usleep(10);
    }
    atomic_store(&stop, true);
    ck_assert_uint_eq(finish(id), 0);
    ASSERT_POOL(shared);
    bp_pool_destroy(shared);
}
END_TEST

static void *keep_changing(void *arg) {
    rng r = {(uintptr_t)arg};
    size_t wrong = 0;
    bp_settings s;
    for (int i = 0; i < 150; i++) {
        size_t what = rng_below(&r, 4);
        int status = what < 3 ? change_to(shared, what) : bp_pool_rollback(shared, false, NULL);
        wrong += status != BP_OK && status != BP_ERR_LIMIT;
        bp_pool_settings(shared, &s);
        bool known = memcmp(s.tiers, first, sizeof first) == 0 ||
                     memcmp(s.tiers, second, sizeof second) == 0;
        wrong += s.tier_count != 4 || !known;
        bp_buffer *b = bp_buffer_get(shared, 80);
        wrong += b == NULL || bp_buffer_release(shared, b) != BP_OK;
        wrong += bp_pool_prewarm(shared, 1, 2) == BP_ERR_ARG; /* both tables serve that */
    }
    return failures(wrong);
}

START_TEST(several_threads_change) {
    pthread_t ids[6];
    shared = pool_of_first();
    ck_assert_int_eq(change_to(shared, 1), BP_OK);
    for (size_t i = 0; i < COUNT_OF(ids); i++) start(&ids[i], keep_changing, (void *)(i + 1));
    for (size_t i = 0; i < COUNT_OF(ids); i++) ck_assert_uint_eq(finish(ids[i]), 0);
    bp_stats s = stats_of(shared);
    ck_assert_uint_eq(s.generation, 2 + 6 * 150);
    ck_assert_uint_eq(s.requests, 6 * 150);
    ck_assert_uint_eq(s.in_use, 0);
    ASSERT_POOL(shared);
    bp_pool_destroy(shared);
}
END_TEST

/* Each goes back to what the one before replaced: the table says how many there were. */
static void *keep_rolling_back(void *arg) {
    size_t wrong = 0;
    bp_settings s;
    (void)arg;
    for (int i = 0; i < 2000; i++) {
        wrong += bp_pool_rollback(shared, false, NULL) != BP_OK;
        bp_pool_settings(shared, &s);
        wrong += s.tiers[0] != (s.generation % 2 ? first[0] : second[0]);
    }
    return failures(wrong);
}

START_TEST(several_threads_roll_back) {
    pthread_t ids[6];
    shared = pool_of_first();
    ck_assert_int_eq(change_to(shared, 1), BP_OK);
    for (size_t i = 0; i < COUNT_OF(ids); i++) start(&ids[i], keep_rolling_back, NULL);
    for (size_t i = 0; i < COUNT_OF(ids); i++) ck_assert_uint_eq(finish(ids[i]), 0);
    ck_assert_uint_eq(stats_of(shared).generation, 2 + 6 * 2000);
    bp_pool_destroy(shared);
}
END_TEST

/* ---- slots ---------------------------------------------------------------------------------- */

enum { POOLS = 100, CHANGES = 5000 };
static bp_pool *pools[POOLS];

static void *hold_caches(void *arg) {
    size_t wrong = 0;
    bp_buffer *held[POOLS];
    (void)arg;
    for (size_t i = 0; i < POOLS; i++) held[i] = bp_buffer_get(pools[i], 100 + i);
    asleep++;
    while (!atomic_load(&wake)) usleep(500);
    for (size_t i = 0; i < POOLS; i++) wrong += bp_buffer_release(pools[i], held[i]) != BP_OK;
    for (size_t i = 0; i < POOLS; i++) held[i] = bp_buffer_get(pools[i], 100 + i);
    for (size_t i = 0; i < POOLS; i++) wrong += bp_buffer_release(pools[i], held[i]) != BP_OK;
    return failures(wrong);
}

START_TEST(more_changes_than_slots) {
    rng r = {seed_of_run("more_changes_than_slots")};
    pthread_t ids[4];
    for (size_t i = 0; i < POOLS; i++) pools[i] = pool_of_first();
    for (size_t k = 0; k < COUNT_OF(ids); k++) {
        start(&ids[k], hold_caches, NULL);
        while (atomic_load(&asleep) != (int)k + 1) usleep(500);
        /* Each thread's caches stay in slots of their own. */
        for (size_t i = 0; i < POOLS; i++) ck_assert_int_eq(change_to(pools[i], k + 1), BP_OK);
    }
    for (size_t i = 0; i < CHANGES; i++) {
        size_t at = rng_below(&r, POOLS);
        ck_assert_int_eq(change_to(pools[at], i), BP_OK);
        bp_buffer *b = got(pools[at], 1000);
        ck_assert_int_eq(bp_buffer_put(pools[(at + 1) % POOLS], b), BP_ERR_FOREIGN);
        give(pools[at], b);
    }
    atomic_store(&wake, 1);
    for (size_t k = 0; k < COUNT_OF(ids); k++) ck_assert_uint_eq(finish(ids[k]), 0);
    for (size_t i = 0; i < POOLS; i++) {
        bp_stats s = stats_of(pools[i]);
        ck_assert_uint_eq(s.in_use, 0);
        ck_assert_uint_le(s.threads, 1);
        ASSERT_POOL(pools[i]);
        bp_pool_destroy(pools[i]);
    }
}
END_TEST

/* Sleeps with a cache. */
static void *hold_one(void *arg) {
    bp_pool *pool = arg;
    bp_buffer *b = bp_buffer_get(pool, 10);
    size_t wrong = b == NULL || bp_buffer_release(pool, b) != BP_OK;
    asleep++;
    while (!atomic_load(&wake)) usleep(500);
    return failures(wrong);
}

/* All slots taken: a change is refused as a whole, and is not when one is free again. */
START_TEST(no_slot_is_free) {
    static bp_pool *all[BP_MAX_POOLS];
    bp_options o = options_of(first, 1);
    size_t count = 0;
    o.recent_size = 0;
    o.region_size = 4 * MIB;
    while (count < BP_MAX_POOLS && (all[count] = bp_pool_create(&o, NULL)) != NULL) count++;
    ck_assert_uint_eq(count, BP_MAX_POOLS);
    bp_buffer *b = got(all[7], 10);
    bp_stats before = stats_of(all[7]);
    bp_error e;
    o.tiers = second;
    ck_assert_int_eq(bp_pool_configure(all[7], &o, false, &e), BP_ERR_LIMIT);
    ck_assert_uint_gt(strlen(e.message), 10);
    ck_assert_int_eq(bp_pool_rollback(all[7], false, NULL), BP_ERR_ARG);
    ASSERT_UNCHANGED(all[7], before);
    pthread_t id;
    start(&id, hold_one, all[7]);
    while (atomic_load(&asleep) != 1) usleep(500);
    bp_pool_destroy(all[9]);
    /* That thread's cache keeps a slot until it takes the change up, or ends. */
    ck_assert_int_eq(bp_pool_configure(all[7], &o, false, NULL), BP_OK);
    ck_assert_int_eq(bp_pool_configure(all[8], &o, false, NULL), BP_ERR_LIMIT);
    atomic_store(&wake, 1);
    ck_assert_uint_eq(finish(id), 0);
    for (int i = 0; i < 50; i++) { /* the cache of the thread that makes the change keeps none */
        ck_assert_int_eq(bp_pool_configure(all[8], &o, false, NULL), BP_OK);
        give(all[7], b);
        b = got(all[7], 10);
        ck_assert_int_eq(bp_pool_configure(all[7], &o, false, NULL), BP_OK);
    }
    give(all[7], b);
    for (size_t i = 0; i < count; i++)
        if (i != 9) bp_pool_destroy(all[i]);
}
END_TEST

/* ---- fork -------------------------------------------------------------------------------------- */

/* The child goes on with what it has, changes included; the sleepers are not there. */
static int in_child(void) {
    size_t wrong = 0;
    for (size_t i = 0; i < 20; i++) {
        wrong += change_to(shared, i) != BP_OK;
        bp_buffer *b = bp_buffer_get(shared, 100);
        wrong += b == NULL || bp_buffer_release(shared, b) != BP_OK;
        (void)bp_pool_tick(shared);
        (void)bp_pool_trim(shared);
    }
    wrong += stats_of(shared).generation < 20;
    bp_pool *another = pool_of_first();
    wrong += another == NULL || change_to(another, 1) != BP_OK;
    bp_pool_destroy(another);
    return wrong == 0 ? 0 : 1;
}

START_TEST(fork_between_and_during_changes) {
    pthread_t sleeper, busy;
    shared = pool_of_first();
    start(&sleeper, sleep_through, NULL);
    while (atomic_load(&asleep) != 1) usleep(500);
    ck_assert_int_eq(change_to(shared, 1), BP_OK);
    start(&busy, keep_changing, (void *)9);
    for (size_t i = 0; i < 8; i++) {
        give(shared, got(shared, 100));
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) _exit(in_child());
        int status = 0;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_msg(status == 0, "the child ended with status %x", (unsigned)status);
        ck_assert_int_eq(change_to(shared, i), BP_OK);
    }
    ck_assert_uint_eq(finish(busy), 0);
    atomic_store(&wake, 1);
    ck_assert_uint_eq(finish(sleeper), 0);
    ck_assert_uint_eq(stats_of(shared).in_use, 0);
    ASSERT_POOL(shared);
    bp_pool_destroy(shared);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("change");
    TCase *threads = add_case(suite, "threads");
    tcase_add_test(threads, a_thread_sleeps_across_many_changes);
    tcase_add_test(threads, fast_halves_take_a_change_up_at_the_next_call);
    tcase_add_test(threads, several_threads_change);
    tcase_add_test(threads, several_threads_roll_back);
    TCase *slots = add_case(suite, "slots");
    tcase_add_test(slots, more_changes_than_slots);
    tcase_add_test(slots, no_slot_is_free);
    TCase *forks = add_case(suite, "fork");
    tcase_add_test(forks, fork_between_and_during_changes);
    return run_suite(suite);
}
