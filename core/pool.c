/* Pools: options, create, open, trim, shrink, destroy. */
#include <stdio.h>
#include <string.h>

#include "cache.h"

#define MAX_RECENT 65536u

const char *bp_version(void) { return BP_VERSION; }

const char *bp_strerror(int status) {
    switch (status) {
    case BP_OK:
        return "ok";
    case BP_ERR_ARG:
        return "argument out of range";
    case BP_ERR_NOMEM:
        return "out of memory";
    case BP_ERR_DEAD:
        return "buffer already released";
    case BP_ERR_FOREIGN:
        return "not of this pool";
    case BP_ERR_SHARED:
        return "buffer is shared";
    case BP_ERR_KIND:
        return "raw pointer and buffer calls mixed";
    case BP_ERR_LIMIT:
        return "limit reached";
    case BP_ERR_EXISTS:
        return "an open pool has that name";
    case BP_ERR_TOKEN:
        return "no such token, or it was used already";
    case BP_ERR_OVERRUN:
        return "bytes behind the end were overwritten";
    case BP_ERR_QUOTA:
        return "over quota";
    case BP_ERR_COPY:
        return "token of another loaded copy of bytepool";
    default:
        return "unknown status";
    }
}

void bp_options_init(bp_options *o) {
    memset(o, 0, sizeof *o);
    o->tiers = bp_size_power_of_two(&o->tier_count);
    size_t eighth = bp__sys_ram() / 8;
    o->max_idle = eighth < ((size_t)256 << 20) ? eighth : (size_t)256 << 20;
    o->max_bytes = BP_NO_LIMIT;
    o->max_waste = 1;
    o->decay = 10;
    o->recent_size = 256;
    o->recent_mode = BP_RECENT_RELAXED;
}

static bool fail(bp_error *e, bp_status status, const char *message) {
    e->status = status;
    (void)snprintf(e->message, sizeof e->message, "%s", message);
    return false;
}

static bool validate(const bp_options *o, bp_error *e) {
    if (!bp__settings_validate(o, e)) {
        return false;
    }
    if (o->recent_size > MAX_RECENT) {
        return fail(e, BP_ERR_ARG, "recent_size must be from 0 to 65536");
    }
    if (o->recent_mode != BP_RECENT_RELAXED && o->recent_mode != BP_RECENT_EXACT) {
        return fail(e, BP_ERR_ARG, "recent_mode must be BP_RECENT_RELAXED or BP_RECENT_EXACT");
    }
    if (o->zero != BP_ZERO_NEVER && o->zero != BP_ZERO_GET && o->zero != BP_ZERO_RELEASE) {
        return fail(e, BP_ERR_ARG, "zero must be BP_ZERO_NEVER, BP_ZERO_GET or BP_ZERO_RELEASE");
    }
    if (o->name != NULL && strlen(o->name) >= sizeof((bp_pool *)0)->name) {
        return fail(e, BP_ERR_ARG, "name must be at most 63 bytes");
    }
    return true;
}

static void set_up(bp_pool *pool, const bp_options *o) {
    pool->opens = 1;
    pool->created = bp__sys_seconds();
    pool->region_size = o->region_size;
    pool->recent_size = o->recent_size;
    pool->recent_exact = o->recent_mode == BP_RECENT_EXACT && o->recent_size > 0;
    pool->zero_get = o->zero == BP_ZERO_GET;
    pool->zero_release = o->zero == BP_ZERO_RELEASE;
    pool->debug = o->debug;
    pool->slow_get = pool->recent_exact || pool->zero_get || pool->debug;
    pool->slow_put = pool->zero_release || pool->debug;
    if (o->name != NULL) {
        memcpy(pool->name, o->name, strlen(o->name) + 1);
    }
    pthread_mutex_init(&pool->region_lock, NULL);
    for (unsigned i = 0; i < BP_DEPOTS; i++) {
        bp_depot *d = &pool->depots[i];
        pthread_mutex_init(&d->lock, NULL);
        d->number = (uint8_t)i;
        d->bin = (uint8_t)(i < BP_BINS ? i : BP_BIN_NONE);
        d->head = d->tail = d->carving = BP_NO_SLAB;
        if (i >= BP_BINS) {
            bp__depot_plan(pool, i, i == BP_RUNS ? BP_SLAB : bp__sys_page() << (i - BP_BINS));
        }
    }
    bp_settings first;
    bp__settings_of(&first, o);
    bp__settings_first(pool, &first);
}

void bp__pool_free(bp_pool *pool) {
    bp__regions_free(pool);
    pthread_mutex_destroy(&pool->region_lock);
    for (unsigned i = 0; i < BP_DEPOTS; i++) {
        pthread_mutex_destroy(&pool->depots[i].lock);
    }
    bp__sys_free((void *)pool->recent);
    bp__sys_free(pool);
}

bp_pool *bp_pool_create(const bp_options *o, bp_error *error) {
    bp_options defaults;
    bp_error unasked = {BP_OK, 0, ""};
    bp_error *e = error != NULL ? error : &unasked;
    memset(e, 0, sizeof *e);
    if (o == NULL) {
        bp_options_init(&defaults);
        o = &defaults;
    }
    if (!validate(o, e)) {
        return NULL;
    }
    size_t ring = 1;
    while (ring < o->recent_size) {
        ring <<= 1;
    }
    bool started = bp__threads_start(); /* fork must know the locks before the first pool */
    bp_pool *pool = started ? bp__sys_alloc(sizeof *pool) : NULL;
    _Atomic uint64_t *recent = bp__sys_alloc(ring * sizeof *recent);
    if (pool == NULL || recent == NULL) {
        bp__sys_free(pool);
        bp__sys_free((void *)recent);
        fail(e, BP_ERR_NOMEM, "out of memory");
        return NULL;
    }
    pool->recent = recent;
    pool->recent_mask = ring - 1;
    set_up(pool, o);
    pthread_mutex_lock(&bp__registry);
    bp__registry_reap_locked();
    bool taken = pool->name[0] != '\0' && bp__registry_find_locked(pool->name) != NULL;
    bool listed = !taken && bp__registry_add_locked(pool);
    bp__registry_unlock();
    if (!listed) {
        fail(e, taken ? BP_ERR_EXISTS : BP_ERR_LIMIT,
             taken ? bp_strerror(BP_ERR_EXISTS) : "too many pools in this process");
        bp__pool_free(pool);
        return NULL;
    }
    return pool;
}

bp_pool *bp_pool_open(const char *name) {
    pthread_mutex_lock(&bp__registry);
    bp_pool *pool = name != NULL && name[0] != '\0' ? bp__registry_find_locked(name) : NULL;
    if (pool != NULL) {
        pool->opens++;
    }
    pthread_mutex_unlock(&bp__registry);
    return pool;
}

/* A sum over all caches is dear, so with many buffers out the next one waits for half of the
 * releases that are left, less those that may be under way in a fast half. */
bool bp__pool_reap_locked(bp_pool *pool) {
    uint64_t out = bp__pool_outstanding_locked(pool);
    if (out != 0) {
        uint64_t unseen = bp_peek(&pool->cache_count);
        pool->check_in = out > 2 * unseen + 64 ? (out - unseen) / 2 : 1;
        return false;
    }
    bp__caches_drop_locked(pool);
    bp__registry_bury_locked(pool);
    return true;
}

void bp_pool_destroy(bp_pool *pool) {
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&bp__registry);
    if (pool->opens == 1 && bp__pool_outstanding_locked(pool) > 0) {
        /* What idles now would stay until the last buffer comes, and nobody could ask. */
        pthread_mutex_unlock(&bp__registry);
        (void)bp_pool_shrink(pool, 0);
        pthread_mutex_lock(&bp__registry);
    }
    if (pool->opens > 0 && --pool->opens == 0) {
        pool->closed = true;
        bp_poke(&pool->slot, 0u); /* from here on every call on it takes its slow half */
        (void)bp__pool_reap_locked(pool);
        bp__registry_reap_locked();
    }
    bp__registry_unlock();
}

size_t bp__pool_trim(bp_pool *pool, bp_cache *c, size_t idle) {
    uint32_t epoch = bp_add(&pool->trim_epoch, 1u) + 1;
    if (c != NULL) {
        c->trim_seen = epoch;
        bp__cache_flush_all(c);
    }
    return bp__depots_shrink(pool, idle);
}

size_t bp_pool_shrink(bp_pool *pool, size_t idle) {
    bp_cache *c = bp__cache_of(pool);
    if (c == NULL) {
        bp__cache_drop_stale(pool);
    }
    return bp__pool_trim(pool, c, idle);
}

size_t bp_pool_trim(bp_pool *pool) {
    bp_add(&pool->trims, 1u);
    return bp_pool_shrink(pool, 0);
}

void bp_pool_fixed(bp_pool *pool, bp_options *out) {
    out->recent_size = pool->recent_size;
    out->recent_mode = pool->recent_exact ? BP_RECENT_EXACT : BP_RECENT_RELAXED;
    out->region_size = pool->region_size;
    out->zero = pool->zero_get ? BP_ZERO_GET : pool->zero_release ? BP_ZERO_RELEASE : BP_ZERO_NEVER;
    out->debug = pool->debug;
    out->name = pool->name;
}

bool bp_pool_is_debug(const bp_pool *pool) { return pool->debug; }

const char *bp_pool_name(const bp_pool *pool) { return pool->name; }
