/* Argument checks. Messages are the binding's own: luaL_arg* texts differ between
 * Lua versions, and the FFI bodies leave every refusal to these functions. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "binding.h"

/* lua_pushfstring knows no %zu, and prints numbers differently from Lua to Lua. */
int bpl_raise(lua_State *L, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return luaL_error(L, "%s", text);
}

/* An argument that is not there is nil, as it is to the FFI bodies. */
const char *bpl_typename(lua_State *L, int arg) {
    return lua_isnone(L, arg) ? "nil" : luaL_typename(L, arg);
}

/* A full userdata of that size with one of two metatables, else NULL. The size tells
 * apart what a script gave our metatable by the debug library: a light userdata has
 * length 0, a FILE is smaller. Few calls, for this stands before every method. */
static void *checked_userdata(lua_State *L, int arg, size_t size, int meta, int other) {
    void *memory = lua_touserdata(L, arg);
    if (memory == NULL || lua_rawlen(L, arg) != size || !lua_getmetatable(L, arg)) {
        return NULL;
    }
    bool ours = lua_rawequal(L, -1, meta) || lua_rawequal(L, -1, other);
    lua_pop(L, 1);
    return ours ? memory : NULL;
}

bpl_handle *bpl_to_handle(lua_State *L, int arg) {
    bpl_handle *h = checked_userdata(L, arg, sizeof *h, BPL_LIVE, BPL_DEAD);
    return h != NULL && h->seal == BPL_HANDLE_SEAL(h) ? h : NULL;
}

bpl_handle *bpl_to_blank(lua_State *L, int arg) {
    bpl_handle *h = checked_userdata(L, arg, sizeof *h, BPL_LIVE, BPL_LIVE);
    return h != NULL && h->seal == BPL_BLANK_SEAL(h) ? h : NULL;
}

bpl_pool *bpl_to_pool(lua_State *L, int arg) {
    bpl_pool *p = checked_userdata(L, arg, sizeof *p, BPL_POOL, BPL_POOL);
    return p != NULL && p->seal == BPL_POOL_SEAL(p) ? p : NULL;
}

bpl_handle *bpl_check_handle(lua_State *L, int arg, const char *method) {
    bpl_handle *h = bpl_to_handle(L, arg);
    if (h == NULL) {
        bpl_raise(L, "%s: self must be a bytepool buffer, got %s", method, bpl_typename(L, arg));
    } else if (h->owned == 0) {
        bpl_raise(L, "%s: buffer already released", method);
    }
    return h;
}

bpl_handle *bpl_check_buffer_arg(lua_State *L, int arg, const char *method, const bp_pool *of) {
    bpl_handle *h = bpl_to_handle(L, arg);
    if (h == NULL) {
        bpl_raise(L, "%s: argument 'buf' must be a bytepool buffer, got %s", method,
                  bpl_typename(L, arg));
    } else if (h->owned == 0) {
        bpl_raise(L, "%s: buffer already released", method);
    } else if (h->pool != of) {
        bpl_raise(L, "%s: argument 'buf' belongs to another pool", method);
    }
    return h;
}

bp_pool *bpl_check_pool(lua_State *L, const char *method) {
    bpl_pool *p = bpl_to_pool(L, 1);
    if (p == NULL) {
        bpl_raise(L, "%s: self must be a bytepool pool, got %s", method, bpl_typename(L, 1));
        return NULL;
    }
    if (p->pool == NULL) {
        bpl_raise(L, "%s: the pool is closed", method);
    }
    return p->pool;
}

void bpl_push_shown(lua_State *L, int arg) {
    char text[64];
    if (lua_type(L, arg) != LUA_TNUMBER) {
        lua_pushstring(L, bpl_typename(L, arg));
        return;
    }
#if LUA_VERSION_NUM >= 503
    if (lua_isinteger(L, arg)) {
        (void)snprintf(text, sizeof text, "%lld", (long long)lua_tointeger(L, arg));
        lua_pushstring(L, text);
        return;
    }
#endif
    double v = (double)lua_tonumber(L, arg);
    if (isnan(v)) {
        lua_pushliteral(L, "nan");
        return;
    }
    const char *format = v == floor(v) && fabs(v) < 1e17 ? "%.0f" : "%.14g";
    (void)snprintf(text, sizeof text, format, v);
    lua_pushstring(L, text);
}

size_t bpl_check_size(lua_State *L, int arg, const char *method, const char *name) {
    double v = (double)lua_tonumber(L, arg); /* 0 where it is none */
    bool whole = v >= 0 && v <= (double)BP_MAX_SIZE && (double)(int64_t)v == v;
    if (!whole || (v == 0 && !lua_isnumber(L, arg))) {
        bpl_push_shown(L, arg);
        bpl_raise(L, "%s: argument '%s' must be a whole number from 0 to %zu, got %s", method, name,
                  BP_MAX_SIZE, lua_tostring(L, -1));
    }
    return (size_t)v;
}

int64_t bpl_check_position(lua_State *L, int arg, const char *method, const char *name) {
    double v = lua_isnumber(L, arg) ? (double)lua_tonumber(L, arg) : (double)NAN;
    if (isnan(v) || (v != floor(v) && !isinf(v))) {
        bpl_push_shown(L, arg);
        bpl_raise(L, "%s: argument '%s' must be a whole number, got %s", method, name,
                  lua_tostring(L, -1));
    }
    /* Beyond any length a position only says "before" or "behind". */
    double most = 4.0 * (double)BP_MAX_SIZE;
    return (int64_t)(v < -most ? -most : v > most ? most : v);
}
