/* The model that core.c compares the pool with: what each pool was made with and must
 * have counted, and every live block with the pattern at its ends. */
#ifndef BYTEPOOL_TESTS_CORE_MODEL_H
#define BYTEPOOL_TESTS_CORE_MODEL_H

#include "fuzz.h"

enum { POOLS = 3, LIVE = 256, STALE = 16, RING = 512, EDGE = 48 };

/* Above this the system may refuse a request. */
#define MAY_FAIL ((size_t)64 << 20)

/* A tier that serves or drains; of what is served alone, too. */
typedef struct row {
    size_t size;
    bool serves;
    uint64_t got, put, asked;
} row;

typedef struct model {
    bp_pool *pool; /* NULL: this place is free */
    bool closed;
    bp_settings now, before; /* before.tier_count 0: there was none */
    size_t recent_size;
    bool exact;
    row rows[BP_MAX_ROWS], alone, drained; /* drained.size: how many */
    size_t row_count;
    uint64_t requests, over_quota, taken_up, recent[RING];
    size_t live, live_bytes, largest, exported;
    unsigned requester; /* the first thread that got something here */
    bool mixed;         /* and another one did too */
    bool stirred;       /* trim may find fresh blocks that others overtook */
} model;

typedef struct entry {
    model *m;
    bp_buffer *b; /* NULL: raw */
    unsigned char *p;
    size_t length, capacity;
    bool alone;
    uint32_t refs, tokens; /* how many of the references are tokens' */
    uint64_t key;
} entry;

static model models[POOLS];
static entry live[LIVE];
static size_t live_count, stale_count, step;
static struct stale {
    model *m;
    unsigned char *p;
    bp_buffer *b;
} stale[STALE]; /* given back, and their pool is still there */
static uint64_t keys;
static unsigned thread_now; /* 0: the main thread, then each helper by a number of its own */

static void must(bool holds, const char *what) {
    if (!holds) fuzz_fail("core", step, what);
}

static size_t edge_of(const entry *e) { return e->capacity < EDGE ? e->capacity : EDGE; }

static void write_pattern(const entry *e) {
    size_t edge = edge_of(e);
    fill(e->p + e->capacity - edge, edge, e->key + 1);
    fill(e->p, edge, e->key);
}

/* The start was written last: where the ends overlap, it is what shows. */
static void verify_pattern(const entry *e) {
    size_t edge = edge_of(e);
    must(filled(e->p, edge, e->key), "a buffer's start was written over");
    if (e->capacity >= 2 * edge) {
        must(filled(e->p + e->capacity - edge, edge, e->key + 1),
             "a buffer's end was written over");
    }
}

static void verify_apart(const entry *e) {
    for (size_t i = 0; i < live_count; i++) {
        const entry *o = &live[i];
        must(e->p + e->capacity <= o->p || o->p + o->capacity <= e->p, "live blocks overlap");
    }
}

static void verify_entry(const entry *e) {
    if (e->b != NULL) {
        must(bp_buffer_data(e->b) == e->p, "data is another pointer");
        must(bp_buffer_length(e->b) == e->length, "length is another one");
        must(bp_buffer_capacity(e->m->pool, e->b) == e->capacity, "capacity is another one");
        must(bp_buffer_ref_count(e->b) == e->refs, "ref_count is another one");
    } else if (!e->m->closed) {
        must(bp_raw_capacity(e->m->pool, e->p) == e->capacity, "raw_capacity is another one");
    }
    verify_pattern(e);
}

static row *model_row(model *m, size_t size) {
    row *r = m->rows;
    while (r < m->rows + m->row_count && r->size != size) r++;
    return r < m->rows + m->row_count ? r : NULL;
}

/* Which tier of the table serves n; tier_count: none. By the letter of what max_waste says. */
static size_t model_tier(const model *m, size_t n) {
    const bp_settings *s = &m->now;
    size_t t = tier_serving(s->tiers, s->tier_count, n), page = (size_t)sysconf(_SC_PAGESIZE);
    if (t == s->tier_count) return t;
    double most = s->limits[t].max_waste < s->max_waste ? s->limits[t].max_waste : s->max_waste;
    size_t pages = n == 0 ? page : (n + page - 1) / page * page;
    bool wasted = (double)(s->tiers[t] - n) > most * (double)s->tiers[t];
    return wasted && pages < s->tiers[t] ? s->tier_count : t;
}

/* The bytes of the block that serves n now. */
static size_t model_block(const model *m, size_t n) {
    size_t t = model_tier(m, n);
    return t < m->now.tier_count ? m->now.tiers[t] : n;
}

static bool has_quota(const model *m) {
    bool has = m->now.max_bytes != BP_NO_LIMIT;
    for (size_t t = 0; t < m->now.tier_count; t++)
        has = has || m->now.limits[t].max_bytes != BP_NO_LIMIT;
    return has;
}

static void model_got(model *m, size_t length) {
    size_t t = model_tier(m, length), block = model_block(m, length);
    row *r = t < m->now.tier_count ? model_row(m, block) : &m->alone;
    if (m->requests == 0) m->requester = thread_now;
    m->mixed = m->mixed || m->requester != thread_now;
    m->recent[m->requests++ % RING] = length;
    m->largest = block > m->largest ? block : m->largest;
    r->got++;
    r->asked += length;
}

/* A block came back; a closed pool goes with its last one. */
static void model_put(model *m, const entry *e) {
    row *r = e->alone ? &m->alone : model_row(m, e->capacity);
    r->put++;
    m->live--;
    m->live_bytes -= e->capacity;
    if (m->closed && m->live == 0) {
        must(!known_live(m->pool), "a closed pool outlived its last buffer");
        m->pool = NULL;
    }
}

static void stale_add(const entry *e) {
    stale[stale_count++ % STALE] = (struct stale){e->m, e->p, e->b};
}

static void stale_forget(const model *m) {
    for (size_t i = 0; i < STALE; i++) {
        if (stale[i].m == m) stale[i] = (struct stale){NULL, NULL, NULL};
    }
}

static void compare_row(const row *r, const bp_tier_stats *t) {
    must(t->draining == !r->serves, "draining of a tier");
    must(t->get == r->got, "get of a tier");
    must(t->put == r->put, "put of a tier");
    must(t->asked_bytes == r->asked, "asked_bytes of a tier");
}

/* Which tier has drained the pool says: one that has nothing out, and does not serve. */
static void compare_tiers(model *m, const bp_stats *s) {
    size_t kept = 0, found = 0;
    for (size_t i = 0; i < m->row_count; i++) {
        row r = m->rows[i];
        size_t at = 0;
        while (at < s->tier_count && s->tiers[at].size != r.size) at++;
        if (at < s->tier_count) {
            compare_row(&r, &s->tiers[at]);
            m->rows[kept++] = r;
            found++;
            continue;
        }
        must(!r.serves && r.got == r.put, "a tier is gone that has something out, or serves");
        m->drained.size++;
        m->drained.got += r.got;
        m->drained.asked += r.asked;
    }
    m->row_count = kept;
    must(s->tier_count == found, "tier_count");
    for (size_t i = 1; i < s->tier_count; i++)
        must(s->tiers[i].size > s->tiers[i - 1].size, "tiers rise");
    must(s->drained.tiers == m->drained.size, "how many drained");
    must(s->drained.get == m->drained.got && s->drained.put == m->drained.got, "gets that drained");
    must(s->drained.asked_bytes == m->drained.asked, "asked_bytes that drained");
    must(s->drained.hit + s->drained.miss == s->drained.get, "hits and misses that drained");
    must(s->discarded == m->alone.got, "discarded");
    must(s->discarded_put == m->alone.put, "discarded_put");
    must(s->discarded_bytes == m->alone.asked, "discarded_bytes");
}

static void compare(model *m, bool deep) {
    char message[256] = "";
    bp_stats s = stats_of(m->pool);
    const char *broken = stats_broken(&s);
    if (broken != NULL) fuzz_fail("core", step, broken);
    compare_tiers(m, &s);
    must(s.requests == m->requests, "requests");
    must(s.in_use == m->live, "in_use");
    must(s.in_use_bytes == m->live_bytes, "in_use_bytes");
    must(s.max_idle == m->now.max_idle && s.max_bytes == m->now.max_bytes, "limits");
    must(s.generation == m->now.generation, "generation");
    must(s.over_quota == m->over_quota, "over_quota");
    must(s.exported == m->exported, "exported");
    must(s.threads <= 2, "threads");
    if (deep && bp_pool_check(m->pool, message, sizeof message) != BP_OK) {
        fuzz_fail("core", step, message);
    }
}

static bool was_requested(const model *m, uint64_t length, uint64_t kept) {
    for (uint64_t i = 1; i <= kept; i++) {
        if (m->recent[(m->requests - i) % RING] == length) return true;
    }
    return false;
}

/* One thread's order is exact, and all threads' where the option says so. */
static void compare_recent(const model *m, size_t max) {
    static uint64_t out[65536];
    max = max < COUNT_OF(out) ? max : COUNT_OF(out);
    size_t got = bp_pool_recent(m->pool, out, max);
    uint64_t kept = m->requests < m->recent_size ? m->requests : m->recent_size;
    kept = kept < max ? kept : max;
    must(got <= max && got <= m->recent_size, "more recent lengths than asked for");
    must(bp_pool_recent(m->pool, NULL, 0) == m->recent_size, "recent_size is another one");
    if (m->exact || !m->mixed || m->requests <= m->recent_size) must(got == kept, "recent count");
    uint64_t known = m->requests < RING ? m->requests : RING;
    for (size_t i = 1; i <= got && i <= known; i++) {
        if (m->exact || !m->mixed) {
            must(out[got - i] == m->recent[(m->requests - i) % RING], "a recent length");
        } else if (m->requests <= RING) {
            must(was_requested(m, out[got - i], known), "a recent length that nobody asked for");
        }
    }
}

#endif
