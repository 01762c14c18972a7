/* States and ledgers: made, found and ended. ledger.h says what they are. */
#include <stdlib.h>

#include "binding.h"

#define ANCHOR_SEAL(a) ((char *)(a) + 5)

/* ---- states ---------------------------------------------------------------- */

void bpl_state_drop(bpl_state *s) {
    if (--s->uses == 0) {
        free(s->spare);
        bpl_trace_free(s);
        free(s);
    }
}

bpl_anchor *bpl_to_anchor(lua_State *L, int arg) {
    bpl_anchor *a = lua_touserdata(L, arg);
    bool is = a != NULL && lua_rawlen(L, arg) >= sizeof *a && a->seal == ANCHOR_SEAL(a);
    return is && a->state != NULL ? a : NULL;
}

void bpl_anchor_drop(bpl_anchor *a) {
    bpl_state *s = a->state;
    if (s != NULL) {
        a->state = NULL;
        if (a->sentinel) {
            bpl_pacing_cycle(s);
        }
        if (a->expects) {
            bpl_expect_less(s);
        }
        bpl_state_drop(s);
    }
}

/* An anchor lets go of its state once, also when a script calls this by hand. */
static int l_anchor_gc(lua_State *L) {
    bpl_anchor *a = bpl_to_anchor(L, 1);
    if (a != NULL) {
        bpl_anchor_drop(a);
    }
    return 0;
}

void *bpl_push_anchor(lua_State *L, size_t size) {
    bpl_anchor *a = bpl_newuserdata(L, size);
    *a = (bpl_anchor){.seal = ANCHOR_SEAL(a)};
    return a;
}

void bpl_anchor_hold(lua_State *L, bpl_anchor *a, int like) {
    const bpl_anchor *of = bpl_to_anchor(L, like);
    if (of != NULL && lua_getmetatable(L, like)) {
        a->state = of->state;
        a->state->uses++;
        lua_setmetatable(L, -2);
    }
}

bpl_state *bpl_push_state(lua_State *L) {
    bpl_anchor *a = bpl_push_anchor(L, sizeof *a);
    lua_newtable(L);
    lua_pushcfunction(L, l_anchor_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, "bytepool.state");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    bpl_state *s = calloc(1, sizeof *s);
    if (s == NULL) {
        lua_pop(L, 1);
        lua_pushnil(L);
        return NULL;
    }
    a->state = s;
    s->uses = 1;
    bpl_pacing_start(s);
    return s;
}

bpl_state *bpl_state_of(lua_State *L) {
    const bpl_anchor *a = bpl_to_anchor(L, BPL_STATE);
    return a != NULL ? a->state : NULL;
}

bpl_state *bpl_check_state(lua_State *L) {
    bpl_state *s = bpl_state_of(L);
    if (s == NULL) {
        bpl_raise(L, "bytepool: the module's own upvalues were changed, or the state is closing");
    }
    return s;
}

/* ---- ledgers ----------------------------------------------------------------- */

bpl_ledger *bpl_ledger_find(const bpl_state *s, const bp_pool *pool) {
    bpl_ledger *l = s->ledgers;
    while (l != NULL && l->pool != pool) {
        l = l->next;
    }
    return l;
}

bool bpl_ledger_lives(const bpl_state *s, const bpl_ledger *l) {
    const bpl_ledger *at = s->ledgers;
    while (at != NULL && at != l) {
        at = at->next;
    }
    return at != NULL;
}

bool bpl_ledger_ready(bpl_state *s) {
    if (s->spare == NULL) {
        s->spare = calloc(1, sizeof *s->spare);
    }
    return s->spare != NULL;
}

bpl_ledger *bpl_ledger_of(bpl_state *s, bp_pool *pool) {
    bpl_ledger *l = bpl_ledger_find(s, pool);
    if (l == NULL) {
        l = s->spare;
        s->spare = NULL;
        l->pool = pool;
        l->state = s;
        l->next = s->ledgers;
        s->ledgers = l;
        s->uses++;
        l->debug = bp_pool_is_debug(pool);
        bpl_rearm(l);
        bpl_pacing_share(s);
    }
    return l;
}

bpl_ledger *bpl_ledger_open(bpl_state *s, bp_pool *pool) {
    bpl_ledger *l = bpl_ledger_ready(s) ? bpl_ledger_of(s, pool) : NULL;
    if (l != NULL) {
        l->uses++;
    }
    return l;
}

void bpl_ledger_end(bpl_ledger *l) {
    bpl_state *s = l->state;
    bpl_ledger **at = &s->ledgers;
    while (*at != l) {
        at = &(*at)->next;
    }
    *at = l->next;
    free(l->slices);
    free(l->order);
    bpl_tallies_free(l);
    free(l);
    bpl_state_drop(s);
}

void bpl_ledger_close(bpl_ledger *l) {
    if (--l->uses == 0 && l->held == 0) {
        bpl_ledger_end(l);
    }
}
