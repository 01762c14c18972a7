/* Many pools in one process, little address space for them, and huge pages. */
#include <errno.h>
#include <sys/resource.h>

#include "support.h"
#include "wrap.h"

enum { POOLS = 300 };
static bp_pool *pools[POOLS];

static const size_t lengths[] = {100, 5000, 100000, 2 * MIB, 3 * MIB};

/* How many of the lengths were had. */
static size_t use(bp_pool *pool) {
    bp_buffer *b[COUNT_OF(lengths)];
    size_t had = 0;
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        errno = 0;
        b[i] = bp_buffer_get(pool, lengths[i]);
        if (b[i]) fill(bp_buffer_data(b[i]), 64, i);
        else ck_assert_int_eq(errno, ENOMEM);
        had += b[i] != NULL;
    }
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        if (!b[i]) continue;
        ck_assert(filled(bp_buffer_data(b[i]), 64, i));
        ck_assert_int_eq(bp_buffer_release(pool, b[i]), BP_OK);
    }
    ck_assert_uint_eq(stats_of(pool).in_use, 0);
    return had;
}

static bp_pool *pool_with_region(size_t region_size) {
    bp_options o;
    bp_error e;
    bp_options_init(&o);
    o.region_size = region_size;
    bp_pool *pool = bp_pool_create(&o, &e);
    if (!pool) ck_assert_int_eq(e.status, BP_ERR_NOMEM);
    return pool;
}

/* The size that is chosen, and a small one. */
static const size_t region_sizes[] = {0, 8 * MIB};

START_TEST(many_pools) {
    uint64_t reserved = 0;
    for (size_t i = 0; i < POOLS; i++) {
        pools[i] = pool_with_region(region_sizes[_i]);
        ck_assert_ptr_nonnull(pools[i]);
        ck_assert_uint_eq(use(pools[i]), COUNT_OF(lengths));
        reserved += stats_of(pools[i]).reserved_bytes;
    }
    for (size_t i = 0; i < POOLS; i++) {
        ck_assert_uint_eq(use(pools[i]), COUNT_OF(lengths));
        ASSERT_POOL(pools[i]);
        bp_pool_destroy(pools[i]);
    }
    printf("limits: %d pools reserved %" PRIu64 " GiB\n", POOLS, reserved / GIB);
}
END_TEST

/* Each pool works or refuses, and when others are gone those that refused work. */
START_TEST(many_pools_in_little_space) {
    static const size_t rooms[] = {4 * GIB, 512 * MIB};
    struct rlimit limit;
    size_t whole = 0, none = 0;
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = (rlim_t)(address_space() + rooms[_i]);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    for (size_t i = 0; i < POOLS; i++) {
        pools[i] = pool_with_region(0);
        size_t had = pools[i] ? use(pools[i]) : 0;
        whole += had == COUNT_OF(lengths);
        none += had == 0;
    }
    ck_assert_uint_gt(whole, 3);
    for (size_t i = 0; i < POOLS; i++) {
        if (pools[i]) ASSERT_POOL(pools[i]);
        if (i % 2 == 0) bp_pool_destroy(pools[i]);
    }
    for (size_t i = 1; i < POOLS; i += 2) {
        if (!pools[i]) pools[i] = pool_with_region(0);
        ck_assert_ptr_nonnull(pools[i]);
        if (i < 5 || i > POOLS - 5) ck_assert_uint_eq(use(pools[i]), COUNT_OF(lengths));
        ASSERT_POOL(pools[i]);
        bp_pool_destroy(pools[i]);
    }
    printf("limits: in %zu MiB %zu of %d pools served all lengths, %zu none\n", rooms[_i] / MIB,
           whole, POOLS, none);
}
END_TEST

/* ---- huge pages ------------------------------------------------------------------------- */

/* Whether the mapping around p is one of those that never get huge pages. */
static bool never_huge(const void *p) {
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    bool inside = false, never = false;
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        uintptr_t from, to;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            inside = (uintptr_t)p >= from && (uintptr_t)p < to;
        if (inside && strncmp(line, "VmFlags:", 8) == 0) never = strstr(line, " nh") != NULL;
    }
    fclose(f);
    return never;
}

/* The resident memory of a pool of which each tier has one touched page. */
static size_t cost_of_a_page_each(size_t count, bool *never) {
    size_t sizes[BP_MAX_TIERS], defaults;
    const size_t *tiers = bp_size_power_of_two(&defaults);
    for (size_t t = 0; t < count; t++) sizes[t] = count == defaults ? tiers[t] : 4096 * (t + 1);
    bp_pool *pool = pool_of(sizes, count, 256 * MIB);
    bp_buffer *b[BP_MAX_TIERS];
    size_t before = resident();
    for (size_t t = 0; t < count; t++) {
        b[t] = bp_buffer_get(pool, sizes[t]);
        touch(bp_buffer_data(b[t]), 1);
    }
    size_t cost = resident() - before;
    *never = true;
    for (size_t t = 0; t < count; t++) {
        *never = *never && never_huge(bp_buffer_data(b[t])) && never_huge(b[t]);
        ck_assert_int_eq(bp_buffer_release(pool, b[t]), BP_OK);
    }
    bp_pool_destroy(pool);
    return cost;
}

/* The advice on the mapping says the same whatever the machine is set to, so its setting
 * stays as it is. The control turns the advice round: that is what a machine costs
 * whose setting is "always". */
START_TEST(huge_pages_do_not_cost) {
    size_t count = _i ? 64 : 15;
    bool never, control_never;
    size_t cost = cost_of_a_page_each(count, &never);
    wrap.huge_pages = true;
    size_t control = cost_of_a_page_each(count, &control_never);
    wrap.huge_pages = false;
    printf("limits: a page in each of %zu tiers: %zu KiB resident; with huge pages %zu KiB\n",
           count, cost / KIB, control / KIB);
    ck_assert(never);
    ck_assert(!control_never);
    ck_assert_uint_lt(cost, count * 32 * KIB + 256 * KIB);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("limits");
    TCase *tc = add_case(suite, "pools");
    /* The address space that TSan leaves is too small for regions of the chosen size. */
    tcase_add_loop_test(tc, many_pools, SANITIZED ? 1 : 0, (int)COUNT_OF(region_sizes));
    if (memory_is_observable()) {
        tcase_add_loop_test(tc, many_pools_in_little_space, 0, 2);
    } else {
        printf("limits: little space skipped, it cannot be limited here\n");
    }
    tc = add_case(suite, "huge pages");
    if (memory_is_observable() && access("/sys/kernel/mm/transparent_hugepage", R_OK) == 0) {
        tcase_add_loop_test(tc, huge_pages_do_not_cost, 0, 2);
    } else {
        printf("limits: huge pages skipped, there are none here or nothing shows them\n");
    }
    return run_suite(suite);
}
