/* Between Lua states of one process: pools by name, references as tokens. */
#include <string.h>

#include "binding.h"

static _Thread_local const char *exporting; /* while push_token may be called */

/* push_token(token), in protected mode: and by whom a hook showed it to, with anything. */
static int push_token(lua_State *L) {
    if (exporting == NULL || lua_touserdata(L, 1) != (const void *)exporting) {
        return 0;
    }
    lua_pushstring(L, exporting);
    return 1;
}

/* same_pool(a, b): whether two pool userdata are one pool. */
int bpl_same_pool(lua_State *L) {
    const bpl_pool *a = bpl_to_pool(L, 1), *b = bpl_to_pool(L, 2);
    lua_pushboolean(L, a != NULL && b != NULL && a->pool == b->pool);
    return 1;
}

static void take_back(const char *token) {
    bp_pool *pool;
    bp_buffer *b;
    if (bp_buffer_import(token, &pool, &b, NULL) == BP_OK) {
        (void)bp_buffer_release(pool, b);
    }
}

/* A token that no memory is left to tell would keep its block for good: what may allocate
 * stands before the export, or is called in protected mode. */
int bpl_buffer_export(lua_State *L) {
    char token[BP_TOKEN_SIZE];
    lua_settop(L, 1);
    lua_pushcfunction(L, push_token);
    lua_pushlightuserdata(L, token);
    const bpl_handle *h = bpl_check_handle(L, 1, "export");
    const bp_part part = {(size_t)(h->data - (uint8_t *)bp_buffer_data(h->block)), h->length,
                          h->slice};
    int status = bp_buffer_export(h->ledger->pool, h->block, &part, token);
    if (status == BP_ERR_NOMEM) {
        lua_pushnil(L);
        lua_pushstring(L, bp_strerror(status));
        return 2;
    }
    if (status != BP_OK) {
        return bpl_raise(L, "export: %s", bp_strerror(status));
    }
    const char *around = exporting; /* of a hook's, or of another state's */
    exporting = token;
    status = lua_pcall(L, 1, 1, 0);
    exporting = around;
    if (status != 0) {
        take_back(token);
        return lua_error(L);
    }
    return 1;
}

int bpl_import(lua_State *L) {
    lua_settop(L, 1);
    bpl_handle *h = bpl_push_dead(L);
    if (lua_type(L, 1) != LUA_TSTRING) {
        return bpl_raise(L, "import: argument 'token' must be a string, got %s",
                         bpl_typename(L, 1));
    }
    bpl_state *s = bpl_check_state(L);
    if (!bpl_ledger_ready(s)) { /* before the token is spent */
        return bpl_no_memory(L);
    }
    size_t length;
    const char *token = lua_tolstring(L, 1, &length);
    bp_pool *pool = NULL;
    bp_buffer *block = NULL;
    bp_part part = {0, 0, 0};
    int status =
        strlen(token) == length ? bp_buffer_import(token, &pool, &block, &part) : BP_ERR_TOKEN;
    if (status != BP_OK) {
        return bpl_raise(L, "import: %s", bp_strerror(status));
    }
    bpl_handle_point(h, bpl_ledger_of(s, pool), block, bp_buffer_length(block));
    if (part.mark != 0) {
        bpl_handle_narrow(h, part.offset, part.length);
    } else {
        bpl_consume(h, part.offset);
        h->length = part.length;
    }
    bpl_trace(L, h, NULL);
    return 1;
}

int bpl_open(lua_State *L) {
    lua_settop(L, 1);
    bpl_pool *p = bpl_push_closed_pool(L);
    if (lua_type(L, 1) != LUA_TSTRING) {
        return bpl_raise(L, "open: argument 'name' must be a string, got %s", bpl_typename(L, 1));
    }
    size_t length;
    const char *name = lua_tolstring(L, 1, &length);
    bpl_state *s = bpl_check_state(L);
    bp_pool *pool = strlen(name) == length ? bp_pool_open(name) : NULL;
    if (pool != NULL) {
        return bpl_pool_enter(L, p, s, pool);
    }
    lua_pushnil(L);
    lua_pushliteral(L, "no open pool has that name");
    return 2;
}
