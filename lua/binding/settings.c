/* What a pool goes by, between Lua and the core: new_pools, configure, rollback and settings of
 * bytepool.core, for bytepool/settings.lua, which has looked through what a user gave. And what a
 * pool's userdata keeps of Lua: on_tick and its like, and the work of pool:tick.
 *
 * Settings are a plain table that nobody else has:
 *   tiers = {size or {size =, max_idle =, max_bytes =, max_waste =}, ...}
 *   max_idle, max_bytes, max_waste, decay                            nil: the default
 *   name, recent_size, exact, region_size, zero, debug               of new_pools alone
 */
#include <string.h>

#include "binding.h"

typedef struct settings {
    bp_options o;
    size_t sizes[BP_MAX_TIERS];
    bp_tier_limits limits[BP_MAX_TIERS];
    char name[64];
} settings;

/* ---- reading ------------------------------------------------------------------ */

/* Pushes a field of the table at `table`; false where it is nil, and pushes nothing then. */
static bool push_field(lua_State *L, int table, const char *name) {
    lua_pushstring(L, name);
    lua_rawget(L, table);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return false;
    }
    return true;
}

static void read_size(lua_State *L, int table, const char *name, const char *method, size_t *out) {
    if (push_field(L, table, name)) {
        *out = bpl_check_size(L, lua_gettop(L), method, name);
        lua_pop(L, 1);
    }
}

static void read_number(lua_State *L, int table, const char *name, double *out) {
    if (push_field(L, table, name)) {
        *out = (double)lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
}

static void read_tier(lua_State *L, const char *method, settings *s, size_t i) {
    int at = lua_gettop(L);
    s->limits[i] = (bp_tier_limits){BP_NO_LIMIT, BP_NO_LIMIT, 1};
    if (!lua_istable(L, at)) {
        s->sizes[i] = bpl_check_size(L, at, method, "tiers");
        return;
    }
    read_size(L, at, "size", method, &s->sizes[i]);
    read_size(L, at, "max_idle", method, &s->limits[i].max_idle);
    read_size(L, at, "max_bytes", method, &s->limits[i].max_bytes);
    read_number(L, at, "max_waste", &s->limits[i].max_waste);
}

/* What a change can change. */
static void read_settings(lua_State *L, int table, const char *method, settings *s) {
    memset(s, 0, sizeof *s);
    bp_options_init(&s->o);
    luaL_checktype(L, table, LUA_TTABLE);
    if (!push_field(L, table, "tiers") || !lua_istable(L, -1)) {
        bpl_raise(L, "%s: no tiers", method);
    }
    int list = lua_gettop(L);
    s->o.tier_count = lua_rawlen(L, list);
    for (size_t i = 0; i < s->o.tier_count && i < BP_MAX_TIERS; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        read_tier(L, method, s, i);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    s->o.tiers = s->sizes;
    s->o.limits = s->limits;
    read_size(L, table, "max_idle", method, &s->o.max_idle);
    read_size(L, table, "max_bytes", method, &s->o.max_bytes);
    read_number(L, table, "max_waste", &s->o.max_waste);
    read_number(L, table, "decay", &s->o.decay);
}

static bool read_flag(lua_State *L, int table, const char *name) {
    bool found = push_field(L, table, name);
    bool set = found && lua_toboolean(L, -1) != 0;
    lua_pop(L, found ? 1 : 0);
    return set;
}

static void read_fixed(lua_State *L, int table, const char *method, settings *s) {
    static const char *const names[] = {"", "get", "release"}; /* by bp_zero */
    read_size(L, table, "recent_size", method, &s->o.recent_size);
    read_size(L, table, "region_size", method, &s->o.region_size);
    s->o.recent_mode = read_flag(L, table, "exact") ? BP_RECENT_EXACT : BP_RECENT_RELAXED;
    s->o.debug = read_flag(L, table, "debug");
    if (push_field(L, table, "zero")) {
        const char *zero = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
        s->o.zero = strcmp(zero, names[BP_ZERO_GET]) == 0       ? BP_ZERO_GET
                    : strcmp(zero, names[BP_ZERO_RELEASE]) == 0 ? BP_ZERO_RELEASE
                                                                : BP_ZERO_NEVER;
        lua_pop(L, 1);
    }
    if (push_field(L, table, "name")) {
        size_t length = 0;
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : "";
        if (length >= sizeof s->name) {
            bpl_raise(L, "%s: name is too long", method);
        }
        memcpy(s->name, name, length);
        lua_pop(L, 1);
    }
    s->o.name = s->name;
}

/* ---- the functions ------------------------------------------------------------ */

static int refused(lua_State *L, const char *method, const bp_error *e) {
    if (e->status == BP_ERR_ARG) {
        return bpl_raise(L, "%s: %s", method, e->message);
    }
    lua_pushnil(L);
    lua_pushstring(L, e->message);
    return 2;
}

/* new_pools(settings) */
int bpl_new_pools(lua_State *L) {
    settings s;
    bp_error e;
    lua_settop(L, 1);
    read_settings(L, 1, "new_pools", &s);
    read_fixed(L, 1, "new_pools", &s);
    bpl_pool *p = bpl_push_closed_pool(L);
    bpl_state *state = bpl_check_state(L);
    bp_pool *pool = bp_pool_create(&s.o, &e);
    return pool != NULL ? bpl_pool_enter(L, p, state, pool) : refused(L, "new_pools", &e);
}

/* configure(pool, settings, dry_run): true, or nil and a message. */
int bpl_configure(lua_State *L) {
    settings s;
    bp_error e;
    lua_settop(L, 3);
    read_settings(L, 2, "configure", &s);
    bp_pool *pool = bpl_check_pool(L, "configure");
    if (bp_pool_configure(pool, &s.o, lua_toboolean(L, 3) != 0, &e) != BP_OK) {
        return refused(L, "configure", &e);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* rollback(pool, dry_run): true, or nil and a message. */
int bpl_rollback(lua_State *L) {
    bp_error e;
    bool dry_run = lua_toboolean(L, 2) != 0;
    bp_pool *pool = bpl_check_pool(L, "rollback");
    if (bp_pool_rollback(pool, dry_run, &e) != BP_OK) {
        lua_pushnil(L);
        lua_pushstring(L, e.message);
        return 2;
    }
    lua_pushboolean(L, 1);
    return 1;
}

static void set_string(lua_State *L, const char *name, const char *value) {
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

static void push_tier(lua_State *L, size_t size, const bp_tier_limits *limits) {
    if (limits->max_idle == BP_NO_LIMIT && limits->max_bytes == BP_NO_LIMIT &&
        limits->max_waste >= 1) {
        bpl_pushcount(L, size);
        return;
    }
    lua_createtable(L, 0, 4);
    bpl_set_count(L, "size", size);
    bpl_set_limit(L, "max_idle", limits->max_idle);
    bpl_set_limit(L, "max_bytes", limits->max_bytes);
    if (limits->max_waste < 1) {
        bpl_set_number(L, "max_waste", limits->max_waste);
    }
}

/* settings(pool [, before]): a table as configure and new_pools take, and the generation. before:
 * those that a rollback goes back to, or nil. */
int bpl_settings(lua_State *L) {
    bp_settings s;
    bp_options fixed;
    char name[64];
    bp_pool *pool = bpl_check_pool(L, "settings");
    if (lua_toboolean(L, 2)) {
        bp_pool_settings_before(pool, &s);
    } else {
        bp_pool_settings(pool, &s);
    }
    if (s.generation == 0) {
        lua_pushnil(L);
        return 1;
    }
    bp_pool_fixed(pool, &fixed);
    memcpy(name, fixed.name, strlen(fixed.name) + 1);
    lua_createtable(L, 0, 12);
    bpl_set_count(L, "generation", s.generation);
    lua_createtable(L, (int)s.tier_count, 0);
    for (size_t i = 0; i < s.tier_count; i++) {
        push_tier(L, s.tiers[i], &s.limits[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "tiers");
    bpl_set_limit(L, "max_idle", s.max_idle);
    bpl_set_limit(L, "max_bytes", s.max_bytes);
    if (s.max_waste < 1) {
        bpl_set_number(L, "max_waste", s.max_waste);
    }
    bpl_set_number(L, "decay", s.decay);
    set_string(L, "name", name);
    bpl_set_count(L, "recent_size", fixed.recent_size);
    lua_pushboolean(L, fixed.recent_mode == BP_RECENT_EXACT);
    lua_setfield(L, -2, "exact");
    bpl_set_count(L, "region_size", fixed.region_size);
    lua_pushboolean(L, fixed.debug);
    lua_setfield(L, -2, "debug");
    if (fixed.zero != BP_ZERO_NEVER) {
        set_string(L, "zero", fixed.zero == BP_ZERO_GET ? "get" : "release");
    }
    return 1;
}

/* ---- what a userdata keeps ------------------------------------------------------ */

/* own(pool): the table that goes with this userdata, and with nobody else. */
int bpl_own(lua_State *L) {
    (void)bpl_check_open(L, "own");
    bpl_getuservalue(L, 1);
    return 1;
}

/* tick(pool): bytes that decayed, a clock in seconds, and what the userdata keeps; nil where it is
 * no open pool. */
int bpl_tick(lua_State *L) {
    const bpl_pool *p = bpl_to_pool(L, 1);
    if (p == NULL || p->pool == NULL) {
        lua_pushnil(L);
        return 1;
    }
    size_t bytes = bp_pool_tick(p->pool);
    lua_pushnumber(L, (lua_Number)bytes);
    lua_pushnumber(L, (lua_Number)bpl_now_coarse());
    bpl_getuservalue(L, 1);
    return 3;
}

/* press(pool, level): gives that share of the idle bytes back; how many went. */
int bpl_press(lua_State *L) {
    bp_stats s;
    double level = (double)lua_tonumber(L, 2);
    bp_pool *pool = bpl_check_pool(L, "tick");
    bp_pool_stats(pool, &s);
    double keep = (double)s.idle_bytes * (1 - level);
    bpl_pushcount(L, keep >= 0 ? bp_pool_shrink(pool, (size_t)keep) : 0);
    return 1;
}
