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

static void describe_dead(char *text, size_t size, const char *method, const bpl_record *r) {
    if (r == NULL || r->site == NULL) {
        (void)snprintf(text, size, "%s: buffer already released", method);
        return;
    }
    (void)snprintf(
        text, size, "%s: buffer already released (got at %s%s%s, last released %s%s)", method,
        r->site->s, r->tag != NULL ? ", tag " : "", r->tag != NULL ? r->tag->s : "",
        r->end != NULL ? "at " : "by the collector or a scope", r->end != NULL ? r->end->s : "");
}

/* What a traced handle knows of its life goes into the message: written before anybody is told,
 * who may end the state and its texts. */
int bpl_raise_dead(lua_State *L, const bpl_handle *h, const char *method, bool release) {
    char text[512];
    bpl_state *s = bpl_state_of(L);
    const bpl_record *r = s != NULL ? bpl_record_of(s, h) : NULL;
    describe_dead(text, sizeof text, method, r);
    if (release && s != NULL && bpl_ledger_lives(s, h->ledger)) {
        bp_pool_count_dead(h->ledger->pool);
        if (r != NULL) {
            bpl_event e = bpl_event_of(h->ledger, BPL_OVER_RELEASE, r, bpl_capacity(h));
            bpl_blame(h->ledger, &e);
            bpl_tell(L, s, &e);
        }
    }
    return bpl_raise(L, "%s", text);
}

static bpl_handle *check_live(lua_State *L, int arg, const char *method, bool release) {
    bpl_handle *h = bpl_to_handle(L, arg);
    if (h == NULL) {
        bpl_raise(L, "%s: self must be a bytepool buffer, got %s", method, bpl_typename(L, arg));
    } else if (h->owned == 0) {
        bpl_raise_dead(L, h, method, release);
    }
    return h;
}

bpl_handle *bpl_check_handle(lua_State *L, int arg, const char *method) {
    return check_live(L, arg, method, false);
}

bpl_handle *bpl_check_release(lua_State *L, int arg, const char *method) {
    return check_live(L, arg, method, true);
}

bpl_handle *bpl_check_buffer_arg(lua_State *L, int arg, const char *method, const bp_pool *of) {
    bpl_handle *h = bpl_to_handle(L, arg);
    if (h == NULL) {
        bpl_raise(L, "%s: argument 'buf' must be a bytepool buffer, got %s", method,
                  bpl_typename(L, arg));
    } else if (h->owned == 0) {
        bpl_raise_dead(L, h, method, true);
    } else if (h->ledger->pool != of) {
        bpl_raise(L, "%s: argument 'buf' belongs to another pool", method);
    }
    return h;
}

bpl_pool *bpl_check_open(lua_State *L, const char *method) {
    bpl_pool *p = bpl_to_pool(L, 1);
    if (p == NULL) {
        bpl_raise(L, "%s: self must be a bytepool pool, got %s", method, bpl_typename(L, 1));
        return NULL;
    }
    if (p->pool == NULL) {
        bpl_raise(L, "%s: the pool is closed", method);
    }
    return p;
}

bp_pool *bpl_check_pool(lua_State *L, const char *method) {
    return bpl_check_open(L, method)->pool;
}

bpl_handle *bpl_check_writable(lua_State *L, const char *method) {
    bpl_handle *h = bpl_check_handle(L, 1, method);
    if (bp_buffer_is_frozen(h->block)) {
        bpl_raise(L, "%s: buffer is frozen", method);
    }
    return h;
}

bpl_span bpl_check_span(lua_State *L, int arg, const char *method, const char *name) {
    bpl_span s = {NULL, 0};
    if (lua_type(L, arg) == LUA_TSTRING) {
        s.data = (const uint8_t *)lua_tolstring(L, arg, &s.length);
        return s;
    }
    const bpl_handle *h = bpl_to_handle(L, arg);
    if (h == NULL) {
        bpl_raise(L, "%s: argument '%s' must be a string or a bytepool buffer, got %s", method,
                  name, bpl_typename(L, arg));
    } else if (h->owned == 0) {
        bpl_raise(L, "%s: argument '%s' is a released buffer", method, name);
    } else {
        s = (bpl_span){h->data, h->length};
    }
    return s;
}

/* Clamps as the string library does. */
size_t bpl_range(const bpl_handle *h, int64_t i, int64_t j, size_t *from) {
    int64_t length = (int64_t)h->length;
    i = i < 0 ? length + i + 1 : i;
    j = j < 0 ? length + j + 1 : j;
    i = i < 1 ? 1 : i;
    j = j > length ? length : j;
    *from = (size_t)(i - 1);
    return i <= j ? (size_t)(j - i + 1) : 0;
}

/* As it was written, or what stands for it where it was left out. */
static void push_position(lua_State *L, int arg, int64_t value) {
    if (lua_type(L, arg) == LUA_TNUMBER) {
        bpl_push_shown(L, arg);
    } else {
        bpl_pushcount(L, value);
    }
}

/* i from 1 to length + 1, j from i - 1 to length; defaults: all of it. */
size_t bpl_check_range(lua_State *L, int arg, const bpl_handle *h, const char *method,
                       size_t *from) {
    int64_t length = (int64_t)h->length;
    int64_t i = lua_isnoneornil(L, arg) ? 1 : bpl_check_position(L, arg, method, "i");
    int64_t j = lua_isnoneornil(L, arg + 1) ? -1 : bpl_check_position(L, arg + 1, method, "j");
    int64_t first = i < 0 ? length + i + 1 : i;
    int64_t last = j < 0 ? length + j + 1 : j;
    if (first < 1 || first > length + 1 || last < first - 1 || last > length) {
        push_position(L, arg, i);
        push_position(L, arg + 1, j);
        bpl_raise(L, "%s: positions %s to %s are not in length %lld", method, lua_tostring(L, -2),
                  lua_tostring(L, -1), (long long)length);
    }
    *from = (size_t)(first - 1);
    return (size_t)(last - first + 1);
}

size_t bpl_check_place(lua_State *L, int arg, const bpl_handle *h, size_t bytes,
                       const char *method) {
    int64_t pos = bpl_check_position(L, arg, method, "pos");
    int64_t length = (int64_t)h->length;
    int64_t at = pos < 0 ? length + pos + 1 : pos;
    if (at < 1 || at - 1 > length || bytes > (size_t)(length - (at - 1))) {
        bpl_push_shown(L, arg);
        bpl_raise(L, "%s: %zu bytes at position %s do not fit in length %zu", method, bytes,
                  lua_tostring(L, -1), (size_t)length);
    }
    return (size_t)(at - 1);
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
