/* What traced handles tell: tallies by site, what is still out, and the listener. */
#include <stdlib.h>
#include <string.h>

#include "binding.h"

#define MAX_TALLIES 4096u /* of a ledger; what comes later is counted without its site */

static const char *const levels[] = {"off", "simple", "advanced", "paranoid"};
static const char *const kinds[] = {"out", "collected", "over_release", "overrun"};

/* ---- tallies ------------------------------------------------------------------ */

static bool same_cause(const bpl_tally *t, enum bpl_kind kind, const bpl_record *r) {
    return t->kind == kind && t->site == r->site && t->tag == r->tag && t->stack == r->stack;
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
        *t = (bpl_tally){.kind = kind, .site = r->site, .tag = r->tag, .stack = r->stack};
        t->since = r->since;
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

void bpl_blame(bpl_ledger *l, enum bpl_kind kind, const bpl_record *r, size_t bytes, bpl_event *e) {
    bpl_tally *t = tally_of(l, kind, r);
    if (t != NULL) {
        add(t, r, bytes);
    }
    *e = (bpl_event){.kind = kind, .record = *r, .bytes = bytes};
    const char *name = bp_pool_name(l->pool);
    memcpy(e->pool, name, strlen(name) + 1);
}

/* ---- as tables ------------------------------------------------------------------ */

static void set_text(lua_State *L, const char *key, const bpl_text *text) {
    if (text != NULL) {
        lua_pushstring(L, text->s);
        lua_setfield(L, -2, key);
    }
}

static void set_count(lua_State *L, const char *key, uint64_t n) {
    bpl_pushcount(L, n);
    lua_setfield(L, -2, key);
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

static void push_row(lua_State *L, const row *w, double now, bool sampled) {
    const bpl_tally *t = &w->tally;
    lua_createtable(L, 0, 9);
    lua_pushstring(L, kinds[t->kind]);
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, t->site != NULL ? t->site->s : "?");
    lua_setfield(L, -2, "site");
    set_text(L, "tag", t->tag);
    set_text(L, "traceback", t->stack);
    set_text(L, "released", w->oldest.end);
    set_count(L, "count", t->count);
    set_count(L, "bytes", t->bytes);
    lua_pushnumber(L, (lua_Number)(now - t->since));
    lua_setfield(L, -2, "age");
    set_last(L, &w->oldest);
    if (sampled) {
        set_count(L, "every", BPL_SAMPLE);
    }
}

/* Rows in a userdata: filled at once, so that no finalizer changes anything on the way, and
 * made into a table afterwards. */
struct bpl_rows {
    size_t count, room;
    bool sampled;
    row at[];
};

#define MOST_ROWS 1024u

static bpl_rows *push_rows(lua_State *L, size_t room) {
    room = room < MOST_ROWS ? room : MOST_ROWS;
    bpl_rows *w = lua_newuserdata(L, sizeof *w + room * sizeof(row));
    *w = (bpl_rows){.room = room};
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
        w->at[i].tally = (bpl_tally){.kind = BPL_OUT, .site = r->site, .tag = r->tag};
        w->at[i].tally.stack = r->stack;
        w->at[i].tally.since = r->since;
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

const bpl_rows *bpl_take_leaks(lua_State *L, const char *method) {
    const bpl_ledger *l = bpl_check_open(L, method)->ledger;
    size_t room = 16 + bpl_live_count(l->state);
    for (const bpl_tally *t = l->tallies; t != NULL; t = t->next) {
        room++;
    }
    bpl_rows *w = push_rows(L, room);
    l = bpl_check_open(L, method)->ledger;
    for (const bpl_tally *t = l->tallies; t != NULL && w->count < w->room; t = t->next) {
        w->at[w->count++] = (row){.tally = *t};
    }
    fold_live(w, l->state, l, 0);
    w->sampled = l->level == BPL_SIMPLE || l->level == BPL_ADVANCED;
    return w;
}

void bpl_push_leaks(lua_State *L, const bpl_rows *w) {
    double now = bpl_now();
    lua_createtable(L, (int)w->count, 0);
    for (size_t i = 0; i < w->count; i++) {
        push_row(L, &w->at[i], now, w->sampled);
        lua_rawseti(L, -2, (int)i + 1);
    }
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

/* tell(event), in protected mode */
static int l_tell(lua_State *L) {
    const bpl_event *e = lua_touserdata(L, 1);
    lua_pushlightuserdata(L, &listener);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (lua_isfunction(L, -1)) {
        const row w = {.tally = {.kind = e->kind,
                                 .site = e->record.site,
                                 .tag = e->record.tag,
                                 .stack = e->record.stack,
                                 .count = 1,
                                 .bytes = e->bytes,
                                 .since = e->record.since},
                       .oldest = e->record};
        push_row(L, &w, bpl_now(), false);
        lua_pushstring(L, e->pool);
        lua_setfield(L, -2, "pool");
        lua_call(L, 1, 0);
    }
    return 0;
}

void bpl_tell(lua_State *L, bpl_state *s, const bpl_event *e) {
    if (s->telling || !lua_checkstack(L, LUA_MINSTACK)) {
        return;
    }
    s->telling = true;
    s->uses++;
    if (bpl_cpcall(L, l_tell, (void *)(uintptr_t)e) != 0) {
        lua_pop(L, 1);
    }
    s->telling = false;
    bpl_state_drop(s);
}

/* ---- for tests ------------------------------------------------------------------------ */

static void rearm_all(bpl_state *s) {
    for (bpl_ledger *l = s->ledgers; l != NULL; l = l->next) {
        bpl_rearm(l);
    }
}

/* expect(): every handle is traced from now on; returns a mark. expect(mark): no longer; returns
 * what was made since and is still out, folded by site. */
int bpl_expect(lua_State *L) {
    bpl_state *s = bpl_check_state(L);
    if (lua_isnoneornil(L, 1)) {
        s->forced++;
        rearm_all(s);
        bpl_pushcount(L, bpl_last_serial(s));
        return 1;
    }
    uint64_t mark = (uint64_t)lua_tonumber(L, 1);
    s->forced -= s->forced > 0;
    rearm_all(s);
    bpl_rows *w = push_rows(L, bpl_live_count(s) + 16);
    fold_live(w, s, NULL, mark);
    bpl_push_leaks(L, w);
    return 1;
}
