/* A warm pool asks nothing of malloc and of the system: a million operations that refill
 * and flush the caches, and not one call. */
#include "support.h"
#include "wrap.h"

enum { STEPS = 1000000, LIVE = 450, MOST_REFS = 3, SYSTEM_CALLS = WRAP_FREE + 1 };

typedef struct place {
    bp_buffer *b;
    void *raw;
    size_t n;
    int refs;
} place;

static place live[LIVE];
static uint64_t gets, retains, releases, failures;

static void get(bp_pool *pool, place *p, bool raw) {
    if (raw) p->raw = bp_raw_get(pool, p->n, NULL);
    else p->b = bp_buffer_get(pool, p->n);
    failures += !p->b && !p->raw;
    p->refs = 1;
    gets++;
}

static void release(bp_pool *pool, place *p) {
    failures += (p->b ? bp_buffer_release(pool, p->b) : bp_raw_put(pool, p->raw)) != BP_OK;
    releases++;
    if (--p->refs > 0) return;
    p->b = NULL;
    p->raw = NULL;
}

static void step(bp_pool *pool, rng *r) {
    place *p = &live[rng_below(r, LIVE)];
    if (p->refs == 0) {
        get(pool, p, rng_below(r, 4) == 0);
    } else if (p->b && p->refs < MOST_REFS && rng_below(r, 3) == 0) {
        failures += bp_buffer_retain(p->b) != BP_OK;
        p->refs++;
        retains++;
    } else {
        release(pool, p);
    }
}

/* Each place has its tier, so that no tier ever needs more than while all are out. */
static void warm_up(bp_pool *pool, const size_t *sizes, size_t count) {
    for (size_t i = 0; i < LIVE; i++) {
        size_t t = i % count, below = t ? sizes[t - 1] : 0;
        live[i].n = sizes[t] - (i / count % 2 ? (sizes[t] - below) / 2 : 0);
        get(pool, &live[i], false);
    }
    for (size_t i = 0; i < LIVE; i++) release(pool, &live[i]);
}

static uint64_t traded(const bp_stats *s) {
    uint64_t idle = 0;
    for (size_t t = 0; t < s->tier_count; t++) idle += s->tiers[t].depot;
    return idle;
}

/* The default tiers; in the last pool a thread's cache holds less. */
static const struct {
    const char *name;
    size_t max_idle;
    bp_recent_mode mode;
} pools[] = {
    {"relaxed", 256 * MIB, BP_RECENT_RELAXED},
    {"exact", 256 * MIB, BP_RECENT_EXACT},
    {"less idle", 160 * MIB, BP_RECENT_RELAXED},
};

START_TEST(a_warm_pool_allocates_nothing) {
    uint64_t calls[SYSTEM_CALLS], sum = 0, depot_moves = 0;
    rng r = {seed_of_run(pools[_i].name)};
    bp_options o;
    bp_options_init(&o);
    o.max_idle = pools[_i].max_idle;
    o.recent_mode = pools[_i].mode;
    bp_pool *pool = bp_pool_create(&o, NULL);
    ck_assert_ptr_nonnull(pool);
    memset(live, 0, sizeof live);
    warm_up(pool, o.tiers, o.tier_count);
    ck_assert_uint_gt(wrap.calls[WRAP_MPROTECT], LIVE / 10); /* so they are counted */
    ck_assert_uint_gt(wrap.calls[WRAP_MEMALIGN], 1);
    gets = retains = releases = 0;
    bp_stats before = stats_of(pool);
    uint64_t depot = traded(&before);
    for (int i = 0; i < SYSTEM_CALLS; i++) calls[i] = wrap.calls[i];
    for (int i = 0; i < STEPS; i++) {
        step(pool, &r);
        if (i % 1000 == 0) {
            bp_stats s = stats_of(pool);
            depot_moves += traded(&s) != depot;
            depot = traded(&s);
        }
    }
    for (int i = 0; i < SYSTEM_CALLS; i++) calls[i] = wrap.calls[i] - calls[i];
    bp_stats s = stats_of(pool);
    printf("warm, %s: %" PRIu64 " gets, %" PRIu64 " retains, %" PRIu64 " releases:", pools[_i].name,
           gets, retains, releases);
    for (int i = 0; i < SYSTEM_CALLS; i++) {
        printf(" %s %" PRIu64, wrap_names[i], calls[i]);
        sum += calls[i];
    }
    printf("\n");
    ck_assert_uint_eq(failures, 0);
    ck_assert_uint_eq(sum, 0);
    ck_assert_uint_eq(s.trimmed_bytes, before.trimmed_bytes);
    ck_assert_uint_gt(depot_moves, 100); /* refills and flushes did happen */
    for (size_t i = 0; i < LIVE; i++)
        while (live[i].refs > 0) release(pool, &live[i]);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("warm");
    TCase *tc = add_case(suite, "warm");
    tcase_add_loop_test(tc, a_warm_pool_allocates_nothing, 0, (int)COUNT_OF(pools));
    return run_suite(suite);
}
