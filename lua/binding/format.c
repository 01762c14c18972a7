/* The format language of pack and unpack, an option at a time. */
#include <limits.h>
#include <stddef.h>

#include "format.h"

struct aligned {
    char c;
    union {
        double d;
        void *p;
        int64_t i;
        long l;
    } u;
};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static int read_number(bpl_reader *r, int otherwise) {
    if (!is_digit(*r->format)) {
        return otherwise;
    }
    int n = 0;
    do {
        n = n * 10 + (*r->format++ - '0');
    } while (is_digit(*r->format) && n <= (INT_MAX - 9) / 10);
    return n;
}

static size_t read_size(bpl_reader *r, size_t otherwise) {
    int n = read_number(r, (int)otherwise);
    if (n < 1 || n > BPL_WIDEST) {
        bpl_raise(r->L, "%s: integral size (%d) out of limits [1,%d]", r->method, n, BPL_WIDEST);
    }
    return (size_t)n;
}

static bpl_option control(bpl_reader *r, char c) {
    const uint16_t one = 1;
    switch (c) {
    case ' ':
        break;
    case '<':
        r->big = false;
        break;
    case '>':
        r->big = true;
        break;
    case '=':
        r->big = *(const uint8_t *)&one == 0;
        break;
    case '!':
        r->align = read_size(r, offsetof(struct aligned, u));
        break;
    default:
        bpl_raise(r->L, "%s: invalid format option '%c'", r->method, c);
    }
    return (bpl_option){BPL_NOTHING, 0, 0};
}

static bpl_option read_chars(bpl_reader *r) {
    int n = read_number(r, -1);
    if (n < 0) {
        bpl_raise(r->L, "%s: missing size for format option 'c'", r->method);
    }
    return (bpl_option){BPL_CHARS, (size_t)n, 0};
}

/* Without its padding. */
static bpl_option read_option(bpl_reader *r) {
    char c = *r->format++;
    switch (c) {
    case 'b':
        return (bpl_option){BPL_INTEGER, sizeof(char), 0};
    case 'B':
        return (bpl_option){BPL_UNSIGNED, sizeof(char), 0};
    case 'h':
        return (bpl_option){BPL_INTEGER, sizeof(short), 0};
    case 'H':
        return (bpl_option){BPL_UNSIGNED, sizeof(short), 0};
    case 'i':
        return (bpl_option){BPL_INTEGER, read_size(r, sizeof(int)), 0};
    case 'I':
        return (bpl_option){BPL_UNSIGNED, read_size(r, sizeof(int)), 0};
    case 'l':
        return (bpl_option){BPL_INTEGER, sizeof(long), 0};
    case 'L':
        return (bpl_option){BPL_UNSIGNED, sizeof(long), 0};
    case 'j':
        return (bpl_option){BPL_INTEGER, sizeof(int64_t), 0};
    case 'J':
        return (bpl_option){BPL_UNSIGNED, sizeof(uint64_t), 0};
    case 'T':
        return (bpl_option){BPL_UNSIGNED, sizeof(size_t), 0};
    case 'f':
        return (bpl_option){BPL_FLOAT, sizeof(float), 0};
    case 'd':
    case 'n':
        return (bpl_option){BPL_FLOAT, sizeof(double), 0};
    case 's':
        return (bpl_option){BPL_STRING, read_size(r, sizeof(size_t)), 0};
    case 'c':
        return read_chars(r);
    case 'z':
        return (bpl_option){BPL_ZERO, 0, 0};
    case 'x':
        return (bpl_option){BPL_PADDING, 1, 0};
    case 'X':
        return (bpl_option){BPL_ALIGN, 0, 0};
    default:
        return control(r, c);
    }
}

bpl_option bpl_next_option(bpl_reader *r) {
    bpl_option o = read_option(r);
    size_t align = o.size;
    if (o.type == BPL_ALIGN) {
        bpl_option of = *r->format != '\0' ? read_option(r) : o;
        if (of.type == BPL_CHARS || of.size == 0) {
            bpl_raise(r->L, "%s: invalid next option for option 'X'", r->method);
        }
        align = of.size;
    }
    if (align > 1 && o.type != BPL_CHARS) {
        align = align < r->align ? align : r->align;
        if ((align & (align - 1)) != 0) {
            bpl_raise(r->L, "%s: format asks for alignment not power of 2", r->method);
        }
        o.pad = (0 - r->at) & (align - 1);
    }
    return o;
}

bpl_reader bpl_read_format(lua_State *L, const char *method) {
    if (lua_type(L, 2) != LUA_TSTRING) {
        bpl_raise(L, "%s: argument 'fmt' must be a string, got %s", method, bpl_typename(L, 2));
    }
    bpl_reader r = {L, method, lua_tostring(L, 2), 0, 1, false};
    (void)control(&r, '=');
    return r;
}
