/* Pacing: the collector of Lua sees a handle of some tens of bytes and not the block behind
 * it, so it must be told when to work.
 *
 *   base    what handles held after the last whole collection, or less since
 *   limit   = max(5/4 least, 15/8 base): a whole collection is due
 *   from    = max(1/2 least, base + (limit - base) / 3): steps are, each max(least, limit - base) / 16
 *
 * So forgotten handles hold 5/4 of the option at most, or what the program itself holds once more;
 * and one that keeps all it gets is looked through each time it has nearly doubled: a collection
 * that found little makes the next steps wait until the limit. Only a whole collection raises the
 * base: at a cycle's end what is to be finalized yet counts as held. The
 * size of a step is found by watching how far cycles get, for the unit of LUA_GCSTEP differs
 * from Lua to Lua.
 *
 * Never from a release, a finalizer of ours or an FFI call. */
#include <time.h>

#include "binding.h"

#define LEAST_BUDGET ((uint64_t)32 << 20)
#define FIRST_STEP   256
#define MOST_STEP    (1 << 20)

/* Handles that are released are garbage all the same, and 5.2 to 5.4 begin a cycle and sweep
 * later than such a program makes them: so many are some 0.5 MiB, and this is work on 2 MiB.
 * 5 million pairs beside 20 MiB: heaps of up to 89, 438 and 92 MiB, with this 39, 36 and 25;
 * 5.4 is faster by half, 5.3 slower by a tenth. LuaJIT and 5.1 keep to 50 MiB by
 * themselves, and any step at all would cost them a quarter. */
#define SWEEP_EVERY 4096u
#if LUA_VERSION_NUM >= 502
#define SWEEP_STEP 2048
#else
#define SWEEP_STEP 0
#endif

#ifdef CLOCK_MONOTONIC_COARSE
#define COARSE CLOCK_MONOTONIC_COARSE
#else
#define COARSE CLOCK_MONOTONIC
#endif

static double seconds_of(clockid_t clock) {
    struct timespec t = {0, 0};
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double bpl_now(void) { return seconds_of(CLOCK_MONOTONIC); }

double bpl_now_coarse(void) { return seconds_of(COARSE); }

static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }

static uint64_t limit_of(const bpl_pacing *p) { return most(p->least / 4 * 5, p->base / 8 * 15); }

static uint64_t held_by(const bpl_state *s) {
    uint64_t held = 0;
    for (const bpl_ledger *l = s->ledgers; l != NULL; l = l->next) {
        held += l->held;
    }
    return held;
}

/* An equal part of what is left until the next step for each ledger: one that has had its part
 * makes them share anew. */
void bpl_pacing_share(bpl_state *s) {
    uint64_t held = held_by(s), ledgers = 0;
    uint64_t left = s->step_at > held ? s->step_at - held : 0;
    for (const bpl_ledger *l = s->ledgers; l != NULL; l = l->next) {
        ledgers++;
    }
    for (bpl_ledger *l = s->ledgers; l != NULL; l = l->next) {
        l->step_at = s->pacing.least == 0 ? UINT64_MAX : l->held + left / ledgers;
    }
    s->due = false;
}

/* Where the next step is due. */
static void plan(bpl_state *s) {
    const bpl_pacing *p = &s->pacing;
    uint64_t span = limit_of(p) - p->base;
    uint64_t from = p->futile ? limit_of(p) : most(p->least / 2, p->base + span / 3);
    s->step_at = p->least == 0 ? UINT64_MAX : most(from, held_by(s) + most(p->least, span) / 16);
    bpl_pacing_share(s);
}

void bpl_pacing_start(bpl_state *s) {
    s->pacing.least = LEAST_BUDGET;
    s->pacing.step = FIRST_STEP;
    s->until_sweep = SWEEP_EVERY;
    plan(s);
}

static void set_step(bpl_pacing *p, double factor) {
    double step = (double)p->step * factor;
    p->step = step < 1 ? 1 : step > MOST_STEP ? MOST_STEP : (int)step;
}

/* What was released since, too, makes the limit lower. */
static void lower(bpl_state *s) {
    uint64_t held = held_by(s);
    if (held < s->pacing.base) {
        s->pacing.base = held;
        s->pacing.futile = false;
        plan(s);
    }
}

/* Steps that end a cycle well before the limit are larger than they need be. */
void bpl_pacing_cycle(bpl_state *s) {
    bpl_pacing *p = &s->pacing;
    p->cycles++;
    p->watched = false;
    if (p->stepping && held_by(s) < p->base + (limit_of(p) - p->base) / 5 * 3) {
        set_step(p, 0.9);
    }
    lower(s);
}

/* step(anchor), called in protected mode: and by whom a hook showed it to, with anything. */
static int l_step(lua_State *L) {
    bpl_anchor *a = bpl_to_anchor(L, 1);
    if (a == NULL || !a->state->pacing.stepping) {
        return 0;
    }
    bpl_state *s = a->state; /* kept by who called */
    bpl_pacing *p = &s->pacing;
    if (!p->watched) {
        bpl_anchor *sentinel = bpl_push_anchor(L, sizeof *sentinel);
        bpl_anchor_hold(L, sentinel, 1);
        sentinel->sentinel = p->watched = sentinel->state != NULL;
        lua_settop(L, 1);
    }
    uint64_t held = held_by(s);
    if (p->least != 0 && held >= limit_of(p)) {
        p->full++;
        set_step(p, 2);
        (void)lua_gc(L, LUA_GCCOLLECT, 0);
        p->base = held_by(s);
        p->futile = p->base > held / 4 * 3;
    } else if (held >= s->step_at) {
        p->steps++;
        (void)lua_gc(L, LUA_GCSTEP, p->step);
    } else if (SWEEP_STEP > 0) {
        p->steps++;
        (void)lua_gc(L, LUA_GCSTEP, SWEEP_STEP);
    }
    return 0;
}

/* The state may be gone once anything was pushed: a finalizer that ran can end it. */
void bpl_pace_slow(lua_State *L, bpl_state *s) {
    bpl_pacing *p = &s->pacing;
    bool sweep = s->until_sweep == 0;
    if (sweep) {
        s->until_sweep = SWEEP_EVERY;
        lower(s);
    }
    if (p->stepping || p->least == 0 || !lua_checkstack(L, LUA_MINSTACK)) {
        return;
    }
    if ((!sweep || SWEEP_STEP == 0) && held_by(s) < s->step_at) {
        bpl_pacing_share(s);
        return;
    }
    lua_pushcfunction(L, l_step);
    lua_pushvalue(L, BPL_STATE);
    if (bpl_state_of(L) != s || p->stepping) {
        lua_pop(L, 2);
        return;
    }
    double began = bpl_now();
    s->uses++;
    p->stepping = true;
    bool stopped = bpl_gc_stopped(L);
    if (lua_pcall(L, 1, 0, 0) != 0) {
        lua_pop(L, 1); /* a stranger's finalizer raised it, or no memory was left */
    }
    if (stopped) { /* after a step on LuaJIT, and after an error on 5.2 and 5.3, it would run */
        (void)lua_gc(L, LUA_GCSTOP, 0);
    }
    p->stepping = false;
    p->seconds += bpl_now() - began;
    lower(s); /* finalizers ran: what is held now is the least that a slow half sees */
    plan(s);
    bpl_state_drop(s);
}

/* What a report says of it, as a new table. */
void bpl_push_pacing(lua_State *L, const bpl_state *s) {
    const bpl_pacing p = s->pacing;
    const uint64_t held = held_by(s);
    lua_createtable(L, 0, 7);
    bpl_set_count(L, "held_bytes", held);
    bpl_set_count(L, "budget_bytes", p.least);
    bpl_set_count(L, "limit_bytes", p.least == 0 ? 0 : limit_of(&p));
    bpl_set_count(L, "steps", p.steps);
    bpl_set_count(L, "full", p.full);
    bpl_set_count(L, "cycles", p.cycles);
    lua_pushnumber(L, (lua_Number)p.seconds);
    lua_setfield(L, -2, "seconds");
}

/* pacing([least]): sets the least budget in bytes, 0 for none; returns the table of a report. */
int bpl_set_pacing(lua_State *L) {
    bpl_state *s = bpl_check_state(L);
    if (!lua_isnoneornil(L, 1)) {
        s->pacing.least = bpl_check_size(L, 1, "pacing", "budget");
        uint64_t held = held_by(s);
        s->pacing.base = held < s->pacing.base ? held : s->pacing.base;
        plan(s);
    }
    bpl_push_pacing(L, s);
    return 1;
}
