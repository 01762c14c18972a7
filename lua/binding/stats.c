/* pool:get_pool_stats(): the C snapshot as a plain Lua table. */
#include "binding.h"

/* Numbers of a struct by name and place: one list for each. */
typedef struct field {
    const char *name;
    size_t at;
} field;

#define TIER(name) \
    { #name, offsetof(bp_tier_stats, name) }
static const field tier_fields[] = {
    TIER(get),   TIER(put),  TIER(hit),    TIER(miss),  TIER(in_use),
    TIER(owned), TIER(idle), TIER(cached), TIER(depot),
};

#define POOL(name) \
    { #name, offsetof(bp_stats, name) }
static const field pool_fields[] = {
    POOL(requests),      POOL(total_get),       POOL(total_put),        POOL(discarded),
    POOL(discarded_put), POOL(discarded_bytes), POOL(in_use),           POOL(in_use_bytes),
    POOL(idle_bytes),    POOL(owned_bytes),     POOL(peak_owned_bytes), POOL(reserved_bytes),
    POOL(trimmed_bytes),
};

static void push_fields(lua_State *L, const void *from, const field *fields, size_t count) {
    for (size_t i = 0; i < count; i++) {
        bpl_pushcount(L, *(const uint64_t *)(const void *)((const char *)from + fields[i].at));
        lua_setfield(L, -2, fields[i].name);
    }
}

/* Memory for the lengths is a userdata: an error in between can not lose it. */
static void push_recent(lua_State *L, bp_pool *pool) {
    size_t most = bp_pool_recent(pool, NULL, 0);
    uint64_t *lengths = bpl_newuserdata(L, (most + 1) * sizeof *lengths);
    size_t count = bp_pool_recent(pool, lengths, most);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        bpl_pushcount(L, lengths[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_remove(L, -2);
}

int bpl_pool_get_pool_stats(lua_State *L) {
    bp_pool *pool = bpl_check_pool(L, "get_pool_stats");
    bp_stats s;
    bp_pool_stats(pool, &s);
    lua_createtable(L, 0, 20);
    lua_pushstring(L, bp_pool_name(pool));
    lua_setfield(L, -2, "name");
    push_fields(L, &s, pool_fields, sizeof pool_fields / sizeof pool_fields[0]);
    bpl_pushcount(L, s.max_idle);
    lua_setfield(L, -2, "max_idle");
    bpl_pushcount(L, s.threads);
    lua_setfield(L, -2, "threads");
    lua_createtable(L, 0, (int)s.tier_count);
    for (size_t i = 0; i < s.tier_count; i++) {
        bpl_pushcount(L, s.tiers[i].size);
        lua_createtable(L, 0, (int)(sizeof tier_fields / sizeof tier_fields[0]));
        push_fields(L, &s.tiers[i], tier_fields, sizeof tier_fields / sizeof tier_fields[0]);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "pools");
    push_recent(L, pool);
    lua_setfield(L, -2, "recent_lengths");
    return 1;
}
