/* Pools by name, and tokens: each owns one reference and is taken over once. */
#include <pthread.h>
#include <sys/wait.h>

#include "support.h"

static bp_pool *pool;

static bp_pool *named(const char *name, bp_error *error) {
    bp_options o;
    bp_options_init(&o);
    o.region_size = 64 * MIB;
    o.name = name;
    return bp_pool_create(&o, error);
}

static void setup(void) { ck_assert_ptr_nonnull(pool = named("tokens", NULL)); }

static void check_and_destroy(bp_pool *p) {
    char message[200] = "";
    ck_assert_msg(bp_pool_check(p, message, sizeof message) == BP_OK, "%s", message);
    bp_pool_destroy(p);
}

static void teardown(void) { check_and_destroy(pool); }

/* ---- names ----------------------------------------------------------------------- */

START_TEST(an_open_ends_with_a_destroy_of_its_own) {
    ck_assert_ptr_eq(bp_pool_open("tokens"), pool);
    bp_pool_destroy(pool);
    ck_assert_ptr_eq(bp_pool_open("tokens"), pool);
    bp_buffer *b = bp_buffer_get(pool, 100);
    ck_assert_ptr_nonnull(b);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    bp_pool_destroy(pool);
}
END_TEST

START_TEST(a_name_belongs_to_one_open_pool) {
    bp_error error;
    ck_assert_ptr_null(named("tokens", &error));
    ck_assert_int_eq(error.status, BP_ERR_EXISTS);
    ck_assert_str_eq(error.message, "an open pool has that name");
    ck_assert_ptr_null(bp_pool_open("token"));
    ck_assert_ptr_null(bp_pool_open(""));
    /* Pools without a name are not found, and there may be many. */
    bp_pool *nameless[2] = {named(NULL, NULL), named("", NULL)};
    for (size_t i = 0; i < COUNT_OF(nameless); i++) {
        ck_assert_ptr_nonnull(nameless[i]);
        bp_pool_destroy(nameless[i]);
    }
}
END_TEST

START_TEST(the_name_of_an_ended_pool_is_free) {
    bp_pool *ended = named("ended", NULL);
    bp_buffer *b = bp_buffer_get(ended, 100);
    bp_pool_destroy(ended); /* the buffer keeps its memory */
    ck_assert_ptr_null(bp_pool_open("ended"));
    bp_pool *next = named("ended", NULL);
    ck_assert_ptr_nonnull(next);
    ck_assert_int_eq(bp_buffer_release(ended, b), BP_OK);
    ck_assert_ptr_eq(bp_pool_open("ended"), next);
    bp_pool_destroy(next);
    bp_pool_destroy(next);
}
END_TEST

/* ---- tokens ---------------------------------------------------------------------- */

START_TEST(a_token_owns_a_reference_and_is_taken_once) {
    char token[BP_TOKEN_SIZE];
    bp_pool *of = NULL;
    bp_buffer *b = bp_buffer_get(pool, 100), *taken = NULL;
    ck_assert_int_eq(bp_buffer_export(pool, b, NULL, token), BP_OK);
    for (const char *c = token; *c; c++) {
        ck_assert(*c > ' ' && *c < 127);
    }
    ck_assert_uint_eq(bp_buffer_ref_count(b), 2);
    ck_assert_uint_eq(stats_of(pool).exported, 1);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    ck_assert_int_eq(bp_buffer_import(token, &of, &taken, NULL), BP_OK);
    ck_assert_ptr_eq(of, pool);
    ck_assert_ptr_eq(taken, b);
    ck_assert_uint_eq(bp_buffer_ref_count(b), 1);
    ck_assert_uint_eq(stats_of(pool).exported, 0);
    of = NULL;
    ck_assert_int_eq(bp_buffer_import(token, &of, &taken, NULL), BP_ERR_TOKEN);
    ck_assert_ptr_null(of);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
}
END_TEST

START_TEST(forged_tokens_are_refused) {
    char token[BP_TOKEN_SIZE], bad[BP_TOKEN_SIZE + 1];
    bp_pool *of;
    bp_buffer *b = bp_buffer_get(pool, 100), *taken;
    ck_assert_int_eq(bp_buffer_export(pool, b, NULL, token), BP_OK);
    size_t length = strlen(token);
    for (size_t i = 0; i < length; i++) { /* one character changed */
        static const char others[] = "0f-gA \n";
        for (const char *c = others; *c; c++) {
            strcpy(bad, token);
            bad[i] = *c;
            bool same = *c == token[i];
            if (!same) {
                int status = bp_buffer_import(bad, &of, &taken, NULL);
                ck_assert_msg(status == BP_ERR_TOKEN || status == BP_ERR_COPY, "%s: %d", bad,
                              status);
            }
        }
    }
    for (size_t n = 0; n < length; n++) { /* cut short, or longer */
        snprintf(bad, sizeof bad, "%.*s", (int)n, token);
        ck_assert_int_eq(bp_buffer_import(bad, &of, &taken, NULL), BP_ERR_TOKEN);
    }
    snprintf(bad, sizeof bad, "%s0", token);
    ck_assert_int_eq(bp_buffer_import(bad, &of, &taken, NULL), BP_ERR_TOKEN);
    ck_assert_int_eq(bp_buffer_import(token, &of, &taken, NULL), BP_OK);
    ck_assert_int_eq(bp_buffer_release(pool, taken), BP_OK);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
}
END_TEST

START_TEST(dead_and_raw_buffers_have_no_token) {
    char token[BP_TOKEN_SIZE];
    bp_buffer *b = bp_buffer_get(pool, 100);
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    ck_assert_int_eq(bp_buffer_export(pool, b, NULL, token), BP_ERR_DEAD);
    void *p = bp_raw_get(pool, 100, NULL); /* the same block again */
    ck_assert_ptr_eq(p, bp_buffer_data(b));
    ck_assert_int_eq(bp_buffer_export(pool, b, NULL, token), BP_ERR_KIND);
    ck_assert_int_eq(bp_raw_put(pool, p), BP_OK);
    ck_assert_uint_eq(stats_of(pool).exported, 0);
}
END_TEST

START_TEST(a_token_outlives_its_pool) {
    char token[BP_TOKEN_SIZE];
    bp_pool *ended = named("ended", NULL), *of;
    bp_buffer *b = bp_buffer_get(ended, 100), *taken;
    fill(bp_buffer_data(b), 100, 7);
    ck_assert_int_eq(bp_buffer_export(ended, b, NULL, token), BP_OK);
    ck_assert_int_eq(bp_buffer_release(ended, b), BP_OK);
    bp_pool_destroy(ended);
    ck_assert_int_eq(bp_buffer_import(token, &of, &taken, NULL), BP_OK);
    ck_assert(filled(bp_buffer_data(taken), 100, 7));
    ck_assert_int_eq(bp_buffer_release(of, taken), BP_OK);
}
END_TEST

/* Many at once: the table grows, and places are used again under new secrets. */
START_TEST(many_tokens_in_any_order) {
    enum { N = 1000 };
    static char tokens[N][BP_TOKEN_SIZE], old[BP_TOKEN_SIZE];
    rng r = {seed_of_run("many_tokens")};
    bp_pool *of;
    bp_buffer *b = bp_buffer_get(pool, 100), *taken;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < N; i++) {
            ck_assert_int_eq(bp_buffer_export(pool, b, NULL, tokens[i]), BP_OK);
        }
        ck_assert_uint_eq(stats_of(pool).exported, N);
        ck_assert_uint_eq(bp_buffer_ref_count(b), N + 1);
        strcpy(old, tokens[0]);
        for (size_t left = N; left > 0; left--) {
            size_t i = rng_below(&r, left);
            ck_assert_int_eq(bp_buffer_import(tokens[i], &of, &taken, NULL), BP_OK);
            ck_assert_int_eq(bp_buffer_release(of, taken), BP_OK);
            memcpy(tokens[i], tokens[left - 1], BP_TOKEN_SIZE);
        }
        ck_assert_int_eq(bp_buffer_import(old, &of, &taken, NULL), BP_ERR_TOKEN);
    }
    ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
}
END_TEST

/* Of several threads with the same token exactly one gets the reference. */
static char raced[200][BP_TOKEN_SIZE];

static void *import_all(void *arg) {
    size_t *won = arg;
    for (size_t i = 0; i < COUNT_OF(raced); i++) {
        bp_pool *of;
        bp_buffer *taken;
        if (bp_buffer_import(raced[i], &of, &taken, NULL) == BP_OK) {
            ++*won;
            ck_assert_int_eq(bp_buffer_release(of, taken), BP_OK);
        }
    }
    return NULL;
}

START_TEST(one_thread_wins_a_token) {
    pthread_t threads[4];
    size_t won[4] = {0}, sum = 0;
    for (size_t i = 0; i < COUNT_OF(raced); i++) {
        bp_buffer *b = bp_buffer_get(pool, 4096);
        ck_assert_int_eq(bp_buffer_export(pool, b, NULL, raced[i]), BP_OK);
        ck_assert_int_eq(bp_buffer_release(pool, b), BP_OK);
    }
    for (size_t t = 0; t < COUNT_OF(threads); t++) {
        ck_assert_int_eq(pthread_create(&threads[t], NULL, import_all, &won[t]), 0);
    }
    for (size_t t = 0; t < COUNT_OF(threads); t++) {
        pthread_join(threads[t], NULL);
        sum += won[t];
    }
    ck_assert_uint_eq(sum, COUNT_OF(raced));
    ck_assert_uint_eq(stats_of(pool).in_use, 0);
}
END_TEST

/* A child has a copy of the table, and secrets of its own from then on. */
START_TEST(a_forks_child_has_its_own_tokens) {
    char before[BP_TOKEN_SIZE], after[BP_TOKEN_SIZE];
    bp_pool *of;
    bp_buffer *b = bp_buffer_get(pool, 100), *taken;
    ck_assert_int_eq(bp_buffer_export(pool, b, NULL, before), BP_OK);
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        bool good = bp_buffer_export(pool, b, NULL, after) == BP_OK &&
                    bp_buffer_import(before, &of, &taken, NULL) == BP_OK && taken == b;
        good = good && write(ends[1], after, sizeof after) == (ssize_t)sizeof after;
        _exit(good ? 0 : 1);
    }
    int status = -1;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    char childs[BP_TOKEN_SIZE];
    ck_assert_int_eq(read(ends[0], childs, sizeof childs), (ssize_t)sizeof childs);
    ck_assert_int_eq(bp_buffer_export(pool, b, NULL, after), BP_OK);
    ck_assert_str_ne(childs, after);
    ck_assert_int_eq(bp_buffer_import(childs, &of, &taken, NULL), BP_ERR_TOKEN);
    ck_assert_int_eq(bp_buffer_import(before, &of, &taken, NULL), BP_OK);
    ck_assert_int_eq(bp_buffer_import(after, &of, &taken, NULL), BP_OK);
    while (bp_buffer_release(pool, b) == BP_OK) {
    }
    close(ends[0]);
    close(ends[1]);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("token");
    TCase *tc = add_case(suite, "token");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, an_open_ends_with_a_destroy_of_its_own);
    tcase_add_test(tc, a_name_belongs_to_one_open_pool);
    tcase_add_test(tc, the_name_of_an_ended_pool_is_free);
    tcase_add_test(tc, a_token_owns_a_reference_and_is_taken_once);
    tcase_add_test(tc, forged_tokens_are_refused);
    tcase_add_test(tc, dead_and_raw_buffers_have_no_token);
    tcase_add_test(tc, a_token_outlives_its_pool);
    tcase_add_test(tc, many_tokens_in_any_order);
    tcase_add_test(tc, one_thread_wins_a_token);
    tcase_add_test(tc, a_forks_child_has_its_own_tokens);
    return run_suite(suite);
}
