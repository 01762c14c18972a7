/* The thread cache from the inside: the order of a bin, its trades with the depot, its
 * lease, and what it does when the pool is over its idle bound. */
#include <pthread.h>

#include "cache.h"
#include "support.h"

static const size_t tiers[] = {1000, 4096, 2 * 1024 * 1024};
static bp_pool *pool;

static bp_pool *pool_with(size_t max_idle) {
    bp_pool *made = pool_of(tiers, COUNT_OF(tiers), max_idle);
    ck_assert_ptr_nonnull(made);
    return made;
}

static void setup(void) { pool = pool_with(256 * MIB); }

static void teardown(void) {
    char message[200] = "";
    ck_assert_msg(bp_pool_check(pool, message, sizeof message) == BP_OK, "%s", message);
    bp_pool_destroy(pool);
}

static bp_bin *bin_of(uint32_t tier) { return &bp__cache_of(pool)->bins[tier]; }

static size_t bin_room(uint32_t tier) { return bin_of(tier)->cap; }

START_TEST(every_size_meets_the_lowest_tier_that_holds_it) {
    bp_buffer_release(pool, bp_buffer_get(pool, 1));
    bp_cache *c = bp__cache_of(pool);
    for (size_t n = 1; n <= 5 * MIB; n += n < 70000 ? 1 : 997) {
        uint32_t model = 0;
        while (model < COUNT_OF(tiers) && tiers[model] < n) {
            model++;
        }
        uint32_t bin = model < COUNT_OF(tiers) ? model : BP_BIN_NONE;
        ck_assert_uint_eq(bp__place_of(c, bp__spot_of(c, n)).bin, bin);
        ck_assert_uint_eq(bp__table_search(&c->table, n).bin, bin);
        ck_assert_uint_eq(bp__table_search(&c->table, n).cell,
                          bp__place_of(c, bp__spot_of(c, n)).cell);
    }
    ck_assert_uint_eq(bp__place_of(c, bp__spot_of(c, BP_MAX_SIZE)).bin, BP_BIN_NONE);
    ck_assert_uint_eq(bp__place_of(c, bp__spot_of(c, 0)).bin,
                      BP_BIN_NONE); /* the slow half knows 0 */
}
END_TEST

START_TEST(the_last_block_in_is_the_first_out) {
    bp_buffer *b[2] = {bp_buffer_get(pool, 4096), bp_buffer_get(pool, 4096)};
    ck_assert_uint_eq(bp__bin_held(bin_of(1)), 0);
    bp_buffer_release(pool, b[0]);
    bp_buffer_release(pool, b[1]);
    ck_assert_uint_eq(bp__bin_held(bin_of(1)), 2);
    ck_assert_ptr_eq(bp_buffer_get(pool, 4000), b[1]);
    ck_assert_ptr_eq(bp_buffer_get(pool, 4000), b[0]);
    ck_assert_uint_eq(bp__bin_held(bin_of(1)), 0);
    bp_buffer_release(pool, b[0]);
    bp_buffer_release(pool, b[1]);
}
END_TEST

START_TEST(a_full_bin_gives_its_older_blocks) {
    bp_buffer *b[BP_CACHE_BLOCKS + 1];
    for (size_t i = 0; i < COUNT_OF(b); i++) {
        b[i] = bp_buffer_get(pool, 4096);
    }
    size_t cap = bin_room(1);
    ck_assert_uint_eq(cap, BP_CACHE_BLOCKS);
    for (size_t i = 0; i < BP_CACHE_BLOCKS; i++) {
        bp_buffer_release(pool, b[i]);
    }
    ck_assert_uint_eq(bp__bin_held(bin_of(1)), cap);
    ck_assert_uint_eq(bp_peek(&pool->depots[1].free), 0);
    bp_buffer_release(pool, b[BP_CACHE_BLOCKS]);
    ck_assert_uint_eq(bp_peek(&pool->depots[1].free), cap - cap / 4);
    ck_assert_ptr_eq(bin_of(1)->top[-1], b[BP_CACHE_BLOCKS]);
    ck_assert_ptr_eq(bin_of(1)->base[0], b[cap - cap / 4]);
}
END_TEST

START_TEST(a_bin_holds_one_mebibyte_or_one_block) {
    bp_buffer *b[2] = {bp_buffer_get(pool, tiers[2]), bp_buffer_get(pool, tiers[2])};
    ck_assert_uint_eq(bin_room(2), 1);
    bp_buffer_release(pool, b[0]);
    bp_buffer_release(pool, b[1]);
    ck_assert_ptr_eq(bin_of(2)->top[-1], b[1]);
    ck_assert_uint_eq(bp_peek(&pool->depots[2].free), 1);
}
END_TEST

static void *attach(void *arg) {
    bp_buffer_release(arg, bp_buffer_get(arg, 1));
    ck_assert_uint_le(bp_peek(&((bp_pool *)arg)->leased), ((bp_pool *)arg)->max_idle / 2);
    return NULL;
}

START_TEST(leases_stay_within_half_of_max_idle) {
    static const size_t bounds[] = {0, 1, 1000, 100000, 10 * MIB};
    for (size_t i = 0; i < COUNT_OF(bounds); i++) {
        bp_pool *small = pool_with(bounds[i]);
        pthread_t threads[8];
        for (size_t t = 0; t < COUNT_OF(threads); t++) {
            ck_assert_int_eq(pthread_create(&threads[t], NULL, attach, small), 0);
        }
        attach(small);
        for (size_t t = 0; t < COUNT_OF(threads); t++) {
            pthread_join(threads[t], NULL);
        }
        ck_assert_uint_eq(bp_peek(&small->leased), bp__cache_of(small)->lease);
        bp_pool_destroy(small);
    }
}
END_TEST

static bp_buffer *many[20000];

/* Every 97th stays, so that no slab empties, then those too. The bound in between. */
static void burst_with_survivors(size_t bound) {
    for (size_t i = 0; i < COUNT_OF(many); i++) {
        many[i] = bp_buffer_get(pool, 4096);
    }
    pool->max_idle = bound;
    for (size_t i = 0; i < COUNT_OF(many); i++) {
        if (i % 97 != 0) {
            bp_buffer_release(pool, many[i]);
        }
    }
}

static void survivors_come_back(void) {
    for (size_t i = 0; i < COUNT_OF(many); i += 97) {
        bp_buffer_release(pool, many[i]);
    }
    bp_stats s;
    bp_pool_stats(pool, &s);
    ck_assert_uint_le(s.idle_bytes, pool->max_idle);
    bp_buffer *b[2] = {bp_buffer_get(pool, 4096), bp_buffer_get(pool, 4096)}; /* a refill */
    bp_buffer_release(pool, b[0]);
    bp_buffer_release(pool, b[1]);
    ck_assert(!bp__cache_of(pool)->shut);
    pool->max_idle = 256 * MIB; /* for the lease that teardown checks */
}

/* Blocks of many slabs, one of each in the cache, would keep all those slabs. */
START_TEST(over_the_bound_a_cache_holds_nothing) {
    burst_with_survivors(8 * MIB);
    ck_assert(bp__cache_of(pool)->shut);
    ck_assert_uint_eq(bin_room(1), 0);
    survivors_come_back();
}
END_TEST

/* A bound that a few slabs are little of: pairs need no slow half. */
START_TEST(over_a_large_bound_it_holds_a_block_of_each_tier) {
    burst_with_survivors(52 * MIB);
    ck_assert(bp__cache_of(pool)->shut);
    ck_assert_uint_eq(bin_room(1), 1);
    survivors_come_back();
}
END_TEST

static void *trim(void *arg) {
    bp_pool_trim(arg);
    return NULL;
}

START_TEST(a_trim_elsewhere_is_honoured_at_the_next_slow_half) {
    bp_buffer_release(pool, bp_buffer_get(pool, 4096));
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, trim, pool), 0);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(bp__bin_held(bin_of(1)), 1);
    bp_buffer *b = bp_buffer_get(pool, 1000); /* nothing cached: the slow half */
    ck_assert_uint_eq(bp__bin_held(bin_of(1)), 0);
    bp_buffer_release(pool, b);
}
END_TEST

/* Also the hundredth thread keeps some blocks of the small tiers. */
enum { CROWD = 100 };
static pthread_barrier_t all_here, go_home;
static size_t smallest_lease;

static void *join_the_crowd(void *arg) {
    bp_buffer_release(arg, bp_buffer_get(arg, 1));
    pthread_barrier_wait(&all_here);
    pthread_barrier_wait(&go_home);
    return NULL;
}

START_TEST(the_hundredth_thread_has_a_cache) {
    pthread_t threads[CROWD];
    pthread_barrier_init(&all_here, NULL, CROWD + 1);
    pthread_barrier_init(&go_home, NULL, CROWD + 1);
    for (size_t t = 0; t < CROWD; t++) {
        ck_assert_int_eq(pthread_create(&threads[t], NULL, join_the_crowd, pool), 0);
    }
    pthread_barrier_wait(&all_here);
    smallest_lease = SIZE_MAX;
    for (const bp_cache *c = pool->caches; c != NULL; c = c->pool_next) {
        smallest_lease = c->lease < smallest_lease ? c->lease : smallest_lease;
    }
    ck_assert_uint_eq(pool->cache_count, CROWD);
    pthread_barrier_wait(&go_home);
    for (size_t t = 0; t < CROWD; t++) {
        pthread_join(threads[t], NULL);
    }
    ck_assert_uint_ge(smallest_lease, 32 * KIB);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("cache");
    TCase *tc = add_case(suite, "cache");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_size_meets_the_lowest_tier_that_holds_it);
    tcase_add_test(tc, the_last_block_in_is_the_first_out);
    tcase_add_test(tc, a_full_bin_gives_its_older_blocks);
    tcase_add_test(tc, a_bin_holds_one_mebibyte_or_one_block);
    tcase_add_test(tc, leases_stay_within_half_of_max_idle);
    tcase_add_test(tc, over_the_bound_a_cache_holds_nothing);
    tcase_add_test(tc, over_a_large_bound_it_holds_a_block_of_each_tier);
    tcase_add_test(tc, a_trim_elsewhere_is_honoured_at_the_next_slow_half);
    tcase_add_test(tc, the_hundredth_thread_has_a_cache);
    return run_suite(suite);
}
