/* pack and unpack: Lua 5.3's string.pack and string.unpack on every Lua. */
#include <stdio.h>
#include <string.h>

#include "format.h"

/* ---- pack --------------------------------------------------------------------- */

/* Goes over format and values twice: without `out` to check and to measure, where numbers
 * become strings and cdata are told by calls; then to write, without any of that. */
typedef struct packer {
    bpl_reader r;
    uint8_t *out;
    size_t room;
    int arg;
    char name[24]; /* of the argument */
} packer;

/* bytes NULL: zeros */
static void emit(packer *p, const void *bytes, size_t count) {
    size_t at = p->r.at;
    if (count > BP_MAX_SIZE - at) {
        bpl_raise(p->r.L, "pack: result too long");
    }
    if (p->out != NULL && count > 0) {
        if (count > p->room - at) { /* a finalizer changed a buffer that was measured */
            bpl_raise(p->r.L, "pack: argument '%s' was changed meanwhile", p->name);
        }
        if (bytes != NULL) {
            memcpy(p->out + at, bytes, count);
        } else {
            memset(p->out + at, 0, count);
        }
    }
    p->r.at = at + count;
}

static void emit_integer(packer *p, uint64_t bits, size_t size, bool negative) {
    uint8_t bytes[BPL_WIDEST];
    size_t low = size < 8 ? size : 8;
    memset(bytes, negative ? 0xff : 0, sizeof bytes);
    bpl_store(p->r.big ? bytes + (size - low) : bytes, bits, low, p->r.big);
    emit(p, bytes, size);
}

static void pack_integer(packer *p, size_t size, bool is_signed) {
    bpl_integer v;
    lua_State *L = p->r.L;
    if (!bpl_to_integer(L, p->arg, p->out != NULL, &v)) {
        if (lua_isnumber(L, p->arg)) {
            bpl_raise(L, "pack: argument '%s': number has no integer representation", p->name);
        }
        bpl_raise(L, "pack: argument '%s' must be a number, got %s", p->name,
                  bpl_typename(L, p->arg));
    }
    if (p->out == NULL && !bpl_fits(v, size, is_signed)) {
        bpl_raise(L, "pack: argument '%s': %s overflow", p->name,
                  is_signed ? "integer" : "unsigned");
    }
    emit_integer(p, v.bits, size, is_signed && v.bits >> 63 != 0);
}

static void pack_float(packer *p, size_t size) {
    uint8_t bytes[8];
    lua_State *L = p->r.L;
    if (!lua_isnumber(L, p->arg)) {
        bpl_raise(L, "pack: argument '%s' must be a number, got %s", p->name,
                  bpl_typename(L, p->arg));
    }
    bpl_store(bytes, bpl_float_bits((double)lua_tonumber(L, p->arg), size), size, p->r.big);
    emit(p, bytes, size);
}

static void pack_string(packer *p, const bpl_option *o) {
    lua_State *L = p->r.L;
    if (lua_type(L, p->arg) == LUA_TNUMBER) {
        (void)lua_tolstring(L, p->arg, NULL);
    }
    bpl_span s = bpl_check_span(L, p->arg, "pack", p->name);
    if (o->type == BPL_CHARS && s.length > o->size) {
        bpl_raise(L, "pack: argument '%s': string longer than given size", p->name);
    } else if (o->type == BPL_STRING && o->size < sizeof s.length &&
               s.length >> (8 * o->size) != 0) {
        bpl_raise(L, "pack: argument '%s': string length does not fit in given size", p->name);
    } else if (o->type == BPL_ZERO && s.length > 0 && memchr(s.data, 0, s.length) != NULL) {
        bpl_raise(L, "pack: argument '%s': string contains zeros", p->name);
    }
    if (o->type == BPL_STRING) {
        emit_integer(p, s.length, o->size, false);
    }
    emit(p, s.data, s.length);
    emit(p, NULL, o->type == BPL_CHARS ? o->size - s.length : o->type == BPL_ZERO ? 1 : 0);
}

static void pack_values(packer *p) {
    while (*p->r.format != '\0') {
        bpl_option o = bpl_next_option(&p->r);
        emit(p, NULL, o.pad);
        if (o.type <= BPL_ZERO) {
            p->arg++;
            (void)snprintf(p->name, sizeof p->name, "value %d", p->arg - 2);
        }
        switch (o.type) {
        case BPL_INTEGER:
        case BPL_UNSIGNED:
            pack_integer(p, o.size, o.type == BPL_INTEGER);
            break;
        case BPL_FLOAT:
            pack_float(p, o.size);
            break;
        case BPL_CHARS:
        case BPL_STRING:
        case BPL_ZERO:
            pack_string(p, &o);
            break;
        default:
            emit(p, NULL, o.size);
        }
    }
}

static int l_buffer_pack(lua_State *L) {
    (void)bpl_check_handle(L, 1, "pack");
    packer measured = {.r = bpl_read_format(L, "pack"), .arg = 2};
    packer p = measured;
    pack_values(&measured);
    p.room = measured.r.at;
    bpl_handle *h = bpl_check_handle(L, 1, "pack");
    bpl_refuse_fixed(L, h, "pack");
    if (!bpl_grow(h, p.room)) {
        return bpl_no_block(L, h, h->length + p.room, "pack");
    }
    p.out = h->data + h->length;
    pack_values(&p);
    h->length += p.r.at;
    lua_settop(L, 1);
    return 1;
}

/* ---- unpack ------------------------------------------------------------------- */

static void check_left(const bpl_reader *r, const bpl_handle *h, size_t at, size_t count) {
    if (at > h->length || count > h->length - at) {
        bpl_raise(
            r->L,
            "unpack: data string too short: %zu bytes at position %zu do not fit in length %zu",
            count, at + 1, h->length);
    }
}

/* The low 64 bits; the rest of a wider one must be its sign's. */
static uint64_t read_integer(const bpl_reader *r, const uint8_t *at, size_t size, bool is_signed) {
    size_t low = size < 8 ? size : 8;
    uint64_t bits = bpl_load(r->big ? at + (size - low) : at, low, r->big);
    uint8_t rest = is_signed && bits >> 63 != 0 ? 0xff : 0;
    for (size_t i = low; i < size; i++) {
        if (at[r->big ? size - 1 - i : i] != rest) {
            bpl_raise(r->L, "unpack: %zu-byte integer does not fit into Lua Integer", size);
        }
    }
    return is_signed ? bpl_extend(bits, low) : bits;
}

static void unpack_integer(bpl_reader *r, const bpl_option *o) {
    bool is_signed = o->type == BPL_INTEGER;
    void *box = o->size > 6 ? bpl_push_box(r->L, is_signed) : NULL; /* what 2^53 may not hold */
    const bpl_handle *h = bpl_check_handle(r->L, 1, "unpack");
    check_left(r, h, r->at, o->size);
    uint64_t bits = read_integer(r, h->data + r->at, o->size, is_signed);
    if (box != NULL) {
        memcpy(box, &bits, sizeof bits);
    } else {
        bpl_push_integer(r->L, bits, is_signed, "unpack");
    }
    r->at += o->size;
}

static void unpack_float(bpl_reader *r, size_t size) {
    const bpl_handle *h = bpl_check_handle(r->L, 1, "unpack");
    check_left(r, h, r->at, size);
    uint64_t bits = bpl_load(h->data + r->at, size, r->big);
    lua_pushnumber(r->L, (lua_Number)bpl_float_of(bits, size));
    r->at += size;
}

static void unpack_string(bpl_reader *r, const bpl_option *o) {
    bpl_handle *hold = BPL_COLLECTS_FIRST ? bpl_push_dead(r->L) : NULL;
    const bpl_handle *h = bpl_check_handle(r->L, 1, "unpack");
    check_left(r, h, r->at, o->size);
    const uint8_t *data = h->data + r->at;
    size_t count = o->size, behind = 0;
    if (o->type == BPL_STRING) {
        uint64_t length = read_integer(r, data, o->size, false);
        r->at += o->size;
        count = length < SIZE_MAX ? (size_t)length : SIZE_MAX;
        check_left(r, h, r->at, count);
    } else if (o->type == BPL_ZERO) {
        const uint8_t *end = r->at < h->length ? memchr(data, 0, h->length - r->at) : NULL;
        if (end == NULL) {
            bpl_raise(r->L,
                      "unpack: unfinished string for format 'z' at position %zu in length %zu",
                      r->at + 1, h->length);
            return;
        }
        count = (size_t)(end - data);
        behind = 1;
    }
    (void)bpl_push_bytes(r->L, hold, r->at, count, "unpack");
    if (hold != NULL) {
        lua_remove(r->L, -2);
    }
    r->at += count + behind;
}

/* unpack(fmt[, pos]): each step looks at self anew, for what is pushed may run a finalizer. */
static int l_buffer_unpack(lua_State *L) {
    lua_settop(L, 3);
    const bpl_handle *h = bpl_check_handle(L, 1, "unpack");
    bpl_reader r = bpl_read_format(L, "unpack");
    r.at = lua_isnil(L, 3) ? 0 : bpl_check_place(L, 3, h, 0, "unpack");
    while (*r.format != '\0') {
        bpl_option o = bpl_next_option(&r);
        if (!lua_checkstack(L, LUA_MINSTACK)) {
            return bpl_raise(L, "unpack: too many results");
        }
        check_left(&r, bpl_check_handle(L, 1, "unpack"), r.at, o.pad + o.size);
        r.at += o.pad;
        switch (o.type) {
        case BPL_INTEGER:
        case BPL_UNSIGNED:
            unpack_integer(&r, &o);
            break;
        case BPL_FLOAT:
            unpack_float(&r, o.size);
            break;
        case BPL_CHARS:
        case BPL_STRING:
        case BPL_ZERO:
            unpack_string(&r, &o);
            break;
        default:
            r.at += o.size;
        }
    }
    bpl_pushcount(L, r.at + 1);
    return lua_gettop(L) - 3;
}

const luaL_Reg bpl_pack_methods[] = {
    {"pack", l_buffer_pack}, {"unpack", l_buffer_unpack}, {NULL, NULL}};
