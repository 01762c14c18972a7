/* What stands behind a hold on nginx's output chain: the last byte, in a buffer as the Lua module
 * has them.
 *
 * The Lua module fills its buffers again. It takes one for sent that is empty, such as that of
 * ngx.flush, once nothing of its own waits before it, and a hold is not its own: the next
 * ngx.print would write to a buffer that nginx has yet to send. Behind a guard it waits.
 *
 * A guard comes from the Lua module's list of free buffers, to which each goes back: else a long
 * response would have one more with each send. Where in the module's ctx the list begins is seen
 * when a guard has just gone there. */
#include <stddef.h>
#include <string.h>

#include "nginx.h"

enum {
    CTX_WORDS = 48, /* the ctx has more; the list begins before */
    MOST_MADE = 64, /* of one request, while it is not known where */
};

static size_t free_bufs; /* word of the ctx; 0: not known */

static bpl_ngx_chain *take_free(void **ctx) {
    bpl_ngx_chain *link = free_bufs != 0 ? ctx[free_bufs] : NULL;
    if (link != NULL) {
        ctx[free_bufs] = link->next;
    }
    return link;
}

/* Its memory is kept where it has any. */
static bool make_empty(bpl_ngx_pool *pool, bpl_ngx_buf *b) {
    uint8_t *start = b->start, *end = b->end;
    if (start == NULL || end == start) {
        start = bpl_ngx.palloc(pool, 1);
        end = start + 1;
    }
    memset(b, 0, offsetof(bpl_ngx_buf, spare));
    b->start = b->pos = b->last = start;
    b->end = end;
    return start != NULL;
}

bpl_ngx_chain *bpl_guard_new(bpl_ledge *ledge, void **ctx, uint8_t byte) {
    bpl_ngx_chain *link = take_free(ctx);
    if (link == NULL) {
        if (free_bufs == 0 && ledge->guards == MOST_MADE) {
            return NULL;
        }
        link = bpl_ngx.alloc_chain_link(ledge->pool);
        bpl_ngx_buf *made = link != NULL ? bpl_ngx.create_temp_buf(ledge->pool, 1) : NULL;
        if (made == NULL) {
            return NULL;
        }
        link->buf = made;
        ledge->guards++;
    } else if (!make_empty(ledge->pool, link->buf)) {
        return NULL;
    }
    bpl_ngx_buf *b = link->buf;
    *b->last++ = byte;
    b->temporary = 1;
    b->tag = bpl_ngx.lua_module;
    link->next = NULL;
    return link;
}

void bpl_guard_sent(void **ctx, const bpl_ngx_chain *guard) {
    for (size_t i = 1; free_bufs == 0 && i < CTX_WORDS && guard->buf->pos == guard->buf->last;
         i++) {
        free_bufs = ctx[i] == guard ? i : 0;
    }
}
