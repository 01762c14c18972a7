/* The idle blocks of a tier behind the thread caches: a bitmap in each slab, and a
 * list of the slabs that have a bit set. An emptied slab is seen at once, so trim
 * never walks blocks.
 *
 * One lock for each tier, taken once for a batch. Memory goes back to the system
 * after the lock is dropped: giving back 4 MiB takes longer than all else here.
 */
#include <errno.h>

#include "internal.h"

/* Alone blocks that are idle have no memory behind them: they count nothing. */
bool bp__is_tier(const bp_depot *d) { return d->bin != BP_BIN_NONE; }

static void unlink_slab(bp_pool *pool, bp_depot *d, bp_slab *s) {
    *(s->prev != BP_NO_SLAB ? &bp__slab_at(pool, s->prev)->next : &d->head) = s->next;
    *(s->next != BP_NO_SLAB ? &bp__slab_at(pool, s->next)->prev : &d->tail) = s->prev;
    if (s->place == BP_EMPTY && bp__is_tier(d)) {
        bp_sub(&pool->empty_slabs, d->run);
    }
}

/* Partial slabs go to the front, where take finds them; empty ones to the back. */
static void link_slab(bp_pool *pool, bp_depot *d, uint32_t slab, bp_slab *s) {
    bool front = s->place == BP_PARTIAL;
    s->prev = front ? BP_NO_SLAB : d->tail;
    s->next = front ? d->head : BP_NO_SLAB;
    *(s->prev != BP_NO_SLAB ? &bp__slab_at(pool, s->prev)->next : &d->head) = slab;
    *(s->next != BP_NO_SLAB ? &bp__slab_at(pool, s->next)->prev : &d->tail) = slab;
    if (s->place == BP_EMPTY && bp__is_tier(d)) {
        bp_add(&pool->empty_slabs, d->run);
    }
}

/* Puts a slab where its counts say; called after each change of them. */
void bp__settle_locked(bp_pool *pool, bp_depot *d, uint32_t slab, bp_slab *s) {
    uint8_t place = s->free == 0 ? BP_UNLISTED : s->free < s->carved ? BP_PARTIAL : BP_EMPTY;
    if (place == s->place) {
        return;
    }
    if (s->place != BP_UNLISTED) {
        unlink_slab(pool, d, s);
    }
    s->place = place;
    if (place != BP_UNLISTED) {
        link_slab(pool, d, slab, s);
    }
}

void bp__owned_add(bp_pool *pool, size_t bytes) {
    bp_raise(&pool->peak_owned_bytes, bp_add(&pool->owned_bytes, bytes) + bytes);
}

void bp__blocks_own(bp_pool *pool, bp_depot *d, size_t blocks) {
    bp_raise(&d->peak_owned, bp_add(&d->owned, blocks) + blocks);
    bp__owned_add(pool, blocks * d->size);
}

/* Their memory goes back to the system. */
static void blocks_disown(bp_pool *pool, bp_depot *d, size_t blocks) {
    bp_sub(&d->owned, blocks);
    bp_sub(&pool->owned_bytes, blocks * d->size);
    bp_add(&pool->trimmed_bytes, blocks * d->size);
    bp_add(&pool->returned_bytes, blocks * d->footprint);
}

BP_INLINE void idle_changed_locked(bp_pool *pool, bp_depot *d, uint64_t taken, uint64_t given) {
    uint64_t now = bp_peek(&d->free) - taken + given;
    bp_poke(&d->free, now);
    d->low = now < d->low ? now : d->low;
    if (bp__is_tier(d)) {
        bp_add(&pool->depot_bytes, (given - taken) * d->size);
    }
}

/* Takes the empty slab at the list's end out of its depot, onto a chain for
 * bp__chain_give. False where the last slab is not empty. */
bool bp__retire_last_locked(bp_pool *pool, bp_depot *d, uint32_t *chain) {
    uint32_t slab = d->tail;
    if (slab == BP_NO_SLAB || bp__slab_at(pool, slab)->place != BP_EMPTY) {
        return false;
    }
    bp_slab *s = bp__slab_at(pool, slab);
    unlink_slab(pool, d, s);
    if (d->carving == slab) {
        d->carving = BP_NO_SLAB;
    }
    idle_changed_locked(pool, d, s->free, 0);
    if (bp__is_tier(d)) {
        blocks_disown(pool, d, s->free);
        bp__discharge_blocks_locked(pool, d, s->free);
    }
    s->next = *chain;
    *chain = slab;
    return true;
}

void bp__chain_give(bp_pool *pool, uint32_t chain) {
    while (chain != BP_NO_SLAB) {
        uint32_t next = bp__slab_at(pool, chain)->next;
        bp__slab_give(pool, chain);
        chain = next;
    }
}

BP_INLINE uint32_t lowest_bit(uint64_t word) {
#if defined(__GNUC__)
    return (uint32_t)__builtin_ctzll(word);
#else
    uint32_t bit = 0;
    for (; (word & 1) == 0; word >>= 1) {
        bit++;
    }
    return bit;
#endif
}

/* Moves set bits of one slab to out; returns how many. */
static uint32_t take_from(bp_pool *pool, bp_depot *d, uint32_t slab, bp_slab *s, bp_buffer **out,
                          uint32_t n) {
    uint64_t *bits = bp__slab_bitmap(pool, slab);
    bp_buffer *first = bp__slab_header(pool, d, slab, 0);
    uint32_t most = n < s->free ? n : s->free;
    uint32_t got = 0;
    uint32_t word = s->hint;
    for (uint64_t set = bits[word]; got < most; set = bits[++word]) {
        for (; set != 0 && got < most; set &= set - 1) {
            out[got++] = first + word * 64 + lowest_bit(set);
        }
        bits[word] = set;
        if (got == most) {
            break;
        }
    }
    s->hint = word;
    s->free -= got;
    bp__settle_locked(pool, d, slab, s);
    return got;
}

/* A thread that a change overtook on its way here knows the bin as another tier's. */
static bool is_stale_locked(const bp_depot *d, uint64_t generation) {
    if (bp_peek(&d->lost) || d->born > generation) {
        errno = ESTALE;
        return true;
    }
    return false;
}

uint32_t bp__depot_take(bp_pool *pool, bp_depot *d, uint64_t generation, bp_buffer **out,
                        uint32_t n) {
    uint32_t got = 0;
    if (bp_peek(&d->free) == 0) {
        return 0; /* stale at worst: then a fresh block is made */
    }
    bp__lock(&d->lock);
    while (got < n && d->head != BP_NO_SLAB && !is_stale_locked(d, generation)) {
        uint32_t slab = d->head;
        got += take_from(pool, d, slab, bp__slab_at(pool, slab), out + got, n - got);
    }
    idle_changed_locked(pool, d, got, 0);
    pthread_mutex_unlock(&d->lock);
    return got;
}

void bp__set_free_locked(uint64_t *bits, bp_slab *s, uint32_t index) {
    uint32_t word = index / 64;
    bits[word] |= (uint64_t)1 << (index % 64);
    if (word < s->hint) {
        s->hint = word;
    }
    s->free++;
}

/* Of a page class one empty slab stays, so that a lone block does not take a slab anew
 * each time; its headers are all the memory it has. */
static bool two_empty_locked(bp_pool *pool, const bp_depot *d) {
    if (d->tail == BP_NO_SLAB) {
        return false;
    }
    uint32_t before = bp__slab_at(pool, d->tail)->prev;
    return before != BP_NO_SLAB && bp__slab_at(pool, before)->place == BP_EMPTY;
}

void bp__depot_give(bp_pool *pool, bp_depot *d, bp_buffer *const *in, uint32_t n) {
    bp__lock(&d->lock);
    for (uint32_t i = 0; i < n;) { /* neighbours in the batch tend to share a slab */
        uint32_t slab = in[i]->slab;
        bp_slab *s = bp__slab_at(pool, slab);
        uint64_t *bits = bp__slab_bitmap(pool, slab);
        for (; i < n && in[i]->slab == slab; i++) {
            bp__set_free_locked(bits, s, in[i]->index);
        }
        bp__settle_locked(pool, d, slab, s);
    }
    idle_changed_locked(pool, d, 0, n);
    uint32_t chain = BP_NO_SLAB;
    while (!bp__is_tier(d) && two_empty_locked(pool, d)) {
        (void)bp__retire_last_locked(pool, d, &chain);
    }
    pthread_mutex_unlock(&d->lock);
    bp__chain_give(pool, chain);
}

/* Makes up to n more blocks of the slab that is being carved known; 0: there is no memory. */
static uint32_t carve_locked(bp_pool *pool, bp_depot *d, uint32_t n, bp_buffer **first) {
    if (d->carving == BP_NO_SLAB) {
        d->carving = bp__slab_take(pool, d, d->run);
    }
    uint32_t slab = d->carving;
    if (slab == BP_NO_SLAB) {
        errno = ENOMEM;
        return 0;
    }
    bp_slab *s = bp__slab_at(pool, slab);
    uint32_t got = d->cut.blocks - s->carved < n ? d->cut.blocks - s->carved : n;
    for (uint32_t i = 0; i < got; i++) {
        bp__block_carve(pool, d, slab, s->carved + i);
    }
    *first = bp__slab_header(pool, d, slab, s->carved);
    s->carved += got;
    bp__settle_locked(pool, d, slab, s);
    if (s->carved == d->cut.blocks) {
        d->carving = BP_NO_SLAB;
    }
    return got;
}

uint32_t bp__depot_fresh(bp_pool *pool, bp_depot *d, uint64_t generation, uint32_t n,
                         bp_buffer **first) {
    uint32_t got = 0;
    bp__lock(&d->lock);
    if (!is_stale_locked(d, generation)) {
        n = bp__charge_blocks_locked(pool, d, n > 0 ? n : bp__fresh_at_once_locked(pool, d));
        got = n > 0 ? carve_locked(pool, d, n, first) : 0;
        bp__discharge_blocks_locked(pool, d, n - got);
        errno = n > 0 ? errno : EDQUOT;
    }
    pthread_mutex_unlock(&d->lock);
    return got;
}

/* Fresh blocks that a cache did not use. The last carved are uncarved; those that
 * others have overtaken become idle blocks, owned from now on. */
void bp__depot_unfresh(bp_pool *pool, bp_depot *d, bp_buffer *first, uint32_t n) {
    uint32_t slab = first->slab;
    uint32_t chain = BP_NO_SLAB;
    bp__lock(&d->lock);
    bp_slab *s = bp__slab_at(pool, slab);
    if (first->index + n == s->carved && (d->carving == BP_NO_SLAB || d->carving == slab)) {
        for (uint32_t i = 0; i < n; i++) {
            bp_poke(&bp__slab_header(pool, d, slab, first->index + i)->to_data, 0);
        }
        s->carved -= n;
        bp__discharge_blocks_locked(pool, d, n);
        d->carving = slab;
        if (s->carved == 0) {
            d->carving = BP_NO_SLAB;
            chain = slab;
            s->next = BP_NO_SLAB;
        }
    } else {
        uint64_t *bits = bp__slab_bitmap(pool, slab);
        for (uint32_t i = 0; i < n; i++) {
            bp__set_free_locked(bits, s, first->index + i);
        }
        idle_changed_locked(pool, d, 0, n);
        bp__blocks_own(pool, d, n);
    }
    if (chain == BP_NO_SLAB) {
        bp__settle_locked(pool, d, slab, s);
    }
    pthread_mutex_unlock(&d->lock);
    bp__chain_give(pool, chain);
}
