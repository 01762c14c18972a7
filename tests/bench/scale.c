/* What must not grow: a million live buffers, 64 tiers, 200 pools, 64 threads that come
 * and go, snapshots beside two busy threads, the bytes kept for a block, and the lines that live
 * blocks share.
 *
 * `small` is what the others are held against: a pair or burst of 128 bytes in a pool of
 * 15 tiers that has nothing else to do.
 *
 *     scale SIDE live|count|snapshot|bytes64|bytes128|bytes4096    count, snapshot: side pool only
 */
#include "side.h"

#include <pthread.h>
#include <stdatomic.h>

enum { TIERS = 64, POOLS = 200, THREADS = 64, BURST = 64, TOUCHED = 512 };

#define CPU CLOCK_THREAD_CPUTIME_ID

static size_t million; /* fewer when quick */

/* ---- loops -------------------------------------------------------------------- */

EACH_SIDE(pair);

BENCH_INLINE void burst(side s, job *j, size_t count) {
    bp_pool *pool = j->pool;
    void *held[BURST];
    size_t n = j->n;
    for (size_t done = 0; done < count; done += BURST) {
        for (size_t i = 0; i < BURST; i++) held[i] = take(s, pool, n);
        keep(held);
        for (size_t i = 0; i < BURST; i++) drop(s, pool, held[i]);
    }
}
EACH_SIDE(burst);

/* A live buffer chosen at random goes, another comes. */
BENCH_INLINE void replace(side s, job *j, size_t count) {
    bp_pool *pool = j->pool;
    unsigned long long x = j->random;
    for (size_t i = 0; i < count; i++) {
        x = next_random(x);
        size_t at = (size_t)((x >> 32) * j->held_count >> 32);
        drop(s, pool, j->held[at]);
        j->held[at] = take(s, pool, j->n);
    }
    j->random = x;
}
EACH_SIDE(replace);

static void tiers_in_turn(job *j, size_t count) {
    for (size_t i = 0; i < count; i++) {
        void *p = take(POOL, j->pool, j->sizes[i & j->sizes_mask]);
        keep(p);
        drop(POOL, j->pool, p);
    }
}

static void pools_in_turn(job *j, size_t count) {
    for (size_t i = 0, at = 0; i < count; i++) {
        void *p = take(POOL, j->pools[at], j->n);
        keep(p);
        drop(POOL, j->pools[at], p);
        at = at + 1 == j->pool_count ? 0 : at + 1;
    }
}

static void snapshot(job *j, size_t count) {
    static bp_stats s;
    for (size_t i = 0; i < count; i++) bp_pool_stats(j->pool, &s);
}

typedef enum touch { READ, WRITE, UPDATE } touch;

BENCH_INLINE void touch_lines(touch how, job *j, size_t count) {
    for (size_t done = 0; done < count; done += j->held_count) {
        for (size_t i = 0; i < j->held_count; i++) {
            volatile unsigned char *p = j->held[i];
            if (how == READ) (void)*p;
            else *p = how == WRITE ? 1 : (unsigned char)(*p + 1);
        }
    }
}
static void touch_read(job *j, size_t count) { touch_lines(READ, j, count); }
static void touch_write(job *j, size_t count) { touch_lines(WRITE, j, count); }
static void touch_update(job *j, size_t count) { touch_lines(UPDATE, j, count); }

/* ---- live buffers ----------------------------------------------------------- */

static void **array_of(size_t count) {
    void **held = malloc(count * sizeof *held);
    if (held == NULL) die("no memory");
    memset(held, 1, count * sizeof *held); /* its pages are not to count later */
    return held;
}

/* Fills `held` up to `count` and measures at that number. */
static void at_live(side s, job *j, size_t count) {
    while (j->held_count < count) j->held[j->held_count++] = take(s, j->pool, j->n);
    size_t named = count == million ? 1000000 : count;
    print("live_pair", named, measure(pair_of[s], j, CPU));
    print("live_burst64", named, measure(burst_of[s], j, CPU));
    print("live_replace", named, measure(replace_of[s], j, CPU));
    if (s == POOL) print("live_stats", named, measure(snapshot, j, CPU));
}

static void run_live(side s) {
    job j = {.pool = pool_with(NULL, 0), .n = 128, .held = array_of(million), .random = 123456789};
    at_live(s, &j, 1000);
    at_live(s, &j, million);
    for (size_t i = 0; i < million; i++) drop(s, j.pool, j.held[i]);
    free(j.held);
    bp_pool_destroy(j.pool);
}

/* ---- tiers, pools, threads ----------------------------------------------------- */

static void run_small(void) {
    job j = {.pool = pool_with(NULL, 0), .n = 128};
    print("small_pair", 0, measure(pair_pool, &j, CPU));
    print("small_burst64", 0, measure(burst_pool, &j, CPU));
    bp_pool_destroy(j.pool);
}

static void run_tiers(void) {
    size_t sizes[TIERS];
    for (size_t i = 0; i < TIERS; i++) sizes[i] = 128 + i * 1000;
    job j = {.pool = pool_with(sizes, TIERS), .n = 128, .sizes = sizes, .sizes_mask = TIERS - 1};
    print("tiers64_first", 0, measure(pair_pool, &j, CPU));
    j.n = sizes[TIERS - 1];
    print("tiers64_last", 0, measure(pair_pool, &j, CPU));
    print("tiers64_in_turn", 0, measure(tiers_in_turn, &j, CPU));
    bp_pool_destroy(j.pool);
}

static void run_pools(void) {
    static bp_pool *pools[POOLS];
    for (size_t i = 0; i < POOLS; i++) pools[i] = pool_with(NULL, 0);
    job j = {.n = 128, .pools = pools, .pool_count = POOLS};
    pools_in_turn(&j, POOLS);
    j.pool = pools[0];
    print("pools200_first", 0, measure(pair_pool, &j, CPU));
    j.pool = pools[POOLS - 1];
    print("pools200_last", 0, measure(pair_pool, &j, CPU));
    print("pools200_in_turn", 0, measure(pools_in_turn, &j, CPU));
    for (size_t i = 0; i < POOLS; i++) bp_pool_destroy(pools[i]);
}

typedef struct visitor {
    job j;
    pthread_barrier_t *all_here;
    double pair, burst;
} visitor;

/* A thread of a wave: it measures while the other 63 are there. */
static void *visit(void *arg) {
    visitor *v = arg;
    (void)pthread_barrier_wait(v->all_here);
    pair_pool(&v->j, 1000);
    v->pair = time_of(pair_pool, &v->j, 20000, CPU) / 20000;
    burst_pool(&v->j, 1024);
    v->burst = time_of(burst_pool, &v->j, 20480, CPU) / 20480;
    (void)pthread_barrier_wait(v->all_here);
    return NULL;
}

/* Waves of 64 threads, each with its first get and its last release. */
static void run_threads(void) {
    enum { WAVES = 4 };
    static visitor visitors[THREADS];
    static double pairs[WAVES * THREADS], bursts[WAVES * THREADS];
    pthread_t threads[THREADS];
    pthread_barrier_t all_here;
    job j = {.pool = pool_with(NULL, 0), .n = 128};
    size_t waves = quick ? 1 : WAVES;
    pthread_barrier_init(&all_here, NULL, THREADS);
    for (size_t w = 0; w < waves; w++) {
        for (size_t i = 0; i < THREADS; i++) {
            visitors[i] = (visitor){.j = j, .all_here = &all_here};
            if (pthread_create(&threads[i], NULL, visit, &visitors[i]) != 0) die("no thread");
        }
        for (size_t i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            pairs[w * THREADS + i] = visitors[i].pair;
            bursts[w * THREADS + i] = visitors[i].burst;
        }
    }
    pthread_barrier_destroy(&all_here);
    qsort(pairs, waves * THREADS, sizeof *pairs, rising);
    qsort(bursts, waves * THREADS, sizeof *bursts, rising);
    print("threads64_pair", 0, pairs[waves * THREADS / 2]);
    print("threads64_burst64", 0, bursts[waves * THREADS / 2]);
    print("after_threads_pair", 0, measure(pair_pool, &j, CPU));
    print("after_threads_burst64", 0, measure(burst_pool, &j, CPU));
    bp_pool_destroy(j.pool);
}

/* ---- snapshots and changes beside busy threads -------------------------------------- */

enum { RUNNERS = 2, WINDOWS = 10, ACTS = 10 };

typedef struct runner {
    job j;
    unsigned processor;
    _Alignas(64) atomic_size_t pairs;
} runner;

/* What is done every 10 ms. */
typedef void act_fn(bp_pool *pool, size_t round);

static atomic_bool stop;
static size_t even_sizes[TIERS]; /* what the runners ask for */

static void take_snapshot(bp_pool *pool, size_t round) {
    static bp_stats s;
    (void)round;
    bp_pool_stats(pool, &s);
}

/* Between the pool's own tiers, powers of two, and the tiers of a stream. */
static void change_tiers(bp_pool *pool, size_t round) {
    bp_options o;
    bp_options_init(&o);
    if (round % 3 == 0) {
        o.tiers = even_sizes;
        o.tier_count = TIERS;
    } else if (round % 3 == 1) {
        o.tiers = bp_size_stream(&o.tier_count);
    }
    if (bp_pool_configure(pool, &o, false, NULL) != BP_OK) die("a change was refused");
}

static void *run_on(void *arg) {
    runner *r = arg;
    stay_on(r->processor);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        tiers_in_turn(&r->j, 1024);
        atomic_fetch_add_explicit(&r->pairs, 1024, memory_order_relaxed);
    }
    return NULL;
}

static size_t pairs_of(runner *r) { return atomic_load(&r[0].pairs) + atomic_load(&r[1].pairs); }

/* ns of a pair on each thread in a tenth of a second by the wall's clock; beside ten acts where
 * `took` is not NULL, which gets their own times. */
static double window(runner *r, act_fn *act, double *took) {
    struct timespec pause = {0, 10 * 1000 * 1000};
    size_t before = pairs_of(r);
    double start = clock_ns(CLOCK_MONOTONIC);
    for (size_t i = 0; i < ACTS; i++) {
        nanosleep(&pause, NULL);
        if (took != NULL) {
            double began = clock_ns(CPU);
            act(r->j.pool, i);
            took[i] = clock_ns(CPU) - began;
        }
    }
    double passed = clock_ns(CLOCK_MONOTONIC) - start;
    return passed * RUNNERS / (double)(pairs_of(r) - before);
}

/* One pool of 64 tiers, two threads that use all of them. Windows with acts and without alternate;
 * after those with, the pool has the tiers of round 0 again. */
static void run_beside(const char *name, act_fn *act) {
    static runner r[RUNNERS];
    static double alone[WINDOWS], beside[WINDOWS], took[WINDOWS * ACTS];
    size_t windows = quick ? 1 : WINDOWS;
    char label[64];
    pthread_t threads[RUNNERS];
    for (size_t i = 0; i < TIERS; i++) even_sizes[i] = 128 + i * 1000;
    job j = {.pool = pool_with(even_sizes, TIERS), .sizes = even_sizes, .sizes_mask = TIERS - 1};
    atomic_store(&stop, false);
    for (unsigned i = 0; i < RUNNERS; i++) {
        r[i] = (runner){.j = j, .processor = i};
        if (pthread_create(&threads[i], NULL, run_on, &r[i]) != 0) die("no thread");
    }
    (void)window(r, act, took);
    for (size_t w = 0; w < windows; w++) {
        alone[w] = window(r, act, NULL);
        beside[w] = window(r, act, took + w * ACTS);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < RUNNERS; i++) pthread_join(threads[i], NULL);
    qsort(alone, windows, sizeof *alone, rising);
    qsort(beside, windows, sizeof *beside, rising);
    qsort(took, windows * ACTS, sizeof *took, rising);
    print(name, 0, took[windows * ACTS / 2]);
    (void)snprintf(label, sizeof label, "%s_pair_without", name);
    print(label, 0, alone[windows / 2]);
    (void)snprintf(label, sizeof label, "%s_pair_beside", name);
    print(label, 0, beside[windows / 2]);
    bp_pool_destroy(j.pool);
}

/* ---- bytes ----------------------------------------------------------------------- */

/* Resident bytes of this process; exact, unlike /proc/self/statm. */
static double resident(void) {
    char line[256];
    double kib = -1;
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "Rss:", 4) == 0) kib = strtod(line + 4, NULL);
    }
    if (f != NULL) fclose(f);
    return kib * 1024;
}

/* What became resident beside the payloads when a million blocks were taken, for each.
 * Payloads are written whole, so that what lies between them counts; 1 million of 4 KiB
 * would not fit, of those nothing is written, and only what lies elsewhere counts. */
static void run_bytes(side s, size_t n, bool write) {
    static const size_t tiers[] = {64, 128, 4096};
    bp_pool *pool = pool_with(tiers, 3);
    void **held = array_of(million);
    drop(s, pool, take(s, pool, n));
    double before = resident();
    for (size_t i = 0; i < million; i++) {
        held[i] = take(s, pool, n);
        if (held[i] == NULL) die("no memory for a million blocks");
        if (write) memset(bytes_of(s, held[i]), 1, n);
    }
    double grown = resident() - before;
    if (before > 0) print("block_bytes", n, grown / (double)million - (write ? (double)n : 0));
    for (size_t i = 0; i < million; i++) drop(s, pool, held[i]);
    free(held);
    bp_pool_destroy(pool);
}

/* ---- lines ------------------------------------------------------------------------- */

/* The first line of 512 live blocks in turn, and as many lines 4096 + 64 bytes apart in
 * memory that is no pool's: such a stride uses all sets of a processor's cache. */
static void run_touch(void) {
    enum { STRIDE = 4096 + 64 };
    void *live[TOUCHED], *odd[TOUCHED], *first[TOUCHED];
    bp_pool *pool = pool_with(NULL, 0);
    unsigned char *area = aligned_alloc(64, (size_t)TOUCHED * STRIDE);
    if (area == NULL) die("no memory");
    for (size_t i = 0; i < TOUCHED; i++) {
        live[i] = take(POOL, pool, 4096);
        first[i] = bytes_of(POOL, live[i]);
        odd[i] = area + i * STRIDE;
    }
    job of_pool = {.held = first, .held_count = TOUCHED};
    job of_area = {.held = odd, .held_count = TOUCHED};
    touch_write(&of_pool, TOUCHED); /* a page that was only read is the system's zero page */
    touch_write(&of_area, TOUCHED);
    print("touch_read", 0, measure(touch_read, &of_pool, CPU));
    print("touch_read_odd", 0, measure(touch_read, &of_area, CPU));
    print("touch_write", 0, measure(touch_write, &of_pool, CPU));
    print("touch_write_odd", 0, measure(touch_write, &of_area, CPU));
    print("touch_update", 0, measure(touch_update, &of_pool, CPU));
    print("touch_update_odd", 0, measure(touch_update, &of_area, CPU));
    for (size_t i = 0; i < TOUCHED; i++) drop(POOL, pool, live[i]);
    free(area);
    bp_pool_destroy(pool);
}

int main(int argc, char **argv) {
    const char *only;
    side s = side_of(argc, argv, &only);
    million = quick ? 20000 : 1000000;
    if (wanted(only, "live")) run_live(s);
    /* A process for each: what an allocator kept from before would not grow. */
    if (only != NULL && strncmp(only, "bytes", 5) == 0) {
        size_t n = strtoul(only + 5, NULL, 10);
        run_bytes(s, n, n < 4096);
    }
    if (s == POOL && wanted(only, "snapshot")) run_beside("snapshot", take_snapshot);
    if (s == POOL && wanted(only, "change")) run_beside("change", change_tiers);
    if (s == POOL && wanted(only, "count")) {
        run_small();
        run_tiers();
        run_pools();
        run_threads();
        run_touch();
    }
    return EXIT_SUCCESS;
}
