/* The Lua API against a model: a Lua state for each input, in which ops.lua runs the
 * operations. Here stand what a script can not see (a handle's own count, bp_pool_check)
 * and the end: closed with things out or without, a state leaves no pool behind. */
#include "fuzz.h"
#include "../../lua/binding/binding.h"

int luaopen_bytepool_core(lua_State *L);

enum { POOLS = 512, RAWS = 64, MODULES = 128, MODULE_NAME = 64 };

static bp_pool *pools[POOLS];
static struct raw {
    bp_pool *pool;
    void *pointer;
} raws[RAWS];
static size_t pool_count, raw_count, step;

static void fail(const char *what) { fuzz_fail("lua", step, what); }

/* ---- modules ------------------------------------------------------------------- */

/* What a script requires comes from the tree alone, whatever the machine has installed. It is
 * compiled once: to read the files for each state would take most of the time. */
static struct module {
    char name[MODULE_NAME];
    char *code;
    size_t size;
} modules[MODULES];
static size_t module_count;

static int append(lua_State *L, const void *piece, size_t size, void *arg) {
    struct module *m = arg;
    (void)L;
    char *code = realloc(m->code, m->size + size);
    if (code == NULL) return 1;
    memcpy(code + m->size, piece, size);
    m->code = code;
    m->size += size;
    return 0;
}

static void compile(struct module *m, const char *path) {
    lua_State *L = luaL_newstate();
    if (L == NULL) fail("no state");
    if (luaL_loadfile(L, path) != 0) fail(lua_tostring(L, -1));
#if LUA_VERSION_NUM >= 503
    if (lua_dump(L, append, m, 0) != 0) fail("lua_dump");
#else
    if (lua_dump(L, append, m) != 0) fail("lua_dump");
#endif
    lua_close(L);
}

/* NULL where the tree has no file of that name. */
static const struct module *module_named(const char *name) {
    static const char *const folders[][2] = {
        {"lua", ".lua"}, {"lua", "/init.lua"}, {"tests/fuzz", ".lua"}};
    for (size_t i = 0; i < module_count; i++) {
        if (strcmp(modules[i].name, name) == 0) return &modules[i];
    }
    char file[MODULE_NAME], path[1024];
    if (snprintf(file, sizeof file, "%s", name) >= MODULE_NAME) return NULL;
    for (char *dot = file; (dot = strchr(dot, '.')) != NULL;) *dot = '/';
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        (void)snprintf(path, sizeof path, "%s/%s/%s%s", FUZZ_ROOT, folders[i][0], file,
                       folders[i][1]);
        if (access(path, R_OK) != 0) continue;
        if (module_count == MODULES) fail("more modules than MODULES");
        struct module *m = &modules[module_count++];
        (void)snprintf(m->name, sizeof m->name, "%s", name);
        compile(m, path);
        return m;
    }
    return NULL;
}

/* The searcher in the place of the one for Lua files. */
static int l_search(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    const struct module *m = module_named(name);
    if (m == NULL) {
        lua_pushfstring(L, "\n\tno module '%s' in the tree", name);
    } else if (luaL_loadbuffer(L, m->code, m->size, m->name) != 0) {
        return lua_error(L);
    }
    return 1;
}

/* ---- for the scripts ----------------------------------------------------------- */

static bp_pool *pool_at(lua_State *L, int arg) {
    return ((bpl_pool *)lua_touserdata(L, arg))->pool;
}

static int l_check(lua_State *L) {
    char message[256] = "";
    bp_pool *pool = pool_at(L, 1);
    if (bp_pool_check(pool, message, sizeof message) == BP_OK) return 0;
    lua_pushstring(L, message);
    return 1;
}

static int l_owned(lua_State *L) {
    const bpl_handle *h = lua_touserdata(L, 1);
    lua_pushinteger(L, (lua_Integer)h->owned);
    return 1;
}

static int l_note_pool(lua_State *L) {
    if (pool_count < POOLS) pools[pool_count++] = pool_at(L, 1);
    return 0;
}

/* A raw pointer is out, as a number: when its pool is closed, nobody in Lua can put it. */
static int l_note_raw(lua_State *L) {
    if (raw_count == RAWS) return luaL_error(L, "too many raw pointers");
    raws[raw_count++] = (struct raw){pool_at(L, 1), (void *)(uintptr_t)lua_tonumber(L, 2)};
    return 0;
}

static int l_note_put(lua_State *L) {
    const void *pointer = (void *)(uintptr_t)lua_tonumber(L, 1);
    for (size_t i = 0; i < raw_count; i++) {
        if (raws[i].pointer == pointer) {
            raws[i] = raws[--raw_count];
            return 0;
        }
    }
    return luaL_error(L, "put of what was not out");
}

/* A pointer to its bytes. */
static int l_data(lua_State *L) {
    const bpl_handle *h = lua_touserdata(L, 1);
    lua_pushlightuserdata(L, h->data);
    return 1;
}

static int l_bytes(lua_State *L) {
    const bpl_handle *h = lua_touserdata(L, 1);
    lua_pushlstring(L, (const char *)h->data, h->length);
    return 1;
}

/* Where its block is, the bytes of it before the view, the length, and whether it is a slice. */
static int l_view(lua_State *L) {
    const bpl_handle *h = lua_touserdata(L, 1);
    lua_pushnumber(L, (lua_Number)(uintptr_t)h->block);
    lua_pushnumber(L, (lua_Number)(h->data - (uint8_t *)bp_buffer_data(h->block)));
    lua_pushnumber(L, (lua_Number)h->length);
    lua_pushboolean(L, h->slice != 0);
    return 4;
}

/* The bytes of its block up to the end of the view; nil where they are more than arg 2. */
static int l_contents(lua_State *L) {
    const bpl_handle *h = lua_touserdata(L, 1);
    const uint8_t *begin = bp_buffer_data(h->block);
    size_t count = (size_t)(h->data - begin) + h->length;
    if (count > (size_t)lua_tonumber(L, 2)) return 0;
    lua_pushlstring(L, (const char *)begin, count);
    return 1;
}

static int l_trace(lua_State *L) {
    step = (size_t)lua_tonumber(L, 1);
    fuzz_trace(step, lua_tostring(L, 2), NULL, NULL);
    return 0;
}

static int l_light(lua_State *L) {
    static char light[64];
    lua_pushlightuserdata(L, light);
    return 1;
}

static const luaL_Reg helpers[] = {
    {"check", l_check},       {"owned", l_owned},       {"note_pool", l_note_pool},
    {"note_raw", l_note_raw}, {"light", l_light},       {"note_put", l_note_put},
    {"trace", l_trace},       {"data", l_data},         {"bytes", l_bytes},
    {"view", l_view},         {"contents", l_contents}, {NULL, NULL},
};

/* ---- a state ------------------------------------------------------------------- */

static lua_State *open_state(void) {
    lua_State *L = luaL_newstate();
    if (L == NULL) fail("no state");
    luaL_openlibs(L);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaded");
    lua_newtable(L);
    for (const luaL_Reg *r = helpers; r->name != NULL; r++) {
        lua_pushcfunction(L, r->func);
        lua_setfield(L, -2, r->name);
    }
    lua_setfield(L, -2, "fuzz");
    lua_getfield(L, -2, "preload");
    lua_pushcfunction(L, luaopen_bytepool_core);
    lua_setfield(L, -2, "bytepool.core");
    lua_getfield(L, -3, LUA_VERSION_NUM >= 502 ? "searchers" : "loaders");
    lua_pushcfunction(L, l_search);
    lua_rawseti(L, -2, 2);
    lua_settop(L, 0);
    return L;
}

static void must_call(lua_State *L, int args, int results) {
    if (lua_pcall(L, args, results, 0) != 0) {
        fail(lua_isstring(L, -1) ? lua_tostring(L, -1) : "an error that is no string");
    }
}

static void call_ops(lua_State *L, const char *name) {
    lua_getglobal(L, "require");
    lua_pushliteral(L, "ops");
    must_call(L, 1, 1);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pool_count = raw_count = step = 0;
    bool abrupt = size > 0 && (data[0] & 2) != 0;
    lua_State *L = open_state();
    lua_pushboolean(L, size > 0 && (data[0] & 1) != 0);
    lua_setglobal(L, "FUZZ_NO_JIT");
    call_ops(L, "run");
    lua_pushlstring(L, (const char *)data, size);
    must_call(L, 1, 0);
    if (!abrupt) {
        call_ops(L, "drop");
        must_call(L, 0, 0);
        for (int i = 0; i < 2; i++) { /* finalizers, then what they let go */
            call_ops(L, "collect");
            must_call(L, 0, 0);
        }
        call_ops(L, "finish");
        must_call(L, 0, 0);
    }
    call_ops(L, "closing");
    must_call(L, 0, 0);
    lua_close(L);
    for (; raw_count > 0; raw_count--) {
        if (bp_raw_put(raws[raw_count - 1].pool, raws[raw_count - 1].pointer) != BP_OK) {
            fail("a raw pointer could not be put");
        }
    }
    for (; pool_count > 0; pool_count--) {
        if (known_live(pools[pool_count - 1])) fail("a pool outlived its state");
    }
    return 0;
}

#ifdef FUZZ_STANDALONE
int main(int argc, char **argv) { return run_files(argc, argv); }
#endif
