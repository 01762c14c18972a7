/* The parts of bytepool.core: userdata, their checks, and who registers what.
 *
 * A buffer is a userdata `bpl_handle` that points at a block and owns `owned` of
 * its references. Its type is told by the metatable, the userdata's size and the
 * magic; whether it lives by `owned` alone, never by the metatable.
 *
 * Every C function here has three upvalues: the metatable of live buffers, that of
 * dead ones (the same without __gc, so that the collector need not call back), and
 * that of pools.
 */
#ifndef BPL_BINDING_H
#define BPL_BINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytepool.h"
#include "compat.h"

#define BPL_LIVE     lua_upvalueindex(1)
#define BPL_DEAD     lua_upvalueindex(2)
#define BPL_POOL     lua_upvalueindex(3)
#define BPL_UPVALUES 3

#define BPL_HANDLE_MAGIC 0x62754821u
#define BPL_POOL_MAGIC   0x62504f21u

/* Read by the FFI bodies too: BPL_CDEF says the same to LuaJIT. A dead handle has
 * owned 0, length 0 and data NULL, so that a bounds check alone refuses it. */
typedef struct bpl_handle {
    uint32_t magic;
    uint32_t owned; /* references of the block that are this handle's */
    uint8_t *data;
    size_t length;
    bp_buffer *block;
    bp_pool *pool; /* lives as long as the block is out */
} bpl_handle;

typedef struct bpl_pool {
    uint32_t magic;
    bp_pool *pool; /* NULL once closed */
} bpl_pool;

#define BPL_CDEF                                                              \
    "typedef struct bp_pool bp_pool;\n"                                       \
    "typedef struct bp_buffer bp_buffer;\n"                                   \
    "typedef struct { uint32_t magic, owned; uint8_t *data; size_t length;\n" \
    "                 bp_buffer *block; bp_pool *pool; } bytepool_handle;\n"  \
    "typedef struct { uint32_t magic; bp_pool *pool; } bytepool_pool;\n"      \
    "int bp_buffer_retain(bp_buffer *);\n"                                    \
    "int bp_buffer_release(bp_pool *, bp_buffer *);\n"                        \
    "uint32_t bp_buffer_ref_count(const bp_buffer *);\n"                      \
    "uint8_t *bp_raw_get(bp_pool *, size_t, size_t *);\n"                     \
    "int bp_raw_put(bp_pool *, void *);\n"                                    \
    "const char *bp_strerror(int);\n"

/* from args.c: checks that raise with the caller's line in front. `method` is the
 * name the message starts with. */
int bpl_raise(lua_State *L, const char *format, ...) BPL_PRINTF(2, 3); /* printf's formats */
const char *bpl_typename(lua_State *L, int arg);
bpl_handle *bpl_to_handle(lua_State *L, int arg); /* dead ones too; NULL: no buffer */
bpl_pool *bpl_to_pool(lua_State *L, int arg);     /* closed ones too; NULL: no pool */
bpl_handle *bpl_check_handle(lua_State *L, int arg, const char *method);
bpl_handle *bpl_check_buffer_arg(lua_State *L, int arg, const char *method, const bp_pool *of);
bp_pool *bpl_check_pool(lua_State *L, const char *method);
size_t bpl_check_size(lua_State *L, int arg, const char *method, const char *name);
int64_t bpl_check_position(lua_State *L, int arg, const char *method, const char *name);
void bpl_push_shown(lua_State *L, int arg); /* a bad value, as messages show it */

/* from buffer.c */
bpl_handle *bpl_push_buffer(lua_State *L, bp_pool *pool, size_t n); /* or pushes nil, message */
void bpl_handle_release(lua_State *L, int arg, bpl_handle *h); /* one reference; the last ends it */
extern const luaL_Reg bpl_buffer_methods[];
extern const luaL_Reg bpl_buffer_meta[];

/* from pool.c and stats.c */
extern const luaL_Reg bpl_pool_methods[];
extern const luaL_Reg bpl_pool_meta[];
int bpl_new_pools(lua_State *L);
int bpl_pool_get_pool_stats(lua_State *L);

#endif
