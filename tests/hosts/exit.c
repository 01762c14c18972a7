/* Threads that have a Lua state each, use pools in it, close it and end. With the state
 * goes the module, were it not pinned: the thread's end runs code of it.
 *
 *     exit MODULE ROUNDS      the state finds bytepool by LUA_PATH and LUA_CPATH
 */
#include <pthread.h>

#include "host.h"

static const char script[] =
    "local bytepool = require 'bytepool'\n"
    "local pool = bytepool.new_pools(bytepool.size_stream(), {region_size = 2^23})\n"
    "for i = 1, 300 do\n"
    "  local buf = pool:get_buffer(i * 500)\n"
    "  buf:set_string(1, 'x')\n"
    "  assert(buf:share():byte(1) == 120)\n" /* the collector's */
    "  if i % 3 > 0 then buf:release() end\n"
    "end\n"
    "local mode = ...\n"
    "if mode == 1 then pool:close() end\n"
    "if mode == 2 then held = pool:get_buffer(100) pool = nil collectgarbage() end\n";

/* In turn: the pool is open at the state's end, closed, collected before its buffer; and a
 * state that is never closed, whose pool outlives the thread. */
enum { MODES = 4, THREADS = 2 };

static lua_State *left[THREADS];
static int failures[THREADS];

static void *live(void *arg) {
    size_t i = *(size_t *)arg % THREADS;
    int mode = (int)(*(size_t *)arg / THREADS % MODES);
    lua_State *L = luaL_newstate();
    if (!L) {
        failures[i]++;
        return NULL;
    }
    luaL_openlibs(L);
    int status = luaL_loadstring(L, script);
    lua_pushinteger(L, mode);
    if (status != 0 || lua_pcall(L, 1, 0, 0) != 0) {
        fprintf(stderr, "exit: %s\n", lua_tostring(L, -1));
        failures[i]++;
    }
    if (mode == MODES - 1) left[i] = L;
    else lua_close(L);
    return NULL;
}

static void round_of(size_t round) {
    pthread_t id[THREADS];
    size_t number[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        number[i] = round * THREADS + i;
        if (pthread_create(&id[i], NULL, live, &number[i]) != 0) fail("exit", "no thread");
    }
    for (size_t i = 0; i < THREADS; i++) pthread_join(id[i], NULL);
    for (size_t i = 0; i < THREADS; i++) {
        if (failures[i]) fail("exit", "a script failed");
        if (left[i]) lua_close(left[i]); /* on another thread than its own, which is gone */
        left[i] = NULL;
    }
}

int main(int argc, char **argv) {
    if (argc < 3) fail("usage", "exit MODULE ROUNDS");
    size_t rounds = strtoul(argv[2], NULL, 10);
    for (size_t round = 0; round < rounds; round++) round_of(round);
    host_load_core(argv[1]);
    host_no_pool_stays(0);
    printf("exit: %zu threads\n", rounds * THREADS);
    return EXIT_SUCCESS;
}
