/* Eight threads get, retain and release buffers of mixed sizes; most are released
 * on another thread than the one that got them. At the end every counter balances.
 *
 *     BP_STRESS_SCALE=10 BP_SEED=1 exchange
 */
#define SUPPORT_NO_CHECK
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "../support.h"

enum { THREADS = 8, BOXES = 128, OWN = 32 };
static const size_t tiers[] = {64, 128, 1000, 4096, 16384, 65536};

static bp_pool *pool;
static _Atomic(bp_buffer *) box[THREADS][BOXES]; /* buffers on their way to a thread */
static uint64_t steps;                           /* of one thread */

typedef struct worker {
    pthread_t id;
    rng r;
    size_t index;
    uint64_t gets, oversize, releases, failed;
    uint64_t moved; /* of the releases, on another thread than the get */
} worker;

static void complain(worker *w, const char *what) {
    if (w->failed++ == 0) fprintf(stderr, "thread %zu: %s\n", w->index, what);
}

/* The first word names the getter, the second what the length must be; the last
 * byte follows from the length. */
static void stamp(worker *w, bp_buffer *b, size_t n) {
    unsigned char *p = bp_buffer_data(b);
    uint64_t head[2] = {w->index, n};
    memcpy(p, head, sizeof head);
    if (n > 16) p[n - 1] = (unsigned char)(n * 7);
}

static void check_and_release(worker *w, bp_buffer *b) {
    const unsigned char *p = bp_buffer_data(b);
    size_t n = bp_buffer_length(b);
    uint64_t head[2];
    memcpy(head, p, sizeof head);
    if (head[0] >= THREADS || head[1] != n) complain(w, "a buffer's head was written over");
    if (n > 16 && p[n - 1] != (unsigned char)(n * 7))
        complain(w, "a buffer's tail was written over");
    w->releases++;
    w->moved += head[0] != w->index;
    if (bp_buffer_release(pool, b) != BP_OK) complain(w, "release failed");
}

static bp_buffer *get(worker *w) {
    size_t n = 16 + rng_below(&w->r, (size_t)1 << (4 + rng_below(&w->r, 12)));
    if (rng_below(&w->r, 500) == 0) n = 65537 + rng_below(&w->r, 200000);
    bp_buffer *b = bp_buffer_get(pool, n);
    if (!b) {
        complain(w, "get failed");
        return NULL;
    }
    w->gets++;
    w->oversize += n > tiers[COUNT_OF(tiers) - 1];
    stamp(w, b, n);
    return b;
}

/* Puts the buffer, with a reference of its own, into another thread's box. False
 * where that is full: then its thread has had no processor for a while. */
static bool hand_over(worker *w, bp_buffer *b) {
    size_t to = (w->index + 1 + rng_below(&w->r, THREADS - 1)) % THREADS;
    for (int tries = 0; tries < 4; tries++) {
        bp_buffer *empty = NULL;
        if (atomic_compare_exchange_strong_explicit(&box[to][rng_below(&w->r, BOXES)], &empty, b,
                                                    memory_order_acq_rel, memory_order_relaxed))
            return true;
    }
    return false;
}

static void empty_box(worker *w, size_t of) {
    for (size_t i = 0; i < BOXES; i++) {
        bp_buffer *b = atomic_exchange_explicit(&box[of][i], NULL, memory_order_acq_rel);
        if (b) check_and_release(w, b);
    }
}

/* Shared in a third of the cases: then both sides release, in either order. */
static void pass_on(worker *w, bp_buffer **own) {
    bool shared = rng_below(&w->r, 3) == 0;
    if (shared && bp_buffer_retain(*own) != BP_OK) complain(w, "retain failed");
    if (hand_over(w, *own)) {
        if (!shared) *own = NULL;
        return;
    }
    if (shared) check_and_release(w, *own);
    empty_box(w, w->index);
    sched_yield();
}

static void *work(void *arg) {
    worker *w = arg;
    bp_buffer *own[OWN] = {NULL};
    for (uint64_t step = 0; step < steps; step++) {
        size_t i = rng_below(&w->r, OWN);
        if (!own[i]) own[i] = get(w);
        else if (rng_below(&w->r, 8)) pass_on(w, &own[i]);
        else {
            check_and_release(w, own[i]);
            own[i] = NULL;
        }
        if (step % 64 == 0) empty_box(w, w->index);
        if (step % 100000 == 99999 && w->index == 0) bp_pool_trim(pool);
    }
    for (size_t i = 0; i < OWN; i++)
        if (own[i]) check_and_release(w, own[i]);
    return NULL;
}

static int expect(bool holds, const char *what) {
    if (!holds) fprintf(stderr, "exchange: not so: %s\n", what);
    return holds ? 0 : 1;
}

static int verdict(const worker *total) {
    char message[256] = "";
    bp_stats s = stats_of(pool);
    int wrong = expect(total->failed == 0, "no operation failed");
    wrong += expect(s.requests == total->gets, "requests = gets of the threads");
    wrong += expect(s.discarded == total->oversize, "discarded = oversize gets");
    wrong += expect(s.discarded_put == s.discarded, "discarded_put = discarded");
    wrong += expect(s.total_put == s.total_get, "total_put = total_get");
    wrong += expect(s.in_use == 0 && s.in_use_bytes == 0, "nothing is in use");
    wrong += expect(s.idle_bytes <= s.max_idle, "idle_bytes <= max_idle");
    wrong += expect(total->moved > total->releases / 2, "most releases on another thread");
    wrong += expect(pool_broken(pool, message, sizeof message) == NULL, message);
    bp_pool_trim(pool);
    wrong += expect(stats_of(pool).owned_bytes == 0, "trim gives all back");
    printf("exchange: %" PRIu64 " gets, %" PRIu64 " of %" PRIu64
           " releases elsewhere, peak %" PRIu64 " KiB\n",
           total->gets, total->moved, total->releases, s.peak_owned_bytes / KIB);
    return wrong;
}

int main(void) {
    const char *scale = getenv("BP_STRESS_SCALE");
    double factor = scale && *scale ? strtod(scale, NULL) : 1;
    uint64_t seed = seed_of_run("exchange");
    worker w[THREADS], total = {.failed = 0};
    steps = (uint64_t)(2e6 * factor) / THREADS;
    pool = pool_of(tiers, COUNT_OF(tiers), 32 * MIB);
    if (!pool) return EXIT_FAILURE;
    for (size_t i = 0; i < THREADS; i++) {
        w[i] = (worker){.r = {seed + i * 7919}, .index = i};
        if (pthread_create(&w[i].id, NULL, work, &w[i]) != 0) return EXIT_FAILURE;
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(w[i].id, NULL);
        total.gets += w[i].gets;
        total.oversize += w[i].oversize;
        total.moved += w[i].moved;
        total.releases += w[i].releases;
        total.failed += w[i].failed;
    }
    total.index = THREADS; /* what is left in the boxes is nobody's own */
    for (size_t i = 0; i < THREADS; i++) empty_box(&total, i);
    int wrong = verdict(&total);
    bp_pool_destroy(pool);
    return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
