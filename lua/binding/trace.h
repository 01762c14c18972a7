/* Who got a handle, and what became of it.
 *
 *   text     a site "file:line", a tag or a short traceback, kept once for each Lua state
 *   record   of a traced handle: its texts and times; the last dead ones are kept too, for
 *            releases that come once too often
 *   level    of a ledger: how many handles are traced, and how closely
 *   tally    of a ledger: what was wrong, folded by site
 *
 * None of it costs anything where the level is off: who makes a handle counts `sample` down,
 * and looks no further before it is through. Where no memory is left a handle goes untraced.
 * As ledger.h, all of it belongs to the thread that runs the Lua state.
 */
#ifndef BPL_TRACE_H
#define BPL_TRACE_H

#include "ledger.h"

/* simple: 1 in 128 handles remembers who got it. advanced: these also a traceback, and the last
 * few that retained or released it. paranoid: every one. */
enum { BPL_OFF, BPL_SIMPLE, BPL_ADVANCED, BPL_PARANOID };
#define BPL_SAMPLE 128u

#define BPL_TRACE_BITS 23u /* of a record's number */

enum bpl_kind { BPL_OUT, BPL_COLLECTED, BPL_OVER_RELEASE, BPL_OVERRUN };

typedef struct bpl_text {
    struct bpl_text *next;
    uint32_t hash;
    char s[];
} bpl_text;

#define BPL_LAST 4u /* references taken and given that a record remembers */

typedef struct bpl_record {
    const void *handle;                       /* of a dead one: only to compare with */
    bpl_ledger *ledger;                       /* of a live one */
    const bpl_text *site, *tag, *stack, *end; /* end: the last release; any may be NULL */
    struct {
        const bpl_text *site;
        bool released; /* or retained */
    } last[BPL_LAST];
    uint32_t events; /* so far; the next one's place is events % BPL_LAST */
    bool live, closely;
    bool watched; /* its references are taken and given by C methods, which know the line */
    bool sampled; /* one of BPL_SAMPLE was traced */
    size_t bytes; /* of its block */
    double since; /* monotonic seconds */
    uint64_t serial;
    uint32_t next, prev; /* of the list that it is in, by number; 0 ends it */
} bpl_record;

typedef struct bpl_tally {
    enum bpl_kind kind;
    const bpl_text *site, *tag, *stack;
    uint64_t count, bytes;
    double since; /* the first */
    bool sampled;
    struct bpl_tally *next;
} bpl_tally;

/* from trace.c */
void bpl_trace_slow(lua_State *L, struct bpl_handle *h, const char *tag);
void bpl_trace_event(lua_State *L, struct bpl_handle *h, bool released);   /* of a traced one */
void bpl_trace_moved(struct bpl_handle *h);                                /* its block changed */
void bpl_trace_end(struct bpl_handle *h);                                  /* it dies */
bpl_record *bpl_record_of(const bpl_state *s, const struct bpl_handle *h); /* dead or alive */
const bpl_text *bpl_site(lua_State *L, bpl_state *s);
const bpl_record *bpl_next_live(const bpl_state *s, const bpl_record *r); /* NULL: the first */
uint64_t bpl_last_serial(const bpl_state *s);
size_t bpl_live_count(const bpl_state *s);
void bpl_trace_free(bpl_state *s);
bool bpl_all_traced(const bpl_ledger *l);
void bpl_rearm(bpl_ledger *l); /* after a change of its level */

/* from leaks.c */
/* What a listener is told; a copy, for whatever it does. */
typedef struct bpl_event {
    enum bpl_kind kind;
    bpl_record record; /* its texts go with the state, which a listener can end */
    size_t bytes;
    char pool[64];
    char site[96];
} bpl_event;
bpl_event bpl_event_of(const bpl_ledger *l, enum bpl_kind kind, const bpl_record *r,
                       size_t bytes);                          /* r: NULL where nothing is known */
void bpl_blame(bpl_ledger *l, const bpl_event *e);             /* counts it by site */
void bpl_tell(lua_State *L, bpl_state *s, const bpl_event *e); /* the listener; raises nothing */
void bpl_tallies_free(bpl_ledger *l);
typedef struct bpl_rows bpl_rows;
bpl_rows *bpl_take_leaks(lua_State *L, const char *method); /* of the pool at 1, pushed */
void bpl_push_leaks(lua_State *L, bpl_rows *w);             /* them as a table, once */
const char *bpl_level_name(const bpl_ledger *l);
bool bpl_watched(const struct bpl_handle *h); /* of a traced one */
int bpl_pool_leak_level(lua_State *L);
int bpl_pool_leaks(lua_State *L);
int bpl_on_leak(lua_State *L);
int bpl_expect(lua_State *L);
void bpl_expect_less(bpl_state *s); /* an anchor that expects has gone */

/* Whether the next handle of that pool is traced. */
static inline bool bpl_sampled(bpl_ledger *l) {
    if (l->sample > 1) {
        l->sample--;
        return false;
    }
    bpl_rearm(l);
    return l->level != BPL_OFF || l->debug || l->state->forced > 0;
}

#endif
