/* core.nginx: see nginx.h. */
#include <stdio.h>

#include "nginx.h"

/* probe(): what was found, as a table. Without a request it can not tell yet. */
static int l_nginx_probe(lua_State *L) {
    const char *why;
    bool works = bpl_ngx_current(L, &why) != NULL || bpl_ngx.works;
    lua_createtable(L, 0, 5);
    lua_pushboolean(L, works);
    lua_setfield(L, -2, "ok");
    if (!works) {
        lua_pushstring(L, why);
        lua_setfield(L, -2, "why");
        lua_pushboolean(L, bpl_ngx.why != NULL);
        lua_setfield(L, -2, "final");
    }
    if (bpl_ngx.lua_module != NULL) {
        char text[32];
        uintptr_t v = bpl_ngx.lua_module->version;
        (void)snprintf(text, sizeof text, "%u.%u.%u", (unsigned)(v / 1000000),
                       (unsigned)(v / 1000 % 1000), (unsigned)(v % 1000));
        lua_pushstring(L, text);
        lua_setfield(L, -2, "version");
    }
    if (works) {
        lua_pushboolean(L, bpl_ngx.slot > 0);
        lua_setfield(L, -2, "cache_slot");
    }
    return 1;
}

/* keep(buf): ties the handle to the request that runs: true; or false and why that can not be:
 * then it is as it was. */
static int l_nginx_keep(lua_State *L) {
    lua_settop(L, 1);
    bpl_handle *h = bpl_to_handle(L, 1);
    if (h == NULL) {
        return bpl_raise(L, "keep: argument 'buf' must be a bytepool buffer, got %s",
                         bpl_typename(L, 1));
    }
    if (h->owned == 0) {
        return bpl_raise_dead(L, h, "keep", false);
    }
    const char *why;
    bpl_ngx_request *r = bpl_ngx_current(L, &why);
    bpl_ledge *ledge = r != NULL ? bpl_ledge_of(r) : NULL;
    bool done = false;
    if (ledge != NULL && h->tied != 0) {
        done = bpl_tied_to(ledge, h);
        why = "tied to another request";
    } else if (ledge != NULL) {
        done = bpl_tie_to(ledge, h);
        why = bp_strerror(BP_ERR_NOMEM);
    } else if (r != NULL) {
        why = bp_strerror(BP_ERR_NOMEM);
    }
    lua_pushboolean(L, done);
    lua_pushstring(L, done ? NULL : why);
    return 2;
}

/* pending(): blocks of this request's memory that wait for their reader, and their bytes; those
 * that are out are let go first. */
static int l_nginx_pending(lua_State *L) {
    const char *why;
    bpl_ngx_request *r = bpl_ngx_current(L, &why);
    bpl_ledge *ledge = r != NULL ? bpl_ledge_of(r) : NULL;
    uint64_t count = 0, bytes = 0;
    if (ledge != NULL) {
        bpl_hold_sweep(ledge);
        for (const bpl_hold *hold = ledge->first; hold != NULL; hold = hold->next) {
            count++;
            bytes += (size_t)(hold->buf.last - hold->buf.pos);
        }
    }
    bpl_pushcount(L, count);
    bpl_pushcount(L, bytes);
    return 2;
}

static int l_nginx_stats(lua_State *L) {
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        {"requests", bpl_ngx_count.requests},
        {"kept", bpl_ngx_count.tied},
        {"kept_now", bpl_ngx_count.ties},
        {"sends", bpl_ngx_count.sends},
        {"sent_bytes", bpl_ngx_count.sent_bytes},
        {"copies", bpl_ngx_count.copies},
        {"copied_bytes", bpl_ngx_count.copied_bytes},
        {"in_flight", bpl_ngx_count.holds},
        {"in_flight_bytes", bpl_ngx_count.hold_bytes},
        {"early", bpl_ngx_count.early},
    };
    lua_createtable(L, 0, sizeof counts / sizeof *counts);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        bpl_pushcount(L, counts[i].value);
        lua_setfield(L, -2, counts[i].name);
    }
    return 1;
}

const luaL_Reg bpl_nginx_functions[] = {
    {"probe", l_nginx_probe},     {"keep", l_nginx_keep},   {"send", bpl_nginx_send},
    {"pending", l_nginx_pending}, {"stats", l_nginx_stats}, {NULL, NULL},
};
