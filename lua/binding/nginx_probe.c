/* What the running nginx is: its functions by dlsym, and what differs between builds by trying.
 *
 * Tried with nginx 1.22.1 and lua-nginx-module 0.10.23. Nothing depends on the version but two
 * lower bounds: modules have been laid out as declared here since nginx 1.9.11, and
 * ngx_http_lua_send_chain_link has had its three arguments since 0.10.15. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

#include "nginx.h"

#define SIGNATURE     0x50545448u /* NGX_HTTP_MODULE: "HTTP" */
#define LEAST_VERSION 1009011
#define LEAST_LUA     10015
#define MOST_BLOCKS   4096 /* of a request's pool that are looked through */

bpl_nginx bpl_ngx;

#ifdef RTLD_DEFAULT
/* POSIX wants this of a void pointer that dlsym gave. */
static bool find(void *function, const char *name) {
    void *found = dlsym(RTLD_DEFAULT, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

static bool find_all(void) {
    void *module = dlsym(RTLD_DEFAULT, "ngx_http_lua_module");
    bpl_ngx.lua_module = module;
    return module != NULL && find(&bpl_ngx.get_request, "ngx_http_lua_get_request") &&
           find(&bpl_ngx.send_chain_link, "ngx_http_lua_send_chain_link") &&
           find(&bpl_ngx.pool_cleanup_add, "ngx_pool_cleanup_add") &&
           find(&bpl_ngx.http_cleanup_add, "ngx_http_cleanup_add") &&
           find(&bpl_ngx.alloc_chain_link, "ngx_alloc_chain_link") &&
           find(&bpl_ngx.create_temp_buf, "ngx_create_temp_buf") &&
           find(&bpl_ngx.palloc, "ngx_palloc");
}
#else
static bool find_all(void) { return false; }
#endif

/* ngx.config.ngx_lua_version, or 0. */
static double lua_module_version(lua_State *L) {
    int top = lua_gettop(L);
    double version = 0;
    lua_getglobal(L, "ngx");
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "config");
        if (lua_istable(L, -1)) {
            lua_getfield(L, -1, "ngx_lua_version");
            version = (double)lua_tonumber(L, -1);
        }
    }
    lua_settop(L, top);
    return version;
}

/* Whether memory that nginx just took from a request's pool lies in what would be that pool. Of
 * what else may stand there an array has a small number for its end, and a buffer an address for
 * the most that a pool gives from its blocks, which is less than a page. */
static bool is_pool_with(const bpl_ngx_pool *pool, const void *memory) {
    const uint8_t *at = memory;
    if (pool == NULL || (uintptr_t)pool % sizeof(void *) != 0 || pool->end <= (uint8_t *)pool ||
        pool->last > pool->end || pool->max == 0 || pool->max > 0xffff) {
        return false;
    }
    const bpl_ngx_pool *block = pool;
    for (int i = 0; block != NULL && i < MOST_BLOCKS; i++, block = block->next) {
        if (at > (const uint8_t *)block && at < block->last) {
            return true;
        }
    }
    return false;
}

/* Memory for a cleanup, which nginx calls only where a handler was set. */
static bool find_pool(bpl_ngx_request *r) {
    const bpl_ngx_cleanup *memory = bpl_ngx.http_cleanup_add(r, 0);
    if (memory == NULL) {
        return false;
    }
    for (unsigned i = 0; i < BPL_NGX_POOL_SLOTS; i++) {
        if (is_pool_with(r->pools[i], memory)) {
            bpl_ngx.slot = i;
            return true;
        }
    }
    return false;
}

static bool cleanups_are_where(bpl_ngx_pool *pool) {
    const bpl_ngx_cleanup *before = pool->cleanup;
    const bpl_ngx_cleanup *c = bpl_ngx.pool_cleanup_add(pool, 0);
    return c != NULL && pool->cleanup == c && c->handler == NULL && c->next == before;
}

static bool buffers_are_so(bpl_ngx_pool *pool) {
    const size_t size = 64;
    const bpl_ngx_buf *b = bpl_ngx.create_temp_buf(pool, size);
    return b != NULL && b->start != NULL && b->pos == b->start && b->last == b->start &&
           b->end == b->start + size && b->temporary == 1 && b->memory == 0 && b->tag == NULL &&
           b->num == 0;
}

static const char *probe(lua_State *L, bpl_ngx_request *r) {
    const bpl_ngx_module *m = bpl_ngx.lua_module;
    if (m->version < LEAST_VERSION || m->name == NULL ||
        strcmp(m->name, "ngx_http_lua_module") != 0) {
        return "the Lua module is not laid out as in nginx 1.9.11 and later";
    }
    if (lua_module_version(L) < LEAST_LUA) {
        return "lua-nginx-module is older than 0.10.15";
    }
    if (m->ctx_index > 4096) {
        return "the Lua module's index can not be right";
    }
    if (!find_pool(r)) {
        return "the request's memory pool was not found";
    }
    if (!cleanups_are_where(bpl_ngx_pool_of(r))) {
        return "the pool's cleanups are not where they should be";
    }
    if (!buffers_are_so(bpl_ngx_pool_of(r))) {
        return "nginx's buffers are not laid out as expected";
    }
    return NULL;
}

bpl_ngx_request *bpl_ngx_current(lua_State *L, const char **why) {
    *why = bpl_ngx.why;
    if (bpl_ngx.why != NULL) {
        return NULL;
    }
    /* A finalizer may run when the request that the Lua module knows for L is gone, and nobody
     * can tell. So no program that stopped its collector passes either. */
    if (bpl_gc_stopped(L)) {
        *why = BPL_NGX_COLLECTING;
        return NULL;
    }
    if (!bpl_ngx.works && !find_all()) {
        *why = bpl_ngx.why = "not inside an nginx whose Lua module gives its functions";
        return NULL;
    }
    bpl_ngx_request *r = bpl_ngx.get_request(L);
    if (r == NULL || r->signature != SIGNATURE) {
        *why = "no request";
        return NULL;
    }
    if (!bpl_ngx.works) {
        *why = bpl_ngx.why = probe(L, r); /* once: what it says holds for the process */
        bpl_ngx.works = bpl_ngx.why == NULL;
    }
    return bpl_ngx.works ? r : NULL;
}
