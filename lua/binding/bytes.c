/* What a buffer holds: reading, comparing, searching and writing in place. */
#include <string.h>

#include "binding.h"

#ifdef LUA_JITLIBNAME
#define BPL_MAX_STRING ((size_t)0x7fffff00)
#else
#define BPL_MAX_STRING (SIZE_MAX / 2)
#endif

static int l_buffer_len(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "len");
    bpl_pushcount(L, h->length);
    return 1;
}

/* ---- copies out ---------------------------------------------------------- */

/* Pushes bytes of the handle at 1 as a string; `hold` as bpl_push_dead left it. */
int bpl_push_bytes(lua_State *L, bpl_handle *hold, size_t from, size_t count, const char *method) {
    const bpl_handle *h = bpl_check_handle(L, 1, method);
    if (count >= BPL_MAX_STRING) {
        return bpl_raise(L, "%s: %zu bytes are more than a Lua string can hold", method, count);
    }
    int at = lua_gettop(L);
    if (hold != NULL) {
        (void)bpl_view_into(L, hold, method);
        h = hold;
    }
    lua_pushlstring(L, count > 0 ? (const char *)h->data + from : "", count);
    if (hold != NULL) {
        bpl_set_metatable(L, at, BPL_DEAD);
        (void)bpl_handle_give_back(hold);
    }
    return 1;
}

static int l_buffer_tostring(lua_State *L) {
    lua_settop(L, 1);
    bpl_handle *hold = BPL_COLLECTS_FIRST ? bpl_push_dead(L) : NULL;
    return bpl_push_bytes(L, hold, 0, bpl_check_handle(L, 1, "tostring")->length, "tostring");
}

static int l_buffer_sub(lua_State *L) {
    lua_settop(L, 3);
    bpl_handle *hold = BPL_COLLECTS_FIRST ? bpl_push_dead(L) : NULL;
    const bpl_handle *h = bpl_check_handle(L, 1, "sub");
    int64_t i = bpl_check_position(L, 2, "sub", "i");
    int64_t j = lua_isnoneornil(L, 3) ? -1 : bpl_check_position(L, 3, "sub", "j");
    size_t from;
    size_t count = bpl_range(h, i, j, &from);
    return bpl_push_bytes(L, hold, from, count, "sub");
}

static int l_buffer_byte(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "byte");
    int64_t i = lua_isnoneornil(L, 2) ? 1 : bpl_check_position(L, 2, "byte", "i");
    int64_t j = lua_isnoneornil(L, 3) ? i : bpl_check_position(L, 3, "byte", "j");
    size_t from;
    size_t count = bpl_range(h, i, j, &from);
    if (count >= 1u << 20 || !lua_checkstack(L, (int)count)) {
        return bpl_raise(L, "byte: too many bytes for the Lua stack");
    }
    for (size_t k = 0; k < count; k++) {
        lua_pushinteger(L, h->data[from + k]);
    }
    return (int)count;
}

/* ---- comparing and searching ---------------------------------------------- */

/* -1, 0 or 1. */
int bpl_compare(bpl_span a, bpl_span b) {
    size_t common = a.length < b.length ? a.length : b.length;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    order = order != 0 ? order : a.length < b.length ? -1 : a.length > b.length;
    return order < 0 ? -1 : order > 0;
}

static bpl_span span_of(const bpl_handle *h) { return (bpl_span){h->data, h->length}; }

static int l_buffer_equals(lua_State *L) {
    bpl_span own = span_of(bpl_check_handle(L, 1, "equals"));
    lua_pushboolean(L, bpl_compare(own, bpl_check_span(L, 2, "equals", "other")) == 0);
    return 1;
}

static int l_buffer_compare(lua_State *L) {
    bpl_span own = span_of(bpl_check_handle(L, 1, "compare"));
    lua_pushinteger(L, bpl_compare(own, bpl_check_span(L, 2, "compare", "other")));
    return 1;
}

static int l_buffer_lt(lua_State *L) {
    bpl_span a = bpl_check_span(L, 1, "<", "left");
    lua_pushboolean(L, bpl_compare(a, bpl_check_span(L, 2, "<", "right")) < 0);
    return 1;
}

static int l_buffer_le(lua_State *L) {
    bpl_span a = bpl_check_span(L, 1, "<=", "left");
    lua_pushboolean(L, bpl_compare(a, bpl_check_span(L, 2, "<=", "right")) <= 0);
    return 1;
}

static int l_buffer_starts_with(lua_State *L) {
    const bpl_handle *h = bpl_check_handle(L, 1, "starts_with");
    bpl_span s = bpl_check_span(L, 2, "starts_with", "prefix");
    lua_pushboolean(L, s.length <= h->length &&
                           (s.length == 0 || memcmp(h->data, s.data, s.length) == 0));
    return 1;
}

static int l_buffer_ends_with(lua_State *L) {
    const bpl_handle *h = bpl_check_handle(L, 1, "ends_with");
    bpl_span s = bpl_check_span(L, 2, "ends_with", "suffix");
    lua_pushboolean(
        L, s.length <= h->length &&
               (s.length == 0 || memcmp(h->data + (h->length - s.length), s.data, s.length) == 0));
    return 1;
}

/* memmem is no part of C nor of every system: its first byte, then the rest. */
const uint8_t *bpl_search(const uint8_t *at, size_t length, bpl_span needle) {
    const uint8_t *end = at + length;
    while ((size_t)(end - at) >= needle.length) {
        at = memchr(at, needle.data[0], (size_t)(end - at) - needle.length + 1);
        if (at == NULL || memcmp(at, needle.data, needle.length) == 0) {
            return at;
        }
        at++;
    }
    return NULL;
}

/* As string.find with plain set; of an init behind the end, as Lua 5.2 and later have it. */
static int l_buffer_find(lua_State *L) {
    const bpl_handle *h = bpl_check_handle(L, 1, "find");
    bpl_span needle = bpl_check_span(L, 2, "find", "needle");
    int64_t init = lua_isnoneornil(L, 3) ? 1 : bpl_check_position(L, 3, "find", "init");
    int64_t length = (int64_t)h->length;
    init = init < 0 ? length + init + 1 : init;
    init = init < 1 ? 1 : init;
    size_t at = (size_t)(init - 1);
    if (init <= length + 1 && needle.length > 0) {
        const uint8_t *found = bpl_search(h->data + at, h->length - at, needle);
        at = found != NULL ? (size_t)(found - h->data) : h->length + 1;
    }
    if (init > length + 1 || at > h->length) {
        lua_pushnil(L);
        return 1;
    }
    bpl_pushcount(L, at + 1);
    bpl_pushcount(L, at + needle.length);
    return 2;
}

/* ---- writing in place ----------------------------------------------------- */

static int write_span(lua_State *L, const char *method, bpl_span s) {
    bpl_handle *h = bpl_check_writable(L, method);
    size_t at = bpl_check_place(L, 2, h, s.length, method);
    if (s.length > 0) {
        memmove(h->data + at, s.data, s.length);
    }
    lua_settop(L, 1);
    return 1;
}

static int l_buffer_set_string(lua_State *L) {
    (void)bpl_check_handle(L, 1, "set_string");
    if (lua_type(L, 3) != LUA_TSTRING) {
        (void)bpl_check_position(L, 2, "set_string", "pos");
        return bpl_raise(L, "set_string: argument 's' must be a string, got %s",
                         bpl_typename(L, 3));
    }
    return write_span(L, "set_string", bpl_check_span(L, 3, "set_string", "s"));
}

/* copy(pos, from[, i[, j]]): bytes i to j of a string or buffer, over those from pos on. */
static int l_buffer_copy(lua_State *L) {
    lua_settop(L, 5);
    (void)bpl_check_handle(L, 1, "copy");
    bpl_span s = bpl_check_span(L, 3, "copy", "from");
    const bpl_handle source = {.length = s.length};
    size_t from;
    size_t count = bpl_check_range(L, 4, &source, "copy", &from);
    return write_span(L, "copy", (bpl_span){s.data + from, count});
}

/* fill(value[, i[, j]]) */
static int l_buffer_fill(lua_State *L) {
    lua_settop(L, 4);
    bpl_handle *h = bpl_check_writable(L, "fill");
    int64_t value = bpl_check_position(L, 2, "fill", "value");
    if (value < 0 || value > 255) {
        bpl_push_shown(L, 2);
        return bpl_raise(L, "fill: argument 'value' must be from 0 to 255, got %s",
                         lua_tostring(L, -1));
    }
    size_t from;
    size_t count = bpl_check_range(L, 3, h, "fill", &from);
    if (count > 0) {
        memset(h->data + from, (int)value, count);
    }
    lua_settop(L, 1);
    return 1;
}

const luaL_Reg bpl_bytes_methods[] = {
    {"len", l_buffer_len},
    {"tostring", l_buffer_tostring},
    {"sub", l_buffer_sub},
    {"byte", l_buffer_byte},
    {"equals", l_buffer_equals},
    {"compare", l_buffer_compare},
    {"starts_with", l_buffer_starts_with},
    {"ends_with", l_buffer_ends_with},
    {"find", l_buffer_find},
    {"set_string", l_buffer_set_string},
    {"copy", l_buffer_copy},
    {"fill", l_buffer_fill},
    {NULL, NULL},
};

const luaL_Reg bpl_bytes_meta[] = {
    {"__len", l_buffer_len},
    {"__lt", l_buffer_lt},
    {"__le", l_buffer_le},
    {NULL, NULL},
};
