/* One thread: pairs of every size, bursts, and a random live set.
 *
 * The clock is the thread's CPU time: what another program takes of the processor is
 * not counted, what the kernel does for this one is.
 */
#include "side.h"

enum { LIVE = 1000, SIZES = 1024, MIXED_MIN = 64, MIXED_MAX = 60 * 1024 };

static const size_t sizes[] = {128, 512, 4096, 65536, 262144, 1048576, 2097152};
static const size_t burst_sizes[] = {128, 4096, 65536};

EACH_SIDE(pair);

/* k gets, then k releases in the same order. */
BENCH_INLINE void burst(side s, job *j, size_t count) {
    bp_pool *pool = j->pool;
    void **held = j->held;
    size_t n = j->n, k = j->k;
    for (size_t done = 0; done < count; done += k) {
        for (size_t i = 0; i < k; i++) held[i] = take(s, pool, n);
        keep(held);
        for (size_t i = 0; i < k; i++) drop(s, pool, held[i]);
    }
}
EACH_SIDE(burst);

/* One of the live buffers goes, one of another size comes. The random numbers, about
 * 1 ns, are in the figures of all sides. */
BENCH_INLINE void mixed(side s, job *j, size_t count) {
    bp_pool *pool = j->pool;
    void **held = j->held;
    const size_t *some = j->sizes;
    unsigned long long x = j->random;
    for (size_t i = 0; i < count; i++) {
        x = next_random(x);
        size_t at = (size_t)((x >> 32) * LIVE >> 32);
        drop(s, pool, held[at]);
        held[at] = take(s, pool, some[x & (SIZES - 1)]);
    }
    j->random = x;
}
EACH_SIDE(mixed);

/* As many lengths from 64 to 127 as from 128 to 255, and so on to the last octave. */
static void run_mixed(side s, bp_pool *pool) {
    static void *held[LIVE];
    static size_t some[SIZES];
    unsigned long long x = 88172645463325252ull;
    for (size_t i = 0; i < SIZES; i++) {
        x = next_random(x);
        size_t low = (size_t)MIXED_MIN << (x >> 40) % 10;
        size_t span = low < MIXED_MAX / 2 ? low : MIXED_MAX - low + 1;
        some[i] = low + (size_t)((x & 0xffffffff) * span >> 32);
    }
    for (size_t i = 0; i < LIVE; i++) held[i] = take(s, pool, some[i % SIZES]);
    job j = {.pool = pool, .held = held, .sizes = some, .random = x};
    print("mixed", 0, measure(mixed_of[s], &j, CLOCK_THREAD_CPUTIME_ID));
    for (size_t i = 0; i < LIVE; i++) drop(s, pool, held[i]);
}

static void run_burst(side s, bp_pool *pool, const char *name, size_t k) {
    void *held[64];
    for (size_t i = 0; i < sizeof burst_sizes / sizeof *burst_sizes; i++) {
        job j = {.pool = pool, .held = held, .k = k, .n = burst_sizes[i]};
        print(name, j.n, measure(burst_of[s], &j, CLOCK_THREAD_CPUTIME_ID));
    }
}

int main(int argc, char **argv) {
    const char *only;
    side s = side_of(argc, argv, &only);
    bp_pool *pool = pool_with(NULL, 0);
    for (size_t i = 0; wanted(only, "pair") && i < sizeof sizes / sizeof *sizes; i++) {
        job j = {.pool = pool, .n = sizes[i]};
        print("pair", j.n, measure(pair_of[s], &j, CLOCK_THREAD_CPUTIME_ID));
    }
    if (wanted(only, "pattern")) {
        run_burst(s, pool, "burst1", 1);
        run_burst(s, pool, "burst8", 8);
        run_burst(s, pool, "burst64", 64);
        run_mixed(s, pool);
    }
    bp_pool_destroy(pool);
    return EXIT_SUCCESS;
}
