/* Two threads on two processors: each with pairs of its own, and one that gets while the
 * other releases. The figure is that of the first thread.
 *
 * The clock is the wall's, since what a thread waits for another counts; so the figures say
 * nothing where two processors are not free.
 */
#include "side.h"

#include <pthread.h>
#include <stdatomic.h>

static const size_t sizes[] = {128, 512, 4096, 65536, 262144, 1048576, 2097152};
enum { SIZES = sizeof sizes / sizeof *sizes };

static atomic_bool stop;

static void start(pthread_t *t, void *(*body)(void *), void *arg) {
    if (pthread_create(t, NULL, body, arg) != 0) die("no thread");
}

/* ---- pairs ------------------------------------------------------------------ */

EACH_SIDE(pair);

typedef struct worker {
    job j;
    loop_fn *loop;
} worker;

static void *work(void *arg) {
    worker *w = arg;
    stay_on(1);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) w->loop(&w->j, 1000);
    return NULL;
}

static void *nothing(void *arg) { return arg; }

/* One thread and two are measured by turns, in a process that has had
 * a second thread before: with the first one, glibc's malloc gets slower for good. */
static void run_pairs(side s, bp_pool *pool) {
    pthread_t first;
    start(&first, nothing, NULL);
    pthread_join(first, NULL);
    for (size_t i = 0; i < SIZES; i++) {
        job j = {.pool = pool, .n = sizes[i]};
        worker w = {.j = j, .loop = pair_of[s]};
        pthread_t t;
        print("one", j.n, measure(pair_of[s], &j, CLOCK_MONOTONIC));
        atomic_store(&stop, false);
        start(&t, work, &w);
        print("two", j.n, measure(pair_of[s], &j, CLOCK_MONOTONIC));
        atomic_store(&stop, true);
        pthread_join(t, NULL);
    }
}

/* ---- get here, release there -------------------------------------------------- */

enum { RING = 64, BATCH = 16 };

/* One thread puts, one takes, by batches; so the ring's own part in a figure is small,
 * and it is in the figures of all sides. */
typedef struct ring {
    _Alignas(64) atomic_size_t put;
    _Alignas(64) atomic_size_t taken;
    _Alignas(64) void *slots[RING];
    _Alignas(64) side s;
    bool touch;
    bp_pool *pool;
    size_t n;
} ring;

BENCH_INLINE void pause_at(unsigned *spins) {
    if (++*spins % 256 == 0) sched_yield();
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

BENCH_INLINE void produce(side s, ring *r, bool touch) {
    bp_pool *pool = r->pool;
    size_t n = r->n;
    unsigned spins = 0;
    for (size_t put = 0;; put += BATCH) {
        while (put + BATCH - atomic_load_explicit(&r->taken, memory_order_acquire) > RING) {
            if (atomic_load_explicit(&stop, memory_order_relaxed)) return;
            pause_at(&spins);
        }
        for (size_t i = 0; i < BATCH; i++) {
            void *p = take(s, pool, n);
            if (touch) *bytes_of(s, p) = (unsigned char)i;
            r->slots[(put + i) % RING] = p;
        }
        atomic_store_explicit(&r->put, put + BATCH, memory_order_release);
    }
}

static void *producer(void *arg) {
    ring *r = arg;
    stay_on(1);
    if (r->s == POOL) r->touch ? produce(POOL, r, true) : produce(POOL, r, false);
    else r->touch ? produce(MALLOC, r, true) : produce(MALLOC, r, false);
    return NULL;
}

BENCH_INLINE void consume(side s, job *j, size_t count, bool touch) {
    ring *r = j->other;
    bp_pool *pool = j->pool;
    size_t taken = atomic_load_explicit(&r->taken, memory_order_relaxed), end = taken + count;
    unsigned spins = 0, sum = 0;
    for (; taken < end; taken += BATCH) {
        while (atomic_load_explicit(&r->put, memory_order_acquire) - taken < BATCH) {
            pause_at(&spins);
        }
        for (size_t i = 0; i < BATCH; i++) {
            void *p = r->slots[(taken + i) % RING];
            if (touch) sum += *bytes_of(s, p);
            drop(s, pool, p);
        }
        atomic_store_explicit(&r->taken, taken + BATCH, memory_order_release);
    }
    keep(&sum);
}
BENCH_INLINE void plain(side s, job *j, size_t count) { consume(s, j, count, false); }
BENCH_INLINE void touching(side s, job *j, size_t count) { consume(s, j, count, true); }
EACH_SIDE(plain);
EACH_SIDE(touching);

static void hand_over(side s, bp_pool *pool, size_t n, bool touch) {
    ring r = {.s = s, .touch = touch, .pool = pool, .n = n};
    job j = {.pool = pool, .n = n, .other = &r};
    pthread_t t;
    atomic_store(&stop, false);
    start(&t, producer, &r);
    print(touch ? "handed_touched" : "handed", n,
          measure(touch ? touching_of[s] : plain_of[s], &j, CLOCK_MONOTONIC));
    atomic_store(&stop, true);
    pthread_join(t, NULL);
    for (size_t i = r.taken; i < r.put; i++) drop(s, pool, r.slots[i % RING]);
}

int main(int argc, char **argv) {
    const char *only;
    side s = side_of(argc, argv, &only);
    bp_pool *pool = pool_with(NULL, 0);
    stay_on(0);
    if (s == RAW) die("raw is measured on one thread only");
    if (wanted(only, "pair")) run_pairs(s, pool);
    for (size_t i = 0; wanted(only, "handed") && i < SIZES; i++) {
        hand_over(s, pool, sizes[i], false);
        hand_over(s, pool, sizes[i], true);
    }
    bp_pool_destroy(pool);
    return EXIT_SUCCESS;
}
