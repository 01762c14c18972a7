/* The Lua module bench_noop: one C function that does nothing, the least that any
 * function of a C module can cost. */
#include <lauxlib.h>
#include <lua.h>

static int noop(lua_State *L) {
    (void)L;
    return 0;
}

int luaopen_bench_noop(lua_State *L);
__attribute__((visibility("default"))) int luaopen_bench_noop(lua_State *L) {
    lua_pushcfunction(L, noop);
    return 1;
}
