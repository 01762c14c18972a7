/* The message of a get that a quota refused. */
#include <errno.h>
#include <stdio.h>

#include "binding.h"

int bpl_no_memory(lua_State *L) {
    lua_pushnil(L);
    lua_pushliteral(L, "out of memory");
    return 2;
}

/* In the largest unit that leaves no more than one decimal: "512 MiB", "1.5 KiB", "4097 B". */
static void show_bytes(char *text, size_t size, size_t bytes) {
    static const char *const units[] = {"TiB", "GiB", "MiB", "KiB"};
    for (int i = 0; i < 4; i++) {
        uint64_t unit = (uint64_t)1 << (40 - 10 * i), rest = bytes % unit * 10 % unit;
        if (bytes >= unit && rest == 0) {
            unsigned tenth = (unsigned)(bytes % unit * 10 / unit);
            (void)snprintf(text, size, tenth != 0 ? "%llu.%u %s" : "%llu%.0u %s",
                           (unsigned long long)(bytes / unit), tenth, units[i]);
            return;
        }
    }
    (void)snprintf(text, size, "%zu B", bytes);
}

static void push_quota(lua_State *L, bp_pool *pool, size_t n) {
    bp_quota q;
    char held[32], most[32], more[32], text[192], of[48] = "the pool";
    bp_pool_quota(pool, n, &q);
    if (q.max_bytes == BP_NO_LIMIT) { /* lifted meanwhile */
        lua_pushliteral(L, "over quota");
        return;
    }
    show_bytes(held, sizeof held, q.held);
    show_bytes(most, sizeof most, q.max_bytes);
    show_bytes(more, sizeof more, q.more);
    if (q.tier != 0) {
        (void)snprintf(of, sizeof of, "tier %zu", q.tier);
    }
    (void)snprintf(text, sizeof text, "over quota: %s of %s, and %s more (max_bytes of %s)", held,
                   most, more, of);
    lua_pushstring(L, text);
}

int bpl_no_room(lua_State *L, bp_pool *pool, size_t n) {
    if (errno != EDQUOT) {
        return bpl_no_memory(L);
    }
    lua_pushnil(L);
    push_quota(L, pool, n);
    return 2;
}

/* A closed pool gives none any more. */
int bpl_no_block(lua_State *L, const bpl_handle *h, size_t n, const char *method) {
    return errno == EINVAL ? bpl_raise(L, "%s: the pool is closed", method)
                           : bpl_no_room(L, h->ledger->pool, n);
}

/* quota_text(pool, n): for the FFI bodies. */
int bpl_quota_text(lua_State *L) {
    const bpl_pool *p = bpl_to_pool(L, 1);
    if (p == NULL || p->pool == NULL) {
        lua_pushliteral(L, "over quota");
        return 1;
    }
    push_quota(L, p->pool, (size_t)lua_tonumber(L, 2));
    return 1;
}
