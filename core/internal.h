/* Prototypes that cross files of the core and stay hidden outside it, by file. */
#ifndef BP_INTERNAL_H
#define BP_INTERNAL_H

#include "types.h"

#if defined(__GNUC__)
#define BP_LIKELY(x)   __builtin_expect(!!(x), 1)
#define BP_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define BP_COLD        __attribute__((cold, noinline))
#define BP_INLINE      static inline __attribute__((always_inline))
/* On a line of code of its own: else what is linked before a hot function makes a pair of
 * calls up to 8 % slower or faster. */
#define BP_HOT __attribute__((aligned(64)))
#else
#define BP_LIKELY(x)   (x)
#define BP_UNLIKELY(x) (x)
#define BP_COLD
#define BP_HOT
#define BP_INLINE static inline
#endif

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
#define BP_PAUSE() __builtin_ia32_pause()
#elif defined(__GNUC__) && defined(__aarch64__)
#define BP_PAUSE() __asm__ volatile("yield")
#else
#define BP_PAUSE() (void)0
#endif

/* Initial-exec saves a call for each access; where a loader refuses it in a
 * library that is dlopened (musl), the build does not define this. */
#if defined(BP_TLS_INITIAL_EXEC) && defined(__GNUC__)
#define BP_TLS _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define BP_TLS _Thread_local
#endif

BP_INLINE size_t bp__round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* A lock held for some tens of nanoseconds, but by prewarm: a waiter that sleeps costs a hundred
 * times that, so it tries for a while first. Each try takes the lock's line from its holder, hence
 * the pauses that double: two threads that trade 1 MiB blocks, 202 ns each -> 108. */
BP_INLINE void bp__lock(pthread_mutex_t *mutex) {
    for (int pauses = 1; pthread_mutex_trylock(mutex) != 0; pauses *= 2) {
        if (pauses > 64) {
            pthread_mutex_lock(mutex);
            return;
        }
        for (int i = 0; i < pauses; i++) {
            BP_PAUSE();
        }
    }
}

/* from sys.c: all that is asked of the operating system and of malloc */
size_t bp__sys_page(void);
size_t bp__sys_ram(void);
size_t bp__sys_address_room(void);            /* what RLIMIT_AS leaves, SIZE_MAX without one */
void *bp__sys_reserve(size_t bytes);          /* inaccessible, costs nothing; or NULL */
bool bp__sys_commit(void *p, size_t bytes);   /* readable and writable, zero */
void bp__sys_uncommit(void *p, size_t bytes); /* back to inaccessible, never touched */
void bp__sys_decommit(void *p, size_t bytes); /* stays accessible, reads as zero */
void bp__sys_unmap(void *p, size_t bytes);
void *bp__sys_alloc(size_t bytes); /* zeroed, on a cache line; or NULL */
void bp__sys_free(void *p);
double bp__sys_seconds(void); /* of a clock that nobody sets */

/* Where a get is served and counted; bin BP_BIN_NONE: alone. */
typedef struct bp_place {
    uint32_t bin, cell;
} bp_place;

typedef struct bp_span {
    uint32_t first, end;
} bp_span;

/* from table.c. bins: of the tiers, in their order. */
void bp__table_build(bp_table *t, const bp_settings *s, const uint8_t *bins, bool slow_get);
bp_place bp__table_search(const bp_table *t, size_t n);    /* of any n */
bp_span bp__table_cells(const bp_table *t, uint32_t rank); /* neighbours; rank <= t->count */

/* from tier.c */
bool bp__tier_validate(const size_t *sizes, size_t count, bp_error *error);
void bp__depot_plan(bp_pool *pool, unsigned number, size_t size); /* fills all but its lock */
bp_depot *bp__depot_alone(bp_pool *pool, size_t n);               /* NULL: n needs a run */
size_t bp__canary_bytes(const bp_pool *pool);                     /* behind each block */

/* from region.c */
/* In its region. */
BP_INLINE uint32_t bp__slab_place(uint32_t slab) { return slab & ((1u << BP_REGION_SHIFT) - 1); }
bp_region *bp__region_of(bp_pool *pool, uint32_t slab);
bp_slab *bp__slab_at(bp_pool *pool, uint32_t slab);
uint32_t bp__slab_take(bp_pool *pool, const bp_depot *d, uint32_t run); /* or BP_NO_SLAB */
void bp__slab_give(bp_pool *pool, uint32_t slab); /* its memory goes; nobody may name it */
void bp__regions_free(bp_pool *pool);

/* from block.c */
void bp__cut_plan(bp_cut *cut, size_t stride, size_t gap);
void bp__cut_share(bp_shared_cut *to, const bp_cut *cut); /* one writer at a time */
size_t bp__header_area(const bp_cut *cut);                /* bytes that a slab needs */
uint64_t *bp__slab_bitmap(bp_pool *pool, uint32_t slab);
bp_buffer *bp__slab_header(bp_pool *pool, const bp_depot *d, uint32_t slab, uint32_t index);
void bp__block_carve(bp_pool *pool, const bp_depot *d, uint32_t slab, uint32_t index);
bp_buffer *bp__block_find(bp_pool *pool, const void *p);  /* trusts nothing around p */
bool bp__header_valid(bp_pool *pool, const bp_buffer *b); /* nor around b */

/* from depot.c. take and give move up to n blocks of one tier. Who asks by a table that the
 * tier left, or came after, gets none: errno ESTALE. */
#define BP_ANY_TABLE UINT64_MAX
uint32_t bp__depot_take(bp_pool *pool, bp_depot *d, uint64_t generation, bp_buffer **out,
                        uint32_t n);
void bp__depot_give(bp_pool *pool, bp_depot *d, bp_buffer *const *in, uint32_t n);
uint32_t bp__depot_fresh(bp_pool *pool, bp_depot *d, uint64_t generation, uint32_t n,
                         bp_buffer **first); /* n 0: as many as a bin reserves; gets 0: errno */
void bp__depot_unfresh(bp_pool *pool, bp_depot *d, bp_buffer *first, uint32_t n);
void bp__owned_add(bp_pool *pool, size_t bytes);                /* keeps the exact peak */
void bp__blocks_own(bp_pool *pool, bp_depot *d, size_t blocks); /* of a tier, and its peak */

/* Those below are for the files that give idle memory back, or make it ready: a slab
 * changes hands under d's lock, its memory goes after that. */
bool bp__is_tier(const bp_depot *d); /* not a page class, whose idle blocks have no memory */
bool bp__retire_last_locked(bp_pool *pool, bp_depot *d, uint32_t *chain); /* false: not empty */
void bp__chain_give(bp_pool *pool, uint32_t chain);
void bp__settle_locked(bp_pool *pool, bp_depot *d, uint32_t slab, bp_slab *s);
void bp__set_free_locked(uint64_t *bits, bp_slab *s, uint32_t index);

/* from idle.c: idle memory that goes back to the system */
size_t bp__depot_trim(bp_pool *pool, bp_depot *d);    /* all its empty slabs; bytes of tiers */
size_t bp__depots_trim(bp_pool *pool);                /* of every tier and page class */
size_t bp__depots_shrink(bp_pool *pool, size_t idle); /* until no more idles behind the caches */
bool bp__idle_over(const bp_pool *pool);              /* max_idle may be exceeded */
void bp__idle_shrink(bp_pool *pool);                  /* retires empty slabs while that helps */
bool bp__depot_bound(
    bp_pool *pool, bp_depot *d); /* the tier's own limit, when blocks came home; true: still over */

/* from quota.c: what counts against max_bytes. Blocks are counted in d->carved, too; those
 * of page classes count by their buffers' lengths, when these are out. */
bool bp__charge(bp_pool *pool, size_t bytes); /* false: over quota, nothing done */
void bp__discharge(bp_pool *pool, size_t bytes);
uint64_t bp__charge_lacks(const bp_pool *pool, size_t bytes); /* what must go for that to fit */
uint32_t bp__charge_blocks_locked(bp_pool *pool, bp_depot *d,
                                  uint32_t most); /* as many as may be */
bool bp__charge_all_locked(bp_pool *pool, bp_depot *d, size_t blocks);
void bp__discharge_blocks_locked(bp_pool *pool, bp_depot *d, size_t blocks);
bool bp__tier_is_full(bp_depot *d);                                        /* of its own quota */
uint32_t bp__fresh_at_once_locked(const bp_pool *pool, const bp_depot *d); /* that a bin reserves */

/* from cache.c */
bp_cache *bp__cache_new_locked(bp_pool *pool); /* of the registry: by the pool's table */
bp_buffer *bp__cache_refill(bp_cache *c,
                            uint32_t bin);            /* idle, or made anew and a miss; or errno */
void bp__cache_store_slow(bp_cache *c, bp_buffer *b); /* flushes where full; counted */
void bp__cache_flush_bin(bp_cache *c, uint32_t bin);
void bp__cache_flush_all(bp_cache *c);
uint64_t bp__cache_reserved(const bp_cache *c); /* bytes of its fresh blocks */

/* from alone.c */
bp_buffer *bp__alone_get(bp_pool *pool, size_t n); /* NULL: errno */
void bp__alone_free(bp_pool *pool, bp_buffer *b);  /* the memory; the caller counts */

/* from buffer.c's cold half, buffer_slow.c */
BP_COLD bp_buffer *bp__buffer_get_slow(bp_pool *pool, size_t n, uint32_t refs);
BP_COLD void *bp__raw_get_slow(bp_pool *pool, size_t n, size_t *capacity);
int bp__raw_put_other(bp_pool *pool, void *p); /* not the block that this thread got last */
BP_COLD int bp__buffer_release_slow(bp_pool *pool, bp_buffer *b); /* no reference is left */
BP_COLD int bp__release_dead(bp_pool *pool);                      /* counts; BP_ERR_DEAD */

/* from debug.c: only for pools with debug. The block is the caller's alone. */
void bp__debug_issue(bp_pool *pool, bp_buffer *b, size_t n);
bool bp__debug_retire(bp_pool *pool, bp_buffer *b); /* false: bytes behind it were written */
void bp__debug_forget(void *slab);                  /* its memory goes back to the system */

/* from thread.c */
extern __attribute__((visibility("hidden"))) BP_TLS bp_thread *bp__thread;
bool bp__threads_start(void);              /* before the first pool; false: no key or no memory */
bp_cache *bp__cache_attach(bp_pool *pool); /* in place of a stale one; NULL: closed, or no memory */
void bp__cache_drop_stale(bp_pool *pool);  /* of the calling thread, if it has one */
void bp__caches_drop_locked(bp_pool *pool); /* of a pool that has nothing out */

/* from token.c */
extern __attribute__((visibility("hidden"))) pthread_mutex_t bp__tokens;
void bp__tokens_fork_child(void);
uint64_t bp__tokens_count(const bp_pool *pool); /* walks all of them */

/* from registry.c: every pool of the process, by slot */
extern __attribute__((visibility("hidden"))) pthread_mutex_t bp__registry;
bool bp__registry_start_locked(void (*thread_end)(void *), pthread_key_t *key);
void bp__registry_pin(void);    /* keeps this library in memory; takes the loader's lock */
void bp__registry_unlock(void); /* and frees the pools that were buried meanwhile */
void bp__registry_bury_locked(bp_pool *pool);
bool bp__registry_add_locked(bp_pool *pool); /* gives it a slot, or another; false: all are taken */
void bp__slot_hold_locked(uint32_t slot, int caches); /* one more cache in that slot, or one less */
bool bp__registry_has_locked(const bp_pool *pool);    /* which may be gone */
bp_pool *bp__registry_find_locked(const char *name);  /* open ones only; NULL: none */
void bp__registry_reap_locked(void);                  /* buries what zombies it can */

/* from pool.c */
bool bp__pool_reap_locked(bp_pool *pool); /* buries a closed pool that has nothing out */
void bp__pool_free(bp_pool *pool);
/* bp_pool_shrink, not counted as a call. c: the calling thread's cache, or NULL. */
size_t bp__pool_trim(bp_pool *pool, bp_cache *c, size_t idle);

/* from decay.c */
void bp__decay_set(bp_pool *pool, double decay); /* a window of it begins */
void bp__cache_cool(bp_cache *c); /* in a slow half: gives up what it did not use for a window */

/* from configure.c */
void bp__settings_of(bp_settings *s, const bp_options *o);
bool bp__settings_validate(const bp_options *o, bp_error *error);
void bp__settings_first(bp_pool *pool, const bp_settings *s); /* of a pool that nobody has yet */

/* What all gets so far sum up to, in one reading of each thread's cells. */
typedef struct bp_tally {
    bp_cell_total tiers[BP_BINS + 1]; /* by bin; then the alone ones */
    uint64_t cells[BP_CELLS];
    uint64_t history[BP_LENGTHS];
} bp_tally;

/* from cells.c */
BP_COLD void *bp__cell_fold(bp_cache *c, bp_place at, void *result); /* returns result */
void bp__cells_keep_locked(bp_cache *c);                             /* all, when it goes */
void bp__cells_age_locked(bp_pool *pool);                            /* before its table changes */
void bp__count_get(bp_cache *c, bp_place at, size_t n);              /* any n; of a slow half */
bool bp__cache_counts_locked(const bp_cache *c, uint32_t bin); /* for the tier that has it now */
uint64_t bp__cache_gets(const bp_cache *c, uint32_t bin);      /* that one cache counted */
uint64_t bp__tier_gets_locked(const bp_pool *pool, uint32_t bin);
void bp__tally_locked(const bp_pool *pool, bp_tally *out);
void bp__tally_histogram(const bp_pool *pool, const bp_tally *tally, bp_stats *out);

/* from stats.c */
uint64_t bp__pool_outstanding_locked(bp_pool *pool);
uint64_t bp__tier_puts_locked(const bp_pool *pool, uint32_t bin);
void bp__tiers_retire_locked(bp_pool *pool);   /* those that have drained */
void bp__peak_look(bp_cache *c, uint32_t bin); /* after a slow get */

/* from recent.c */
void bp__recent_push(bp_pool *pool, uint64_t length); /* into the pool's own ring */
void bp__recent_keep_locked(bp_cache *c);             /* a cache's ring, when it goes */

#endif
