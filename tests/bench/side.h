/* What the bench programs share: the sides that are compared, the clock, the output.
 *
 * A case is one loop, written once. The side is a constant argument of it, and EACH_SIDE
 * makes a function of the loop for each side: so all of them pay the same for the loop,
 * and every get and release is a direct call of a function in a shared library, as a
 * program makes it. Output is a line for each figure: case, size (0: none), value.
 *
 *     alloc pool|raw|malloc [CASE]       alloc SIDE who: the library that serves the side
 */
#ifndef BENCH_SIDE_H
#define BENCH_SIDE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dladdr, RTLD_DEFAULT, sched_setaffinity */
#endif
#include <dlfcn.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bytepool.h"

#define BENCH_INLINE static inline __attribute__((always_inline))

typedef enum side { POOL, RAW, MALLOC } side;

/* Everything that a loop works on. */
typedef struct job {
    bp_pool *pool;
    size_t n;    /* bytes of a buffer */
    size_t k;    /* buffers got before the first is released */
    void **held; /* live buffers, or room for k */
    size_t held_count;
    const size_t *sizes; /* to be asked for in turn or at random, a power of two of them */
    size_t sizes_mask;
    bp_pool **pools; /* to be used in turn */
    size_t pool_count;
    unsigned long long random;
    void *other; /* what a case of its own needs */
} job;

/* Does `count` pairs. */
typedef void loop_fn(job *j, size_t count);

BENCH_INLINE void *take(side s, bp_pool *pool, size_t n) {
    return s == POOL ? bp_buffer_get(pool, n) : s == RAW ? bp_raw_get(pool, n, NULL) : malloc(n);
}

BENCH_INLINE void drop(side s, bp_pool *pool, void *p) {
    if (s == POOL) (void)bp_buffer_release(pool, p);
    else if (s == RAW) (void)bp_raw_put(pool, p);
    else free(p);
}

/* The first byte that the owner of p may use. */
BENCH_INLINE unsigned char *bytes_of(side s, void *p) { return s == POOL ? bp_buffer_data(p) : p; }

/* Keeps the compiler from seeing that nobody uses the memory. */
BENCH_INLINE void keep(void *p) { __asm__ volatile("" : : "r"(p) : "memory"); }

#define EACH_SIDE(loop)                                                         \
    static void loop##_pool(job *j, size_t count) { loop(POOL, j, count); }     \
    static void loop##_raw(job *j, size_t count) { loop(RAW, j, count); }       \
    static void loop##_malloc(job *j, size_t count) { loop(MALLOC, j, count); } \
    static loop_fn *const loop##_of[] = {loop##_pool, loop##_raw, loop##_malloc}

/* The case that all the programs have: a get and its release. */
BENCH_INLINE void pair(side s, job *j, size_t count) {
    bp_pool *pool = j->pool;
    size_t n = j->n;
    for (size_t i = 0; i < count; i++) {
        void *p = take(s, pool, n);
        keep(p);
        drop(s, pool, p);
    }
}

BENCH_INLINE unsigned long long next_random(unsigned long long x) {
    x ^= x << 13;
    x ^= x >> 7;
    return x ^ x << 17;
}

/* ---- time ----------------------------------------------------------------- */

enum { CHUNKS = 24, QUICK_CHUNKS = 4 };
static bool quick; /* BENCH_QUICK: does it run at all? */

static inline double clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static inline double time_of(loop_fn *loop, job *j, size_t count, clockid_t clock) {
    double start = clock_ns(clock);
    loop(j, count);
    return clock_ns(clock) - start;
}

/* ns of one pair, after a warm-up that also finds how many pairs a chunk takes: 24 chunks
 * of 1 ms or more, and of these the one that a quarter are faster than. Chunks into which
 * the kernel or a neighbour cut drop out; what a side itself does in each chunk stays. */
static inline double measure(loop_fn *loop, job *j, clockid_t clock) {
    double least = quick ? 2e4 : 1e6, ns[CHUNKS];
    size_t chunks = quick ? QUICK_CHUNKS : CHUNKS, count = 256;
    double spent = time_of(loop, j, count, clock);
    while (spent < least) {
        double factor = spent > 0 ? 1.2 * least / spent : 8;
        count = (size_t)((double)count * (factor < 8 ? factor : 8)) + 64;
        spent = time_of(loop, j, count, clock);
    }
    for (size_t i = 0; i < chunks; i++) ns[i] = time_of(loop, j, count, clock) / (double)count;
    qsort(ns, chunks, sizeof *ns, rising);
    return ns[chunks / 4];
}

/* The calling thread, and what it starts, on the allowed processor of that number. */
static inline void stay_on(unsigned number) {
#ifdef __linux__
    static cpu_set_t allowed;
    cpu_set_t one;
    if (CPU_COUNT(&allowed) == 0) sched_getaffinity(0, sizeof allowed, &allowed);
    number %= (unsigned)CPU_COUNT(&allowed);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && number-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            (void)sched_setaffinity(0, sizeof one, &one);
        }
    }
#else
    (void)number;
#endif
}

/* ---- the program ------------------------------------------------------------ */

static inline void print(const char *name, size_t size, double value) {
    printf("%s %zu %.4f\n", name, size, value);
    fflush(stdout);
}

static inline void die(const char *what) {
    fprintf(stderr, "bench: %s\n", what);
    exit(EXIT_FAILURE);
}

static inline bp_pool *pool_with(const size_t *tiers, size_t count) {
    bp_options o;
    bp_error error;
    bp_options_init(&o);
    if (tiers != NULL) {
        o.tiers = tiers;
        o.tier_count = count;
    }
    bp_pool *pool = bp_pool_create(&o, &error);
    if (pool == NULL) die(error.message);
    return pool;
}

/* Whether an allocator that was to be preloaded is really the one that answers. */
static inline void print_who(side s) {
    void *function = dlsym(RTLD_DEFAULT, s == MALLOC ? "malloc" : "bp_pool_create");
    Dl_info info;
    puts(dladdr(function, &info) && info.dli_fname ? info.dli_fname : "unknown");
    exit(EXIT_SUCCESS);
}

/* Reads the arguments; `only` is the case to run, or NULL for all. */
static inline side side_of(int argc, char **argv, const char **only) {
    static const char *const names[] = {"pool", "raw", "malloc"};
    const char *q = getenv("BENCH_QUICK");
    quick = q != NULL && *q != '\0' && strcmp(q, "0") != 0;
    *only = argc > 2 ? argv[2] : NULL;
    for (int s = POOL; argc > 1 && s <= MALLOC; s++) {
        if (strcmp(argv[1], names[s]) == 0) {
            if (*only != NULL && strcmp(*only, "who") == 0) print_who((side)s);
            return (side)s;
        }
    }
    die("usage: pool|raw|malloc [CASE]");
    return POOL;
}

static inline bool wanted(const char *only, const char *name) {
    return only == NULL || strcmp(only, name) == 0;
}

#endif
