/* Threads get, share, pass on and release while one changes the pool's tiers between three
 * configs, rolls back, ticks and trims; one thread sleeps through all of it. Every buffer carries
 * a pattern, and nothing may be lost.
 *
 *     BP_STRESS_SCALE=10 BP_SEED=1 configure
 */
#define SUPPORT_NO_CHECK
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../support.h"

enum { THREADS = 8, LIVE = 48, MAIL = 64 };

static const size_t small[] = {128, 1000, 4096, 65536};
static const size_t middle[] = {300, 1000, 5000, 20000, 65536, 300000};
static const size_t fitted[] = {96, 640, 4096, 4160, 12288, 40000, 100000, 1048576};

typedef struct holding {
    bp_buffer *b; /* NULL with p: raw */
    unsigned char *p;
    size_t length, capacity;
    uint64_t key;
} holding;

typedef struct worker {
    pthread_t id;
    rng r;
    holding live[LIVE];
    size_t count;
    uint64_t got, put, refused;
} worker;

static bp_pool *pool;
static worker workers[THREADS];
static holding mail[MAIL];
static pthread_mutex_t mail_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t mail_count;
static _Atomic bool stop, asleep, wake;

static void must(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "configure: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

static void write_pattern(const holding *h) {
    size_t edge = h->capacity < 4096 ? h->capacity : 2048;
    fill(h->p, edge, h->key);
    fill(h->p + h->capacity - edge, edge, h->key);
}

static void verify_pattern(const holding *h) {
    size_t edge = h->capacity < 4096 ? h->capacity : 2048;
    must(filled(h->p, edge, h->key), "a buffer's start was written over");
    must(filled(h->p + h->capacity - edge, edge, h->key), "a buffer's end was written over");
}

static void get(worker *w) {
    holding *h = &w->live[w->count];
    *h = (holding){.length = rng_below(&w->r, rng_below(&w->r, 30) ? 9000 : 400000),
                   .key = w->got * THREADS + (size_t)(w - workers)};
    if (rng_below(&w->r, 4) == 0) {
        h->p = bp_raw_get(pool, h->length, &h->capacity);
    } else {
        h->b = bp_buffer_get(pool, h->length);
        h->p = h->b ? bp_buffer_data(h->b) : NULL;
        h->capacity = h->b ? bp_buffer_capacity(pool, h->b) : 0;
    }
    if (h->p == NULL) {
        must(errno == EDQUOT, "a get failed for want of memory");
        w->refused++;
        return;
    }
    must(h->capacity >= h->length, "a block is shorter than what was asked for");
    w->got++;
    write_pattern(h);
    w->count++;
}

static void release(worker *w, const holding *h) {
    verify_pattern(h);
    if (h->b) {
        must(bp_buffer_capacity(pool, h->b) == h->capacity, "a capacity has changed");
        must(bp_buffer_release(pool, h->b) == BP_OK, "release failed");
    } else {
        must(bp_raw_capacity(pool, h->p) == h->capacity, "a raw capacity has changed");
        must(bp_raw_put(pool, h->p) == BP_OK, "raw_put failed");
    }
    w->put++;
}

/* Puts one of its own into the mail, and takes one of another's. */
static void pass_on(worker *w) {
    holding taken = {0};
    pthread_mutex_lock(&mail_lock);
    if (mail_count > 0 && (mail_count == MAIL || rng_below(&w->r, 2))) {
        taken = mail[--mail_count];
    } else if (w->count > 0) {
        mail[mail_count++] = w->live[--w->count];
    }
    pthread_mutex_unlock(&mail_lock);
    if (taken.p) release(w, &taken);
}

static void *work(void *arg) {
    worker *w = arg;
    while (!atomic_load(&stop)) {
        size_t what = rng_below(&w->r, 10);
        if (what == 0) {
            pass_on(w);
        } else if (w->count == 0 || (what < 6 && w->count < LIVE)) {
            get(w);
        } else {
            size_t at = rng_below(&w->r, w->count);
            holding h = w->live[at];
            w->live[at] = w->live[--w->count];
            release(w, &h);
        }
    }
    while (w->count > 0) release(w, &w->live[--w->count]);
    return NULL;
}

/* Leaves blocks in its cache, sleeps through all changes, and then gives back what it held. */
static void *sleep_through(void *arg) {
    (void)arg;
    bp_buffer *held = bp_buffer_get(pool, 4000);
    must(held != NULL, "the sleeper's get failed");
    for (size_t i = 0; i < COUNT_OF(middle); i++) {
        bp_buffer *b = bp_buffer_get(pool, middle[i]);
        if (b) (void)bp_buffer_release(pool, b);
    }
    atomic_store(&asleep, true);
    while (!atomic_load(&wake)) usleep(1000);
    must(bp_buffer_release(pool, held) == BP_OK, "the sleeper's release failed");
    return NULL;
}

static void change(rng *r, unsigned round) {
    static const bp_tier_limits limits[] = {
        {BP_NO_LIMIT, BP_NO_LIMIT, 1}, {MIB, BP_NO_LIMIT, 1}, {BP_NO_LIMIT, 8 * MIB, 0.5},
        {BP_NO_LIMIT, BP_NO_LIMIT, 1}, {0, BP_NO_LIMIT, 1},   {BP_NO_LIMIT, BP_NO_LIMIT, 0.25}};
    bp_options o;
    bp_error e;
    bp_options_init(&o);
    o.tiers = round % 3 == 0 ? small : round % 3 == 1 ? middle : fitted;
    o.tier_count = round % 3 == 0   ? COUNT_OF(small)
                   : round % 3 == 1 ? COUNT_OF(middle)
                                    : COUNT_OF(fitted);
    o.limits = round % 3 == 1 ? limits : NULL;
    o.max_idle = rng_below(r, 3) ? 64 * MIB : 4 * MIB;
    o.max_bytes = rng_below(r, 4) ? BP_NO_LIMIT : 12 * MIB;
    o.decay = 0.01;
    must(bp_pool_configure(pool, &o, true, &e) == BP_OK, e.message);
    must(bp_pool_configure(pool, &o, false, &e) == BP_OK, e.message);
    o.tier_count = 0;
    must(bp_pool_configure(pool, &o, false, &e) == BP_ERR_ARG, "no tiers at all were taken");
}

static uint64_t add_up(const bp_stats *s) {
    uint64_t got = s->drained.get;
    for (size_t i = 0; i < s->tier_count; i++) {
        must(tier_broken_under_load(&s->tiers[i]) == NULL, "a tier's inequalities");
        got += s->tiers[i].get;
    }
    return got;
}

static void look(bp_stats *last) {
    bp_stats s = stats_of(pool);
    must(add_up(&s) == s.total_get, "total_get is the sum of the tiers and what drained");
    must(s.total_get >= last->total_get && s.total_put >= last->total_put &&
             s.asked_bytes >= last->asked_bytes && s.discarded >= last->discarded &&
             s.requests >= last->requests && s.drained.get >= last->drained.get,
         "a counter has fallen");
    must(buckets_broken(&s) == NULL, "the histogram has every request");
    *last = s;
}

static void run(unsigned changes, rng *r) {
    bp_stats last = stats_of(pool);
    for (unsigned i = 0; i < changes; i++) {
        change(r, i);
        if (rng_below(r, 8) == 0) must(bp_pool_rollback(pool, false, NULL) == BP_OK, "rollback");
        if (rng_below(r, 8) == 0) (void)bp_pool_trim(pool);
        if (rng_below(r, 8) == 0) (void)bp_pool_shrink(pool, MIB);
        (void)bp_pool_tick(pool);
        look(&last);
        usleep((useconds_t)rng_below(r, 400));
    }
}

static void finish(pthread_t sleeper) {
    uint64_t got = 0, put = 0, refused = 0;
    atomic_store(&stop, true);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].id, NULL);
        got += workers[i].got;
        put += workers[i].put;
        refused += workers[i].refused;
    }
    while (mail_count > 0) {
        release(&workers[0], &mail[--mail_count]);
        put++;
    }
    bp_stats s = stats_of(pool);
    must(s.in_use == 1, "all but the sleeper's buffer are home");
    atomic_store(&wake, true);
    pthread_join(sleeper, NULL);
    s = stats_of(pool);
    const char *broken = stats_broken(&s);
    must(broken == NULL, broken);
    char message[200] = "";
    must(bp_pool_check(pool, message, sizeof message) == BP_OK, message);
    must(got == put, "the threads put what they got");
    must(s.requests == got + 1 + COUNT_OF(middle), "every get is counted");
    must(s.in_use == 0 && s.over_quota == refused, "nothing is out, every refusal counted");
    for (size_t i = 0; i < s.tier_count; i++) must(!s.tiers[i].draining, "every tier drained");
    printf("configure: generation %" PRIu64 ", %" PRIu64 " gets, %" PRIu64 " over quota, %" PRIu64
           " tiers drained\n",
           s.generation, got, refused, s.drained.tiers);
}

int main(void) {
    const char *scale = getenv("BP_STRESS_SCALE");
    unsigned changes = (unsigned)(1000 * (scale ? atof(scale) : 1));
    rng r = {seed_of_run("configure")};
    pool = pool_of(small, COUNT_OF(small), 64 * MIB);
    must(pool != NULL, "no pool");
    pthread_t sleeper;
    pthread_create(&sleeper, NULL, sleep_through, NULL);
    while (!atomic_load(&asleep)) usleep(100);
    for (size_t i = 0; i < THREADS; i++) {
        workers[i].r = (rng){r.state ^ (i * 7919 + 1)};
        pthread_create(&workers[i].id, NULL, work, &workers[i]);
    }
    run(changes > 50 ? changes : 50, &r);
    finish(sleeper);
    bp_pool_destroy(pool);
    return EXIT_SUCCESS;
}
