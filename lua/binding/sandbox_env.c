/* What a script in a sandbox can call. See sandbox.h.
 *
 * Left out is what reaches outside (io, os, require, load, debug), what could swallow a limit
 * (pcall, coroutines), what makes code run unseen (metatables), and C functions that take long
 * without a hook: patterns, string.rep, unpack, and table.sort, insert and remove, which
 * prelude.lua brings in Lua.
 */
#include <string.h>

#include "sandbox.h"

typedef struct library {
    const char *name;
    lua_CFunction open;
    const char *kept[24]; /* of the first one: globals */
} library;

static const library libraries[] = {
    {"_G",
     luaopen_base,
     {"assert", "error", "ipairs", "next", "pairs", "select", "tonumber", "tostring", "type",
      "_VERSION"}},
    {LUA_STRLIBNAME, luaopen_string, {"byte", "char", "format", "len", "lower", "sub", "upper"}},
    {LUA_TABLIBNAME, luaopen_table, {"concat"}},
    /* No random: its state is the whole process's. */
    {LUA_MATHLIBNAME,
     luaopen_math,
     {"abs", "ceil", "exp", "floor", "fmod", "huge", "log", "max", "maxinteger", "min",
      "mininteger", "modf", "pi", "pow", "sqrt", "tointeger", "type", "ult"}},
};
enum { LIBRARIES = sizeof libraries / sizeof *libraries };

void bpl_sandbox_globals(lua_State *S) {
#if LUA_VERSION_NUM >= 502
    lua_pushglobaltable(S);
#else
    lua_pushvalue(S, LUA_GLOBALSINDEX);
#endif
}

static void open_library(lua_State *S, const library *l) {
#if LUA_VERSION_NUM >= 502
    luaL_requiref(S, l->name, l->open, 1);
    lua_pop(S, 1);
#else
    lua_pushcfunction(S, l->open);
    lua_pushstring(S, l == libraries ? "" : l->name);
    lua_call(S, 1, 0);
#endif
}

/* Copies the names from the table at `from` into the one at `to`. */
static void keep(lua_State *S, int from, int to, const char *const *names) {
    for (; *names != NULL; names++) {
        lua_getfield(S, from, *names);
        lua_setfield(S, to, *names);
    }
}

static void clear(lua_State *S, int table) {
    for (lua_pushnil(S); lua_next(S, table) != 0;) {
        lua_pop(S, 1);
        lua_pushvalue(S, -1);
        lua_pushnil(S);
        lua_rawset(S, table);
    }
}

/* Sets what the table at `from` has in the one at `to`; the key stands on the top meanwhile. */
void bpl_sandbox_merge(lua_State *S, int from, int to) {
    for (lua_pushnil(S); lua_next(S, from) != 0;) {
        lua_pushvalue(S, -2);
        lua_insert(S, -2);
        lua_rawset(S, to);
    }
}

/* Methods of strings are those that were kept. */
static void set_string_methods(lua_State *S, int kept) {
    lua_pushliteral(S, "");
    lua_newtable(S);
    lua_getfield(S, kept, LUA_STRLIBNAME);
    lua_setfield(S, -2, "__index");
    lua_setmetatable(S, -2);
    lua_pop(S, 1);
}

/* LuaJIT's first literal such as 1LL opens its ffi library, of which nothing else can be
 * reached: here, for it does not survive running out of memory, and after the other
 * libraries, for the table of loaded ones is all that keeps it from the collector. */
static void open_ffi(lua_State *S) {
#ifdef LUA_JITLIBNAME
    if (luaL_loadstring(S, "return 1LL") != 0) {
        lua_error(S);
    }
    lua_pop(S, 1);
#else
    (void)S;
#endif
}

/* What forgets a number takes no memory and raises nothing where the registry has a place for the
 * list of free ones: 0 up to Lua 5.4.2, where an empty list must not be nil, which a growing table
 * leaves out; later one that the first reference makes. */
static void first_reference(lua_State *S) {
    lua_pushinteger(S, 0);
    lua_rawseti(S, LUA_REGISTRYINDEX, 0);
    lua_pushboolean(S, 1);
    luaL_unref(S, LUA_REGISTRYINDEX, luaL_ref(S, LUA_REGISTRYINDEX));
}

void bpl_sandbox_fill(lua_State *S) {
    lua_settop(S, 0);
    bpl_sandbox_globals(S); /* 1 */
    lua_newtable(S);        /* 2: what is kept */
    for (int i = 0; i < LIBRARIES; i++) {
        open_library(S, &libraries[i]);
        if (i == 0) {
            keep(S, 1, 2, libraries[i].kept);
        } else {
            lua_getfield(S, 1, libraries[i].name);
            lua_newtable(S);
            keep(S, 3, 4, libraries[i].kept);
            lua_setfield(S, 2, libraries[i].name);
            lua_settop(S, 2);
        }
    }
    open_ffi(S);
    set_string_methods(S, 2);
    clear(S, 1);
    bpl_sandbox_merge(S, 2, 1);
    lua_settop(S, 0);
    first_reference(S);
    (void)lua_gc(S, LUA_GCCOLLECT, 0);
}

/* The line of the script that is at work; 0 where a tail call has left none. */
static int line_of(lua_State *S) {
    lua_Debug at;
    for (int level = 0; lua_getstack(S, level, &at) != 0; level++) {
        (void)lua_getinfo(S, "Sl", &at);
        if (strcmp(at.source, BPL_SANDBOX_CHUNK) == 0 && at.currentline > 0) {
            return at.currentline;
        }
    }
    return 0;
}

/* The same for the prelude: nil in place of 0. */
int bpl_sandbox_line(lua_State *S) {
    int line = line_of(S);
    if (line > 0) {
        lua_pushinteger(S, line);
    } else {
        lua_pushnil(S);
    }
    return 1;
}

/* Raises what the string at the top says, as of the line at work. */
int bpl_sandbox_raise_here(lua_State *S) {
    int line = line_of(S);
    if (line > 0) {
        lua_pushfstring(S, "config:%d: %s", line, lua_tostring(S, -1));
    } else {
        lua_pushfstring(S, "config: %s", lua_tostring(S, -1));
    }
    return lua_error(S);
}

/* ---- calls of the host's functions ------------------------------------------------------ */

/* Number and serial of the function are its upvalues. The host's state stands within a call
 * into this sandbox; its frame holds all that is needed, so that nothing here raises there:
 * on LuaJIT a light userdata can take memory. */
int bpl_sandbox_hostcall(lua_State *S) {
    bpl_sandbox *box = bpl_sandbox_of(S);
    uint32_t serial = (uint32_t)lua_tonumber(S, lua_upvalueindex(2));
    luaL_checkstack(S, BPL_WIRE_STACK + 10, NULL);
    if (serial != 0 && serial != box->serial) {
        lua_pushliteral(S, "this function is of use only during the call that it was given to");
        return bpl_sandbox_raise_here(S);
    }
    bpl_wire *w = box->wire;
    int arguments = lua_gettop(S);
    bpl_wire_reset(w);
    bpl_wire_count(w, arguments);
    for (int i = 1; i <= arguments; i++) {
        bpl_wire_from_sandbox(S, i, w);
    }
    if (w->fault != NULL) {
        lua_pushfstring(S, "argument %s%s%s", w->path, w->path[0] != '\0' ? ": " : "", w->fault);
        return bpl_sandbox_raise_here(S);
    }
    lua_State *L = box->host;
    int top = lua_gettop(L);
    box->called = (int)lua_tointeger(S, lua_upvalueindex(1));
    lua_pushvalue(L, box->frame + BPL_FRAME_HOST_SIDE);
    lua_pushvalue(L, box->frame + (serial != 0 ? BPL_FRAME_FUNCTIONS : BPL_FRAME_ENV));
    lua_pushvalue(L, box->frame + BPL_FRAME_HOLD);
    bool done = bpl_sandbox_leave(L, box);
    if (!done) {
        size_t length = 0;
        const char *said = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : NULL;
        bpl_wire_reset(w);
        bpl_wire_message(w, said == NULL ? "the host's function failed" : "", "",
                         said == NULL ? "" : said, length);
    }
    lua_settop(L, top);
    if (w->fault != NULL) {
        lua_pushfstring(S, "what the host's function gave %s", w->fault);
        return bpl_sandbox_raise_here(S);
    }
    lua_settop(S, 0);
    if (!done) {
        bpl_wire_to_sandbox(S, w);
        return bpl_sandbox_raise_here(S);
    }
    int results = bpl_wire_read_count(w);
    luaL_checkstack(S, results + 4, NULL);
    for (int i = 0; i < results; i++) {
        bpl_wire_to_sandbox(S, w);
    }
    return results;
}

/* Upvalues: env, the metatable of holds. Called by whom a hook showed it to, too, with anything,
 * and with other upvalues. */
int bpl_sandbox_host_side(lua_State *L) {
    const bpl_hold *hold = bpl_to_hold(L, 2);
    bpl_sandbox *box = hold != NULL ? hold->box : NULL;
    if (box == NULL || box->called == 0 || !lua_istable(L, 1) ||
        !bpl_sandbox_has_frame(L, lua_upvalueindex(1))) {
        return luaL_error(L, "the host's function is not to be called so");
    }
    bpl_wire *w = box->wire;
    int id = box->called;
    box->called = 0;
    luaL_checkstack(L, BPL_WIRE_STACK + 10, NULL);
    lua_rawgeti(L, 1, id);
    lua_replace(L, 1);
    lua_settop(L, 1);
    /* A frame for functions among the arguments, above the function. */
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_pushvalue(L, 1);
    int arguments = bpl_wire_read_count(w);
    for (int i = 0; i < arguments; i++) {
        luaL_checkstack(L, 8, NULL);
        bpl_wire_to_host(L, w, box, 1);
    }
    lua_call(L, arguments, LUA_MULTRET);
    luaL_checkstack(L, BPL_WIRE_STACK, NULL);
    int results = lua_gettop(L);
    bpl_wire_reset(w);
    bpl_wire_count(w, results - 3);
    for (int i = 4; i <= results; i++) {
        bpl_wire_from_host(L, i, w, 0, 0);
    }
    return 0;
}
