/* Raw pointers: what is taken back, and what is refused without being followed. */
#include "support.h"

static bp_pool *pool_with_regions(size_t region_size) {
    bp_options o;
    bp_options_init(&o);
    o.region_size = region_size;
    o.max_idle = 2 * GIB;
    bp_pool *pool = bp_pool_create(&o, NULL);
    ck_assert_ptr_nonnull(pool);
    return pool;
}

START_TEST(pointer_and_capacity) {
    bp_pool *pool = pool_with_regions(0);
    const size_t *tiers = sizes_of(pool);
    for (size_t n = 0; n <= 3 * MIB; n = n * 2 + 1) {
        size_t count = stats_of(pool).tier_count, t = tier_serving(tiers, count, n), capacity = 0;
        unsigned char *p = bp_raw_get(pool, n, &capacity);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 64, 0);
        ck_assert_uint_eq(capacity, t < count ? tiers[t] : n);
        fill(p, capacity, n);
        ck_assert(filled(p, capacity, n));
        ck_assert_uint_eq(stats_of(pool).in_use, 1);
        ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
        ck_assert_uint_eq(stats_of(pool).in_use, 0);
    }
    void *p = bp_raw_get(pool, 10, NULL);
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(given_back_twice) {
    bp_pool *pool = pool_with_regions(0);
    static const size_t sizes[] = {0, 128, 4096, 2 * MIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *p = bp_raw_get(pool, sizes[i], NULL);
        ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
        bp_stats before = stats_of(pool);
        for (int again = 0; again < 3; again++) ck_assert_int_eq(bp_raw_put(pool, p), BP_ERR_DEAD);
        ASSERT_UNCHANGED(pool, before);
    }
    void *a = bp_raw_get(pool, 128, NULL), *b = bp_raw_get(pool, 128, NULL);
    ck_assert_ptr_ne(a, b);
    ck_assert_int_eq(bp_raw_put(pool, a), BP_OK);
    ck_assert_int_eq(bp_raw_put(pool, b), BP_OK);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* Kinds must not stick to a block: it serves both in turn. */
START_TEST(handle_owned_payloads) {
    bp_pool *pool = pool_with_regions(0);
    static const size_t sizes[] = {100, 100000, 2 * MIB, 3 * MIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        bp_buffer *b = bp_buffer_get(pool, sizes[i]);
        bp_stats before = stats_of(pool);
        ck_assert_int_eq(bp_raw_put(pool, bp_buffer_data(b)), BP_ERR_KIND);
        ck_assert_int_eq(bp_buffer_retain(b), BP_OK);
        ck_assert_int_eq(bp_raw_put(pool, bp_buffer_data(b)), BP_ERR_KIND);
        ASSERT_UNCHANGED(pool, before);
        ck_assert_uint_eq(bp_buffer_ref_count(b), 2);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);

        void *p = bp_raw_get(pool, sizes[i], NULL);
        before = stats_of(pool);
        /* a raw pointer is no buffer, whatever it is cast to */
        ck_assert_int_eq(bp_buffer_put(pool, p), BP_ERR_FOREIGN);
        ASSERT_UNCHANGED(pool, before);
        ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
    }
    /* the block that was raw a moment ago */
    bp_buffer *b = bp_buffer_get(pool, 100);
    ck_assert_int_eq(bp_raw_put(pool, bp_buffer_data(b)), BP_ERR_KIND);
    ck_assert_int_eq(bp_buffer_put(pool, b), BP_OK);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* The header of a raw block is no handle either. Its address is learnt while the
 * block is handle-owned, for the two kinds share their blocks. */
START_TEST(header_of_a_raw_block) {
    enum { TRIES = 1000 };
    void *p[TRIES];
    size_t count = 0;
    bp_pool *pool = pool_with_regions(0);
    bp_buffer *b = bp_buffer_get(pool, 4096);
    void *payload = bp_buffer_data(b);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    do {
        p[count] = bp_raw_get(pool, 4096, NULL);
    } while (p[count++] != payload && count < TRIES);
    ck_assert_ptr_eq(p[count - 1], payload);
    bp_stats before = stats_of(pool);
    ck_assert_int_eq(bp_buffer_put(pool, b), BP_ERR_KIND);
    ASSERT_UNCHANGED(pool, before);
    while (count--) ck_assert_int_eq(bp_raw_put(pool, p[count]), BP_OK);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* The block that this thread got last is tried before the look-up. */
START_TEST(header_of_a_slab_that_went_back) {
    bp_pool *pool = pool_with_regions(0);
    bp_buffer *b = bp_buffer_get(pool, 8 * MIB);
    void *payload = bp_buffer_data(b);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    ck_assert_ptr_eq(bp_raw_get(pool, 8 * MIB, NULL), payload);
    ck_assert_int_eq(bp_raw_put(pool, payload), BP_OK);
    ck_assert_int_eq(bp_raw_put(pool, b), BP_ERR_FOREIGN);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(foreign_pointers) {
    bp_pool *pool = pool_with_regions(0), *other = pool_with_regions(0);
    uint64_t stack[64] = {0};
    char *heap = malloc(100000);
    char *mine = bp_raw_get(pool, 4096, NULL), *theirs = bp_raw_get(other, 4096, NULL);
    bp_buffer *handle = bp_buffer_get(pool, 4096);
    static int fixed;
    void *wrong[] = {
        NULL,
        stack,
        stack + 1,
        heap,
        heap + 64,
        &fixed,
        pool,
        other,
        handle,
        theirs,
        mine + 1,
        mine + 8,
        mine + 63,
        mine + 64,
        mine + 2048,
        mine + 4095,
        (char *)handle + 32,
        (char *)theirs + 64,
        (void *)(uintptr_t)1,
        (void *)(uintptr_t)64,
        (void *)UINTPTR_MAX,
        (void *)(UINTPTR_MAX - 63),
        (void *)((uintptr_t)1 << 63),
        (void *)((uintptr_t)1 << 47),
    };
    bp_stats before = stats_of(pool), before_other = stats_of(other);
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        int status = bp_raw_put(pool, wrong[i]);
        ck_assert_msg(status == BP_ERR_FOREIGN, "pointer %zu: %s", i, bp_strerror(status));
    }
    ASSERT_UNCHANGED(pool, before);
    ASSERT_UNCHANGED(other, before_other);
    free(heap);
    ck_assert_int_eq(bp_buffer_put(pool, handle), BP_OK);
    ck_assert_int_eq(bp_raw_put(pool, mine), BP_OK);
    ck_assert_int_eq(bp_raw_put(other, theirs), BP_OK);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
    bp_pool_destroy(other);
}
END_TEST

static int by_address(const void *a, const void *b) {
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return (x > y) - (x < y);
}

/* Every line of address space from the first block to the last: the starts of
 * live blocks are the only ones taken, so gaps and block middles are refused.
 * Starts of blocks that were never handed out may count as given back. */
START_TEST(every_line_of_a_slab) {
    enum { COUNT = 1000 };
    static uintptr_t start[COUNT];
    static const size_t tier[] = {192};
    bp_pool *pool = pool_of(tier, 1, 64 * MIB);
    for (size_t i = 0; i < COUNT; i++) {
        start[i] = (uintptr_t)bp_raw_get(pool, 192, NULL);
        ck_assert_uint_ne(start[i], 0);
    }
    qsort(start, COUNT, sizeof start[0], by_address);
    bp_stats before = stats_of(pool);
    size_t next = 0, dead = 0;
    for (uintptr_t p = start[0] - 4096; p < start[COUNT - 1] + 4096; p += 64) {
        if (next < COUNT && p == start[next]) {
            next++;
            continue;
        }
        int status = bp_raw_put(pool, (void *)p);
        ck_assert_msg(status == BP_ERR_FOREIGN || status == BP_ERR_DEAD, "status %d", status);
        dead += status == BP_ERR_DEAD;
    }
    ck_assert_uint_eq(next, COUNT);
    ck_assert_uint_le(dead, 2 * 4096 / 192 + 2); /* those before the first and past the last */
    ASSERT_UNCHANGED(pool, before);
    for (size_t i = 0; i < COUNT; i++) ck_assert_int_eq(bp_raw_put(pool, (void *)start[i]), BP_OK);
    for (size_t i = 0; i < COUNT; i++)
        ck_assert_int_eq(bp_raw_put(pool, (void *)start[i]), BP_ERR_DEAD);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* Pointers stay known after a trim took their pages, and are dead, not usable. */
START_TEST(after_a_trim) {
    bp_pool *pool = pool_with_regions(0);
    void *p = bp_raw_get(pool, 4096, NULL), *kept = bp_raw_get(pool, 4096, NULL);
    ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
    bp_pool_trim(pool);
    int status = bp_raw_put(pool, p);
    ck_assert(status == BP_ERR_DEAD || status == BP_ERR_FOREIGN);
    ck_assert_int_eq(bp_raw_put(pool, kept), BP_OK);
    bp_pool_trim(pool);
    status = bp_raw_put(pool, kept);
    ck_assert(status == BP_ERR_DEAD || status == BP_ERR_FOREIGN);
    ck_assert_uint_eq(stats_of(pool).in_use, 0);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

/* 400 MiB in regions of 64 MiB: pointers of each are found, those between refused. */
START_TEST(several_regions) {
    enum { COUNT = 200 };
    static unsigned char *p[COUNT];
    bp_pool *pool = pool_with_regions(64 * MIB);
    uint64_t first = 0;
    for (size_t i = 0; i < COUNT; i++) {
        p[i] = bp_raw_get(pool, 2 * MIB, NULL);
        ck_assert_ptr_nonnull(p[i]);
        p[i][0] = p[i][2 * MIB - 1] = (unsigned char)i;
        if (i == 0) first = stats_of(pool).reserved_bytes;
    }
    ck_assert_uint_ge(first, 64 * MIB);
    ck_assert_uint_lt(first, 256 * MIB);
    ck_assert_uint_ge(stats_of(pool).reserved_bytes, COUNT * 2 * MIB);
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert(p[i][0] == (unsigned char)i && p[i][2 * MIB - 1] == (unsigned char)i);
        ck_assert_int_eq(bp_raw_put(pool, p[i] + 64), BP_ERR_FOREIGN);
        ck_assert_int_eq(bp_raw_put(pool, p[i]), BP_OK);
        ck_assert_int_eq(bp_raw_put(pool, p[i]), BP_ERR_DEAD);
    }
    ASSERT_POOL(pool);
    /* larger than a region of the chosen size */
    unsigned char *large = bp_raw_get(pool, 100 * MIB, NULL);
    ck_assert_ptr_nonnull(large);
    large[100 * MIB - 1] = 1;
    ck_assert_int_eq(bp_raw_put(pool, large), BP_OK);
    ASSERT_POOL(pool);
    bp_pool_destroy(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("raw");
    TCase *tc = add_case(suite, "own");
    tcase_add_test(tc, pointer_and_capacity);
    tcase_add_test(tc, given_back_twice);
    tcase_add_test(tc, several_regions);
    tc = add_case(suite, "refused");
    tcase_add_test(tc, handle_owned_payloads);
    tcase_add_test(tc, header_of_a_raw_block);
    tcase_add_test(tc, header_of_a_slab_that_went_back);
    tcase_add_test(tc, foreign_pointers);
    tcase_add_test(tc, every_line_of_a_slab);
    tcase_add_test(tc, after_a_trim);
    return run_suite(suite);
}
