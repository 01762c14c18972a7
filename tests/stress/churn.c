/* One thread, one pool of 64 tiers, random operations with trim and prewarm among
 * them, against a model; every live buffer carries a pattern.
 *
 *     BP_STRESS_SCALE=10 BP_SEED=1 churn
 */
#define SUPPORT_NO_CHECK
#include "../support.h"

enum { LIVE = 3000, TIERS = BP_MAX_TIERS };

typedef struct entry {
    bp_buffer *b; /* NULL: raw */
    unsigned char *p;
    size_t length, capacity, tier;
    uint32_t refs;
    uint64_t key;
} entry;

static bp_pool *pool;
static rng r;
static size_t tiers[TIERS];
static entry live[LIVE];
static size_t live_count;
static uint64_t got[TIERS + 1], put[TIERS + 1], step;
static bool prewarmed; /* since the last trim */

static void fail(const char *what) {
    fprintf(stderr, "churn: step %" PRIu64 ": %s\n", step, what);
    exit(EXIT_FAILURE);
}

static void must(bool holds, const char *what) {
    if (!holds) fail(what);
}

/* From 1 byte to beyond a slab, dense at the bottom, at no power of two. */
static void make_tiers(void) {
    size_t size = 1 + rng_below(&r, 40);
    for (size_t i = 0; i < TIERS; i++) {
        tiers[i] = size;
        size += 1 + rng_below(&r, 1 + size / 2);
        if (size > 6 * MIB) size = tiers[i] + 1 + rng_below(&r, 5000);
    }
}

/* Both ends of large buffers: whole ones would take all of the time. */
static void write_pattern(const entry *e) {
    size_t edge = e->capacity < 8192 ? e->capacity : 4096;
    fill(e->p, edge, e->key);
    fill(e->p + e->capacity - edge, edge, e->key);
}

static void verify_pattern(const entry *e) {
    size_t edge = e->capacity < 8192 ? e->capacity : 4096;
    must(filled(e->p, edge, e->key), "a buffer's start was written over");
    must(filled(e->p + e->capacity - edge, edge, e->key), "a buffer's end was written over");
}

/* Small tiers often, large ones now and then; some above them all. */
static size_t random_length(void) {
    size_t t = rng_below(&r, 10) ? rng_below(&r, TIERS * 3 / 4) : rng_below(&r, TIERS);
    if (rng_below(&r, 400) == 0) return tiers[TIERS - 1] + 1 + rng_below(&r, 3 * MIB);
    return tiers[t] - rng_below(&r, tiers[t] < 16 ? tiers[t] + 1 : 16);
}

static void get(void) {
    entry *e = &live[live_count];
    e->length = random_length();
    e->tier = tier_serving(tiers, TIERS, e->length);
    e->refs = 1;
    e->key = step;
    e->b = NULL;
    if (rng_below(&r, 5) == 0) {
        e->p = bp_raw_get(pool, e->length, &e->capacity);
        must(e->p != NULL, "raw_get failed");
    } else {
        e->b = bp_buffer_get(pool, e->length);
        must(e->b != NULL, "get failed");
        e->p = bp_buffer_data(e->b);
        e->capacity = bp_buffer_capacity(pool, e->b);
        must(bp_buffer_length(e->b) == e->length, "length is another one");
    }
    must((uintptr_t)e->p % 64 == 0, "payload is not aligned");
    must(e->capacity == (e->tier < TIERS ? tiers[e->tier] : e->length), "another tier served it");
    got[e->tier]++;
    write_pattern(e);
    live_count++;
}

static void misuse(const entry *e) {
    must(bp_raw_put(pool, e->p + 1) == BP_ERR_FOREIGN, "raw_put took an inner pointer");
    if (!e->b) return;
    must(bp_raw_put(pool, e->p) == BP_ERR_KIND, "raw_put took a handle's payload");
    if (e->refs > 1) must(bp_buffer_put(pool, e->b) == BP_ERR_SHARED, "put took a shared buffer");
}

static void release(size_t i) {
    entry *e = &live[i];
    verify_pattern(e);
    if (e->b) {
        must(bp_buffer_ref_count(e->b) == e->refs, "ref_count is another one");
        must(bp_buffer_release(pool, e->b) == BP_OK, "release failed");
        if (--e->refs > 0) return;
        must(bp_buffer_release(pool, e->b) == BP_ERR_DEAD, "a release too many was taken");
    } else {
        must(bp_raw_put(pool, e->p) == BP_OK, "raw_put failed");
    }
    put[e->tier]++;
    live[i] = live[--live_count];
}

static void retain(size_t i) {
    if (!live[i].b) return;
    must(bp_buffer_retain(live[i].b) == BP_OK, "retain failed");
    live[i].refs++;
}

static void trim_or_prewarm(void) {
    bp_stats before = stats_of(pool);
    if (rng_below(&r, 2)) {
        size_t given = bp_pool_trim(pool);
        bp_stats s = stats_of(pool);
        /* after a prewarm, fresh blocks that it overtook may turn up as idle ones */
        if (prewarmed) must(s.idle_bytes + given >= before.idle_bytes, "more went than trim says");
        else must(s.idle_bytes + given == before.idle_bytes, "trim's result is not what went");
        prewarmed = false;
        must(s.trimmed_bytes - before.trimmed_bytes == given, "trimmed_bytes is not trim's sum");
        return;
    }
    size_t t = rng_below(&r, TIERS), count = rng_below(&r, 20);
    int status = bp_pool_prewarm(pool, tiers[t], count);
    bp_stats s = stats_of(pool);
    prewarmed = prewarmed || status == BP_OK;
    must(status == BP_OK || status == BP_ERR_LIMIT, "prewarm's status");
    must(s.requests == before.requests, "prewarm counted as requests");
    if (status == BP_OK) must(s.tiers[t].idle >= count, "prewarm made too few");
    else must(s.owned_bytes == before.owned_bytes, "a refused prewarm made blocks");
}

static void compare(void) {
    char message[256] = "";
    bp_stats s = stats_of(pool);
    for (size_t t = 0; t < TIERS; t++) {
        must(s.tiers[t].get == got[t], "get of a tier");
        must(s.tiers[t].put == put[t], "put of a tier");
    }
    must(s.discarded == got[TIERS] && s.discarded_put == put[TIERS], "discarded");
    must(s.in_use == live_count, "in_use");
    if (pool_broken(pool, message, sizeof message)) fail(message);
}

int main(void) {
    const char *scale = getenv("BP_STRESS_SCALE");
    double factor = scale && *scale ? strtod(scale, NULL) : 1;
    uint64_t steps = (uint64_t)(5e5 * factor);
    r.state = seed_of_run("churn");
    make_tiers();
    pool = pool_of(tiers, TIERS, 64 * MIB);
    must(pool != NULL, "no pool");
    size_t target = LIVE / 2; /* drifts, so that the pool grows and empties */
    for (step = 0; step < steps; step++) {
        size_t what = rng_below(&r, 1000);
        if (step % 20000 == 0) target = rng_below(&r, LIVE);
        if (what == 0) trim_or_prewarm();
        else if (what < 50 && live_count) misuse(&live[rng_below(&r, live_count)]);
        else if (what < 150 && live_count) retain(rng_below(&r, live_count));
        else if (live_count < LIVE && (live_count == 0 || rng_below(&r, LIVE) < target)) get();
        else if (live_count > target || rng_below(&r, 2)) release(rng_below(&r, live_count));
        if (step % 2000 == 0) compare();
    }
    while (live_count) release(live_count - 1);
    compare();
    must(stats_of(pool).idle_bytes <= 64 * MIB, "idle_bytes <= max_idle");
    bp_pool_trim(pool);
    must(stats_of(pool).owned_bytes == 0, "trim gives all back");
    printf("churn: %" PRIu64 " steps, peak %" PRIu64 " MiB\n", step,
           stats_of(pool).peak_owned_bytes / MIB);
    bp_pool_destroy(pool);
    return EXIT_SUCCESS;
}
