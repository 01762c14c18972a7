/* Building: the methods that make a buffer longer, shorter or empty, by the names that LuaJIT's
 * string.buffer has for them. What they do to its block stands in grow.c.
 */
#include <string.h>

#include "binding.h"

void bpl_refuse_fixed(lua_State *L, const bpl_handle *h, const char *method) {
    const char *why = bpl_fixed(h);
    if (why == NULL) {
        return;
    }
    if (h->slice == 0 && !bp_buffer_is_frozen(h->block)) {
        bpl_raise(L, "%s: %s (ref_count %u)", method, why, (unsigned)bp_buffer_ref_count(h->block));
    }
    bpl_raise(L, "%s: %s", method, why);
}

static int self(lua_State *L) {
    lua_settop(L, 1);
    return 1;
}

/* ---- length -------------------------------------------------------------- */

static int l_buffer_capacity(lua_State *L) {
    bpl_pushcount(L, bpl_view_capacity(bpl_check_handle(L, 1, "capacity")));
    return 1;
}

static int l_buffer_resize(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "resize");
    size_t n = bpl_check_size(L, 2, "resize", "n");
    if (n > h->length) {
        bpl_refuse_fixed(L, h, "resize");
    }
    return bpl_resize(h, n) ? self(L) : bpl_no_block(L, h, n, "resize");
}

static int l_buffer_reset(lua_State *L) {
    bpl_reset(bpl_check_handle(L, 1, "reset"));
    return self(L);
}

static int l_buffer_free(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "free");
    bpl_refuse_fixed(L, h, "free");
    return bpl_free(h) ? self(L) : bpl_no_block(L, h, 0, "free");
}

/* ---- building ------------------------------------------------------------ */

/* The bytes at `arg`; numbers and what has a __tostring become strings there. */
static bpl_span printable(lua_State *L, int arg, const char *method) {
    int type = lua_type(L, arg);
    if (type == LUA_TNUMBER) {
        (void)lua_tolstring(L, arg, NULL);
    } else if (type != LUA_TSTRING && bpl_to_handle(L, arg) == NULL &&
               luaL_callmeta(L, arg, "__tostring")) {
        lua_replace(L, arg);
    }
    if (lua_type(L, arg) != LUA_TSTRING && bpl_to_handle(L, arg) == NULL) {
        bpl_raise(L, "%s: argument 'value' must be a string, a number or a bytepool buffer, got %s",
                  method, bpl_typename(L, arg));
    }
    return bpl_check_span(L, arg, method, "value");
}

/* By the userdata: an empty buffer may point where another's block begins. */
static bool is_self(lua_State *L, int arg, const bpl_handle *h) {
    return lua_touserdata(L, arg) == (const void *)h;
}

/* All values are made strings first: that allocates, and calls strangers. */
static int put_values(lua_State *L, const char *method) {
    int top = lua_gettop(L);
    size_t total = 0;
    (void)bpl_check_handle(L, 1, method);
    for (int arg = 2; arg <= top; arg++) {
        (void)printable(L, arg, method);
    }
    bpl_handle *h = bpl_check_handle(L, 1, method);
    bpl_refuse_fixed(L, h, method);
    for (int arg = 2; arg <= top; arg++) {
        size_t count = bpl_check_span(L, arg, method, "value").length;
        total = count < SIZE_MAX - total ? total + count : SIZE_MAX;
    }
    if (!bpl_grow(h, total)) {
        return bpl_no_block(L, h, h->length + total, method);
    }
    size_t own = h->length; /* of self, where it is put to itself */
    for (int arg = 2; arg <= top; arg++) {
        bpl_span s = bpl_check_span(L, arg, method, "value");
        size_t count = is_self(L, arg, h) ? own : s.length;
        if (count > 0) {
            memcpy(h->data + h->length, s.data, count);
        }
        h->length += count;
    }
    return self(L);
}

static int l_buffer_put(lua_State *L) { return put_values(L, "put"); }

/* putf(format, ...): the fifth upvalue is string.format, whose errors get our name in front. */
int bpl_buffer_putf(lua_State *L) {
    (void)bpl_check_handle(L, 1, "putf");
    lua_pushvalue(L, lua_upvalueindex(BPL_UPVALUES + 1));
    lua_insert(L, 2);
    int status = lua_pcall(L, lua_gettop(L) - 2, 1, 0);
    if (status == LUA_ERRRUN && lua_type(L, -1) == LUA_TSTRING) {
        return bpl_raise(L, "putf: %s", lua_tostring(L, -1));
    }
    return status == 0 ? put_values(L, "putf") : lua_error(L);
}

static int l_buffer_set(lua_State *L) {
    lua_settop(L, 2);
    (void)bpl_check_handle(L, 1, "set");
    (void)printable(L, 2, "set");
    bpl_handle *h = bpl_check_handle(L, 1, "set");
    bpl_refuse_fixed(L, h, "set");
    bpl_span s = bpl_check_span(L, 2, "set", "value");
    return is_self(L, 2, h) || bpl_replace(h, s) ? self(L) : bpl_no_block(L, h, s.length, "set");
}

/* reserve(n): room for n bytes more; returns how many there is room for. */
static int l_buffer_reserve(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "reserve");
    size_t n = bpl_check_size(L, 2, "reserve", "n");
    bpl_refuse_fixed(L, h, "reserve");
    if (!bpl_grow(h, n)) {
        return bpl_no_block(L, h, h->length + n, "reserve");
    }
    bpl_pushcount(L, bpl_room(h) - h->length);
    return 1;
}

static int l_buffer_commit(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "commit");
    size_t n = bpl_check_size(L, 2, "commit", "n");
    bpl_refuse_fixed(L, h, "commit");
    if (n > bpl_room(h) - h->length) {
        return bpl_raise(L, "commit: %zu bytes are more than the %zu reserved", n,
                         bpl_room(h) - h->length);
    }
    h->length += n;
    return self(L);
}

/* ---- consuming ------------------------------------------------------------- */

static int l_buffer_skip(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "skip");
    size_t n = bpl_check_size(L, 2, "skip", "n");
    bpl_consume(h, n < h->length ? n : h->length);
    return self(L);
}

/* get([n, ...]): the next n bytes of each as a string; without or nil, all that is left. A
 * finalizer may change self while a string is made: each step looks at it anew. */
static int l_buffer_get(lua_State *L) {
    int count = lua_gettop(L) > 1 ? lua_gettop(L) - 1 : 1;
    (void)bpl_check_handle(L, 1, "get");
    lua_settop(L, count + 1);
    if (!lua_checkstack(L, count + LUA_MINSTACK)) {
        return bpl_raise(L, "get: too many strings for the Lua stack");
    }
    for (int arg = 2; arg <= count + 1; arg++) {
        if (!lua_isnil(L, arg)) {
            (void)bpl_check_size(L, arg, "get", "n");
        }
    }
    for (int arg = 2; arg <= count + 1; arg++) {
        size_t n = lua_isnil(L, arg) ? SIZE_MAX : bpl_check_size(L, arg, "get", "n");
        bpl_handle *hold = BPL_COLLECTS_FIRST ? bpl_push_dead(L) : NULL;
        bpl_handle *h = bpl_check_handle(L, 1, "get");
        n = n < h->length ? n : h->length;
        (void)bpl_push_bytes(L, hold, 0, n, "get");
        lua_replace(L, arg);
        lua_settop(L, count + 1);
        h = bpl_check_handle(L, 1, "get");
        bpl_consume(h, n < h->length ? n : h->length);
    }
    return count;
}

static int l_buffer_unshare(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "unshare");
    return bpl_unshare(h) ? self(L) : bpl_no_block(L, h, h->length, "unshare");
}

/* a .. b: a string, as the string library would make it of their bytes. */
static int l_buffer_concat(lua_State *L) {
    lua_settop(L, 2);
    for (int arg = 1; arg <= 2; arg++) {
        if (bpl_to_handle(L, arg) == NULL) {
            continue;
        }
        bpl_handle *hold = BPL_COLLECTS_FIRST ? bpl_push_dead(L) : NULL;
        const bpl_handle *h = bpl_to_handle(L, arg);
        if (h == NULL || h->owned == 0) {
            return bpl_raise(L, "..: buffer already released");
        }
        lua_pushvalue(L, arg);
        lua_insert(L, 1); /* where the checks look */
        (void)bpl_push_bytes(L, hold, 0, h->length, "..");
        lua_remove(L, 1);
        lua_replace(L, arg);
        lua_settop(L, 2);
    }
    for (int arg = 1; arg <= 2; arg++) {
        if (lua_type(L, arg) != LUA_TSTRING && lua_type(L, arg) != LUA_TNUMBER) {
            return bpl_raise(L, "..: cannot join a %s to a buffer", bpl_typename(L, arg));
        }
    }
    lua_concat(L, 2);
    return 1;
}

/* ref(): the FFI body of LuaJIT leaves what is wrong to this one. */
static int l_buffer_ref(lua_State *L) {
    (void)bpl_check_handle(L, 1, "ref");
    return bpl_raise(L, "ref: needs the FFI of LuaJIT");
}

/* builder([hint]): an empty buffer with room for hint bytes. */
int bpl_pool_builder(lua_State *L) {
    lua_settop(L, 2);
    bpl_handle *h = bpl_push_dead(L);
    bpl_pool *pool = bpl_check_open(L, "builder");
    size_t hint = lua_isnil(L, 2) ? 0 : bpl_check_size(L, 2, "builder", "hint");
    int results = bpl_fill(L, h, pool, hint, NULL);
    if (results == 1) {
        h->length = 0;
    }
    return results;
}

const luaL_Reg bpl_build_methods[] = {
    {"capacity", l_buffer_capacity},
    {"resize", l_buffer_resize},
    {"reset", l_buffer_reset},
    {"free", l_buffer_free},
    {"put", l_buffer_put},
    {"set", l_buffer_set},
    {"reserve", l_buffer_reserve},
    {"commit", l_buffer_commit},
    {"skip", l_buffer_skip},
    {"get", l_buffer_get},
    {"unshare", l_buffer_unshare},
    {"ref", l_buffer_ref},
    {NULL, NULL},
};

const luaL_Reg bpl_build_meta[] = {{"__concat", l_buffer_concat}, {NULL, NULL}};
