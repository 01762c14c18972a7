/* Iterators over what a buffer holds, piece by piece, as slices. */
#include "binding.h"

#define REST      lua_upvalueindex(BPL_UPVALUES + 1) /* a handle on what is to come; nil: ended */
#define DELIMITER lua_upvalueindex(BPL_UPVALUES + 2)
#define MAX       lua_upvalueindex(BPL_UPVALUES + 3)

static void end(lua_State *L, bpl_handle *rest) {
    lua_pushnil(L);
    lua_replace(L, REST);
    bpl_handle_release(L, 1, rest, "lines");
}

/* The next slice, and whether a delimiter ended it; at the end nil. Looks no farther
 * than the longest piece and a delimiter behind it. */
static int next_piece(lua_State *L, const char *method) {
    lua_settop(L, 0);
    lua_pushvalue(L, REST);
    bpl_handle *part = bpl_push_dead(L);
    bpl_span mark = bpl_check_span(L, DELIMITER, method, "delimiter");
    size_t max = lua_isnil(L, MAX) ? BP_MAX_SIZE : bpl_check_size(L, MAX, method, "max");
    bpl_handle *rest = bpl_to_handle(L, 1);
    bool alive = rest != NULL && rest->owned > 0;
    if (!alive || rest->length == 0 || mark.length == 0) {
        if (alive) {
            end(L, rest);
        }
        lua_pushnil(L);
        return 1;
    }
    size_t far =
        rest->length > max && rest->length - max > mark.length ? max + mark.length : rest->length;
    const uint8_t *found = bpl_search(rest->data, far, mark);
    size_t count = found != NULL ? (size_t)(found - rest->data) : rest->length;
    if (count > max) {
        end(L, rest);
        return bpl_raise(L, "%s: a piece is longer than %zu bytes", method, max);
    }
    (void)bpl_share_into(L, part, method);
    bpl_handle_narrow(part, 0, count);
    if (found == NULL) {
        end(L, rest);
    } else {
        bpl_handle_narrow(rest, count + mark.length, rest->length - count - mark.length);
    }
    lua_pushboolean(L, found != NULL);
    return 2;
}

static int l_next_line(lua_State *L) { return next_piece(L, "lines"); }

static int l_next_split(lua_State *L) { return next_piece(L, "split_on"); }

/* With buffer, delimiter and max at 1 to 3. Lua 5.4 closes the fourth result when its loop
 * ends, also by a break or an error. */
static int iterate(lua_State *L, const char *method, lua_CFunction next) {
    bpl_handle *rest = bpl_push_dead(L);
    bpl_push_upvalues(L);
    lua_pushvalue(L, 4);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_pushcclosure(L, next, BPL_UPVALUES + 3);
    (void)bpl_check_handle(L, 1, method);
    if (lua_type(L, 2) != LUA_TSTRING || lua_rawlen(L, 2) == 0) {
        return bpl_raise(L, "%s: argument 'delimiter' must be a string that is not empty, got %s",
                         method, lua_type(L, 2) == LUA_TSTRING ? "''" : bpl_typename(L, 2));
    }
    if (!lua_isnil(L, 3)) {
        (void)bpl_check_size(L, 3, method, "max");
    }
    (void)bpl_share_into(L, rest, method);
#if LUA_VERSION_NUM >= 504
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, 4);
    return 4;
#else
    return 1;
#endif
}

/* lines([max]) */
static int l_buffer_lines(lua_State *L) {
    lua_settop(L, 2);
    lua_pushliteral(L, "\n");
    lua_insert(L, 2);
    return iterate(L, "lines", l_next_line);
}

/* split_on(delimiter[, max]) */
static int l_buffer_split_on(lua_State *L) {
    lua_settop(L, 3);
    return iterate(L, "split_on", l_next_split);
}

const luaL_Reg bpl_lines_methods[] = {
    {"lines", l_buffer_lines},
    {"split_on", l_buffer_split_on},
    {NULL, NULL},
};
