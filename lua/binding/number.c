/* Numbers at a position: buf:u16le(pos), buf:set_u16le(pos, v) and so on, each a line of one
 * table. The FFI bodies are generated from that table too.
 *
 * 64-bit integers are the Lua's own from Lua 5.3 on, and cdata on LuaJIT. There C has no call
 * to make or to tell a cdata, so ffi's functions do; they allocate and can run a hook, hence
 * always before a handle is checked. Elsewhere they are numbers, exact within 2^53.
 */
#include <stdio.h>
#include <string.h>

#include "binding.h"

/* clang-format off */
#define KINDS(X) \
    X(u8, 1, 'u', false)    X(i8, 1, 'i', false) \
    X(u16le, 2, 'u', false) X(u16be, 2, 'u', true) X(i16le, 2, 'i', false) X(i16be, 2, 'i', true) \
    X(u32le, 4, 'u', false) X(u32be, 4, 'u', true) X(i32le, 4, 'i', false) X(i32be, 4, 'i', true) \
    X(u64le, 8, 'u', false) X(u64be, 8, 'u', true) X(i64le, 8, 'i', false) X(i64be, 8, 'i', true) \
    X(f32le, 4, 'f', false) X(f32be, 4, 'f', true) X(f64le, 8, 'f', false) X(f64be, 8, 'f', true)
/* clang-format on */

typedef struct kind {
    const char *get, *set;
    size_t size;
    char type; /* unsigned, integer, float */
    bool big;
} kind;

#define KIND_NUMBER(name, size, type, big) KIND_##name,
enum { KINDS(KIND_NUMBER) KIND_COUNT };

#define KIND_ENTRY(name, size, type, big) {#name, "set_" #name, size, type, big},
static const kind kinds[] = {KINDS(KIND_ENTRY)};

/* ---- bytes ----------------------------------------------------------------- */

uint64_t bpl_load(const uint8_t *at, size_t size, bool big) {
    uint64_t bits = 0;
    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | at[big ? i : size - 1 - i];
    }
    return bits;
}

void bpl_store(uint8_t *at, uint64_t bits, size_t size, bool big) {
    for (size_t i = 0; i < size; i++, bits >>= 8) {
        at[big ? size - 1 - i : i] = (uint8_t)bits;
    }
}

uint64_t bpl_extend(uint64_t bits, size_t size) {
    uint64_t sign = size < 8 ? (uint64_t)1 << (8 * size - 1) : 0;
    return (bits ^ sign) - sign;
}

double bpl_float_of(uint64_t bits, size_t size) {
    uint32_t narrow = (uint32_t)bits;
    float f;
    double d;
    memcpy(&f, &narrow, sizeof f);
    memcpy(&d, &bits, sizeof d);
    return size == sizeof f ? (double)f : d;
}

uint64_t bpl_float_bits(double v, size_t size) {
    float f = (float)v;
    uint32_t narrow;
    uint64_t bits;
    memcpy(&narrow, &f, sizeof narrow);
    memcpy(&bits, &v, sizeof bits);
    return size == sizeof f ? narrow : bits;
}

/* ---- integers of Lua -------------------------------------------------------- */

#if LUA_VERSION_NUM >= 503 || defined LUA_JITLIBNAME
#define WHOLE_LIMIT 0x1p63
#define INTEGER_64  "a whole number of 64 bits"
#else
#define WHOLE_LIMIT 0x1p53
#define INTEGER_64  "a whole number within 2^53"
#endif

static bool whole(double v, bpl_integer *out) {
    if (!(v >= -WHOLE_LIMIT && v <= WHOLE_LIMIT) || v >= 0x1p63 || (double)(int64_t)v != v) {
        return false;
    }
    *out = (bpl_integer){(uint64_t)(int64_t)v, v < 0};
    return true;
}

/* Of 64 bits either sign's encoding, as the integers of Lua 5.3 can not tell them apart. */
bool bpl_fits(bpl_integer v, size_t size, bool is_signed) {
    if (size >= 8) {
        return true;
    }
    uint64_t half = (uint64_t)1 << (8 * size - 1);
    return !is_signed   ? !v.negative && v.bits < 2 * half
           : v.negative ? v.bits >= 0 - half
                        : v.bits < half;
}

#ifdef LUA_JITLIBNAME
#define CDATA 10 /* what lua_type says of one */
enum { UNSIGNED_TYPE = 1, SIGNED_TYPE, IS_TYPE };
static char ffi_key;

static bool push_ffi(lua_State *L) {
    lua_pushlightuserdata(L, &ffi_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (!lua_istable(L, -1)) {
        lua_pop(L, 1);
        return false;
    }
    return true;
}

static bool is_ctype(lua_State *L, int arg, int type) {
    if (!push_ffi(L)) {
        return false;
    }
    lua_rawgeti(L, -1, IS_TYPE);
    lua_rawgeti(L, -2, type);
    lua_pushvalue(L, arg);
    lua_call(L, 2, 1);
    bool is = lua_toboolean(L, -1);
    lua_pop(L, 2);
    return is;
}

void *bpl_push_box(lua_State *L, bool is_signed) {
    int type = is_signed ? SIGNED_TYPE : UNSIGNED_TYPE;
    if (!push_ffi(L)) {
        return NULL;
    }
    lua_rawgeti(L, -1, type);
    lua_remove(L, -2);
    lua_call(L, 0, 1);
    if (lua_type(L, -1) == CDATA && is_ctype(L, lua_gettop(L), type)) {
        return (void *)(uintptr_t)lua_topointer(L, -1);
    }
    lua_pop(L, 1); /* what the debug library put into the registry */
    return NULL;
}

static bool unbox(lua_State *L, int arg, bool again, bpl_integer *out) {
    bool is_signed = !again && is_ctype(L, arg, SIGNED_TYPE);
    if (!again && !is_signed && !is_ctype(L, arg, UNSIGNED_TYPE)) {
        return false;
    }
    memcpy(&out->bits, lua_topointer(L, arg), sizeof out->bits);
    out->negative = is_signed && out->bits >> 63 != 0;
    return true;
}

static int find_ffi(lua_State *L) {
    lua_getglobal(L, "require");
    lua_pushliteral(L, "ffi");
    lua_call(L, 1, 1);
    lua_pushlightuserdata(L, &ffi_key);
    lua_newtable(L);
    for (int type = UNSIGNED_TYPE; type <= SIGNED_TYPE; type++) {
        lua_getfield(L, 1, "typeof");
        lua_pushstring(L, type == SIGNED_TYPE ? "int64_t" : "uint64_t");
        lua_call(L, 1, 1);
        lua_rawseti(L, -2, type);
    }
    lua_getfield(L, 1, "istype");
    lua_rawseti(L, -2, IS_TYPE);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return 0;
}

/* A LuaJIT without the FFI has only numbers. */
void bpl_find_ffi(lua_State *L) {
    lua_pushcfunction(L, find_ffi);
    if (lua_pcall(L, 0, 0, 0) != 0) {
        lua_pop(L, 1);
    }
}
#else
void *bpl_push_box(lua_State *L, bool is_signed) {
    (void)L, (void)is_signed;
    return NULL;
}

void bpl_find_ffi(lua_State *L) { (void)L; }
#endif

bool bpl_to_integer(lua_State *L, int arg, bool again, bpl_integer *out) {
#if LUA_VERSION_NUM >= 503
    int found;
    lua_Integer v = lua_tointegerx(L, arg, &found);
    (void)again;
    *out = (bpl_integer){(uint64_t)v, v < 0};
    return found != 0;
#else
#ifdef LUA_JITLIBNAME
    if (lua_type(L, arg) == CDATA) {
        return unbox(L, arg, again, out);
    }
#endif
    (void)again;
    return lua_isnumber(L, arg) && whole((double)lua_tonumber(L, arg), out);
#endif
}

void bpl_push_integer(lua_State *L, uint64_t bits, bool is_signed, const char *method) {
#if LUA_VERSION_NUM >= 503
    (void)is_signed, (void)method;
    lua_pushinteger(L, (lua_Integer)bits);
#else
    bool negative = is_signed && bits >> 63 != 0;
    uint64_t size = negative ? 0 - bits : bits;
    if (size > (uint64_t)1 << 53) {
        bpl_raise(L, "%s: %s%llu is beyond 2^53, where numbers of this Lua are not exact", method,
                  negative ? "-" : "", (unsigned long long)size);
    }
    lua_pushnumber(L, negative ? -(lua_Number)size : (lua_Number)size);
#endif
}

/* ---- the methods ------------------------------------------------------------- */

static int get_number(lua_State *L, const kind *k) {
    bool is_signed = k->type == 'i';
    lua_settop(L, 2);
    (void)bpl_check_handle(L, 1, k->get);
    void *box = k->size == 8 && k->type != 'f' ? bpl_push_box(L, is_signed) : NULL;
    const bpl_handle *h = bpl_check_handle(L, 1, k->get);
    size_t at = bpl_check_place(L, 2, h, k->size, k->get);
    uint64_t bits = bpl_load(h->data + at, k->size, k->big);
    if (k->type == 'f') {
        lua_pushnumber(L, (lua_Number)bpl_float_of(bits, k->size));
    } else if (box != NULL) {
        memcpy(box, &bits, sizeof bits);
    } else {
        bpl_push_integer(L, is_signed ? bpl_extend(bits, k->size) : bits, is_signed, k->get);
    }
    return 1;
}

static int refuse_value(lua_State *L, const kind *k) {
    char range[64];
    long long half = 1LL << (8 * (k->size < 8 ? k->size : 1) - 1);
    if (k->size == 8) {
        (void)snprintf(range, sizeof range, "%s", INTEGER_64);
    } else {
        (void)snprintf(range, sizeof range, "a whole number from %lld to %lld",
                       k->type == 'i' ? -half : 0, k->type == 'i' ? half - 1 : 2 * half - 1);
    }
    bpl_push_shown(L, 3);
    return bpl_raise(L, "%s: argument 'v' must be %s, got %s", k->set,
                     k->type == 'f' ? "a number" : range, lua_tostring(L, -1));
}

static int set_number(lua_State *L, const kind *k) {
    lua_settop(L, 3);
    (void)bpl_check_handle(L, 1, k->set);
    bpl_integer v;
    if (k->type == 'f') {
        v.bits = bpl_float_bits((double)lua_tonumber(L, 3), k->size);
    }
    if (k->type == 'f'
            ? !lua_isnumber(L, 3)
            : !bpl_to_integer(L, 3, false, &v) || !bpl_fits(v, k->size, k->type == 'i')) {
        return refuse_value(L, k);
    }
    const bpl_handle *h = bpl_check_writable(L, k->set);
    bpl_store(h->data + bpl_check_place(L, 2, h, k->size, k->set), v.bits, k->size, k->big);
    lua_settop(L, 1);
    return 1;
}

/* For the FFI bodies: 0, or what the C method says. Kinds count from 0. */
int bytepool_handle_set(void *handle, double pos, int kind_number, double v) {
    if (kind_number < 0 || kind_number >= KIND_COUNT) {
        return BP_ERR_ARG;
    }
    const kind *k = &kinds[kind_number];
    uint8_t bytes[8];
    bpl_integer n;
    if (k->type == 'f') {
        n.bits = bpl_float_bits(v, k->size);
    } else if (!whole(v, &n) || !bpl_fits(n, k->size, k->type == 'i')) {
        return BP_ERR_ARG;
    }
    bpl_store(bytes, n.bits, k->size, k->big);
    return bytepool_handle_write(handle, pos, (const char *)bytes, k->size);
}

int bytepool_handle_set_bits(void *handle, double pos, uint64_t bits, int big) {
    uint8_t bytes[8];
    bpl_store(bytes, bits, sizeof bytes, big != 0);
    return bytepool_handle_write(handle, pos, (const char *)bytes, sizeof bytes);
}

/* A list of {name, size, type, big}, for bytepool/numbers.lua. */
void bpl_push_kinds(lua_State *L) {
    lua_createtable(L, KIND_COUNT, 0);
    for (int i = 0; i < KIND_COUNT; i++) {
        const kind *k = &kinds[i];
        lua_createtable(L, 0, 4);
        lua_pushstring(L, k->get);
        lua_setfield(L, -2, "name");
        lua_pushinteger(L, (lua_Integer)k->size);
        lua_setfield(L, -2, "size");
        lua_pushlstring(L, &k->type, 1);
        lua_setfield(L, -2, "type");
        lua_pushboolean(L, k->big);
        lua_setfield(L, -2, "big");
        lua_rawseti(L, -2, i + 1);
    }
}

#define KIND_METHODS(name, size, type, big)                                                 \
    static int l_buffer_##name(lua_State *L) { return get_number(L, &kinds[KIND_##name]); } \
    static int l_buffer_set_##name(lua_State *L) { return set_number(L, &kinds[KIND_##name]); }
KINDS(KIND_METHODS)

#define KIND_REG(name, size, type, big) \
    {#name, l_buffer_##name}, {"set_" #name, l_buffer_set_##name},
const luaL_Reg bpl_number_methods[] = {KINDS(KIND_REG){NULL, NULL}};
