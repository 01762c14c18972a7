/* bytepool: reference-counted byte buffers from size tiers.
 *
 * A program that does not know who lets go of a piece of memory last takes a
 * buffer from a pool, hands out references, and the pool takes the memory back
 * when the last reference goes.
 *
 *     bp_pool *pool = bp_pool_create(NULL, NULL);
 *     bp_buffer *b = bp_buffer_get(pool, 4096);
 *     memcpy(bp_buffer_data(b), ...);
 *     bp_buffer_retain(b);              one more owner
 *     bp_buffer_release(pool, b);       one owner less
 *     bp_buffer_release(pool, b);       the last one: back to the pool
 *     bp_pool_destroy(pool);
 *
 * Sizes are bytes. Every function may be called from any thread at any time
 * unless its comment says otherwise; a buffer got on one thread may be released
 * on another. The payload itself is the caller's: two threads that write the
 * same bytes must agree between themselves.
 *
 * Copyright (c) 2026 the bytepool authors. MIT licence, see LICENSE.
 */
#ifndef BYTEPOOL_H
#define BYTEPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The one version constant: Makefile, Lua module and specs read it from here. */
#define BP_VERSION "0.1.0"

#if defined(__GNUC__) && !defined(_WIN32)
#define BP_API __attribute__((visibility("default")))
#else
#define BP_API
#endif

#define BP_MAX_TIERS   64   /* tiers a table can have */
#define BP_MAX_ROWS    128  /* tiers a pool can have at once, with those that drain */
#define BP_MAX_POOLS   4096 /* pools a process can have at once */
#define BP_MAX_BUCKETS 440  /* buckets a histogram can have */
#define BP_NO_LIMIT    SIZE_MAX
/* The largest request: 1 TiB, or 1 GiB where size_t has 32 bits. */
#define BP_MAX_SIZE ((size_t)1 << (sizeof(size_t) > 4 ? 40 : 30))

typedef struct bp_pool bp_pool;
typedef struct bp_buffer bp_buffer;

/* Results of calls that can refuse. Refusal leaves everything as it was. */
typedef enum bp_status {
    BP_OK = 0,
    BP_ERR_ARG = -1,      /* an argument is out of its range */
    BP_ERR_NOMEM = -2,    /* no memory or no address space */
    BP_ERR_DEAD = -3,     /* the buffer has no reference left: one release too many */
    BP_ERR_FOREIGN = -4,  /* not a buffer or pointer of this pool */
    BP_ERR_SHARED = -5,   /* others hold references to it */
    BP_ERR_KIND = -6,     /* raw call on a handle-owned buffer, or the reverse */
    BP_ERR_LIMIT = -7,    /* a fixed limit: pools, references, idle cap */
    BP_ERR_EXISTS = -8,   /* an open pool has that name */
    BP_ERR_TOKEN = -9,    /* not a token, or one that was used already */
    BP_ERR_COPY = -10,    /* a token of another loaded copy of this library */
    BP_ERR_OVERRUN = -11, /* given back, but bytes behind its end were written: options.debug */
    BP_ERR_QUOTA = -12    /* would exceed max_bytes of the pool or of a tier */
} bp_status;

/* A short English text for a status, never NULL. */
BP_API const char *bp_strerror(int status);

/* BP_VERSION of the library that was linked or loaded. */
BP_API const char *bp_version(void);

/* ---- pools -------------------------------------------------------------- */

/* How the lengths of the last requests are remembered.
 * relaxed: one ring for each thread, no cost between threads; the order of
 *          requests of different threads is approximate.
 * exact:   one ring for the pool, one atomic addition a request; each get takes its
 *          slow half. */
typedef enum bp_recent_mode { BP_RECENT_RELAXED = 0, BP_RECENT_EXACT = 1 } bp_recent_mode;

/* Whether a block is wiped, all of its capacity: before it is handed out, so that nobody
 * sees what another left, or when its last reference goes, so that it does not stay in memory.
 * get or release then take their slow halves. */
typedef enum bp_zero { BP_ZERO_NEVER = 0, BP_ZERO_GET = 1, BP_ZERO_RELEASE = 2 } bp_zero;

/* Limits of one tier, beside those of the pool. */
typedef struct bp_tier_limits {
    size_t max_idle;  /* as bp_options.max_idle, of this tier's blocks; BP_NO_LIMIT: none */
    size_t max_bytes; /* as bp_options.max_bytes, of this tier's blocks; BP_NO_LIMIT: none */
    double max_waste; /* as bp_options.max_waste; 1: none of its own, the pool's counts */
} bp_tier_limits;

typedef struct bp_options {
    /* What bp_pool_configure can change. */
    const size_t *tiers;          /* rising sizes, each at least 1; copied */
    size_t tier_count;            /* 1 to BP_MAX_TIERS */
    const bp_tier_limits *limits; /* tier_count of them, copied; NULL: none */
    size_t max_idle;              /* bytes kept for reuse at rest; 0 keeps none. Free blocks in a
                                     slab that a live buffer pins, or a block in the cache of a
                                     thread that sleeps, can exceed it. */
    size_t max_bytes;             /* quota on what the pool owns, in use and idle, oversize buffers
                                     too, and on what threads reserved of it; BP_NO_LIMIT: none. What
                                     idles elsewhere gives way first; a get over it fails. Blocks that
                                     idle in the cache of a thread that sleeps, or in a slab that a
                                     live buffer pins, can not give way. */
    double max_waste;             /* 0 to 1: a request that would leave a larger share of its block
                                     unused gets a block of its own, as one above the largest tier
                                     does, where that takes less; 1: none does */
    double decay;                 /* seconds, 0 for never: bp_pool_tick gives back idle memory that
                                     nobody needed for so long */

    /* What is fixed when a pool is made. */
    size_t recent_size; /* recent lengths kept, 0 to 65536 */
    bp_recent_mode recent_mode;
    size_t region_size; /* address space reserved first; 0 chooses. Further regions are as
                           large as all before them together, up to 16 GiB */
    bp_zero zero;
    bool debug;       /* finds writes behind a block's capacity, when its last reference goes, and
                         to idle blocks, when they are handed out again; counted in the
                         statistics. A block costs up to a line more, get and release the time
                         to fill and look through it. AddressSanitizer then names the
                         instruction. */
    const char *name; /* for bp_pool_open and reports; copied, at most 63 bytes; no
                           other open pool may have it. NULL or "": none */
} bp_options;

/* Why a pool could not be made. */
typedef struct bp_error {
    bp_status status;
    size_t index;      /* of the offending entry of options.tiers, where it is one */
    char message[192]; /* names the option and says what was expected */
} bp_error;

/* Powers of two from 128 to 2097152 (15 tiers); and the tiers of a media
 * stream: 1024, 4096, 16384, 32768, 65536, 131072. Static storage. */
BP_API const size_t *bp_size_power_of_two(size_t *count);
BP_API const size_t *bp_size_stream(size_t *count);

/* Fills o with the defaults: power-of-two tiers, 256 recent lengths relaxed, max_idle the
 * lesser of 256 MiB and an eighth of the machine's memory, no other limit, decay 10. */
BP_API void bp_options_init(bp_options *o);

/* A new pool, or NULL with *error filled (error may be NULL). o NULL: defaults.
 * The caller owns the pool and ends it with bp_pool_destroy. A child of fork() goes on
 * with its copy; what other threads held in their caches or were moving at that moment
 * is lost to it, and bp_pool_check says so there. */
BP_API bp_pool *bp_pool_create(const bp_options *o, bp_error *error);

/* The open pool of that name, once more: from any thread, and for another Lua state. The
 * caller owns what it gets as if it had made it, and ends it with a bp_pool_destroy of its
 * own; the pool ends with the last. NULL where no open pool has that name. */
BP_API bp_pool *bp_pool_open(const char *name);

/* Ends a pool, or one of its opens: the others then go on with it. Buffers that are still
 * out of an ended one stay valid, may be retained, exported, imported and
 * released with the same pool pointer on any thread, and the memory goes when
 * the last one does. No other call on the pool may run at the same time or
 * follow, except those, put, raw_put and the accessors of buffers that
 * are out. NULL is allowed. */
BP_API void bp_pool_destroy(bp_pool *pool);

/* Makes count blocks of the tier that serves `size` ready and touches their
 * memory, so that as many gets meet no page fault. All or nothing.
 * BP_ERR_ARG: no tier serves that size. BP_ERR_LIMIT: would exceed max_idle.
 * BP_ERR_QUOTA: would exceed max_bytes. BP_ERR_NOMEM. For a start, before there is traffic: other
 * threads that need fresh memory of that tier wait while its pages are touched. */
BP_API int bp_pool_prewarm(bp_pool *pool, size_t size, size_t count);

/* Gives idle memory back to the system: the calling thread's cache and every
 * slab without a live block; other threads give up their caches at their next
 * slow half. Returns the bytes of idle blocks given back. */
BP_API size_t bp_pool_trim(bp_pool *pool);

/* The same until no more than so many bytes idle behind the caches. */
BP_API size_t bp_pool_shrink(bp_pool *pool, size_t idle);

/* The work that is due, for a timer of the program's; cheap when there is none. Blocks that idled
 * behind the caches for the whole of the last `decay` seconds, however often others of their
 * tier were used, go back; of a tier that was used meanwhile one slab stays. What a thread's cache
 * did not use for half of that time it gives up in its next slow half. Called every t seconds,
 * what nobody needs has gone after 1.5 * decay + 3 * t. Returns the bytes of idle blocks given
 * back. */
BP_API size_t bp_pool_tick(bp_pool *pool);

/* ---- live change -------------------------------------------------------- */

/* What a pool goes by now. */
typedef struct bp_settings {
    uint64_t generation; /* 1, and one more with each change */
    size_t tier_count;
    size_t tiers[BP_MAX_TIERS];
    bp_tier_limits limits[BP_MAX_TIERS];
    size_t max_idle, max_bytes;
    double max_waste, decay;
} bp_settings;

BP_API void bp_pool_settings(bp_pool *pool, bp_settings *out);

/* What bp_pool_rollback goes back to; generation 0: nothing. */
BP_API void bp_pool_settings_before(bp_pool *pool, bp_settings *out);

/* Gives the pool another tier table and other limits while threads go on: each takes them up in
 * its next get or release. Buffers that are out stay valid; a tier of the new table that the old
 * one had keeps its blocks and counters; one that the table lost drains: its blocks go back to
 * the system as they come home, as does at once what idles over a lower bound. o is not NULL; what
 * it says of the rest is not looked at. All or nothing; with dry_run only the checks. BP_ERR_ARG.
 * BP_ERR_LIMIT: more than BP_MAX_ROWS tiers, with those that drain, or no slot is free. error may
 * be NULL. */
BP_API int bp_pool_configure(bp_pool *pool, const bp_options *o, bool dry_run, bp_error *error);

/* Back to what the last bp_pool_configure or bp_pool_rollback replaced. BP_ERR_ARG: there was
 * none. BP_ERR_LIMIT, dry_run and error: as of bp_pool_configure. */
BP_API int bp_pool_rollback(bp_pool *pool, bool dry_run, bp_error *error);

/* What was fixed when the pool was made, into those fields of *out; the others stay as they are.
 * `name` is valid as long as the pool is. */
BP_API void bp_pool_fixed(bp_pool *pool, bp_options *out);

/* The quota that a get of n bytes would meet, as it is now: for messages about EDQUOT. */
typedef struct bp_quota {
    size_t tier;      /* size of the tier whose max_bytes it is; 0: the pool's */
    size_t max_bytes; /* BP_NO_LIMIT: there is none */
    size_t held;      /* bytes that count against it */
    size_t more;      /* bytes that the get would add, if nothing idles that would do */
} bp_quota;

BP_API void bp_pool_quota(bp_pool *pool, size_t n, bp_quota *out);

/* ---- buffers ------------------------------------------------------------ */

/* A buffer of length n with one reference, which the caller owns. n may be 0.
 * Above the largest tier it is allocated alone and counted as discarded. The
 * bytes are not cleared. NULL with errno ENOMEM, EDQUOT (over max_bytes), or EINVAL
 * (n > BP_MAX_SIZE, or the pool is destroyed). Payloads are aligned to 64 bytes. */
BP_API bp_buffer *bp_buffer_get(bp_pool *pool, size_t n);

/* One more reference. The caller must own one.
 * BP_ERR_DEAD: it has none left. BP_ERR_LIMIT: 2^29 references. BP_ERR_KIND: it is raw. */
BP_API int bp_buffer_retain(bp_buffer *b);

/* One reference less; the last one takes the buffer back. `pool` is the pool it
 * came from. BP_ERR_DEAD: there was none to give back (seen only until the block
 * is handed out again, or its slab used anew after a trim). BP_ERR_KIND: it is raw.
 * BP_ERR_OVERRUN. */
BP_API int bp_buffer_release(bp_pool *pool, bp_buffer *b);

/* release for a sole owner, and what that says. BP_ERR_SHARED: others hold references, nothing
 * changed. BP_ERR_FOREIGN: b is no buffer of this pool. BP_ERR_KIND: it is raw. */
BP_API int bp_buffer_put(bp_pool *pool, bp_buffer *b);

/* From now on nobody should write to b, which handlers and threads may then share; it is thawed
 * by going back to its pool. The library itself never writes to a payload: bindings and
 * programs ask. BP_ERR_DEAD; BP_ERR_KIND: it is raw. The caller must own a reference. */
BP_API int bp_buffer_freeze(bp_buffer *b);
BP_API bool bp_buffer_is_frozen(const bp_buffer *b);

/* A buffer begins with an atomic 32-bit word: its references, and this bit where it is
 * frozen. For bindings that compile the two questions into their own code. */
#define BP_FROZEN_BIT 0x40000000u

/* Accessors. The caller must own a reference. Capacity is the tier's size, or the
 * length asked for where the buffer was allocated alone. */
BP_API void *bp_buffer_data(const bp_buffer *b);
BP_API size_t bp_buffer_length(const bp_buffer *b);
BP_API size_t bp_buffer_capacity(const bp_pool *pool, const bp_buffer *b);

/* Whether no tier serves it: then its memory was zero when it was handed out. */
BP_API bool bp_buffer_is_alone(const bp_buffer *b);

/* Stores the data and returns the capacity: one look at the header for both. */
BP_API size_t bp_buffer_view(const bp_pool *pool, const bp_buffer *b, void **data);

/* Who reads 1, and owns that one, sees all that the other owners did before they released. */
BP_API uint32_t bp_buffer_ref_count(const bp_buffer *b);

/* ---- tokens ------------------------------------------------------------- */

#define BP_TOKEN_SIZE 48 /* bytes of a token, its zero counted */

/* The part of a buffer that a token stands for; the library hands it on unread. */
typedef struct bp_part {
    size_t offset, length; /* bytes of the payload */
    uint32_t mark;         /* the exporter's own */
} bp_part;

/* Stores a printable token that owns one more reference of b, for whoever in this process
 * imports it. The caller must own a reference, and keeps it. A token that nobody imports
 * keeps its block for good. part may be NULL: all of it. BP_ERR_NOMEM; what
 * bp_buffer_retain says. */
BP_API int bp_buffer_export(bp_pool *pool, bp_buffer *b, const bp_part *part,
                            char token[BP_TOKEN_SIZE]);

/* Takes over a token's reference, once: stores the buffer, which the caller owns from now
 * on, its pool, which lives as long as the buffer is out, and the part where that is not
 * NULL. BP_ERR_TOKEN: used already, or never given. BP_ERR_COPY: another copy of this library
 * gave it. */
BP_API int bp_buffer_import(const char *token, bp_pool **pool, bp_buffer **b, bp_part *part);

/* ---- raw pointers ------------------------------------------------------- */

/* Memory for one owner who keeps only the pointer. Stores the capacity where
 * capacity is not NULL. NULL as bp_buffer_get. */
BP_API void *bp_raw_get(bp_pool *pool, size_t n, size_t *capacity);

/* Gives it back. Nothing around the pointer is trusted: BP_ERR_FOREIGN for one
 * that is not the start of a block of this pool, BP_ERR_DEAD for one given back
 * already, BP_ERR_KIND for the payload of a bp_buffer, BP_ERR_OVERRUN. A stale pointer whose
 * block was handed out raw again cannot be told from a good one. */
BP_API int bp_raw_put(bp_pool *pool, void *p);

/* The capacity of a pointer that is out; 0 for any other. */
BP_API size_t bp_raw_capacity(bp_pool *pool, const void *p);

/* ---- statistics --------------------------------------------------------- */

typedef struct bp_tier_stats {
    size_t size;          /* bytes of a block as asked for in options.tiers */
    uint64_t get;         /* = hit + miss */
    uint64_t put;         /* blocks that came back */
    uint64_t hit;         /* gets served by a block that was made before */
    uint64_t miss;        /* gets that made a new block */
    uint64_t in_use;      /* = get - put */
    uint64_t owned;       /* = in_use + idle */
    uint64_t idle;        /* = cached + depot */
    uint64_t cached;      /* idle in thread caches */
    uint64_t depot;       /* idle behind them */
    uint64_t asked_bytes; /* lengths of its gets, summed */
    uint64_t waste_bytes; /* = size * get - asked_bytes */
    uint64_t peak_in_use; /* sampled: the highest that snapshots and slow halves of gets saw; never
                             above the true peak */
    uint64_t peak_owned;  /* highest owned so far, exact */
    uint64_t collected;   /* what bp_buffer_count_collected was told */
    size_t max_idle, max_bytes; /* its own limits */
    bool draining;              /* not in the tier table any more */
} bp_tier_stats;

/* Sums over the tiers that left the table and have nothing out any more. */
typedef struct bp_drained_stats {
    uint64_t tiers, get, put, hit, miss, asked_bytes, waste_bytes, collected;
} bp_drained_stats;

/* Requests of a length up to le, and above the le before. */
typedef struct bp_bucket {
    size_t le;
    uint64_t count;
} bp_bucket;

typedef struct bp_stats {
    size_t tier_count;
    uint64_t requests;  /* = total_get + discarded */
    uint64_t total_get; /* sums over the tiers, and `drained` */
    uint64_t total_put;
    uint64_t discarded;       /* requests that no tier served: above the largest, or max_waste */
    uint64_t discarded_put;   /* of those, given back */
    uint64_t discarded_bytes; /* lengths of the discarded requests, summed */
    uint64_t asked_bytes;     /* sums over the tiers, and `drained` */
    uint64_t waste_bytes;
    uint64_t in_use;            /* live buffers, oversize ones too */
    uint64_t in_use_bytes;      /* their blocks, bytes; oversize ones too */
    uint64_t peak_in_use_bytes; /* sampled as peak_in_use of a tier */
    uint64_t idle_bytes;        /* blocks kept for reuse */
    uint64_t owned_bytes;       /* = in_use_bytes + idle_bytes; exact, never above max_bytes */
    uint64_t peak_owned_bytes;  /* highest owned_bytes so far, exact */
    uint64_t reserved_bytes;    /* address space, not memory */
    uint64_t resident_bytes;    /* an estimate of the memory behind it: the blocks that it owns with
                                   their headers, as if each had been written to its end, whole
                                   pages for oversize ones; a page for each slab in use; the pool's
                                   and its caches' own structs. Too high where payloads are not
                                   written whole. */
    uint64_t returned_bytes;    /* memory of blocks given back to the system, summed, reckoned
                                   alike: slabs emptied, and oversize blocks */
    uint64_t trimmed_bytes;     /* idle blocks given back to the system, summed, by their sizes */
    uint64_t trims;             /* calls of bp_pool_trim */
    uint64_t collected;         /* sum over the tiers, and of oversize buffers */
    uint64_t double_releases;   /* release, put and raw_put refused with BP_ERR_DEAD, and what
                                   bp_pool_count_dead was told */
    uint64_t exported;          /* tokens that nobody imported yet */
    uint64_t overruns, late_writes; /* debug: blocks written behind their end, or when idle */
    uint64_t over_quota;            /* gets refused by a max_bytes */
    uint64_t decayed_bytes;         /* of trimmed_bytes: by bp_pool_tick */
    uint64_t generation;            /* of the settings */
    size_t max_idle, max_bytes;     /* the options */
    double max_waste, decay;
    size_t threads;        /* thread caches attached */
    double uptime_seconds; /* since bp_pool_create, by the monotonic clock */
    bp_drained_stats drained;
    size_t bucket_count;
    bp_tier_stats tiers[BP_MAX_ROWS]; /* rising sizes, with those that drain */
    /* The lengths of all requests, oversize ones too, exact; rising, only those that are not
     * empty. 8 to a power of two, and each tier's size ends one, so that a tier's counts
     * sum up to its get. Requests before a change of the tiers are in the 8 to a power of two. */
    bp_bucket histogram[BP_MAX_BUCKETS];
} bp_stats;

/* One snapshot. While other threads work, in_use may be counted high and never negative, and
 * idle low; owned_bytes is exact; get, asked_bytes, waste_bytes, total_get, discarded and the
 * histogram are of one moment for each thread and agree at any time. All equations hold once they
 * are quiet. */
BP_API void bp_pool_stats(bp_pool *pool, bp_stats *out);

/* For bindings; cold. A garbage collector, not the program, is about to give back a handle
 * on b, whose reference the caller owns: counted as collected. */
BP_API void bp_buffer_count_collected(bp_pool *pool, const bp_buffer *b);

/* A binding refused the release of a dead handle: counted in double_releases. The pool may
 * be gone by now, whose last buffer that was: then nothing is counted. */
BP_API void bp_pool_count_dead(bp_pool *pool);

/* The lengths of the last requests, oldest first, at most max of them into out.
 * Returns how many were stored; with out NULL, how many are kept at most. */
BP_API size_t bp_pool_recent(bp_pool *pool, uint64_t *out, size_t max);

/* Stores the sizes of the tier table, rising; returns how many. */
BP_API size_t bp_pool_sizes(bp_pool *pool, size_t sizes[BP_MAX_TIERS]);

BP_API bool bp_pool_is_debug(const bp_pool *pool); /* options.debug */

/* "" where none was given. */
BP_API const char *bp_pool_name(const bp_pool *pool);

/* Runs the invariants of types.h. No other call on the pool may run at the same
 * time. BP_OK, or BP_ERR_ARG with the first broken equation in message. */
BP_API int bp_pool_check(bp_pool *pool, char *message, size_t size);

#ifdef __cplusplus
}
#endif
#endif
