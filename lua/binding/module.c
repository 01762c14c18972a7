/* bytepool.core: metatables, registration, and what bytepool/methods.lua needs to
 * put FFI bodies in front of the C methods. */
#include <string.h>

#include "binding.h"

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

static int push_sizes(lua_State *L, const size_t *sizes, size_t count) {
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
    return push_sizes(L, sizes, count);
}

static int l_size_stream(lua_State *L) {
    size_t count;
    const size_t *sizes = bp_size_stream(&count);
    return push_sizes(L, sizes, count);
}

/* Whether `width` bytes that end `offset` before a userdata's memory hold the
 * address of its metatable, tried with two tables (at stack 2 and 3). */
static bool metatable_is_at(lua_State *L, size_t offset, size_t width) {
    const char *memory = lua_touserdata(L, 1);
    for (int table = 2; table <= 3; table++) {
        lua_pushvalue(L, table);
        lua_setmetatable(L, 1);
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

/* metatable_place() -> offset, width: where LuaJIT keeps a userdata's metatable, in
 * bytes before its memory; nothing where that can not be told for certain. Reads
 * only within the 40 bytes of a GCudata's head. */
static int l_metatable_place(lua_State *L) {
    lua_settop(L, 0);
    bpl_newuserdata(L, 64);
    lua_newtable(L);
    lua_newtable(L);
    for (size_t width = sizeof(uintptr_t); width >= 4; width /= 2) {
        for (size_t offset = width; offset <= 24; offset += 4) {
            if (metatable_is_at(L, offset, width)) {
                lua_pushinteger(L, (lua_Integer)offset);
                lua_pushinteger(L, (lua_Integer)width);
                return 2;
            }
        }
    }
    return 0;
}

static const luaL_Reg functions[] = {
    {"new_pools", bpl_new_pools},
    {"type", l_type},
    {"size_power_of_two", l_size_power_of_two},
    {"size_stream", l_size_stream},
    {"metatable_place", l_metatable_place},
    {NULL, NULL},
};

/* Sets functions in the table at the top, each with the three metatables (at stack
 * 1 to 3) as upvalues. */
static void set_functions(lua_State *L, const luaL_Reg *list, const char *but) {
    for (; list->name != NULL; list++) {
        if (but != NULL && strcmp(list->name, but) == 0) {
            continue;
        }
        lua_pushvalue(L, 1);
        lua_pushvalue(L, 2);
        lua_pushvalue(L, 3);
        lua_pushcclosure(L, list->func, BPL_UPVALUES);
        lua_setfield(L, -2, list->name);
    }
}

/* Fills the metatable at stack `at`; `methods` is at the top and stays. */
static void fill_metatable(lua_State *L, int at, const char *name, const luaL_Reg *meta,
                           const char *but) {
    lua_pushvalue(L, at);
    set_functions(L, meta, but);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

static void set_value(lua_State *L, int value, const char *name) {
    lua_pushvalue(L, value);
    lua_setfield(L, 4, name);
}

BPL_EXPORT int luaopen_bytepool_core(lua_State *L) {
    static char light;
    lua_settop(L, 0);
    lua_newtable(L); /* 1: live buffers */
    lua_newtable(L); /* 2: dead buffers */
    lua_newtable(L); /* 3: pools */
    lua_newtable(L); /* 4: the module */
    set_functions(L, functions, NULL);
    lua_pushliteral(L, BP_VERSION);
    lua_setfield(L, 4, "_VERSION");
    lua_newtable(L);
    set_functions(L, bpl_buffer_methods, NULL);
    fill_metatable(L, 1, "bytepool.buffer", bpl_buffer_meta, NULL);
    fill_metatable(L, 2, "bytepool.buffer", bpl_buffer_meta, "__gc");
    set_value(L, -1, "buffer_methods");
    lua_pop(L, 1);
    lua_newtable(L);
    set_functions(L, bpl_pool_methods, NULL);
    fill_metatable(L, 3, "bytepool.pool", bpl_pool_meta, NULL);
    set_value(L, -1, "pool_methods");
    lua_pop(L, 1);
    set_value(L, 1, "live");
    set_value(L, 2, "dead");
    set_value(L, 3, "pool");
    lua_pushliteral(L, BPL_CDEF);
    lua_setfield(L, 4, "cdef");
    lua_pushlightuserdata(L, &light);
    lua_setfield(L, 4, "light");
    lua_pushnumber(L, (lua_Number)BPL_HANDLE_MAGIC);
    lua_setfield(L, 4, "handle_magic");
    lua_pushnumber(L, (lua_Number)BPL_POOL_MAGIC);
    lua_setfield(L, 4, "pool_magic");
    lua_settop(L, 4);
    return 1;
}
