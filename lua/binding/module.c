/* bytepool.core: metatables, registration, and what bytepool/methods.lua needs to
 * put FFI bodies in front of the C methods. */
#include <string.h>
#include <unistd.h>

#include "sandbox.h"

/* type(x): what the library itself makes of a value. */
static int l_type(lua_State *L) {
    const bpl_handle *h = bpl_to_handle(L, 1);
    const bpl_pool *p = h == NULL ? bpl_to_pool(L, 1) : NULL;
    if (h != NULL) {
        lua_pushstring(L, h->owned > 0 ? "buffer" : "released buffer");
    } else if (p != NULL) {
        lua_pushstring(L, p->pool != NULL ? "pool" : "closed pool");
    } else {
        lua_pushnil(L);
    }
    return 1;
}

int bpl_push_sizes(lua_State *L, const size_t *sizes, size_t count) {
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        bpl_pushcount(L, sizes[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

static int l_size_power_of_two(lua_State *L) {
    size_t count;
    const size_t *sizes = bp_size_power_of_two(&count);
    return bpl_push_sizes(L, sizes, count);
}

static int l_size_stream(lua_State *L) {
    size_t count;
    const size_t *sizes = bp_size_stream(&count);
    return bpl_push_sizes(L, sizes, count);
}

/* Whether `width` bytes that end `offset` before a userdata's memory hold the
 * address of its metatable, tried with the two tables above it. */
static bool metatable_is_at(lua_State *L, int at, size_t offset, size_t width) {
    const char *memory = lua_touserdata(L, at);
    for (int table = at + 1; table <= at + 2; table++) {
        lua_pushvalue(L, table);
        lua_setmetatable(L, at);
        uintptr_t address = (uintptr_t)lua_topointer(L, table);
        uintptr_t found = 0;
        uint32_t narrow = 0;
        if (width == sizeof found) {
            memcpy(&found, memory - offset, sizeof found);
        } else {
            memcpy(&narrow, memory - offset, sizeof narrow);
            found = narrow;
        }
        if (found != address) {
            return false;
        }
    }
    return true;
}

/* Where LuaJIT keeps a userdata's metatable, in bytes before its memory; negative for a
 * 32-bit reference; 0 where that can not be told for certain. Reads only within the 24
 * bytes before the memory, which are the userdata's own head in every Lua. */
static int metatable_place(lua_State *L) {
    int place = 0;
    int top = lua_gettop(L);
    bpl_newuserdata(L, 64);
    lua_newtable(L);
    lua_newtable(L);
    for (int width = (int)sizeof(uintptr_t); width >= 4 && place == 0; width /= 2) {
        for (int offset = width; offset <= 24 && place == 0; offset += 4) {
            if (metatable_is_at(L, top + 1, (size_t)offset, (size_t)width)) {
                place = width == 8 || sizeof(uintptr_t) == 4 ? offset : -offset;
            }
        }
    }
    lua_settop(L, top);
    return place;
}

static const luaL_Reg functions[] = {
    {"new_pools", bpl_new_pools},
    {"configure", bpl_configure},
    {"rollback", bpl_rollback},
    {"settings", bpl_settings},
    {"own", bpl_own},
    {"tick", bpl_tick},
    {"press", bpl_press},
    {"open", bpl_open},
    {"same_pool", bpl_same_pool},
    {"import", bpl_import},
    {"type", l_type},
    {"size_power_of_two", l_size_power_of_two},
    {"size_stream", l_size_stream},
    {"writev", bpl_writev},
    {"pacing", bpl_set_pacing},
    {"on_leak", bpl_on_leak},
    {"expect", bpl_expect},
    {"sandbox", bpl_sandbox_run},
    {"read_text", bpl_read_text},
    {"claim", bpl_claim},
    {NULL, NULL},
};

/* What becomes the upvalues of every function: it stands at stack 1 to 4. */
static void push_common(lua_State *L) {
    for (int i = 1; i <= BPL_UPVALUES; i++) {
        lua_pushvalue(L, i);
    }
}

/* Sets functions in the table at the top. */
static void set_functions(lua_State *L, const luaL_Reg *list) {
    for (; list->name != NULL; list++) {
        push_common(L);
        lua_pushcclosure(L, list->func, BPL_UPVALUES);
        lua_setfield(L, -2, list->name);
    }
}

/* Fills the metatable at stack `at`; `methods` is at the top and stays. */
static void fill_metatable(lua_State *L, int at, const char *name, const luaL_Reg *const *meta) {
    lua_pushvalue(L, at);
    for (; *meta != NULL; meta++) {
        set_functions(L, *meta);
    }
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

/* The dead metatable holds the very functions of the live one but __gc: Lua 5.1 calls a
 * comparison's only where both sides have the same. */
static void copy_metatable(lua_State *L, int from, int to) {
    for (lua_pushnil(L); lua_next(L, from) != 0; lua_pop(L, 1)) {
        if (strcmp(lua_tostring(L, -2), "__gc") != 0) {
            lua_pushvalue(L, -2);
            lua_pushvalue(L, -2);
            lua_rawset(L, to);
        }
    }
}

/* In the table at the top, with string.format as it is now. */
static void set_putf(lua_State *L) {
    push_common(L);
    lua_getglobal(L, LUA_STRLIBNAME);
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "format");
        lua_remove(L, -2);
    }
    lua_pushcclosure(L, bpl_buffer_putf, BPL_UPVALUES + 1);
    lua_setfield(L, -2, "putf");
}

static void set_value(lua_State *L, int value, int table, const char *name) {
    lua_pushvalue(L, value);
    lua_setfield(L, table, name);
}

static void set_number(lua_State *L, double value, int table, const char *name) {
    lua_pushnumber(L, (lua_Number)value);
    lua_setfield(L, table, name);
}

/* moves(buf): how often the handle came to another block. */
static int l_moves(lua_State *L) {
    const bpl_handle *h = bpl_to_handle(L, 1);
    lua_pushinteger(L, h != NULL ? (lua_Integer)h->moves : 0);
    return 1;
}

/* Of this thread: what bounds the work of one is not another's. */
static int l_processor_seconds(lua_State *L) {
    lua_pushnumber(L, (lua_Number)bpl_processor_seconds());
    return 1;
}

/* For bytepool's own Lua files: what FFI bodies need to tell a live buffer and a pool, and what
 * no program has a use for. */
static void push_internals(lua_State *L) {
    static char light;
    lua_newtable(L);
    int table = lua_gettop(L);
    set_value(L, 1, table, "live");
    set_value(L, 3, table, "pool");
    lua_pushliteral(L, BPL_CDEF);
    lua_setfield(L, table, "cdef");
    lua_pushlightuserdata(L, &light);
    lua_setfield(L, table, "light");
    lua_pushlightuserdata(L, (void *)(uintptr_t)lua_topointer(L, 2));
    lua_setfield(L, table, "dead_address");
    lua_pushlightuserdata(L, (void *)(uintptr_t)bytepool_handle_release);
    lua_setfield(L, table, "release_address");
    set_number(L, metatable_place(L), table, "metatable_place");
    bpl_push_kinds(L);
    lua_setfield(L, table, "kinds");
    static const luaL_Reg private[] = {{"make_blanks", bpl_make_blanks},
                                       {"trace_new", bpl_trace_new},
                                       {"quota_text", bpl_quota_text},
                                       {"processor_seconds", l_processor_seconds},
                                       {"moves", l_moves},
                                       {NULL, NULL}};
    set_functions(L, private);
}

static const luaL_Reg *const buffer_methods[] = {
    bpl_buffer_methods, bpl_bytes_methods,  bpl_view_methods,
    bpl_build_methods,  bpl_number_methods, bpl_pack_methods,
    bpl_io_methods,     bpl_lines_methods,  NULL};
static const luaL_Reg *const buffer_meta[] = {bpl_buffer_meta, bpl_bytes_meta, bpl_build_meta,
                                              NULL};
static const luaL_Reg *const pool_methods[] = {bpl_pool_methods, NULL};
static const luaL_Reg *const pool_meta[] = {bpl_pool_meta, NULL};

/* The metatable at stack `at` and its methods, a new table that is left on the top. */
static void make_type(lua_State *L, int at, const char *name, const luaL_Reg *const *methods,
                      const luaL_Reg *const *meta) {
    lua_newtable(L);
    for (; *methods != NULL; methods++) {
        set_functions(L, *methods);
    }
    fill_metatable(L, at, name, meta);
}

BPL_EXPORT int luaopen_bytepool_core(lua_State *L) {
    lua_settop(L, 0);
    lua_newtable(L);                 /* 1: live buffers */
    lua_newtable(L);                 /* 2: dead buffers */
    lua_newtable(L);                 /* 3: pools */
    if (bpl_push_state(L) == NULL) { /* 4: its anchor */
        return luaL_error(L, "not enough memory");
    }
    lua_newtable(L); /* 5: the module */
    set_functions(L, functions);
    lua_pushliteral(L, BP_VERSION);
    lua_setfield(L, 5, "_VERSION");
    set_number(L, (double)BP_MAX_SIZE, 5, "max_size");
    set_number(L, (double)sysconf(_SC_PAGESIZE), 5, "page_size");
    lua_pushstring(L, bp_strerror(BP_ERR_EXISTS));
    lua_setfield(L, 5, "name_taken");
    set_number(L, BP_MAX_TIERS, 5, "max_tiers");
    bp_options defaults;
    bp_options_init(&defaults);
    set_number(L, (double)defaults.max_idle, 5, "max_idle");
    set_number(L, defaults.decay, 5, "decay");
    make_type(L, 1, "bytepool.buffer", buffer_methods, buffer_meta);
    set_putf(L);
    copy_metatable(L, 1, 2);
    lua_setfield(L, 5, "buffer_methods");
    make_type(L, 3, "bytepool.pool", pool_methods, pool_meta);
    lua_setfield(L, 5, "pool_methods");
    push_internals(L);
    lua_setfield(L, 5, "internals");
    lua_newtable(L);
    set_functions(L, bpl_nginx_functions);
    lua_setfield(L, 5, "nginx");
    bpl_find_ffi(L);
    return 1;
}
