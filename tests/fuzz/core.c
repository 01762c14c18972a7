/* The public C API against a model, by byte-coded operations.
 *
 * An input is a row of operations: a byte that names one in `ops` (bit 7: on a second
 * thread, which is handed one operation at a time and waited for), then its choices. A
 * place of the table that is free does nothing, so a new operation takes one and what the
 * corpus means stays.
 */
#include <pthread.h>

#include "core_changes.h"
#include "core_tokens.h"

/* ---- the second thread ------------------------------------------------------- */

static struct helper {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t turn;
    void (*job)(input *);
    input *in;
    bool running, stop;
    unsigned number;
} helper = {.lock = PTHREAD_MUTEX_INITIALIZER, .turn = PTHREAD_COND_INITIALIZER};

static void *helper_main(void *arg) {
    (void)arg;
    pthread_mutex_lock(&helper.lock);
    while (!helper.stop) {
        if (helper.job == NULL) {
            pthread_cond_wait(&helper.turn, &helper.lock);
            continue;
        }
        thread_now = helper.number;
        helper.job(helper.in);
        thread_now = 0;
        helper.job = NULL;
        pthread_cond_signal(&helper.turn);
    }
    pthread_mutex_unlock(&helper.lock);
    return NULL;
}

static void on_helper(void (*job)(input *), input *in) {
    pthread_mutex_lock(&helper.lock);
    if (!helper.running) {
        helper.running = true;
        helper.number++;
        must(pthread_create(&helper.thread, NULL, helper_main, NULL) == 0, "no thread");
    }
    helper.in = in;
    helper.job = job;
    pthread_cond_signal(&helper.turn);
    while (helper.job != NULL) pthread_cond_wait(&helper.turn, &helper.lock);
    pthread_mutex_unlock(&helper.lock);
}

/* With whatever its caches hold. */
static void helper_exit(void) {
    if (!helper.running) return;
    pthread_mutex_lock(&helper.lock);
    helper.stop = true;
    pthread_cond_signal(&helper.turn);
    pthread_mutex_unlock(&helper.lock);
    pthread_join(helper.thread, NULL);
    helper.stop = helper.running = false;
}

/* ---- buffers ----------------------------------------------------------------- */

/* A get that would keep all quotas with nothing idle must not be refused; where others have a
 * part in it, idle blocks may be theirs, or share slabs with live ones. */
static void over_quota(model *m, size_t block, bool alone) {
    m->over_quota++;
    must(has_quota(m), "refused for no quota");
    bp_stats s = stats_of(m->pool);
    size_t t = tier_serving(m->now.tiers, m->now.tier_count, block);
    size_t most = alone ? BP_NO_LIMIT : m->now.limits[t].max_bytes;
    const row *r = alone ? &m->alone : model_row(m, block);
    bool of_pool = m->live_bytes + block > m->now.max_bytes;
    bool of_tier = !alone && (r->got - r->put + 1) * block > most;
    must(of_pool || of_tier || s.idle_bytes > 0 || m->stirred, "refused within the quota");
}

/* What is owned before a get: what this thread reserved by the table before comes home first. */
static uint64_t owned_by(model *m) {
    if (m->taken_up != m->now.generation) (void)bp_pool_shrink(m->pool, SIZE_MAX);
    m->taken_up = m->now.generation;
    return stats_of(m->pool).owned_bytes;
}

/* What was within stays within, but for what another thread reserved when more was allowed. */
static void within_quota(const model *m, uint64_t owned_before) {
    if (!has_quota(m) || m->mixed) return;
    uint64_t most = owned_before > m->now.max_bytes ? owned_before : m->now.max_bytes;
    must(stats_of(m->pool).owned_bytes <= most, "owned_bytes went over max_bytes");
}

static void get(input *in, bool raw) {
    model *m = take_open(in);
    if (m == NULL) return;
    size_t n = take_length(in, m), capacity = 1;
    bool alone = model_tier(m, n) == m->now.tier_count;
    size_t block = model_block(m, n);
    uint64_t owned = has_quota(m) ? owned_by(m) : 0;
    if (live_count == LIVE) return;
    if (block >= 64 * GIB && m->largest >= 64 * GIB) return; /* takes long: one will do */
    errno = 0;
    bp_buffer *b = raw ? NULL : bp_buffer_get(m->pool, n);
    void *p = raw ? bp_raw_get(m->pool, n, &capacity) : b != NULL ? bp_buffer_data(b) : NULL;
    if (n > BP_MAX_SIZE) {
        must(p == NULL && errno == EINVAL, "a get beyond BP_MAX_SIZE");
        return;
    }
    entry e = {m, b, p, n, block, alone, 1, 0, keys += 2};
    if (p == NULL && errno == EDQUOT) {
        over_quota(m, block, alone);
        return;
    }
    if (p == NULL) {
        must(e.capacity >= MAY_FAIL && errno == ENOMEM, "get failed");
        return;
    }
    must((uintptr_t)p % 64 == 0, "payload is not aligned");
    must(!raw || capacity == e.capacity, "another tier served it");
    verify_apart(&e);
    write_pattern(&e);
    model_got(m, n);
    m->live++;
    m->live_bytes += e.capacity;
    within_quota(m, owned);
    live[live_count++] = e;
    verify_entry(&e);
}

static void op_get(input *in) { get(in, false); }

static void op_raw_get(input *in) { get(in, true); }

static void op_retain(input *in) {
    entry *e = take_entry(in);
    if (e == NULL || e->b == NULL) return;
    must(bp_buffer_retain(e->b) == BP_OK, "retain failed");
    e->refs++;
}

/* After the last reference, while nothing was got since. */
static void gone(const entry *e) {
    entry was = *e;
    model *m = was.m;
    live[e - live] = live[--live_count];
    model_put(m, &was);
    if (m->pool == NULL) return;
    if (was.b != NULL) {
        must(bp_buffer_retain(was.b) == BP_ERR_DEAD, "a dead buffer was retained");
        must(bp_buffer_release(m->pool, was.b) == BP_ERR_DEAD, "a release too many was taken");
        int status = bp_buffer_put(m->pool, was.b);
        must(status == BP_ERR_DEAD || status == BP_ERR_FOREIGN, "put took a dead buffer");
    }
    int status = bp_raw_put(m->pool, was.p);
    must(status == BP_ERR_DEAD || status == BP_ERR_FOREIGN, "raw_put took a dead pointer");
    if (m->closed) return;
    must(bp_raw_capacity(m->pool, was.p) == 0, "a dead pointer has a capacity");
    stale_add(&was);
}

/* What tokens own is theirs. */
static void give(entry *e, bool put) {
    verify_entry(e);
    if (e->refs == e->tokens) return;
    model *m = e->m;
    m->stirred = m->stirred || thread_now != 0;
    if (e->b == NULL) {
        must(bp_raw_put(m->pool, e->p) == BP_OK, "raw_put failed");
    } else if (put && e->refs > 1) {
        must(bp_buffer_put(m->pool, e->b) == BP_ERR_SHARED, "put took a shared buffer");
        return;
    } else {
        int status = put ? bp_buffer_put(m->pool, e->b) : bp_buffer_release(m->pool, e->b);
        must(status == BP_OK, "release failed");
        if (--e->refs > 0) return;
    }
    gone(e);
}

static void op_release(input *in) {
    entry *e = take_entry(in);
    if (e != NULL) give(e, false);
}

static void op_put(input *in) {
    entry *e = take_entry(in);
    if (e != NULL) give(e, true);
}

static void op_release_some(input *in) {
    import_all();
    for (size_t left = take(in) % LIVE; left > 0 && live_count > 0; left--) {
        give(&live[live_count - 1], left & 1);
    }
}

/* More than a cache holds, and back in one of three orders, also from another thread. */
static struct burst {
    model *m;
    size_t count, order;
    bp_buffer *b[1024];
} burst;

static void burst_release(input *in) {
    (void)in;
    model *m = burst.m;
    for (size_t i = 0; i < burst.count; i++) {
        size_t at = burst.order == 0   ? i
                    : burst.order == 1 ? burst.count - 1 - i
                                       : (i * 7 + 3) % burst.count;
        uint64_t key = 0;
        memcpy(&key, bp_buffer_data(burst.b[at]), bp_buffer_length(burst.b[at]) < 8 ? 1 : 8);
        must(bp_buffer_length(burst.b[at]) < 8 ? (uint8_t)key == (uint8_t)at : key == at,
             "a block was handed out twice");
        must(bp_buffer_release(m->pool, burst.b[at]) == BP_OK, "release of a burst");
    }
}

static void op_burst(input *in) {
    model *m = take_open(in);
    if (m == NULL) return;
    size_t n = take_length(in, m), tier = model_tier(m, n), count = take(in), how = take(in);
    if (tier == m->now.tier_count || m->now.tiers[tier] > 64 * KIB || n == 0) return;
    burst.m = m;
    burst.count = 1 + (count << 2) % COUNT_OF(burst.b);
    for (uint64_t i = 0; i < burst.count; i++) {
        bp_buffer *b = burst.b[i] = bp_buffer_get(m->pool, n);
        if (b == NULL && errno == EDQUOT) {
            over_quota(m, m->now.tiers[tier], false);
            burst.count = i;
            break;
        }
        must(b != NULL, "get of a burst");
        memcpy(bp_buffer_data(b), &i, n < 8 ? 1 : 8);
        model_got(m, n);
        m->live++;
        m->live_bytes += m->now.tiers[tier];
    }
    model_row(m, m->now.tiers[tier])->put += burst.count;
    m->live -= burst.count;
    m->live_bytes -= burst.count * m->now.tiers[tier];
    if (burst.count == 0) return;
    burst.order = burst.count % 7 == 0 ? how & 1 : (how & 3) % 3;
    m->stirred = m->stirred || how & 4;
    if (how & 4 && thread_now == 0) {
        on_helper(burst_release, in);
    } else {
        burst_release(in);
    }
}

/* ---- misuse ------------------------------------------------------------------ */

/* Is p in a live block of that pool, and not its start? */
static const entry *owner_of(const model *m, const unsigned char *p) {
    for (size_t i = 0; i < live_count; i++) {
        const entry *e = &live[i];
        if (e->m == m && p >= e->p && p < e->p + e->capacity) return e;
    }
    return NULL;
}

/* A pointer that the input makes: stale, inner, of a header, of another pool. */
static unsigned char *take_pointer(input *in, const model *m) {
    static unsigned char foreign[64];
    uint8_t kind = take(in), arg = take(in);
    const entry *e = live_count > 0 ? &live[arg % live_count] : NULL;
    if (kind % 6 == 0) return stale[arg % STALE].m == m ? stale[arg % STALE].p : NULL;
    if (kind % 6 == 1 && stale[arg % STALE].m == m) return (unsigned char *)stale[arg % STALE].b;
    if (kind % 6 == 2) return (unsigned char *)(uintptr_t)((uint64_t)arg << (kind >> 2));
    if (e == NULL) return foreign + arg % 64;
    if (kind % 6 == 3) return e->p + take(in);
    if (kind % 6 == 4) return e->p + (((size_t)take(in) + 1) << (kind >> 3));
    return e->b != NULL ? (unsigned char *)e->b : (unsigned char *)&foreign;
}

static bool is_header(const void *p) {
    bool is = false;
    for (size_t i = 0; i < live_count; i++) is = is || (p != NULL && live[i].b == p);
    for (size_t i = 0; i < STALE; i++) is = is || (p != NULL && stale[i].b == p);
    return is;
}

static void op_misuse_raw(input *in) {
    model *m = take_open(in);
    if (m == NULL) return;
    unsigned char *p = take_pointer(in, m);
    const entry *e = owner_of(m, p);
    if (e != NULL && e->p == p && e->b == NULL) return; /* a good one */
    must(bp_raw_capacity(m->pool, p) == 0, "capacity of a bad pointer");
    int status = bp_raw_put(m->pool, p);
    if (e == NULL && !is_header(p)) {
        must(status == BP_ERR_FOREIGN || status == BP_ERR_DEAD, "raw_put took what is not out");
    } else if (e != NULL && e->p == p) {
        must(status == BP_ERR_KIND, "raw_put took a handle's payload");
    } else {
        must(status == BP_ERR_FOREIGN, "raw_put took an inner pointer or a header");
    }
}

/* put looks at what it is given; retain and release trust it. */
static void op_misuse_put(input *in) {
    model *m = take_open(in);
    if (m == NULL) return;
    unsigned char *p = take_pointer(in, m);
    for (size_t i = 0; i < live_count; i++) {
        if (live[i].m == m && (unsigned char *)live[i].b == p) return; /* a good one */
    }
    int status = bp_buffer_put(m->pool, (bp_buffer *)(void *)p);
    must(status == BP_ERR_FOREIGN || status == BP_ERR_DEAD || status == BP_ERR_KIND,
         "put took what is no buffer");
    must(owner_of(m, p) == NULL || status == BP_ERR_FOREIGN, "put took a payload");
}

/* A live buffer, put into a pool that it is not of. */
static void op_wrong_pool(input *in) {
    model *m = take_open(in);
    const entry *e = take_entry(in);
    if (m == NULL || e == NULL || e->m == m) return;
    must(bp_raw_put(m->pool, e->p) == BP_ERR_FOREIGN, "raw_put into another pool");
    must(bp_raw_capacity(m->pool, e->p) == 0, "capacity in another pool");
    if (e->b != NULL) must(bp_buffer_put(m->pool, e->b) == BP_ERR_FOREIGN, "put into another pool");
}

/* ---- the target -------------------------------------------------------------- */

static void op_helper_exit(input *in) {
    (void)in;
    if (thread_now == 0) helper_exit();
}

static const struct op {
    const char *name;
    void (*run)(input *);
} ops[32] = {
    {"get", op_get},
    {"create", op_create},
    {"release", op_release},
    {"raw_get", op_raw_get},
    {"retain", op_retain},
    {"put", op_put},
    {"burst", op_burst},
    {"trim", op_trim},
    {"prewarm", op_prewarm},
    {"release_some", op_release_some},
    {"misuse_raw", op_misuse_raw},
    {"misuse_put", op_misuse_put},
    {"wrong_pool", op_wrong_pool},
    {"destroy", op_destroy},
    {"recent", op_recent},
    {"helper_exit", op_helper_exit},
    {"others", op_others},
    {"export", op_export},
    {"import", op_import},
    {"forge", op_forge},
    {"open", op_open},
    {"same_name", op_same_name},
    {"configure", op_configure},
    {"rollback", op_rollback},
    {"tick", op_tick},
    {"shrink", op_shrink},
};

/* The walk over all slabs now and then, and at the end. */
static void compare_all(bool deep) {
    for (size_t i = 0; i < POOLS; i++) {
        if (models[i].pool != NULL && !models[i].closed) compare(&models[i], deep);
    }
}

/* All comes back, and the pools end with nothing out. */
static void finish(void) {
    import_all();
    while (live_count > 0) give(&live[live_count - 1], false);
    helper_exit();
    compare_all(true);
    for (size_t i = 0; i < POOLS; i++) {
        model *m = &models[i];
        if (m->pool == NULL) continue;
        compare_recent(m, SIZE_MAX);
        bp_stats s = stats_of(m->pool);
        /* A slab with a block that a sleeping thread reserved can not go. */
        must(m->stirred || s.idle_bytes <= m->now.max_idle, "idle_bytes <= max_idle");
        (void)bp_pool_trim(m->pool);
        s = stats_of(m->pool);
        must(s.owned_bytes == 0, "trim gives all back");
        must(s.tier_count == m->now.tier_count, "a tier drains without a buffer");
        close_model(m);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = {data, data + size};
    memset(models, 0, sizeof models);
    memset(stale, 0, sizeof stale);
    memset(tokens, 0, sizeof tokens);
    live_count = stale_count = keys = 0;
    for (step = 0; step < 400 && in.at < in.end; step++) {
        const uint8_t *from = in.at;
        uint8_t code = take(&in);
        const struct op *op = &ops[code & 31];
        if (op->run == NULL) continue;
        if (code & 128) on_helper(op->run, &in);
        else op->run(&in);
        fuzz_trace(step, op->name, from, in.at);
        compare_all(step % 16 == 15);
    }
    finish();
    return 0;
}

#ifdef FUZZ_STANDALONE
int main(int argc, char **argv) { return run_files(argc, argv); }
#endif
