/* Helpers shared by the C tests. They use bytepool.h alone: nothing in
 * this file looks behind it. The stress programs define SUPPORT_NO_CHECK and
 * need no libcheck. */
#ifndef BYTEPOOL_TESTS_SUPPORT_H
#define BYTEPOOL_TESTS_SUPPORT_H

#ifndef SUPPORT_NO_CHECK
#include <check.h>
#endif
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bytepool.h"

#define KIB         ((size_t)1 << 10)
#define MIB         ((size_t)1 << 20)
#define GIB         ((size_t)1 << 30)
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZED 1
#endif
#endif
#ifndef ADDRESS_SANITIZED
#define ADDRESS_SANITIZED 0
#endif

/* ---- random numbers: splitmix64, so that a seed repeats on every machine ---- */

typedef struct rng {
    uint64_t state;
} rng;

static inline uint64_t rng_next(rng *r) {
    uint64_t z = (r->state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* From 0 to n - 1; n is at least 1. */
static inline size_t rng_below(rng *r, size_t n) { return (size_t)(rng_next(r) % n); }

/* BP_SEED, or one from the clock; printed either way, so that a failure repeats. */
static inline uint64_t seed_of_run(const char *what) {
    const char *text = getenv("BP_SEED");
    uint64_t seed;
    if (text && *text) {
        seed = strtoull(text, NULL, 0);
    } else {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        seed = (uint64_t)now.tv_sec * 1000003u ^ (uint64_t)now.tv_nsec ^ (uint64_t)getpid();
    }
    printf("%s: BP_SEED=%" PRIu64 "\n", what, seed);
    fflush(stdout);
    return seed;
}

/* ---- patterns ---------------------------------------------------------------- */

static inline uint64_t pattern_word(uint64_t key, size_t i) {
    uint64_t x = (key + 1) * UINT64_C(0xD6E8FEB86659FD93) + i * UINT64_C(0x9E3779B97F4A7C15);
    return x ^ (x >> 29);
}

static inline void fill(void *p, size_t n, uint64_t key) {
    unsigned char *bytes = p;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t w = pattern_word(key, i);
        memcpy(bytes + i, &w, n - i < 8 ? n - i : 8);
    }
}

static inline bool filled(const void *p, size_t n, uint64_t key) {
    const unsigned char *bytes = p;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t w = pattern_word(key, i);
        if (memcmp(bytes + i, &w, n - i < 8 ? n - i : 8) != 0) return false;
    }
    return true;
}

/* One byte a page: makes the memory resident without the time of a full fill. */
static inline void touch(void *p, size_t n) {
    volatile unsigned char *bytes = p;
    for (size_t i = 0; i < n; i += 4096) bytes[i] = 1;
    if (n) bytes[n - 1] = 1;
}

/* ---- the process's memory ---------------------------------------------------- */

/* False where the figures of /proc say nothing about the pool: sanitizers and
 * valgrind keep freed memory, and not every system has /proc. */
static inline bool memory_is_observable(void) {
    const char *preload = getenv("LD_PRELOAD");
    if (SANITIZED || (preload && strstr(preload, "vgpreload"))) return false;
    return access("/proc/self/statm", R_OK) == 0;
}

/* Field 0 of statm is the address space, 1 the resident part. */
static inline size_t statm_bytes(int field) {
    unsigned long value[2] = {0, 0};
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    if (fscanf(f, "%lu %lu", &value[0], &value[1]) != 2) value[0] = value[1] = 0;
    fclose(f);
    return (size_t)value[field] * (size_t)sysconf(_SC_PAGESIZE);
}
static inline size_t address_space(void) { return statm_bytes(0); }
static inline size_t resident(void) { return statm_bytes(1); }

/* ---- pools --------------------------------------------------------------------- */

static inline bp_pool *pool_of(const size_t *tiers, size_t count, size_t max_idle) {
    bp_options o;
    bp_options_init(&o);
    o.tiers = tiers;
    o.tier_count = count;
    o.max_idle = max_idle;
    return bp_pool_create(&o, NULL);
}

/* Cleared first, so that two snapshots can be compared whole. */
static inline bp_stats stats_of(bp_pool *pool) {
    bp_stats s;
    memset(&s, 0, sizeof s);
    bp_pool_stats(pool, &s);
    return s;
}

/* "Refusal leaves everything as it was": every counter, not a chosen few, but that of
 * refused releases and the clock. */
static inline bool stats_same(const bp_stats *before, bp_stats after) {
    after.double_releases = before->double_releases;
    after.uptime_seconds = before->uptime_seconds;
    return memcmp(before, &after, sizeof after) == 0;
}

static inline const size_t *sizes_of(bp_pool *pool) {
    static _Thread_local size_t sizes[BP_MAX_TIERS];
    (void)bp_pool_sizes(pool, sizes);
    return sizes;
}

/* The tier that serves n, found the slow and obvious way; count where none does. */
static inline size_t tier_serving(const size_t *tiers, size_t count, size_t n) {
    size_t t = 0;
    while (t < count && tiers[t] < n) t++;
    return t;
}

typedef struct tier_sums {
    uint64_t get, put, in_use, in_use_bytes, idle_bytes, asked, waste, collected;
} tier_sums;

/* What holds in any snapshot of a tier, while threads work, too: NULL, or what is broken. */
static inline const char *tier_broken_under_load(const bp_tier_stats *t) {
    if (t->get != t->hit + t->miss || t->hit > t->get) return "get = hit + miss";
    if (t->put > t->get) return "put <= get";
    if (t->in_use != t->get - t->put) return "in_use(tier) = get - put";
    if (t->owned != t->in_use + t->idle) return "owned = in_use + idle";
    if (t->idle != t->cached + t->depot) return "idle = cached + depot";
    if (t->asked_bytes > t->size * t->get) return "asked_bytes <= size * get";
    if (t->waste_bytes != t->size * t->get - t->asked_bytes) return "waste = size * get - asked";
    if (t->peak_in_use > t->peak_owned) return "peak_in_use <= peak_owned";
    return NULL;
}

/* Of a table after another, and where lengths below a tier are served alone: all there is. */
static inline const char *buckets_broken(const bp_stats *s) {
    uint64_t sum = 0;
    for (size_t i = 0; i < s->bucket_count; i++) {
        if (s->histogram[i].count == 0) return "no bucket is empty";
        if (i > 0 && s->histogram[i].le <= s->histogram[i - 1].le) return "buckets rise";
        sum += s->histogram[i].count;
    }
    return sum == s->total_get + s->discarded ? NULL : "requests = sum over buckets";
}

/* A tier's size ends a bucket, so that the histogram says each tier's gets, and what is above
 * the last one the discarded. */
static inline const char *histogram_broken(const bp_stats *s) {
    size_t i = 0;
    if (s->generation > 1 || s->max_waste < 1) return buckets_broken(s);
    for (size_t t = 0; t <= s->tier_count; t++) {
        uint64_t sum = 0;
        for (;
             i < s->bucket_count && (t == s->tier_count || s->histogram[i].le <= s->tiers[t].size);
             i++) {
            if (s->histogram[i].count == 0) return "no bucket is empty";
            if (i > 0 && s->histogram[i].le <= s->histogram[i - 1].le) return "buckets rise";
            sum += s->histogram[i].count;
        }
        if (sum != (t < s->tier_count ? s->tiers[t].get : s->discarded))
            return "get = sum of the tier's buckets";
    }
    return i == s->bucket_count ? NULL : "all buckets belong to a tier or above";
}

static inline const char *tier_broken(const bp_tier_stats *t, tier_sums *sum) {
    const char *broken = tier_broken_under_load(t);
    if (broken) return broken;
    if (t->in_use > t->peak_in_use) return "in_use <= peak_in_use";
    if (t->owned > t->peak_owned) return "owned <= peak_owned";
    sum->get += t->get;
    sum->put += t->put;
    sum->in_use += t->in_use;
    sum->in_use_bytes += t->in_use * t->size;
    sum->idle_bytes += t->idle * t->size;
    sum->asked += t->asked_bytes;
    sum->waste += t->waste_bytes;
    sum->collected += t->collected;
    return NULL;
}

/* The equations of a quiet pool's snapshot: NULL, or the one that is broken. A
 * tier's blocks count with the tier's size; an oversize one with at least its length. */
static inline const char *stats_broken(const bp_stats *s) {
    tier_sums sum = {0, 0, 0, 0, 0, 0, 0, 0};
    const char *broken = histogram_broken(s);
    for (size_t i = 0; i < s->tier_count && !broken; i++) broken = tier_broken(&s->tiers[i], &sum);
    if (broken) return broken;
    if (s->requests != s->total_get + s->discarded) return "requests = total_get + discarded";
    if (s->total_get != sum.get + s->drained.get) return "total_get = sum of get + drained";
    if (s->total_put != sum.put + s->drained.put) return "total_put = sum of put + drained";
    if (s->discarded_put > s->discarded) return "discarded_put <= discarded";
    if (s->in_use != sum.in_use + s->discarded - s->discarded_put)
        return "in_use = sum of in_use + oversize";
    if (s->in_use_bytes < sum.in_use_bytes) return "in_use_bytes >= sum of in_use * size";
    if (s->discarded == s->discarded_put && s->in_use_bytes != sum.in_use_bytes)
        return "in_use_bytes = sum of in_use * size";
    if (s->idle_bytes != sum.idle_bytes) return "idle_bytes = sum of idle * size";
    if (s->owned_bytes != s->in_use_bytes + s->idle_bytes)
        return "owned_bytes = in_use_bytes + idle_bytes";
    if (s->peak_owned_bytes < s->owned_bytes) return "peak_owned_bytes >= owned_bytes";
    if (s->peak_in_use_bytes < s->in_use_bytes) return "peak_in_use_bytes >= in_use_bytes";
    if (s->peak_in_use_bytes > s->peak_owned_bytes) return "peak_in_use_bytes <= peak_owned_bytes";
    if (s->asked_bytes != sum.asked + s->drained.asked_bytes)
        return "asked_bytes = sum of asked_bytes + drained";
    if (s->waste_bytes != sum.waste + s->drained.waste_bytes)
        return "waste_bytes = sum of waste_bytes + drained";
    if (s->collected < sum.collected) return "collected >= sum of collected";
    if (s->returned_bytes < s->trimmed_bytes) return "returned_bytes >= trimmed_bytes";
    if (s->resident_bytes < s->owned_bytes) return "resident_bytes >= owned_bytes";
    return NULL;
}

/* The same from both sides: the test's equations, then the library's own. */
static inline const char *pool_broken(bp_pool *pool, char *message, size_t size) {
    bp_stats s = stats_of(pool);
    const char *broken = stats_broken(&s);
    if (broken) {
        snprintf(message, size, "stats: %s", broken);
        return message;
    }
    return bp_pool_check(pool, message, size) == BP_OK ? NULL : message;
}

#ifndef SUPPORT_NO_CHECK

#define ASSERT_POOL(pool)                                                             \
    do {                                                                              \
        char broken_text_[256] = "";                                                  \
        const char *broken_ = pool_broken((pool), broken_text_, sizeof broken_text_); \
        ck_assert_msg(broken_ == NULL, "pool invariant broken: %s", broken_text_);    \
    } while (0)

#define ASSERT_UNCHANGED(pool, before)                                                \
    do {                                                                              \
        ck_assert_msg(stats_same(&(before), stats_of(pool)), "the counters changed"); \
    } while (0)

static inline TCase *add_case(Suite *suite, const char *name) {
    TCase *tc = tcase_create(name);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    return tc;
}

static inline int run_suite(Suite *suite) {
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
#endif
