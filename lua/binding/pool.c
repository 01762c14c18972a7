/* The userdata bytepool.pool. */
#include <stdio.h>
#include <string.h>

#include "binding.h"

bpl_pool *bpl_push_closed_pool(lua_State *L) {
    bpl_pool *p = bpl_newkeeper(L, sizeof *p);
    *p = (bpl_pool){.seal = BPL_POOL_SEAL(p)};
    bpl_set_metatable(L, lua_gettop(L), BPL_POOL);
    lua_newtable(L); /* see bpl_own */
    bpl_setuservalue(L, -2);
    return p;
}

/* Puts a pool into the userdata p at the top of the stack, and its ledger beside it; to return.
 * `pool` is closed again where there is no memory for that. */
int bpl_pool_enter(lua_State *L, bpl_pool *p, bpl_state *s, bp_pool *pool) {
    p->ledger = bpl_ledger_open(s, pool);
    if (p->ledger == NULL) {
        bp_pool_destroy(pool);
        return bpl_no_memory(L);
    }
    p->pool = pool;
    return 1;
}

static int get(lua_State *L, const char *method) {
    lua_settop(L, 3);
    bpl_handle *h = bpl_push_dead(L);
    bpl_pool *pool = bpl_check_open(L, method);
    size_t n = bpl_check_size(L, 2, method, "n");
    if (!lua_isnil(L, 3) && lua_type(L, 3) != LUA_TSTRING) {
        return bpl_raise(L, "%s: argument 'tag' must be a string, got %s", method,
                         bpl_typename(L, 3));
    }
    return bpl_fill(L, h, pool, n, lua_tostring(L, 3));
}

static int l_pool_get_buffer(lua_State *L) { return get(L, "get_buffer"); }

static int l_pool_get(lua_State *L) { return get(L, "get"); }

static int l_pool_put(lua_State *L) {
    bp_pool *pool = bpl_check_pool(L, "put");
    bpl_handle *h = bpl_check_buffer_arg(L, 2, "put", pool);
    uint32_t refs = bp_buffer_ref_count(h->block);
    if (refs != 1) {
        return bpl_raise(L, "put: buffer is shared (ref_count %d)", (int)refs);
    }
    bpl_handle_release(L, 2, h, "put");
    return 0;
}

static int l_pool_release_buffer(lua_State *L) {
    bp_pool *pool = bpl_check_pool(L, "release_buffer");
    bpl_handle *h = bpl_check_buffer_arg(L, 2, "release_buffer", pool);
    bpl_handle_release(L, 2, h, "release_buffer");
    return 0;
}

static int l_pool_from_string(lua_State *L) {
    lua_settop(L, 2);
    bpl_handle *h = bpl_push_dead(L);
    bpl_pool *pool = bpl_check_open(L, "from_string");
    if (lua_type(L, 2) != LUA_TSTRING) {
        return bpl_raise(L, "from_string: argument 's' must be a string, got %s",
                         bpl_typename(L, 2));
    }
    size_t bytes;
    const char *s = lua_tolstring(L, 2, &bytes);
    int results = bpl_fill(L, h, pool, bytes, NULL);
    if (results == 1) {
        memcpy(h->data, s, bytes);
    }
    return results;
}

/* Size and count of the entry at the top of the stack, checked. */
static size_t prewarm_entry(lua_State *L, const size_t *sizes, size_t tiers, size_t *tier) {
    double size = lua_type(L, -2) == LUA_TNUMBER ? (double)lua_tonumber(L, -2) : -1;
    if (!(size >= 0 && size <= (double)BP_MAX_SIZE) || size != (double)(size_t)size) {
        bpl_push_shown(L, -2);
        bpl_raise(L, "prewarm: size must be a whole number from 0 to %zu, got %s", BP_MAX_SIZE,
                  lua_tostring(L, -1));
    }
    for (*tier = 0; *tier < tiers && sizes[*tier] < (size_t)size; ++*tier) {
    }
    if (*tier == tiers) {
        bpl_raise(L, "prewarm: size %.0f is above the largest tier, %zu", size, sizes[tiers - 1]);
    }
    double count = lua_type(L, -1) == LUA_TNUMBER ? (double)lua_tonumber(L, -1) : -1;
    if (!(count >= 0 && count <= (double)BP_MAX_SIZE) || count != (double)(size_t)count) {
        bpl_push_shown(L, -1);
        bpl_raise(L, "prewarm: count of size %.0f must be a whole number from 0 to %zu, got %s",
                  size, BP_MAX_SIZE, lua_tostring(L, -1));
    }
    return (size_t)count;
}

/* All entries are checked before the first is done. Where one is refused on the way, as much goes
 * back as was made. */
static int l_pool_prewarm(lua_State *L) {
    bp_pool *pool = bpl_check_pool(L, "prewarm");
    size_t counts[BP_MAX_TIERS] = {0}, sizes[BP_MAX_TIERS];
    size_t tier, tiers = bp_pool_sizes(pool, sizes);
    if (lua_type(L, 2) != LUA_TTABLE) {
        return bpl_raise(L, "prewarm: argument 'counts' must be a table {[size] = count}, got %s",
                         bpl_typename(L, 2));
    }
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
        size_t count = prewarm_entry(L, sizes, tiers, &tier);
        counts[tier] += count;
    }
    bp_stats before;
    bp_pool_stats(pool, &before);
    double bytes = 0;
    for (tier = 0; tier < tiers; tier++) {
        bytes += (double)counts[tier] * (double)sizes[tier];
    }
    int status = (double)before.idle_bytes + bytes > (double)before.max_idle ? BP_ERR_LIMIT : BP_OK;
    bool made = false;
    for (tier = 0; tier < tiers && status == BP_OK; tier++) {
        status = bp_pool_prewarm(pool, sizes[tier], counts[tier]);
        made |= status == BP_OK && counts[tier] > 0;
    }
    if (status != BP_OK) {
        if (made) {
            (void)bp_pool_shrink(pool, before.idle_bytes);
        }
        lua_pushnil(L);
        lua_pushfstring(L, "prewarm: %s",
                        status == BP_ERR_LIMIT   ? "would exceed max_idle"
                        : status == BP_ERR_QUOTA ? "would exceed max_bytes"
                                                 : bp_strerror(status));
        return 2;
    }
    lua_settop(L, 1);
    return 1;
}

static int l_pool_trim(lua_State *L) {
    bpl_pushcount(L, bp_pool_trim(bpl_check_pool(L, "trim")));
    return 1;
}

/* shrink(idle) */
static int l_pool_shrink(lua_State *L) {
    bp_pool *pool = bpl_check_pool(L, "shrink");
    bpl_pushcount(L, bp_pool_shrink(pool, bpl_check_size(L, 2, "shrink", "idle")));
    return 1;
}

static int close_pool(lua_State *L, const char *method) {
    bpl_pool *p = bpl_to_pool(L, 1);
    if (p == NULL) {
        return bpl_raise(L, "%s: self must be a bytepool pool, got %s", method, bpl_typename(L, 1));
    }
    if (p->pool != NULL) {
        bp_pool *pool = p->pool;
        bpl_ledger *ledger = p->ledger;
        p->pool = NULL;
        p->ledger = NULL;
        bp_pool_destroy(pool);
        bpl_ledger_close(ledger);
    }
    return 0;
}

static int l_pool_close(lua_State *L) { return close_pool(L, "close"); }

/* Silent about anything but a pool, as the buffers' __gc is. */
static int l_pool_gc(lua_State *L) { return bpl_to_pool(L, 1) != NULL ? close_pool(L, "__gc") : 0; }

static int l_pool_meta_close(lua_State *L) { return close_pool(L, "__close"); }

static int l_pool_get_discarded_count(lua_State *L) {
    bp_stats s;
    bp_pool_stats(bpl_check_pool(L, "get_discarded_count"), &s);
    bpl_pushcount(L, s.discarded);
    return 1;
}

static int l_pool_get_available_sizes(lua_State *L) {
    size_t sizes[BP_MAX_TIERS];
    size_t count = bp_pool_sizes(bpl_check_pool(L, "get_available_sizes"), sizes);
    return bpl_push_sizes(L, sizes, count);
}

static int l_pool_describe(lua_State *L) {
    bpl_pool *p = bpl_to_pool(L, 1);
    if (p == NULL) {
        return bpl_raise(L, "__tostring: self must be a bytepool pool, got %s", bpl_typename(L, 1));
    }
    if (p->pool == NULL) {
        lua_pushliteral(L, "bytepool.pool: closed");
        return 1;
    }
    bp_stats s;
    bp_pool_stats(p->pool, &s);
    size_t sizes[BP_MAX_TIERS];
    const char *name = bp_pool_name(p->pool);
    const char *quote = name[0] != '\0' ? "'" : "";
    char text[160];
    (void)snprintf(text, sizeof text, "bytepool.pool%s%s%s%s: %zu tiers, in_use=%llu",
                   name[0] != '\0' ? " " : "", quote, name, quote, bp_pool_sizes(p->pool, sizes),
                   (unsigned long long)s.in_use);
    lua_pushstring(L, text);
    return 1;
}

const luaL_Reg bpl_pool_methods[] = {
    {"get", l_pool_get},
    {"put", l_pool_put},
    {"get_buffer", l_pool_get_buffer},
    {"release_buffer", l_pool_release_buffer},
    {"from_string", l_pool_from_string},
    {"builder", bpl_pool_builder},
    {"prewarm", l_pool_prewarm},
    {"trim", l_pool_trim},
    {"shrink", l_pool_shrink},
    {"close", l_pool_close},
    {"get_pool_stats", bpl_pool_get_pool_stats},
    {"leak_level", bpl_pool_leak_level},
    {"leaks", bpl_pool_leaks},
    {"get_discarded_count", l_pool_get_discarded_count},
    {"get_available_sizes", l_pool_get_available_sizes},
    {NULL, NULL},
};

const luaL_Reg bpl_pool_meta[] = {
    {"__tostring", l_pool_describe},
    {"__close", l_pool_meta_close},
    {"__gc", l_pool_gc},
    {NULL, NULL},
};
