/* pool:get_pool_stats(): the C snapshot as a plain Lua table. */
#include <string.h>
#include <time.h>

#include "binding.h"

/* Numbers of a struct by name and place: one list for each. */
typedef struct field {
    const char *name;
    size_t at;
} field;

#define TIER(name) \
    { #name, offsetof(bp_tier_stats, name) }
static const field tier_fields[] = {
    TIER(get),         TIER(put),         TIER(hit),        TIER(miss),      TIER(in_use),
    TIER(owned),       TIER(idle),        TIER(cached),     TIER(depot),     TIER(asked_bytes),
    TIER(waste_bytes), TIER(peak_in_use), TIER(peak_owned), TIER(collected),
};

#define POOL(name) \
    { #name, offsetof(bp_stats, name) }
static const field pool_fields[] = {
    POOL(requests),          POOL(total_get),       POOL(total_put),        POOL(discarded),
    POOL(discarded_put),     POOL(discarded_bytes), POOL(in_use),           POOL(in_use_bytes),
    POOL(idle_bytes),        POOL(owned_bytes),     POOL(peak_owned_bytes), POOL(reserved_bytes),
    POOL(trimmed_bytes),     POOL(exported),        POOL(asked_bytes),      POOL(waste_bytes),
    POOL(peak_in_use_bytes), POOL(resident_bytes),  POOL(returned_bytes),   POOL(trims),
    POOL(collected),         POOL(double_releases), POOL(overruns),         POOL(late_writes),
    POOL(over_quota),        POOL(decayed_bytes),   POOL(generation),
};

#define DRAINED(name) \
    { #name, offsetof(bp_drained_stats, name) }
static const field drained_fields[] = {
    DRAINED(tiers), DRAINED(get),         DRAINED(put),         DRAINED(hit),
    DRAINED(miss),  DRAINED(asked_bytes), DRAINED(waste_bytes), DRAINED(collected),
};
#define COUNT(fields) (sizeof(fields) / sizeof(fields)[0])

static void push_fields(lua_State *L, const void *from, const field *fields, size_t count) {
    for (size_t i = 0; i < count; i++) {
        bpl_set_count(L, fields[i].name,
                      *(const uint64_t *)(const void *)((const char *)from + fields[i].at));
    }
}

/* What the pool says is copied whole before the first table is made; the recent lengths
 * into a userdata, which an error on the way can not lose. */
typedef struct snapshot {
    bp_stats stats;
    uint64_t pinned;
    char name[64];
    time_t time;
    size_t recent_count;
    uint64_t recent[];
} snapshot;

static const snapshot *take_snapshot(lua_State *L) {
    size_t most = bp_pool_recent(bpl_check_pool(L, "get_pool_stats"), NULL, 0);
    snapshot *s = bpl_newuserdata(L, sizeof *s + most * sizeof s->recent[0]);
    const bpl_pool *p = bpl_check_open(L, "get_pool_stats");
    bp_pool *pool = p->pool;
    s->pinned = bpl_pinned_bytes(p->ledger);
    bp_pool_stats(pool, &s->stats);
    s->time = time(NULL);
    memcpy(s->name, bp_pool_name(pool), strlen(bp_pool_name(pool)) + 1);
    s->recent_count = bp_pool_recent(pool, s->recent, most);
    return s;
}

/* What the pool goes by, and the sums of the tiers that are gone. */
static void set_settings(lua_State *L, const bp_stats *s) {
    bpl_set_count(L, "max_idle", s->max_idle);
    bpl_set_limit(L, "max_bytes", s->max_bytes);
    if (s->max_waste < 1) {
        bpl_set_number(L, "max_waste", s->max_waste);
    }
    bpl_set_number(L, "decay", s->decay);
    lua_createtable(L, 0, (int)COUNT(drained_fields));
    push_fields(L, &s->drained, drained_fields, COUNT(drained_fields));
    lua_setfield(L, -2, "drained");
}

static void push_tiers(lua_State *L, const bp_stats *s) {
    lua_createtable(L, 0, (int)s->tier_count);
    for (size_t i = 0; i < s->tier_count; i++) {
        bpl_pushcount(L, s->tiers[i].size);
        lua_createtable(L, 0, (int)COUNT(tier_fields) + 3);
        push_fields(L, &s->tiers[i], tier_fields, COUNT(tier_fields));
        bpl_set_limit(L, "max_idle", s->tiers[i].max_idle);
        bpl_set_limit(L, "max_bytes", s->tiers[i].max_bytes);
        if (s->tiers[i].draining) {
            lua_pushboolean(L, true);
            lua_setfield(L, -2, "draining");
        }
        lua_rawset(L, -3);
    }
}

static void push_recent(lua_State *L, const snapshot *s) {
    lua_createtable(L, (int)s->recent_count, 0);
    for (size_t i = 0; i < s->recent_count; i++) {
        bpl_pushcount(L, s->recent[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

static void push_histogram(lua_State *L, const bp_stats *s) {
    lua_createtable(L, (int)s->bucket_count, 0);
    for (size_t i = 0; i < s->bucket_count; i++) {
        lua_createtable(L, 0, 2);
        bpl_set_count(L, "le", s->histogram[i].le);
        bpl_set_count(L, "count", s->histogram[i].count);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

int bpl_pool_get_pool_stats(lua_State *L) {
    lua_settop(L, 1);
    bpl_rows *leaks = bpl_take_leaks(L, "get_pool_stats");
    const snapshot *s = take_snapshot(L);
    const char *level = bpl_level_name(bpl_check_open(L, "get_pool_stats")->ledger);
    bpl_push_pacing(L, bpl_check_state(L));
    int pacing = lua_gettop(L);
    lua_createtable(L, 0, 48);
    lua_pushstring(L, s->name);
    lua_setfield(L, -2, "name");
    push_fields(L, &s->stats, pool_fields, COUNT(pool_fields));
    set_settings(L, &s->stats);
    bpl_set_count(L, "threads", s->stats.threads);
    lua_pushnumber(L, s->stats.uptime_seconds);
    lua_setfield(L, -2, "uptime");
    bpl_set_count(L, "time", (uint64_t)s->time);
    push_tiers(L, &s->stats);
    lua_setfield(L, -2, "pools");
    push_histogram(L, &s->stats);
    lua_setfield(L, -2, "histogram");
    push_recent(L, s);
    lua_setfield(L, -2, "recent_lengths");
    bpl_set_count(L, "pinned_bytes", s->pinned);
    lua_pushvalue(L, pacing);
    lua_setfield(L, -2, "gc");
    bpl_push_leaks(L, leaks);
    lua_setfield(L, -2, "leaks");
    lua_pushstring(L, level);
    lua_setfield(L, -2, "leak_level");
    return 1;
}
