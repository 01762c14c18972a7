/* What a snapshot says of lengths, peaks, refusals and memory: exact where nothing runs,
 * the inequalities of types.h where 8 threads do. */
#include <pthread.h>
#include <stdatomic.h>

#include "support.h"

static const size_t tiers[] = {1, 100, 128, 1000, 1024, 4096, 65536};
enum { TIERS = COUNT_OF(tiers), LONGEST = 70000 };

static bp_pool *pool;

static void setup(void) {
    pool = pool_of(tiers, TIERS, 256 * MIB);
    ck_assert_ptr_nonnull(pool);
}

static void teardown(void) {
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}

static void once(size_t n, bool raw) {
    if (raw) {
        void *p = bp_raw_get(pool, n, NULL);
        ck_assert_ptr_nonnull(p);
        ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
    } else {
        bp_buffer *b = bp_buffer_get(pool, n);
        ck_assert_ptr_nonnull(b);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    }
}

/* ---- lengths ----------------------------------------------------------------------- */

/* The buckets of `asked`, how often each length was asked for, by comparison alone. */
static void compare_histogram(const bp_stats *s, const uint32_t *asked, size_t longest) {
    size_t n = 0;
    for (size_t i = 0; i < s->bucket_count; i++) {
        uint64_t sum = 0;
        for (; n <= longest && n <= s->histogram[i].le; n++) sum += asked[n];
        ck_assert_uint_eq(s->histogram[i].count, sum);
    }
    for (; n <= longest; n++) ck_assert_uint_eq(asked[n], 0);
}

START_TEST(lengths_of_every_request_are_counted) {
    rng r = {seed_of_run("lengths_of_every_request_are_counted")};
    static uint32_t asked[LONGEST + 1];
    uint64_t sum[TIERS + 1] = {0}, gets[TIERS + 1] = {0};
    memset(asked, 0, sizeof asked);
    for (int i = 0; i < 200000; i++) {
        size_t n = rng_below(&r, 3) ? rng_below(&r, 300) : rng_below(&r, LONGEST + 1);
        if (n > tiers[TIERS - 1] && i % 16) n /= 2; /* an oversize one takes long */
        once(n, i % 3 == 0);
        size_t t = tier_serving(tiers, TIERS, n);
        asked[n]++;
        sum[t] += n;
        gets[t]++;
    }
    bp_stats s = stats_of(pool);
    uint64_t all = 0;
    for (size_t t = 0; t < TIERS; t++) {
        ck_assert_uint_eq(s.tiers[t].get, gets[t]);
        ck_assert_uint_eq(s.tiers[t].asked_bytes, sum[t]);
        ck_assert_uint_eq(s.tiers[t].waste_bytes, gets[t] * tiers[t] - sum[t]);
        all += sum[t];
    }
    ck_assert_uint_eq(s.asked_bytes, all);
    ck_assert_uint_eq(s.discarded, gets[TIERS]);
    ck_assert_uint_eq(s.discarded_bytes, sum[TIERS]);
    ck_assert_uint_gt(s.discarded, 0);
    compare_histogram(&s, asked, LONGEST);
}
END_TEST

/* A cell is folded each 2^17 gets; the sums must not show where. */
START_TEST(cells_are_folded) {
    const uint64_t folds[] = {131071, 131072, 131073, 300000};
    uint64_t done = 0;
    for (size_t i = 0; i < COUNT_OF(folds); i++) {
        for (; done < folds[i]; done++) once(100, _i == 1);
        bp_stats s = stats_of(pool);
        ck_assert_uint_eq(s.tiers[1].get, done);
        ck_assert_uint_eq(s.tiers[1].hit, done - 1);
        ck_assert_uint_eq(s.tiers[1].asked_bytes, 100 * done);
        ck_assert_uint_eq(s.bucket_count, 1);
        ck_assert_uint_eq(s.histogram[0].le, 100);
        ck_assert_uint_eq(s.histogram[0].count, done);
        ck_assert_uint_eq(s.tiers[1].cached, 1);
        ASSERT_POOL(pool);
    }
}
END_TEST

/* Beyond what a cell can add up: a tier of half a GiB, and oversize requests beside it. */
START_TEST(very_long_requests) {
    static const size_t large[] = {1000, GIB / 2};
    bp_pool *own = pool_of(large, 2, (size_t)1 << 40);
    const size_t lengths[] = {GIB / 4, GIB / 4 + 1, GIB / 2, GIB / 2 + 1, GIB};
    uint64_t sum[2] = {0, 0};
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        bp_buffer *b = bp_buffer_get(own, lengths[i]);
        ck_assert_ptr_nonnull(b);
        sum[lengths[i] > GIB / 2] += lengths[i];
        ck_assert_int_eq(bp_buffer_release(own, b), BP_OK);
    }
    bp_stats s = stats_of(own);
    ck_assert_uint_eq(s.tiers[1].get, 3);
    ck_assert_uint_eq(s.tiers[1].asked_bytes, sum[0]);
    ck_assert_uint_eq(s.discarded, 2);
    ck_assert_uint_eq(s.discarded_bytes, sum[1]);
    ck_assert_uint_eq(s.bucket_count, 5);
    const size_t le[] = {GIB / 4, GIB / 4 + GIB / 32, GIB / 2, GIB / 2 + GIB / 16, GIB};
    for (size_t i = 0; i < 5; i++) ck_assert_uint_eq(s.histogram[i].le, le[i]);
    ASSERT_POOL(own);
    bp_pool_destroy(own);
}
END_TEST

/* Every bound, with the most tiers and requests up to the largest there can be. */
START_TEST(buckets_fit_with_64_tiers) {
    size_t many[BP_MAX_TIERS];
    for (size_t t = 0; t < BP_MAX_TIERS; t++) many[t] = 1000 + t * (t < 60 ? 7 : 100000);
    bp_pool *own = pool_of(many, BP_MAX_TIERS, 256 * MIB);
    for (size_t n = 0; n < 8000; n++) {
        bp_buffer *b = bp_buffer_get(own, n);
        ck_assert_int_eq(bp_buffer_release(own, b), BP_OK);
    }
    bp_stats s = stats_of(own);
    ck_assert_uint_eq(s.requests, 8000);
    ck_assert_uint_eq(s.histogram[0].le, 1);
    ck_assert_uint_eq(s.histogram[0].count, 2);
    ck_assert_uint_le(s.bucket_count, BP_MAX_BUCKETS);
    ASSERT_POOL(own);
    bp_pool_destroy(own);
}
END_TEST

/* ---- peaks ---------------------------------------------------------------------------- */

START_TEST(peaks_of_a_tier) {
    bp_buffer *b[1000];
    for (int round = 0; round < 3; round++) {
        size_t count = COUNT_OF(b) - (size_t)round * 300;
        for (size_t i = 0; i < count; i++) b[i] = bp_buffer_get(pool, 4000);
        if (round == 1) ck_assert_uint_eq(stats_of(pool).tiers[5].in_use, count);
        for (size_t i = 0; i < count; i++) bp_buffer_release(pool, b[i]);
    }
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.tiers[5].peak_owned, COUNT_OF(b));
    /* No snapshot at the peak: slow halves alone must come within a 32nd of it. */
    ck_assert_uint_ge(s.tiers[5].peak_in_use, COUNT_OF(b) * 31 / 32);
    ck_assert_uint_le(s.tiers[5].peak_in_use, COUNT_OF(b));
    ck_assert_uint_ge(s.peak_in_use_bytes, s.tiers[5].peak_in_use * 4096 * 31 / 32);
    ck_assert_uint_le(s.peak_in_use_bytes, COUNT_OF(b) * 4096);
    bp_pool_trim(pool);
    ck_assert_uint_eq(stats_of(pool).tiers[5].owned, 0);
    ck_assert_uint_eq(stats_of(pool).tiers[5].peak_owned, COUNT_OF(b));
}
END_TEST

START_TEST(a_snapshot_sees_the_peak) {
    bp_buffer *b[50];
    for (size_t i = 0; i < COUNT_OF(b); i++) b[i] = bp_buffer_get(pool, i < 40 ? 1000 : MIB);
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.tiers[3].peak_in_use, 40);
    ck_assert_uint_eq(s.peak_in_use_bytes, 40 * 1000 + 10 * MIB);
    for (size_t i = 0; i < COUNT_OF(b); i++) bp_buffer_release(pool, b[i]);
    s = stats_of(pool);
    ck_assert_uint_eq(s.tiers[3].peak_in_use, 40);
    ck_assert_uint_eq(s.peak_in_use_bytes, 40 * 1000 + 10 * MIB);
}
END_TEST

/* ---- what is told, refused and given back ---------------------------------------------- */

START_TEST(collected_and_refused_are_counted) {
    bp_buffer *small = bp_buffer_get(pool, 1000), *large = bp_buffer_get(pool, MIB);
    bp_buffer *dead = bp_buffer_get(pool, 1000);
    void *raw = bp_raw_get(pool, 1000, NULL), *older = bp_raw_get(pool, 1000, NULL);
    ck_assert_int_eq(bp_buffer_release(pool, dead), BP_OK);
    ck_assert_int_eq(bp_raw_put(pool, raw), BP_OK);
    ck_assert_int_eq(bp_raw_put(pool, older), BP_OK);
    for (int i = 0; i < 3; i++) bp_buffer_count_collected(pool, small);
    bp_buffer_count_collected(pool, large);
    ck_assert_uint_eq(stats_of(pool).tiers[3].collected, 3);
    ck_assert_uint_eq(stats_of(pool).collected, 4);
    ck_assert_uint_eq(stats_of(pool).double_releases, 0);
    ck_assert_int_eq(bp_buffer_release(pool, dead), BP_ERR_DEAD);
    ck_assert_uint_eq(stats_of(pool).double_releases, 1);
    ck_assert_int_eq(bp_buffer_put(pool, dead), BP_ERR_DEAD);
    ck_assert_uint_eq(stats_of(pool).double_releases, 2);
    ck_assert_int_eq(bp_raw_put(pool, raw), BP_ERR_DEAD);
    ck_assert_int_eq(bp_raw_put(pool, older), BP_ERR_DEAD);
    ck_assert_uint_eq(stats_of(pool).double_releases, 4);
    bp_pool_count_dead(pool);
    ck_assert_uint_eq(stats_of(pool).double_releases, 5);
    /* neither a retain nor another kind of mistake is a release too many */
    ck_assert_int_eq(bp_buffer_retain(dead), BP_ERR_DEAD);
    ck_assert_int_eq(bp_raw_put(pool, &raw), BP_ERR_FOREIGN);
    ck_assert_int_eq(bp_raw_put(pool, bp_buffer_data(small)), BP_ERR_KIND);
    ck_assert_uint_eq(stats_of(pool).double_releases, 5);
    bp_buffer_release(pool, small);
    bp_buffer_release(pool, large);
}
END_TEST

START_TEST(trims_and_what_they_return) {
    bp_buffer *b = bp_buffer_get(pool, 65536), *alone = bp_buffer_get(pool, 3 * MIB + 1);
    bp_buffer *run = bp_buffer_get(pool, 9 * MIB);
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.trims, 0);
    ck_assert_uint_eq(s.returned_bytes, 0);
    bp_buffer_release(pool, alone);
    bp_buffer_release(pool, run);
    uint64_t oversize = stats_of(pool).returned_bytes;
    ck_assert_uint_ge(oversize, 12 * MIB + 1);
    ck_assert_uint_le(oversize, 12 * MIB + 64 * KIB);
    bp_buffer_release(pool, b);
    ck_assert_uint_eq(stats_of(pool).returned_bytes, oversize);
    ck_assert_uint_eq(bp_pool_trim(pool), 65536);
    s = stats_of(pool);
    ck_assert_uint_eq(s.trims, 1);
    ck_assert_uint_eq(s.trimmed_bytes, 65536);
    ck_assert_uint_ge(s.returned_bytes - oversize, 65536);
    ck_assert_uint_le(s.returned_bytes - oversize, 65536 + 128);
    ck_assert_uint_eq(bp_pool_trim(pool), 0);
    ck_assert_uint_eq(stats_of(pool).trims, 2);
}
END_TEST

START_TEST(uptime_passes) {
    struct timespec pause = {0, 30 * 1000 * 1000};
    double before = stats_of(pool).uptime_seconds;
    ck_assert(before >= 0 && before < 30);
    nanosleep(&pause, NULL);
    double passed = stats_of(pool).uptime_seconds - before;
    ck_assert(passed >= 0.03 && passed < 30);
}
END_TEST

/* The estimate against the process: within 5 % and 1 MiB where all payloads are written. */
static void compare_resident(const char *when, size_t rss, uint64_t said) {
    double apart = (double)said - (double)rss;
    ck_assert_msg((apart < 0 ? -apart : apart) <= 0.05 * (double)rss + (double)MIB,
                  "%s: resident_bytes grew by %" PRIu64 ", the process by %zu", when, said, rss);
}

START_TEST(resident_bytes_are_near_the_truth) {
    if (!memory_is_observable()) return;
    enum { COUNT = 12000 };
    static bp_buffer *b[COUNT];
    bp_buffer *first = bp_buffer_get(pool, 1);
    memset(b, 1, sizeof b);
    size_t rss = resident();
    uint64_t said = stats_of(pool).resident_bytes;
    for (size_t i = 0; i < COUNT; i++) {
        size_t n = i % 100 == 0 ? 100 * KIB : i % 3 ? 4096 : i % 5 ? 1000 : 65536;
        b[i] = bp_buffer_get(pool, n);
        memset(bp_buffer_data(b[i]), 1, n);
    }
    ck_assert_uint_gt(resident() - rss, 64 * MIB);
    compare_resident("all live", resident() - rss, stats_of(pool).resident_bytes - said);
    for (size_t i = 0; i < COUNT; i += 2) bp_buffer_release(pool, b[i]);
    bp_pool_trim(pool);
    compare_resident("half pinned", resident() - rss, stats_of(pool).resident_bytes - said);
    for (size_t i = 1; i < COUNT; i += 2) bp_buffer_release(pool, b[i]);
    bp_pool_trim(pool);
    size_t left = resident() > rss ? resident() - rss : 0;
    ck_assert_uint_le(stats_of(pool).resident_bytes - said, left + MIB);
    bp_buffer_release(pool, first);
}
END_TEST

/* ---- 8 threads ------------------------------------------------------------------------- */

enum { WORKERS = 8, STEPS = 250000, SLOTS = 64 };
static _Atomic(bp_buffer *) slots[SLOTS]; /* who puts into one gets what lay there */
static atomic_int working;
static uint64_t seed;

static void *work(void *arg) {
    rng r = {seed + (uintptr_t)arg};
    size_t failed = 0;
    for (int i = 0; i < STEPS; i++) {
        size_t n = i % 4 ? 100 : rng_below(&r, i % 1000 ? 5000 : 80000);
        bp_buffer *b = bp_buffer_get(pool, n);
        if (i % 8 == 0) b = atomic_exchange(&slots[rng_below(&r, SLOTS)], b);
        if (b) failed += bp_buffer_release(pool, b) != BP_OK;
        if (i % 50000 == 0) (void)bp_pool_trim(pool);
    }
    atomic_fetch_sub(&working, 1);
    return (void *)(uintptr_t)failed;
}

static const char *fell(const bp_stats *from, const bp_stats *to) {
    for (size_t t = 0; t < TIERS; t++) {
        const bp_tier_stats *a = &from->tiers[t], *b = &to->tiers[t];
        if (b->get < a->get || b->put < a->put || b->miss < a->miss || b->hit < a->hit)
            return "a count of a tier";
        if (b->asked_bytes < a->asked_bytes || b->waste_bytes < a->waste_bytes) return "bytes";
        if (b->peak_in_use < a->peak_in_use || b->peak_owned < a->peak_owned) return "a peak";
    }
    for (size_t i = 0, k = 0; i < from->bucket_count; i++) {
        while (k < to->bucket_count && to->histogram[k].le < from->histogram[i].le) k++;
        if (k == to->bucket_count || to->histogram[k].le != from->histogram[i].le ||
            to->histogram[k].count < from->histogram[i].count)
            return "a bucket";
    }
    if (to->requests < from->requests || to->discarded < from->discarded) return "requests";
    if (to->peak_in_use_bytes < from->peak_in_use_bytes) return "peak_in_use_bytes";
    return to->returned_bytes < from->returned_bytes ? "returned_bytes" : NULL;
}

START_TEST(snapshots_under_load) {
    pthread_t id[WORKERS];
    static bp_stats s[2];
    size_t taken = 0;
    seed = seed_of_run("snapshots_under_load");
    atomic_store(&working, WORKERS);
    s[1] = stats_of(pool);
    for (uintptr_t i = 0; i < WORKERS; i++)
        ck_assert_int_eq(pthread_create(&id[i], NULL, work, (void *)i), 0);
    for (; atomic_load(&working) > 0; taken++) {
        bp_stats *now = &s[taken % 2];
        bp_pool_stats(pool, now);
        const char *broken = histogram_broken(now);
        for (size_t t = 0; t < TIERS && !broken; t++)
            broken = tier_broken_under_load(&now->tiers[t]);
        if (now->discarded_put > now->discarded) broken = "discarded_put <= discarded";
        if (now->peak_in_use_bytes > now->peak_owned_bytes) broken = "peak_in_use_bytes";
        ck_assert_msg(!broken, "snapshot %zu: %s", taken, broken);
        broken = fell(&s[(taken + 1) % 2], now);
        ck_assert_msg(!broken, "snapshot %zu: %s fell", taken, broken);
    }
    for (size_t i = 0; i < WORKERS; i++) {
        void *failed;
        pthread_join(id[i], &failed);
        ck_assert_ptr_null(failed);
    }
    ck_assert_uint_gt(taken, 20);
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i]) ck_assert_int_eq(bp_buffer_release(pool, slots[i]), BP_OK);
    bp_stats end = stats_of(pool);
    ck_assert_uint_eq(end.requests, (uint64_t)WORKERS * STEPS);
    ck_assert_uint_eq(end.in_use, 0);
    /* of each tier no more than a block for each thread and slot was ever out */
    for (size_t t = 0; t < TIERS; t++) ck_assert_uint_le(end.tiers[t].peak_in_use, WORKERS + SLOTS);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("snapshot");
    TCase *tc = add_case(suite, "quiet");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, lengths_of_every_request_are_counted);
    tcase_add_loop_test(tc, cells_are_folded, 0, 2);
    tcase_add_test(tc, very_long_requests);
    tcase_add_test(tc, buckets_fit_with_64_tiers);
    tcase_add_test(tc, peaks_of_a_tier);
    tcase_add_test(tc, a_snapshot_sees_the_peak);
    tcase_add_test(tc, collected_and_refused_are_counted);
    tcase_add_test(tc, trims_and_what_they_return);
    tcase_add_test(tc, uptime_passes);
    tcase_add_test(tc, resident_bytes_are_near_the_truth);
    tc = add_case(suite, "load");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, snapshots_under_load);
    return run_suite(suite);
}
