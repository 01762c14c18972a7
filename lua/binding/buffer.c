/* The userdata bytepool.buffer: references, and byte access in C.
 *
 * Under LuaJIT with its compiler on, bytepool/methods.lua puts FFI bodies in front
 * of the hot methods here and calls these for whatever is not the plain case.
 */
#include <stdio.h>
#include <string.h>

#include "binding.h"

/* ---- making and ending handles ------------------------------------------ */

/* A script that changed the upvalue by the debug library must not crash us. */
void bpl_set_metatable(lua_State *L, int arg, int upvalue) {
    lua_pushvalue(L, upvalue);
    if (lua_istable(L, -1)) {
        lua_setmetatable(L, arg);
    } else {
        lua_pop(L, 1);
    }
}

bpl_handle *bpl_push_dead(lua_State *L) {
    bpl_handle *h = bpl_newuserdata(L, sizeof *h);
    *h = (bpl_handle){.seal = BPL_HANDLE_SEAL(h)};
    bpl_set_metatable(L, lua_gettop(L), BPL_LIVE);
    return h;
}

/* make_blanks(list, count): puts them at 1 to count. For the FFI bodies, which have no
 * other way to make a userdata, and fill one in each get. */
int bpl_make_blanks(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    int count = (int)luaL_checkinteger(L, 2);
    for (int i = 1; i <= count; i++) {
        bpl_handle *h = bpl_push_dead(L);
        h->seal = BPL_BLANK_SEAL(h);
        lua_rawseti(L, 1, i);
    }
    return 0;
}

int bpl_fill(lua_State *L, bpl_handle *h, bp_pool *pool, size_t n) {
    bp_buffer *block = bp_buffer_get(pool, n);
    if (block == NULL) {
        lua_pushnil(L);
        lua_pushliteral(L, "out of memory");
        return 2;
    }
    h->pool = pool;
    bpl_handle_point(h, block);
    return 1;
}

void bpl_handle_release(lua_State *L, int arg, bpl_handle *h) {
    if (h->owned == 1) {
        bpl_set_metatable(L, arg, BPL_DEAD);
    }
    (void)bytepool_handle_release(h, NULL, 0);
}

/* ---- references --------------------------------------------------------- */

static int l_buffer_retain(lua_State *L) {
    int status = bytepool_handle_retain(bpl_check_handle(L, 1, "retain"));
    if (status != BP_OK) {
        return bpl_raise(L, "retain: %s", bp_strerror(status));
    }
    lua_settop(L, 1);
    return 1;
}

static int l_buffer_release(lua_State *L) {
    bpl_handle_release(L, 1, bpl_check_handle(L, 1, "release"));
    return 0;
}

/* Makes the dead handle `other` a second one on the block of the handle at 1. */
static void share_into(lua_State *L, bpl_handle *other, const char *method) {
    const bpl_handle *h = bpl_check_handle(L, 1, method);
    int status = bp_buffer_retain(h->block);
    if (status != BP_OK) {
        bpl_raise(L, "%s: %s", method, bp_strerror(status));
        return;
    }
    other->pool = h->pool;
    bpl_handle_point(other, h->block);
}

static int l_buffer_share(lua_State *L) {
    lua_settop(L, 1);
    share_into(L, bpl_push_dead(L), "share");
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
    lua_settop(L, 1);
    bpl_handle *view = bpl_push_dead(L);
    lua_pushvalue(L, BPL_LIVE);
    lua_pushvalue(L, BPL_DEAD);
    lua_pushvalue(L, BPL_POOL);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, l_release_function, BPL_UPVALUES + 1);
    share_into(L, view, "bytes");
    return 2;
}

static int l_buffer_ref_count(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "ref_count");
    bpl_pushcount(L, bp_buffer_ref_count(h->block));
    return 1;
}

/* A handle that __gc has seen is dead, also when a script called it by hand or
 * brought the userdata back; a blank can not be filled any more, for it is finalized only
 * once. Silent about anything else: an error here would come out of a stranger's allocation. */
static int l_buffer_gc(lua_State *L) {
    bpl_handle *h = bpl_to_handle(L, 1);
    if (h != NULL) {
        bpl_handle_give_back(h);
    } else {
        h = bpl_to_blank(L, 1);
        if (h != NULL) {
            h->seal = NULL;
        }
    }
    return 0;
}

static int l_buffer_close(lua_State *L) {
    bpl_handle *h = bpl_to_handle(L, 1);
    if (h == NULL) {
        return bpl_raise(L, "__close: self must be a bytepool buffer, got %s", bpl_typename(L, 1));
    }
    bpl_handle_give_back(h);
    return 0;
}

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

/* LuaJIT, 5.1 and 5.2 collect before they copy: a finalizer could release the handle
 * whose bytes are copied. Another handle, made first, holds them. */
#if LUA_VERSION_NUM < 503
#define BPL_COLLECTS_FIRST 1
#else
#define BPL_COLLECTS_FIRST 0
#endif

#ifdef LUA_JITLIBNAME
#define BPL_MAX_STRING ((size_t)0x7fffff00)
#else
#define BPL_MAX_STRING (SIZE_MAX / 2)
#endif

/* Pushes bytes of the handle at 1 as a string; `hold` as bpl_push_dead left it. */
static int push_bytes(lua_State *L, bpl_handle *hold, size_t from, size_t count,
                      const char *method) {
    const bpl_handle *h = bpl_check_handle(L, 1, method);
    if (count >= BPL_MAX_STRING) {
        return bpl_raise(L, "%s: %zu bytes are more than a Lua string can hold", method, count);
    }
    int at = lua_gettop(L);
    if (hold != NULL) {
        share_into(L, hold, method);
        h = hold;
    }
    lua_pushlstring(L, count > 0 ? (const char *)h->data + from : "", count);
    if (hold != NULL) {
        bpl_handle_release(L, at, hold);
    }
    return 1;
}

static int l_buffer_tostring(lua_State *L) {
    lua_settop(L, 1);
    bpl_handle *hold = BPL_COLLECTS_FIRST ? bpl_push_dead(L) : NULL;
    return push_bytes(L, hold, 0, bpl_check_handle(L, 1, "tostring")->length, "tostring");
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
    lua_settop(L, 3);
    bpl_handle *hold = BPL_COLLECTS_FIRST ? bpl_push_dead(L) : NULL;
    const bpl_handle *h = bpl_check_handle(L, 1, "sub");
    int64_t i = bpl_check_position(L, 2, "sub", "i");
    int64_t j = lua_isnoneornil(L, 3) ? -1 : bpl_check_position(L, 3, "sub", "j");
    size_t from;
    size_t count = range(h, i, j, &from);
    return push_bytes(L, hold, from, count, "sub");
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
        bpl_push_shown(L, 2);
        return bpl_raise(L, "set_string: %zu bytes at position %s do not fit in length %zu", bytes,
                         lua_tostring(L, -1), (size_t)length);
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
    {"retain", l_buffer_retain},
    {"release", l_buffer_release},
    {"share", l_buffer_share},
    {"bytes", l_buffer_bytes},
    {"ref_count", l_buffer_ref_count},
    {"len", l_buffer_len},
    {"capacity", l_buffer_capacity},
    {"tostring", l_buffer_tostring},
    {"sub", l_buffer_sub},
    {"byte", l_buffer_byte},
    {"set_string", l_buffer_set_string},
    {"export", bpl_buffer_export},
    {NULL, NULL},
};

/* The dead metatable has all of these but __gc. */
const luaL_Reg bpl_buffer_meta[] = {
    {"__len", l_buffer_len},
    {"__tostring", l_buffer_describe},
    {"__close", l_buffer_close},
    {"__gc", l_buffer_gc},
    {NULL, NULL},
};
