/* The idle blocks of a tier behind the thread caches: a bitmap in each slab, and a
 * list of the slabs that have a bit set. An emptied slab is seen at once, so trim
 * never walks blocks.
 *
 * One lock for each tier, taken once for a batch. Memory goes back to the system
 * after the lock is dropped: giving back 4 MiB takes longer than all else here.
 */
#include "internal.h"

/* Alone blocks that are idle have no memory behind them: they count nothing. */
static bool is_tier(const bp_depot *d) { return d->bin != BP_BIN_NONE; }

static void unlink_slab(bp_pool *pool, bp_depot *d, bp_slab *s) {
    *(s->prev != BP_NO_SLAB ? &bp__slab_at(pool, s->prev)->next : &d->head) = s->next;
    *(s->next != BP_NO_SLAB ? &bp__slab_at(pool, s->next)->prev : &d->tail) = s->prev;
    if (s->place == BP_EMPTY && is_tier(d)) {
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
    if (s->place == BP_EMPTY && is_tier(d)) {
        bp_add(&pool->empty_slabs, d->run);
    }
}

/* Puts a slab where its counts say; called after each change of them. */
static void settle_locked(bp_pool *pool, bp_depot *d, uint32_t slab, bp_slab *s) {
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

static void idle_changed_locked(bp_pool *pool, bp_depot *d, uint64_t taken, uint64_t given) {
    bp_poke(&d->free, bp_peek(&d->free) - taken + given);
    if (is_tier(d)) {
        bp_add(&pool->depot_bytes, (given - taken) * d->size);
    }
}

/* What caches may hold counts as held: they fill without asking. */
bool bp__idle_over(const bp_pool *pool) {
    return bp_peek(&pool->depot_bytes) + bp_peek(&pool->leased) > pool->max_idle;
}

/* Takes the empty slab at the list's end out of its depot, onto a chain for
 * give_chain. False where the last slab is not empty. */
static bool retire_last_locked(bp_pool *pool, bp_depot *d, uint32_t *chain) {
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
    if (is_tier(d)) {
        blocks_disown(pool, d, s->free);
    }
    s->next = *chain;
    *chain = slab;
    return true;
}

static void give_chain(bp_pool *pool, uint32_t chain) {
    while (chain != BP_NO_SLAB) {
        uint32_t next = bp__slab_at(pool, chain)->next;
        bp__slab_give(pool, chain);
        chain = next;
    }
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
            out[got++] = first + word * 64 + (uint32_t)__builtin_ctzll(set);
        }
        bits[word] = set;
        if (got == most) {
            break;
        }
    }
    s->hint = word;
    s->free -= got;
    settle_locked(pool, d, slab, s);
    return got;
}

uint32_t bp__depot_take(bp_pool *pool, bp_depot *d, bp_buffer **out, uint32_t n) {
    uint32_t got = 0;
    if (bp_peek(&d->free) == 0) {
        return 0; /* stale at worst: then a fresh block is made */
    }
    bp__lock(&d->lock);
    while (got < n && d->head != BP_NO_SLAB) {
        uint32_t slab = d->head;
        got += take_from(pool, d, slab, bp__slab_at(pool, slab), out + got, n - got);
    }
    idle_changed_locked(pool, d, got, 0);
    pthread_mutex_unlock(&d->lock);
    return got;
}

static void set_free_locked(uint64_t *bits, bp_slab *s, uint32_t index) {
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
            set_free_locked(bits, s, in[i]->index);
        }
        settle_locked(pool, d, slab, s);
    }
    idle_changed_locked(pool, d, 0, n);
    uint32_t chain = BP_NO_SLAB;
    while (!is_tier(d) && two_empty_locked(pool, d)) {
        (void)retire_last_locked(pool, d, &chain);
    }
    pthread_mutex_unlock(&d->lock);
    give_chain(pool, chain);
}

/* Over the bound, and empty slabs have a part in it. Where only one slab, or a quarter of
 * max_idle or less, is in empty slabs, and the bound has room for it, it is slabs pinned by
 * live blocks that keep the pool over, and giving the few empty ones back would only make the
 * next get in their tier take one anew. */
static bool worth_shrinking(const bp_pool *pool) {
    size_t empty = (size_t)bp_peek(&pool->empty_slabs) << BP_SLAB_SHIFT;
    size_t leased = (size_t)bp_peek(&pool->leased);
    bool too_many = empty > BP_SLAB && empty > pool->max_idle / 4;
    return bp__idle_over(pool) && (too_many || empty + leased > pool->max_idle);
}

/* Any tier's empty slabs will do, not only those of the tier that went over. */
void bp__idle_shrink(bp_pool *pool) {
    for (uint32_t t = 0; t < pool->tier_count && worth_shrinking(pool); t++) {
        bp_depot *d = &pool->depots[t];
        uint32_t chain = BP_NO_SLAB;
        bp__lock(&d->lock);
        while (worth_shrinking(pool) && retire_last_locked(pool, d, &chain)) {
        }
        pthread_mutex_unlock(&d->lock);
        give_chain(pool, chain);
    }
}

uint32_t bp__depot_fresh(bp_pool *pool, bp_depot *d, uint32_t n, bp_buffer **first) {
    bp__lock(&d->lock);
    if (d->carving == BP_NO_SLAB) {
        d->carving = bp__slab_take(pool, d, d->run);
    }
    uint32_t slab = d->carving;
    uint32_t got = 0;
    if (slab != BP_NO_SLAB) {
        bp_slab *s = bp__slab_at(pool, slab);
        got = d->cut->blocks - s->carved < n ? d->cut->blocks - s->carved : n;
        for (uint32_t i = 0; i < got; i++) {
            bp__block_carve(pool, d, slab, s->carved + i);
        }
        *first = bp__slab_header(pool, d, slab, s->carved);
        s->carved += got;
        settle_locked(pool, d, slab, s);
        if (s->carved == d->cut->blocks) {
            d->carving = BP_NO_SLAB;
        }
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
        d->carving = slab;
        if (s->carved == 0) {
            d->carving = BP_NO_SLAB;
            chain = slab;
            s->next = BP_NO_SLAB;
        }
    } else {
        uint64_t *bits = bp__slab_bitmap(pool, slab);
        for (uint32_t i = 0; i < n; i++) {
            set_free_locked(bits, s, first->index + i);
        }
        idle_changed_locked(pool, d, 0, n);
        bp__blocks_own(pool, d, n);
    }
    if (chain == BP_NO_SLAB) {
        settle_locked(pool, d, slab, s);
    }
    pthread_mutex_unlock(&d->lock);
    give_chain(pool, chain);
}

size_t bp__depot_trim(bp_pool *pool, bp_depot *d) {
    uint32_t chain = BP_NO_SLAB;
    bp__lock(&d->lock);
    uint64_t before = bp_peek(&d->free);
    while (retire_last_locked(pool, d, &chain)) {
    }
    size_t blocks = (size_t)(before - bp_peek(&d->free));
    pthread_mutex_unlock(&d->lock);
    give_chain(pool, chain);
    return is_tier(d) ? blocks * d->size : 0;
}

size_t bp__depots_trim(bp_pool *pool) {
    size_t bytes = 0;
    for (unsigned i = 0; i < BP_RUNS; i++) {
        if (pool->cuts[i].blocks > 0) {
            bytes += bp__depot_trim(pool, &pool->depots[i]);
        }
    }
    return bytes;
}

/* Carves up to n blocks of a slab as idle ones and touches their pages. */
static uint32_t prewarm_slab_locked(bp_pool *pool, bp_depot *d, uint32_t slab, size_t n) {
    bp_slab *s = bp__slab_at(pool, slab);
    uint64_t *bits = bp__slab_bitmap(pool, slab);
    uint32_t made = 0;
    for (; made < n && s->carved < d->cut->blocks; made++, s->carved++) {
        bp__block_carve(pool, d, slab, s->carved);
        bp_buffer *b = bp__slab_header(pool, d, slab, s->carved);
        volatile uint8_t *data = bp_buffer_data(b);
        for (size_t at = 0; at < d->size; at += bp__sys_page()) {
            data[at] = 0;
        }
        data[d->size - 1] = 0;
        set_free_locked(bits, s, s->carved);
    }
    settle_locked(pool, d, slab, s);
    if (s->carved < d->cut->blocks) {
        d->carving = slab;
    }
    return made;
}

/* Counts the bytes that are to come, so that two threads do not pass the same bound. */
static bool prewarm_fits(bp_pool *pool, size_t size, size_t count) {
    if (count == 0) {
        return true;
    }
    if (count > pool->max_idle / size) {
        return false;
    }
    size_t bytes = count * size;
    if (bp_add(&pool->depot_bytes, bytes) + bytes + bp_peek(&pool->leased) <= pool->max_idle) {
        return true;
    }
    bp_sub(&pool->depot_bytes, bytes);
    return false;
}

/* All slabs are taken before the first block is made: then nothing can fail. */
int bp__depot_prewarm(bp_pool *pool, bp_depot *d, size_t count) {
    if (!prewarm_fits(pool, d->size, count)) {
        return BP_ERR_LIMIT;
    }
    uint32_t chain = BP_NO_SLAB;
    bp__lock(&d->lock);
    uint32_t open = d->carving;
    size_t room = open == BP_NO_SLAB ? 0 : d->cut->blocks - bp__slab_at(pool, open)->carved;
    for (; room < count; room += d->cut->blocks) {
        uint32_t slab = bp__slab_take(pool, d, d->run);
        if (slab == BP_NO_SLAB) {
            pthread_mutex_unlock(&d->lock);
            give_chain(pool, chain);
            bp_sub(&pool->depot_bytes, count * d->size);
            return BP_ERR_NOMEM;
        }
        bp__slab_at(pool, slab)->next = chain;
        chain = slab;
    }
    d->carving = BP_NO_SLAB;
    size_t made = open == BP_NO_SLAB ? 0 : prewarm_slab_locked(pool, d, open, count);
    while (chain != BP_NO_SLAB) {
        uint32_t slab = chain;
        chain = bp__slab_at(pool, slab)->next;
        made += prewarm_slab_locked(pool, d, slab, count - made);
    }
    bp_poke(&d->free, bp_peek(&d->free) + made); /* depot_bytes knows them already */
    bp__blocks_own(pool, d, made);
    pthread_mutex_unlock(&d->lock);
    return BP_OK;
}
