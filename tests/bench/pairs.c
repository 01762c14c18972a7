/* get + release beside malloc + free of the same size, on one thread.
 *
 * Each figure is the median of interleaved rounds, the ratio the median of the
 * rounds' own ratios: a machine that slows down slows both sides of one round.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bytepool.h"

enum { ROUNDS = 15, PAIRS = 400000 };

static const size_t sizes[] = {128, 512, 4096, 65536, 262144, 1048576, 2097152};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static bp_pool *pool;

/* Keeps the compiler from seeing that nobody uses the memory. */
static void *volatile sink;

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void pair_pool(size_t n) {
    bp_buffer *b = bp_buffer_get(pool, n);
    sink = b;
    (void)bp_buffer_release(pool, b);
}

static void pair_raw(size_t n) {
    void *p = bp_raw_get(pool, n, NULL);
    sink = p;
    (void)bp_raw_put(pool, p);
}

static void pair_malloc(size_t n) {
    void *p = malloc(n);
    sink = p;
    free(p);
}

static double measure(void (*pair)(size_t), size_t n) {
    double start = now_ns();
    for (int i = 0; i < PAIRS; i++) {
        pair(n);
    }
    return (now_ns() - start) / PAIRS;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values) {
    qsort(values, ROUNDS, sizeof *values, rising);
    return values[ROUNDS / 2];
}

static void row(size_t n) {
    double get[ROUNDS], raw[ROUNDS], libc[ROUNDS], get_ratio[ROUNDS], raw_ratio[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        get[i] = measure(pair_pool, n);
        raw[i] = measure(pair_raw, n);
        libc[i] = measure(pair_malloc, n);
        get_ratio[i] = get[i] / libc[i];
        raw_ratio[i] = raw[i] / libc[i];
    }
    printf("%9zu  %12.2f  %8.2f  %12.2f  %9.2f  %9.2f\n", n, median(get), median(raw), median(libc),
           median(get_ratio), median(raw_ratio));
}

int main(void) {
    bp_error error;
    pool = bp_pool_create(NULL, &error);
    if (pool == NULL) {
        fprintf(stderr, "bench: %s\n", error.message);
        return 1;
    }
    puts("C, one thread, ns for a pair (an indirect call of about 1 ns in each):");
    printf("%9s  %12s  %8s  %12s  %9s  %9s\n", "bytes", "get+release", "raw", "malloc+free",
           "get/libc", "raw/libc");
    for (int i = 0; i < SIZES; i++) {
        row(sizes[i]);
    }
    bp_pool_destroy(pool);
    return 0;
}
