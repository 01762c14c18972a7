/* Several threads on one pool. */
#include <pthread.h>

#include "support.h"
#include "threads.h"

static const size_t tiers[] = {128, 1000, 4096, 65536};
enum { TIERS = 4 };

static bp_pool *fresh_pool(void) {
    bp_pool *pool = pool_of(tiers, TIERS, GIB);
    ck_assert_ptr_nonnull(pool);
    return pool;
}

/* ---- a queue between producers and consumers --------------------------------------- */

enum { QUEUE = 64 };
typedef struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bp_buffer *slot[QUEUE];
    size_t head, count;
    bool closed;
    bp_pool *pool;
} queue;

static queue *queue_of(bp_pool *pool) {
    queue *q = calloc(1, sizeof(*q));
    ck_assert_ptr_nonnull(q);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    q->pool = pool;
    return q;
}

static void queue_push(queue *q, bp_buffer *b) {
    pthread_mutex_lock(&q->lock);
    while (q->count == QUEUE) pthread_cond_wait(&q->changed, &q->lock);
    q->slot[(q->head + q->count++) % QUEUE] = b;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

static bp_buffer *queue_pop(queue *q) {
    bp_buffer *b = NULL;
    pthread_mutex_lock(&q->lock);
    while (q->count == 0 && !q->closed) pthread_cond_wait(&q->changed, &q->lock);
    if (q->count) {
        b = q->slot[q->head];
        q->head = (q->head + 1) % QUEUE;
        q->count--;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return b;
}

static void queue_close(queue *q) {
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

static void queue_free(queue *q) {
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->changed);
    free(q);
}

enum { PRODUCED = 20000 };

static void *produce(void *arg) {
    queue *q = arg;
    rng r = {42};
    size_t failed = 0;
    for (size_t i = 0; i < PRODUCED; i++) {
        size_t n = rng_below(&r, i % 50 ? 5000 : 100000);
        bp_buffer *b = bp_buffer_get(q->pool, n);
        if (!b) return failures(failed + 1);
        fill(bp_buffer_data(b), n, n);
        bool keep = i % 4 == 0;
        if (keep && bp_buffer_retain(b) != BP_OK) failed++;
        queue_push(q, b);
        /* while the consumer may be reading and releasing it */
        if (keep && !filled(bp_buffer_data(b), n, n)) failed++;
        if (keep && bp_buffer_release(q->pool, b) != BP_OK) failed++;
    }
    return failures(failed);
}

static void *consume(void *arg) {
    queue *q = arg;
    size_t failed = 0;
    bp_buffer *b;
    while ((b = queue_pop(q)) != NULL) {
        size_t n = bp_buffer_length(b);
        if (!filled(bp_buffer_data(b), n, n)) failed++;
        if (bp_buffer_release(q->pool, b) != BP_OK) failed++;
    }
    return failures(failed);
}

START_TEST(get_here_release_there) {
    bp_pool *pool = fresh_pool();
    queue *q = queue_of(pool);
    pthread_t producer[2], consumer[2];
    for (int i = 0; i < 2; i++) start(&producer[i], produce, q);
    for (int i = 0; i < 2; i++) start(&consumer[i], consume, q);
    for (int i = 0; i < 2; i++) ck_assert_uint_eq(finish(producer[i]), 0);
    queue_close(q);
    for (int i = 0; i < 2; i++) ck_assert_uint_eq(finish(consumer[i]), 0);
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.requests, 2 * PRODUCED);
    ck_assert_uint_eq(s.total_get, s.total_put);
    ck_assert_uint_eq(s.discarded, s.discarded_put);
    ck_assert_uint_eq(s.in_use, 0);
    /* blocks must find their way back to the producers, or every get is a miss */
    uint64_t misses = 0;
    for (size_t t = 0; t < TIERS; t++) misses += s.tiers[t].miss;
    ck_assert_uint_lt(misses, PRODUCED / 2);
    ASSERT_POOL(pool);
    queue_free(q);
    bp_pool_destroy(pool);
}
END_TEST

/* ---- random operations ---------------------------------------------------------------- */

enum { WORKERS = 6, STEPS = 15000, HELD = 50 };
typedef struct worker {
    bp_pool *pool;
    uint64_t seed;
} worker;

static void *random_work(void *arg) {
    worker *w = arg;
    rng r = {w->seed};
    bp_buffer *held[HELD] = {NULL};
    size_t failed = 0;
    for (size_t step = 0; step < STEPS; step++) {
        size_t i = rng_below(&r, HELD);
        if (held[i]) {
            size_t n = bp_buffer_length(held[i]), edge = n < 512 ? n : 512;
            if (!filled(bp_buffer_data(held[i]), edge, w->seed + i)) failed++;
            if (rng_below(&r, 8) == 0 && bp_buffer_retain(held[i]) == BP_OK)
                bp_buffer_release(w->pool, held[i]);
            if (bp_buffer_put(w->pool, held[i]) != BP_OK) failed++;
            held[i] = NULL;
        } else {
            size_t n = rng_below(&r, (size_t)1 << (1 + rng_below(&r, 17)));
            held[i] = bp_buffer_get(w->pool, n);
            if (!held[i]) failed++;
            else fill(bp_buffer_data(held[i]), n < 512 ? n : 512, w->seed + i);
        }
        if (step % 1000 == 999) bp_pool_trim(w->pool);
        if (step % 1000 == 500) {
            bp_stats s = stats_of(w->pool);
            if (s.in_use > (uint64_t)WORKERS * STEPS) failed++; /* below zero, seen unsigned */
        }
    }
    for (size_t i = 0; i < HELD; i++)
        if (held[i] && bp_buffer_release(w->pool, held[i]) != BP_OK) failed++;
    return failures(failed);
}

START_TEST(random_work_of_many) {
    uint64_t seed = seed_of_run("random_work_of_many");
    bp_pool *pool = fresh_pool();
    worker w[WORKERS];
    pthread_t id[WORKERS];
    for (size_t i = 0; i < WORKERS; i++) {
        w[i] = (worker){pool, seed + 1000 * i};
        start(&id[i], random_work, &w[i]);
    }
    for (size_t i = 0; i < WORKERS; i++) ck_assert_uint_eq(finish(id[i]), 0);
    ck_assert_uint_eq(stats_of(pool).in_use, 0);
    ck_assert_uint_eq(stats_of(pool).in_use_bytes, 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* ---- threads and the pool's end ----------------------------------------------------------- */

enum { BATCH = 100 };

static void *release_one(void *arg) {
    void **pool_and_buffer = arg;
    return failures(bp_buffer_release(pool_and_buffer[0], pool_and_buffer[1]) != BP_OK);
}

START_TEST(release_on_a_thread_new_to_the_pool) {
    bp_pool *pool = fresh_pool();
    for (size_t t = 0; t <= TIERS; t++) {
        bp_buffer *b = bp_buffer_get(pool, t < TIERS ? tiers[t] : MIB);
        void *arg[] = {pool, b};
        pthread_t id;
        start(&id, release_one, arg);
        ck_assert_uint_eq(finish(id), 0);
        bp_stats s = stats_of(pool);
        ck_assert_uint_eq(s.in_use, 0);
        if (t < TIERS) ck_assert_uint_eq(s.tiers[t].depot, 1);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_ERR_DEAD);
        ASSERT_POOL(pool);
    }
    bp_pool_destroy(pool);
}
END_TEST

typedef struct holder {
    bp_pool *pool;
    pthread_barrier_t *step;
} holder;

static void *hold_past_the_end(void *arg) {
    holder *h = arg;
    bp_buffer *b[BATCH];
    size_t failed = 0;
    for (size_t i = 0; i < BATCH; i++) {
        b[i] = bp_buffer_get(h->pool, i * 1000);
        if (b[i]) fill(bp_buffer_data(b[i]), i * 1000, i);
        failed += b[i] == NULL;
    }
    if (failed) b[0] = NULL;
    /* some idle blocks in this thread's cache, too */
    for (size_t i = 0; i < 10 && !failed; i++) failed += bp_buffer_release(h->pool, b[i]) != BP_OK;
    pthread_barrier_wait(h->step);
    pthread_barrier_wait(h->step);
    for (size_t i = 10; i < BATCH && b[0]; i++) {
        failed += bp_buffer_retain(b[i]) != BP_OK;
        failed += !filled(bp_buffer_data(b[i]), i * 1000, i);
        failed += bp_buffer_release(h->pool, b[i]) != BP_OK;
        failed += bp_buffer_release(h->pool, b[i]) != BP_OK;
    }
    return failures(failed);
}

START_TEST(destroy_while_threads_hold) {
    for (int round = 0; round < 30; round++) {
        pthread_barrier_t step;
        pthread_t id[4];
        pthread_barrier_init(&step, NULL, 5);
        holder h = {fresh_pool(), &step};
        for (int i = 0; i < 4; i++) start(&id[i], hold_past_the_end, &h);
        pthread_barrier_wait(&step);
        ck_assert_uint_eq(stats_of(h.pool).in_use, 4 * (BATCH - 10));
        bp_pool_destroy(h.pool);
        pthread_barrier_wait(&step);
        for (int i = 0; i < 4; i++) ck_assert_uint_eq(finish(id[i]), 0);
        pthread_barrier_destroy(&step);
    }
}
END_TEST

/* ---- trim ------------------------------------------------------------------------------------ */

static void *keep_a_cache(void *arg) {
    holder *h = arg;
    bp_buffer *b[BATCH];
    size_t failed = 0;
    for (size_t i = 0; i < BATCH; i++) failed += !(b[i] = bp_buffer_get(h->pool, 4096));
    for (size_t i = 0; i < BATCH && !failed; i++)
        failed += bp_buffer_release(h->pool, b[i]) != BP_OK;
    pthread_barrier_wait(h->step);
    pthread_barrier_wait(h->step);
    /* an oversize request is never served by the fast half */
    bp_buffer *large = bp_buffer_get(h->pool, MIB);
    failed += !large || bp_buffer_release(h->pool, large) != BP_OK;
    pthread_barrier_wait(h->step);
    pthread_barrier_wait(h->step);
    return failures(failed);
}

START_TEST(trim_reaches_the_caches_of_others) {
    pthread_barrier_t step;
    pthread_t id;
    pthread_barrier_init(&step, NULL, 2);
    holder h = {fresh_pool(), &step};
    start(&id, keep_a_cache, &h);
    pthread_barrier_wait(&step);
    ck_assert_uint_gt(stats_of(h.pool).tiers[2].cached, 0);
    ck_assert_uint_eq(stats_of(h.pool).tiers[2].idle, BATCH);
    bp_pool_trim(h.pool);
    pthread_barrier_wait(&step);
    pthread_barrier_wait(&step);
    ck_assert_uint_eq(stats_of(h.pool).tiers[2].cached, 0);
    bp_pool_trim(h.pool);
    ck_assert_uint_eq(stats_of(h.pool).owned_bytes, 0);
    ASSERT_POOL(h.pool);
    pthread_barrier_wait(&step);
    ck_assert_uint_eq(finish(id), 0);
    pthread_barrier_destroy(&step);
    bp_pool_destroy(h.pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("threads");
    TCase *tc = add_case(suite, "exchange");
    tcase_add_test(tc, get_here_release_there);
    tcase_add_test(tc, random_work_of_many);
    tcase_add_test(tc, release_on_a_thread_new_to_the_pool);
    tc = add_case(suite, "one pool");
    tcase_add_test(tc, destroy_while_threads_hold);
    tcase_add_test(tc, trim_reaches_the_caches_of_others);
    return run_suite(suite);
}
