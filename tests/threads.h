/* Threads of a libcheck test. They return how many things went wrong: libcheck's jump out of a
 * failed assertion must not leave the main thread. */
#ifndef BYTEPOOL_TESTS_THREADS_H
#define BYTEPOOL_TESTS_THREADS_H

#include <check.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

static inline void start(pthread_t *id, void *(*run)(void *), void *arg) {
    ck_assert_int_eq(pthread_create(id, NULL, run, arg), 0);
}

static inline size_t finish(pthread_t id) {
    void *result = NULL;
    ck_assert_int_eq(pthread_join(id, &result), 0);
    return (size_t)(uintptr_t)result;
}

/* What a thread returns. */
static inline void *failures(size_t count) { return (void *)(uintptr_t)count; }

#endif
