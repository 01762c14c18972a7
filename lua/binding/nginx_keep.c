/* Buffers that end with a request, whatever way it ends: all of one request hang on one cleanup
 * of its pool. A subrequest has its main request's pool. */
#include <stdlib.h>

#include "nginx.h"

bpl_ngx_counts bpl_ngx_count;

/* ---- which tie a handle has ----------------------------------------------- */

/* By the handle's address: a handle has no room for more than the bit that says it is tied. */
static bpl_tie **buckets;
static size_t bucket_count; /* a power of two, or 0 */

static bpl_tie **bucket_of(const bpl_handle *h) {
    uint64_t mixed = (uint64_t)(uintptr_t)h * 0x9e3779b97f4a7c15u;
    return &buckets[(size_t)(mixed >> 32) & (bucket_count - 1)];
}

static bool grow_table(void) {
    size_t old_count = bucket_count;
    bpl_tie **old = buckets, **more = calloc(old_count == 0 ? 64 : 2 * old_count, sizeof *more);
    if (more == NULL) {
        return old_count > 0;
    }
    buckets = more;
    bucket_count = old_count == 0 ? 64 : 2 * old_count;
    for (size_t i = 0; i < old_count; i++) {
        for (bpl_tie *t = old[i], *next; t != NULL; t = next) {
            bpl_tie **b = bucket_of(t->handle);
            next = t->in_bucket;
            t->in_bucket = *b;
            *b = t;
        }
    }
    free(old);
    return true;
}

static bpl_tie *take_out(const bpl_handle *h) {
    bpl_tie **at = bucket_of(h);
    while ((*at)->handle != h) {
        at = &(*at)->in_bucket;
    }
    bpl_tie *t = *at;
    *at = t->in_bucket;
    bpl_ngx_count.ties--;
    return t;
}

/* ---- ties -------------------------------------------------------------------- */

void bpl_untie(bpl_handle *h) {
    bpl_tie *t = take_out(h);
    h->tied = 0;
    *t->here = t->next;
    if (t->next != NULL) {
        t->next->here = t->here;
    }
    t->in_bucket = t->ledge->spare_ties;
    t->ledge->spare_ties = t;
}

bool bpl_tie_to(bpl_ledge *ledge, bpl_handle *h) {
    bpl_tie *t = ledge->spare_ties;
    if (bpl_ngx_count.ties >= bucket_count && !grow_table()) {
        return false;
    }
    if (t != NULL) {
        ledge->spare_ties = t->in_bucket;
    } else {
        t = bpl_ngx.palloc(ledge->pool, sizeof *t);
    }
    if (t == NULL) {
        return false;
    }
    bpl_tie **b = bucket_of(h);
    *t = (bpl_tie){h, *b, ledge->ties, &ledge->ties, ledge};
    *b = t;
    if (t->next != NULL) {
        t->next->here = &t->next;
    }
    ledge->ties = t;
    h->tied = 1;
    bpl_ngx_count.ties++;
    bpl_ngx_count.tied++;
    return true;
}

bool bpl_tied_to(const bpl_ledge *ledge, const bpl_handle *h) {
    const bpl_tie *t = *bucket_of(h);
    while (t->handle != h) {
        t = t->in_bucket;
    }
    return t->ledge == ledge;
}

/* ---- what a request's pool has of ours ------------------------------------------ */

/* The pool's memory goes after it. Of a handle that others retained only one reference goes. */
static void pool_ends(void *data) {
    bpl_ledge *ledge = data;
    while (ledge->ties != NULL) {
        bpl_handle *h = ledge->ties->handle;
        bpl_untie(h);
        (void)bpl_handle_drop(h);
    }
    while (ledge->first != NULL) {
        bpl_hold *hold = ledge->first;
        ledge->first = hold->next;
        bpl_hold_end(hold);
    }
}

bpl_ledge *bpl_ledge_of(bpl_ngx_request *r) {
    bpl_ngx_pool *pool = bpl_ngx_pool_of(r);
    bpl_ngx_cleanup *c = pool->cleanup;
    while (c != NULL && c->handler != pool_ends) {
        c = c->next;
    }
    if (c == NULL) {
        c = bpl_ngx.pool_cleanup_add(pool, sizeof(bpl_ledge));
        if (c == NULL || c->data == NULL) {
            return NULL;
        }
        bpl_ledge *ledge = c->data;
        *ledge = (bpl_ledge){.pool = pool};
        c->handler = pool_ends;
        bpl_ngx_count.requests++;
    }
    return c->data;
}
