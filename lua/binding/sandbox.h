/* Scripts that nobody has to trust: a config file runs in a Lua state of its own.
 *
 *   host state                          the sandbox's state
 *   core.sandbox(text, env, limits) --> the chunk runs; what it returns is copied out
 *   fn(...)  a closure, a `hold`    --> a function of the script, kept by number
 *            host functions        <--  s_hostcall: those of `env`, and those among the
 *                                       arguments of the call that is under way
 *
 * Nothing is shared: values cross as bytes (a wire), written under one state's rules and read
 * under the other's, so that an error of either can not jump over the other's frames.
 *
 * What bounds a script: an allocator that refuses; a hook every few instructions, which once
 * it has raised raises ever again; processor time, looked at by the hook; and that no
 * C function is there that takes long by itself. There is no pcall, no metatable and
 * no coroutine, so nothing of the script runs after such an error.
 *
 * A sandbox lives as long as a function or a call of it. It belongs to one host state and is
 * used by the thread that runs it.
 */
#ifndef BPL_SANDBOX_H
#define BPL_SANDBOX_H

#include <locale.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

#include "binding.h"

#define BPL_SANDBOX_DEPTH 16        /* of tables that cross */
#define BPL_SANDBOX_CALLS 8         /* into it, one within another by way of host functions */
#define BPL_SANDBOX_CHUNK "=config" /* messages of a script begin with config:LINE: */

/* A function of the sandbox that was written and not read yet keeps its number: reset and free
 * give that back. */
typedef struct bpl_wire {
    uint8_t *data;
    size_t length, room, read;
    lua_State *S;      /* whose functions are in it, or NULL */
    size_t function;   /* 1 + where the last of them stands; 0: there is none */
    const char *fault; /* why a value could not be written, or NULL; */
    char path[160];    /* and where it stands */
} bpl_wire;

typedef struct bpl_limits {
    size_t memory;         /* bytes beyond what the state itself takes */
    size_t own_memory;     /* and while it is being made: for tests */
    uint64_t instructions; /* of a call */
    double seconds;        /* of a call, of processor time */
} bpl_limits;

typedef struct bpl_sandbox {
    lua_State *S;
    char *name;         /* of the script in messages */
    uint32_t users;     /* holds with this sandbox */
    size_t bytes, most; /* of the state */
    lua_Alloc inner;    /* LuaJIT's own allocator, else NULL */
    void *inner_data;
    bpl_limits limits;

    /* of the outermost call under way */
    uint64_t ran;
    double deadline;
    int64_t tick;     /* of the system's clock, when the deadline was last looked at */
    const char *over; /* which limit was met: sticks until the call is over */
    bool refused;     /* memory */

    /* of the innermost */
    uint32_t depth, serial, last_serial;
    lua_State *host;
    int frame;  /* where the host's stack has FRAME_ things */
    int called; /* number of the host's function that is to be called next, or 0 */
    bpl_wire *wire;
    locale_t locale; /* of the host's thread */
} bpl_sandbox;

/* A userdata of the host: a function of a sandbox (ref > 0), or a call under way. */
#define BPL_HOLD_SEAL(h) ((char *)(h) + 4)
typedef struct bpl_hold {
    char *seal;
    bpl_sandbox *box;
    int ref;
    bpl_wire wire;
} bpl_hold;

/* From `frame` on, on the stack of the host during a call. */
enum {
    BPL_FRAME_ENV = 1,   /* table: functions of env by number */
    BPL_FRAME_HOLDS,     /* the metatable of holds */
    BPL_FRAME_FUNCTIONS, /* table: functions among the arguments by number */
    BPL_FRAME_HOST_SIDE, /* what s_hostcall calls */
    BPL_FRAME_HOLD,      /* of this call */
    BPL_FRAME_SIZE = BPL_FRAME_HOLD
};

/* from sandbox_wire.c. Writers raise no error where the stack has room (BPL_WIRE_STACK): what is
 * wrong is in wire->fault. Readers raise out of memory. */
#define BPL_WIRE_STACK (BPL_SANDBOX_DEPTH * 3 + 12)
void bpl_wire_reset(bpl_wire *w);
void bpl_wire_free(bpl_wire *w);
/* A string made of the three, cut where it is long. */
void bpl_wire_message(bpl_wire *w, const char *head, const char *between, const char *text,
                      size_t length);
void bpl_wire_count(bpl_wire *w, int count);
int bpl_wire_read_count(bpl_wire *w);
/* functions: the table at this index takes functions by number; 0: none may be in the value */
void bpl_wire_from_host(lua_State *L, int arg, bpl_wire *w, int functions, uint32_t serial);
void bpl_wire_from_sandbox(lua_State *S, int arg, bpl_wire *w); /* functions get a number */
void bpl_wire_to_host(lua_State *L, bpl_wire *w, bpl_sandbox *box, int frame);
void bpl_wire_to_sandbox(lua_State *S, bpl_wire *w);

/* from sandbox_env.c */
void bpl_sandbox_fill(lua_State *S);    /* the globals; raises */
void bpl_sandbox_globals(lua_State *S); /* pushes them */
void bpl_sandbox_merge(lua_State *S, int from, int to);
int bpl_sandbox_line(lua_State *S);
int bpl_sandbox_raise_here(lua_State *S); /* what the string at the top says */
int bpl_sandbox_hostcall(lua_State *S);
/* On the host, protected: calls function number box->called of the table at 1; at 2 is the hold
 * of the call under way. */
int bpl_sandbox_host_side(lua_State *L);

/* from sandbox.c */
bpl_sandbox *bpl_sandbox_new(const char *name, const bpl_limits *limits); /* NULL: no memory */
void bpl_sandbox_destroy(bpl_sandbox *box);
double bpl_processor_seconds(void);
locale_t bpl_sandbox_enter_locale(void); /* the one before; 0: nothing has changed */
void bpl_sandbox_leave_locale(locale_t before);
bpl_sandbox *bpl_sandbox_of(lua_State *S);
bool bpl_sandbox_leave(lua_State *L, const bpl_sandbox *box);

/* from sandbox_call.c */
bpl_hold *bpl_to_hold(lua_State *L, int arg);        /* NULL: it is something else */
bool bpl_sandbox_has_frame(lua_State *L, int first); /* upvalues: can they be ENV and HOLDS? */
void bpl_sandbox_push_function(lua_State *L, bpl_sandbox *box, int ref, int frame);
int bpl_sandbox_run(lua_State *L); /* core.sandbox */

/* from sandbox_file.c */
int bpl_read_text(lua_State *L); /* core.read_text */

#endif
