/* The end of a pool: with buffers out, with threads that know it, many times over. */
#include <errno.h>
#include <pthread.h>

#include "support.h"

enum { OUT = 50 };
static const size_t sizes[] = {0, 100, 4096, 100000, 2 * MIB, 5 * MIB};

static void take_out(bp_pool *pool, bp_buffer **out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        size_t n = sizes[i % COUNT_OF(sizes)];
        out[i] = bp_buffer_get(pool, n);
        ck_assert_ptr_nonnull(out[i]);
        fill(bp_buffer_data(out[i]), n < 4096 ? n : 4096, i);
    }
}

/* Returns false instead of asserting: libcheck's jump must not leave a thread. */
static bool give_back(bp_pool *pool, bp_buffer **out, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        size_t n = sizes[i % COUNT_OF(sizes)];
        if (bp_buffer_length(out[i]) != n) return false;
        if (!filled(bp_buffer_data(out[i]), n < 4096 ? n : 4096, i)) return false;
        if (bp_buffer_retain(out[i]) != BP_OK) return false;
        if (bp_buffer_ref_count(out[i]) != 2) return false;
        if (bp_buffer_put(pool, out[i]) != BP_ERR_SHARED) return false;
        if (bp_buffer_release(pool, out[i]) != BP_OK) return false;
        if (bp_buffer_capacity(pool, out[i]) < n) return false;
        int last = i % 2 ? bp_buffer_put(pool, out[i]) : bp_buffer_release(pool, out[i]);
        if (last != BP_OK) return false;
    }
    return true;
}

/* Whether a pool's regions are unmapped: at once, not when something else is called. */
static void assert_space_returned(size_t before) {
    if (memory_is_observable()) ck_assert_uint_lt(address_space(), before + 32 * MIB);
}

START_TEST(buffers_outlive_the_pool) {
    bp_buffer *out[OUT];
    size_t space = address_space();
    bp_pool *pool = bp_pool_create(NULL, NULL);
    take_out(pool, out, OUT);
    size_t capacity = 0;
    unsigned char *raw = bp_raw_get(pool, 1000, &capacity);
    memset(raw, 0x77, capacity);
    bp_pool_destroy(pool);
    for (size_t i = 0; i < capacity; i++) ck_assert_uint_eq(raw[i], 0x77);
    /* not the last: OUT buffers still hold the pool */
    ck_assert_int_eq(bp_raw_put(pool, raw), BP_OK);
    if (memory_is_observable()) ck_assert_uint_gt(address_space(), space + 32 * MIB);
    ck_assert(give_back(pool, out, 0, OUT));
    assert_space_returned(space);
}
END_TEST

START_TEST(a_raw_pointer_may_be_the_last) {
    size_t space = address_space();
    bp_pool *pool = bp_pool_create(NULL, NULL);
    unsigned char *a = bp_raw_get(pool, 1000, NULL), *b = bp_raw_get(pool, 3 * MIB, NULL);
    bp_pool_destroy(pool);
    a[999] = b[3 * MIB - 1] = 1;
    ck_assert_int_eq(bp_raw_put(pool, b), BP_OK);
    ck_assert_int_eq(bp_raw_put(pool, a), BP_OK);
    assert_space_returned(space);
}
END_TEST

START_TEST(no_get_after_destroy) {
    bp_pool *pool = bp_pool_create(NULL, NULL);
    bp_buffer *b = bp_buffer_get(pool, 100);
    bp_pool_destroy(pool);
    errno = 0;
    ck_assert_ptr_null(bp_buffer_get(pool, 100));
    ck_assert_int_eq(errno, EINVAL);
    errno = 0;
    ck_assert_ptr_null(bp_raw_get(pool, 3 * MIB, NULL));
    ck_assert_int_eq(errno, EINVAL);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
}
END_TEST

typedef struct batch {
    bp_pool *pool;
    bp_buffer **out;
    size_t from, to;
    bool right;
} batch;

static void *release_batch(void *arg) {
    batch *b = arg;
    b->right = give_back(b->pool, b->out, b->from, b->to);
    return NULL;
}

/* Which thread's release is the last, and so frees the pool, is left to chance. */
START_TEST(other_threads_release_after_destroy) {
    enum { THREADS = 4 };
    for (int round = 0; round < 50; round++) {
        bp_buffer *out[OUT];
        batch part[THREADS];
        pthread_t id[THREADS];
        bp_pool *pool = bp_pool_create(NULL, NULL);
        take_out(pool, out, OUT);
        bp_pool_destroy(pool);
        for (size_t t = 0; t < THREADS; t++) {
            part[t] = (batch){pool, out, OUT * t / THREADS, OUT * (t + 1) / THREADS, false};
            ck_assert_int_eq(pthread_create(&id[t], NULL, release_batch, &part[t]), 0);
        }
        for (size_t t = 0; t < THREADS; t++) pthread_join(id[t], NULL);
        for (size_t t = 0; t < THREADS; t++) ck_assert(part[t].right);
    }
}
END_TEST

/* 1000 pools that end with buffers out: neither addresses nor memory may pile up. */
START_TEST(memory_goes_with_the_last_buffer) {
    bp_buffer *out[OUT];
    size_t space = 0, memory = 0;
    for (int round = 0; round < 1000; round++) {
        bp_pool *pool = bp_pool_create(NULL, NULL);
        ck_assert_msg(pool != NULL, "round %d", round);
        take_out(pool, out, OUT);
        bp_pool_destroy(pool);
        ck_assert(give_back(pool, out, 0, OUT));
        if (round == 20 && memory_is_observable()) {
            space = address_space();
            memory = resident();
        }
    }
    if (space) {
        ck_assert_uint_lt(address_space(), space + 64 * MIB);
        ck_assert_uint_lt(resident(), memory + 16 * MIB);
    }
}
END_TEST

START_TEST(three_hundred_pools_at_once) {
    enum { POOLS = 300 };
    static bp_pool *pool[POOLS];
    static bp_buffer *held[POOLS][2];
    bp_options o;
    bp_options_init(&o);
    if (SANITIZED) o.region_size = GIB; /* TSan leaves a program some 3 TiB of addresses */
    for (size_t i = 0; i < POOLS; i++) {
        pool[i] = bp_pool_create(&o, NULL);
        ck_assert_msg(pool[i] != NULL, "pool %zu", i);
        held[i][0] = bp_buffer_get(pool[i], 1000 + i);
        held[i][1] = bp_buffer_get(pool[i], 3 * MIB);
        ck_assert_msg(held[i][0] && held[i][1], "buffers of pool %zu", i);
        fill(bp_buffer_data(held[i][0]), 1000 + i, i);
    }
    for (size_t i = 0; i < POOLS; i++) {
        ck_assert(filled(bp_buffer_data(held[i][0]), 1000 + i, i));
        ck_assert_int_eq(bp_buffer_put(pool[(i + 1) % POOLS], held[i][0]), BP_ERR_FOREIGN);
        ck_assert_int_eq(bp_buffer_put(pool[i], held[i][1]), BP_OK);
        ck_assert_uint_eq(stats_of(pool[i]).in_use, 1);
        if (i % 3 == 0) bp_pool_destroy(pool[i]);
        ck_assert_int_eq(bp_buffer_release(pool[i], held[i][0]), BP_OK);
        if (i % 3 == 0) pool[i] = bp_pool_create(&o, NULL);
    }
    for (size_t i = 0; i < POOLS; i++) {
        ASSERT_POOL(pool[i]);
        bp_pool_destroy(pool[i]);
    }
}
END_TEST

/* ---- a thread that lives on while pools come and go -------------------------------- */

typedef struct companion {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bp_pool *pool; /* NULL: nothing to do */
    bool stop;
    size_t failed;
} companion;

static void *use_each_pool(void *arg) {
    companion *c = arg;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (!c->pool && !c->stop) pthread_cond_wait(&c->changed, &c->lock);
        if (c->stop) break;
        bp_buffer *a = bp_buffer_get(c->pool, 500), *b = bp_buffer_get(c->pool, 500);
        /* an idle block of a pool that is gone must never come out of a later pool */
        if (!a || !b || a == b) c->failed++;
        if (stats_of(c->pool).tiers[2].miss != 2) c->failed++;
        if (a && bp_buffer_release(c->pool, a) != BP_OK) c->failed++;
        if (b && bp_buffer_release(c->pool, b) != BP_OK) c->failed++;
        c->pool = NULL;
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* More pools than the limit of live ones, one after the other: a slot that the
 * living thread knows must become free again. */
START_TEST(a_thread_outlives_many_pools) {
    companion c = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, false, 0};
    pthread_t id;
    size_t space = 0, memory = 0;
    ck_assert_int_eq(pthread_create(&id, NULL, use_each_pool, &c), 0);
    for (int round = 0; round < BP_MAX_POOLS + 100; round++) {
        bp_error e;
        bp_pool *pool = bp_pool_create(NULL, &e);
        ck_assert_msg(pool != NULL, "round %d: %s", round, e.message);
        pthread_mutex_lock(&c.lock);
        c.pool = pool;
        pthread_cond_broadcast(&c.changed);
        while (c.pool) pthread_cond_wait(&c.changed, &c.lock);
        pthread_mutex_unlock(&c.lock);
        ck_assert_uint_eq(stats_of(pool).tiers[2].idle, 2);
        bp_pool_destroy(pool);
        if (round == 100 && memory_is_observable()) {
            space = address_space();
            memory = resident();
        }
    }
    pthread_mutex_lock(&c.lock);
    c.stop = true;
    pthread_cond_broadcast(&c.changed);
    pthread_mutex_unlock(&c.lock);
    if (space) {
        ck_assert_uint_lt(address_space(), space + 64 * MIB);
        ck_assert_uint_lt(resident(), memory + 16 * MIB);
    }
    pthread_join(id, NULL);
    ck_assert_uint_eq(c.failed, 0);
}
END_TEST

/* Small regions, so that the limit of pools is met before that of addresses. A
 * machine that gives less must say so as clearly. */
START_TEST(the_limit_of_pools) {
    static bp_pool *pool[BP_MAX_POOLS + 1];
    size_t tier = 4096, made = 0;
    bp_options o;
    bp_error e;
    bp_options_init(&o);
    o.tiers = &tier;
    o.tier_count = 1;
    o.recent_size = 0;
    o.region_size = 64 * MIB;
    memset(&e, 0, sizeof e);
    while (made <= BP_MAX_POOLS && (pool[made] = bp_pool_create(&o, &e)) != NULL) made++;
    ck_assert_uint_le(made, BP_MAX_POOLS);
    ck_assert_uint_gt(strlen(e.message), 0);
    if (made == BP_MAX_POOLS) {
        ck_assert_int_eq(e.status, BP_ERR_LIMIT);
        ck_assert_msg(strstr(e.message, "pools") != NULL, "message: %s", e.message);
    } else {
        ck_assert_int_eq(e.status, BP_ERR_NOMEM);
        ck_assert_uint_ge(made, 50);
    }
    /* one that goes makes room for one */
    bp_pool_destroy(pool[made / 2]);
    pool[made / 2] = bp_pool_create(&o, &e);
    ck_assert_ptr_nonnull(pool[made / 2]);
    bp_buffer *b = bp_buffer_get(pool[made / 2], 4096);
    ck_assert_ptr_nonnull(b);
    ck_assert_int_eq(bp_buffer_release(pool[made / 2], b), BP_OK);
    for (size_t i = 0; i < made; i++) bp_pool_destroy(pool[i]);
}
END_TEST

/* One buffer that is out must not keep what idled beside it. */
START_TEST(an_ended_pool_keeps_no_idle_memory) {
    enum { N = 1500 };
    static bp_buffer *b[N];
    if (!memory_is_observable()) return;
    bp_pool *pool = bp_pool_create(NULL, NULL);
    bp_buffer *last = bp_buffer_get(pool, 100);
    size_t before = resident();
    for (size_t i = 0; i < N; i++)
        touch(bp_buffer_data(b[i] = bp_buffer_get(pool, 64 * KIB)), 64 * KIB);
    for (size_t i = 0; i < N; i++) bp_buffer_release(pool, b[i]);
    ck_assert_uint_gt(resident(), before + 80 * MIB);
    bp_pool_destroy(pool);
    ck_assert_uint_lt(resident(), before + 8 * MIB);
    ck_assert_int_eq(bp_buffer_release(pool, last), BP_OK);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("destroy");
    TCase *tc = add_case(suite, "buffers out");
    tcase_add_test(tc, buffers_outlive_the_pool);
    tcase_add_test(tc, a_raw_pointer_may_be_the_last);
    tcase_add_test(tc, no_get_after_destroy);
    tcase_add_test(tc, other_threads_release_after_destroy);
    tcase_add_test(tc, memory_goes_with_the_last_buffer);
    tc = add_case(suite, "many pools");
    tcase_add_test(tc, three_hundred_pools_at_once);
    tcase_add_test(tc, a_thread_outlives_many_pools);
    tcase_add_test(tc, the_limit_of_pools);
    tcase_add_test(tc, an_ended_pool_keeps_no_idle_memory);
    return run_suite(suite);
}
