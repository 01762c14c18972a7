/* Fresh memory is refused, and what is at hand must serve. */
#include "support.h"
#include "wrap.h"

/* A region that has room, but whose commit is refused, must not hide the free slabs of a
 * later one. */
START_TEST(free_slabs_of_a_later_region) {
    static const size_t one[] = {4 * MIB};
    bp_options o;
    bp_options_init(&o);
    o.tiers = one;
    o.tier_count = 1;
    o.max_idle = 0;
    o.region_size = 16 * MIB;
    bp_pool *pool = bp_pool_create(&o, NULL);
    bp_buffer *first = bp_buffer_get(pool, 12 * MIB); /* one slab is left in its region */
    bp_buffer *second = bp_buffer_get(pool, 8 * MIB);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_nonnull(second);
    ck_assert_int_eq(bp_buffer_release(pool, second), BP_OK);
    wrap_refuse(1, UINT64_MAX, 1u << WRAP_MPROTECT);
    bp_buffer *b[3] = {bp_buffer_get(pool, 100), bp_buffer_get(pool, 4 * MIB), NULL};
    errno = 0;
    b[2] = bp_buffer_get(pool, 4 * MIB);
    int why = errno;
    wrap_obey();
    ck_assert_ptr_nonnull(b[0]);
    ck_assert_ptr_nonnull(b[1]);
    ck_assert_ptr_null(b[2]);
    ck_assert_int_eq(why, ENOMEM);
    ASSERT_POOL(pool);
    for (int i = 0; i < 2; i++) ck_assert_int_eq(bp_buffer_release(pool, b[i]), BP_OK);
    ck_assert_int_eq(bp_buffer_release(pool, first), BP_OK);
    bp_pool_destroy(pool);
}
END_TEST

/* Strict overcommit, as the kernel counts: what is made writable is charged until it is
 * unmapped, whether touched or not. */
static size_t charge, charge_limit;

static bool over_the_limit(int kind, size_t bytes, int prot) {
    (void)kind;
    if (!(prot & PROT_WRITE)) return false;
    if (bytes > charge_limit - charge) return true;
    charge += bytes;
    return false;
}

START_TEST(strict_overcommit) {
    enum { MANY = 200 };
    bp_buffer *held[MANY];
    charge_limit = 100 * MIB;
    wrap.refuse_more = over_the_limit;
    bp_pool *pool = bp_pool_create(NULL, NULL);
    ck_assert_ptr_nonnull(pool);
    for (int round = 0; round < 3; round++) {
        size_t size = round == 1 ? 3 * MIB : 2 * MIB, count = 0;
        errno = 0;
        while (count < MANY && (held[count] = bp_buffer_get(pool, size)) != NULL) count++;
        ck_assert_int_eq(errno, ENOMEM);
        ck_assert_uint_ge(count, 20); /* slabs of 4 MiB: 24 and headers */
        ck_assert_uint_eq(stats_of(pool).in_use, count);
        ASSERT_POOL(pool);
        for (size_t i = 0; i < count; i++)
            ck_assert_int_eq(bp_buffer_release(pool, held[i]), BP_OK);
        bp_pool_trim(pool);
    }
    wrap.refuse_more = NULL;
    bp_pool_destroy(pool);
}
END_TEST

/* Slabs that were taken before the one that could not be had are free again. */
START_TEST(a_refused_prewarm_gives_back) {
    bp_options o;
    bp_options_init(&o);
    o.max_idle = GIB;
    o.region_size = 256 * MIB;
    bp_pool *pool = bp_pool_create(&o, NULL);
    ck_assert_ptr_nonnull(pool);
    charge_limit = 40 * MIB;
    wrap.refuse_more = over_the_limit;
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(bp_pool_prewarm(pool, 2 * MIB, 100), BP_ERR_NOMEM);
    ck_assert_int_eq(bp_pool_prewarm(pool, 2 * MIB, 9), BP_OK);
    wrap.refuse_more = NULL;
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* No region as large as is sensible can be had: smaller ones serve. */
static bool over_half_a_gib(int kind, size_t bytes, int prot) {
    (void)prot;
    return kind == WRAP_MMAP && bytes > GIB / 2;
}

START_TEST(smaller_regions) {
    wrap.refuse_more = over_half_a_gib;
    bp_pool *pool = bp_pool_create(NULL, NULL);
    bp_buffer *b = bp_buffer_get(pool, 100), *large = bp_buffer_get(pool, 300 * MIB);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_nonnull(large);
    ck_assert_ptr_null(bp_buffer_get(pool, GIB));
    ck_assert_uint_gt(stats_of(pool).reserved_bytes, 64 * MIB);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    ck_assert_int_eq(bp_buffer_release(pool, large), BP_OK);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("commit");
    TCase *tc = add_case(suite, "commit");
    tcase_add_test(tc, free_slabs_of_a_later_region);
    tcase_add_test(tc, strict_overcommit);
    tcase_add_test(tc, a_refused_prewarm_gives_back);
    tcase_add_test(tc, smaller_regions);
    return run_suite(suite);
}
