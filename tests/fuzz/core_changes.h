/* The operations of core.c that change a pool: its table and limits, and what idles in it. */
#ifndef BYTEPOOL_TESTS_CORE_CHANGES_H
#define BYTEPOOL_TESTS_CORE_CHANGES_H

#include <math.h>

#include "core_pools.h"

/* Limits that hold nothing, little, all, what is owned now, or are none. */
static size_t take_bytes(input *in, const model *m) {
    size_t code = take(in), some = (size_t)take(in) << code / 8 % 24;
    switch (code & 7) {
    case 0:
        return some;
    case 1:
        return m->live_bytes + some;
    case 2:
        return (size_t)stats_of(m->pool).owned_bytes + some;
    case 3:
        return SIZE_MAX - 1;
    case 4:
        return 16 * MIB + some;
    default:
        return BP_NO_LIMIT;
    }
}

static double take_share(input *in) {
    static const double shares[] = {1, 0, 0.5, 0.25, 0.125, 0.875, 1, 1, 1.5, -0.5, NAN, INFINITY};
    return shares[take(in) % (in->at < in->end && *in->at % 8 == 0 ? COUNT_OF(shares) : 8)];
}

static void take_change(input *in, const model *m, bp_options *o, size_t *tiers,
                        bp_tier_limits *limits) {
    static const size_t idle[] = {64 * MIB, 0, 1, 4096, MIB, 16 * MIB, 5 * MIB, SIZE_MAX};
    static const double decays[] = {10, 0, 1e-3, 1e9, 1e-9, 0.01, 1.1e9, -1};
    bp_options_init(o);
    take_tiers(in, o, tiers);
    uint8_t code = take(in);
    o->max_idle = idle[code & 7];
    o->decay = decays[code >> 3 & 7];
    o->max_bytes = code & 64 ? take_bytes(in, m) : BP_NO_LIMIT;
    o->max_waste = code & 128 ? take_share(in) : 1;
    uint8_t own = take(in);
    if (own % 4 == 0 || o->tiers == NULL || o->tier_count > BP_MAX_TIERS) return;
    o->limits = limits;
    for (size_t i = 0; i < o->tier_count; i++) {
        limits[i] = (bp_tier_limits){BP_NO_LIMIT, BP_NO_LIMIT, 1};
        if ((i * 7 + own) % 5 != 0) continue;
        if (own & 8) limits[i].max_idle = idle[take(in) & 7];
        if (own & 16) limits[i].max_bytes = take_bytes(in, m);
        if (own & 32) limits[i].max_waste = take_share(in);
    }
}

static bool is_share(double x) { return x >= 0 && x <= 1; }

static bool good_change(const bp_options *o, size_t *index) {
    if (!valid(o, index)) return false;
    for (size_t i = 0; o->limits != NULL && i < o->tier_count; i++) {
        *index = i;
        if (!is_share(o->limits[i].max_waste)) return false;
    }
    *index = 0;
    return is_share(o->max_waste) && o->decay >= 0 && o->decay <= 1e9;
}

/* Is there a row for each tier that has none? */
static bool has_room(model *m, const bp_settings *s) {
    size_t rows = m->row_count;
    for (size_t i = 0; i < s->tier_count; i++) rows += model_row(m, s->tiers[i]) == NULL;
    return rows <= BP_MAX_ROWS;
}

static void model_changes(model *m, const bp_settings *s) {
    uint64_t generation = m->now.generation + 1;
    bp_settings next = *s;
    m->before = m->now;
    m->now = next;
    m->now.generation = generation;
    m->stirred = true; /* a cache may be stale, and hold more than it should */
    for (size_t i = 0; i < m->row_count; i++) m->rows[i].serves = false;
    for (size_t i = 0; i < s->tier_count; i++) {
        row *r = model_row(m, next.tiers[i]);
        if (r == NULL) {
            r = &m->rows[m->row_count++];
            *r = (row){.size = next.tiers[i]};
        }
        r->serves = true;
    }
}

static void verify_settings(const model *m) {
    bp_settings s;
    memset(&s, 0, sizeof s);
    bp_pool_settings(m->pool, &s);
    must(memcmp(&s, &m->now, sizeof s) == 0, "the settings are others");
}

/* s: what it changes to; NULL: that is not allowed, and index says why. */
static void verify_change(model *m, const bp_settings *s, bool dry, int status, size_t index,
                          const bp_error *e, const bp_stats *before) {
    must(e->status == status && (status == BP_OK) == (e->message[0] == '\0'), "the error");
    if (s == NULL) {
        must(status == BP_ERR_ARG && e->index == index, "a bad change was taken");
    } else if (!has_room(m, s)) {
        must(status == BP_ERR_LIMIT, "a change with too many tiers");
    } else {
        must(status == BP_OK, "a change was refused");
        if (!dry) {
            model_changes(m, s);
            verify_settings(m);
            return;
        }
    }
    verify_settings(m);
    must(stats_same(before, stats_of(m->pool)), "a change that was none changed the counters");
}

static void op_configure(input *in) {
    size_t tiers[BP_MAX_TIERS + 20], index = 0;
    bp_tier_limits limits[BP_MAX_TIERS + 20];
    bp_options o;
    bp_error e = {BP_OK, 99, "stale"};
    model *m = take_open(in);
    if (m == NULL) return;
    bool dry = take(in) % 8 == 7;
    take_change(in, m, &o, tiers, limits);
    bp_stats before = stats_of(m->pool);
    int status = bp_pool_configure(m->pool, &o, dry, &e);
    bool good = good_change(&o, &index);
    bp_settings s;
    if (good) s = settings_of(&o);
    verify_change(m, good ? &s : NULL, dry, status, index, &e, &before);
}

static void op_rollback(input *in) {
    model *m = take_open(in);
    if (m == NULL) return;
    bool dry = take(in) % 8 == 7;
    bp_error e = {BP_OK, 0, "stale"};
    bp_stats before = stats_of(m->pool);
    bp_settings s = m->before;
    int status = bp_pool_rollback(m->pool, dry, &e);
    verify_change(m, s.tier_count > 0 ? &s : NULL, dry, status, 0, &e, &before);
}

/* What a call that gives idle memory back says. */
static void verify_given(const model *m, const bp_stats *before, size_t given) {
    bp_stats after = stats_of(m->pool);
    must(after.idle_bytes + given + goes_by_itself(before) >= before->idle_bytes,
         "more went than it says");
    must(after.in_use_bytes == before->in_use_bytes, "what is in use went");
    must(after.trims == before->trims, "counted as a trim");
}

static void op_tick(input *in) {
    model *m = take_open(in);
    if (m == NULL) return;
    bp_stats before = stats_of(m->pool);
    if (take(in) % 2) usleep(1100);
    size_t given = bp_pool_tick(m->pool);
    verify_given(m, &before, given);
    must(stats_of(m->pool).decayed_bytes == before.decayed_bytes + given, "decayed_bytes");
    must(given == 0 || m->now.decay > 0, "decay 0 gave back");
}

static void op_shrink(input *in) {
    model *m = take_open(in);
    if (m == NULL) return;
    bp_stats before = stats_of(m->pool);
    size_t to = (size_t)take(in) << take(in) % 20;
    size_t given = bp_pool_shrink(m->pool, to);
    bp_stats after = stats_of(m->pool);
    verify_given(m, &before, given);
    must(after.trimmed_bytes - before.trimmed_bytes >= given,
         "trimmed_bytes is less than shrink's");
    must(m->stirred || m->live > 0 || after.idle_bytes <= to, "shrink left more");
}

#endif
