/* Every pool of the process, by slot; fork; and the module pinned in memory.
 *
 * One lock for the process: it guards the slots, each pool's list of caches, and
 * the end of pools and threads. No fast path and no refill takes it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "internal.h"

pthread_mutex_t bp__registry = PTHREAD_MUTEX_INITIALIZER;

static bp_pool *pools[BP_MAX_POOLS + 1]; /* slot 0 belongs to closed pools */
static uint32_t top;                     /* no pool has a slot above */

/* A thread's end calls into this library even when the host unloaded the module. */
static void pin_module(void) {
#if defined(RTLD_NODELETE) && defined(RTLD_NOLOAD)
    Dl_info info;
    if (dladdr((void *)&bp__registry, &info) != 0 && info.dli_fname != NULL) {
        (void)dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
    }
#endif
}

/* Held across fork in the order of types.h, so that a child finds no lock taken by
 * a thread that it does not have. */
static void fork_prepare(void) {
    pthread_mutex_lock(&bp__registry);
    for (uint32_t i = 1; i <= top; i++) {
        for (unsigned d = 0; pools[i] != NULL && d < BP_DEPOTS; d++) {
            pthread_mutex_lock(&pools[i]->depots[d].lock);
        }
    }
    for (uint32_t i = 1; i <= top; i++) {
        if (pools[i] != NULL) {
            pthread_mutex_lock(&pools[i]->region_lock);
        }
    }
}

static void fork_done(void) {
    for (uint32_t i = 1; i <= top; i++) {
        if (pools[i] != NULL) {
            pthread_mutex_unlock(&pools[i]->region_lock);
            for (unsigned d = 0; d < BP_DEPOTS; d++) {
                pthread_mutex_unlock(&pools[i]->depots[d].lock);
            }
        }
    }
    pthread_mutex_unlock(&bp__registry);
}

bool bp__registry_start(void (*thread_end)(void *), pthread_key_t *key) {
    if (pthread_key_create(key, thread_end) != 0) {
        return false;
    }
    pin_module();
    return pthread_atfork(fork_prepare, fork_done, fork_done) == 0;
}

bool bp__registry_add_locked(bp_pool *pool) {
    for (uint32_t i = 1; i <= BP_MAX_POOLS; i++) {
        if (pools[i] == NULL) {
            pools[i] = pool;
            top = i > top ? i : top;
            pool->own_slot = i;
            bp_poke(&pool->slot, i);
            return true;
        }
    }
    return false;
}

void bp__registry_remove_locked(bp_pool *pool) {
    pools[pool->own_slot] = NULL;
    while (top > 0 && pools[top] == NULL) {
        top--;
    }
}

/* A fast release that began before its pool was closed counts its put without
 * looking further; the pool it may have emptied is found here. */
void bp__registry_reap_locked(void) {
    for (uint32_t i = 1; i <= top; i++) {
        if (pools[i] != NULL && pools[i]->closed) {
            (void)bp__pool_reap_locked(pools[i]);
        }
    }
}
