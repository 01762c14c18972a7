/* C11 atomics under the names that say why an order is enough.
 *
 *   bp_peek/bp_poke    relaxed: a value with one writer that others may read at
 *                      any time (counters), or one that a lock orders anyway.
 *   bp_acquire/bp_publish   a reader that sees the value sees all that was
 *                      written before it.
 *   bp_add/bp_sub      relaxed read-modify-write: totals that order nothing.
 */
#ifndef BP_ATOMIC_H
#define BP_ATOMIC_H

#include <stdatomic.h>
#include <stdint.h>

#define bp_peek(p)       atomic_load_explicit((p), memory_order_relaxed)
#define bp_poke(p, v)    atomic_store_explicit((p), (v), memory_order_relaxed)
#define bp_acquire(p)    atomic_load_explicit((p), memory_order_acquire)
#define bp_publish(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define bp_add(p, v)     atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define bp_sub(p, v)     atomic_fetch_sub_explicit((p), (v), memory_order_relaxed)

/* A counter of one writer: no locked instruction, readers see a whole value. */
#define bp_count(p, v) bp_poke((p), bp_peek(p) + (v))

/* The same where a reader who sees the new count must see what led to it. */
#define bp_count_publish(p, v) bp_publish((p), bp_peek(p) + (v))

/* One more, on the hot path, published. Compilers do not make one instruction of two relaxed
 * accesses. TSan must see the accesses. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BP_TSAN 1
#endif
#endif
#ifdef BP_BENCH_BARE /* only the bench leaves the hot counters out: what do they cost? */
#define bp_count_one_publish(p) (void)(p)
#elif defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_THREAD__) && !defined(BP_TSAN)
/* A store of x86 publishes what stands before it; the compiler must leave it there too. */
/* clang-format off: it breaks the last string */
#define bp_count_one_publish(p)                       \
    __asm__ volatile("{addq $1, %0|add %0, 1}"        \
                     : "+m"(*(uint64_t *)(void *)(p)) \
                     :                                \
                     : "cc", "memor"                  \
                             "y")
/* clang-format on */
#else
#define bp_count_one_publish(p) bp_count_publish((p), 1)
#endif

/* v more in a word of one writer; true where that set its highest bit. The processor's sign
 * flag says so for nothing. */
#if defined(BP_BENCH_BARE)
#define bp_count_signed(p, v) ((void)(p), (void)(v), 0)
#elif defined(__x86_64__) && defined(__GCC_ASM_FLAG_OUTPUTS__) && !defined(__SANITIZE_THREAD__) && \
    !defined(BP_TSAN)
static inline int bp_count_signed(_Atomic uint64_t *p, uint64_t v) {
    int sign;
    __asm__("{addq %2, %0|add %0, %2}"
            : "+m"(*(uint64_t *)(void *)p), "=@ccs"(sign)
            : "r"(v)
            : "cc");
    return sign;
}
#else
static inline int bp_count_signed(_Atomic uint64_t *p, uint64_t v) {
    v += bp_peek(p);
    bp_poke(p, v);
    return (int64_t)v < 0;
}
#endif

/* The highest value so far, of several writers. */
static inline void bp_raise(_Atomic uint64_t *p, uint64_t v) {
    uint64_t seen = bp_peek(p);
    while (v > seen && !atomic_compare_exchange_weak_explicit(p, &seen, v, memory_order_relaxed,
                                                              memory_order_relaxed)) {
    }
}

/* References: taking one needs no order, the caller has one already. Giving one
 * back orders the payload's last use before whoever reuses the block. */
#define bp_ref_take(p) atomic_fetch_add_explicit((p), 1, memory_order_relaxed)
#define bp_ref_drop(p) atomic_fetch_sub_explicit((p), 1, memory_order_acq_rel)

#endif
