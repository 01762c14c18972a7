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
    if (h == NULL || !(n >= 0 && n <= (double)BP_MAX_SIZE)) {
        return NOT_PLAIN;
    }
    size_t count = n < (double)h->length ? (size_t)n : h->length;
    if (n < (double)h->length && (double)count != n) {
        return NOT_PLAIN;
    }
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

/* 1: its first (or all, where `all` is not 0) bytes are these; 0: they are not. */
int bytepool_handle_is(void *handle, const char *s, size_t count, int all) {
    const bpl_handle *h = bpl_live(handle);
    if (h == NULL) {
        return NOT_PLAIN;
    }
    return (all != 0 ? h->length == count : h->length >= count) &&
           (count == 0 || memcmp(h->data, s, count) == 0);
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

/* A blank becomes a slice of a live buffer: 0, or NOT_PLAIN. */
int bytepool_handle_slice(void *blank, void *handle, double from, double to) {
    bpl_handle *part = blank;
    bpl_handle *h = bpl_live(handle);
    if (h == NULL || part == NULL || part->seal != BPL_BLANK_SEAL(part) || bpl_due(h->ledger)) {
        return NOT_PLAIN;
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
    return 0;
}
