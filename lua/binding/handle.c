/* What a handle and a pool's userdata do without Lua: shared by the C methods and, by
 * their exported names, by the FFI bodies. Whatever these pass is checked here again: to
 * the FFI a string.buffer is the address of its contents, NULL where it has none, and a
 * FILE that of its FILE.
 */
#include <errno.h>
#include <string.h>

#include "binding.h"

/* BPL_CDEF in the order of its members. */
_Static_assert(offsetof(bpl_handle, data) == sizeof(void *), "BPL_CDEF");
_Static_assert(offsetof(bpl_handle, length) == 2 * sizeof(void *), "BPL_CDEF");
_Static_assert(offsetof(bpl_handle, block) == 2 * sizeof(void *) + sizeof(size_t), "BPL_CDEF");
_Static_assert(offsetof(bpl_raw, ticket) == sizeof(size_t), "BPL_CDEF");
_Static_assert(offsetof(bpl_handle, owned) == 4 * sizeof(void *) + sizeof(size_t), "BPL_CDEF");
_Static_assert(offsetof(bpl_handle, front) == 4 * sizeof(void *) + sizeof(size_t) + 8, "BPL_CDEF");
_Static_assert(BP_MAX_SIZE < (uint64_t)1 << 41, "bpl_handle.block_size");

#define SIZE_BITS (((uint64_t)1 << 41) - 1)

static void hold(bpl_handle *h, bpl_ledger *ledger, bp_buffer *block, size_t capacity) {
    h->ledger = ledger;
    h->block = block;
    h->block_size = capacity & SIZE_BITS;
    h->trace = 0;
    bpl_charge(ledger, capacity);
}

void bpl_handle_charge(bpl_handle *h, size_t capacity) {
    bpl_charge(h->ledger, capacity);
    bpl_discharge(h->ledger, bpl_capacity(h));
    h->block_size = capacity & SIZE_BITS;
    if (h->trace != 0) {
        bpl_trace_moved(h);
    }
}

void bpl_handle_point(bpl_handle *h, bpl_ledger *ledger, bp_buffer *block, size_t length) {
    void *data;
    size_t capacity = bp_buffer_view(ledger->pool, block, &data);
    h->data = data;
    h->length = length;
    hold(h, ledger, block, capacity);
    h->owned = 1;
    h->slice = 0;
    h->front = 0;
}

void bpl_handle_view(bpl_handle *h, const bpl_handle *of) {
    hold(h, of->ledger, of->block, bpl_capacity(of));
    h->data = of->data;
    h->length = of->length;
    h->owned = 1;
    h->slice = of->slice;
    h->front = 0;
    if (h->slice != 0) {
        bpl_slice_list(h);
    } else {
        h->front = of->front;
    }
}

void bpl_handle_narrow(bpl_handle *h, size_t from, size_t count) {
    h->data += from;
    h->length = count;
    if (h->slice == 0) {
        h->slice = 1;
        h->place = 0;
        bpl_slice_list(h);
    } else {
        bpl_slice_changed(h);
    }
}

static void unlist_slow(bpl_handle *h) {
    if (h->slice != 0) {
        bpl_slice_unlist(h);
    }
    if (h->tied != 0) {
        bpl_untie(h);
    }
    if (h->trace != 0) {
        bpl_trace_end(h);
    }
}

/* All that it owns, of a live one. Dead before the references go: a release can not be entered
 * twice. */
static inline int give_back(bpl_handle *h) {
    bpl_ledger *ledger = h->ledger;
    bp_pool *pool = ledger->pool;
    uint32_t owned = h->owned;
    h->owned = 0;
    h->data = NULL;
    h->length = 0;
    if ((h->slice | h->tied) != 0 || h->trace != 0) {
        unlist_slow(h);
    }
    bpl_discharge(ledger, bpl_capacity(h));
    for (; owned > 1; owned--) {
        (void)bp_buffer_release(pool, h->block);
    }
    return bp_buffer_release(pool, h->block);
}

int bpl_handle_give_back(bpl_handle *h) { return h->owned > 0 ? give_back(h) : BP_OK; }

static bp_pool *pool_of(void *pool) {
    bpl_pool *p = bpl_open_pool(pool);
    return p != NULL ? p->pool : NULL;
}

/* Makes a live buffer of a blank: BP_OK, BPL_TRACE, BPL_E_DUE, BP_ERR_NOMEM, BP_ERR_QUOTA, or
 * BPL_E_CLOSED where one of the two is not what it should be. A blank is filled once. */
int bytepool_handle_fill(void *blank, void *pool, int64_t n) {
    bpl_handle *h = blank;
    bpl_pool *p = bpl_open_pool(pool);
    if (p == NULL || h == NULL || h->seal != BPL_BLANK_SEAL(h)) {
        return BPL_E_CLOSED;
    }
    if (bpl_due(p->ledger)) {
        return BPL_E_DUE;
    }
    bp_buffer *block = bp_buffer_get(p->pool, (size_t)n);
    if (block == NULL) {
        return errno == EDQUOT ? BP_ERR_QUOTA : BP_ERR_NOMEM;
    }
    h->seal = BPL_HANDLE_SEAL(h);
    bpl_handle_point(h, p->ledger, block, (size_t)n);
    return bpl_sampled(p->ledger) ? BPL_TRACE : BP_OK;
}

int bpl_handle_drop(bpl_handle *h) {
    if (h->owned == 1) {
        return give_back(h);
    }
    h->owned--;
    if (h->slice != 0) {
        bpl_slice_changed(h);
    }
    return bp_buffer_release(h->ledger->pool, h->block);
}

/* One reference less: BP_OK, or BP_ERR_DEAD where it is dead or watched. With the last one the
 * userdata gets the metatable `dead`, stored `place` bytes before its memory: so no finalizer
 * runs at its sweep. The collector needs no barrier, since the functions of the module hold
 * that metatable for good. A negative place means a 32-bit reference. */
int bytepool_handle_release(void *handle, const void *dead, int place) {
    bpl_handle *h = bpl_unwatched(handle);
    if (h == NULL) {
        return BP_ERR_DEAD;
    }
    if (h->owned > 1) {
        return bpl_handle_drop(h);
    }
    if (place > 0) {
        memcpy((char *)handle - place, &dead, sizeof dead);
    } else {
        uint32_t narrow = (uint32_t)(uintptr_t)dead;
        memcpy((char *)handle + place, &narrow, sizeof narrow);
    }
    (void)give_back(h); /* of a debug pool all are watched */
    return BP_OK;
}

/* A release for buffers of that pool alone, and for a sole owner where `sole` is not 0. */
int bytepool_handle_put(void *handle, void *pool, const void *dead, int place, int sole) {
    bpl_handle *h = bpl_live(handle);
    bp_pool *p = pool_of(pool);
    if (h == NULL || p == NULL || h->ledger->pool != p) {
        return BPL_E_CLOSED;
    }
    if (sole != 0 && bp_buffer_ref_count(h->block) != 1) {
        return BP_ERR_SHARED;
    }
    return bytepool_handle_release(handle, dead, place);
}

int bpl_handle_take(bpl_handle *h) {
    int status = bp_buffer_retain(h->block);
    if (status == BP_OK) {
        h->owned++;
        if (h->slice != 0) {
            bpl_slice_changed(h);
        }
    }
    return status;
}

int bytepool_handle_retain(void *handle) {
    bpl_handle *h = bpl_unwatched(handle);
    return h != NULL ? bpl_handle_take(h) : BP_ERR_DEAD;
}

/* 0 for a dead one. */
uint32_t bytepool_handle_ref_count(const void *handle) {
    const bpl_handle *h = handle;
    return h != NULL && h->seal == BPL_HANDLE_SEAL(h) && h->owned > 0
               ? bp_buffer_ref_count(h->block)
               : 0;
}

void *bytepool_raw_get(void *pool, int64_t n, bpl_raw *out) {
    bp_pool *p = pool_of(pool);
    out->ticket = out->next++;
    out->capacity = 0;
    void *memory = p != NULL ? bp_raw_get(p, (size_t)n, &out->capacity) : NULL;
    if (p != NULL && memory == NULL && errno == EDQUOT) {
        out->capacity = BPL_OVER_QUOTA;
    }
    return memory;
}

int bytepool_raw_put(void *pool, void *pointer) {
    bp_pool *p = pool_of(pool);
    return p != NULL ? bp_raw_put(p, pointer) : BPL_E_CLOSED;
}

size_t bytepool_raw_capacity(void *pool, void *pointer) {
    bp_pool *p = pool_of(pool);
    return p != NULL ? bp_raw_capacity(p, pointer) : 0;
}
