/* When the system gives no more: requests fail cleanly, and the pool goes on. */
#include <pthread.h>
#include <errno.h>
#include <sys/resource.h>

#include "support.h"

static struct rlimit unlimited;

/* Leaves the process `room` bytes of address space above what it uses. */
static void limit_address_space(size_t room) {
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &unlimited), 0);
    struct rlimit limit = unlimited;
    limit.rlim_cur = (rlim_t)(address_space() + room);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

static void lift_limit(void) { ck_assert_int_eq(setrlimit(RLIMIT_AS, &unlimited), 0); }

enum { MANY = 2000 };
static bp_buffer *held[MANY];

/* Gets buffers of n until one is refused; returns how many. */
static size_t get_all_there_is(bp_pool *pool, size_t n) {
    size_t count = 0;
    errno = 0;
    while (count < MANY && (held[count] = bp_buffer_get(pool, n)) != NULL) {
        memset(bp_buffer_data(held[count]), 1, 64);
        count++;
    }
    return count;
}

static void release_all(bp_pool *pool, size_t count) {
    for (size_t i = 0; i < count; i++) ck_assert_int_eq(bp_buffer_release(pool, held[i]), BP_OK);
}

/* A tier's blocks, and oversize ones. */
static const size_t lengths[] = {2 * MIB, 3 * MIB, 6 * MIB};

START_TEST(address_space_runs_out) {
    size_t n = lengths[_i], room = 1 * GIB;
    bp_pool *pool = bp_pool_create(NULL, NULL);
    bp_buffer *first = bp_buffer_get(pool, 100);
    ck_assert_ptr_nonnull(first);
    bp_pool *limited = bp_pool_create(NULL, NULL);
    limit_address_space(room);
    size_t count = get_all_there_is(limited, n);
    int why = errno;
    bp_stats s = stats_of(limited);
    void *raw = bp_raw_get(limited, n, NULL);
    bp_stats again = stats_of(limited);
    lift_limit();
    ck_assert_uint_lt(count, room / n);
    ck_assert_uint_gt(count, room / n / 3); /* most of what there was has been used */
    ck_assert_int_eq(why, ENOMEM);
    ck_assert_ptr_null(raw);
    ck_assert_uint_eq(s.requests, count);
    ck_assert_uint_eq(s.in_use, count);
    ck_assert_uint_eq(again.requests, count);
    ck_assert_uint_eq(again.owned_bytes, s.owned_bytes);
    ASSERT_POOL(limited);
    release_all(limited, count);
    ck_assert_uint_eq(stats_of(limited).in_use, 0);
    ck_assert_uint_eq(get_all_there_is(limited, n) > count, true);
    release_all(limited, MANY);
    ASSERT_POOL(limited);
    ck_assert_int_eq(bp_buffer_release(pool, first), BP_OK);
    bp_pool_destroy(limited);
    bp_pool_destroy(pool);
}
END_TEST

/* What lies idle in one tier must serve another before a request is refused. */
START_TEST(idle_slabs_serve_before_a_refusal) {
    bp_options o;
    bp_options_init(&o);
    o.max_idle = 8 * GIB;
    bp_pool *pool = bp_pool_create(&o, NULL);
    limit_address_space(GIB);
    size_t count = get_all_there_is(pool, 2 * MIB);
    release_all(pool, count);
    uint64_t idle = stats_of(pool).idle_bytes;
    size_t small = get_all_there_is(pool, MIB);
    lift_limit();
    ck_assert_uint_eq(idle, count * 2 * MIB);
    ck_assert_uint_gt(small, count); /* half of the bytes, at least */
    ASSERT_POOL(pool);
    release_all(pool, small);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(prewarm_is_refused_whole) {
    bp_options o;
    bp_options_init(&o);
    o.max_idle = 8 * GIB;
    bp_pool *pool = bp_pool_create(&o, NULL);
    limit_address_space(512 * MIB);
    int status = bp_pool_prewarm(pool, 2 * MIB, 1000);
    bp_stats s = stats_of(pool);
    int fewer = bp_pool_prewarm(pool, 2 * MIB, 10);
    lift_limit();
    ck_assert_int_eq(status, BP_ERR_NOMEM);
    ck_assert_uint_eq(s.owned_bytes, 0);
    ck_assert_uint_eq(s.idle_bytes, 0);
    ck_assert_int_eq(fewer, BP_OK);
    ck_assert_uint_eq(stats_of(pool).idle_bytes, 20 * MIB);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(a_pool_without_room) {
    bp_error e;
    bp_pool *pool;
    size_t made = 0;
    static bp_pool *pools[MANY];
    memset(&e, 0, sizeof e);
    limit_address_space(4 * MIB);
    while (made < MANY && (pool = bp_pool_create(NULL, &e)) != NULL) {
        bp_buffer *b = bp_buffer_get(pool, 100); /* NULL or a buffer, but no crash */
        if (b) bp_buffer_release(pool, b);
        pools[made++] = pool;
    }
    lift_limit();
    if (made < MANY) {
        ck_assert_int_eq(e.status, BP_ERR_NOMEM);
        ck_assert_uint_gt(strlen(e.message), 0);
    }
    for (size_t i = 0; i < made; i++) {
        bp_buffer *b = bp_buffer_get(pools[i], 100);
        ck_assert_ptr_nonnull(b);
        ck_assert_int_eq(bp_buffer_release(pools[i], b), BP_OK);
        ASSERT_POOL(pools[i]);
        bp_pool_destroy(pools[i]);
    }
}
END_TEST

/* A cancellation that waits while the pool looks for address space must not end the thread with
 * the region's lock in its hands. */
static void *get_while_cancelled(void *arg) {
    pthread_cancel(pthread_self());
    bp_buffer *b = bp_buffer_get(arg, 4096);
    bp_buffer_release(arg, b);
    pthread_testcancel();
    return NULL;
}

START_TEST(a_cancelled_thread_holds_no_lock) {
    struct rlimit limit = {8 * GIB, 8 * GIB};
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    bp_pool *pool = bp_pool_create(NULL, NULL);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, get_while_cancelled, pool), 0);
    pthread_join(thread, NULL);
    bp_buffer *b = bp_buffer_get(pool, 100000);
    ck_assert_ptr_nonnull(b);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    bp_pool_destroy(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("memory");
    TCase *tc = add_case(suite, "memory");
    if (memory_is_observable()) {
        tcase_add_loop_test(tc, address_space_runs_out, 0, (int)COUNT_OF(lengths));
        tcase_add_test(tc, idle_slabs_serve_before_a_refusal);
        tcase_add_test(tc, prewarm_is_refused_whole);
        tcase_add_test(tc, a_pool_without_room);
        tcase_add_test(tc, a_cancelled_thread_holds_no_lock);
    } else {
        printf("memory: skipped, address space cannot be limited here\n");
    }
    return run_suite(suite);
}
