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

/* References: taking one needs no order, the caller has one already. Giving one
 * back orders the payload's last use before whoever reuses the block. */
#define bp_ref_take(p) atomic_fetch_add_explicit((p), 1, memory_order_relaxed)
#define bp_ref_drop(p) atomic_fetch_sub_explicit((p), 1, memory_order_acq_rel)

#endif
