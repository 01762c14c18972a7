/* The depot from the inside: bitmaps, the order of slabs, what becomes of fresh blocks
 * that are not used, and which slabs go back. */
#include "internal.h"
#include "support.h"

static const size_t tiers[] = {1000, 65536};
static bp_pool *pool;
static bp_depot *d;

static void setup(void) {
    bp_options o;
    bp_options_init(&o);
    o.tiers = tiers;
    o.tier_count = COUNT_OF(tiers);
    pool = bp_pool_create(&o, NULL);
    ck_assert_ptr_nonnull(pool);
    d = &pool->depots[1];
}

static void teardown(void) { bp_pool_destroy(pool); }

static uint8_t use_of(uint32_t slab) {
    return bp_peek(&bp__region_of(pool, slab)->uses[bp__slab_place(slab)]);
}

/* n fresh blocks, owned as if a cache had handed them out. */
static void make(bp_buffer **out, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        ck_assert_uint_eq(bp__depot_fresh(pool, d, BP_ANY_TABLE, 1, &out[i]), 1);
        bp__owned_add(pool, d->size);
    }
}

static uint32_t empties(void) { return bp_peek(&pool->empty_slabs); }

START_TEST(what_is_given_is_taken_once) {
    bp_buffer *made[100], *taken[100];
    make(made, 100);
    bp__depot_give(pool, d, made, 100);
    ck_assert_uint_eq(bp_peek(&d->free), 100);
    ck_assert_uint_eq(bp_peek(&pool->depot_bytes), 100 * d->size);
    ck_assert_uint_eq(bp__depot_take(pool, d, BP_ANY_TABLE, taken, 60), 60);
    ck_assert_uint_eq(bp__depot_take(pool, d, BP_ANY_TABLE, taken + 60, 60), 40);
    ck_assert_uint_eq(bp__depot_take(pool, d, BP_ANY_TABLE, taken, 1), 0);
    for (int i = 0; i < 100; i++) {
        int seen = 0;
        for (int k = 0; k < 100; k++) {
            seen += taken[k] == made[i] ? 1 : 0;
        }
        ck_assert_int_eq(seen, 1);
    }
    ck_assert_uint_eq(bp_peek(&pool->depot_bytes), 0);
}
END_TEST

/* Blocks are taken from slabs in use before empty ones, so that those can go back. */
START_TEST(empty_slabs_stand_last) {
    bp_buffer *made[3 * 64], *taken[1];
    ck_assert_uint_le(d->cut.blocks, 64);
    uint32_t n = 3 * d->cut.blocks;
    make(made, n);
    bp__depot_give(pool, d, made, d->cut.blocks); /* the first slab: empty */
    ck_assert_uint_eq(empties(), 1);
    bp__depot_give(pool, d, made + 2 * d->cut.blocks, d->cut.blocks - 1); /* the third: partial */
    ck_assert_uint_eq(empties(), 1);
    bp__depot_take(pool, d, BP_ANY_TABLE, taken, 1);
    ck_assert_uint_eq(taken[0]->slab, made[2 * d->cut.blocks]->slab);
    bp__depot_give(pool, d, taken, 1);
    bp__depot_give(pool, d, made + n - 1, 1); /* the third too */
    ck_assert_uint_eq(empties(), 2);
    bp__depot_trim(pool, d);
    ck_assert_uint_eq(empties(), 0);
    ck_assert_uint_eq(bp_peek(&d->free), 0);
    ck_assert_uint_eq(bp_peek(&pool->trimmed_bytes), 2 * d->cut.blocks * d->size);
    ck_assert_uint_eq(bp_peek(&pool->owned_bytes), d->cut.blocks * d->size); /* the second */
    ck_assert_uint_eq(use_of(made[0]->slab), BP_USE_FREE);
}
END_TEST

START_TEST(fresh_blocks_return_to_where_they_came_from) {
    bp_buffer *first, *again;
    ck_assert_uint_eq(bp__depot_fresh(pool, d, BP_ANY_TABLE, 8, &first), 8);
    uint32_t slab = first->slab;
    bp__depot_unfresh(pool, d, first, 8);
    ck_assert_uint_eq(use_of(slab), BP_USE_FREE); /* nothing of it is used */
    ck_assert_uint_eq(bp__depot_fresh(pool, d, BP_ANY_TABLE, 8, &first), 8);
    bp__depot_unfresh(pool, d, bp__slab_header(pool, d, first->slab, 5), 3);
    ck_assert_uint_eq(bp__depot_fresh(pool, d, BP_ANY_TABLE, 1, &again), 1);
    ck_assert_ptr_eq(again, bp__slab_header(pool, d, first->slab, 5));
    ck_assert_uint_eq(bp_peek(&d->free), 0);
}
END_TEST

START_TEST(overtaken_fresh_blocks_become_idle) {
    bp_buffer *first, *second, *taken[8];
    ck_assert_uint_eq(bp__depot_fresh(pool, d, BP_ANY_TABLE, 8, &first), 8);
    ck_assert_uint_eq(bp__depot_fresh(pool, d, BP_ANY_TABLE, 8, &second), 8);
    bp__depot_unfresh(pool, d, first, 8);
    ck_assert_uint_eq(bp_peek(&d->free), 8);
    ck_assert_uint_eq(bp_peek(&pool->owned_bytes), 8 * d->size);
    ck_assert_uint_eq(bp__depot_take(pool, d, BP_ANY_TABLE, taken, 8), 8);
    ck_assert_uint_eq(taken[7]->slab, first->slab);
}
END_TEST

START_TEST(shrink_stops_at_the_bound) {
    bp_buffer *made[6 * 64];
    uint32_t n = 6 * d->cut.blocks;
    make(made, n);
    pool->max_idle = 3 * d->cut.blocks * d->size;
    bp__depot_give(pool, d, made, n);
    ck_assert(bp__idle_over(pool));
    bp__idle_shrink(pool);
    ck_assert(!bp__idle_over(pool));
    ck_assert_uint_eq(empties(), 3);
    ck_assert_uint_eq(bp_peek(&pool->depot_bytes), pool->max_idle);
}
END_TEST

/* The second of two tiers is over: the first one's empty slabs go as well. */
START_TEST(shrink_takes_any_tiers_slabs) {
    bp_buffer *made[64];
    make(made, d->cut.blocks);
    bp__depot_give(pool, d, made, d->cut.blocks);
    d = &pool->depots[0];
    make(made, 10);
    bp__depot_give(pool, d, made, 9);
    pool->max_idle = 0;
    bp__idle_shrink(pool);
    ck_assert_uint_eq(bp_peek(&pool->depots[1].free), 0);
    ck_assert_uint_eq(bp_peek(&d->free), 9); /* the tenth pins them */
}
END_TEST

START_TEST(prewarm_is_all_or_nothing) {
    pool->max_idle = 200 * d->size;
    ck_assert_int_eq(bp_pool_prewarm(pool, d->size, 201), BP_ERR_LIMIT);
    ck_assert_int_eq(bp_pool_prewarm(pool, d->size, SIZE_MAX), BP_ERR_LIMIT);
    ck_assert_uint_eq(bp_peek(&pool->owned_bytes), 0);
    ck_assert_int_eq(bp_pool_prewarm(pool, d->size, 130), BP_OK);
    ck_assert_int_eq(bp_pool_prewarm(pool, d->size, 70), BP_OK);
    ck_assert_int_eq(bp_pool_prewarm(pool, d->size, 1), BP_ERR_LIMIT);
    ck_assert_int_eq(bp_pool_prewarm(pool, d->size, 0), BP_OK);
    ck_assert_uint_eq(bp_peek(&d->free), 200);
    ck_assert_uint_eq(bp_peek(&pool->owned_bytes), 200 * d->size);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("depot");
    TCase *tc = add_case(suite, "depot");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_is_given_is_taken_once);
    tcase_add_test(tc, empty_slabs_stand_last);
    tcase_add_test(tc, fresh_blocks_return_to_where_they_came_from);
    tcase_add_test(tc, overtaken_fresh_blocks_become_idle);
    tcase_add_test(tc, shrink_stops_at_the_bound);
    tcase_add_test(tc, shrink_takes_any_tiers_slabs);
    tcase_add_test(tc, prewarm_is_all_or_nothing);
    return run_suite(suite);
}
