/* The format language of Lua 5.3's string.pack. Sizes and alignment are the machine's C;
 * lua_Integer and lua_Number are taken to have 64 bits. */
#ifndef BPL_FORMAT_H
#define BPL_FORMAT_H

#include "binding.h"

#define BPL_WIDEST 16 /* bytes of the widest i and I */

/* A place in a format, and in the bytes: `at` counts them from where alignment begins. */
typedef struct bpl_reader {
    lua_State *L;
    const char *method, *format;
    size_t at, align;
    bool big;
} bpl_reader;

/* Up to BPL_ZERO they stand for a value. */
typedef enum {
    BPL_INTEGER,
    BPL_UNSIGNED,
    BPL_FLOAT,
    BPL_CHARS,
    BPL_STRING,
    BPL_ZERO,
    BPL_PADDING,
    BPL_ALIGN,
    BPL_NOTHING
} bpl_option_type;

typedef struct bpl_option {
    bpl_option_type type;
    size_t size, pad; /* pad: bytes in front of it */
} bpl_option;

/* from format.c. Both raise what is wrong with the format, in the method's name. */
bpl_reader bpl_read_format(lua_State *L, const char *method); /* at 2, from its beginning */
bpl_option bpl_next_option(bpl_reader *r); /* not at the end; r->at is left to the caller */

#endif
