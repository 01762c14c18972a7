/* The userdata bytepool.buffer: references, and byte access in C.
 *
 * Under LuaJIT with its compiler on, bytepool/methods.lua puts FFI bodies in front
 * of the hot methods here and calls these for whatever is not the plain case.
 */
#include <stdio.h>
#include <string.h>

#include "binding.h"

/* ---- making and ending handles ------------------------------------------ */

/* The userdata comes first and dead: if Lua runs out of memory, nothing is lost. */
static bpl_handle *push_dead(lua_State *L, bp_pool *pool) {
    bpl_handle *h = bpl_newuserdata(L, sizeof *h);
    h->magic = BPL_HANDLE_MAGIC;
    h->owned = 0;
    h->data = NULL;
    h->length = 0;
    h->block = NULL;
    h->pool = pool;
    lua_pushvalue(L, BPL_LIVE);
    lua_setmetatable(L, -2);
    return h;
}

static void handle_point(bpl_handle *h, bp_buffer *block) {
    h->block = block;
    h->data = bp_buffer_data(block);
    h->length = bp_buffer_length(block);
    h->owned = 1;
}

bpl_handle *bpl_push_buffer(lua_State *L, bp_pool *pool, size_t n) {
    bpl_handle *h = push_dead(L, pool);
    bp_buffer *block = bp_buffer_get(pool, n);
    if (block == NULL) {
        lua_pop(L, 1);
        lua_pushnil(L);
        lua_pushliteral(L, "out of memory");
        return NULL;
    }
    handle_point(h, block);
    return h;
}

/* Dead before the references go: a release can not be entered twice. */
static void give_back_all(bpl_handle *h) {
    uint32_t owned = h->owned;
    h->owned = 0;
    h->data = NULL;
    h->length = 0;
    for (; owned > 0; owned--) {
        (void)bp_buffer_release(h->pool, h->block);
    }
}

void bpl_handle_release(lua_State *L, int arg, bpl_handle *h) {
    if (h->owned == 1) {
        lua_pushvalue(L, BPL_DEAD);
        lua_setmetatable(L, arg);
        give_back_all(h);
    } else {
        h->owned--;
        (void)bp_buffer_release(h->pool, h->block);
    }
}

/* ---- references --------------------------------------------------------- */

static int l_buffer_retain(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "retain");
    int status = bp_buffer_retain(h->block);
    if (status != BP_OK) {
        return bpl_raise(L, "retain: %s", bp_strerror(status));
    }
    h->owned++;
    lua_settop(L, 1);
    return 1;
}

static int l_buffer_release(lua_State *L) {
    bpl_handle_release(L, 1, bpl_check_handle(L, 1, "release"));
    return 0;
}

static bpl_handle *push_share(lua_State *L, const bpl_handle *h, const char *method) {
    bpl_handle *other = push_dead(L, h->pool);
    int status = bp_buffer_retain(h->block);
    if (status != BP_OK) {
        bpl_raise(L, "%s: %s", method, bp_strerror(status));
    }
    handle_point(other, h->block);
    return other;
}

static int l_buffer_share(lua_State *L) {
    push_share(L, bpl_check_handle(L, 1, "share"), "share");
    return 1;
}

/* Upvalue 4 is the handle, then nil: the function works once. */
static int l_release_function(lua_State *L) {
    int at = lua_upvalueindex(BPL_UPVALUES + 1);
    if (lua_isnil(L, at)) {
        return bpl_raise(L, "bytes: this release function was used already");
    }
    lua_settop(L, 0);
    lua_pushvalue(L, at);
    bpl_handle *h = bpl_check_handle(L, 1, "bytes");
    lua_pushnil(L);
    lua_replace(L, at);
    bpl_handle_release(L, 1, h);
    return 0;
}

static int l_buffer_bytes(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "bytes");
    push_share(L, h, "bytes");
    int view = lua_gettop(L);
    lua_pushvalue(L, BPL_LIVE);
    lua_pushvalue(L, BPL_DEAD);
    lua_pushvalue(L, BPL_POOL);
    lua_pushvalue(L, view);
    lua_pushcclosure(L, l_release_function, BPL_UPVALUES + 1);
    return 2;
}

static int l_buffer_ref_count(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "ref_count");
    bpl_pushcount(L, bp_buffer_ref_count(h->block));
    return 1;
}

static int end_handle(lua_State *L, const char *method) {
    bpl_handle *h = bpl_to_handle(L, 1);
    if (h == NULL) {
        return bpl_raise(L, "%s: self must be a bytepool buffer, got %s", method,
                         bpl_typename(L, 1));
    }
    give_back_all(h);
    return 0;
}

/* A handle that __gc has seen is dead, also when a script called it by hand or
 * brought the userdata back. */
static int l_buffer_gc(lua_State *L) { return end_handle(L, "__gc"); }

static int l_buffer_close(lua_State *L) { return end_handle(L, "__close"); }

/* ---- bytes -------------------------------------------------------------- */

static int l_buffer_len(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "len");
    bpl_pushcount(L, h->length);
    return 1;
}

static int l_buffer_capacity(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "capacity");
    bpl_pushcount(L, bp_buffer_capacity(h->pool, h->block));
    return 1;
}

static int l_buffer_tostring(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "tostring");
    lua_pushlstring(L, (const char *)h->data, h->length);
    return 1;
}

/* Clamps as the string library does; returns the number of bytes from *from on. */
static size_t range(const bpl_handle *h, int64_t i, int64_t j, size_t *from) {
    int64_t length = (int64_t)h->length;
    i = i < 0 ? length + i + 1 : i;
    j = j < 0 ? length + j + 1 : j;
    i = i < 1 ? 1 : i;
    j = j > length ? length : j;
    *from = (size_t)(i - 1);
    return i <= j ? (size_t)(j - i + 1) : 0;
}

static int l_buffer_sub(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "sub");
    int64_t i = bpl_check_position(L, 2, "sub", "i");
    int64_t j = lua_isnoneornil(L, 3) ? -1 : bpl_check_position(L, 3, "sub", "j");
    size_t from;
    size_t count = range(h, i, j, &from);
    lua_pushlstring(L, count > 0 ? (const char *)h->data + from : "", count);
    return 1;
}

static int l_buffer_byte(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "byte");
    int64_t i = lua_isnoneornil(L, 2) ? 1 : bpl_check_position(L, 2, "byte", "i");
    int64_t j = lua_isnoneornil(L, 3) ? i : bpl_check_position(L, 3, "byte", "j");
    size_t from;
    size_t count = range(h, i, j, &from);
    if (count >= 1u << 20 || !lua_checkstack(L, (int)count)) {
        return bpl_raise(L, "byte: too many bytes for the Lua stack");
    }
    for (size_t k = 0; k < count; k++) {
        lua_pushinteger(L, h->data[from + k]);
    }
    return (int)count;
}

static int l_buffer_set_string(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "set_string");
    int64_t pos = bpl_check_position(L, 2, "set_string", "pos");
    if (lua_type(L, 3) != LUA_TSTRING) {
        return bpl_raise(L, "set_string: argument 's' must be a string, got %s",
                         bpl_typename(L, 3));
    }
    size_t bytes;
    const char *s = lua_tolstring(L, 3, &bytes);
    int64_t length = (int64_t)h->length;
    int64_t at = pos < 0 ? length + pos + 1 : pos;
    if (at < 1 || at - 1 > length || bytes > (size_t)(length - (at - 1))) {
        return bpl_raise(L, "set_string: %zu bytes at position %lld do not fit in length %zu",
                         bytes, (long long)pos, h->length);
    }
    memcpy(h->data + (at - 1), s, bytes);
    lua_settop(L, 1);
    return 1;
}

static int l_buffer_describe(lua_State *L) {
    bpl_handle *h = bpl_to_handle(L, 1);
    if (h == NULL) {
        return bpl_raise(L, "__tostring: self must be a bytepool buffer, got %s",
                         bpl_typename(L, 1));
    }
    if (h->owned == 0) {
        lua_pushliteral(L, "bytepool.buffer: released");
    } else {
        char text[96];
        (void)snprintf(text, sizeof text, "bytepool.buffer: %zu/%zu refs=%u", h->length,
                       bp_buffer_capacity(h->pool, h->block),
                       (unsigned)bp_buffer_ref_count(h->block));
        lua_pushstring(L, text);
    }
    return 1;
}

const luaL_Reg bpl_buffer_methods[] = {
    {"retain", l_buffer_retain},     {"release", l_buffer_release},       {"share", l_buffer_share},
    {"bytes", l_buffer_bytes},       {"ref_count", l_buffer_ref_count},   {"len", l_buffer_len},
    {"capacity", l_buffer_capacity}, {"tostring", l_buffer_tostring},     {"sub", l_buffer_sub},
    {"byte", l_buffer_byte},         {"set_string", l_buffer_set_string}, {NULL, NULL},
};

/* The dead metatable has all of these but __gc. */
const luaL_Reg bpl_buffer_meta[] = {
    {"__len", l_buffer_len},
    {"__tostring", l_buffer_describe},
    {"__close", l_buffer_close},
    {"__gc", l_buffer_gc},
    {NULL, NULL},
};
