/* Calls into a sandbox. See sandbox.h.
 *
 * Everything that the sandbox's state does stands under a protected call of that state. On the
 * way the host's state is used only under a protected call of its own, or for what raises
 * nothing: an error of the host must not jump over frames of the sandbox.
 */
#include <stdio.h>
#include <string.h>

#include "sandbox.h"

#define PIECE ((size_t)256) /* bytes of a text that are compiled between looks at the time */

/* ---- holds --------------------------------------------------------------------------- */

/* Lets go of all that it has; again is nothing. A host's finalizer can be in the middle of a
 * call into the same sandbox: to forget a reference takes no memory and raises nothing. */
static void let_go(bpl_hold *hold) {
    bpl_sandbox *box = hold->box;
    bpl_wire_free(&hold->wire);
    hold->box = NULL;
    if (box == NULL) {
        return;
    }
    if (--box->users == 0) {
        bpl_sandbox_destroy(box);
    } else if (hold->ref > 0) {
        luaL_unref(box->S, LUA_REGISTRYINDEX, hold->ref);
    }
}

bpl_hold *bpl_to_hold(lua_State *L, int arg) {
    bpl_hold *hold = lua_touserdata(L, arg);
    bool is =
        hold != NULL && lua_rawlen(L, arg) == sizeof *hold && hold->seal == BPL_HOLD_SEAL(hold);
    return is ? hold : NULL;
}

/* The debug library can have set anything in their place. */
bool bpl_sandbox_has_frame(lua_State *L, int first) {
    return lua_istable(L, first) && lua_istable(L, first - 1); /* upvalues count downwards */
}

static int l_hold_gc(lua_State *L) {
    bpl_hold *hold = bpl_to_hold(L, 1);
    if (hold != NULL) {
        let_go(hold);
    }
    return 0;
}

/* A new hold; the metatable of holds is at index `metatable`. */
static bpl_hold *push_hold(lua_State *L, int metatable) {
    bpl_hold *hold = bpl_newuserdata(L, sizeof *hold);
    *hold = (bpl_hold){.seal = BPL_HOLD_SEAL(hold)};
    lua_pushvalue(L, metatable);
    lua_setmetatable(L, -2);
    return hold;
}

static void hold_box(bpl_hold *hold, bpl_sandbox *box) {
    hold->box = box;
    box->users++;
}

/* ---- calls --------------------------------------------------------------------------- */

typedef struct entry {
    bpl_sandbox *box;
    bpl_wire *wire;   /* in: arguments; out: results or the message */
    int ref;          /* the function, or 0: the chunk */
    const char *text; /* of the chunk */
    size_t length;
    const char *prelude; /* runs before it, with bpl_sandbox_line for its argument */
} entry;

typedef struct source {
    const char *text;
    size_t left;
} source;

/* To compile a long chain of "or" takes the square of its length, and no hook sees it. */
static const char *next_piece(lua_State *S, void *data, size_t *length) {
    source *from = data;
    const char *piece = from->text;
    if (bpl_processor_seconds() > bpl_sandbox_of(S)->deadline) {
        lua_pushliteral(S, "too much time to compile");
        lua_error(S);
    }
    *length = from->left < PIECE ? from->left : PIECE;
    from->text += *length;
    from->left -= *length;
    return piece;
}

/* The chunk under env's globals, ready to be called. */
static void load(lua_State *S, const entry *e) {
    bpl_wire_to_sandbox(S, e->wire); /* 1: env */
    bpl_sandbox_globals(S);          /* 2 */
    bpl_sandbox_merge(S, 1, 2);
    lua_settop(S, 0);
    if (luaL_loadbuffer(S, e->prelude, strlen(e->prelude), "=prelude") != 0) {
        lua_error(S);
    }
    lua_pushcfunction(S, bpl_sandbox_line);
    lua_call(S, 1, 0);
    source from = {e->text, e->length};
#if LUA_VERSION_NUM >= 502
    int status = lua_load(S, next_piece, &from, BPL_SANDBOX_CHUNK, "t");
#elif defined(LUA_JITLIBNAME)
    int status = lua_loadx(S, next_piece, &from, BPL_SANDBOX_CHUNK, "t");
#else
    int status = lua_load(S, next_piece, &from, BPL_SANDBOX_CHUNK);
#endif
    if (status != 0) {
        lua_error(S);
    }
}

/* In the sandbox, protected. */
static int l_enter(lua_State *S) {
    entry *e = lua_touserdata(S, 1);
    lua_settop(S, 0);
    luaL_checkstack(S, BPL_WIRE_STACK, NULL);
    int arguments = bpl_wire_read_count(e->wire);
    if (e->ref > 0) {
        lua_rawgeti(S, LUA_REGISTRYINDEX, e->ref);
    } else {
        load(S, e);
        arguments = 0;
    }
    for (int i = 0; i < arguments; i++) {
        luaL_checkstack(S, 4, NULL);
        bpl_wire_to_sandbox(S, e->wire);
    }
    lua_call(S, arguments, LUA_MULTRET);
    luaL_checkstack(S, BPL_WIRE_STACK, NULL);
    int results = lua_gettop(S);
    bpl_wire_reset(e->wire);
    bpl_wire_count(e->wire, results);
    for (int i = 1; i <= results; i++) {
        bpl_wire_from_sandbox(S, i, e->wire);
    }
    if (e->wire->fault != NULL) {
        return luaL_error(S, "config: %s%s%s", e->wire->path, e->wire->path[0] != '\0' ? ": " : "",
                          e->wire->fault);
    }
    lua_settop(S, 0);
    (void)lua_gc(S, LUA_GCCOLLECT, 0);
    return 0;
}

/* What the error at the top says, as the only thing on the wire: the script's name stands where
 * Lua has the chunk's, and in front of what has no position. */
static void write_message(bpl_sandbox *box, bpl_wire *w) {
    lua_State *S = box->S;
    char text[96];
    size_t length = 0;
    const char *said = lua_type(S, -1) == LUA_TSTRING ? lua_tolstring(S, -1, &length) : NULL;
    if (said == NULL) {
        (void)snprintf(text, sizeof text, "raised an error that is a %s, not a message",
                       luaL_typename(S, -1));
    } else if (box->refused && (strcmp(said, "not enough memory") == 0 ||
                                strcmp(said, "stack overflow") == 0)) { /* it did not grow */
        (void)snprintf(text, sizeof text, "more than %zu KiB of memory", box->limits.memory / 1024);
        said = NULL;
    }
    if (said == NULL) {
        said = text;
        length = strlen(text);
    }
    bpl_wire_reset(w);
    static const char chunk[] = "config:";
    if (strncmp(said, chunk, sizeof chunk - 1) == 0) {
        bpl_wire_message(w, box->name, "", said + strlen("config"), length - strlen("config"));
    } else {
        bpl_wire_message(w, box->name, ": ", said, length);
    }
}

/* Runs it under what the host's frame offers. False: the message is on the wire. */
static bool enter(lua_State *L, bpl_sandbox *box, entry *e, int frame) {
    const bpl_sandbox before = *box;
    lua_State *S = box->S;
    if (box->depth++ == 0) {
        box->ran = 0;
        box->over = NULL;
        box->refused = false;
        box->deadline = bpl_processor_seconds() + box->limits.seconds;
    }
    box->host = L;
    box->frame = frame;
    box->wire = e->wire;
    box->locale = bpl_sandbox_enter_locale();
    bool done = bpl_cpcall(S, l_enter, e) == 0;
    bpl_sandbox_leave_locale(box->locale);
    if (!done) {
        write_message(box, e->wire);
        lua_pop(S, 1);
    }
    box->depth = before.depth;
    box->host = before.host;
    box->frame = before.frame;
    box->wire = before.wire;
    box->locale = before.locale;
    return done;
}

/* Pushes what makes a call possible; see BPL_FRAME_. `env` and `holds`: indexes. */
static bpl_hold *push_frame(lua_State *L, int env, int holds) {
    lua_pushvalue(L, env);
    lua_pushvalue(L, holds);
    lua_newtable(L);
    lua_pushvalue(L, env);
    lua_pushvalue(L, holds);
    lua_pushcclosure(L, bpl_sandbox_host_side, 2);
    return push_hold(L, holds);
}

static int raise_fault(lua_State *L, bpl_hold *call) {
    char text[256];
    const bpl_wire *w = &call->wire;
    (void)snprintf(text, sizeof text, "an argument of a config's function%s%s: %s",
                   w->path[0] != '\0' ? ", " : "", w->path, w->fault);
    let_go(call);
    return luaL_error(L, "%s", text);
}

/* The results, or the message raised as it is. */
static int finish(lua_State *L, bpl_hold *call, bool done, int frame) {
    bpl_wire *w = &call->wire;
    if (!done) {
        if (w->fault != NULL) {
            let_go(call);
            return luaL_error(L, "not enough memory");
        }
        bpl_wire_to_host(L, w, call->box, frame);
        let_go(call);
        return lua_error(L);
    }
    int results = bpl_wire_read_count(w);
    luaL_checkstack(L, results + 4, NULL);
    for (int i = 0; i < results; i++) {
        bpl_wire_to_host(L, w, call->box, frame);
    }
    let_go(call);
    return results;
}

/* A function of a sandbox, as the host has it. Upvalues: its hold, env, the metatable. */
static int l_call(lua_State *L) {
    const bpl_hold *fn = bpl_to_hold(L, lua_upvalueindex(1));
    int arguments = lua_gettop(L);
    luaL_checkstack(L, BPL_WIRE_STACK + BPL_FRAME_SIZE + 20, NULL);
    if (fn == NULL || !bpl_sandbox_has_frame(L, lua_upvalueindex(2))) {
        return luaL_error(L, "this is no function of a config any more");
    }
    bpl_hold *call = push_frame(L, lua_upvalueindex(2), lua_upvalueindex(3));
    bpl_sandbox *box = fn->box;
    if (box == NULL) {
        return luaL_error(L, "the config of this function is gone");
    }
    if (box->depth == BPL_SANDBOX_CALLS) {
        return luaL_error(L, "a config's functions call each other too deep");
    }
    hold_box(call, box);
    uint32_t outer = box->serial, serial = ++box->last_serial;
    bpl_wire_count(&call->wire, arguments);
    for (int i = 1; i <= arguments; i++) {
        bpl_wire_from_host(L, i, &call->wire, arguments + BPL_FRAME_FUNCTIONS, serial);
    }
    if (call->wire.fault != NULL) {
        return raise_fault(L, call);
    }
    entry e = {.box = box, .wire = &call->wire, .ref = fn->ref};
    box->serial = serial;
    bool done = enter(L, box, &e, arguments);
    box->serial = outer;
    return finish(L, call, done, arguments);
}

void bpl_sandbox_push_function(lua_State *L, bpl_sandbox *box, int ref, int frame) {
    luaL_checkstack(L, 6, NULL);
    bpl_hold *hold = push_hold(L, frame + BPL_FRAME_HOLDS);
    hold->ref = ref;
    hold_box(hold, box);
    lua_pushvalue(L, frame + BPL_FRAME_ENV);
    lua_pushvalue(L, frame + BPL_FRAME_HOLDS);
    lua_pushcclosure(L, l_call, 3);
}

static double limit_of(lua_State *L, const char *name) {
    lua_getfield(L, 3, name);
    double limit = (double)lua_tonumber(L, -1);
    lua_pop(L, 1);
    return limit;
}

static bpl_limits limits_of(lua_State *L) {
    double own = limit_of(L, "own_memory");
    return (bpl_limits){.memory = (size_t)limit_of(L, "memory"),
                        .own_memory = own > 0 ? (size_t)own : SIZE_MAX,
                        .instructions = (uint64_t)limit_of(L, "instructions"),
                        .seconds = limit_of(L, "seconds")};
}

/* core.sandbox(text, env, limits, prelude, name): runs text with env's names among its globals,
 * after the text of the prelude; gives what it returns, or raises its message, in which it has
 * that name. limits: see bpl_limits. */
int bpl_sandbox_run(lua_State *L) {
    luaL_checktype(L, 1, LUA_TSTRING);
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checktype(L, 3, LUA_TTABLE);
    luaL_checktype(L, 4, LUA_TSTRING);
    const char *name = luaL_checkstring(L, 5);
    lua_settop(L, 5);
    luaL_checkstack(L, BPL_WIRE_STACK + BPL_FRAME_SIZE + 20, NULL);
    entry e = {.text = NULL};
    e.text = lua_tolstring(L, 1, &e.length);
    if (e.length > 0 && e.text[0] == LUA_SIGNATURE[0]) {
        return luaL_error(L, "%s:1: this is bytecode, not a text", name);
    }
    e.prelude = lua_tostring(L, 4);
    bpl_limits limits = limits_of(L);
    lua_newtable(L); /* 6: functions of env */
    lua_newtable(L); /* 7: the metatable of holds */
    lua_pushcfunction(L, l_hold_gc);
    lua_setfield(L, 7, "__gc");
    int frame = lua_gettop(L);
    bpl_hold *call = push_frame(L, 6, 7);
    bpl_sandbox *box = bpl_sandbox_new(name, &limits);
    if (box == NULL) {
        return luaL_error(L, "not enough memory");
    }
    hold_box(call, box);
    bpl_wire_count(&call->wire, 1);
    bpl_wire_from_host(L, 2, &call->wire, 6, 0); /* serial 0: theirs lasts */
    if (call->wire.fault != NULL) {
        return raise_fault(L, call);
    }
    e.box = box;
    e.wire = &call->wire;
    return finish(L, call, enter(L, box, &e, frame), frame);
}
