/* The parts of a pool and what holds between them.
 *
 * Glossary
 *   tier       a block size of the pool's table
 *   table      which tier serves a length; ranks its tiers, and the lengths between them
 *              that no tier may serve (max_waste), by size. Each cache has a copy
 *   generation of the table: each change begins one
 *   block      one piece of memory of a tier; its bytes lie in a slab
 *   header     what the pool knows of a block (struct bp_buffer), apart from the bytes
 *   slab       4 MiB of a region, cut into blocks of one tier
 *   run        neighbouring slabs that hold one block larger than a slab
 *   region     reserved address space: slab table | uses | headers | slabs
 *   bin        the number of a tier among all of its pool, those that drain too; a tier
 *              keeps it as long as it has blocks, and a later one may be given it
 *   drain      a tier that the table lost waits until its last block is home
 *   cache      the idle blocks one thread keeps of one pool; a stack for each bin
 *   stale      a cache whose thread has not called since the table changed
 *   depot      the idle blocks of a tier behind the caches; a bitmap in each slab
 *   empty      a slab whose carved blocks are all idle in the depot
 *   retire     take an empty slab from its depot and give its memory back
 *   fresh      a block that was never handed out; a bin reserves a few at a time
 *   carve      make the next fresh block of a slab known: its header is filled
 *   refill     depot -> cache;  flush: cache -> depot
 *   bucket     lengths of one power of two and its next three bits: 8 to an octave
 *   cell       the gets of one bucket and rank: how many, and their lengths summed, in one
 *              word of a cache; fold: cell -> the pool's totals, before it runs over
 *   history    gets by bucket alone: of tables before the pool's
 *   footprint  the memory that a block takes when all of it was written
 *   alone      a request that no tier serves: a block of a page class or a run
 *   lease      the part of max_idle that a cache may fill
 *   window     half of the decay: blocks that idle all through two in a row go back
 *   charged    bytes that count against max_bytes: of carved blocks, and alone ones
 *   slot       a pool's place in every thread's table of caches; a change of the table gives
 *              it another one, so that every thread misses its cache and makes a new one
 *   zombie     a destroyed pool that waits for its last buffer
 *   opens      the creator and each bp_pool_open; the last destroy closes the pool
 *   frozen     not to be written any more: a bit of refs, which the next get clears
 *   token      a reference as a text; the table of token.c owns it
 *   canary     of a pool with debug: bytes behind each block, which nobody may write
 *   marked     an idle block of such a pool whose bytes hold debug.c's pattern
 *
 * Memory of a region (indexes and offsets inside, no pointers):
 *
 *   | slab table | uses | headers of slab 0 | of slab 1 | ... | slab 0 | slab 1 | ... |
 *                       |<- header_stride ->|                 |<4 MiB->|
 *
 *   headers of a slab:  | free bitmap | colour | header 0 | header 1 | ... |
 *   a slab:             | colour | 8 blocks | 64 B | 8 blocks | 64 B | ... |
 *
 * The colours and the gap after every 8 blocks keep the first lines of blocks
 * and headers from falling into the same cache sets.
 *
 * Invariants, run by bp_pool_check on a quiet pool (stats.c sums, check.c counts):
 *   requests        = total_get + discarded        = sum over cells and history of counts
 *   total_get       = sum over tiers of get + drained.get
 *   get             = hit + miss = sum of the tier's cells, in tables before too
 *   in_use(tier)    = get - put
 *   owned(tier)     = in_use + idle                idle = cached + depot
 *   waste(tier)     = size * get - asked          >= 0
 *   in_use(tier)   <= peak_in_use <= peak_owned
 *   cached(cache)   = refilled + put + miss - get - flushed   = blocks found in its bins
 *   depot(tier)     = blocks found free in the slabs' bitmaps = sum of slab.free
 *   empty_slabs     = slabs of tiers with free = carved > 0, all of a run
 *   carved(tier)    = owned + fresh reserved by bins     0 of a bin that nobody has
 *   charged         = sum over tiers of carved * size + bytes of live alone blocks
 *   charged        <= max_bytes, once it was so; carved * size <= max_bytes of the tier
 *   ref_count       > 0 exactly in the headers of live blocks
 *   exported        = tokens of the pool in the table <= references of its blocks
 *   owned_bytes     = sum over tiers of owned * size + bytes of live alone blocks
 *   leased          = sum over caches of lease <= max_idle / 2, without stale ones
 *   idle_bytes     <= max_idle at rest, but for free blocks that share a slab with a
 *                     live one, or with one in the cache of a thread that sleeps
 *
 * Of them hold in every snapshot, while threads work: the lines of total_get, in_use = get - put
 * >= 0, owned = in_use + idle, that of waste, and peak_in_use <= peak_owned. No counter and no
 * peak ever falls from one to the next.
 *
 * Locks, outermost first; none is held while a fast path runs:
 *   tokens (process) -> registry (process) -> depot (tier) -> region lock (pool)
 */
#ifndef BP_TYPES_H
#define BP_TYPES_H

#include <pthread.h>
#include <stdbool.h>

#include "atomic.h"
#include "bytepool.h"

#define BP_LINE         64u
#define BP_SLAB_SHIFT   22u
#define BP_SLAB         ((size_t)1 << BP_SLAB_SHIFT)
#define BP_GROUP        8u  /* blocks between two gaps */
#define BP_PAGE_CLASSES 10u /* alone blocks of 1, 2, 4 .. 512 pages */
#define BP_BINS         BP_MAX_ROWS
#define BP_RUNS         (BP_BINS + BP_PAGE_CLASSES) /* alone blocks larger than those */
#define BP_DEPOTS       (BP_RUNS + 1u)
#define BP_BIN_NONE     BP_BINS                  /* the bin that is empty and full at once */
#define BP_RANKS        (2u * BP_MAX_TIERS + 1u) /* a tier, and lengths below it that are alone */
#define BP_MAX_REGIONS  256u
#define BP_REGION_SHIFT 24u /* a slab id is region << 24 | slab of the region */
#define BP_NO_SLAB      UINT32_MAX
#define BP_CACHE_BYTES  ((size_t)1 << 20) /* most a bin holds, or one block */
#define BP_CACHE_BLOCKS 256u
#define BP_MAX_REFS     0x20000000u
#define BP_RAW_MARK     0x80000000u
#define BP_RAW_REF      (BP_RAW_MARK | 1u)          /* refs of a block that is out raw */
#define BP_BUCKETS      (64 * 8 + 8)                /* of any length, see bp__bucket */
#define BP_LENGTHS      (BP_MAX_BUCKETS - BP_RANKS) /* buckets of lengths up to BP_MAX_SIZE */
#define BP_CELLS        BP_MAX_BUCKETS              /* cell of a get: its bucket + its rank */
#define BP_CANARY       16u                         /* bytes behind a block of a pool with debug */
#define BP_REFS(refs)   ((refs) & ~(BP_RAW_MARK | BP_FROZEN_BIT))

/* A header. All zero: never handed out. Idle: refs 0. `bin`, `slab`, `index` and
 * `to_data` are written once, when the block is carved; the rest by its getter. */
struct bp_buffer {
    _Atomic uint32_t refs;
    uint8_t bin;    /* BP_BIN_NONE for an alone block */
    uint8_t marked; /* see the glossary */
    uint16_t pad;
    uint64_t length;         /* as asked for */
    _Atomic int64_t to_data; /* bytes from this header to the payload */
    uint32_t slab;           /* slab id */
    uint32_t index;          /* of the block in its slab */
};
_Static_assert(sizeof(struct bp_buffer) == 32, "headers are two to a cache line");

/* How a tier cuts a slab; written when it is given its bin. A run is one block at offset 0. */
typedef struct bp_cut {
    uint64_t group_magic;  /* ceil(2^44 / group), see block.c */
    uint64_t stride_magic; /* ceil(2^44 / stride) */
    uint32_t group;        /* bytes from 8 blocks and their gap to the next 8 */
    uint32_t stride;       /* bytes from a block to the next of its group */
    uint32_t blocks;       /* of a slab; 0: no such tier */
    uint32_t bitmap;       /* bytes of free bits before the headers */
    uint32_t data_colour;  /* the first block is shifted by so many lines at most; 2^n - 1 */
} bp_cut;

/* The same for look-ups of pointers, which take no lock: they drop what they found where
 * `version` was odd or has changed meanwhile. */
typedef struct bp_shared_cut {
    _Alignas(64) _Atomic uint32_t version;
    _Atomic uint32_t group, stride, blocks, bitmap, data_colour;
    _Atomic uint64_t group_magic, stride_magic;
} bp_shared_cut;

/* What a slab is used for, a byte each: depot number + 1, or one of these. Written
 * under the region lock, read by look-ups at any time. */
enum { BP_USE_FREE = 0, BP_USE_TAIL = 255 /* inside a run */ };

/* The state of a slab in use; belongs to the lock of its depot. */
enum { BP_UNLISTED = 0, BP_PARTIAL = 1, BP_EMPTY = 2 };
typedef struct bp_slab {
    uint8_t place;       /* in its depot's list: BP_UNLISTED, BP_PARTIAL, BP_EMPTY */
    uint32_t run;        /* slabs in the run, 1 for a slab cut into blocks */
    uint32_t carved;     /* blocks made known; the rest was never touched */
    uint32_t free;       /* bits set in the bitmap */
    uint32_t hint;       /* no bit is set in a word below this one */
    uint32_t next, prev; /* the depot's list; BP_NO_SLAB ends it */
    uint32_t pad;
} bp_slab;
_Static_assert(sizeof(bp_slab) == 32, "two slabs to a line");

typedef struct bp_region {
    uint8_t *base; /* the mapping, page aligned */
    size_t bytes;
    bp_slab *slabs;
    _Atomic uint8_t *uses;
    uint8_t *headers;
    uint8_t *data;
    size_t header_stride; /* bytes of header area for each slab */
    uint32_t slab_count;
    uint32_t free_count;   /* slabs below bump that are free; region lock */
    uint32_t free_hint;    /* none of them below this one; region lock */
    _Atomic uint32_t bump; /* slabs committed so far */
} bp_region;

/* What a bin is. Registry's lock. */
enum { BP_UNUSED = 0, BP_SERVING, BP_DRAINING };

/* The idle blocks of a tier behind the caches. What it is for is written, under `lock`, when
 * it is given its bin; head, tail, carving and the writing of the rest belong to `lock`. */
typedef struct bp_depot {
    _Alignas(64) pthread_mutex_t lock;
    bp_cut cut;
    size_t size;          /* as asked for; what idle and owned bytes count */
    size_t stride;        /* size rounded up to a line or page */
    uint32_t run;         /* slabs a block takes when larger than a slab, else 1 */
    uint32_t bins_take;   /* fresh blocks a bin reserves at once */
    size_t footprint;     /* bytes */
    uint8_t number;       /* index in pool->depots */
    uint8_t bin;          /* written into the headers */
    uint32_t head, tail;  /* slabs with free blocks: the partial ones, then the empty */
    uint32_t carving;     /* the slab that has uncarved blocks, or BP_NO_SLAB */
    uint64_t carved;      /* blocks of all its slabs */
    uint64_t low;         /* least `free` since the window of bp_pool_tick began */
    uint64_t low_before;  /* and in the window before */
    uint64_t used_before; /* gets and puts up to then; registry's lock */
    _Atomic size_t max_idle, max_bytes; /* of the tier's limits; none for page classes */
    _Atomic uint64_t leased;            /* sum of what caches may hold of it */
    _Atomic bool lost; /* it drains: what comes home goes on to the system; both locks */
    uint8_t state;
    uint64_t born;         /* generation in which the tier was given the bin; both locks */
    _Atomic uint64_t free; /* idle blocks here; read without the lock by stats */
    _Atomic uint64_t owned, peak_owned;
    _Atomic uint64_t peak_in_use; /* of those moments at which somebody looked */
    _Atomic uint64_t collected;
    uint64_t hit; /* most that a snapshot said; registry's lock */
    /* Totals of caches that are gone and of releases that had none. */
    struct bp_tier_totals {
        _Atomic uint64_t miss, put;
        uint64_t get, asked; /* of tables before the pool's; registry's lock */
    } gone;
} bp_depot;

/* Which tier serves a length: one load finds the rank, and the place of the bin in a cache, of
 * most. Of 32 bits: two of 16 made pairs 5 % slower, a look-up of the bin by rank 8 %. */
typedef struct bp_table {
    size_t ends[BP_RANKS]; /* the longest of each rank; from `count` on SIZE_MAX */
    uint32_t entries
        [BP_BUCKETS]; /* bucket of n - 1 -> rank << 16 | bytes to its bin: the lowest to try */
    uint8_t bins[BP_RANKS]; /* BP_BIN_NONE: alone */
    uint32_t count;         /* ranks */
    uint64_t generation;
} bp_table;

/* The gets of one length bucket in one rank, as a cache counts them: the count above
 * BP_CELL_SHIFT, the sum of the lengths below. One addition on the hot path keeps the tier's
 * gets, the histogram and the bytes asked for, and a reader sees all three of the same moment.
 * The addition that sets the sign has the cell folded: 2^17 gets of 2^28 bytes at most. */
#define BP_CELL_SHIFT 46u
#define BP_CELL_ONE   ((uint64_t)1 << BP_CELL_SHIFT)
#define BP_CELL_MOST  ((size_t)1 << 28) /* longer gets go to the totals; no bin holds such blocks */
typedef struct bp_cell_total {
    uint64_t count, bytes;
} bp_cell_total;

/* One tier in one thread's cache: a stack that only that thread touches. A NULL lies under
 * its first slot, so that a pop needs no look at where it begins. Where a slot ahead of the
 * stack was tried, pairs were no faster and mixed sizes three times slower: whether that
 * slot is full is a guess that the processor loses. */
typedef struct bp_bin {
    bp_buffer **top;   /* the first free slot */
    bp_buffer **limit; /* no fast push at or above this one; base where a release is slow */
    bp_buffer **base;  /* the first slot */
    _Atomic uint64_t put;
    _Atomic uint64_t folded; /* gets that left the cells */
    bp_buffer *fresh;        /* the next of fresh_left reserved blocks */
    uint32_t fresh_left;
    uint32_t planned; /* slots when the cache is not shut; 0: none ever */
    uint32_t cap;     /* slots now */
    uint32_t pad;
} bp_bin;
_Static_assert(sizeof(void *) != 8 || sizeof(bp_bin) == BP_LINE, "a bin is one line");

/* The cache of one thread for one pool. Its thread alone writes it; counters are
 * read by stats; the lists belong to the registry's lock. */
typedef struct bp_cache {
    bp_bin bins[BP_BINS + 1];
    _Atomic uint64_t requests; /* also the next place in `recent` */
    uint64_t recent_mask;
    bp_buffer *raw_last; /* got raw last by this thread: a guess for the next raw put */
    bp_pool *pool;
    uint32_t slot;
    uint32_t trim_seen; /* the pool's trim epoch honoured last */
    uint32_t window_seen;
    bool shut;    /* holds little: the pool is over max_idle */
    size_t lease; /* bytes of max_idle it may fill */
    struct bp_cache *pool_next, *pool_prev;
    struct bp_cache *thread_next;
    struct bp_thread *thread;
    size_t bytes;               /* of this struct and what stands behind it */
    uint32_t unsampled;         /* slow gets since it looked for a peak */
    _Atomic uint64_t alone_put; /* of oversize requests */
    struct bp_slow_counts {     /* written by the slow halves only */
        _Atomic uint64_t miss, refilled, flushed;
        uint64_t used_seen; /* gets and puts when the window began */
    } slow[BP_BINS];
    _Atomic uint64_t cells[BP_CELLS];
    _Alignas(64) bp_table table; /* behind the counters: before them, pairs were a tenth slower */
    _Atomic uint64_t recent[];   /* ring of recent lengths; the bins' slots stand behind it */
} bp_cache;

/* A thread's caches, by slot. Slot 0 stays NULL: a closed pool points there. */
typedef struct bp_thread {
    _Atomic(bp_cache *) caches[BP_MAX_POOLS + 1];
    bp_cache *first; /* all of them; registry's lock */
} bp_thread;

/* The first line is read by every get and release, and written when the pool is made, changed
 * or closed. */
struct bp_pool {
    _Alignas(64) _Atomic uint32_t slot; /* 0 once the pool is closed */
    bool recent_exact;
    bool slow_get; /* no bucket names a tier: every get takes its slow half */
    bool slow_put; /* bins take nothing in the fast half */
    bool zero_get, zero_release, debug;
    _Atomic uint32_t bins;                      /* those from here on were never used */
    _Alignas(64) _Atomic size_t sizes[BP_BINS]; /* of blocks, by bin */

    _Alignas(64) _Atomic uint64_t owned_bytes;
    _Atomic uint64_t charged_bytes;
    _Atomic uint64_t peak_owned_bytes;
    _Atomic uint64_t depot_bytes; /* of idle blocks in the depots of tiers */
    _Atomic uint32_t empty_slabs; /* of tiers: what can go back to the system */
    _Atomic uint64_t alone_bytes; /* of live alone blocks */
    _Atomic uint64_t alone_footprint;
    _Atomic uint64_t alone_collected;
    _Atomic uint64_t leased; /* sum of the caches' leases */
    _Atomic uint64_t trimmed_bytes;
    _Atomic uint64_t returned_bytes; /* footprints of blocks given back to the system */
    _Atomic uint64_t peak_in_use_bytes;
    _Atomic uint64_t overruns, late_writes; /* debug */
    _Atomic uint64_t exported;              /* tokens out */
    _Atomic uint64_t double_releases;
    _Atomic uint64_t trims;
    _Atomic uint64_t over_quota, decayed_bytes;
    _Atomic uint32_t slabs_used;
    _Atomic uint32_t trim_epoch; /* raised by trim; caches compare */

    _Alignas(64) pthread_mutex_t region_lock;
    _Atomic(bp_region *) regions[BP_MAX_REGIONS];
    _Atomic uint32_t region_count;
    size_t region_size; /* the option, or 0 */

    /* Settings that others read without a lock; a change under the registry's. */
    _Atomic size_t max_idle, max_bytes;
    _Atomic double decay;
    _Atomic uint64_t next_window; /* of bp_pool_tick, ms */
    _Atomic uint32_t windows;     /* begun so far; caches compare */

    /* Under the registry's lock. */
    bp_settings now, before; /* before.tier_count 0: there was none */
    bp_table table;
    uint8_t rows[BP_BINS]; /* the bins that are in use, by size */
    uint32_t row_count;
    uint32_t draining; /* of them */
    bp_drained_stats drained;
    bp_cache *caches;
    uint32_t own_slot; /* the slot even when closed */
    uint32_t opens;    /* 0 once closed */
    bool closed;
    uint64_t check_in;            /* releases until a closed pool is summed up again */
    struct bp_pool *buried;       /* the next of those to be freed */
    _Atomic uint32_t cache_count; /* written under that lock only */
    struct bp_pool_totals {       /* of caches that are gone and of releases that had none */
        uint64_t requests, alone_put;
        bp_cell_total alone; /* of tables before */
    } gone;
    bp_cell_total cells[BP_CELLS]; /* of this table: of caches that are gone, and folded ones */
    uint64_t history[BP_LENGTHS];

    _Atomic uint64_t recent_next; /* place in `recent`: exact mode's ring, or */
    _Atomic uint64_t *recent;     /* in relaxed mode that of threads gone */
    uint64_t recent_mask;
    size_t recent_size;
    _Atomic size_t header_area; /* most bytes that a tier's slab needs; its depot's lock */
    double created;             /* bp__sys_seconds */
    char name[64];
    bp_shared_cut cuts[BP_DEPOTS];
    bp_depot depots[BP_DEPOTS];
};

#endif
