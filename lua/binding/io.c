/* Bytes between buffers and files or descriptors, without strings on the way.
 *
 * Reading from a Lua file goes through its FILE, which may hold bytes already. Writing goes
 * to its descriptor, after a flush: stdio does not tell how much of what it took was
 * written, and drops it on an error.
 *
 * While a call blocks no Lua code runs in this state, so what was checked before it still
 * holds after it. No lock of the pool is held meanwhile. Signals' dispositions are the
 * program's: without SIGPIPE ignored, a pipe that nobody reads ends it.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "binding.h"

#if !defined BPL_NO_WRITEV && defined __has_include
#if __has_include(<sys/uio.h>)
#define BPL_HAS_WRITEV
#endif
#endif
#ifdef BPL_HAS_WRITEV
#include <sys/uio.h>
#else
#pragma message("no writev here: each piece is a write of its own")
struct iovec {
    void *iov_base;
    size_t iov_len;
};
#endif

/* Pieces of one writev: 16 is what POSIX promises; 1024 are 16 KiB of stack. */
#if !defined IOV_MAX
#define BATCH 16
#elif IOV_MAX > 1024
#define BATCH 1024
#else
#define BATCH IOV_MAX
#endif

#define MOST       ((size_t)1 << 30) /* bytes of one call: some systems refuse 2 GiB */
#define LEAST_ROOM ((size_t)4096)    /* that a read without a count makes */

typedef struct stream {
    FILE *file; /* NULL: a descriptor */
    int fd;
} stream;

/* ---- files and descriptors ------------------------------------------------- */

/* What a userdata with the metatable of Lua's files begins with; NULL: closed. */
static FILE *file_of(void *memory) {
#if LUA_VERSION_NUM >= 502
    luaL_Stream *s = memory;
    return s->closef != NULL ? s->f : NULL;
#else
    return *(FILE **)memory;
#endif
}

static bool is_file_size(size_t size) {
#if LUA_VERSION_NUM >= 502
    return size == sizeof(luaL_Stream);
#else
    return size == sizeof(FILE *) || size == 2 * sizeof(FILE *); /* LuaJIT has a number behind it */
#endif
}

/* By size too, for a script can give that metatable to something else. Its name may have to
 * be made a string here: an allocation. */
static bool is_file(lua_State *L, int arg) {
    if (lua_type(L, arg) != LUA_TUSERDATA || !is_file_size(lua_rawlen(L, arg)) ||
        !lua_getmetatable(L, arg)) {
        return false;
    }
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_FILEHANDLE);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

static stream check_stream(lua_State *L, int arg, const char *method) {
    stream s = {NULL, -1};
    if (is_file(L, arg)) {
        s.file = file_of(lua_touserdata(L, arg));
        if (s.file == NULL) {
            bpl_raise(L, "%s: file is closed", method);
        }
        s.fd = fileno(s.file);
        return s;
    }
    double v = lua_type(L, arg) == LUA_TNUMBER ? (double)lua_tonumber(L, arg) : -1;
    if (!(v >= 0 && v <= INT_MAX) || v != (double)(int)v) {
        bpl_push_shown(L, arg);
        bpl_raise(L, "%s: argument 'file' must be a Lua file or a descriptor, got %s", method,
                  lua_tostring(L, -1));
    } else {
        s.fd = (int)v;
    }
    return s;
}

/* nil, message, errno, as Lua's files give it. */
static int push_error(lua_State *L, int error) {
    lua_pushnil(L);
    lua_pushstring(L, strerror(error));
    lua_pushinteger(L, error);
    return 3;
}

/* ---- reading ----------------------------------------------------------------- */

/* Each returns 0 or errno, and counts what it read, which is 0 at the end. */

static int read_descriptor(int fd, uint8_t *to, size_t n, size_t *got) {
    ssize_t count;
    do {
        count = read(fd, to, n < MOST ? n : MOST);
    } while (count < 0 && errno == EINTR);
    *got = count > 0 ? (size_t)count : 0;
    return count < 0 ? errno : 0;
}

/* All n bytes, or up to the end. Bytes that came before an error are a success: the
 * error is there again at the next read. */
static int read_file(FILE *file, uint8_t *to, size_t n, size_t *got) {
    int error;
    do {
        clearerr(file); /* as Lua does: a file that grew is read on */
        errno = 0;
        *got += fread(to + *got, 1, n - *got, file);
        error = *got == n || !ferror(file) ? 0 : errno != 0 ? errno : EIO;
    } while (error == EINTR);
    return *got > 0 ? 0 : error;
}

/* read_from(file[, n]) */
static int l_buffer_read_from(lua_State *L) {
    lua_settop(L, 3);
    (void)bpl_check_handle(L, 1, "read_from");
    stream s = check_stream(L, 2, "read_from");
    bpl_handle *h = bpl_check_handle(L, 1, "read_from");
    size_t n = lua_isnil(L, 3) ? 0 : bpl_check_size(L, 3, "read_from", "n");
    bpl_refuse_fixed(L, h, "read_from");
    bool grown;
    if (lua_isnil(L, 3)) {
        grown = bpl_room(h) - h->length >= LEAST_ROOM || bpl_grow(h, LEAST_ROOM);
        n = bpl_room(h) - h->length;
    } else {
        grown = bpl_grow(h, n);
    }
    if (!grown) {
        return bpl_no_block(L, h, h->length + n, "read_from");
    }
    size_t got = 0;
    int error = s.file != NULL ? read_file(s.file, h->data + h->length, n, &got)
                               : read_descriptor(s.fd, h->data + h->length, n, &got);
    h->length += got;
    if (error != 0) {
        return push_error(L, error);
    }
    bpl_pushcount(L, got);
    return 1;
}

/* ---- writing ----------------------------------------------------------------- */

static ssize_t write_some(int fd, const struct iovec *v, int count) {
#ifdef BPL_HAS_WRITEV
    size_t bytes = 0;
    int fit = 0;
    while (fit < count && v[fit].iov_len <= MOST - bytes) {
        bytes += v[fit++].iov_len;
    }
    if (fit > 1) {
        return writev(fd, v, fit);
    }
#else
    (void)count;
#endif
    return write(fd, v->iov_base, v->iov_len < MOST ? v->iov_len : MOST);
}

/* All the pieces, none of them empty: 0 or errno. Adds up what was written. */
static int write_all(int fd, struct iovec *v, int count, size_t *written) {
    while (count > 0) {
        ssize_t n = write_some(fd, v, count);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? errno : EIO;
        }
        *written += (size_t)n;
        size_t left = (size_t)n;
        while (count > 0 && left >= v->iov_len) {
            left -= v->iov_len;
            v++;
            count--;
        }
        if (count > 0) {
            v->iov_base = (char *)v->iov_base + left;
            v->iov_len -= left;
        }
    }
    return 0;
}

/* What the file holds goes out first. */
static int begin_writing(stream s) { return s.file != NULL && fflush(s.file) != 0 ? errno : 0; }

/* stdio may know a position, which is no longer true. glibc knows one after a seek only, and
 * shows it; to ask costs two calls, a fifth of the time of 64 KiB to /dev/null. */
static bool knows_position(const FILE *file) {
#if defined __GLIBC__ && !defined __UCLIBC__
    return file->_offset >= 0;
#else
    return file != NULL;
#endif
}

static void end_writing(stream s) {
    off_t at = s.file != NULL && knows_position(s.file) ? lseek(s.fd, 0, SEEK_CUR) : -1;
    if (at >= 0) {
        (void)fseeko(s.file, at, SEEK_SET);
    }
}

/* The count, or nil, message, errno and the count of what was written before. */
static int push_written(lua_State *L, int error, size_t written) {
    int results = error != 0 ? push_error(L, error) : 0;
    bpl_pushcount(L, written);
    return results + 1;
}

/* write_to(file): consumes nothing; skip(written) after an error leaves what is to come. */
static int l_buffer_write_to(lua_State *L) {
    lua_settop(L, 2);
    (void)bpl_check_handle(L, 1, "write_to");
    stream s = check_stream(L, 2, "write_to");
    const bpl_handle *h = bpl_check_handle(L, 1, "write_to");
    struct iovec piece = {h->data, h->length};
    size_t written = 0;
    int error = begin_writing(s);
    if (error == 0 && piece.iov_len > 0) {
        error = write_all(s.fd, &piece, 1, &written);
        end_writing(s);
    }
    return push_written(L, error, written);
}

/* Entry i of the list at 2, of which nothing allocates. */
static bpl_span piece_at(lua_State *L, size_t i) {
    bpl_span p = {NULL, 0};
    lua_rawgeti(L, 2, (int)i);
    const bpl_handle *h = bpl_to_handle(L, -1);
    if (lua_type(L, -1) == LUA_TSTRING || (h != NULL && h->owned > 0)) {
        p = bpl_check_span(L, -1, "writev", "list");
    } else if (h != NULL) {
        bpl_raise(L, "writev: list[%zu] is a released buffer", i);
    } else {
        bpl_raise(L, "writev: list[%zu] must be a string or a bytepool buffer, got %s", i,
                  bpl_typename(L, -1));
    }
    lua_pop(L, 1);
    return p;
}

/* Where to begin, after all of the list was looked at. */
static size_t check_pieces(lua_State *L, size_t count) {
    size_t total = 0;
    for (size_t i = 1; i <= count; i++) {
        total += piece_at(L, i).length;
    }
    size_t from = lua_isnil(L, 3) ? 0 : bpl_check_size(L, 3, "writev", "from");
    if (from > total) {
        bpl_raise(L, "writev: argument 'from' is %zu, but the list has %zu bytes", from, total);
    }
    return from;
}

/* writev(file, list[, from]): without the first `from` bytes, which an earlier call wrote. */
int bpl_writev(lua_State *L) {
    struct iovec batch[BATCH];
    lua_settop(L, 3);
    stream s = check_stream(L, 1, "writev");
    if (lua_type(L, 2) != LUA_TTABLE) {
        return bpl_raise(L, "writev: argument 'list' must be a table, got %s", bpl_typename(L, 2));
    }
    size_t count = lua_rawlen(L, 2);
    size_t from = check_pieces(L, count);
    size_t written = 0, i = 1;
    int error = begin_writing(s);
    while (error == 0 && i <= count) {
        int pieces = 0;
        for (; i <= count && pieces < BATCH; i++) {
            bpl_span p = piece_at(L, i);
            size_t skip = from < p.length ? from : p.length;
            from -= skip;
            if (p.length > skip) {
                batch[pieces++] = (struct iovec){(void *)(p.data + skip), p.length - skip};
            }
        }
        error = write_all(s.fd, batch, pieces, &written);
    }
    end_writing(s);
    return push_written(L, error, written);
}

const luaL_Reg bpl_io_methods[] = {
    {"read_from", l_buffer_read_from},
    {"write_to", l_buffer_write_to},
    {NULL, NULL},
};
