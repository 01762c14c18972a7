/* Lua's allocator refuses the n-th request, or all from it on, or all until the state is
 * closed: each scene of nomem.lua for each n until it is through, or each STRIDE-th, and of
 * long scenes fewer. Nothing crashes, the message is Lua's, and no buffer stays out.
 *
 *     nomem MODULE SCRIPT [STRIDE [SCENE]]     nomem --probe: can this Lua have an allocator of ours?
 */
#include <pthread.h>
#include <sys/mman.h>

#include "host.h"

typedef struct memory {
    size_t bytes;
    uint64_t asked, from, to; /* from 0: nothing is refused */
    uint64_t refused;
} memory;

static void *allocate(void *data, void *p, size_t old, size_t n) {
    memory *m = data;
    size_t had = p ? old : 0;
    if (n == 0) {
        m->bytes -= had;
        free(p);
        return NULL;
    }
    if (n > had && m->from > 0) {
        uint64_t asked = ++m->asked;
        if (asked >= m->from && asked < m->to) {
            m->refused++;
            return NULL;
        }
    }
    void *got = realloc(p, n);
    if (!got) fail("the test itself", "no memory");
    m->bytes += n - had;
    return got;
}

/* ---- pools under watch: one buffer of each is ours, so that it outlives its state ------- */

enum { WATCHED = 64 };
static struct {
    bp_pool *pool;
    bp_buffer *b;
} watched[WATCHED];
static size_t watched_count;
static uint64_t lost, pools_lost; /* buffers of this run, pools of all */

static int l_watch(lua_State *L) {
    const bpl_pool *p = lua_touserdata(L, 1);
    if (p && p->pool && watched_count < WATCHED) {
        watched[watched_count].pool = p->pool;
        watched[watched_count++].b = core.get(p->pool, 1);
    }
    return 0;
}

/* keep(token): most are imported by the script; what is left when its memory ran out
 * between the two is taken back with the pools. */
static char tokens[64][BP_TOKEN_SIZE];
static size_t token_count;

static int l_keep(lua_State *L) {
    const char *token = lua_tostring(L, 1);
    if (token && token_count < 64) strcpy(tokens[token_count++], token);
    return 0;
}

static void take_back_tokens(void) {
    for (; token_count > 0; token_count--) {
        bp_pool *pool;
        bp_buffer *b;
        if (core.import(tokens[token_count - 1], &pool, &b, NULL) == BP_OK) core.release(pool, b);
    }
}

/* The sum over the pools of what is out beside our own buffers. */
static uint64_t still_out(void) {
    uint64_t out = 0;
    for (size_t i = 0; i < watched_count; i++) {
        bp_stats s;
        core.stats(watched[i].pool, &s);
        out += s.in_use - 1;
    }
    return out;
}

/* After the state's end: the pools are closed, and kept by our buffers alone. */
static const char *let_go(void) {
    static char message[256];
    take_back_tokens();
    const char *broken = still_out() > lost ? "a buffer stays out after lua_close" : NULL;
    pools_lost += still_out() > 0;
    for (size_t i = 0; i < watched_count; i++) {
        if (core.check(watched[i].pool, message, sizeof message) != BP_OK) broken = message;
        if (core.release(watched[i].pool, watched[i].b) != BP_OK) broken = "release";
    }
    watched_count = 0;
    return broken;
}

/* ---- a run ------------------------------------------------------------------------------- */

typedef struct rule {
    const char *name;
    uint64_t count;
    bool while_closing;
} rule;

static const rule rules[] = {
    {"one request", 1, false},
    {"all from one on", UINT64_MAX, false},
    {"all until the end", UINT64_MAX, true},
};

/* Calls function `name` of the script's table, which is at 1, with the scene's number. */
static int call(lua_State *L, const char *name, int scene) {
    lua_getfield(L, 1, name);
    lua_pushinteger(L, scene);
    return lua_pcall(L, 1, 1, 0);
}

static uint64_t number_of(lua_State *L, const char *name, int scene) {
    int top = lua_gettop(L);
    if (call(L, name, scene) != 0) fail(name, "no number");
    uint64_t number = (uint64_t)lua_tointeger(L, -1);
    lua_settop(L, top);
    return number;
}

static const char *message_of(lua_State *L) {
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    return text ? text : "an error that is no string";
}

/* LuaJIT keeps a list of the upper bits of light userdata, and a pointer of a stretch of addresses
 * that it has not met can take memory. From here on the next such one does. */
static void crowd(lua_State *L, const memory *m) {
#if defined LUA_JITLIBNAME && UINTPTR_MAX > UINT32_MAX
    size_t before = m->bytes, room = 0;
    for (uintptr_t i = 1; i < 64 && (room == 0 || --room > 0); i++) {
        lua_pushlightuserdata(L, (void *)(i << 39));
        lua_pop(L, 1);
        if (room == 0 && m->bytes > before) room = (m->bytes - before) / sizeof(uint32_t);
    }
#else
    (void)L, (void)m;
#endif
}

static lua_State *begin(memory *m, const char *script, int scene) {
    lua_State *L = lua_newstate(allocate, m);
    if (!L) fail("lua_newstate", "no state");
    luaL_openlibs(L);
    lua_pushcfunction(L, l_watch);
    lua_setglobal(L, "watch");
    lua_pushcfunction(L, l_keep);
    lua_setglobal(L, "keep");
    if (luaL_loadfile(L, script) != 0 || lua_pcall(L, 0, 1, 0) != 0) fail(script, message_of(L));
    if (call(L, "prepare", scene) != 0) fail("prepare", message_of(L));
    lua_settop(L, 1);
    crowd(L, m);
    return L;
}

/* The scene is over: is its message Lua's own, and is memory that is there again of use? */
static const char *judge(lua_State *L, int scene, int status, bool refused, bool again) {
    static char text[256];
    if (status != 0 && !(refused && strstr(message_of(L), "not enough memory"))) {
        snprintf(text, sizeof text, "the error is: %s", message_of(L));
        return text;
    }
    lua_settop(L, 1);
    take_back_tokens();
    if (again && call(L, "after", scene) != 0) {
        snprintf(text, sizeof text, "after: %s", message_of(L));
        return text;
    }
    return again && still_out() > lost ? "a buffer stays out after a collection" : NULL;
}

/* LuaJIT loses some bytes when its parser runs out; what we ask of it is a state's. */
static bool books_balance(const memory *m) {
#ifdef LUA_JITLIBNAME
    (void)m;
    return true;
#else
    return m->bytes == 0;
#endif
}

/* What is wrong, or NULL. *through: nothing was refused any more. */
static const char *run(const char *script, int scene, const rule *r, uint64_t n, bool *through) {
    memory m = {0, 0, 0, 0, 0};
    lua_State *L = begin(&m, script, scene);
    uint64_t may_lose = number_of(L, "may_lose", scene);
    m.to = r->count > UINT64_MAX - n ? UINT64_MAX : n + r->count;
    m.from = n;
    int status = call(L, "act", scene);
    if (!r->while_closing) m.from = 0;
    *through = m.refused == 0;
    lost = m.refused > 0 ? may_lose : 0;
    const char *wrong = judge(L, scene, status, m.refused > 0, !r->while_closing);
    lua_close(L);
    const char *broken = let_go();
    if (!wrong) wrong = broken;
    return wrong || books_balance(&m) ? wrong : "Lua's own books";
}

static uint64_t run_all(const char *script, int scene, const char *name, const rule *r,
                        uint64_t first, uint64_t stride) {
    bool through = false;
    uint64_t n = first, runs = 0;
    while (!through) {
        const char *wrong = run(script, scene, r, n, &through);
        if (wrong) {
            fprintf(stderr, "nomem: %s, %s, request %" PRIu64 ": %s\n", name, r->name, n, wrong);
            exit(EXIT_FAILURE);
        }
        n += stride;
        runs++;
    }
    return runs - 1;
}

static void *run_scenes(void *data) {
    char **argv = data;
    uint64_t stride = argv[3] ? strtoull(argv[3], NULL, 10) : 1;
    const char *scene = argv[3] ? argv[4] : NULL;
    memory m = {0, 0, 0, 0, 0};
    lua_State *L = begin(&m, argv[2], 0);
    lua_getfield(L, 1, "names");
    int scenes = (int)lua_rawlen(L, -1);
    for (int i = 1; i <= scenes; i++) {
        lua_rawgeti(L, 2, i);
        const char *name = lua_tostring(L, -1);
        bool wanted = !scene || strcmp(scene, name) == 0;
        for (size_t k = 0; wanted && k < COUNT_OF(rules); k++) {
            uint64_t by = stride * number_of(L, "every", i);
            uint64_t runs = run_all(argv[2], i, name, &rules[k], 1 + k % by, by);
            printf("nomem: %s, %s: %" PRIu64 " runs\n", name, rules[k].name, runs);
        }
        lua_pop(L, 1);
    }
    lua_close(L);
    (void)let_go();
    return NULL;
}

/* On a stack far from all else: see crowd. */
static void run_far_away(char **argv) {
    const size_t size = (size_t)8 << 20;
    void *far = (void *)((uintptr_t)1 << (UINTPTR_MAX > UINT32_MAX ? 45 : 30));
    void *stack = mmap(far, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t how;
    pthread_t thread;
    if (stack == MAP_FAILED || pthread_attr_init(&how) != 0 ||
        pthread_attr_setstack(&how, stack, size) != 0 ||
        pthread_create(&thread, &how, run_scenes, argv) != 0 || pthread_join(thread, NULL) != 0)
        fail("the test itself", "no thread");
    (void)pthread_attr_destroy(&how);
}

int main(int argc, char **argv) {
    memory m = {0, 0, 0, 0, 0};
    if (argc == 2 && strcmp(argv[1], "--probe") == 0) {
        lua_State *L = lua_newstate(allocate, &m);
        if (L) lua_close(L);
        return L ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (argc < 3 || argc > 5 || (argc > 3 && strtoull(argv[3], NULL, 10) == 0))
        fail("usage", "nomem MODULE SCRIPT [STRIDE [SCENE]]");
    host_load_core(argv[1]);
    run_far_away(argv);
    host_no_pool_stays(pools_lost);
    printf("nomem: %" PRIu64 " buffers lost where Lua can not help it\n", pools_lost);
    return EXIT_SUCCESS;
}
