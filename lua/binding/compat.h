/* What differs between Lua 5.1 to 5.4 and LuaJIT, in one place. */
#ifndef BPL_COMPAT_H
#define BPL_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>

#if LUA_VERSION_NUM < 502
#define lua_rawlen lua_objlen
#endif

#if LUA_VERSION_NUM >= 504
#define bpl_newuserdata(L, size) lua_newuserdatauv((L), (size), 0)
#else
#define bpl_newuserdata(L, size) lua_newuserdata((L), (size))
#endif

/* A userdata of which `bpl_getuservalue` and `bpl_setuservalue` keep one table. */
#if LUA_VERSION_NUM >= 504
#define bpl_newkeeper(L, size)   lua_newuserdatauv((L), (size), 1)
#define bpl_getuservalue(L, arg) ((void)lua_getiuservalue((L), (arg), 1))
#define bpl_setuservalue(L, arg) ((void)lua_setiuservalue((L), (arg), 1))
#elif LUA_VERSION_NUM >= 502
#define bpl_newkeeper(L, size)   lua_newuserdata((L), (size))
#define bpl_getuservalue(L, arg) ((void)lua_getuservalue((L), (arg)))
#define bpl_setuservalue(L, arg) lua_setuservalue((L), (arg))
#else
#define bpl_newkeeper(L, size)   lua_newuserdata((L), (size))
#define bpl_getuservalue(L, arg) lua_getfenv((L), (arg))
#define bpl_setuservalue(L, arg) ((void)lua_setfenv((L), (arg)))
#endif

/* Calls fn(light userdata) in protected mode; on failure the error is on the stack. The older
 * ones make a function of it within the protection. */
#if LUA_VERSION_NUM >= 502
static inline int bpl_cpcall(lua_State *L, lua_CFunction fn, void *p) {
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, p);
    return lua_pcall(L, 1, 0, 0);
}
#else
#define bpl_cpcall lua_cpcall
#endif

/* Whether the program has stopped the collector, or on LuaJIT a finalizer runs; 5.1 can not tell. */
#ifdef LUA_GCISRUNNING
#define bpl_gc_stopped(L) (lua_gc((L), LUA_GCISRUNNING, 0) == 0)
#else
#define bpl_gc_stopped(L) ((void)(L), false)
#endif

/* A count as the Lua at hand prints it without a fraction. */
#if LUA_VERSION_NUM >= 503
#define bpl_pushcount(L, n) lua_pushinteger((L), (lua_Integer)(n))
#else
#define bpl_pushcount(L, n) lua_pushnumber((L), (lua_Number)(n))
#endif

/* In the table at the top. */
#define bpl_set_count(L, name, n) (bpl_pushcount((L), (n)), lua_setfield((L), -2, (name)))
#define bpl_set_number(L, name, n) \
    (lua_pushnumber((L), (lua_Number)(n)), lua_setfield((L), -2, (name)))
/* A limit of bytes; none where there is none. */
#define bpl_set_limit(L, name, n) ((n) != BP_NO_LIMIT ? bpl_set_count(L, name, n) : (void)0)

#if defined(__GNUC__)
#define BPL_EXPORT              __attribute__((visibility("default")))
#define BPL_PRINTF(text, first) __attribute__((format(printf, text, first), cold))
#else
#define BPL_EXPORT
#define BPL_PRINTF(text, first)
#endif

#endif
