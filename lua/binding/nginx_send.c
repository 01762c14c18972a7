/* A buffer's bytes on nginx's output chain, without a copy: the block is held until they are
 * out or the request's pool goes. ngx_buf_t says "in memory, not to be changed"; the tag is our
 * own, for the Lua module fills again what has its tag.
 *
 * Never by FFI: a body filter in Lua may run inside, and a compiled caller does not survive it. */
#include "nginx.h"

#define NGX_ERROR            (-1)
#define NGX_SPECIAL_RESPONSE 300

static const char tag;

static size_t left(const bpl_hold *hold) { return (size_t)(hold->buf.last - hold->buf.pos); }

void bpl_hold_end(bpl_hold *hold) {
    bpl_ngx_count.holds--;
    bpl_ngx_count.hold_bytes -= (size_t)(hold->buf.end - hold->buf.start);
    (void)bp_buffer_release(hold->pool, hold->block);
}

/* nginx itself fills a buffer again once nothing is left in it; so do we. Output is in order, so
 * the oldest are done first. */
void bpl_hold_sweep(bpl_ledge *ledge) {
    while (ledge->first != NULL && left(ledge->first) == 0) {
        bpl_hold *hold = ledge->first;
        ledge->first = hold->next;
        bpl_hold_end(hold);
        bpl_ngx_count.early++;
        hold->next = ledge->spare_holds;
        ledge->spare_holds = hold;
    }
}

bpl_hold *bpl_hold_new(bpl_ledge *ledge, const bpl_handle *h, uint8_t *from, size_t count) {
    bpl_hold *hold = ledge->spare_holds;
    if (hold != NULL) {
        ledge->spare_holds = hold->next;
    } else {
        hold = bpl_ngx.palloc(ledge->pool, sizeof *hold);
    }
    if (hold == NULL) {
        return NULL;
    }
    if (bp_buffer_retain(h->block) != BP_OK) {
        hold->next = ledge->spare_holds;
        ledge->spare_holds = hold;
        return NULL;
    }
    *hold = (bpl_hold){.pool = h->ledger->pool, .block = h->block};
    hold->buf.pos = hold->buf.start = from;
    hold->buf.last = hold->buf.end = from + count;
    hold->buf.memory = 1;
    hold->buf.tag = &tag;
    if (ledge->first == NULL) {
        ledge->first = hold;
    } else {
        ledge->last->next = hold;
    }
    ledge->last = hold;
    bpl_ngx_count.holds++;
    bpl_ngx_count.hold_bytes += count;
    return hold;
}

/* A hold, and the guard behind it, or NULL. What nginx has not sent yet goes to the pool's cleanup,
 * after an error too. */
static bool put_on_chain(lua_State *L, bpl_ngx_request *r, void **ctx, bpl_hold *hold,
                         bpl_ngx_chain *link, bpl_ngx_chain *guard) {
    link->buf = &hold->buf;
    link->next = guard;
    bpl_ngx_count.sends++;
    bpl_ngx_count.sent_bytes += left(hold);
    bpl_ngx_count.copied_bytes += guard != NULL;
    intptr_t rc = bpl_ngx.send_chain_link(r, ctx, link);
    if (rc == NGX_ERROR || rc >= NGX_SPECIAL_RESPONSE) {
        lua_pushnil(L);
        lua_pushliteral(L, "nginx output filter error");
        return false;
    }
    if (guard != NULL) {
        bpl_guard_sent(ctx, guard);
    }
    return true;
}

static bpl_handle *check_buffer(lua_State *L) {
    bpl_handle *h = bpl_to_handle(L, 1);
    if (h == NULL) {
        bpl_raise(L, "send: argument 'buf' must be a bytepool buffer, got %s", bpl_typename(L, 1));
    } else if (h->owned == 0) {
        bpl_raise_dead(L, h, "send", false);
    }
    return h;
}

/* What is held while a string is made of it. An error for want of memory leaves it here until the
 * next. */
static _Thread_local struct {
    bp_pool *pool;
    bp_buffer *block;
} copied;

static void drop_copied(void) {
    bp_buffer *block = copied.block;
    copied.block = NULL;
    if (block != NULL) {
        (void)bp_buffer_release(copied.pool, block);
    }
}

/* Pushes bytes of the buffer as a string, which may run finalizers, and these release the handle
 * while its bytes are copied. A reference costs a twentieth of what another handle does. */
static void push_bytes(lua_State *L, size_t from, size_t count) {
    const bpl_handle *h = check_buffer(L);
    if (count < 2) {
        char byte = count > 0 ? (char)h->data[from] : 0;
        lua_pushlstring(L, &byte, count);
        return;
    }
    drop_copied();
    if (BPL_COLLECTS_FIRST && bp_buffer_retain(h->block) == BP_OK) {
        copied.pool = h->ledger->pool;
        copied.block = h->block;
    }
    (void)bpl_push_bytes(L, NULL, from, count, "send");
    drop_copied();
}

/* Calls ngx.print with bytes of the buffer; what it returned, two values, is at the top then. */
static bool print_bytes(lua_State *L, size_t from, size_t count) {
    lua_pushvalue(L, 4);
    push_bytes(L, from, count);
    lua_call(L, 1, 2);
    return lua_toboolean(L, -2);
}

static int copy(lua_State *L, size_t from, size_t count) {
    if (!print_bytes(L, from, count)) {
        return 2;
    }
    bpl_ngx_count.copies++;
    bpl_ngx_count.copied_bytes += count;
    lua_pushboolean(L, true);
    return 1;
}

/* A byte, or none, at the end of a send. */
static int print_rest(lua_State *L, size_t from, size_t count) {
    if (count > 0 && !print_bytes(L, from, count)) {
        return 2;
    }
    bpl_ngx_count.copied_bytes += count;
    lua_pushboolean(L, true);
    return 1;
}

/* At least two bytes, of which the last is copied. Where that can not be the guard, it is printed. */
static int send_held(lua_State *L, bpl_ngx_request *r, bpl_ledge *ledge, size_t from,
                     size_t count) {
    const bpl_handle *h = check_buffer(L);
    void **ctx = r->ctx[bpl_ngx.lua_module->ctx_index];
    bpl_hold_sweep(ledge);
    bpl_ngx_chain *link = bpl_ngx.alloc_chain_link(ledge->pool);
    bpl_hold *hold = link != NULL ? bpl_hold_new(ledge, h, h->data + from, count - 1) : NULL;
    if (hold == NULL) {
        return bpl_no_memory(L);
    }
    bpl_ngx_chain *guard = bpl_guard_new(ledge, ctx, h->data[from + count - 1]);
    if (!put_on_chain(L, r, ctx, hold, link, guard)) {
        return 2;
    }
    return print_rest(L, from + count - 1, guard == NULL ? 1 : 0);
}

/* send(buf, i, j, ngx.print, least): true, or nil, message. What is shorter than `least`, and all
 * where this nginx is not known, is printed as a string. The buffer is frozen either way, for its
 * bytes may be on their way long after.
 *
 * ngx.print is called in each send: it knows what can not be asked, whether the phase and the
 * state of the response allow output at all. The first byte of a request's first send goes
 * through it, so that it does what is due before a body: HTTP/1.0, HEAD, headers, and that there
 * is something to flush. The last byte of each is the guard. */
int bpl_nginx_send(lua_State *L) {
    lua_settop(L, 5);
    const bpl_handle *h = check_buffer(L);
    size_t from, count = bpl_check_range(L, 2, h, "send", &from);
    const char *why;
    bpl_ngx_request *r = (lua_Number)count < lua_tonumber(L, 5) ? NULL : bpl_ngx_current(L, &why);
    bpl_ledge *ledge = r != NULL ? bpl_ledge_of(r) : NULL;
    (void)bp_buffer_freeze(h->block);
    if (ledge == NULL) {
        return copy(L, from, count);
    }
    size_t first = ledge->begun != r && count > 0;
    if (!print_bytes(L, from, first)) {
        return 2;
    }
    bpl_ngx_count.copied_bytes += first;
    ledge->begun = r;
    h = check_buffer(L); /* a finalizer may have run */
    if (from + count > h->length) {
        return bpl_raise(L, "send: the buffer was changed meanwhile");
    }
    if (count < first + 2) {
        return print_rest(L, from + first, count - first);
    }
    return send_held(L, r, ledge, from + first, count - first);
}
