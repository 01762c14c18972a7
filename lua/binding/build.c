/* Buffers that grow at the end and are consumed from the front, by the names that LuaJIT's
 * string.buffer has for it. Only the sole owner of a block may let it grow: the others
 * would not see it move.
 */
#include <errno.h>
#include <string.h>

#include "binding.h"

static bool is_shared(const bpl_handle *h) { return bp_buffer_ref_count(h->block) != h->owned; }

/* Why a buffer may not become longer, or NULL. Its count is read before the look at the frozen
 * bit, whose order sees all that another thread did before it let go. */
const char *bpl_fixed(const bpl_handle *h) {
    bool shared = is_shared(h);
    return bp_buffer_is_frozen(h->block) ? "buffer is frozen"
           : h->slice != 0               ? "a slice does not grow"
           : shared                      ? "buffer is shared"
                                         : NULL;
}

void bpl_refuse_fixed(lua_State *L, const bpl_handle *h, const char *method) {
    const char *why = bpl_fixed(h);
    if (why == NULL) {
        return;
    }
    if (h->slice == 0 && !bp_buffer_is_frozen(h->block)) {
        bpl_raise(L, "%s: %s (ref_count %u)", method, why, (unsigned)bp_buffer_ref_count(h->block));
    }
    bpl_raise(L, "%s: %s", method, why);
}

/* Moves all that h owns, and its bytes, to a block that holds `capacity`. */
static bool move_to(bpl_handle *h, size_t capacity) {
    bp_pool *pool = h->ledger->pool;
    bp_buffer *old = h->block;
    uint32_t owned = h->owned;
    bp_buffer *block = bp_buffer_get(pool, capacity);
    if (block == NULL) {
        return false;
    }
    uint8_t *data = bp_buffer_data(block);
    if (h->length > 0) {
        memcpy(data, h->data, h->length);
    }
    for (uint32_t i = 1; i < owned; i++) {
        (void)bp_buffer_retain(block);
    }
    h->block = block;
    h->data = data;
    if (h->slice != 0) {
        bpl_slice_unlist(h);
    }
    h->slice = 0;
    h->front = 0;
    h->moves = (h->moves + 1) & 0x7fffffff;
    bpl_handle_charge(h, bp_buffer_capacity(pool, block));
    for (; owned > 0; owned--) {
        (void)bp_buffer_release(pool, old);
    }
    return true;
}

/* The block for `need` bytes of one that outgrew `all`: twice as large, so that n puts cost
 * O(n); but alone, outside of all tiers, only where no tier holds them. */
static size_t next_size(const bpl_handle *h, size_t all, size_t need) {
    size_t tiers;
    const size_t *sizes = bp_pool_sizes(h->ledger->pool, &tiers);
    size_t largest = sizes[tiers - 1];
    size_t twice = all < BP_MAX_SIZE / 2 ? 2 * all : BP_MAX_SIZE;
    if (need <= largest && twice > largest) {
        twice = largest;
    }
    return need > twice ? need : twice;
}

/* Room for n bytes behind the last one: by moving them to the front where half the block was
 * consumed or all of it, else to a larger block. On failure errno says why. */
bool bpl_grow(bpl_handle *h, size_t n) {
    size_t room = bpl_room(h);
    if (n <= room - h->length) {
        return true;
    }
    if (n > BP_MAX_SIZE - h->length) {
        errno = ENOMEM;
        return false;
    }
    size_t need = h->length + n;
    size_t all = room + h->front;
    if (need <= all && (h->front >= all / 2 || h->length == 0)) {
        memmove(h->data - h->front, h->data, h->length);
        h->data -= h->front;
        h->front = 0;
        return true;
    }
    return move_to(h, next_size(h, all, need)) || move_to(h, need);
}

/* No block was to be had: a closed pool gives none any more. */
int bpl_no_block(lua_State *L, const char *method) {
    if (errno == EINVAL) {
        return bpl_raise(L, "%s: the pool is closed", method);
    }
    lua_pushnil(L);
    lua_pushliteral(L, "out of memory");
    return 2;
}

static int self(lua_State *L) {
    lua_settop(L, 1);
    return 1;
}

/* ---- length -------------------------------------------------------------- */

size_t bpl_view_capacity(const bpl_handle *h) { return h->slice != 0 ? h->length : bpl_room(h); }

static int l_buffer_capacity(lua_State *L) {
    bpl_pushcount(L, bpl_view_capacity(bpl_check_handle(L, 1, "capacity")));
    return 1;
}

/* Sets the length, new bytes to zero; one that grows must not be fixed. False: no memory. */
bool bpl_resize(bpl_handle *h, size_t n) {
    if (n > h->length) {
        const bp_buffer *old = h->block;
        if (!bpl_grow(h, n - h->length)) {
            return false;
        }
        /* A block above all tiers is new memory, which is zero: writing to a TiB of it would
         * take what the system gave only on paper. */
        size_t tiers;
        size_t largest = bp_pool_sizes(h->ledger->pool, &tiers)[tiers - 1];
        if (h->block == old || bpl_capacity(h) <= largest) {
            memset(h->data + h->length, 0, n - h->length);
        }
    }
    h->length = n;
    if (h->slice != 0) {
        bpl_slice_changed(h);
    }
    return true;
}

static int l_buffer_resize(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "resize");
    size_t n = bpl_check_size(L, 2, "resize", "n");
    if (n > h->length) {
        bpl_refuse_fixed(L, h, "resize");
    }
    return bpl_resize(h, n) ? self(L) : bpl_no_block(L, "resize");
}

void bpl_reset(bpl_handle *h) {
    h->length = 0;
    if (h->slice == 0) {
        h->data -= h->front;
        h->front = 0;
    } else {
        bpl_slice_changed(h);
    }
}

static int l_buffer_reset(lua_State *L) {
    bpl_reset(bpl_check_handle(L, 1, "reset"));
    return self(L);
}

/* The block goes back; the handle stays, empty, on the smallest one. False: no memory. */
bool bpl_free(bpl_handle *h) {
    size_t length = h->length;
    h->length = 0;
    if (!move_to(h, 0)) {
        h->length = length;
        return false;
    }
    return true;
}

static int l_buffer_free(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "free");
    bpl_refuse_fixed(L, h, "free");
    return bpl_free(h) ? self(L) : bpl_no_block(L, "free");
}

/* ---- building ------------------------------------------------------------ */

/* The bytes at `arg`; numbers and what has a __tostring become strings there. */
static bpl_span printable(lua_State *L, int arg, const char *method) {
    int type = lua_type(L, arg);
    if (type == LUA_TNUMBER) {
        (void)lua_tolstring(L, arg, NULL);
    } else if (type != LUA_TSTRING && bpl_to_handle(L, arg) == NULL &&
               luaL_callmeta(L, arg, "__tostring")) {
        lua_replace(L, arg);
    }
    if (lua_type(L, arg) != LUA_TSTRING && bpl_to_handle(L, arg) == NULL) {
        bpl_raise(L, "%s: argument 'value' must be a string, a number or a bytepool buffer, got %s",
                  method, bpl_typename(L, arg));
    }
    return bpl_check_span(L, arg, method, "value");
}

/* By the userdata: an empty buffer may point where another's block begins. */
static bool is_self(lua_State *L, int arg, const bpl_handle *h) {
    return lua_touserdata(L, arg) == (const void *)h;
}

/* All values are made strings first: that allocates, and calls strangers. */
static int put_values(lua_State *L, const char *method) {
    int top = lua_gettop(L);
    size_t total = 0;
    (void)bpl_check_handle(L, 1, method);
    for (int arg = 2; arg <= top; arg++) {
        (void)printable(L, arg, method);
    }
    bpl_handle *h = bpl_check_handle(L, 1, method);
    bpl_refuse_fixed(L, h, method);
    for (int arg = 2; arg <= top; arg++) {
        size_t count = bpl_check_span(L, arg, method, "value").length;
        total = count < SIZE_MAX - total ? total + count : SIZE_MAX;
    }
    if (!bpl_grow(h, total)) {
        return bpl_no_block(L, method);
    }
    size_t own = h->length; /* of self, where it is put to itself */
    for (int arg = 2; arg <= top; arg++) {
        bpl_span s = bpl_check_span(L, arg, method, "value");
        size_t count = is_self(L, arg, h) ? own : s.length;
        if (count > 0) {
            memcpy(h->data + h->length, s.data, count);
        }
        h->length += count;
    }
    return self(L);
}

static int l_buffer_put(lua_State *L) { return put_values(L, "put"); }

/* putf(format, ...): the fifth upvalue is string.format, whose errors get our name in front. */
int bpl_buffer_putf(lua_State *L) {
    (void)bpl_check_handle(L, 1, "putf");
    lua_pushvalue(L, lua_upvalueindex(BPL_UPVALUES + 1));
    lua_insert(L, 2);
    int status = lua_pcall(L, lua_gettop(L) - 2, 1, 0);
    if (status == LUA_ERRRUN && lua_type(L, -1) == LUA_TSTRING) {
        return bpl_raise(L, "putf: %s", lua_tostring(L, -1));
    }
    return status == 0 ? put_values(L, "putf") : lua_error(L);
}

/* These bytes, not its own, instead of all it has. False: no memory. */
bool bpl_replace(bpl_handle *h, bpl_span s) {
    size_t length = h->length;
    h->length = 0;
    if (!bpl_grow(h, s.length)) {
        h->length = length;
        return false;
    }
    if (s.length > 0) {
        memcpy(h->data, s.data, s.length);
    }
    h->length = s.length;
    return true;
}

static int l_buffer_set(lua_State *L) {
    lua_settop(L, 2);
    (void)bpl_check_handle(L, 1, "set");
    (void)printable(L, 2, "set");
    bpl_handle *h = bpl_check_handle(L, 1, "set");
    bpl_refuse_fixed(L, h, "set");
    bpl_span s = bpl_check_span(L, 2, "set", "value");
    return is_self(L, 2, h) || bpl_replace(h, s) ? self(L) : bpl_no_block(L, "set");
}

/* reserve(n): room for n bytes more; returns how many there is room for. */
static int l_buffer_reserve(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "reserve");
    size_t n = bpl_check_size(L, 2, "reserve", "n");
    bpl_refuse_fixed(L, h, "reserve");
    if (!bpl_grow(h, n)) {
        return bpl_no_block(L, "reserve");
    }
    bpl_pushcount(L, bpl_room(h) - h->length);
    return 1;
}

static int l_buffer_commit(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "commit");
    size_t n = bpl_check_size(L, 2, "commit", "n");
    bpl_refuse_fixed(L, h, "commit");
    if (n > bpl_room(h) - h->length) {
        return bpl_raise(L, "commit: %zu bytes are more than the %zu reserved", n,
                         bpl_room(h) - h->length);
    }
    h->length += n;
    return self(L);
}

/* ---- consuming ------------------------------------------------------------- */

void bpl_consume(bpl_handle *h, size_t n) {
    h->data += n;
    h->length -= n;
    if (h->slice == 0) {
        h->front += n;
    } else {
        bpl_slice_changed(h);
    }
}

static int l_buffer_skip(lua_State *L) {
    bpl_handle *h = bpl_check_handle(L, 1, "skip");
    size_t n = bpl_check_size(L, 2, "skip", "n");
    bpl_consume(h, n < h->length ? n : h->length);
    return self(L);
}

/* get([n, ...]): the next n bytes of each as a string; without or nil, all that is left. A
 * finalizer may change self while a string is made: each step looks at it anew. */
static int l_buffer_get(lua_State *L) {
    int count = lua_gettop(L) > 1 ? lua_gettop(L) - 1 : 1;
    (void)bpl_check_handle(L, 1, "get");
    lua_settop(L, count + 1);
    if (!lua_checkstack(L, count + LUA_MINSTACK)) {
        return bpl_raise(L, "get: too many strings for the Lua stack");
    }
    for (int arg = 2; arg <= count + 1; arg++) {
        if (!lua_isnil(L, arg)) {
            (void)bpl_check_size(L, arg, "get", "n");
        }
    }
    for (int arg = 2; arg <= count + 1; arg++) {
        size_t n = lua_isnil(L, arg) ? SIZE_MAX : bpl_check_size(L, arg, "get", "n");
        bpl_handle *hold = BPL_COLLECTS_FIRST ? bpl_push_dead(L) : NULL;
        bpl_handle *h = bpl_check_handle(L, 1, "get");
        n = n < h->length ? n : h->length;
        (void)bpl_push_bytes(L, hold, 0, n, "get");
        lua_replace(L, arg);
        lua_settop(L, count + 1);
        h = bpl_check_handle(L, 1, "get");
        bpl_consume(h, n < h->length ? n : h->length);
    }
    return count;
}

/* ---- moving ---------------------------------------------------------------- */

/* A block of its own, where others hold this one, it is frozen, or a slice. False: no memory. */
bool bpl_unshare(bpl_handle *h) { return bpl_fixed(h) == NULL || move_to(h, h->length); }

static int l_buffer_unshare(lua_State *L) {
    return bpl_unshare(bpl_check_handle(L, 1, "unshare")) ? self(L) : bpl_no_block(L, "unshare");
}

/* a .. b: a string, as the string library would make it of their bytes. */
static int l_buffer_concat(lua_State *L) {
    lua_settop(L, 2);
    for (int arg = 1; arg <= 2; arg++) {
        if (bpl_to_handle(L, arg) == NULL) {
            continue;
        }
        bpl_handle *hold = BPL_COLLECTS_FIRST ? bpl_push_dead(L) : NULL;
        const bpl_handle *h = bpl_to_handle(L, arg);
        if (h == NULL || h->owned == 0) {
            return bpl_raise(L, "..: buffer already released");
        }
        lua_pushvalue(L, arg);
        lua_insert(L, 1); /* where the checks look */
        (void)bpl_push_bytes(L, hold, 0, h->length, "..");
        lua_remove(L, 1);
        lua_replace(L, arg);
        lua_settop(L, 2);
    }
    for (int arg = 1; arg <= 2; arg++) {
        if (lua_type(L, arg) != LUA_TSTRING && lua_type(L, arg) != LUA_TNUMBER) {
            return bpl_raise(L, "..: cannot join a %s to a buffer", bpl_typename(L, arg));
        }
    }
    lua_concat(L, 2);
    return 1;
}

/* ref(): the FFI body of LuaJIT leaves what is wrong to this one. */
static int l_buffer_ref(lua_State *L) {
    (void)bpl_check_handle(L, 1, "ref");
    return bpl_raise(L, "ref: needs the FFI of LuaJIT");
}

/* builder([hint]): an empty buffer with room for hint bytes. */
int bpl_pool_builder(lua_State *L) {
    lua_settop(L, 2);
    bpl_handle *h = bpl_push_dead(L);
    bpl_pool *pool = bpl_check_open(L, "builder");
    size_t hint = lua_isnil(L, 2) ? 0 : bpl_check_size(L, 2, "builder", "hint");
    int results = bpl_fill(L, h, pool, hint, NULL);
    if (results == 1) {
        h->length = 0;
    }
    return results;
}

const luaL_Reg bpl_build_methods[] = {
    {"capacity", l_buffer_capacity},
    {"resize", l_buffer_resize},
    {"reset", l_buffer_reset},
    {"free", l_buffer_free},
    {"put", l_buffer_put},
    {"set", l_buffer_set},
    {"reserve", l_buffer_reserve},
    {"commit", l_buffer_commit},
    {"skip", l_buffer_skip},
    {"get", l_buffer_get},
    {"unshare", l_buffer_unshare},
    {"ref", l_buffer_ref},
    {NULL, NULL},
};

const luaL_Reg bpl_build_meta[] = {{"__concat", l_buffer_concat}, {NULL, NULL}};
