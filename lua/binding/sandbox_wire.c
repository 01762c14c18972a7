/* Values between a sandbox and its host, as bytes. See sandbox.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox.h"

/* Of which a host makes some 30 MiB at the most, where it is all empty tables. */
#define MOST_BYTES   ((size_t)4 << 20)
#define MOST_MESSAGE ((size_t)4000)
#define TABLES       16 /* that are written between looks at the time */

enum tag { NIL, FALSE, TRUE, NUMBER, INTEGER, STRING, TABLE, END, FUNCTION, HOST_FUNCTION };

/* What follows the tag of a function. */
typedef struct written {
    size_t before; /* as wire.function */
    int ref;       /* 0: it was read */
} written;

/* To forget a reference takes no memory, see bpl_sandbox_fill. */
static void forget_functions(bpl_wire *w) {
    while (w->function != 0) {
        written f;
        memcpy(&f, w->data + w->function - 1, sizeof f);
        if (f.ref > 0) {
            luaL_unref(w->S, LUA_REGISTRYINDEX, f.ref);
        }
        w->function = f.before;
    }
}

void bpl_wire_reset(bpl_wire *w) {
    forget_functions(w);
    w->length = w->read = 0;
    w->fault = NULL;
    w->path[0] = '\0';
}

void bpl_wire_free(bpl_wire *w) {
    forget_functions(w);
    free(w->data);
    *w = (bpl_wire){.data = NULL};
}

static bool append(bpl_wire *w, const void *bytes, size_t count) {
    if (count > w->room - w->length) {
        size_t room = w->room < 256 ? 256 : w->room * 2;
        while (room < w->length + count) {
            room *= 2;
        }
        uint8_t *grown = room <= MOST_BYTES ? realloc(w->data, room) : NULL;
        if (grown == NULL) {
            w->fault = room > MOST_BYTES ? "is too large" : "not enough memory";
            return false;
        }
        w->data = grown;
        w->room = room;
    }
    if (count > 0) {
        memcpy(w->data + w->length, bytes, count);
        w->length += count;
    }
    return true;
}

static bool put_tag(bpl_wire *w, enum tag tag) {
    uint8_t byte = (uint8_t)tag;
    return append(w, &byte, 1);
}

static bool put(bpl_wire *w, enum tag tag, const void *bytes, size_t count) {
    return put_tag(w, tag) && append(w, bytes, count);
}

static bool put_string(bpl_wire *w, const char *text, size_t length) {
    return put(w, STRING, &length, sizeof length) && append(w, text, length);
}

void bpl_wire_message(bpl_wire *w, const char *head, const char *between, const char *text,
                      size_t length) {
    length = length < MOST_MESSAGE ? length : MOST_MESSAGE;
    size_t first = strlen(head), second = strlen(between), whole = first + second + length;
    (void)(put(w, STRING, &whole, sizeof whole) && append(w, head, first) &&
           append(w, between, second) && append(w, text, length));
}

void bpl_wire_count(bpl_wire *w, int count) { (void)append(w, &count, sizeof count); }

/* ---- writing ------------------------------------------------------------------------- */

typedef struct writer {
    lua_State *L;
    bpl_wire *w;
    const void *above[BPL_SANDBOX_DEPTH]; /* the tables that this one stands in */
    int depth;
    uint32_t tables; /* so far */
    bool is_host;
    int functions;
    uint32_t serial;
} writer;

static void write_value(writer *to, int arg);

/* Puts the key at the top in front of the path, which grows on the way out. */
static void note_key(writer *to) {
    lua_State *L = to->L;
    bpl_wire *w = to->w;
    char rest[sizeof w->path], key[64];
    memcpy(rest, w->path, sizeof rest);
    if (lua_type(L, -1) == LUA_TSTRING) {
        (void)snprintf(key, sizeof key, "%.40s", lua_tostring(L, -1));
    } else if (lua_type(L, -1) == LUA_TNUMBER) {
        (void)snprintf(key, sizeof key, "[%.14g]", (double)lua_tonumber(L, -1));
    } else {
        (void)snprintf(key, sizeof key, "[%s]", lua_typename(L, lua_type(L, -1)));
    }
    const char *dot = rest[0] != '\0' && rest[0] != '[' ? "." : "";
    (void)snprintf(w->path, sizeof w->path, "%.60s%s%.90s", key, dot, rest);
}

/* A table that was emptied takes few bytes, and as long to go through as when it was full. */
static bool is_late(writer *to) {
    return !to->is_host && ++to->tables % TABLES == 0 &&
           bpl_processor_seconds() > bpl_sandbox_of(to->L)->deadline;
}

static void write_table(writer *to, int arg) {
    lua_State *L = to->L;
    const void *self = lua_topointer(L, arg);
    for (int i = 0; i < to->depth; i++) {
        if (to->above[i] == self) {
            to->w->fault = "contains itself";
            return;
        }
    }
    if (to->depth == BPL_SANDBOX_DEPTH) {
        to->w->fault = "is nested too deep";
        return;
    }
    if (is_late(to)) {
        to->w->fault = "takes too much time to copy";
        return;
    }
    to->above[to->depth++] = self;
    (void)put_tag(to->w, TABLE);
    lua_pushnil(L);
    while (to->w->fault == NULL && lua_next(L, arg) != 0) {
        int key = lua_gettop(L) - 1;
        int kind = lua_type(L, key);
        if (kind != LUA_TSTRING && kind != LUA_TNUMBER && kind != LUA_TBOOLEAN) {
            to->w->fault = "must be a name or a number: it is a key";
        } else {
            write_value(to, key);
        }
        if (to->w->fault == NULL) {
            write_value(to, key + 1);
        }
        lua_settop(L, key);
        if (to->w->fault != NULL) {
            note_key(to);
        }
    }
    if (to->w->fault == NULL) {
        (void)put_tag(to->w, END);
    }
    to->depth--;
}

static void write_function(writer *to, int arg) {
    lua_State *L = to->L;
    if (!to->is_host) {
        lua_pushvalue(L, arg);
        written f = {to->w->function, luaL_ref(L, LUA_REGISTRYINDEX)};
        to->w->S = L;
        if (put(to->w, FUNCTION, &f, sizeof f)) {
            to->w->function = 1 + to->w->length - sizeof f;
        } else {
            luaL_unref(L, LUA_REGISTRYINDEX, f.ref);
        }
        return;
    }
    if (to->functions == 0) {
        to->w->fault = "is a function";
        return;
    }
    int id = (int)lua_rawlen(L, to->functions) + 1;
    lua_pushvalue(L, arg);
    lua_rawseti(L, to->functions, id);
    if (put(to->w, HOST_FUNCTION, &id, sizeof id)) {
        (void)append(to->w, &to->serial, sizeof to->serial);
    }
}

static void write_number(writer *to, int arg) {
#if LUA_VERSION_NUM >= 503
    if (lua_isinteger(to->L, arg)) {
        lua_Integer i = lua_tointeger(to->L, arg);
        (void)put(to->w, INTEGER, &i, sizeof i);
        return;
    }
#endif
    lua_Number n = lua_tonumber(to->L, arg);
    (void)put(to->w, NUMBER, &n, sizeof n);
}

static void write_value(writer *to, int arg) {
    size_t length;
    switch (lua_type(to->L, arg)) {
    case LUA_TNIL:
        (void)put_tag(to->w, NIL);
        break;
    case LUA_TBOOLEAN:
        (void)put_tag(to->w, lua_toboolean(to->L, arg) ? TRUE : FALSE);
        break;
    case LUA_TNUMBER:
        write_number(to, arg);
        break;
    case LUA_TSTRING: {
        const char *text = lua_tolstring(to->L, arg, &length);
        (void)put_string(to->w, text, length);
        break;
    }
    case LUA_TTABLE:
        write_table(to, arg);
        break;
    case LUA_TFUNCTION:
        write_function(to, arg);
        break;
    default:
        to->w->fault = "must be plain data or a function";
    }
}

void bpl_wire_from_host(lua_State *L, int arg, bpl_wire *w, int functions, uint32_t serial) {
    writer to = {.L = L, .w = w, .is_host = true, .functions = functions, .serial = serial};
    if (w->fault == NULL) {
        write_value(&to, arg);
    }
}

void bpl_wire_from_sandbox(lua_State *S, int arg, bpl_wire *w) {
    writer to = {.L = S, .w = w};
    if (w->fault == NULL) {
        write_value(&to, arg);
    }
}

/* ---- reading ------------------------------------------------------------------------- */

static void take(bpl_wire *w, void *to, size_t count) {
    memcpy(to, w->data + w->read, count);
    w->read += count;
}

int bpl_wire_read_count(bpl_wire *w) {
    int count = 0;
    take(w, &count, sizeof count);
    return count;
}

/* box is NULL in the sandbox itself. The bytes were written here: nothing is checked. */
static void read_value(lua_State *L, bpl_wire *w, bpl_sandbox *box, int frame) {
    uint8_t tag = NIL;
    take(w, &tag, 1);
    if (tag == NUMBER) {
        lua_Number n;
        take(w, &n, sizeof n);
        lua_pushnumber(L, n);
    } else if (tag == INTEGER) {
        lua_Integer i;
        take(w, &i, sizeof i);
        lua_pushinteger(L, i);
    } else if (tag == STRING) {
        size_t length;
        take(w, &length, sizeof length);
        lua_pushlstring(L, (const char *)w->data + w->read, length);
        w->read += length;
    } else if (tag == TABLE) {
        luaL_checkstack(L, 4, NULL);
        lua_newtable(L);
        while (w->data[w->read] != END) {
            read_value(L, w, box, frame);
            read_value(L, w, box, frame);
            lua_rawset(L, -3);
        }
        w->read++;
    } else if (tag == FUNCTION) {
        written f;
        size_t at = w->read;
        take(w, &f, sizeof f);
        bpl_sandbox_push_function(L, box, f.ref, frame);
        f.ref = 0; /* it is the hold's now */
        memcpy(w->data + at, &f, sizeof f);
    } else if (tag == HOST_FUNCTION) {
        int id;
        uint32_t serial;
        take(w, &id, sizeof id);
        take(w, &serial, sizeof serial);
        lua_pushinteger(L, id);
        lua_pushnumber(L, (lua_Number)serial);
        lua_pushcclosure(L, bpl_sandbox_hostcall, 2);
    } else if (tag == NIL) {
        lua_pushnil(L);
    } else {
        lua_pushboolean(L, tag == TRUE);
    }
}

void bpl_wire_to_host(lua_State *L, bpl_wire *w, bpl_sandbox *box, int frame) {
    read_value(L, w, box, frame);
}

void bpl_wire_to_sandbox(lua_State *S, bpl_wire *w) { read_value(S, w, NULL, 0); }
