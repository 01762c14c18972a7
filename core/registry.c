/* Every pool of the process, by slot; fork; and the module pinned in memory.
 *
 * One lock for the process: it guards the slots, each pool's list of caches, and
 * the end of pools and threads. No fast path and no refill takes it, but for the get in 2^17
 * that folds a cell (cells.c), and those above 256 MiB.
 */
#define _GNU_SOURCE
#include <string.h>

#include "internal.h"
#include "pin.h"

pthread_mutex_t bp__registry = PTHREAD_MUTEX_INITIALIZER;

static bp_pool *pools[BP_MAX_POOLS + 1]; /* slot 0 belongs to closed pools */
static uint32_t held[BP_MAX_POOLS + 1];  /* caches in a slot: of its pool, or stale ones */
static uint32_t top;                     /* no pool has a slot above */
static bp_pool *graveyard;               /* to be freed without the lock: unmapping takes long */

/* A thread's end calls into this library even when the host unloaded the module. */
void bp__registry_pin(void) { bp__pin(&bp__registry); }

static void for_each_depot(void (*act)(pthread_mutex_t *)) {
    for (uint32_t i = 1; i <= top; i++) {
        for (unsigned d = 0; pools[i] != NULL && d < BP_DEPOTS; d++) {
            act(&pools[i]->depots[d].lock);
        }
    }
}

static void for_each_pool(void (*act)(pthread_mutex_t *)) {
    for (uint32_t i = 1; i <= top; i++) {
        if (pools[i] != NULL) {
            act(&pools[i]->region_lock);
        }
    }
}

static void lock(pthread_mutex_t *mutex) { pthread_mutex_lock(mutex); }

static void unlock(pthread_mutex_t *mutex) { pthread_mutex_unlock(mutex); }

/* Held across fork in the order of types.h, so that a child finds no lock taken by
 * a thread that it does not have. */
static void fork_prepare(void) {
    pthread_mutex_lock(&bp__tokens);
    pthread_mutex_lock(&bp__registry);
    for_each_depot(lock);
    for_each_pool(lock);
}

static void fork_done(void) {
    for_each_pool(unlock);
    for_each_depot(unlock);
    pthread_mutex_unlock(&bp__registry);
    pthread_mutex_unlock(&bp__tokens);
}

static void forget_leases(bp_cache *c) {
    for (uint32_t i = 0; i < BP_BINS; i++) {
        bp_depot *d = &c->pool->depots[i];
        if (bp__cache_counts_locked(c, i)) {
            bp_sub(&d->leased, c->bins[i].planned * d->size);
        }
        c->bins[i].planned = 0;
    }
}

/* The leases of caches whose threads a child does not have would never end. */
static void fork_child(void) {
    bp__tokens_fork_child();
    for (uint32_t i = 1; i <= top; i++) {
        bp_cache *c = pools[i] != NULL ? pools[i]->caches : NULL;
        for (; c != NULL; c = c->pool_next) {
            if (c->thread != bp__thread && c->lease > 0) {
                bp_sub(&pools[i]->leased, c->lease);
                c->lease = 0;
                forget_leases(c);
            }
        }
    }
    fork_done();
}

/* Tried again by the next pool where it failed. */
bool bp__registry_start_locked(void (*thread_end)(void *), pthread_key_t *key) {
    if (pthread_key_create(key, thread_end) != 0) {
        return false;
    }
    if (pthread_atfork(fork_prepare, fork_done, fork_child) != 0) {
        pthread_key_delete(*key);
        return false;
    }
    return true;
}

/* Whoever has a cache of another pool in a slot that this one had takes the lock for it after
 * this: so its next look at this pool finds the new slot. */
bool bp__registry_add_locked(bp_pool *pool) {
    for (uint32_t i = 1; i <= BP_MAX_POOLS; i++) {
        if (pools[i] == NULL && held[i] == 0) {
            if (pool->own_slot != 0) {
                pools[pool->own_slot] = NULL;
            }
            pools[i] = pool;
            top = i > top ? i : top;
            pool->own_slot = i;
            bp_poke(&pool->slot, i);
            return true;
        }
    }
    return false;
}

void bp__slot_hold_locked(uint32_t slot, int caches) { held[slot] += (uint32_t)caches; }

bp_pool *bp__registry_find_locked(const char *name) {
    for (uint32_t i = 1; i <= top; i++) {
        if (pools[i] != NULL && !pools[i]->closed && strcmp(pools[i]->name, name) == 0) {
            return pools[i];
        }
    }
    return NULL;
}

bool bp__registry_has_locked(const bp_pool *pool) {
    for (uint32_t i = 1; i <= top; i++) {
        if (pools[i] == pool && pool != NULL) {
            return true;
        }
    }
    return false;
}

static void remove_locked(bp_pool *pool) {
    pools[pool->own_slot] = NULL;
    while (top > 0 && pools[top] == NULL) {
        top--;
    }
}

/* A fast release that began before its pool was closed counts its put without
 * looking further; the pool it may have emptied is found here. */
void bp__registry_reap_locked(void) {
    for (uint32_t i = 1; i <= top; i++) {
        if (pools[i] != NULL && pools[i]->closed && pools[i]->check_in <= 1) {
            (void)bp__pool_reap_locked(pools[i]);
        }
    }
}

void bp__registry_bury_locked(bp_pool *pool) {
    remove_locked(pool);
    pool->buried = graveyard;
    graveyard = pool;
}

void bp__registry_unlock(void) {
    bp_pool *pool = graveyard;
    graveyard = NULL;
    pthread_mutex_unlock(&bp__registry);
    while (pool != NULL) {
        bp_pool *next = pool->buried;
        bp__pool_free(pool);
        pool = next;
    }
}
