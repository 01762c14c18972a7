/* A thread's table of caches: made at first use, flushed and freed at its end. */
#include "internal.h"

static bp_thread nobody; /* every thread before its first use: all caches NULL */
BP_TLS bp_thread *bp__thread = &nobody;

static pthread_key_t thread_key;
static bool started; /* under the registry's lock */

/* Takes a cache out of its pool's and its thread's lists and frees it. Its counts
 * move to the pool's, where a sum never sees them twice: the lock is held. */
static void cache_free_locked(bp_cache *c) {
    bp_pool *pool = c->pool;
    for (uint32_t i = 0; i < pool->row_count; i++) {
        uint32_t bin = pool->rows[i];
        bp_depot *d = &pool->depots[bin];
        if (bp__cache_counts_locked(c, bin)) {
            bp_count(&d->gone.miss, bp_peek(&c->slow[bin].miss));
            bp_count_publish(&d->gone.put, bp_acquire(&c->bins[bin].put));
            bp_sub(&d->leased, c->bins[bin].planned * d->size);
        }
    }
    pool->gone.requests += bp_peek(&c->requests);
    pool->gone.alone_put += bp_peek(&c->alone_put);
    bp__cells_keep_locked(c);
    bp__recent_keep_locked(c);
    bp_sub(&pool->leased, c->lease);
    bp_sub(&pool->cache_count, 1u);
    bp__slot_hold_locked(c->slot, -1);
    if (c->pool_prev != NULL) {
        c->pool_prev->pool_next = c->pool_next;
    } else {
        pool->caches = c->pool_next;
    }
    if (c->pool_next != NULL) {
        c->pool_next->pool_prev = c->pool_prev;
    }
    bp_cache **link = &c->thread->first;
    while (*link != c) {
        link = &(*link)->thread_next;
    }
    *link = c->thread_next;
    bp_poke(&c->thread->caches[c->slot], NULL);
    bp__sys_free(c);
}

static void thread_end(void *arg) {
    bp_thread *thread = arg;
    pthread_mutex_lock(&bp__registry);
    while (thread->first != NULL) {
        bp_pool *pool = thread->first->pool;
        bp__cache_flush_all(thread->first);
        if (pool->closed) {
            (void)bp__depots_trim(pool); /* nobody gets from it any more */
        } else {
            bp__idle_shrink(pool);
        }
        cache_free_locked(thread->first);
    }
    bp__registry_reap_locked();
    bp__registry_unlock();
    /* A destructor that runs after this one and uses a pool starts anew. */
    bp__thread = &nobody;
    bp__sys_unmap(thread, sizeof *thread);
}

bool bp__threads_start(void) {
    pthread_mutex_lock(&bp__registry);
    bool first = !started;
    if (first) {
        started = bp__registry_start_locked(thread_end, &thread_key);
    }
    bool done = started;
    pthread_mutex_unlock(&bp__registry);
    if (first && done) {
        bp__registry_pin(); /* not under the lock: a constructor may hold the loader's and wait */
    }
    return done;
}

/* A page more than 32 KiB, of which a thread touches the pages of the slots it uses: mapped, not
 * allocated, for then the rest costs nothing. */
static bool thread_begin(void) {
    bp_thread *thread = bp__sys_reserve(sizeof *thread);
    if (thread == NULL) {
        return false;
    }
    if (!bp__sys_commit(thread, sizeof *thread) || pthread_setspecific(thread_key, thread) != 0) {
        bp__sys_unmap(thread, sizeof *thread);
        return false;
    }
    bp__thread = thread;
    return true;
}

static bp_cache *attach_locked(bp_pool *pool) {
    if (pool->closed) {
        return NULL;
    }
    bp_cache *c = bp__cache_new_locked(pool);
    if (c == NULL) {
        return NULL;
    }
    c->thread = bp__thread;
    c->thread_next = c->thread->first;
    c->thread->first = c;
    c->pool_next = pool->caches;
    if (pool->caches != NULL) {
        pool->caches->pool_prev = c;
    }
    pool->caches = c;
    bp_add(&pool->leased, c->lease);
    for (size_t i = 0; i < pool->row_count; i++) {
        bp_depot *d = &pool->depots[pool->rows[i]];
        bp_add(&d->leased, c->bins[d->bin].planned * d->size);
    }
    bp_add(&pool->cache_count, 1u);
    bp__slot_hold_locked(c->slot, 1);
    bp_poke(&c->thread->caches[c->slot], c);
    return c;
}

/* The calling thread's cache of a pool that is open, in whatever slot; or NULL. */
static bp_cache *find_locked(const bp_pool *pool) {
    bp_cache *c = pool->closed ? NULL : bp__thread->first;
    while (c != NULL && c->pool != pool) {
        c = c->thread_next;
    }
    return c;
}

/* Only its own thread frees a cache of a pool that has something out, or is in use: so it stays
 * between the two locks, while its blocks go home. */
void bp__cache_drop_stale(bp_pool *pool) {
    pthread_mutex_lock(&bp__registry);
    bp_cache *c = find_locked(pool);
    pthread_mutex_unlock(&bp__registry);
    if (c != NULL) {
        bp__cache_flush_all(c);
        pthread_mutex_lock(&bp__registry);
        cache_free_locked(c);
        pthread_mutex_unlock(&bp__registry);
    }
}

bp_cache *bp__cache_attach(bp_pool *pool) {
    if (bp__thread == &nobody && !thread_begin()) {
        return NULL;
    }
    bp__cache_drop_stale(pool);
    pthread_mutex_lock(&bp__registry);
    bp_cache *c = attach_locked(pool);
    pthread_mutex_unlock(&bp__registry);
    if (c != NULL) {
        bp__idle_shrink(pool); /* its lease counts as held from now on */
    }
    return c;
}

void bp__caches_drop_locked(bp_pool *pool) {
    while (pool->caches != NULL) {
        cache_free_locked(pool->caches);
    }
}
