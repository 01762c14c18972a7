/* What buffers do with bytes, for the FFI bodies: each call is one step to Lua, so that no
 * finalizer and no hook comes between a check and its use. Where the case is not the plain
 * one they say so, and the C method of the name does it, or words the refusal.
 */
#include <stdatomic.h>
#include <string.h>

#include "binding.h"

#define NOT_PLAIN (-1)

/* References and whether it is frozen, as bytepool.h says of a buffer's first word. Acquired:
 * who finds that he is alone sees what the others wrote before they let go. */
static uint32_t word_of(const bpl_handle *h) {
    const _Atomic uint32_t *word = (const _Atomic uint32_t *)(const void *)h->block;
    return atomic_load_explicit(word, memory_order_acquire);
}

static bpl_handle *writable(void *handle) {
    bpl_handle *h = bpl_live(handle);
    return h != NULL && word_of(h) < BP_FROZEN_BIT ? h : NULL;
}

/* A whole position from 1 to most, less 1; or SIZE_MAX. */
static size_t place(double pos, size_t most) {
    if (!(pos >= 1 && pos <= (double)most)) {
        return SIZE_MAX;
    }
    size_t at = (size_t)pos;
    return (double)at == pos ? at - 1 : SIZE_MAX;
}

/* A size argument, or SIZE_MAX. */
static size_t size_of(double n) {
    if (!(n >= 0 && n <= (double)BP_MAX_SIZE)) {
        return SIZE_MAX;
    }
    return (double)(size_t)n == n ? (size_t)n : SIZE_MAX;
}

int bytepool_handle_write(void *handle, double pos, const char *s, size_t count) {
    bpl_handle *h = writable(handle);
    size_t at = h != NULL ? place(pos, h->length + 1) : SIZE_MAX;
    if (at == SIZE_MAX || count > h->length - at) {
        return NOT_PLAIN;
    }
    memcpy(h->data + at, s, count);
    return 0;
}

/* Short words are most of what is put: two loads and two stores that may overlap cost less
 * than the call that finds out. */
static inline void copy(uint8_t *to, const char *from, size_t count) {
    if (count >= 8 && count <= 16) {
        uint64_t head, tail;
        memcpy(&head, from, 8);
        memcpy(&tail, from + count - 8, 8);
        memcpy(to, &head, 8);
        memcpy(to + count - 8, &tail, 8);
    } else {
        memcpy(to, from, count);
    }
}

int bytepool_handle_append(void *handle, const char *s, size_t count) {
    bpl_handle *h = bpl_live(handle);
    if (h == NULL || word_of(h) != h->owned || h->slice != 0) {
        return NOT_PLAIN;
    }
    if (count > bpl_room(h) - h->length && !bpl_grow(h, count)) {
        return NOT_PLAIN;
    }
    copy(h->data + h->length, s, count);
    h->length += count;
    return 0;
}

/* How many bytes went, at most n; or NOT_PLAIN. */
double bytepool_handle_skip(void *handle, double n) {
    bpl_handle *h = bpl_live(handle);
    size_t count = size_of(n);
    if (h == NULL || count == SIZE_MAX) {
        return NOT_PLAIN;
    }
    count = count < h->length ? count : h->length;
    bpl_consume(h, count);
    return (double)count;
}

/* Where the needle begins, from 1; 0: nowhere. */
double bytepool_handle_find(void *handle, const char *s, size_t count, double init) {
    const bpl_handle *h = bpl_live(handle);
    size_t at = h != NULL ? place(init, h->length + 1) : SIZE_MAX;
    if (at == SIZE_MAX || count == 0) {
        return NOT_PLAIN;
    }
    const uint8_t *found =
        bpl_search(h->data + at, h->length - at, (bpl_span){(const uint8_t *)s, count});
    return found != NULL ? (double)(found - h->data) + 1 : 0;
}

/* 1: its first (which 0), all (1) or last (2) bytes are these; 0: they are not. */
int bytepool_handle_is(void *handle, const char *s, size_t count, int which) {
    const bpl_handle *h = bpl_live(handle);
    if (h == NULL) {
        return NOT_PLAIN;
    }
    if (which == 1 ? h->length != count : h->length < count) {
        return 0;
    }
    return count == 0 || memcmp(h->data + (which == 2 ? h->length - count : 0), s, count) == 0;
}

/* The order, -1 to 1, and 1 more. */
int bytepool_handle_compare(void *handle, const char *s, size_t count) {
    const bpl_handle *h = bpl_live(handle);
    return h == NULL ? NOT_PLAIN
                     : 1 + bpl_compare((bpl_span){h->data, h->length},
                                       (bpl_span){(const uint8_t *)s, count});
}

/* ---- consuming and writing parts ------------------------------------------- */

/* Consumes count bytes if they still begin at data, where the caller copied them. */
int bytepool_handle_take(void *handle, const uint8_t *data, size_t count) {
    bpl_handle *h = bpl_live(handle);
    if (h == NULL || h->data != data || count > h->length) {
        return NOT_PLAIN;
    }
    bpl_consume(h, count);
    return 0;
}

/* Bytes i to j of a length, as bpl_check_range has them. */
static bool is_range(size_t length, double i, double j, size_t *from, size_t *count) {
    double all = (double)length;
    double first = i < 0 ? all + i + 1 : i;
    double last = j < 0 ? all + j + 1 : j;
    if (!(first >= 1 && first <= all + 1 && last >= first - 1 && last <= all)) {
        return false;
    }
    size_t end = (size_t)last;
    *from = (size_t)first - 1;
    *count = end - *from;
    return (double)(*from + 1) == first && (double)end == last;
}

static int copy_range(bpl_handle *h, double pos, bpl_span s, double i, double j) {
    size_t from, count;
    if (h == NULL || !is_range(s.length, i, j, &from, &count)) {
        return NOT_PLAIN;
    }
    size_t at = place(pos < 0 ? (double)h->length + pos + 1 : pos, h->length + 1);
    if (at == SIZE_MAX || count > h->length - at) {
        return NOT_PLAIN;
    }
    if (count > 0) {
        memmove(h->data + at, s.data + from, count);
    }
    return 0;
}

int bytepool_handle_copy(void *handle, double pos, const char *s, size_t length, double i,
                         double j) {
    return copy_range(writable(handle), pos, (bpl_span){(const uint8_t *)s, length}, i, j);
}

int bytepool_handle_copy_from(void *handle, double pos, void *from, double i, double j) {
    const bpl_handle *f = bpl_live(from);
    return f == NULL ? NOT_PLAIN
                     : copy_range(writable(handle), pos, (bpl_span){f->data, f->length}, i, j);
}

int bytepool_handle_set_bytes(void *handle, double value, double i, double j) {
    const bpl_handle *h = writable(handle);
    size_t from, count;
    bool is_byte = value >= 0 && value <= 255 && (double)(int)value == value;
    if (h == NULL || !is_byte || !is_range(h->length, i, j, &from, &count)) {
        return NOT_PLAIN;
    }
    if (count > 0) {
        memset(h->data + from, (int)value, count);
    }
    return 0;
}

/* ---- length and room --------------------------------------------------------- */

static bpl_handle *growing(void *handle) {
    bpl_handle *h = bpl_live(handle);
    return h != NULL && bpl_fixed(h) == NULL ? h : NULL;
}

int bytepool_handle_replace(void *handle, const char *s, size_t count) {
    bpl_handle *h = growing(handle);
    bpl_span bytes = {(const uint8_t *)s, count};
    return h != NULL && bpl_replace(h, bytes) ? 0 : NOT_PLAIN;
}

double bytepool_handle_capacity(void *handle) {
    const bpl_handle *h = bpl_live(handle);
    return h != NULL ? (double)bpl_view_capacity(h) : NOT_PLAIN;
}

/* How many there is room for. */
double bytepool_handle_reserve(void *handle, double n) {
    bpl_handle *h = growing(handle);
    size_t count = size_of(n);
    return h != NULL && count != SIZE_MAX && bpl_grow(h, count) ? (double)(bpl_room(h) - h->length)
                                                                : NOT_PLAIN;
}

int bytepool_handle_commit(void *handle, double n) {
    bpl_handle *h = growing(handle);
    size_t count = size_of(n);
    if (h == NULL || count > bpl_room(h) - h->length) {
        return NOT_PLAIN;
    }
    h->length += count;
    return 0;
}

int bytepool_handle_resize(void *handle, double n) {
    bpl_handle *h = bpl_live(handle);
    size_t length = size_of(n);
    bool refused = h == NULL || length == SIZE_MAX || (length > h->length && bpl_fixed(h) != NULL);
    return !refused && bpl_resize(h, length) ? 0 : NOT_PLAIN;
}

int bytepool_handle_free(void *handle) {
    bpl_handle *h = growing(handle);
    return h != NULL && bpl_free(h) ? 0 : NOT_PLAIN;
}

int bytepool_handle_unshare(void *handle) {
    bpl_handle *h = bpl_live(handle);
    return h != NULL && bpl_unshare(h) ? 0 : NOT_PLAIN;
}

/* All that it owns goes back. */
int bytepool_handle_close(void *handle) {
    bpl_handle *h = bpl_unwatched(handle);
    return h != NULL ? bpl_handle_give_back(h) : NOT_PLAIN;
}

int bytepool_handle_freeze(void *handle) {
    bpl_handle *h = bpl_live(handle);
    return h != NULL ? bp_buffer_freeze(h->block) : NOT_PLAIN;
}

/* 1 or 0. */
int bytepool_handle_is_unique(void *handle) {
    const bpl_handle *h = bpl_live(handle);
    return h == NULL ? NOT_PLAIN : bp_buffer_ref_count(h->block) == h->owned;
}

int bytepool_handle_is_frozen(void *handle) {
    const bpl_handle *h = bpl_live(handle);
    return h == NULL ? NOT_PLAIN : bp_buffer_is_frozen(h->block);
}

/* Empty again, the memory kept. */
int bytepool_handle_reset(void *handle) {
    bpl_handle *h = bpl_live(handle);
    if (h == NULL) {
        return NOT_PLAIN;
    }
    bpl_reset(h);
    return 0;
}

/* 1 or 0. */
int bytepool_pool_is_open(void *pool) { return bpl_open_pool(pool) != NULL; }

/* A blank becomes a slice of a live buffer: 0, BPL_TRACE, BPL_E_DUE, or NOT_PLAIN. */
int bytepool_handle_slice(void *blank, void *handle, double from, double to) {
    bpl_handle *part = blank;
    bpl_handle *h = bpl_live(handle);
    if (h == NULL || part == NULL || part->seal != BPL_BLANK_SEAL(part)) {
        return NOT_PLAIN;
    }
    if (bpl_due(h->ledger)) {
        return BPL_E_DUE;
    }
    size_t at = place(from, h->length + 1);
    size_t end = to == (double)at ? at : place(to, h->length);
    end = end == SIZE_MAX || to == (double)at ? end : end + 1;
    if (at == SIZE_MAX || end == SIZE_MAX || end < at || bp_buffer_retain(h->block) != BP_OK) {
        return NOT_PLAIN;
    }
    part->seal = BPL_HANDLE_SEAL(part);
    bpl_handle_view(part, h);
    bpl_handle_narrow(part, at, end - at);
    return bpl_sampled(part->ledger) ? BPL_TRACE : 0;
}
