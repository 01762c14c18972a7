/* The module inside nginx with the Lua module (OpenResty): what ends with a request, and bytes
 * sent without a copy.
 *
 *   request   an ngx_http_request_t: of a client, of a timer, or of another phase that runs Lua
 *   tie       a buffer handle that loses one reference when the request it is tied to ends
 *   hold      a reference of a block whose bytes are on nginx's output chain
 *   guard     the last byte of a send, behind its hold in a buffer that the Lua module minds
 *   ledge     what one request's pool of memory has of ours: its ties and holds. Its address is
 *             the data of one cleanup of that pool, which ends them all
 *
 * nginx's headers are not needed: the few structs below are declared by hand, its functions are
 * found by dlsym when the first request asks, and what differs between builds is probed then
 * (nginx_probe.c). Where a symbol is missing or a probe fails, nothing here is done, and the
 * callers copy or leave buffers to the collector.
 *
 * An nginx worker runs all of this on one thread, and nothing here locks. What lies in nginx's
 * memory and what a cleanup does is plain C: the Lua state may be gone by then (lua_code_cache
 * off ends one with each request), but a handle that is still tied was not finalized, so its
 * memory and its ledger are there.
 */
#ifndef BPL_NGINX_H
#define BPL_NGINX_H

#include "binding.h"

/* Of nginx 1.9.11 and later. ngx_buf_t and ngx_pool_t have not changed since 0.8; of
 * ngx_http_request_t only the beginning is declared, where one slot is there or not. */
typedef struct bpl_ngx_buf {
    uint8_t *pos, *last;
    int64_t file_pos, file_last; /* off_t */
    uint8_t *start, *end;
    const void *tag;
    void *file, *shadow;
    unsigned temporary : 1, memory : 1;
    unsigned : 30;
    int num;
    void *spare[4]; /* zero: what a build might have more */
} bpl_ngx_buf;

typedef struct bpl_ngx_chain {
    bpl_ngx_buf *buf;
    struct bpl_ngx_chain *next;
} bpl_ngx_chain;

typedef struct bpl_ngx_cleanup {
    void (*handler)(void *data);
    void *data;
    struct bpl_ngx_cleanup *next;
} bpl_ngx_cleanup;

typedef struct bpl_ngx_pool {
    uint8_t *last, *end;
    struct bpl_ngx_pool *next;
    uintptr_t failed;
    size_t max;
    struct bpl_ngx_pool *current;
    void *chain, *large;
    bpl_ngx_cleanup *cleanup;
    void *log;
} bpl_ngx_pool;

typedef struct bpl_ngx_module {
    uintptr_t ctx_index, index;
    const char *name;
    uintptr_t spare[2], version;
    const char *signature;
} bpl_ngx_module;

#define BPL_NGX_POOL_SLOTS 2 /* places where the pool may stand */
typedef struct bpl_ngx_request {
    uint32_t signature; /* "HTTP" */
    void *connection;
    void **ctx;
    void *confs[3], *handlers[2];
    void *cache_or_upstream, *upstream_or_states;
    bpl_ngx_pool *pools[BPL_NGX_POOL_SLOTS]; /* states or the pool, the pool or header_in */
} bpl_ngx_request;

/* What was found; its functions are NULL before the first probe. */
typedef struct bpl_nginx {
    bool works;
    const char *why;                  /* it does not; NULL before the first probe */
    unsigned slot;                    /* of bpl_ngx_request.pools */
    const bpl_ngx_module *lua_module; /* its ctx_index tells where a request has its ctx */
    bpl_ngx_request *(*get_request)(lua_State *L);
    intptr_t (*send_chain_link)(bpl_ngx_request *r, void *ctx, bpl_ngx_chain *in);
    bpl_ngx_cleanup *(*pool_cleanup_add)(bpl_ngx_pool *pool, size_t size);
    bpl_ngx_cleanup *(*http_cleanup_add)(bpl_ngx_request *r, size_t size);
    bpl_ngx_chain *(*alloc_chain_link)(bpl_ngx_pool *pool);
    bpl_ngx_buf *(*create_temp_buf)(bpl_ngx_pool *pool, size_t size);
    void *(*palloc)(bpl_ngx_pool *pool, size_t size);
} bpl_nginx;
extern bpl_nginx bpl_ngx;

#define BPL_NGX_COLLECTING "in a finalizer"

/* The request that runs, once all is known to work with it; NULL, and bpl_ngx.why, "no request" or
 * BPL_NGX_COLLECTING in *why. */
bpl_ngx_request *bpl_ngx_current(lua_State *L, const char **why);
static inline bpl_ngx_pool *bpl_ngx_pool_of(const bpl_ngx_request *r) {
    return r->pools[bpl_ngx.slot];
}

typedef struct bpl_tie {
    bpl_handle *handle;
    struct bpl_tie *in_bucket;    /* of the table of all ties, or the next spare one */
    struct bpl_tie *next, **here; /* of its ledge */
    struct bpl_ledge *ledge;
} bpl_tie;

typedef struct bpl_hold {
    struct bpl_hold *next;
    bp_pool *pool; /* valid as long as the block is out */
    bp_buffer *block;
    bpl_ngx_buf buf;
} bpl_hold;

typedef struct bpl_ledge {
    bpl_ngx_pool *pool;
    bpl_tie *ties, *spare_ties;
    bpl_hold *first, *last, *spare_holds; /* in the order in which they were sent */
    const bpl_ngx_request *begun; /* the last that sent: of subrequests each begins by itself */
    unsigned guards;              /* that were made and not taken, see nginx_guard.c */
} bpl_ledge;

typedef struct bpl_ngx_counts {
    uint64_t requests;             /* that ever tied or sent a buffer */
    uint64_t tied, ties;           /* handles so far, and now */
    uint64_t sends, sent_bytes;    /* without a copy, */
    uint64_t copies, copied_bytes; /* and through ngx.print */
    uint64_t holds, hold_bytes;    /* now on output chains */
    uint64_t early;                /* holds that ended before their request */
} bpl_ngx_counts;
extern bpl_ngx_counts bpl_ngx_count;

/* from nginx_keep.c */
bpl_ledge *bpl_ledge_of(bpl_ngx_request *r); /* NULL: no memory */
bool bpl_tie_to(bpl_ledge *ledge, bpl_handle *h);
bool bpl_tied_to(const bpl_ledge *ledge, const bpl_handle *h);

/* from nginx_guard.c */
bpl_ngx_chain *bpl_guard_new(bpl_ledge *ledge, void **ctx,
                             uint8_t byte);                  /* NULL: no more, or no memory */
void bpl_guard_sent(void **ctx, const bpl_ngx_chain *guard); /* after its output */

/* from nginx_send.c */
bpl_hold *bpl_hold_new(bpl_ledge *ledge, const bpl_handle *h, uint8_t *from, size_t count);
void bpl_hold_sweep(bpl_ledge *ledge); /* ends those whose bytes are out */
void bpl_hold_end(bpl_hold *hold);
int bpl_nginx_send(lua_State *L);

#endif
