/* A change of the tier table: what stays, what drains, what is refused, and the way back. */
#include <errno.h>
#include <math.h>
#include <pthread.h>

#include "change.h"
#include "threads.h"

static const size_t first[] = {100, 1000, 64 * KIB, 5 * MIB};
static const size_t second[] = {1000, 4096, 64 * KIB};

static bp_pool *pool_first(void) {
    bp_options o = options_of(first, COUNT_OF(first));
    return pool_with(&o);
}

static void change(bp_pool *pool, const size_t *tiers, size_t count) {
    bp_options o = options_of(tiers, count);
    bp_error e;
    ck_assert_msg(bp_pool_configure(pool, &o, false, &e) == BP_OK, "%s", e.message);
    ck_assert_int_eq(e.status, BP_OK);
}

static const bp_tier_stats *row(const bp_stats *s, size_t size) {
    for (size_t i = 0; i < s->tier_count; i++)
        if (s->tiers[i].size == size) return &s->tiers[i];
    return NULL;
}

/* ---- what stays ------------------------------------------------------------------- */

START_TEST(tiers_kept_keep_blocks_and_counters) {
    bp_pool *pool = pool_first();
    bp_buffer *held[300];
    for (size_t i = 0; i < COUNT_OF(held); i++) held[i] = got(pool, 900);
    for (size_t i = 10; i < COUNT_OF(held); i++) give(pool, held[i]);
    bp_stats before = stats_of(pool);
    change(pool, second, COUNT_OF(second));
    for (int round = 0; round < 2; round++) {
        bp_stats after = stats_of(pool);
        const bp_tier_stats *t = row(&after, 1000), *was = row(&before, 1000);
        ck_assert_ptr_nonnull(t);
        ck_assert_uint_eq(t->get, was->get);
        ck_assert_uint_eq(t->put, was->put);
        ck_assert_uint_eq(t->hit, was->hit);
        ck_assert_uint_eq(t->owned, was->owned);
        ck_assert_uint_eq(t->idle, was->idle);
        ck_assert_uint_eq(t->asked_bytes, was->asked_bytes);
        ck_assert_uint_eq(t->peak_owned, was->peak_owned);
        ck_assert(!t->draining);
        ASSERT_POOL(pool);
        change(pool, first, COUNT_OF(first));
    }
    bp_buffer *more[290];
    for (size_t i = 0; i < COUNT_OF(more); i++) more[i] = got(pool, 1000);
    bp_stats after = stats_of(pool);
    ck_assert_uint_eq(row(&after, 1000)->miss, row(&before, 1000)->miss); /* all were there */
    for (size_t i = 0; i < COUNT_OF(more); i++) give(pool, more[i]);
    for (size_t i = 0; i < 10; i++) give(pool, held[i]);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* ---- what drains ---------------------------------------------------------------------- */

static bp_pool *shared;
static bp_buffer *one;
static void *raw;
static char token[BP_TOKEN_SIZE];

static void *elsewhere(void *arg) {
    size_t wrong = 0, capacity = bp_buffer_capacity(shared, one);
    bp_pool *pool = NULL;
    bp_buffer *b = NULL;
    (void)arg;
    wrong += capacity != 5 * MIB || !filled(bp_buffer_data(one), 5 * MIB, 7);
    wrong += bp_buffer_retain(one) != BP_OK;
    wrong += bp_buffer_put(shared, one) != BP_ERR_SHARED;
    wrong += bp_buffer_import(token, &pool, &b, NULL) != BP_OK || b != one || pool != shared;
    wrong += bp_buffer_release(shared, one) != BP_OK;
    wrong += bp_buffer_release(shared, one) != BP_OK;
    wrong += bp_buffer_put(shared, one) != BP_OK;
    wrong += bp_raw_capacity(shared, raw) != 100 || !filled(raw, 100, 9);
    wrong += bp_raw_put(shared, raw) != BP_OK;
    int again = bp_raw_put(shared, raw);
    wrong += again != BP_ERR_DEAD && again != BP_ERR_FOREIGN;
    return failures(wrong);
}

START_TEST(what_is_out_stays_valid_and_drains) {
    shared = pool_first();
    one = got(shared, 3 * MIB);
    size_t capacity = 0;
    raw = bp_raw_get(shared, 77, &capacity);
    fill(bp_buffer_data(one), 5 * MIB, 7);
    fill(raw, 100, 9);
    ck_assert_int_eq(bp_buffer_export(shared, one, NULL, token), BP_OK);
    change(shared, second, COUNT_OF(second));
    bp_stats s = stats_of(shared);
    ck_assert_uint_eq(s.tier_count, 5); /* three that serve, and two that drain */
    ck_assert(row(&s, 100)->draining && row(&s, 5 * MIB)->draining);
    ck_assert_uint_eq(row(&s, 100)->in_use, 1);
    ck_assert_uint_eq(s.drained.tiers, 0);
    ck_assert_uint_eq(bp_buffer_capacity(shared, one), 5 * MIB);
    ck_assert_uint_eq(bp_raw_capacity(shared, raw), 100);
    bp_buffer *small = got(shared, 77), *large = got(shared, 3 * MIB);
    ck_assert_uint_eq(bp_buffer_capacity(shared, small), 1000);
    ck_assert_uint_eq(bp_buffer_capacity(shared, large), 3 * MIB);
    ck_assert(bp_buffer_is_alone(large));
    ASSERT_POOL(shared);
    pthread_t id;
    start(&id, elsewhere, NULL);
    ck_assert_uint_eq(finish(id), 0);
    s = stats_of(shared);
    ck_assert_uint_eq(s.tier_count, 3);
    ck_assert_uint_eq(s.drained.tiers, 2);
    ck_assert_uint_eq(s.drained.get, 2);
    ck_assert_uint_eq(s.drained.put, 2);
    ck_assert_uint_eq(s.drained.miss, 2);
    ck_assert_uint_eq(s.drained.asked_bytes, 3 * MIB + 77);
    ck_assert_uint_eq(s.drained.waste_bytes, 2 * MIB + 23);
    ck_assert_uint_eq(s.requests, 4);
    ck_assert_uint_eq(s.total_get, 3);
    give(shared, small);
    give(shared, large);
    ASSERT_POOL(shared);
    bp_pool_destroy(shared);
}
END_TEST

/* A size that comes back while its tier drains goes on; after that it begins anew. */
START_TEST(tiers_that_come_back) {
    bp_pool *pool = pool_first();
    bp_buffer *b = got(pool, 100), *c = got(pool, 100);
    give(pool, c);
    change(pool, second, COUNT_OF(second));
    change(pool, first, COUNT_OF(first));
    bp_stats s = stats_of(pool);
    ck_assert(!row(&s, 100)->draining);
    ck_assert_uint_eq(row(&s, 100)->get, 2);
    ck_assert_uint_eq(row(&s, 100)->in_use, 1);
    ck_assert_uint_eq(s.drained.tiers, 2); /* 4096, 5 MiB: they had nothing out */
    c = got(pool, 90);
    ck_assert_uint_eq(bp_buffer_capacity(pool, c), 100);
    give(pool, c);
    give(pool, b);
    change(pool, second, COUNT_OF(second));
    give(pool, got(pool, 1)); /* this thread takes the change up */
    s = stats_of(pool);
    ck_assert_ptr_null(row(&s, 100));
    ck_assert_uint_eq(s.drained.get, 3);
    change(pool, first, COUNT_OF(first));
    s = stats_of(pool);
    ck_assert_uint_eq(row(&s, 100)->get, 0);
    ck_assert_uint_eq(row(&s, 100)->peak_owned, 0);
    ck_assert_uint_eq(s.drained.get, 3);
    give(pool, got(pool, 5));
    s = stats_of(pool);
    ck_assert_uint_eq(row(&s, 100)->get, 1);
    ck_assert_uint_eq(s.total_get, 5);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* Each change comes back to zero: nothing is lost on the way, and no counter falls. */
START_TEST(totals_and_histogram_go_on) {
    rng r = {seed_of_run("totals_and_histogram_go_on")};
    bp_pool *pool = pool_first();
    uint64_t requests = 0, bytes = 0;
    bp_buffer *held[64] = {NULL};
    bp_stats last = stats_of(pool);
    for (int i = 0; i < 400; i++) {
        size_t tiers[BP_MAX_TIERS], count = 1 + rng_below(&r, BP_MAX_TIERS), size = 0;
        for (size_t t = 0; t < count; t++)
            tiers[t] = size += 1 + rng_below(&r, (size_t)1 << rng_below(&r, 16));
        for (int k = 0; k < 50; k++) {
            size_t at = rng_below(&r, COUNT_OF(held)), n = rng_below(&r, 1 + size + size / 8);
            if (held[at] != NULL) give(pool, held[at]);
            held[at] = got(pool, n);
            requests++;
            bytes += n;
        }
        bp_options o = options_of(tiers, count);
        o.max_waste = rng_below(&r, 3) ? 1 : 0.25;
        int status = bp_pool_configure(pool, &o, false, NULL);
        ck_assert(status == BP_OK || status == BP_ERR_LIMIT);
        bp_stats s = stats_of(pool);
        ck_assert_uint_eq(s.requests, requests);
        ck_assert_uint_eq(s.asked_bytes + s.discarded_bytes, bytes);
        ck_assert_ptr_null(buckets_broken(&s));
        ck_assert_uint_ge(s.drained.get, last.drained.get);
        ck_assert_uint_ge(s.drained.hit, last.drained.hit);
        ck_assert_uint_ge(s.total_put, last.total_put);
        ck_assert_uint_ge(s.waste_bytes, last.waste_bytes);
        last = s;
        if (i % 20 == 0) ASSERT_POOL(pool);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        if (held[i] != NULL) give(pool, held[i]);
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.in_use, 0);
    ck_assert_uint_eq(s.drained.get, s.drained.put);
    ck_assert_uint_eq(s.drained.get, s.drained.hit + s.drained.miss);
    for (size_t i = 0; i < s.tier_count; i++) ck_assert(!s.tiers[i].draining);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* One thread's own order is exact, and a change keeps it. */
START_TEST(recent_lengths_go_on) {
    uint64_t lengths[256];
    bp_pool *pool = pool_first();
    for (size_t n = 1; n <= 200; n++) {
        give(pool, got(pool, n));
        if (n % 60 == 0) change(pool, n % 120 ? second : first, 3);
    }
    ck_assert_uint_eq(bp_pool_recent(pool, lengths, 256), 200);
    for (size_t i = 0; i < 200; i++) ck_assert_uint_eq(lengths[i], i + 1);
    bp_pool_destroy(pool);
}
END_TEST

/* ---- what is refused --------------------------------------------------------------------- */

/* Refused as a whole, by a dry run, too: the settings and the counters are as they were. */
static void refused(bp_pool *pool, const bp_options *o, bp_status status, size_t index) {
    bp_settings was, now;
    bp_error e = {BP_OK, 99, ""};
    bp_pool_settings(pool, &was);
    bp_stats before = stats_of(pool);
    for (int dry = 0; dry < 2; dry++) {
        ck_assert_int_eq(bp_pool_configure(pool, o, dry, &e), status);
        ck_assert_int_eq(bp_pool_configure(pool, o, dry, NULL), status);
        ck_assert_int_eq(e.status, status);
        ck_assert_uint_eq(e.index, index);
        ck_assert_uint_gt(strlen(e.message), 10);
        bp_pool_settings(pool, &now);
        ck_assert_int_eq(memcmp(&was, &now, sizeof was), 0);
        ASSERT_UNCHANGED(pool, before);
    }
}

START_TEST(bad_options_change_nothing) {
    static const size_t zero[] = {0, 5}, falling[] = {9, 8}, same[] = {9, 9},
                        huge[] = {9, BP_MAX_SIZE + 1};
    static size_t many[BP_MAX_TIERS + 1];
    static const double bad[] = {-0.001, 1.001, -INFINITY, INFINITY, NAN};
    bp_tier_limits limits[3] = {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}};
    for (size_t i = 0; i <= BP_MAX_TIERS; i++) many[i] = i + 1;
    bp_pool *pool = pool_first();
    bp_buffer *b = got(pool, 50);
    bp_options o = options_of(zero, 2);
    refused(pool, &o, BP_ERR_ARG, 0);
    o = options_of(falling, 2);
    refused(pool, &o, BP_ERR_ARG, 1);
    o = options_of(same, 2);
    refused(pool, &o, BP_ERR_ARG, 1);
    o = options_of(huge, 2);
    refused(pool, &o, BP_ERR_ARG, 1);
    o = options_of(many, 0);
    refused(pool, &o, BP_ERR_ARG, 0);
    o = options_of(many, BP_MAX_TIERS + 1);
    refused(pool, &o, BP_ERR_ARG, 0);
    o = options_of(NULL, 3);
    refused(pool, &o, BP_ERR_ARG, 0);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        o = options_of(second, 3);
        o.max_waste = bad[i];
        refused(pool, &o, BP_ERR_ARG, 0);
        o = options_of(second, 3);
        limits[2].max_waste = bad[i];
        o.limits = limits;
        refused(pool, &o, BP_ERR_ARG, 2);
        o = options_of(second, 3);
        o.decay = bad[i] > 1 && bad[i] < 2 ? 1.001e9 : bad[i];
        refused(pool, &o, BP_ERR_ARG, 0);
    }
    give(pool, b);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(what_is_fixed_is_not_looked_at) {
    bp_pool *pool = pool_first();
    bp_options o = options_of(second, COUNT_OF(second));
    o.recent_size = 1;
    o.recent_mode = BP_RECENT_EXACT;
    o.zero = BP_ZERO_GET;
    o.debug = true;
    o.name = "another";
    ck_assert_int_eq(bp_pool_configure(pool, &o, false, NULL), BP_OK);
    ck_assert_str_eq(bp_pool_name(pool), "");
    ck_assert(!bp_pool_is_debug(pool));
    ck_assert_uint_eq(bp_pool_recent(pool, NULL, 0), 256);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(a_dry_run_changes_nothing) {
    bp_pool *pool = pool_first();
    bp_buffer *b = got(pool, 50);
    give(pool, got(pool, 3 * MIB));
    bp_options o = options_of(second, COUNT_OF(second));
    o.max_idle = 0;
    o.max_bytes = 1;
    o.decay = 0;
    bp_settings was, now;
    bp_pool_settings(pool, &was);
    bp_stats before = stats_of(pool);
    ck_assert_int_eq(bp_pool_configure(pool, &o, true, NULL), BP_OK);
    ck_assert_int_eq(bp_pool_rollback(pool, true, NULL), BP_ERR_ARG);
    bp_pool_settings(pool, &now);
    ck_assert_int_eq(memcmp(&was, &now, sizeof was), 0);
    ASSERT_UNCHANGED(pool, before);
    give(pool, b);
    bp_pool_destroy(pool);
}
END_TEST

/* Every place is a tier's that has a buffer out: one more is refused, until some are home. */
START_TEST(as_many_rows_as_there_are) {
    bp_pool *pool = pool_first();
    bp_buffer *held[BP_MAX_ROWS];
    size_t tiers[BP_MAX_TIERS];
    for (size_t k = 0; k < BP_MAX_ROWS; k += BP_MAX_TIERS) {
        for (size_t i = 0; i < BP_MAX_TIERS; i++) tiers[i] = (k + i + 1) * 64;
        change(pool, tiers, BP_MAX_TIERS);
        for (size_t i = 0; i < BP_MAX_TIERS; i++) {
            held[k + i] = got(pool, tiers[i]);
            fill(bp_buffer_data(held[k + i]), tiers[i], k + i);
        }
    }
    ck_assert_uint_eq(stats_of(pool).tier_count, BP_MAX_ROWS);
    tiers[0]--;
    bp_options o = options_of(tiers, BP_MAX_TIERS);
    refused(pool, &o, BP_ERR_LIMIT, 0);
    ASSERT_POOL(pool);
    o.tier_count = 1; /* even one of them is too many */
    refused(pool, &o, BP_ERR_LIMIT, 0);
    give(pool, held[3]);
    ck_assert_int_eq(bp_pool_configure(pool, &o, false, NULL), BP_OK);
    ck_assert_int_eq(bp_pool_rollback(pool, false, NULL), BP_OK); /* these all are there */
    o = options_of(first, COUNT_OF(first));
    held[3] = got(pool, 1);
    for (size_t i = 0; i < BP_MAX_ROWS; i++) {
        size_t n = bp_buffer_capacity(pool, held[i]);
        if (i != 3) ck_assert(n == (i + 1) * 64 && filled(bp_buffer_data(held[i]), n, i));
        give(pool, held[i]);
    }
    ck_assert_int_eq(bp_pool_configure(pool, &o, false, NULL), BP_OK);
    give(pool, got(pool, 1));
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.tier_count, COUNT_OF(first));
    ck_assert_uint_eq(s.total_get, BP_MAX_ROWS + 2);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* ---- the way back ---------------------------------------------------------------------------- */

static bool goes_by(bp_pool *pool, const size_t *tiers, size_t count, uint64_t generation) {
    size_t sizes[BP_MAX_TIERS];
    bp_settings s;
    bp_pool_settings(pool, &s);
    return bp_pool_sizes(pool, sizes) == count && s.tier_count == count &&
           memcmp(sizes, tiers, count * sizeof *tiers) == 0 &&
           memcmp(s.tiers, tiers, count * sizeof *tiers) == 0 && s.generation == generation &&
           stats_of(pool).generation == generation;
}

START_TEST(rollback) {
    bp_pool *pool = pool_first();
    bp_error e;
    bp_settings was, now;
    ck_assert(goes_by(pool, first, 4, 1));
    bp_stats before = stats_of(pool);
    ck_assert_int_eq(bp_pool_rollback(pool, false, &e), BP_ERR_ARG);
    ck_assert_uint_gt(strlen(e.message), 10);
    ASSERT_UNCHANGED(pool, before);
    bp_pool_settings(pool, &was);
    bp_tier_limits limits[3] = {{5 * MIB, 9 * MIB, 0.5}, {1, 2, 1}, {3, 4, 0}};
    bp_options o = options_of(second, 3);
    o.limits = limits;
    o.max_idle = 7 * MIB;
    o.max_bytes = 70 * MIB;
    o.max_waste = 0.75;
    o.decay = 3;
    ck_assert_int_eq(bp_pool_configure(pool, &o, false, NULL), BP_OK);
    memset(limits, 0, sizeof limits); /* they were copied */
    ck_assert(goes_by(pool, second, 3, 2));
    bp_pool_settings(pool, &now);
    ck_assert_uint_eq(now.limits[0].max_idle, 5 * MIB);
    ck_assert_uint_eq(now.limits[1].max_bytes, 2);
    ck_assert_double_eq(now.limits[0].max_waste, 0.5);
    bp_stats s = stats_of(pool);
    ck_assert(s.max_idle == 7 * MIB && s.max_bytes == 70 * MIB);
    ck_assert_double_eq(s.max_waste, 0.75);
    ck_assert_double_eq(s.decay, 3);
    ck_assert_uint_eq(row(&s, 1000)->max_bytes, 9 * MIB);
    ck_assert_int_eq(bp_pool_rollback(pool, true, NULL), BP_OK);
    ck_assert(goes_by(pool, second, 3, 2));
    ck_assert_int_eq(bp_pool_rollback(pool, false, NULL), BP_OK);
    ck_assert(goes_by(pool, first, 4, 3));
    bp_pool_settings(pool, &now);
    was.generation = now.generation;
    ck_assert_int_eq(memcmp(&was, &now, sizeof was), 0);
    s = stats_of(pool);
    ck_assert_uint_eq(row(&s, 1000)->max_bytes, BP_NO_LIMIT);
    ck_assert_int_eq(bp_pool_rollback(pool, false, NULL), BP_OK);
    ck_assert(goes_by(pool, second, 3, 4));
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("configure");
    TCase *stays = add_case(suite, "stays");
    tcase_add_test(stays, tiers_kept_keep_blocks_and_counters);
    tcase_add_test(stays, what_is_out_stays_valid_and_drains);
    tcase_add_test(stays, tiers_that_come_back);
    tcase_add_test(stays, totals_and_histogram_go_on);
    tcase_add_test(stays, recent_lengths_go_on);
    TCase *no = add_case(suite, "refused");
    tcase_add_test(no, bad_options_change_nothing);
    tcase_add_test(no, what_is_fixed_is_not_looked_at);
    tcase_add_test(no, a_dry_run_changes_nothing);
    tcase_add_test(no, as_many_rows_as_there_are);
    TCase *back = add_case(suite, "rollback");
    tcase_add_test(back, rollback);
    return run_suite(suite);
}
