/* The userdata bytepool.buffer: how handles are made, what they own, and their end. What
 * they do with bytes stands in bytes.c, view.c and build.c.
 *
 * Under LuaJIT with its compiler on, bytepool/methods.lua puts FFI bodies in front
 * of the hot methods here and calls these for whatever is not the plain case.
 */
#include <stdio.h>

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

void bpl_push_upvalues(lua_State *L) {
    lua_pushvalue(L, BPL_LIVE);
    lua_pushvalue(L, BPL_DEAD);
    lua_pushvalue(L, BPL_POOL);
    lua_pushvalue(L, BPL_STATE);
}

static void pace(lua_State *L) {
    bpl_state *s = bpl_state_of(L);
    if (s != NULL) {
        bpl_pace(L, s);
    }
}

static bpl_handle *push_handle(lua_State *L) {
    bpl_handle *h = bpl_newuserdata(L, sizeof *h);
    *h = (bpl_handle){.seal = BPL_HANDLE_SEAL(h)};
    bpl_set_metatable(L, lua_gettop(L), BPL_LIVE);
    return h;
}

bpl_handle *bpl_push_dead(lua_State *L) {
    pace(L);
    return push_handle(L);
}

/* make_blanks(list, count): puts them at 1 to count. For the FFI bodies, which have no
 * other way to make a userdata, and fill one in each get. */
int bpl_make_blanks(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    int count = (int)luaL_checkinteger(L, 2);
    bpl_state *s = bpl_state_of(L);
    if (s != NULL && count > 0) {
        s->until_sweep -= s->until_sweep > (uint32_t)count ? (uint32_t)count - 1 : 0;
        bpl_pace(L, s);
    }
    lua_settop(L, 1);
    lua_pushvalue(L, BPL_LIVE); /* looked at once: these are most of what a get costs */
    luaL_checktype(L, 2, LUA_TTABLE);
    for (int i = 1; i <= count; i++) {
        bpl_handle *h = bpl_newuserdata(L, sizeof *h);
        *h = (bpl_handle){.seal = BPL_BLANK_SEAL(h)};
        lua_pushvalue(L, 2);
        lua_setmetatable(L, 3);
        lua_rawseti(L, 1, i);
    }
    return 0;
}

/* trace_new(buf, tag or nil): returns buf, of which the FFI says that it is to be traced. Its one
 * frame is the caller's: the FFI body calls it last. */
int bpl_trace_new(lua_State *L) {
    lua_settop(L, 2);
    bpl_handle *h = bpl_to_handle(L, 1);
    if (h != NULL && h->owned > 0 && h->trace == 0) {
        bpl_trace_slow(L, h, lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL);
    }
    lua_settop(L, 1);
    return 1;
}

int bpl_fill(lua_State *L, bpl_handle *h, bpl_pool *pool, size_t n, const char *tag) {
    bp_buffer *block = bp_buffer_get(pool->pool, n);
    if (block == NULL) {
        return bpl_no_room(L, pool->pool, n);
    }
    bpl_handle_point(h, pool->ledger, block, n);
    bpl_trace(L, h, tag);
    return 1;
}

/* Gives back one reference or all. True where bytes behind the end were overwritten, which is
 * counted by then, and the listener knows. */
static bool let_go(lua_State *L, bpl_handle *h, bool all, bpl_event *e) {
    bpl_ledger *l = h->ledger;
    bpl_state *s = l->state;
    *e = bpl_event_of(l, BPL_OVERRUN, bpl_record_of(s, h), bpl_capacity(h));
    s->uses++;
    bool overrun = (all ? bpl_handle_give_back(h) : bpl_handle_drop(h)) == BP_ERR_OVERRUN;
    if (overrun) {
        if (bpl_ledger_lives(s, l)) {
            bpl_blame(l, e);
        }
        bpl_tell(L, s, e);
    }
    bpl_state_drop(s);
    return overrun;
}

void bpl_handle_release(lua_State *L, int arg, bpl_handle *h, const char *method) {
    bool traced = h->trace != 0 && bpl_watched(h);
    if (traced) {
        bpl_trace_event(L, h, true);
    }
    if (h->owned == 1) {
        bpl_set_metatable(L, arg, BPL_DEAD);
    }
    bpl_event e;
    if (!traced) {
        (void)bpl_handle_drop(h);
    } else if (let_go(L, h, false, &e)) {
        bpl_raise(L, "%s: bytes behind the end of the buffer were overwritten (got at %s)", method,
                  e.site);
    }
}

/* ---- references --------------------------------------------------------- */

static int l_buffer_retain(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "retain");
    int status = bpl_handle_take(h);
    if (status != BP_OK) {
        return bpl_raise(L, "retain: %s", bp_strerror(status));
    }
    if (h->trace != 0 && bpl_watched(h)) {
        bpl_trace_event(L, h, false);
    }
    lua_settop(L, 1);
    return 1;
}

static int l_buffer_release(lua_State *L) {
    bpl_handle_release(L, 1, bpl_check_release(L, 1, "release"), "release");
    return 0;
}

static int l_buffer_ref_count(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "ref_count");
    bpl_pushcount(L, bp_buffer_ref_count(h->block));
    return 1;
}

/* The memory goes back before the listener hears of it. What is tied to a request nobody was
 * to release: it is no leak where the collector is faster. */
static void collected(lua_State *L, bpl_handle *h) {
    if (h->owned == 0) {
        return;
    }
    if (h->tied != 0) {
        (void)bpl_handle_give_back(h);
        return;
    }
    bpl_state *s = h->ledger->state;
    bpl_event e, overrun;
    const bpl_record *r = bpl_record_of(s, h);
    bool known = r != NULL;
    if (known) {
        e = bpl_event_of(h->ledger, BPL_COLLECTED, r, bpl_capacity(h));
        bpl_blame(h->ledger, &e);
    }
    bp_buffer_count_collected(h->ledger->pool, h->block);
    s->uses++;
    (void)let_go(L, h, true, &overrun);
    if (known) {
        bpl_tell(L, s, &e);
    }
    bpl_state_drop(s);
}

/* A handle that __gc has seen is dead, also when a script called it by hand or
 * brought the userdata back; a blank can not be filled any more, for it is finalized only
 * once. Silent about anything else: an error here would come out of a stranger's allocation. */
static int l_buffer_gc(lua_State *L) {
    bpl_handle *h = bpl_to_handle(L, 1);
    if (h != NULL) {
        collected(L, h);
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
    if (h->owned > 0 && h->trace != 0) {
        bpl_event e;
        bpl_trace_event(L, h, true);
        (void)let_go(L, h, true, &e); /* told, not raised: others of a scope are to follow */
    } else {
        (void)bpl_handle_give_back(h);
    }
    return 0;
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
                       bpl_capacity(h), (unsigned)bp_buffer_ref_count(h->block));
        lua_pushstring(L, text);
    }
    return 1;
}

const luaL_Reg bpl_buffer_methods[] = {
    {"retain", l_buffer_retain},
    {"release", l_buffer_release},
    {"ref_count", l_buffer_ref_count},
    {"export", bpl_buffer_export},
    {NULL, NULL},
};

const luaL_Reg bpl_buffer_meta[] = {
    {"__tostring", l_buffer_describe},
    {"__close", l_buffer_close},
    {"__gc", l_buffer_gc},
    {NULL, NULL},
};
