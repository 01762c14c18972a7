/* Counters against a model that knows every operation, and the recent lengths. */
#include <pthread.h>

#include "support.h"

/* ---- a model of one pool used by one thread ----------------------------------- */

enum { TIERS = 9, LIVE = 400 };
static const size_t tiers[TIERS] = {1, 64, 100, 128, 1000, 4096, 65536, 100000, 2 * MIB};

typedef struct model {
    bp_pool *pool;
    uint64_t get[TIERS], put[TIERS], hit[TIERS], miss[TIERS], idle[TIERS];
    uint64_t discarded, discarded_put, discarded_bytes;
    uint64_t oversize_bytes; /* of live ones, as the pool counts their blocks */
    uint64_t peak, trimmed;
    bool prewarmed; /* since the last trim */
    struct {
        bp_buffer *b;
        void *raw;
        size_t length, tier, block;
    } live[LIVE];
    size_t live_count;
} model;

static uint64_t model_owned(const model *m) {
    uint64_t bytes = m->oversize_bytes;
    for (size_t t = 0; t < TIERS; t++) bytes += (m->get[t] - m->put[t] + m->idle[t]) * tiers[t];
    return bytes;
}

static void model_peak(model *m) {
    uint64_t owned = model_owned(m);
    if (owned > m->peak) m->peak = owned;
}

static void compare(const model *m) {
    bp_stats s = stats_of(m->pool);
    uint64_t gets = 0, puts = 0;
    for (size_t t = 0; t < TIERS; t++) {
        const bp_tier_stats *x = &s.tiers[t];
        ck_assert_uint_eq(x->get, m->get[t]);
        ck_assert_uint_eq(x->put, m->put[t]);
        ck_assert_uint_eq(x->hit, m->hit[t]);
        ck_assert_uint_eq(x->miss, m->miss[t]);
        ck_assert_uint_eq(x->idle, m->idle[t]);
        ck_assert_uint_eq(x->in_use, m->get[t] - m->put[t]);
        gets += m->get[t];
        puts += m->put[t];
    }
    ck_assert_uint_eq(s.total_get, gets);
    ck_assert_uint_eq(s.total_put, puts);
    ck_assert_uint_eq(s.requests, gets + m->discarded);
    ck_assert_uint_eq(s.discarded, m->discarded);
    ck_assert_uint_eq(s.discarded_put, m->discarded_put);
    ck_assert_uint_eq(s.discarded_bytes, m->discarded_bytes);
    ck_assert_uint_eq(s.in_use, m->live_count);
    ck_assert_uint_eq(s.owned_bytes, model_owned(m));
    ck_assert_uint_eq(s.peak_owned_bytes, m->peak);
    ck_assert_uint_eq(s.trimmed_bytes, m->trimmed);
    ASSERT_POOL(m->pool);
}

static void model_get(model *m, rng *r, size_t n) {
    size_t t = tier_serving(tiers, TIERS, n), i = m->live_count++;
    bool raw = rng_below(r, 4) == 0;
    uint64_t before = t == TIERS ? stats_of(m->pool).in_use_bytes : 0;
    m->live[i].b = raw ? NULL : bp_buffer_get(m->pool, n);
    m->live[i].raw = raw ? bp_raw_get(m->pool, n, NULL) : NULL;
    ck_assert(m->live[i].b || m->live[i].raw);
    m->live[i].length = n;
    m->live[i].tier = t;
    if (t < TIERS) {
        m->get[t]++;
        if (m->idle[t]) {
            m->idle[t]--;
            m->hit[t]++;
        } else {
            m->miss[t]++;
        }
    } else {
        m->discarded++;
        m->discarded_bytes += n;
        m->live[i].block = (size_t)(stats_of(m->pool).in_use_bytes - before);
        ck_assert_uint_ge(m->live[i].block, n);
        m->oversize_bytes += m->live[i].block;
    }
    model_peak(m);
}

static void model_release(model *m, rng *r) {
    if (m->live_count == 0) return;
    size_t i = rng_below(r, m->live_count), t = m->live[i].tier;
    bp_buffer *b = m->live[i].b;
    if (!b) {
        ck_assert_int_eq(bp_raw_put(m->pool, m->live[i].raw), BP_OK);
    } else if (rng_below(r, 3) == 0) {
        ck_assert_int_eq(bp_buffer_put(m->pool, b), BP_OK);
    } else {
        size_t more = rng_below(r, 3);
        for (size_t k = 0; k < more; k++) ck_assert_int_eq(bp_buffer_retain(b), BP_OK);
        for (size_t k = 0; k <= more; k++) ck_assert_int_eq(bp_buffer_release(m->pool, b), BP_OK);
    }
    if (t < TIERS) {
        m->put[t]++;
        m->idle[t]++;
    } else {
        m->discarded_put++;
        m->oversize_bytes -= m->live[i].block;
    }
    m->live[i] = m->live[--m->live_count];
}

/* What a trim gives back depends on which slabs are empty. So the model takes
 * the idle counts from the pool, and holds the two byte sums against them. After
 * a prewarm a trim may also turn up idle blocks: the few fresh ones that the cache
 * had reserved and the prewarm overtook. */
static void model_trim(model *m) {
    uint64_t before = 0, after = 0;
    for (size_t t = 0; t < TIERS; t++) before += m->idle[t] * tiers[t];
    size_t given = bp_pool_trim(m->pool);
    bp_stats s = stats_of(m->pool);
    for (size_t t = 0; t < TIERS; t++) {
        ck_assert_uint_le(s.tiers[t].idle, m->idle[t] + (m->prewarmed ? 16 : 0));
        m->idle[t] = s.tiers[t].idle;
        after += m->idle[t] * tiers[t];
    }
    ck_assert_uint_ge(after + given, before);
    if (!m->prewarmed) ck_assert_uint_eq(after + given, before);
    if (m->prewarmed && s.peak_owned_bytes > m->peak) m->peak = s.peak_owned_bytes;
    m->trimmed += given;
    m->prewarmed = false;
}

static void model_prewarm(model *m, rng *r) {
    size_t t = rng_below(r, TIERS), count = rng_below(r, 6);
    ck_assert_int_eq(bp_pool_prewarm(m->pool, tiers[t], count), BP_OK);
    uint64_t idle = stats_of(m->pool).tiers[t].idle;
    ck_assert_uint_ge(idle, count);
    ck_assert_uint_ge(idle, m->idle[t]);
    m->idle[t] = idle;
    m->prewarmed = true;
    model_peak(m);
}

START_TEST(random_operations_against_the_model) {
    rng r = {seed_of_run("random_operations_against_the_model")};
    static model m;
    memset(&m, 0, sizeof m);
    m.pool = pool_of(tiers, TIERS, 4 * GIB);
    ck_assert_ptr_nonnull(m.pool);
    for (int i = 0; i < 30000; i++) {
        size_t what = rng_below(&r, 1000);
        if (what < 500 && m.live_count < LIVE)
            model_get(&m, &r, rng_below(&r, (size_t)1 << (1 + rng_below(&r, 22))));
        else if (what < 990) model_release(&m, &r);
        else if (what < 995) model_prewarm(&m, &r);
        else if (what < 997) model_trim(&m);
        if (i % 16 == 0) compare(&m);
    }
    while (m.live_count) model_release(&m, &r);
    compare(&m);
    bp_pool_destroy(m.pool);
}
END_TEST

START_TEST(peak_is_exact) {
    static const size_t one[] = {64 * KIB};
    bp_pool *pool = pool_of(one, 1, 0);
    bp_buffer *b[100];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100 - round * 20; i++) b[i] = bp_buffer_get(pool, one[0]);
        for (int i = 0; i < 100 - round * 20; i++)
            ck_assert_int_eq(bp_buffer_release(pool, b[i]), BP_OK);
        ck_assert_uint_eq(stats_of(pool).owned_bytes, 0);
        ck_assert_uint_eq(stats_of(pool).peak_owned_bytes, 100 * one[0]);
    }
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* ---- prewarm ------------------------------------------------------------------- */

START_TEST(prewarmed_blocks_are_hits) {
    bp_pool *pool = pool_of(tiers, TIERS, 256 * MIB);
    static const size_t size[] = {1, 128, 3000, 65536, 2 * MIB};
    bp_buffer *b[20];
    for (size_t i = 0; i < COUNT_OF(size); i++) {
        size_t t = tier_serving(tiers, TIERS, size[i]);
        ck_assert_int_eq(bp_pool_prewarm(pool, size[i], 20), BP_OK);
        bp_stats s = stats_of(pool);
        ck_assert_uint_eq(s.tiers[t].idle, 20);
        ck_assert_uint_eq(s.tiers[t].get, 0);
        ck_assert_uint_eq(s.requests, 20 * i);
        ASSERT_POOL(pool);
        for (int k = 0; k < 20; k++) b[k] = bp_buffer_get(pool, size[i]);
        s = stats_of(pool);
        ck_assert_uint_eq(s.tiers[t].hit, 20);
        ck_assert_uint_eq(s.tiers[t].miss, 0);
        for (int k = 0; k < 20; k++) ck_assert_int_eq(bp_buffer_release(pool, b[k]), BP_OK);
    }
    ck_assert_int_eq(bp_pool_prewarm(pool, 0, 0), BP_OK);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(prewarm_is_all_or_nothing) {
    bp_pool *pool = pool_of(tiers, TIERS, 16 * MIB);
    bp_stats before = stats_of(pool);
    ck_assert_int_eq(bp_pool_prewarm(pool, 2 * MIB + 1, 1), BP_ERR_ARG);
    ck_assert_int_eq(bp_pool_prewarm(pool, SIZE_MAX, 1), BP_ERR_ARG);
    ck_assert_int_eq(bp_pool_prewarm(pool, 2 * MIB, 9), BP_ERR_LIMIT);
    ck_assert_int_eq(bp_pool_prewarm(pool, 65536, 257), BP_ERR_LIMIT);
    ck_assert_int_eq(bp_pool_prewarm(pool, 65536, SIZE_MAX), BP_ERR_LIMIT);
    /* products that wrap around to something small */
    ck_assert_int_eq(bp_pool_prewarm(pool, 65536, SIZE_MAX / 65536 + 2), BP_ERR_LIMIT);
    ck_assert_int_eq(bp_pool_prewarm(pool, 2 * MIB, SIZE_MAX / (2 * MIB) + 1), BP_ERR_LIMIT);
    ASSERT_UNCHANGED(pool, before);
    ck_assert_int_eq(bp_pool_prewarm(pool, 2 * MIB, 8), BP_OK);
    ck_assert_uint_eq(stats_of(pool).idle_bytes, 16 * MIB);
    ck_assert_uint_eq(stats_of(pool).peak_owned_bytes, 16 * MIB);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* ---- recent lengths --------------------------------------------------------------- */

static bp_pool *recent_pool(size_t size, bp_recent_mode mode) {
    bp_options o;
    bp_options_init(&o);
    o.recent_size = size;
    o.recent_mode = mode;
    bp_pool *pool = bp_pool_create(&o, NULL);
    ck_assert_ptr_nonnull(pool);
    return pool;
}

/* Oversize and raw requests are recorded as well; refused ones are not. */
static void request(bp_pool *pool, size_t n) {
    if (n % 3 == 0) {
        void *p = bp_raw_get(pool, n, NULL);
        ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
    } else {
        bp_buffer *b = bp_buffer_get(pool, n);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    }
    if (n % 101 == 0) ck_assert_ptr_null(bp_buffer_get(pool, SIZE_MAX));
}

static size_t nth_length(size_t i) { return i % 500 == 499 ? 3 * MIB + i : i * 7 % 5000; }

static void recent_holds(bp_recent_mode mode, size_t size) {
    static uint64_t out[70000];
    bp_pool *pool = recent_pool(size, mode);
    size_t done = 0;
    const size_t stops[] = {0, 1, 2, 99, size, size + 1, size + 7, 2 * size + 3};
    ck_assert_uint_eq(bp_pool_recent(pool, out, COUNT_OF(out)), 0);
    for (size_t k = 0; k < COUNT_OF(stops); k++) {
        while (done < stops[k]) request(pool, nth_length(done++));
        size_t expected = done < size ? done : size;
        memset(out, 0xEE, sizeof out);
        ck_assert_uint_eq(bp_pool_recent(pool, out, COUNT_OF(out)), expected);
        for (size_t i = 0; i < expected; i++)
            ck_assert_msg(out[i] == nth_length(done - expected + i), "size %zu: entry %zu of %zu",
                          size, i, expected);
        ck_assert_uint_eq(out[expected], UINT64_C(0xEEEEEEEEEEEEEEEE));
    }
    size_t few = size < 5 ? size : 5;
    ck_assert_uint_eq(bp_pool_recent(pool, out, 5), few);
    for (size_t i = 0; i < few; i++) ck_assert_uint_eq(out[i], nth_length(done - few + i));
    ck_assert_uint_eq(bp_pool_recent(pool, out, 0), 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}

static const size_t recent_sizes[] = {0, 1, 100, 256, 65536};

START_TEST(recent_relaxed) { recent_holds(BP_RECENT_RELAXED, recent_sizes[_i]); }
END_TEST

START_TEST(recent_exact) { recent_holds(BP_RECENT_EXACT, recent_sizes[_i]); }
END_TEST

enum { THREADS = 4, EACH = 50 };
static bp_pool *shared;

static void *ask(void *arg) {
    size_t first = (size_t)(uintptr_t)arg;
    for (size_t i = 0; i < EACH; i++) {
        bp_buffer *b = bp_buffer_get(shared, first + i);
        if (!b || bp_buffer_release(shared, b) != BP_OK) return arg;
    }
    return NULL;
}

/* Fewer requests than the ring holds: each must be there once, whatever the mode,
 * and each thread's in its own order, though the threads are gone by now. */
START_TEST(recent_of_several_threads) {
    uint64_t out[THREADS * EACH + 1];
    pthread_t id[THREADS];
    shared = recent_pool(256, _i ? BP_RECENT_EXACT : BP_RECENT_RELAXED);
    for (size_t t = 0; t < THREADS; t++)
        ck_assert_int_eq(pthread_create(&id[t], NULL, ask, (void *)(uintptr_t)(t * 1000)), 0);
    for (size_t t = 0; t < THREADS; t++) {
        void *failed = NULL;
        pthread_join(id[t], &failed);
        ck_assert_ptr_null(failed);
    }
    ck_assert_uint_eq(bp_pool_recent(shared, out, COUNT_OF(out)), THREADS * EACH);
    size_t next[THREADS] = {0};
    for (size_t i = 0; i < THREADS * EACH; i++) {
        size_t t = (size_t)out[i] / 1000;
        ck_assert_uint_lt(t, THREADS);
        ck_assert_uint_eq(out[i] % 1000, next[t]);
        next[t]++;
    }
    ASSERT_POOL(shared);
    bp_pool_destroy(shared);
}
END_TEST

START_TEST(names_and_defaults) {
    bp_options o;
    bp_options_init(&o);
    ck_assert_uint_eq(o.tier_count, 15);
    ck_assert_uint_eq(o.recent_size, 256);
    ck_assert_int_eq(o.recent_mode, BP_RECENT_RELAXED);
    ck_assert_uint_le(o.max_idle, 256 * MIB);
    char name[] = "bodies";
    o.name = name;
    bp_pool *named = bp_pool_create(&o, NULL), *plain = bp_pool_create(NULL, NULL);
    name[0] = 'x';
    ck_assert_str_eq(bp_pool_name(named), "bodies");
    ck_assert_str_eq(bp_pool_name(plain), "");
    ck_assert_uint_eq(stats_of(plain).max_idle, o.max_idle);
    ck_assert_uint_eq(stats_of(plain).tier_count, 15);
    bp_pool_destroy(named);
    bp_pool_destroy(plain);
    bp_pool_destroy(NULL);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("stats");
    TCase *tc = add_case(suite, "counters");
    tcase_add_test(tc, random_operations_against_the_model);
    tcase_add_test(tc, peak_is_exact);
    tcase_add_test(tc, prewarmed_blocks_are_hits);
    tcase_add_test(tc, prewarm_is_all_or_nothing);
    tc = add_case(suite, "recent");
    tcase_add_loop_test(tc, recent_relaxed, 0, (int)COUNT_OF(recent_sizes));
    tcase_add_loop_test(tc, recent_exact, 0, (int)COUNT_OF(recent_sizes));
    tcase_add_loop_test(tc, recent_of_several_threads, 0, 2);
    tcase_add_test(tc, names_and_defaults);
    return run_suite(suite);
}
