/* Four Lua states in four threads use one pool by name and pass buffers to each other as
 * tokens; then each closes its state and its thread ends. A fifth state, in main, made the
 * pool, and looks at its books between the rounds.
 *
 *     BP_STRESS_SCALE=10 BP_SEED=1 states MODULE states.lua
 */
#define SUPPORT_NO_CHECK
#include <pthread.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "../support.h"

enum { THREADS = 4, BOX = 64, TOKEN = 64 };

/* Tokens on their way to a thread. */
static struct box {
    pthread_mutex_t lock;
    size_t count;
    char tokens[BOX][TOKEN];
} boxes[THREADS];

static pthread_barrier_t barrier;
static const char *script;
static uint64_t seed;
static double steps;

/* post(to, token): whether there was room. */
static int l_post(lua_State *L) {
    struct box *box = &boxes[(size_t)luaL_checkinteger(L, 1) - 1];
    const char *token = luaL_checkstring(L, 2);
    pthread_mutex_lock(&box->lock);
    bool room = box->count < BOX && strlen(token) < TOKEN;
    if (room) strcpy(box->tokens[box->count++], token);
    pthread_mutex_unlock(&box->lock);
    lua_pushboolean(L, room);
    return 1;
}

/* fetch(id): a token or nil. */
static int l_fetch(lua_State *L) {
    struct box *box = &boxes[(size_t)luaL_checkinteger(L, 1) - 1];
    char token[TOKEN] = "";
    pthread_mutex_lock(&box->lock);
    if (box->count > 0) strcpy(token, box->tokens[--box->count]);
    pthread_mutex_unlock(&box->lock);
    if (token[0] != '\0') lua_pushstring(L, token);
    else lua_pushnil(L);
    return 1;
}

/* meet(): returns when all four have come. */
static int l_meet(lua_State *L) {
    (void)L;
    pthread_barrier_wait(&barrier);
    return 0;
}

/* What the script returns for this id: a function of the round. */
static lua_State *state_of(int id) {
    lua_State *L = luaL_newstate();
    if (L == NULL) return NULL;
    luaL_openlibs(L);
    lua_register(L, "post", l_post);
    lua_register(L, "fetch", l_fetch);
    lua_register(L, "meet", l_meet);
    if (luaL_loadfile(L, script) == 0) {
        lua_pushinteger(L, id);
        lua_pushinteger(L, THREADS);
        lua_pushnumber(L, (lua_Number)(seed % 1000000000 + (uint64_t)id));
        lua_pushnumber(L, steps);
        if (lua_pcall(L, 4, 1, 0) == 0) return L;
    }
    fprintf(stderr, "states: %s\n", lua_tostring(L, -1));
    exit(EXIT_FAILURE);
}

static void call(lua_State *L) {
    lua_pushvalue(L, -1);
    if (lua_pcall(L, 0, 0, 0) != 0) {
        fprintf(stderr, "states: %s\n", lua_tostring(L, -1));
        exit(EXIT_FAILURE);
    }
}

static void *thread(void *arg) {
    lua_State *L = state_of((int)(intptr_t)arg);
    if (L == NULL) exit(EXIT_FAILURE);
    call(L);
    lua_close(L);
    return NULL;
}

int main(int argc, char **argv) {
    const char *scale = getenv("BP_STRESS_SCALE");
    if (argc != 3) return EXIT_FAILURE;
    script = argv[2]; /* it finds the module itself: no thread but those of the states loads it */
    steps = 20000 * (scale && *scale ? strtod(scale, NULL) : 1);
    seed = seed_of_run("states");
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) pthread_mutex_init(&boxes[i].lock, NULL);
    lua_State *L = state_of(0);
    if (L == NULL) return EXIT_FAILURE;
    for (int round = 0; round < 5; round++) {
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++) {
            if (pthread_create(&threads[i], NULL, thread, (void *)(intptr_t)(i + 1)) != 0) {
                return EXIT_FAILURE;
            }
        }
        for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
        call(L);
    }
    lua_close(L);
    puts("states: all came back");
    return EXIT_SUCCESS;
}
