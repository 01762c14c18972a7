/* max_waste: what goes alone; and the max_idle of a tier's own. */
#include "change.h"

static const bp_tier_limits none = {BP_NO_LIMIT, BP_NO_LIMIT, 1};

/* ---- max_waste ------------------------------------------------------------------------ */

/* By the letter of the contract: more than that share unused, and fewer whole pages alone. */
static bool goes_alone(size_t n, size_t block, double waste) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = n == 0 ? page : (n + page - 1) / page * page;
    return (double)(block - n) > waste * (double)block && pages < block;
}

START_TEST(what_wastes_too_much_goes_alone) {
    static const size_t tiers[] = {100, 4096, 4097, 20000, 65536, 300000};
    static const double wastes[] = {0, 0.0625, 0.25, 0.5, 0.75, 1};
    for (size_t w = 0; w < COUNT_OF(wastes); w++) {
        bp_options o = options_of(tiers, COUNT_OF(tiers));
        o.max_waste = wastes[w];
        bp_pool *pool = pool_with(&o);
        uint64_t alone = 0, alone_bytes = 0, asked = 0, requests = 0;
        for (size_t n = 0; n <= 300001; n += n < 9000 ? 1 : n < 299000 ? 97 : 1) {
            size_t tier = tier_serving(tiers, COUNT_OF(tiers), n);
            size_t block = tier < COUNT_OF(tiers) ? tiers[tier] : n;
            bool apart = tier == COUNT_OF(tiers) || goes_alone(n, block, wastes[w]);
            bp_buffer *b = got(pool, n);
            ck_assert_msg(bp_buffer_is_alone(b) == apart, "%zu of a block of %zu, max_waste %g", n,
                          block, wastes[w]);
            ck_assert_uint_eq(bp_buffer_capacity(pool, b), apart ? n : block);
            give(pool, b);
            alone += apart;
            alone_bytes += apart ? n : 0;
            asked += apart ? 0 : n;
            requests++;
        }
        bp_stats s = stats_of(pool);
        ck_assert_uint_eq(s.requests, requests);
        ck_assert_uint_eq(s.discarded, alone);
        ck_assert_uint_eq(s.discarded_bytes, alone_bytes);
        ck_assert_uint_eq(s.asked_bytes, asked);
        ASSERT_POOL(pool);
        bp_pool_destroy(pool);
    }
}
END_TEST

/* 64 tiers with lengths apart below each of them: the most ranks that there can be. */
START_TEST(the_most_ranks) {
    size_t tiers[BP_MAX_TIERS];
    for (size_t i = 0; i < BP_MAX_TIERS; i++) tiers[i] = (i + 1) * 32 * KIB + i;
    bp_options o = options_of(tiers, BP_MAX_TIERS);
    o.max_waste = 0;
    bp_pool *pool = pool_with(&o);
    uint64_t served = 0;
    for (size_t i = 0; i < BP_MAX_TIERS; i++) {
        for (size_t back = 0; back < 20000; back += 1009) {
            size_t n = tiers[i] - back;
            bp_buffer *b = got(pool, n);
            ck_assert_int_eq(bp_buffer_is_alone(b), goes_alone(n, tiers[i], 0));
            served += !bp_buffer_is_alone(b);
            give(pool, b);
        }
    }
    bp_buffer *above = got(pool, tiers[BP_MAX_TIERS - 1] + 1);
    ck_assert(bp_buffer_is_alone(above));
    give(pool, above);
    ck_assert_uint_eq(stats_of(pool).total_get, served);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* A tier's own counts where it is the stricter one. */
START_TEST(waste_of_a_tier) {
    static const size_t tiers[] = {16 * KIB, 64 * KIB, 256 * KIB};
    bp_tier_limits limits[3] = {none, none, none};
    limits[1].max_waste = 0.125;
    limits[2].max_waste = 0.875;
    bp_options o = options_of(tiers, COUNT_OF(tiers));
    o.limits = limits;
    o.max_waste = 0.5;
    bp_pool *pool = pool_with(&o);
    static const struct {
        size_t n;
        bool alone;
    } cases[] = {{1, true},         {8 * KIB - 1, true},  {8 * KIB, false},
                 {16 * KIB, false}, {16 * KIB + 1, true}, {56 * KIB - 1, true},
                 {56 * KIB, false}, {64 * KIB + 1, true}, {128 * KIB - 1, true},
                 {128 * KIB, false}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        bp_buffer *b = got(pool, cases[i].n);
        ck_assert_msg(bp_buffer_is_alone(b) == cases[i].alone, "%zu", cases[i].n);
        give(pool, b);
    }
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* ---- a tier's own max_idle ---------------------------------------------------------------- */

static void burst(bp_pool *pool, size_t size, size_t bytes) {
    size_t count = bytes / size;
    bp_buffer **held = malloc(count * sizeof *held);
    ck_assert_ptr_nonnull(held);
    for (size_t i = 0; i < count; i++) held[i] = got(pool, size);
    for (size_t i = 0; i < count; i++) give(pool, held[i]);
    free(held);
}

START_TEST(idle_of_a_tier_is_bounded) {
    static const size_t tiers[] = {1000, 64 * KIB, MIB, 5 * MIB};
    static const size_t bounds[] = {0, 5 * MIB, 12 * MIB, 40 * MIB};
    for (size_t k = 0; k < COUNT_OF(bounds); k++) {
        bp_tier_limits limits[4] = {none, none, none, none};
        for (size_t t = 0; t < COUNT_OF(tiers); t += 2) limits[t].max_idle = bounds[k];
        bp_options o = options_of(tiers, COUNT_OF(tiers));
        o.limits = limits;
        o.max_idle = 512 * MIB;
        bp_pool *pool = pool_with(&o);
        for (size_t t = 0; t < COUNT_OF(tiers); t++) {
            burst(pool, tiers[t], 64 * MIB);
            bp_stats s = stats_of(pool);
            uint64_t idle = s.tiers[t].idle * tiers[t];
            if (t % 2 == 0) ck_assert_uint_le(idle, bounds[k]);
            else ck_assert_uint_eq(idle, 64 * MIB / tiers[t] * tiers[t]);
            ck_assert_uint_eq(s.tiers[t].max_idle, t % 2 == 0 ? bounds[k] : BP_NO_LIMIT);
        }
        ASSERT_POOL(pool);
        bp_pool_destroy(pool);
    }
}
END_TEST

START_TEST(prewarm_keeps_a_tiers_bound) {
    static const size_t tiers[] = {64 * KIB, MIB};
    bp_tier_limits limits[2] = {none, none};
    limits[0].max_idle = MIB;
    bp_options o = options_of(tiers, COUNT_OF(tiers));
    o.limits = limits;
    bp_pool *pool = pool_with(&o);
    ck_assert_int_eq(bp_pool_prewarm(pool, 64 * KIB, 17), BP_ERR_LIMIT);
    ck_assert_int_eq(bp_pool_prewarm(pool, 64 * KIB, 12), BP_OK);
    bp_stats before = stats_of(pool);
    ck_assert_int_eq(bp_pool_prewarm(pool, 64 * KIB, 12), BP_ERR_LIMIT);
    ASSERT_UNCHANGED(pool, before);
    ck_assert_int_eq(bp_pool_prewarm(pool, 64 * KIB, 4), BP_OK);
    ck_assert_uint_eq(stats_of(pool).tiers[0].idle, 16);
    ck_assert_int_eq(bp_pool_prewarm(pool, MIB, 12), BP_OK);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("waste");
    TCase *waste = add_case(suite, "waste");
    tcase_add_test(waste, what_wastes_too_much_goes_alone);
    tcase_add_test(waste, the_most_ranks);
    tcase_add_test(waste, waste_of_a_tier);
    TCase *idle = add_case(suite, "idle");
    tcase_add_test(idle, idle_of_a_tier_is_bounded);
    tcase_add_test(idle, prewarm_keeps_a_tiers_bound);
    return run_suite(suite);
}
