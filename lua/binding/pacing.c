/* Pacing: the collector of Lua sees a handle of some tens of bytes and not the block behind
 * it, so it must be told when to work.
 *
 *   base    what handles held after the last whole collection, or less since
 *   limit   = max(5/4 least, 15/8 base): a whole collection is due
 *   from    = max(1/2 least, base + (limit - base) / 3): steps are, each max(least, limit - base) / 16
 *
 * So forgotten handles hold 5/4 of the option at most, or what the program itself holds once more;
 * and one that keeps all it gets is looked through each time it has nearly doubled. Only a whole
 * collection raises the base: at a cycle's end what is to be finalized yet counts as held. The
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
#if LUA_VERSION_NUM >= 502
#define SWEEP_EVERY 4096u
#else
#define SWEEP_EVERY UINT32_MAX
#endif
#define SWEEP_STEP 2048

double bpl_now(void) {
    struct timespec t = {0, 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }

static uint64_t limit_of(const bpl_pacing *p) { return most(p->least / 4 * 5, p->base / 8 * 15); }

/* Where the next step is due, `held` being held. */
static void plan(bpl_state *s) {
    const bpl_pacing *p = &s->pacing;
    uint64_t span = limit_of(p) - p->base;
    uint64_t from = most(p->least / 2, p->base + span / 3);
    s->step_at = p->least == 0 ? UINT64_MAX : most(from, s->held + most(p->least, span) / 16);
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

/* Steps that end a cycle well before the limit are larger than they need be. */
void bpl_pacing_cycle(bpl_state *s) {
    bpl_pacing *p = &s->pacing;
    p->cycles++;
    p->watched = false;
    if (p->stepping && s->held < p->base + (limit_of(p) - p->base) / 5 * 3) {
        set_step(p, 0.9);
    }
    if (s->held < p->base) {
        p->base = s->held;
    }
    plan(s);
}

/* step(anchor), called in protected mode. */
static int l_step(lua_State *L) {
    bpl_anchor *a = lua_touserdata(L, 1);
    bpl_state *s = a->state;
    bpl_pacing *p = &s->pacing;
    if (!p->watched) {
        bpl_push_sentinel(L, s, 1);
        lua_settop(L, 1);
        p->watched = true;
    }
    if (p->least != 0 && s->held >= limit_of(p)) {
        p->full++;
        set_step(p, 2);
        (void)lua_gc(L, LUA_GCCOLLECT, 0);
        p->base = s->held;
    } else if (s->held >= s->step_at) {
        p->steps++;
        (void)lua_gc(L, LUA_GCSTEP, p->step);
    } else {
        p->steps++;
        (void)lua_gc(L, LUA_GCSTEP, SWEEP_STEP);
    }
    return 0;
}

void bpl_pace_slow(lua_State *L, bpl_state *s) {
    bpl_pacing *p = &s->pacing;
    s->until_sweep = SWEEP_EVERY;
    if (p->stepping || !lua_checkstack(L, LUA_MINSTACK)) {
        return;
    }
    lua_pushcfunction(L, l_step);
    lua_pushvalue(L, BPL_STATE);
    double began = bpl_now();
    s->uses++;
    p->stepping = true;
    bool stopped = bpl_gc_stopped(L);
    if (lua_pcall(L, 1, 0, 0) != 0) {
        lua_pop(L, 1); /* a stranger's finalizer raised it, or no memory was left */
        if (stopped) { /* on 5.2 and 5.3 it runs from then on */
            (void)lua_gc(L, LUA_GCSTOP, 0);
        }
    }
    p->stepping = false;
    p->seconds += bpl_now() - began;
    plan(s);
    bpl_state_drop(s);
}

static void set_count(lua_State *L, const char *name, uint64_t n) {
    bpl_pushcount(L, n);
    lua_setfield(L, -2, name);
}

/* What a report says of it, as a new table. */
void bpl_push_pacing(lua_State *L, const bpl_state *s) {
    const bpl_pacing p = s->pacing;
    const uint64_t held = s->held;
    lua_createtable(L, 0, 7);
    set_count(L, "held_bytes", held);
    set_count(L, "budget_bytes", p.least);
    set_count(L, "limit_bytes", p.least == 0 ? 0 : limit_of(&p));
    set_count(L, "steps", p.steps);
    set_count(L, "full", p.full);
    set_count(L, "cycles", p.cycles);
    lua_pushnumber(L, (lua_Number)p.seconds);
    lua_setfield(L, -2, "seconds");
}

/* pacing([least]): sets the least budget in bytes, 0 for none; returns the table of a report. */
int bpl_set_pacing(lua_State *L) {
    bpl_state *s = bpl_check_state(L);
    if (!lua_isnoneornil(L, 1)) {
        s->pacing.least = bpl_check_size(L, 1, "pacing", "budget");
        s->pacing.base = s->held < s->pacing.base ? s->held : s->pacing.base;
        plan(s);
    }
    bpl_push_pacing(L, s);
    return 1;
}
