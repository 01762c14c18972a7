/* The state of a sandbox: its making and its limits. See sandbox.h. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pin.h"
#include "sandbox.h"

#ifdef LUA_JITLIBNAME
#include <luajit.h>
#endif

/* An instruction can copy, compare or write out strings as long as the memory limit: up to some
 * milliseconds. */
#define HOOK_EVERY 8

/* ---- limits -------------------------------------------------------------------------- */

static void *allocate(void *data, void *p, size_t old, size_t n) {
    bpl_sandbox *box = data;
    size_t had = p != NULL ? old : 0;
    if (n > had && (n - had > box->most || box->bytes > box->most - (n - had))) {
        box->refused = true;
        return NULL;
    }
    void *got = NULL;
    if (box->inner != NULL) {
        got = box->inner(box->inner_data, p, old, n);
    } else if (n == 0) {
        free(p);
    } else {
        got = realloc(p, n);
    }
    if (got != NULL || n == 0) {
        box->bytes += n - had;
    }
    return got;
}

bpl_sandbox *bpl_sandbox_of(lua_State *S) {
    void *data = NULL;
    (void)lua_getallocf(S, &data);
    return data;
}

/* Of this thread: on a busy machine a script takes no longer than on an idle one. */
double bpl_processor_seconds(void) {
    struct timespec t = {0, 0};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Whether the deadline can have passed since the last look. The processor's time of a thread is a
 * call of the system; no more of it goes by than of the clock that the system counts ticks with. */
static bool may_be_late(bpl_sandbox *box) {
#ifdef CLOCK_MONOTONIC_COARSE
    struct timespec t = {0, 0};
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    int64_t tick = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    bool later = tick != box->tick;
    box->tick = tick;
    return later;
#else
    (void)box;
    return true;
#endif
}

static void on_count(lua_State *S, lua_Debug *at) {
    (void)at;
    bpl_sandbox *box = bpl_sandbox_of(S);
    box->ran += HOOK_EVERY;
    if (box->over == NULL && box->ran > box->limits.instructions) {
        box->over = "too many instructions: is there a loop without end?";
    } else if (box->over == NULL && may_be_late(box) && bpl_processor_seconds() > box->deadline) {
        box->over = "too much time";
    }
    if (box->over != NULL) {
        lua_pushstring(S, box->over);
        (void)bpl_sandbox_raise_here(S);
    }
}

/* Collation of strings and the form of numbers are the host's locale, where a comparison may
 * take a thousand times as long: within a sandbox they are C's. */
static locale_t c_locale;

/* A finalizer that runs while its state is closed, when Lua has unloaded this module, can have made a
 * userdata that is finalized later still. So the module stays. */
static void begin(void) {
    bp__pin(&c_locale);
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* Gives the one before; 0 where that is not to be had, and nothing has changed. */
static locale_t change_locale(locale_t to) {
    return to != (locale_t)0 ? uselocale(to) : (locale_t)0;
}

locale_t bpl_sandbox_enter_locale(void) { return change_locale(c_locale); }

void bpl_sandbox_leave_locale(locale_t before) { (void)change_locale(before); }

/* From within a sandbox to its host, whose function and two arguments are pushed. */
bool bpl_sandbox_leave(lua_State *L, const bpl_sandbox *box) {
    locale_t inside = change_locale(box->locale);
    bool done = lua_pcall(L, 2, 0, 0) == 0;
    (void)change_locale(inside);
    return done;
}

/* ---- the state ----------------------------------------------------------------------- */

static int l_fill(lua_State *S) {
    bpl_sandbox_fill(S);
    return 0;
}

/* Before the script's limit is on: what a state takes by itself is not the script's. */
static bool make_state(bpl_sandbox *box) {
#ifdef LUA_JITLIBNAME
    /* Its own allocator alone knows where objects may be, where references have 32 bits. */
    box->S = luaL_newstate();
    if (box->S != NULL) {
        box->bytes =
            (size_t)lua_gc(box->S, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(box->S, LUA_GCCOUNTB, 0);
        box->inner = lua_getallocf(box->S, &box->inner_data);
        lua_setallocf(box->S, allocate, box);
    }
#elif LUA_VERSION_NUM >= 505
    box->S = lua_newstate(allocate, box, luaL_makeseed(NULL));
#else
    box->S = lua_newstate(allocate, box);
#endif
    if (box->S == NULL || bpl_cpcall(box->S, l_fill, NULL) != 0) {
        return false;
    }
#ifdef LUA_JITLIBNAME
    (void)luaJIT_setmode(box->S, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
#endif
    lua_sethook(box->S, on_count, LUA_MASKCOUNT, HOOK_EVERY);
    return true;
}

bpl_sandbox *bpl_sandbox_new(const char *name, const bpl_limits *limits) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, begin);
    bpl_sandbox *box = calloc(1, sizeof *box);
    if (box == NULL) {
        return NULL;
    }
    box->name = strdup(name);
    box->limits = *limits;
    box->most = limits->own_memory;
    if (box->name == NULL || !make_state(box)) {
        bpl_sandbox_destroy(box);
        return NULL;
    }
    box->most = box->bytes + limits->memory;
    return box;
}

void bpl_sandbox_destroy(bpl_sandbox *box) {
    if (box->S != NULL) {
        if (box->inner != NULL) { /* it frees what luaL_newstate made */
            lua_setallocf(box->S, box->inner, box->inner_data);
        }
        lua_sethook(box->S, NULL, 0, 0);
        box->most = SIZE_MAX;
        lua_close(box->S);
    }
    free(box->name);
    free(box);
}
