/* Ends of threads and of processes: what a thread leaves behind when it exits, and
 * what a child of fork inherits. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "support.h"
#include "threads.h"

static const size_t tiers[] = {128, 1000, 4096, 65536};
enum { TIERS = 4, BATCH = 100 };

static bp_pool *fresh_pool(void) {
    bp_pool *pool = pool_of(tiers, TIERS, GIB);
    ck_assert_ptr_nonnull(pool);
    return pool;
}

static void *get_and_release(void *arg) {
    bp_pool *pool = arg;
    bp_buffer *b[BATCH];
    size_t failed = 0;
    for (size_t i = 0; i < BATCH; i++) {
        b[i] = bp_buffer_get(pool, tiers[i % TIERS]);
        if (!b[i]) return failures(1);
        touch(bp_buffer_data(b[i]), tiers[i % TIERS]);
    }
    for (size_t i = 0; i < BATCH; i++) failed += bp_buffer_release(pool, b[i]) != BP_OK;
    return failures(failed);
}

START_TEST(a_thread_leaves_its_cache) {
    bp_pool *pool = fresh_pool();
    size_t threads = stats_of(pool).threads;
    pthread_t id;
    for (int round = 0; round < 3; round++) {
        start(&id, get_and_release, pool);
        ck_assert_uint_eq(finish(id), 0);
        bp_stats s = stats_of(pool);
        ck_assert_uint_eq(s.threads, threads);
        for (size_t t = 0; t < TIERS; t++) {
            ck_assert_uint_eq(s.tiers[t].miss, BATCH / TIERS);
            ck_assert_uint_eq(s.tiers[t].hit, (uint64_t)round * BATCH / TIERS);
            ck_assert_uint_eq(s.tiers[t].cached, 0);
            ck_assert_uint_eq(s.tiers[t].depot, BATCH / TIERS);
        }
        ASSERT_POOL(pool);
    }
    /* and this thread, which never used the pool, gets the same blocks */
    ck_assert_uint_eq((uintptr_t)get_and_release(pool), 0);
    for (size_t t = 0; t < TIERS; t++)
        ck_assert_uint_eq(stats_of(pool).tiers[t].miss, BATCH / TIERS);
    ck_assert_uint_eq(stats_of(pool).threads, threads + 1);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(a_thousand_threads_come_and_go) {
    bp_pool *pool = fresh_pool();
    uint64_t owned = 0;
    size_t memory = 0;
    for (int round = 0; round < 500; round++) {
        pthread_t id[2];
        for (int i = 0; i < 2; i++) start(&id[i], get_and_release, pool);
        for (int i = 0; i < 2; i++) ck_assert_uint_eq(finish(id[i]), 0);
        if (round == 10 && memory_is_observable()) memory = resident();
        owned = stats_of(pool).owned_bytes;
        /* two threads' needs, and as much again for what one's refill hides from the other */
        ck_assert_uint_le(owned, 4 * BATCH / TIERS * (uint64_t)(128 + 1000 + 4096 + 65536));
    }
    ck_assert_uint_eq(stats_of(pool).total_get, 1000 * BATCH);
    if (memory) ck_assert_uint_lt(resident(), memory + 16 * MIB);
    ASSERT_POOL(pool);
    ck_assert_uint_eq(bp_pool_trim(pool), owned);
    bp_pool_destroy(pool);
}
END_TEST

/* ---- destructors of other keys ------------------------------------------------------- */

static pthread_key_t keys[2];
static _Atomic size_t destroyed, destroy_failed;

/* Runs at a thread's end, before or after the library's own destructor. */
static void use_the_pool(void *pool) {
    destroyed++;
    if (get_and_release(pool) != NULL) destroy_failed++;
}

/* One key is made before the library's first use on any thread in this process
 * where tests fork, one after: so both orders of destructors are met. */
static void *end_with_keys(void *pool) {
    void *failed = get_and_release(pool);
    pthread_setspecific(keys[0], pool);
    pthread_setspecific(keys[1], pool);
    return failed;
}

START_TEST(destructors_may_use_the_pool) {
    bp_pool *pool = fresh_pool();
    destroyed = destroy_failed = 0;
    ck_assert_int_eq(pthread_key_create(&keys[0], use_the_pool), 0);
    ck_assert_uint_eq((uintptr_t)get_and_release(pool), 0);
    ck_assert_int_eq(pthread_key_create(&keys[1], use_the_pool), 0);
    bp_pool_trim(pool);
    size_t threads = stats_of(pool).threads;
    for (int round = 0; round < 20; round++) {
        pthread_t id;
        start(&id, end_with_keys, pool);
        ck_assert_uint_eq(finish(id), 0);
        bp_stats s = stats_of(pool);
        ck_assert_uint_eq(s.threads, threads);
        ck_assert_uint_eq(s.in_use, 0);
        ck_assert_uint_eq(s.total_get, BATCH + (uint64_t)(round + 1) * 3 * BATCH);
        for (size_t t = 0; t < TIERS; t++) ck_assert_uint_eq(s.tiers[t].depot, BATCH / TIERS);
        ASSERT_POOL(pool);
    }
    ck_assert_uint_eq(destroyed, 40);
    ck_assert_uint_eq(destroy_failed, 0);
    pthread_key_delete(keys[0]);
    pthread_key_delete(keys[1]);
    bp_pool_destroy(pool);
}
END_TEST

/* A pool that goes while a thread that knows it lives: the thread's end comes later. */
static pthread_barrier_t step;

static void *outlive(void *pool) {
    void *failed = get_and_release(pool);
    pthread_barrier_wait(&step);
    pthread_barrier_wait(&step);
    return failed;
}

START_TEST(the_pool_ends_before_the_thread) {
    for (int round = 0; round < 20; round++) {
        bp_pool *pool = fresh_pool(), *later;
        pthread_t id;
        pthread_barrier_init(&step, NULL, 2);
        start(&id, outlive, pool);
        pthread_barrier_wait(&step);
        bp_pool_destroy(pool);
        later = fresh_pool(); /* may lie where the other did */
        ck_assert_uint_eq((uintptr_t)get_and_release(later), 0);
        pthread_barrier_wait(&step);
        ck_assert_uint_eq(finish(id), 0);
        ck_assert_uint_eq(stats_of(later).total_get, BATCH);
        ck_assert_uint_eq(stats_of(later).tiers[0].idle, BATCH / TIERS);
        ASSERT_POOL(later);
        bp_pool_destroy(later);
        pthread_barrier_destroy(&step);
    }
}
END_TEST

#if SANITIZED
/* TSan's deadlock detector ends the process when a thread holds 64 locks; before a
 * fork the pools' locks are all held. Data races are still looked for. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "detect_deadlocks=0"; }
#endif

/* ---- fork ------------------------------------------------------------------------------------ */

/* In the child, whose other threads are gone. Its exit code names the step. */
static int child_of_fork(bp_pool *pool, bp_buffer *inherited) {
    if (!filled(bp_buffer_data(inherited), 4096, 9)) return 1;
    if (bp_buffer_release(pool, inherited) != BP_OK) return 2;
    if (get_and_release(pool) != NULL) return 3;
    bp_buffer *large = bp_buffer_get(pool, 3 * MIB);
    if (!large) return 4;
    touch(bp_buffer_data(large), 3 * MIB);
    if (bp_buffer_release(pool, large) != BP_OK) return 5;
    bp_pool *own = bp_pool_create(NULL, NULL);
    if (!own) return 6;
    if (get_and_release(own) != NULL) return 7;
    if (stats_of(own).in_use != 0) return 8;
    bp_pool_destroy(own);
    bp_pool_trim(pool);
    return get_and_release(pool) == NULL ? 0 : 9;
}

static void *keep_at_it(void *pool) {
    size_t failed = 0;
    for (int i = 0; i < 200; i++) {
        failed += get_and_release(pool) != NULL;
        bp_buffer *large = bp_buffer_get(pool, MIB);
        failed += !large || bp_buffer_release(pool, large) != BP_OK;
        if (i % 20 == 0) bp_pool_trim(pool);
        if (i % 20 == 10) { /* the registry's lock, too */
            bp_pool *own = bp_pool_create(NULL, NULL);
            failed += !own || get_and_release(own) != NULL;
            bp_pool_destroy(own);
        }
    }
    return failures(failed);
}

START_TEST(fork_while_threads_work) {
    bp_pool *pool = fresh_pool();
    pthread_t id[3];
    for (int round = 0; round < 10; round++) {
        bp_buffer *b = bp_buffer_get(pool, 4096);
        ck_assert_ptr_nonnull(b);
        fill(bp_buffer_data(b), 4096, 9);
        for (size_t i = 0; i < 3; i++) start(&id[i], keep_at_it, pool);
        usleep(1000 * (useconds_t)round); /* another moment of their work each time */
        pid_t child = fork();
        if (child == 0) _exit(child_of_fork(pool, b));
        int status = -1;
        if (child > 0) waitpid(child, &status, 0);
        for (size_t i = 0; i < 3; i++) ck_assert_uint_eq(finish(id[i]), 0);
        ck_assert_int_gt(child, 0);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child: status %#x", status);
        ck_assert(filled(bp_buffer_data(b), 4096, 9));
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
        ASSERT_POOL(pool);
    }
    bp_pool_destroy(pool);
}
END_TEST

static _Atomic bool stop;

/* ---- fork while others allocate, and much work on both sides ------------------------------ */

/* Any length up to the largest tier, now and then one above, and a small set of them live. */
static size_t get_and_release_many(bp_pool *pool, size_t count) {
    enum { HELD = 64 };
    bp_buffer *held[HELD] = {NULL};
    size_t failed = 0;
    rng r = {count};
    for (size_t i = 0; i < count; i++) {
        bp_buffer **b = &held[i % HELD];
        size_t n = i % 1000 == 0 ? 2 * MIB : rng_below(&r, tiers[TIERS - 1]);
        if (*b) failed += bp_buffer_release(pool, *b) != BP_OK;
        *b = bp_buffer_get(pool, n);
        if (*b) memset(bp_buffer_data(*b), 1, n < 8 ? n : 8);
        failed += !*b;
    }
    for (size_t i = 0; i < HELD; i++)
        if (held[i]) failed += bp_buffer_release(pool, held[i]) != BP_OK;
    return failed;
}

static void *until_stopped(void *pool) {
    size_t failed = 0;
    while (!stop) failed += get_and_release_many(pool, 500);
    return failures(failed);
}

/* What other threads held is lost to a child, so its counters are compared with what they
 * were at its begin; those of a pool of its own are checked whole. */
static int child_of_many(bp_pool *pool, size_t count) {
    char message[256] = "";
    signal(SIGALRM, SIG_DFL);
    alarm(60);
    bp_stats before = stats_of(pool);
    if (get_and_release_many(pool, count) > 0) return 1;
    bp_stats s = stats_of(pool);
    if (s.requests != before.requests + count) return 2;
    if (s.total_put + s.discarded_put != before.total_put + before.discarded_put + count) return 3;
    if (s.in_use != before.in_use || s.in_use_bytes != before.in_use_bytes) return 4;
    bp_pool *own = fresh_pool();
    if (get_and_release_many(own, count / 10) > 0) return 5;
    if (pool_broken(own, message, sizeof message)) return 6;
    bp_pool_destroy(own);
    return 0;
}

START_TEST(fork_and_both_go_on) {
    size_t rounds = SANITIZED ? 10 : 50, count = SANITIZED ? 10000 : 100000;
    bp_pool *pool = fresh_pool();
    pthread_t id[2];
    stop = false;
    for (size_t i = 0; i < 2; i++) start(&id[i], until_stopped, pool);
    int status = 0;
    size_t failed = 0;
    for (size_t round = 0; round < rounds && status == 0; round++) {
        pid_t child = fork();
        if (child == 0) _exit(child_of_many(pool, count));
        failed += get_and_release_many(pool, count);
        if (child < 0 || waitpid(child, &status, 0) != child) status = -1;
    }
    stop = true;
    for (size_t i = 0; i < 2; i++) ck_assert_uint_eq(finish(id[i]), 0);
    ck_assert_msg(status == 0, "child: status %#x", (unsigned)status);
    ck_assert_uint_eq(failed, 0);
    ck_assert_uint_eq(stats_of(pool).in_use, 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

static void *watch(void *pool) {
    size_t broken = 0;
    while (!stop) {
        bp_stats s = stats_of(pool);
        broken += s.tier_count != TIERS;
    }
    return failures(broken);
}

/* A pool may be made and watched before any thread gets from one: the child must
 * not find the library's lock taken by a thread that it does not have. */
START_TEST(fork_before_the_first_get) {
    bp_pool *pool = fresh_pool();
    pthread_t id;
    stop = false;
    start(&id, watch, pool);
    int status = 0;
    for (int round = 0; round < 50 && status == 0; round++) {
        pid_t child = fork();
        if (child == 0) {
            signal(SIGALRM, SIG_DFL); /* libcheck's handler would end the whole run */
            alarm(10);
            bp_pool *own = bp_pool_create(NULL, NULL);
            _exit(own && get_and_release(own) == NULL ? 0 : 1);
        }
        if (child < 0 || waitpid(child, &status, 0) != child) status = -1;
    }
    stop = true;
    ck_assert_uint_eq(finish(id), 0);
    ck_assert_msg(status == 0, "child: status %#x", (unsigned)status);
    bp_pool_destroy(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("exit");
    TCase *tc = add_case(suite, "threads");
    tcase_add_test(tc, a_thread_leaves_its_cache);
    tcase_add_test(tc, a_thousand_threads_come_and_go);
    tcase_add_test(tc, destructors_may_use_the_pool);
    tcase_add_test(tc, the_pool_ends_before_the_thread);
    tc = add_case(suite, "fork");
    if (ADDRESS_SANITIZED) { /* its allocator's lock may be another thread's at that moment */
        printf("exit: two forks beside threads skipped, AddressSanitizer itself hangs there\n");
    } else {
        tcase_add_test(tc, fork_before_the_first_get);
        tcase_add_test(tc, fork_while_threads_work);
    }
    tcase_add_test(tc, fork_and_both_go_on);
    return run_suite(suite);
}
