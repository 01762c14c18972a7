/* Handles on bytes that others hold too: share, bytes, slice, split; who is alone, and what
 * may not be written any more. */
#include "binding.h"

/* Makes the dead handle `other` a second one on what the handle at 1 shows. */
int bpl_view_into(lua_State *L, bpl_handle *other, const char *method) {
    const bpl_handle *h = bpl_check_handle(L, 1, method);
    int status = bp_buffer_retain(h->block);
    if (status != BP_OK) {
        return bpl_raise(L, "%s: %s", method, bp_strerror(status));
    }
    bpl_handle_view(other, h);
    return 1;
}

int bpl_share_into(lua_State *L, bpl_handle *other, const char *method) {
    (void)bpl_view_into(L, other, method);
    bpl_trace(L, other, NULL);
    return 1;
}

static int l_buffer_share(lua_State *L) {
    lua_settop(L, 1);
    return bpl_share_into(L, bpl_push_dead(L), "share");
}

/* The fifth upvalue is the handle, then nil: the function works once. */
static int l_release_function(lua_State *L) {
    int at = lua_upvalueindex(BPL_UPVALUES + 1);
    if (lua_isnil(L, at)) {
        return bpl_raise(L, "bytes: this release function was used already");
    }
    lua_settop(L, 0);
    lua_pushvalue(L, at);
    bpl_handle *h = bpl_check_release(L, 1, "bytes");
    lua_pushnil(L);
    lua_replace(L, at);
    bpl_handle_release(L, 1, h, "bytes");
    return 0;
}

static int l_buffer_bytes(lua_State *L) {
    lua_settop(L, 1);
    bpl_handle *view = bpl_push_dead(L);
    bpl_push_upvalues(L);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, l_release_function, BPL_UPVALUES + 1);
    (void)bpl_share_into(L, view, "bytes");
    return 2;
}

static int l_buffer_slice(lua_State *L) {
    lua_settop(L, 3);
    bpl_handle *part = bpl_push_dead(L);
    size_t from;
    size_t count = bpl_check_range(L, 2, bpl_check_handle(L, 1, "slice"), "slice", &from);
    (void)bpl_share_into(L, part, "slice");
    bpl_handle_narrow(part, from, count);
    return 1;
}

/* split(n): the first n bytes as a slice of their own; self keeps the rest. */
static int l_buffer_split(lua_State *L) {
    lua_settop(L, 2);
    bpl_handle *part = bpl_push_dead(L);
    bpl_handle *h = bpl_check_handle(L, 1, "split");
    size_t n = bpl_check_size(L, 2, "split", "n");
    if (n > h->length) {
        return bpl_raise(L, "split: %zu bytes are more than the length %zu", n, h->length);
    }
    (void)bpl_share_into(L, part, "split");
    bpl_handle_narrow(part, 0, n);
    bpl_handle_narrow(h, n, h->length - n);
    return 1;
}

static int l_buffer_is_unique(lua_State *L) {
    const bpl_handle *h = bpl_check_handle(L, 1, "is_unique");
    lua_pushboolean(L, bp_buffer_ref_count(h->block) == h->owned);
    return 1;
}

static int l_buffer_freeze(lua_State *L) {
    (void)bp_buffer_freeze(bpl_check_handle(L, 1, "freeze")->block);
    lua_settop(L, 1);
    return 1;
}

static int l_buffer_is_frozen(lua_State *L) {
    lua_pushboolean(L, bp_buffer_is_frozen(bpl_check_handle(L, 1, "is_frozen")->block));
    return 1;
}

const luaL_Reg bpl_view_methods[] = {
    {"share", l_buffer_share},         {"bytes", l_buffer_bytes},
    {"slice", l_buffer_slice},         {"split", l_buffer_split},
    {"is_unique", l_buffer_is_unique}, {"freeze", l_buffer_freeze},
    {"is_frozen", l_buffer_is_frozen}, {NULL, NULL},
};
