/* The parts of bytepool.core: userdata, their checks, and who registers what.
 *
 * A buffer is a userdata `bpl_handle` that points at a block and owns `owned` of
 * its references. Its type is told by the metatable, the userdata's size and its seal;
 * whether it lives by `owned` alone, never by the metatable.
 *
 * Every allocation by Lua can run a stranger's finalizer, and that may release any
 * buffer, close any pool, or raise. So each function here first makes what it returns,
 * then checks its arguments, and allocates no more until it is done with them.
 *
 * Every C function here has four upvalues: the metatable of live buffers, that of
 * dead ones (the same without __gc, so that the collector need not call back), that of
 * pools, and the anchor of the state.
 */
#ifndef BPL_BINDING_H
#define BPL_BINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytepool.h"
#include "compat.h"
#include "trace.h"

#define BPL_LIVE     lua_upvalueindex(1)
#define BPL_DEAD     lua_upvalueindex(2)
#define BPL_POOL     lua_upvalueindex(3)
#define BPL_STATE    lua_upvalueindex(4)
#define BPL_UPVALUES 4

/* What a userdata of ours begins with: its own address and a few bytes more, other ones
 * for each type. Nothing has that which a script passes off as one. A blank is a handle
 * that was made ahead and never used; it is no buffer to anybody yet. */
#define BPL_HANDLE_SEAL(h) ((char *)(h) + 1)
#define BPL_POOL_SEAL(p)   ((char *)(p) + 2)
#define BPL_BLANK_SEAL(h)  ((char *)(h) + 3)

/* A view of a block. A dead handle has owned 0, and 0 or NULL in what else is its view's. */
typedef struct bpl_handle {
    char *seal;
    uint8_t *data; /* the first byte that was not consumed */
    size_t length;
    bp_buffer *block;
    bpl_ledger *ledger;  /* of its pool, which lives as long as the block is out */
    uint32_t owned;      /* references of the block that are this handle's */
    uint32_t slice : 1;  /* a part of a block, which neither grows nor moves */
    uint32_t tied : 1;   /* to an nginx request, see nginx.h */
    uint32_t moves : 30; /* to another block; counted, so that an FFI body can tell */
    union {
        size_t front; /* bytes of the block before data: consumed */
        size_t place; /* of a slice: where its ledger lists it, from 1; 0: nowhere */
    };
    uint64_t block_size : 41;        /* its capacity: what the ledger is charged with */
    uint64_t trace : BPL_TRACE_BITS; /* number of the record of who got it, or 0 */
} bpl_handle;
_Static_assert(sizeof(void *) != 8 || sizeof(bpl_handle) == 64, "what LuaJIT has a block for");

static inline size_t bpl_capacity(const bpl_handle *h) { return (size_t)h->block_size; }

/* For a handle that was just made: whether it is remembered who did. tag may be NULL. */
static inline void bpl_trace(lua_State *L, bpl_handle *h, const char *tag) {
    if (bpl_sampled(h->ledger)) {
        bpl_trace_slow(L, h, tag);
    }
}

/* What the sole owner of a whole block may fill, from data on. */
static inline size_t bpl_room(const bpl_handle *h) { return bpl_capacity(h) - h->front; }

/* Bytes that an argument stands for: a string's or a live buffer's. To be used before the
 * next allocation by Lua. */
typedef struct bpl_span {
    const uint8_t *data;
    size_t length;
} bpl_span;

typedef struct bpl_pool {
    char *seal;
    bp_pool *pool;      /* NULL once closed, */
    bpl_ledger *ledger; /* and so is this */
} bpl_pool;

/* from handle.c: exported for the FFI bodies, which pass the userdata itself after a
 * look at its metatable. Each is one step to Lua: no finalizer runs inside. */
#define BPL_E_CLOSED   (-100) /* beside bp_status: a closed pool, a used blank, or neither; */
#define BPL_E_DUE      (-101) /* the collector is due: the blank is as it was; */
#define BPL_OVER_QUOTA 1
#define BPL_TRACE      1 /* done, and bpl_trace_new is to be called */
typedef struct bpl_raw {
    size_t capacity;       /* of the last get; where it failed, BPL_OVER_QUOTA or 0; */
    uint32_t ticket, next; /* and its number: a finalizer that ran meanwhile may have called get */
} bpl_raw;
BPL_EXPORT int bytepool_handle_fill(void *blank, void *pool, int64_t n);
BPL_EXPORT int bytepool_handle_release(void *handle, const void *dead, int place);
BPL_EXPORT int bytepool_handle_put(void *handle, void *pool, const void *dead, int place, int sole);
BPL_EXPORT int bytepool_handle_retain(void *handle);
BPL_EXPORT uint32_t bytepool_handle_ref_count(const void *handle);
BPL_EXPORT void *bytepool_raw_get(void *pool, int64_t n, bpl_raw *out);
BPL_EXPORT int bytepool_raw_put(void *pool, void *pointer);
BPL_EXPORT size_t bytepool_raw_capacity(void *pool, void *pointer);
void bpl_handle_point(bpl_handle *h, bpl_ledger *ledger, bp_buffer *block,
                      size_t length);                             /* the whole of it */
void bpl_handle_view(bpl_handle *h, const bpl_handle *of);        /* the same as another */
void bpl_handle_charge(bpl_handle *h, size_t capacity);           /* it moved to such a block */
void bpl_handle_narrow(bpl_handle *h, size_t from, size_t count); /* a slice of its view */
int bpl_handle_take(bpl_handle *h);      /* one reference more: what bp_buffer_retain says */
int bpl_handle_drop(bpl_handle *h);      /* one less; the last ends it. BP_OK or BP_ERR_OVERRUN, */
int bpl_handle_give_back(bpl_handle *h); /* and so does this, of all that it owns */
/* NULL: dead, or no handle. */
static inline bpl_handle *bpl_live(void *handle) {
    bpl_handle *h = handle;
    return h != NULL && h->seal == BPL_HANDLE_SEAL(h) && h->owned > 0 ? h : NULL;
}
/* NULL: closed, or no pool. */
static inline bpl_pool *bpl_open_pool(void *pool) {
    bpl_pool *p = pool;
    return p != NULL && p->seal == BPL_POOL_SEAL(p) && p->pool != NULL ? p : NULL;
}
/* NULL for one whose C method must see the caller's line, too. */
static inline bpl_handle *bpl_unwatched(void *handle) {
    bpl_handle *h = bpl_live(handle);
    return h != NULL && (h->trace == 0 || !bpl_watched(h)) ? h : NULL;
}

/* from fast.c, for the FFI bodies too */
BPL_EXPORT int bytepool_handle_write(void *handle, double pos, const char *s, size_t count);
BPL_EXPORT int bytepool_handle_set(void *handle, double pos, int kind, double v); /* number.c */
BPL_EXPORT int bytepool_handle_set_bits(void *handle, double pos, uint64_t bits, int big);
BPL_EXPORT int bytepool_handle_append(void *handle, const char *s, size_t count);
BPL_EXPORT double bytepool_handle_skip(void *handle, double n);
BPL_EXPORT double bytepool_handle_find(void *handle, const char *s, size_t count, double init);
BPL_EXPORT int bytepool_handle_is(void *handle, const char *s, size_t count, int which);
BPL_EXPORT int bytepool_handle_is_unique(void *handle);
BPL_EXPORT int bytepool_handle_is_frozen(void *handle);
BPL_EXPORT int bytepool_handle_reset(void *handle);
BPL_EXPORT int bytepool_handle_slice(void *blank, void *handle, double from, double to);
BPL_EXPORT int bytepool_handle_take(void *handle, const uint8_t *data, size_t count);
BPL_EXPORT int bytepool_handle_copy(void *handle, double pos, const char *s, size_t length,
                                    double i, double j);
BPL_EXPORT int bytepool_handle_copy_from(void *handle, double pos, void *from, double i, double j);
BPL_EXPORT int bytepool_handle_set_bytes(void *handle, double value, double i, double j);
BPL_EXPORT int bytepool_handle_replace(void *handle, const char *s, size_t count);
BPL_EXPORT int bytepool_handle_compare(void *handle, const char *s, size_t count);
BPL_EXPORT double bytepool_handle_capacity(void *handle);
BPL_EXPORT double bytepool_handle_reserve(void *handle, double n);
BPL_EXPORT int bytepool_handle_commit(void *handle, double n);
BPL_EXPORT int bytepool_handle_resize(void *handle, double n);
BPL_EXPORT int bytepool_handle_freeze(void *handle);
BPL_EXPORT int bytepool_handle_close(void *handle);
BPL_EXPORT int bytepool_pool_is_open(void *pool);
BPL_EXPORT int bytepool_handle_free(void *handle);
BPL_EXPORT int bytepool_handle_unshare(void *handle);

/* The same to LuaJIT; handle.c compares the layouts. */
#define BPL_CDEF                                                                  \
    "typedef struct { char *seal; uint8_t *data; size_t length;\n"                \
    "    const uint32_t *block; void *ledger; uint32_t owned, state;\n"           \
    "    size_t front; uint64_t size_and_trace; } bytepool_handle;\n"             \
    "int bytepool_handle_fill(void *, void *, int64_t);\n"                        \
    "int bytepool_handle_release(void *, const void *, int);\n"                   \
    "int bytepool_handle_put(void *, void *, const void *, int, int);\n"          \
    "int bytepool_handle_write(void *, double, const char *, size_t);\n"          \
    "int bytepool_handle_set(void *, double, int, double);\n"                     \
    "int bytepool_handle_set_bits(void *, double, uint64_t, int);\n"              \
    "int bytepool_handle_append(void *, const char *, size_t);\n"                 \
    "double bytepool_handle_skip(void *, double);\n"                              \
    "double bytepool_handle_find(void *, const char *, size_t, double);\n"        \
    "int bytepool_handle_is(void *, const char *, size_t, int);\n"                \
    "int bytepool_handle_is_unique(void *);\n"                                    \
    "int bytepool_handle_is_frozen(void *);\n"                                    \
    "int bytepool_handle_reset(void *);\n"                                        \
    "int bytepool_handle_slice(void *, void *, double, double);\n"                \
    "int bytepool_handle_take(void *, const uint8_t *, size_t);\n"                \
    "int bytepool_handle_copy(void *, double, const char *, size_t,\n"            \
    "    double, double);\n"                                                      \
    "int bytepool_handle_copy_from(void *, double, void *, double, double);\n"    \
    "int bytepool_handle_set_bytes(void *, double, double, double);\n"            \
    "int bytepool_handle_replace(void *, const char *, size_t);\n"                \
    "int bytepool_handle_compare(void *, const char *, size_t);\n"                \
    "double bytepool_handle_capacity(void *);\n"                                  \
    "double bytepool_handle_reserve(void *, double);\n"                           \
    "int bytepool_handle_commit(void *, double);\n"                               \
    "int bytepool_handle_resize(void *, double);\n"                               \
    "int bytepool_handle_freeze(void *);\n"                                       \
    "int bytepool_handle_close(void *);\n"                                        \
    "int bytepool_pool_is_open(void *);\n"                                        \
    "int bytepool_handle_free(void *);\n"                                         \
    "int bytepool_handle_unshare(void *);\n"                                      \
    "int bytepool_handle_retain(void *);\n"                                       \
    "uint32_t bytepool_handle_ref_count(const void *);\n"                         \
    "typedef struct { intptr_t capacity; int32_t ticket, next; } bytepool_raw;\n" \
    "uint8_t *bytepool_raw_get(void *, int64_t, bytepool_raw *);\n"               \
    "int bytepool_raw_put(void *, void *);\n"                                     \
    "size_t bytepool_raw_capacity(void *, void *);\n"                             \
    "const char *bp_strerror(int);\n"

/* from args.c: checks that raise with the caller's line in front. `method` is the
 * name the message starts with. */
int bpl_raise(lua_State *L, const char *format, ...) BPL_PRINTF(2, 3); /* printf's formats */
const char *bpl_typename(lua_State *L, int arg);
bpl_handle *bpl_to_handle(lua_State *L, int arg); /* dead ones too; NULL: no buffer */
bpl_handle *bpl_to_blank(lua_State *L, int arg);
bpl_pool *bpl_to_pool(lua_State *L, int arg); /* closed ones too; NULL: no pool */
bpl_handle *bpl_check_handle(lua_State *L, int arg, const char *method);
/* The same for what gives a buffer back: a dead one is counted as released twice. */
bpl_handle *bpl_check_release(lua_State *L, int arg, const char *method);
int bpl_raise_dead(lua_State *L, const bpl_handle *h, const char *method, bool release);
bpl_handle *bpl_check_buffer_arg(lua_State *L, int arg, const char *method, const bp_pool *of);
bpl_pool *bpl_check_open(lua_State *L, const char *method); /* the userdata at 1, */
bp_pool *bpl_check_pool(lua_State *L, const char *method);  /* and its pool */
size_t bpl_check_size(lua_State *L, int arg, const char *method, const char *name);
int64_t bpl_check_position(lua_State *L, int arg, const char *method, const char *name);
void bpl_push_shown(lua_State *L, int arg); /* a bad value, as messages show it */
bpl_handle *bpl_check_writable(lua_State *L, const char *method);
bpl_span bpl_check_span(lua_State *L, int arg, const char *method, const char *name);
size_t bpl_range(const bpl_handle *h, int64_t i, int64_t j, size_t *from); /* clamps; bytes */
size_t bpl_check_range(lua_State *L, int arg, const bpl_handle *h, const char *method,
                       size_t *from); /* arguments i and j, or an error; bytes */
size_t bpl_check_place(lua_State *L, int arg, const bpl_handle *h, size_t bytes,
                       const char *method); /* argument pos, where they fit; from 0 */

/* from buffer.c */
void bpl_set_metatable(lua_State *L, int arg, int upvalue);
bpl_handle *bpl_push_dead(lua_State *L); /* a new handle that owns nothing yet */
int bpl_make_blanks(lua_State *L);
int bpl_trace_new(lua_State *L);
int bpl_fill(lua_State *L, bpl_handle *h, bpl_pool *pool, size_t n,
             const char *tag);        /* to return; 1, or nil, message */
void bpl_push_upvalues(lua_State *L); /* the four */
void bpl_handle_release(lua_State *L, int arg, bpl_handle *h,
                        const char *method); /* one reference; the last ends it */
extern const luaL_Reg bpl_buffer_methods[];
extern const luaL_Reg bpl_buffer_meta[];

/* from bytes.c, view.c, build.c, io.c and lines.c: more of the buffers' methods */
extern const luaL_Reg bpl_bytes_methods[];
extern const luaL_Reg bpl_bytes_meta[];
extern const luaL_Reg bpl_view_methods[];
extern const luaL_Reg bpl_build_methods[];
extern const luaL_Reg bpl_build_meta[];
extern const luaL_Reg bpl_io_methods[];
extern const luaL_Reg bpl_lines_methods[];
/* LuaJIT, 5.1 and 5.2 collect before they copy: a finalizer could release the handle
 * whose bytes are copied. Another handle, made first, holds them. */
#if LUA_VERSION_NUM < 503
#define BPL_COLLECTS_FIRST 1
#else
#define BPL_COLLECTS_FIRST 0
#endif
void bpl_refuse_fixed(lua_State *L, const bpl_handle *h, const char *method);
int bpl_compare(bpl_span a, bpl_span b);
const uint8_t *bpl_search(const uint8_t *at, size_t length, bpl_span needle); /* not empty */
int bpl_push_bytes(lua_State *L, bpl_handle *hold, size_t from, size_t count,
                   const char *method); /* of the handle at 1; hold: a dead handle, or NULL */
int bpl_view_into(lua_State *L, bpl_handle *other, const char *method);  /* of the handle at 1 */
int bpl_share_into(lua_State *L, bpl_handle *other, const char *method); /* the same, traced */
int bpl_pool_builder(lua_State *L);
int bpl_buffer_putf(lua_State *L); /* upvalue 5: string.format */

/* from quota.c: to return, nil and a message */
int bpl_no_memory(lua_State *L);
int bpl_no_room(lua_State *L, bp_pool *pool, size_t n); /* of a get of n bytes; by errno */
int bpl_no_block(lua_State *L, const bpl_handle *h, size_t n,
                 const char *method); /* h found no block of n; raises where its pool is closed */
int bpl_quota_text(lua_State *L);

/* from grow.c. False: no memory, nothing changed; errno says why. */
const char *bpl_fixed(const bpl_handle *h); /* why it may not grow, or NULL */
bool bpl_grow(bpl_handle *h, size_t n);     /* room for n bytes more */
bool bpl_resize(bpl_handle *h, size_t n);
bool bpl_free(bpl_handle *h);
bool bpl_replace(bpl_handle *h, bpl_span s);
bool bpl_unshare(bpl_handle *h);
void bpl_consume(bpl_handle *h, size_t n); /* at most its length */
void bpl_reset(bpl_handle *h);
size_t bpl_view_capacity(const bpl_handle *h);

/* from number.c and pack.c: numbers in buffers. Bits are those of an integer or a float. */
typedef struct bpl_integer {
    uint64_t bits; /* two's complement */
    bool negative;
} bpl_integer;
uint64_t bpl_load(const uint8_t *at, size_t size, bool big); /* size: 1 to 8 bytes */
void bpl_store(uint8_t *at, uint64_t bits, size_t size, bool big);
uint64_t bpl_extend(uint64_t bits, size_t size); /* the sign, from size bytes to 8 */
double bpl_float_of(uint64_t bits, size_t size);
uint64_t bpl_float_bits(double v, size_t size);
bool bpl_fits(bpl_integer v, size_t size, bool is_signed);
bool bpl_to_integer(lua_State *L, int arg, bool again, bpl_integer *out); /* false: not whole;
    again: asked before, so without the calls that tell a cdata's sign */
void *bpl_push_box(lua_State *L, bool is_signed); /* a cdata's 64 bits; NULL where Lua has none */
void bpl_push_integer(lua_State *L, uint64_t bits, bool is_signed, const char *method);
void bpl_push_kinds(lua_State *L);
void bpl_find_ffi(lua_State *L); /* once, for the two that need it */
extern const luaL_Reg bpl_number_methods[];
extern const luaL_Reg bpl_pack_methods[];

/* from claim.c */
int bpl_claim(lua_State *L);

/* from nginx.c and nginx_keep.c */
extern const luaL_Reg bpl_nginx_functions[];
void bpl_untie(bpl_handle *h); /* of one that is tied: the request's end does not touch it */

/* from io.c */
int bpl_writev(lua_State *L);

/* from share.c */
int bpl_buffer_export(lua_State *L);
int bpl_import(lua_State *L);
int bpl_open(lua_State *L);
int bpl_same_pool(lua_State *L);

/* from settings.c */
int bpl_new_pools(lua_State *L);
int bpl_configure(lua_State *L);
int bpl_rollback(lua_State *L);
int bpl_settings(lua_State *L);
int bpl_own(lua_State *L);
int bpl_tick(lua_State *L);
int bpl_press(lua_State *L);

/* from pool.c and stats.c */
bpl_pool *bpl_push_closed_pool(lua_State *L); /* a new userdata without a pool yet */
int bpl_pool_enter(lua_State *L, bpl_pool *p, bpl_state *s, bp_pool *pool);
extern const luaL_Reg bpl_pool_methods[];
extern const luaL_Reg bpl_pool_meta[];
int bpl_push_sizes(lua_State *L, const size_t *sizes, size_t count);
int bpl_pool_get_pool_stats(lua_State *L);

#endif
