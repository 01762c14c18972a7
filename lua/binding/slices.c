/* Live slices by ledger: what they keep of blocks that nobody else holds any more. */
#include <stdlib.h>

#include "binding.h"

/* Without memory for its place a slice is not listed, and pins nothing in the statistics. */
void bpl_slice_list(bpl_handle *h) {
    bpl_ledger *l = h->ledger;
    if (h->place != 0) {
        return;
    }
    if (l->slice_count == l->slice_room) {
        uint32_t room = l->slice_room == 0 ? 16 : l->slice_room * 2;
        bpl_handle **slices = realloc(l->slices, room * sizeof(bpl_handle *));
        if (slices == NULL) {
            return;
        }
        l->slices = slices;
        l->slice_room = room;
    }
    l->slices[l->slice_count++] = h;
    h->place = l->slice_count;
}

void bpl_slice_unlist(bpl_handle *h) {
    bpl_ledger *l = h->ledger;
    if (h->place != 0) {
        bpl_handle *last = l->slices[--l->slice_count];
        l->slices[h->place - 1] = last;
        last->place = h->place;
        h->place = 0;
    }
}

static int compare(const void *a, const void *b) {
    const bpl_handle *x = *(bpl_handle *const *)a, *y = *(bpl_handle *const *)b;
    if (x->block != y->block) {
        return (uintptr_t)x->block < (uintptr_t)y->block ? -1 : 1;
    }
    return x->data < y->data ? -1 : x->data > y->data;
}

/* Bytes that n slices of one block show, each once. They are in order. */
static size_t covered(bpl_handle *const *slices, uint32_t n) {
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
    if (l->slice_count > 1) {
        qsort(l->slices, l->slice_count, sizeof(bpl_handle *), compare);
    }
    for (uint32_t i = 0, next; i < l->slice_count; i = next) {
        const bpl_handle *first = l->slices[i];
        uint32_t refs = 0;
        for (next = i; next < l->slice_count && l->slices[next]->block == first->block; next++) {
            l->slices[next]->place = next + 1;
            refs += l->slices[next]->owned;
        }
        if (refs == bp_buffer_ref_count(first->block)) {
            pinned += bpl_capacity(first) - covered(l->slices + i, next - i);
        }
    }
    return pinned;
}
