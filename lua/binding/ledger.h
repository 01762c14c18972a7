/* What the handles of one Lua state hold.
 *
 *   state    of a Lua state: the ledgers, and what paces its collector
 *   ledger   of a pool in a Lua state: the bytes its live handles hold
 *   charge   the capacity of a handle's block, added when the handle begins to hold it and
 *            taken off when it dies or moves; each handle on a block is charged for it
 *   anchor   a userdata by which Lua keeps a state; a sentinel is one that the collector
 *            may have, to tell the end of a cycle
 *
 *   held        = sum of the ledger's live handles' capacities
 *   due         a ledger holds as much as its part of what is left until the next step: the
 *               sum over all of them, which only slow halves reckon, may have come that far
 *
 * All of it belongs to the thread that runs the Lua state, and lies outside Lua's memory: a
 * handle's finalizer may run after those of everything else.
 */
#ifndef BPL_LEDGER_H
#define BPL_LEDGER_H

#include "bytepool.h"
#include "compat.h"

struct bpl_ledger;
struct bpl_handle;

/* How forgotten releases are kept from filling the memory: see pacing.c. */
typedef struct bpl_pacing {
    uint64_t least; /* bytes, the option; 0: no pacing */
    uint64_t base;  /* bytes held after the last whole collection, or less since */
    int step;       /* LUA_GCSTEP's argument, in the unit of the Lua at hand */
    bool stepping;  /* a step is under way: one that a finalizer would begin is none */
    bool watched;   /* a sentinel is out */
    bool futile;    /* the last whole collection found little */
    uint64_t steps, full, cycles; /* so far; full are whole collections */
    double seconds;               /* in steps and full ones */
} bpl_pacing;

typedef struct bpl_state {
    bool due;             /* before the next handle is made, the sum must be looked at */
    uint64_t step_at;     /* from so many held by all on, it asks for a step; or UINT64_MAX */
    uint32_t until_sweep; /* handles until the next small step */
    uint32_t uses;        /* anchors and ledgers */
    struct bpl_ledger *ledgers;
    struct bpl_ledger *spare; /* made ahead of an import */
    bpl_pacing pacing;
    struct bpl_trace *trace; /* records and texts; NULL until something is traced */
    uint32_t forced;         /* anchors that expect: every handle is traced */
    uint32_t random;
    bool telling; /* a listener runs: what happens meanwhile is counted only */
} bpl_state;

typedef struct bpl_ledger {
    bp_pool *pool; /* valid while something uses the ledger, or is held */
    bpl_state *state;
    uint64_t held;    /* bytes; 0: no handle lives */
    uint64_t step_at; /* bytes; its part */
    uint32_t uses;    /* pool userdata */
    uint32_t sample;  /* handles until one is traced, it counted; at 1 C must make it */
    int level;        /* BPL_OFF and on */
    bool debug;       /* of the pool: every handle is traced, so that a fault has a site */
    struct bpl_tally *tallies;
    struct bpl_slice *slices; /* places, of which slice_made were ever used */
    struct bpl_slice **order; /* as much room, for who sorts them */
    uint32_t slice_made, slice_room, slice_free;
    struct bpl_ledger *next;
} bpl_ledger;

typedef struct bpl_anchor {
    char *seal;
    bpl_state *state; /* NULL once finalized */
    bool sentinel, expects;
    uint64_t mark; /* of one that expects: the last serial number before */
} bpl_anchor;

/* from ledger.c */
bpl_state *bpl_push_state(lua_State *L);  /* a new one's anchor; NULL: no memory, pushes nil */
bpl_state *bpl_state_of(lua_State *L);    /* that of the function that runs; NULL: tampered */
bpl_state *bpl_check_state(lua_State *L); /* the same, or an error */
bpl_anchor *bpl_to_anchor(lua_State *L, int arg); /* NULL: none that keeps a state */
void *bpl_push_anchor(lua_State *L, size_t size); /* begins a userdata of that size; idle yet */
void bpl_anchor_hold(lua_State *L, bpl_anchor *a, int like); /* at the top: what that one keeps */
void bpl_anchor_drop(bpl_anchor *a);                         /* it keeps it no longer */
void bpl_state_drop(bpl_state *s);                           /* one use less */
bpl_ledger *bpl_ledger_open(bpl_state *s, bp_pool *pool);    /* one use more; NULL: no memory */
void bpl_ledger_close(bpl_ledger *l);                        /* one use less */
bpl_ledger *bpl_ledger_find(const bpl_state *s, const bp_pool *pool); /* or NULL */
bool bpl_ledger_lives(const bpl_state *s, const bpl_ledger *l);       /* trusts no pointer */
bool bpl_ledger_ready(bpl_state *s);                    /* the next bpl_ledger_of does not fail */
bpl_ledger *bpl_ledger_of(bpl_state *s, bp_pool *pool); /* for a handle about to be charged */
void bpl_ledger_end(bpl_ledger *l);                     /* nothing is held or used any more */

static inline void bpl_charge(bpl_ledger *l, size_t bytes) {
    l->held += bytes;
    if (l->held >= l->step_at) {
        l->state->due = true;
    }
}

/* The ledger may be gone after it. */
static inline void bpl_discharge(bpl_ledger *l, size_t bytes) {
    l->held -= bytes;
    if (l->uses == 0 && l->held == 0) {
        bpl_ledger_end(l);
    }
}

/* Whether a new handle of that pool must be made by a C method, for the collector may have to
 * run, or the handle be traced; else it is counted here. */
static inline bool bpl_due(bpl_ledger *l) {
    return l->held >= l->step_at || l->sample <= 1 || (l->sample--, false);
}

/* from slices.c */
void bpl_slice_list(struct bpl_handle *h);    /* h is a slice from now on, */
void bpl_slice_changed(struct bpl_handle *h); /* one that shows or owns something else, */
void bpl_slice_unlist(struct bpl_handle *h);  /* or no longer one */
uint64_t bpl_pinned_bytes(bpl_ledger *l);     /* sorts them: O(n log n) */

/* from pacing.c */
double bpl_now(void); /* monotonic seconds */
void bpl_pacing_start(bpl_state *s);
void bpl_pacing_share(bpl_state *s); /* after a change of its ledgers */
void bpl_pacing_cycle(bpl_state *s); /* a collector's cycle has ended */
void bpl_pace_slow(lua_State *L, bpl_state *s);
void bpl_push_pacing(lua_State *L, const bpl_state *s);
int bpl_set_pacing(lua_State *L);

/* Before a handle is made: may run the collector, and with it anybody's finalizers. Nothing
 * that they raise comes out. */
static inline void bpl_pace(lua_State *L, bpl_state *s) {
    if (s->due || --s->until_sweep == 0) {
        bpl_pace_slow(L, s);
    }
}

#endif
