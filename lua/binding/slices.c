/* Live slices by ledger: what they keep of blocks that nobody else holds any more.
 *
 * What is listed is a copy: a handle's memory is Lua's, and goes without a word to us where a
 * script took its metatable away, or 5.2 has no memory to call the finalizer. The block of
 * such a handle stays out, and so does its place here.
 */
#include <stdlib.h>

#include "binding.h"

typedef struct bpl_slice {
    const bp_buffer *block; /* NULL: the place is free */
    const uint8_t *data;
    size_t length, capacity;
    uint32_t owned;
    uint32_t next; /* free place, from 1; 0 ends them */
} bpl_slice;

static bool make_room(bpl_ledger *l) {
    if (l->slice_made < l->slice_room) {
        return true;
    }
    uint32_t room = l->slice_room == 0 ? 16 : l->slice_room * 2;
    bpl_slice *slices = realloc(l->slices, room * sizeof *slices);
    if (slices == NULL) {
        return false;
    }
    l->slices = slices;
    bpl_slice **order = realloc(l->order, room * sizeof(bpl_slice *));
    if (order == NULL) {
        return false;
    }
    l->order = order;
    l->slice_room = room;
    return true;
}

/* Without memory for its place a slice is not listed, and pins nothing in the statistics. */
void bpl_slice_list(bpl_handle *h) {
    bpl_ledger *l = h->ledger;
    if (h->place == 0 && l->slice_free != 0) {
        h->place = l->slice_free;
        l->slice_free = l->slices[h->place - 1].next;
    } else if (h->place == 0 && make_room(l)) {
        h->place = ++l->slice_made;
    }
    bpl_slice_changed(h);
}

void bpl_slice_changed(bpl_handle *h) {
    if (h->place != 0) {
        h->ledger->slices[h->place - 1] =
            (bpl_slice){h->block, h->data, h->length, bpl_capacity(h), h->owned, 0};
    }
}

void bpl_slice_unlist(bpl_handle *h) {
    bpl_ledger *l = h->ledger;
    if (h->place != 0) {
        l->slices[h->place - 1] = (bpl_slice){.next = l->slice_free};
        l->slice_free = (uint32_t)h->place;
        h->place = 0;
    }
}

static int compare(const void *a, const void *b) {
    const bpl_slice *x = *(bpl_slice *const *)a, *y = *(bpl_slice *const *)b;
    if (x->block != y->block) {
        return (uintptr_t)x->block < (uintptr_t)y->block ? -1 : 1;
    }
    return x->data < y->data ? -1 : x->data > y->data;
}

/* Bytes that n slices of one block show, each once. They are in order. */
static size_t covered(bpl_slice *const *slices, uint32_t n) {
    size_t bytes = 0;
    const uint8_t *end = slices[0]->data;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *from = slices[i]->data, *to = from + slices[i]->length;
        from = from > end ? from : end;
        if (to > from) {
            bytes += (size_t)(to - from);
            end = to;
        }
    }
    return bytes;
}

/* A block is pinned where all of its references are slices' of this state. */
uint64_t bpl_pinned_bytes(bpl_ledger *l) {
    uint64_t pinned = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < l->slice_made; i++) {
        if (l->slices[i].block != NULL) {
            l->order[count++] = &l->slices[i];
        }
    }
    if (count > 1) {
        qsort(l->order, count, sizeof(bpl_slice *), compare);
    }
    for (uint32_t i = 0, next; i < count; i = next) {
        const bpl_slice *first = l->order[i];
        uint32_t refs = 0;
        for (next = i; next < count && l->order[next]->block == first->block; next++) {
            refs += l->order[next]->owned;
        }
        if (refs == bp_buffer_ref_count(first->block)) {
            pinned += first->capacity - covered(l->order + i, next - i);
        }
    }
    return pinned;
}
