/* What becomes of a handle's block: it grows at the end, is consumed from the front, and moves to
 * another. Only the sole owner of a block may let it grow: the others would not see it move.
 * Nothing here raises, or allocates by Lua. False: no memory, nothing changed; errno says why.
 */
#include <errno.h>
#include <string.h>

#include "binding.h"

static bool is_shared(const bpl_handle *h) { return bp_buffer_ref_count(h->block) != h->owned; }

/* Why a buffer may not become longer, or NULL. Its count is read before the look at the frozen
 * bit, whose order sees all that another thread did before it let go. */
const char *bpl_fixed(const bpl_handle *h) {
    bool shared = is_shared(h);
    return bp_buffer_is_frozen(h->block) ? "buffer is frozen"
           : h->slice != 0               ? "a slice does not grow"
           : shared                      ? "buffer is shared"
                                         : NULL;
}

/* Moves all that h owns, and its bytes, to a block that holds `capacity`. */
static bool move_to(bpl_handle *h, size_t capacity) {
    bp_pool *pool = h->ledger->pool;
    bp_buffer *old = h->block;
    uint32_t owned = h->owned;
    bp_buffer *block = bp_buffer_get(pool, capacity);
    if (block == NULL) {
        return false;
    }
    uint8_t *data = bp_buffer_data(block);
    if (h->length > 0) {
        memcpy(data, h->data, h->length);
    }
    for (uint32_t i = 1; i < owned; i++) {
        (void)bp_buffer_retain(block);
    }
    h->block = block;
    h->data = data;
    if (h->slice != 0) {
        bpl_slice_unlist(h);
    }
    h->slice = 0;
    h->front = 0;
    h->moves = (h->moves + 1) & 0x3fffffff;
    size_t left = bpl_capacity(h);
    bpl_handle_charge(h, bp_buffer_capacity(pool, block));
    int status = BP_OK;
    for (; owned > 0; owned--) {
        status = bp_buffer_release(pool, old);
    }
    if (status == BP_ERR_OVERRUN) { /* nobody to raise it at: the listener is not told either */
        bpl_event e =
            bpl_event_of(h->ledger, BPL_OVERRUN, bpl_record_of(h->ledger->state, h), left);
        bpl_blame(h->ledger, &e);
    }
    return true;
}

/* The block for `need` bytes of one that outgrew `all`: twice as large, so that n puts cost
 * O(n); but alone, outside of all tiers, only where no tier holds them. */
static size_t next_size(const bpl_handle *h, size_t all, size_t need) {
    size_t sizes[BP_MAX_TIERS] = {0};
    size_t largest = sizes[bp_pool_sizes(h->ledger->pool, sizes) - 1];
    size_t twice = all < BP_MAX_SIZE / 2 ? 2 * all : BP_MAX_SIZE;
    if (need <= largest && twice > largest) {
        twice = largest;
    }
    return need > twice ? need : twice;
}

/* Room for n bytes behind the last one: by moving them to the front where half the block was
 * consumed or all of it, else to a larger block. */
bool bpl_grow(bpl_handle *h, size_t n) {
    size_t room = bpl_room(h);
    if (n <= room - h->length) {
        return true;
    }
    if (n > BP_MAX_SIZE - h->length) {
        errno = ENOMEM;
        return false;
    }
    size_t need = h->length + n;
    size_t all = room + h->front;
    if (need <= all && (h->front >= all / 2 || h->length == 0)) {
        memmove(h->data - h->front, h->data, h->length);
        h->data -= h->front;
        h->front = 0;
        return true;
    }
    return move_to(h, next_size(h, all, need)) || move_to(h, need);
}

size_t bpl_view_capacity(const bpl_handle *h) { return h->slice != 0 ? h->length : bpl_room(h); }

/* Sets the length, new bytes to zero; one that grows must not be fixed. */
bool bpl_resize(bpl_handle *h, size_t n) {
    if (n > h->length) {
        const bp_buffer *old = h->block;
        if (!bpl_grow(h, n - h->length)) {
            return false;
        }
        /* A new block of its own is new memory, which is zero: writing to a TiB of it would
         * take what the system gave only on paper. */
        if (h->block == old || !bp_buffer_is_alone(h->block)) {
            memset(h->data + h->length, 0, n - h->length);
        }
    }
    h->length = n;
    if (h->slice != 0) {
        bpl_slice_changed(h);
    }
    return true;
}

void bpl_reset(bpl_handle *h) {
    h->length = 0;
    if (h->slice == 0) {
        h->data -= h->front;
        h->front = 0;
    } else {
        bpl_slice_changed(h);
    }
}

/* The block goes back; the handle stays, empty, on the smallest one. */
bool bpl_free(bpl_handle *h) {
    size_t length = h->length;
    h->length = 0;
    if (!move_to(h, 0)) {
        h->length = length;
        return false;
    }
    return true;
}

/* These bytes, not its own, instead of all it has. */
bool bpl_replace(bpl_handle *h, bpl_span s) {
    size_t length = h->length;
    h->length = 0;
    if (!bpl_grow(h, s.length)) {
        h->length = length;
        return false;
    }
    if (s.length > 0) {
        memcpy(h->data, s.data, s.length);
    }
    h->length = s.length;
    return true;
}

/* A block of its own, where others hold this one, it is frozen, or a slice. */
bool bpl_unshare(bpl_handle *h) { return bpl_fixed(h) == NULL || move_to(h, h->length); }

void bpl_consume(bpl_handle *h, size_t n) {
    h->data += n;
    h->length -= n;
    if (h->slice == 0) {
        h->front += n;
    } else {
        bpl_slice_changed(h);
    }
}
