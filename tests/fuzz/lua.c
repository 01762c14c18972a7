/* The Lua API against a model: a Lua state for each input, in which ops.lua runs the
 * operations. Here stand what a script can not see (a handle's own count, bp_pool_check)
 * and the end: closed with things out or without, a state leaves no pool behind. */
#include "fuzz.h"
#include "../../lua/binding/binding.h"

int luaopen_bytepool_core(lua_State *L);

enum { POOLS = 512, RAWS = 64 };

/* Compiled once: to read all files for each state would take most of the time. */
static struct module {
    const char *name, *path;
    char *code;
    size_t size;
} modules[] = {
    {"bytepool", "lua/bytepool/init.lua", NULL, 0},
    {"bytepool.options", "lua/bytepool/options.lua", NULL, 0},
    {"bytepool.change", "lua/bytepool/change.lua", NULL, 0},
    {"bytepool.duration", "lua/bytepool/duration.lua", NULL, 0},
    {"bytepool.settings", "lua/bytepool/settings.lua", NULL, 0},
    {"bytepool.size", "lua/bytepool/size.lua", NULL, 0},
    {"bytepool.tick", "lua/bytepool/tick.lua", NULL, 0},
    {"bytepool.tiers", "lua/bytepool/tiers.lua", NULL, 0},
    {"bytepool.policy", "lua/bytepool/policy.lua", NULL, 0},
    {"bytepool.pressure", "lua/bytepool/pressure.lua", NULL, 0},
    {"bytepool.policy.schemas", "lua/bytepool/policy/schemas.lua", NULL, 0},
    {"bytepool.config", "lua/bytepool/config.lua", NULL, 0},
    {"bytepool.config.lines", "lua/bytepool/config/lines.lua", NULL, 0},
    {"bytepool.config.prelude", "lua/bytepool/config/prelude.lua", NULL, 0},
    {"bytepool.config.schema", "lua/bytepool/config/schema.lua", NULL, 0},
    {"bytepool.config.tiers", "lua/bytepool/config/tiers.lua", NULL, 0},
    {"bytepool.report", "lua/bytepool/report.lua", NULL, 0},
    {"bytepool.report.json", "lua/bytepool/report/json.lua", NULL, 0},
    {"bytepool.report.pools", "lua/bytepool/report/pools.lua", NULL, 0},
    {"bytepool.report.process", "lua/bytepool/report/process.lua", NULL, 0},
    {"bytepool.report.text", "lua/bytepool/report/text.lua", NULL, 0},
    {"bytepool.report.units", "lua/bytepool/report/units.lua", NULL, 0},
    {"bytepool.methods", "lua/bytepool/methods.lua", NULL, 0},
    {"bytepool.contents", "lua/bytepool/contents.lua", NULL, 0},
    {"bytepool.scope", "lua/bytepool/scope.lua", NULL, 0},
    {"bytepool.numbers", "lua/bytepool/numbers.lua", NULL, 0},
    {"bytepool.object_pool", "lua/bytepool/object_pool.lua", NULL, 0},
    {"bytepool.clib", "lua/bytepool/clib.lua", NULL, 0},
    {"bytepool.ffi", "lua/bytepool/ffi.lua", NULL, 0},
    {"model", "tests/fuzz/model.lua", NULL, 0},
    {"choices", "tests/fuzz/choices.lua", NULL, 0},
    {"api", "tests/fuzz/api.lua", NULL, 0},
    {"bytes", "tests/fuzz/bytes.lua", NULL, 0},
    {"views", "tests/fuzz/views.lua", NULL, 0},
    {"misuse", "tests/fuzz/misuse.lua", NULL, 0},
    {"ops", "tests/fuzz/ops.lua", NULL, 0},
};

static bp_pool *pools[POOLS];
static struct raw {
    bp_pool *pool;
    void *pointer;
} raws[RAWS];
static size_t pool_count, raw_count, step;

static void fail(const char *what) { fuzz_fail("lua", step, what); }

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

static void compile_modules(void) {
    lua_State *L = luaL_newstate();
    for (size_t i = 0; L != NULL && i < COUNT_OF(modules); i++) {
        char path[1024];
        (void)snprintf(path, sizeof path, "%s/%s", FUZZ_ROOT, modules[i].path);
        if (luaL_loadfile(L, path) != 0) fail(lua_tostring(L, -1));
#if LUA_VERSION_NUM >= 503
        if (lua_dump(L, append, &modules[i], 0) != 0) fail("lua_dump");
#else
        if (lua_dump(L, append, &modules[i]) != 0) fail("lua_dump");
#endif
        lua_pop(L, 1);
    }
    lua_close(L);
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
    for (size_t i = 0; i < COUNT_OF(modules); i++) {
        const struct module *m = &modules[i];
        if (luaL_loadbuffer(L, m->code, m->size, m->name) != 0) fail(lua_tostring(L, -1));
        lua_setfield(L, -2, m->name);
    }
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
    if (modules[0].code == NULL) compile_modules();
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
