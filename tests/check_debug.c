/* Pools made with debug: what is written behind a block, or into an idle one, is found. The
 * bytes are read and written behind the pool's back, and behind AddressSanitizer's. */
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif

#if defined(__GNUC__)
#define UNSEEN __attribute__((noinline, no_sanitize("address")))
#else
#define UNSEEN
#endif

UNSEEN static unsigned char peek(const volatile unsigned char *p) { return *p; }

UNSEEN static void poke(volatile unsigned char *p, unsigned char value) { *p = value; }

static bp_pool *debug_pool(void) {
    bp_options o;
    bp_options_init(&o);
    o.region_size = 64 * MIB;
    o.debug = true;
    bp_pool *pool = bp_pool_create(&o, NULL);
    ck_assert_ptr_nonnull(pool);
    return pool;
}

static void check_and_end(bp_pool *pool) {
    char message[200] = "";
    ck_assert_msg(bp_pool_check(pool, message, sizeof message) == BP_OK, "%s", message);
    ck_assert_uint_eq(stats_of(pool).in_use, 0);
    bp_pool_destroy(pool);
}

/* Tiers, a tier of whole slabs' fraction, and alone ones of page classes and runs. */
static const size_t lengths[] = {0,     1,     100,     127,     128,     4000,
                                 65536, 65537, 2097152, 2097153, 2101248, 9000000};

START_TEST(the_whole_capacity_may_be_written) {
    bp_pool *pool = debug_pool();
    for (int round = 0; round < 3; round++) {
        bp_buffer *b = bp_buffer_get(pool, lengths[_i]);
        memset(bp_buffer_data(b), round, bp_buffer_capacity(pool, b));
        ck_assert_int_eq(bp_buffer_retain(b), BP_OK);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
        size_t capacity;
        unsigned char *p = bp_raw_get(pool, lengths[_i], &capacity);
        memset(p, round, capacity);
        ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
    }
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.overruns + s.late_writes, 0);
    check_and_end(pool);
}
END_TEST

START_TEST(a_byte_behind_it_is_found) {
    bp_pool *pool = debug_pool();
    for (size_t behind = 0; behind < 16; behind += 5) {
        bp_buffer *b = bp_buffer_get(pool, lengths[_i]);
        unsigned char *end = (unsigned char *)bp_buffer_data(b) + bp_buffer_capacity(pool, b);
        poke(end + behind, 0);
        ck_assert_int_eq(bp_buffer_retain(b), BP_OK);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK); /* one reference is left */
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_ERR_OVERRUN);
        size_t capacity;
        unsigned char *p = bp_raw_get(pool, lengths[_i], &capacity);
        poke(p + capacity + behind, 1);
        ck_assert_int_eq(bp_raw_put(pool, p), BP_ERR_OVERRUN);
    }
    ck_assert_uint_eq(stats_of(pool).overruns, 8);
    check_and_end(pool); /* the blocks went back all the same */
}
END_TEST

START_TEST(an_idle_block_is_filled_and_a_late_write_found) {
    bp_pool *pool = debug_pool();
    for (size_t i = 1; i < 9; i++) { /* those of tiers */
        size_t n = lengths[i], capacity;
        unsigned char *p = bp_raw_get(pool, n, &capacity);
        memset(p, 0xaa, capacity);
        ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
        for (size_t at = 0; at < capacity; at += 61) {
            ck_assert_int_eq(peek(p + at), 0xdb);
        }
        ck_assert_uint_eq(stats_of(pool).late_writes, i - 1);
        poke(p + capacity / 2, 0);
        ck_assert_ptr_eq(bp_raw_get(pool, n, NULL), p);
        ck_assert_uint_eq(stats_of(pool).late_writes, i);
        ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
        ck_assert_ptr_eq(bp_raw_get(pool, n, NULL), p);
        ck_assert_uint_eq(stats_of(pool).late_writes, i);
        ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
        (void)bp_pool_trim(pool);
    }
    check_and_end(pool);
}
END_TEST

/* Memory that goes back and comes again, in other tiers too, under a sanitizer and without. */
START_TEST(trimmed_slabs_are_used_anew) {
    static bp_buffer *b[3000];
    bp_pool *pool = debug_pool();
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < COUNT_OF(b); i++) {
            b[i] = bp_buffer_get(pool, round % 2 == 0 ? 4096 : 100 + i % 9000);
            memset(bp_buffer_data(b[i]), round, bp_buffer_length(b[i]));
        }
        for (size_t i = 0; i < COUNT_OF(b); i++) {
            ck_assert_int_eq(bp_buffer_release(pool, b[i]), BP_OK);
        }
        (void)bp_pool_trim(pool);
        ck_assert_int_eq(bp_pool_prewarm(pool, 8192, 100), BP_OK);
    }
    bp_stats s = stats_of(pool);
    ck_assert_uint_eq(s.overruns + s.late_writes, 0);
    ck_assert_uint_gt(s.trimmed_bytes, 0);
    check_and_end(pool);
}
END_TEST

START_TEST(others_have_no_canary) {
    bp_pool *pool = bp_pool_create(NULL, NULL);
    ck_assert(!bp_pool_is_debug(pool));
    size_t capacity;
    unsigned char *p = bp_raw_get(pool, 100, &capacity);
    memset(p, 0xaa, capacity);
    ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
    ck_assert_int_eq(p[50], 0xaa);
    bp_pool_destroy(pool);
}
END_TEST

#ifdef HAS_ASAN
/* AddressSanitizer ends the child at the very access. */
static bool dies(bp_pool *pool, void (*access)(bp_pool *)) {
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr));
        access(pool);
        _exit(0);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static volatile unsigned char sink;

static void inside(bp_pool *pool) {
    size_t capacity;
    volatile unsigned char *p = bp_raw_get(pool, 1000, &capacity);
    p[capacity - 1] = 1;
}

static void behind(bp_pool *pool) {
    size_t capacity;
    volatile unsigned char *p = bp_raw_get(pool, 1000, &capacity);
    p[capacity] = 1;
}

static void after_release(bp_pool *pool) {
    volatile unsigned char *p = bp_raw_get(pool, 1000, NULL);
    (void)bp_raw_put(pool, (void *)(uintptr_t)p);
    sink = p[10];
}

START_TEST(the_sanitizer_names_the_access) {
    bp_pool *pool = debug_pool();
    ck_assert(!dies(pool, inside));
    ck_assert(dies(pool, behind));
    ck_assert(dies(pool, after_release));
    bp_pool_destroy(pool);
}
END_TEST
#endif

int main(void) {
    Suite *suite = suite_create("debug");
    TCase *tc = add_case(suite, "debug");
    tcase_add_loop_test(tc, the_whole_capacity_may_be_written, 0, (int)COUNT_OF(lengths));
    tcase_add_loop_test(tc, a_byte_behind_it_is_found, 0, (int)COUNT_OF(lengths));
    tcase_add_test(tc, an_idle_block_is_filled_and_a_late_write_found);
    tcase_add_test(tc, trimmed_slabs_are_used_anew);
    tcase_add_test(tc, others_have_no_canary);
#ifdef HAS_ASAN
    tcase_add_test(tc, the_sanitizer_names_the_access);
#endif
    return run_suite(suite);
}
