/* What traced handles tell: tallies by site, what is still out, and the listener. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "binding.h"

#define MAX_TALLIES 4096u /* of a ledger; other causes are in the counters of the pool alone */

static const char *const levels[] = {"off", "simple", "advanced", "paranoid"};
static const char *const kinds[] = {"out", "collected", "over_release", "overrun"};

/* ---- tallies ------------------------------------------------------------------ */

static bool same_cause(const bpl_tally *t, enum bpl_kind kind, const bpl_record *r) {
    return t->kind == kind && t->site == r->site && t->tag == r->tag && t->stack == r->stack &&
           t->sampled == r->sampled;
}

static bpl_tally new_tally(enum bpl_kind kind, const bpl_record *r) {
    return (bpl_tally){.kind = kind,
                       .site = r->site,
                       .tag = r->tag,
                       .stack = r->stack,
                       .since = r->since,
                       .sampled = r->sampled};
}

static void add(bpl_tally *t, const bpl_record *r, size_t bytes) {
    t->count++;
    t->bytes += bytes;
    t->since = r->since < t->since ? r->since : t->since;
}

/* The one that was hit last comes first: few sites have most of the faults. */
static bpl_tally *tally_of(bpl_ledger *l, enum bpl_kind kind, const bpl_record *r) {
    uint32_t count = 0;
    for (bpl_tally **at = &l->tallies, *t; (t = *at) != NULL; at = &t->next, count++) {
        if (same_cause(t, kind, r)) {
            *at = t->next;
            t->next = l->tallies;
            return l->tallies = t;
        }
    }
    bpl_tally *t = count < MAX_TALLIES ? calloc(1, sizeof *t) : NULL;
    if (t != NULL) {
        *t = new_tally(kind, r);
        t->next = l->tallies;
        l->tallies = t;
    }
    return t;
}

void bpl_tallies_free(bpl_ledger *l) {
    for (bpl_tally *t = l->tallies, *next; t != NULL; t = next) {
        next = t->next;
        free(t);
    }
}

bpl_event bpl_event_of(const bpl_ledger *l, enum bpl_kind kind, const bpl_record *r, size_t bytes) {
    bpl_event e = {.kind = kind, .bytes = bytes};
    const char *name = bp_pool_name(l->pool);
    memcpy(e.pool, name, strlen(name) + 1);
    if (r != NULL) {
        e.record = *r;
    }
    (void)snprintf(e.site, sizeof e.site, "%s", e.record.site != NULL ? e.record.site->s : "?");
    return e;
}

void bpl_blame(bpl_ledger *l, const bpl_event *e) {
    bpl_tally *t = tally_of(l, e->kind, &e->record);
    if (t != NULL) {
        add(t, &e->record, e->bytes);
    }
}

/* ---- as tables ------------------------------------------------------------------ */

static void set_text(lua_State *L, const char *key, const bpl_text *text) {
    if (text != NULL) {
        lua_pushstring(L, text->s);
        lua_setfield(L, -2, key);
    }
}

/* The last few that took or gave references, oldest first, and how many did in all. */
static void set_last(lua_State *L, const bpl_record *r) {
    uint32_t first = r->events > BPL_LAST ? r->events - BPL_LAST : 0;
    if (r->events == 0) {
        return;
    }
    lua_createtable(L, BPL_LAST, 0);
    for (uint32_t i = first; i < r->events; i++) {
        const bpl_text *site = r->last[i % BPL_LAST].site;
        lua_pushfstring(L, "%s at %s", r->last[i % BPL_LAST].released ? "released" : "retained",
                        site != NULL ? site->s : "?");
        lua_rawseti(L, -2, (int)(i - first) + 1);
    }
    lua_setfield(L, -2, "last");
}

/* A row of a report: a tally, and of what is out the last doings of the oldest. */
typedef struct row {
    bpl_tally tally;
    bpl_record oldest;
} row;

static void push_row(lua_State *L, const row *w, double now) {
    const bpl_tally *t = &w->tally;
    lua_createtable(L, 0, 9);
    lua_pushstring(L, kinds[t->kind]);
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, t->site != NULL ? t->site->s : "?");
    lua_setfield(L, -2, "site");
    set_text(L, "tag", t->tag);
    set_text(L, "traceback", t->stack);
    set_text(L, "released", w->oldest.end);
    bpl_set_count(L, "count", t->count);
    bpl_set_count(L, "bytes", t->bytes);
    lua_pushnumber(L, (lua_Number)(now - t->since));
    lua_setfield(L, -2, "age");
    set_last(L, &w->oldest);
    if (t->sampled) {
        bpl_set_count(L, "every", BPL_SAMPLE);
    }
}

/* Rows in a userdata: filled at once, so that no finalizer changes anything on the way, and
 * made into a table afterwards. An anchor too: their texts are the state's. */
struct bpl_rows {
    bpl_anchor anchor;
    size_t count, room;
    row at[];
};

#define MOST_ROWS 1024u

static bpl_rows *push_rows(lua_State *L, size_t room) {
    room = room < MOST_ROWS ? room : MOST_ROWS;
    bpl_rows *w = bpl_push_anchor(L, sizeof *w + room * sizeof(row));
    w->count = 0;
    w->room = room;
    bpl_anchor_hold(L, &w->anchor, BPL_STATE);
    return w;
}

static void fold(bpl_rows *w, const bpl_record *r) {
    size_t i = 0;
    while (i < w->count && !same_cause(&w->at[i].tally, BPL_OUT, r)) {
        i++;
    }
    if (i == w->room) {
        return;
    }
    if (i == w->count) {
        w->at[w->count++] = (row){.oldest = *r};
        w->at[i].tally = new_tally(BPL_OUT, r);
    }
    add(&w->at[i].tally, r, r->bytes);
}

/* Live handles of that ledger, or of all where it is NULL, made after that serial number. */
static void fold_live(bpl_rows *w, const bpl_state *s, const bpl_ledger *l, uint64_t after) {
    for (const bpl_record *r = bpl_next_live(s, NULL); r != NULL; r = bpl_next_live(s, r)) {
        if (r->serial > after && (l == NULL || r->ledger == l)) {
            fold(w, r);
        }
    }
}

bpl_rows *bpl_take_leaks(lua_State *L, const char *method) {
    const bpl_ledger *l = bpl_check_open(L, method)->ledger;
    size_t room = 16 + bpl_live_count(l->state);
    for (const bpl_tally *t = l->tallies; t != NULL; t = t->next) {
        room++;
    }
    bpl_rows *w = push_rows(L, room);
    l = bpl_check_open(L, method)->ledger;
    (void)bpl_check_state(L);
    for (const bpl_tally *t = l->tallies; t != NULL && w->count < w->room; t = t->next) {
        w->at[w->count++] = (row){.tally = *t};
    }
    fold_live(w, l->state, l, 0);
    return w;
}

void bpl_push_leaks(lua_State *L, bpl_rows *w) {
    double now = bpl_now();
    lua_createtable(L, (int)w->count, 0);
    for (size_t i = 0; i < w->count; i++) {
        push_row(L, &w->at[i], now);
        lua_rawseti(L, -2, (int)i + 1);
    }
    bpl_anchor_drop(&w->anchor);
}

/* pool:leaks(): what was collected, released too often or overrun, then what is still out. */
int bpl_pool_leaks(lua_State *L) {
    lua_settop(L, 1);
    bpl_push_leaks(L, bpl_take_leaks(L, "leaks"));
    return 1;
}

const char *bpl_level_name(const bpl_ledger *l) { return levels[l->level]; }

/* pool:leak_level([level]) */
int bpl_pool_leak_level(lua_State *L) {
    bpl_ledger *l = bpl_check_open(L, "leak_level")->ledger;
    if (lua_isnoneornil(L, 2)) {
        lua_pushstring(L, levels[l->level]);
        return 1;
    }
    const char *given = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    for (int i = BPL_OFF; given != NULL && i <= BPL_PARANOID; i++) {
        if (strcmp(given, levels[i]) == 0) {
            l->level = i;
            bpl_rearm(l);
            lua_settop(L, 1);
            return 1;
        }
    }
    return bpl_raise(L,
                     "leak_level: argument 'level' must be \"off\", \"simple\", \"advanced\" or "
                     "\"paranoid\", got %s%s%s",
                     given != NULL ? "\"" : "", given != NULL ? given : bpl_typename(L, 2),
                     given != NULL ? "\"" : "");
}

/* ---- the listener ------------------------------------------------------------------ */

static char listener; /* its key in the registry */

/* on_leak(fn or nil): returns the one before. */
int bpl_on_leak(lua_State *L) {
    lua_settop(L, 1);
    if (!lua_isnil(L, 1) && !lua_isfunction(L, 1)) {
        return bpl_raise(L, "on_leak: argument 'fn' must be a function or nil, got %s",
                         bpl_typename(L, 1));
    }
    lua_pushlightuserdata(L, &listener);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_pushlightuserdata(L, &listener);
    lua_pushvalue(L, 1);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return 1;
}

static _Thread_local const bpl_event *told; /* while bpl_tell is under way */

/* tell(event), in protected mode: and by whom a hook or a listener found it, with anything. */
static int l_tell(lua_State *L) {
    const bpl_event *e = told;
    if (e == NULL || lua_touserdata(L, 1) != (const void *)e) {
        return 0;
    }
    lua_pushlightuserdata(L, &listener);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (lua_isfunction(L, -1)) {
        row w = {.tally = new_tally(e->kind, &e->record), .oldest = e->record};
        w.tally.sampled = false;
        w.tally.count = 1;
        w.tally.bytes = e->bytes;
        push_row(L, &w, bpl_now());
        lua_pushstring(L, e->pool);
        lua_setfield(L, -2, "pool");
        lua_call(L, 1, 0);
    }
    return 0;
}

/* Needs three places of the stack, and asks for none: that can raise. */
void bpl_tell(lua_State *L, bpl_state *s, const bpl_event *e) {
    if (s->telling) {
        return;
    }
    const bpl_event *around = told; /* another state's, whose listener runs this one */
    told = e;
    s->telling = true;
    s->uses++;
    if (bpl_cpcall(L, l_tell, (void *)(uintptr_t)e) != 0) {
        lua_pop(L, 1);
    }
    told = around;
    s->telling = false;
    bpl_state_drop(s);
}

/* ---- for tests ------------------------------------------------------------------------ */

static void rearm_all(bpl_state *s) {
    for (bpl_ledger *l = s->ledgers; l != NULL; l = l->next) {
        bpl_rearm(l);
    }
}

void bpl_expect_less(bpl_state *s) {
    s->forced--;
    rearm_all(s);
}

/* expect(): every handle is traced from now on, until the anchor that it returns is given back or
 * garbage. expect(anchor): what was made since and is still out, folded by site. */
int bpl_expect(lua_State *L) {
    if (lua_isnoneornil(L, 1)) {
        bpl_anchor *a = bpl_push_anchor(L, sizeof *a);
        bpl_state *s = bpl_check_state(L);
        bpl_anchor_hold(L, a, BPL_STATE);
        if (a->state != NULL) {
            a->expects = true;
            a->mark = bpl_last_serial(s);
            s->forced++;
            rearm_all(s);
        }
        return 1;
    }
    bpl_rows *w = push_rows(L, bpl_live_count(bpl_check_state(L)) + 16);
    bpl_anchor *a = bpl_to_anchor(L, 1);
    if (a == NULL || !a->expects) {
        return bpl_raise(L, "expect: argument 'anchor' must be what expect() returned, got %s",
                         bpl_typename(L, 1));
    }
    fold_live(w, a->state, NULL, a->mark);
    bpl_anchor_drop(a);
    bpl_push_leaks(L, w);
    return 1;
}
