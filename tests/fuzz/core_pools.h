/* Choices that core.c takes from an input, and its operations on whole pools. */
#ifndef BYTEPOOL_TESTS_CORE_POOLS_H
#define BYTEPOOL_TESTS_CORE_POOLS_H

#include <errno.h>

#include "core_model.h"

/* ---- choices ----------------------------------------------------------------- */

static model *take_model(input *in) { return &models[take(in) % POOLS]; }

/* NULL where it is not there or closed. */
static model *take_open(input *in) {
    model *m = take_model(in);
    if (m->pool == NULL || m->closed) return NULL;
    m->stirred = m->stirred || thread_now != 0;
    return m;
}

static entry *take_entry(input *in) {
    size_t i = take(in);
    if (live_count == 0) return NULL;
    entry *e = &live[i % live_count];
    e->m->stirred = e->m->stirred || thread_now != 0;
    return e;
}

/* At the edges of tiers, above them all, and beyond all bounds. */
static size_t take_length(input *in, const model *m) {
    static const size_t odd[] = {BP_MAX_SIZE + 1, SIZE_MAX, SIZE_MAX / 2, GIB,
                                 9 * GIB,         5 * MIB,  4 * MIB};
    size_t code = take(in), arg = code >> 3;
    size_t tier = m->now.tiers[arg % m->now.tier_count];
    size_t largest = m->now.tiers[m->now.tier_count - 1];
    switch (code & 7) {
    case 0:
        return tier;
    case 1:
        return tier - 1;
    case 2:
        return tier + 1;
    case 3:
        return arg;
    case 4:
        return arg << 8 | take(in);
    case 5:
        return largest + 1 + ((size_t)take(in) << arg % 12);
    case 6:
        return largest + ((size_t)take(in) << arg % 20);
    default:
        return arg == 31 ? BP_MAX_SIZE : odd[arg % COUNT_OF(odd)]; /* a TiB takes long */
    }
}

/* ---- pools ------------------------------------------------------------------- */

/* Rising by steps of the input's choice. */
static size_t take_rising(input *in, size_t *tiers, size_t most) {
    size_t count = 1 + take(in) % most, shift = take(in) % 16, size = 0;
    for (size_t i = 0; i < count; i++) tiers[i] = size += 1 + ((size_t)take(in) << shift);
    return count;
}

static size_t copy_sizes(size_t *to, const size_t *from, size_t count) {
    memcpy(to, from, count * sizeof *to);
    return count;
}

static void take_tiers(input *in, bp_options *o, size_t *tiers) {
    static const size_t slabs[] = {1, 63, 4 * MIB - 64, 4 * MIB, 4 * MIB + 1, 9 * MIB};
    static const size_t huge[] = {4096, GIB, 9 * GIB};
    size_t code = take(in), count;
    const size_t *fixed = code & 8 ? bp_size_stream(&count) : bp_size_power_of_two(&count);
    o->tiers = tiers;
    switch (code & 7) {
    case 0:
        o->tier_count = copy_sizes(tiers, fixed, count);
        break;
    case 1:
        o->tier_count = copy_sizes(tiers, slabs, COUNT_OF(slabs));
        break;
    case 2:
        o->tier_count = copy_sizes(tiers, huge, COUNT_OF(huge));
        break;
    case 3: /* one that is out of order, none, too large, or not */
        o->tier_count = take_rising(in, tiers, BP_MAX_TIERS);
        tiers[take(in) % o->tier_count] = code & 16 ? BP_MAX_SIZE + (code >> 5) : code >> 5;
        break;
    case 4:
        o->tier_count = code & 8 ? 0 : BP_MAX_TIERS + 1 + (code >> 4);
        if (code & 16) o->tiers = NULL;
        break;
    default:
        o->tier_count = take_rising(in, tiers, code & 8 ? 4 : BP_MAX_TIERS);
    }
}

static void take_options(input *in, bp_options *o, size_t *tiers, char *name, char letter) {
    static const size_t idle[] = {64 * MIB, 0, 1, 4096, MIB, 16 * MIB, 5 * MIB, SIZE_MAX};
    static const size_t recent[] = {256, 0, 1, 3, 16, 100, 65536, 65537};
    static const size_t region[] = {64 * MIB, 1, 4 * MIB, 12 * MIB, 0, SIZE_MAX};
    bp_options_init(o);
    take_tiers(in, o, tiers);
    uint8_t sizes = take(in), rest = take(in);
    o->max_idle = idle[sizes & 7];
    o->recent_size = recent[sizes >> 3 & 7];
    o->recent_mode = (bp_recent_mode)(sizes >> 6);
    o->region_size = region[(rest & 7) % COUNT_OF(region)];
    size_t length = rest >> 3 < 30 ? rest >> 3 : 33 + (size_t)(rest >> 3); /* 63 or 64 at most */
    memset(name, letter, length);
    name[length] = '\0';
    o->name = rest >> 3 == 1 ? NULL : name;
}

/* What the header says of options, and which tier is to blame. */
static bool valid(const bp_options *o, size_t *index) {
    *index = 0;
    if (o->tiers == NULL || o->tier_count < 1 || o->tier_count > BP_MAX_TIERS) return false;
    for (size_t i = 0; i < o->tier_count; i++) {
        *index = i;
        if (o->tiers[i] < 1 || o->tiers[i] > BP_MAX_SIZE) return false;
        if (i > 0 && o->tiers[i] <= o->tiers[i - 1]) return false;
    }
    *index = 0;
    return o->recent_size <= 65536 && (unsigned)o->recent_mode <= 1 &&
           (o->name == NULL || strlen(o->name) <= 63);
}

static bp_settings settings_of(const bp_options *o) {
    bp_settings s;
    memset(&s, 0, sizeof s);
    s.tier_count = copy_sizes(s.tiers, o->tiers, o->tier_count);
    for (size_t i = 0; i < o->tier_count; i++) {
        bp_tier_limits none = {BP_NO_LIMIT, BP_NO_LIMIT, 1};
        s.limits[i] = o->limits != NULL ? o->limits[i] : none;
    }
    s.max_idle = o->max_idle;
    s.max_bytes = o->max_bytes;
    s.max_waste = o->max_waste;
    s.decay = o->decay;
    return s;
}

static void op_create(input *in) {
    size_t tiers[BP_MAX_TIERS + 20], index;
    char name[80];
    bp_options o;
    bp_error error = {BP_OK, 99, "stale"};
    model *m = take_model(in);
    take_options(in, &o, tiers, name, (char)('a' + (m - models))); /* open pools have names apart */
    if (m->pool != NULL) return;
    bp_pool *pool = bp_pool_create(&o, &error);
    if (!valid(&o, &index)) {
        must(pool == NULL && error.status == BP_ERR_ARG, "create took a bad option");
        must(error.index == index && error.message[0] != '\0', "the error names another entry");
        return;
    }
    must(pool != NULL && error.status == BP_OK && error.message[0] == '\0', "create failed");
    must(strcmp(bp_pool_name(pool), o.name != NULL ? o.name : "") == 0, "name is another one");
    memset(m, 0, sizeof *m);
    m->pool = pool;
    m->now = settings_of(&o);
    m->now.generation = 1;
    for (size_t i = 0; i < o.tier_count; i++)
        m->rows[m->row_count++] = (row){.size = o.tiers[i], .serves = true};
    m->recent_size = o.recent_size;
    m->exact = o.recent_mode == BP_RECENT_EXACT;
}

static void close_model(model *m) {
    bp_pool *pool = m->pool;
    stale_forget(m);
    m->closed = true;
    bp_pool_destroy(pool);
    if (m->live > 0) return;
    must(!known_live(pool), "a pool with nothing out outlived destroy");
    m->pool = NULL;
}

static void op_destroy(input *in) {
    model *m = take_open(in);
    if (m == NULL) {
        bp_pool_destroy(NULL);
    } else {
        close_model(m);
    }
}

/* Touches little: what would be allowed and is large becomes less. */
static size_t prewarm_count(const model *m, size_t size, size_t count) {
    if (count > m->now.max_idle / size) return count;
    size_t most = size > MIB ? 0 : size < 2048 ? 512 : MIB / size;
    return count < most ? count : most;
}

static uint64_t idle_of(const bp_stats *s, size_t size) {
    for (size_t i = 0; i < s->tier_count; i++)
        if (s->tiers[i].size == size) return s->tiers[i].idle;
    return 0;
}

/* Over twice what is there now at most: the other half may be leased to caches. */
static bool over(uint64_t idle, size_t size, size_t count, size_t limit) {
    return count > limit / size || idle * size + count * size > limit / 2;
}

static void op_prewarm(input *in) {
    model *m = take_open(in);
    if (m == NULL) return;
    size_t n = take_length(in, m), tier = model_tier(m, n), count = take(in);
    if (tier == m->now.tier_count) {
        must(bp_pool_prewarm(m->pool, n, count) == BP_ERR_ARG, "prewarm of what no tier serves");
        return;
    }
    size_t size = m->now.tiers[tier];
    count = prewarm_count(m, size, count == 255 ? SIZE_MAX : count);
    bp_stats before = stats_of(m->pool), after;
    int status = bp_pool_prewarm(m->pool, n, count);
    after = stats_of(m->pool);
    if (status == BP_OK) {
        m->stirred = true;
        must(count <= m->now.max_idle / size, "prewarm went over max_idle");
        must(count <= m->now.limits[tier].max_idle / size, "prewarm went over a tier's max_idle");
        must(idle_of(&after, size) == idle_of(&before, size) + count, "prewarm's idle blocks");
        return;
    }
    must(stats_same(&before, after), "a refused prewarm changed the counters");
    if (status == BP_ERR_QUOTA) {
        must(has_quota(m), "prewarm was refused for no quota");
        return;
    }
    must(status == BP_ERR_LIMIT && count > 0, "prewarm's status");
    must(over(before.idle_bytes / size + 1, size, count, m->now.max_idle) ||
             over(idle_of(&before, size), size, count, m->now.limits[tier].max_idle) ||
             m->now.generation > 1,
         "prewarm was refused without need");
}

/* What goes as it comes home, and not because somebody asks: of tiers that drain, and of those
 * over a bound of their own. */
static uint64_t goes_by_itself(const bp_stats *s) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->tier_count; i++) {
        const bp_tier_stats *t = &s->tiers[i];
        if (t->draining || t->max_idle != BP_NO_LIMIT) bytes += t->idle * t->size;
    }
    return bytes;
}

static void op_trim(input *in) {
    model *m = take_open(in);
    if (m == NULL) return;
    bp_stats before = stats_of(m->pool);
    size_t given = bp_pool_trim(m->pool);
    bp_stats after = stats_of(m->pool);
    uint64_t others = goes_by_itself(&before), gone = after.trimmed_bytes - before.trimmed_bytes;
    must(after.idle_bytes + given + others >= before.idle_bytes, "more went than trim says");
    must(m->stirred || after.idle_bytes + given == before.idle_bytes, "trim's result");
    must(given == gone || (given < gone && m->now.generation > 1),
         "trimmed_bytes is not trim's sum");
    must(m->stirred || m->live > 0 || after.owned_bytes == 0, "trim left something");
}

/* What takes no pool of the model's, and a get from one that is closed. */
static void op_others(input *in) {
    const model *m = take_model(in);
    must(bp_strerror((int)take(in) - 16) != NULL, "strerror");
    must(strcmp(bp_version(), BP_VERSION) == 0, "version");
    if (m->pool != NULL && m->closed) {
        errno = 0;
        must(bp_buffer_get(m->pool, 1) == NULL && errno == EINVAL, "get from a closed pool");
        must(bp_raw_get(m->pool, 1, NULL) == NULL && errno == EINVAL, "raw_get from a closed pool");
    }
    bp_pool *pool = bp_pool_create(NULL, NULL);
    must(pool != NULL && bp_pool_recent(pool, NULL, 0) == 256, "a pool with the defaults");
    bp_pool_destroy(pool);
}

static void op_recent(input *in) {
    model *m = take_open(in);
    size_t max = take(in);
    if (m != NULL) compare_recent(m, max == 255 ? SIZE_MAX : max);
}

#endif
