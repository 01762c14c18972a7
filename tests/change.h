/* What the tests of limits and changes share. */
#ifndef BYTEPOOL_TESTS_CHANGE_H
#define BYTEPOOL_TESTS_CHANGE_H

#include <errno.h>

#include "support.h"

static inline bp_options options_of(const size_t *tiers, size_t count) {
    bp_options o;
    bp_options_init(&o);
    o.tiers = tiers;
    o.tier_count = count;
    o.max_idle = 64 * MIB;
    return o;
}

static inline bp_pool *pool_with(const bp_options *o) {
    bp_error e;
    bp_pool *pool = bp_pool_create(o, &e);
    ck_assert_msg(pool != NULL, "%s", e.message);
    return pool;
}

static inline bp_buffer *got(bp_pool *pool, size_t n) {
    errno = 0;
    bp_buffer *b = bp_buffer_get(pool, n);
    ck_assert_msg(b != NULL, "a get of %zu failed with errno %d", n, errno);
    return b;
}

static inline void give(bp_pool *pool, bp_buffer *b) {
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
}

#endif
