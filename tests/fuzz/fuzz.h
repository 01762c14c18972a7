/* What the fuzz targets share: an input read as a stream of choices, and a main for
 * builds without libFuzzer, which runs the files it is given. */
#ifndef BYTEPOOL_TESTS_FUZZ_H
#define BYTEPOOL_TESTS_FUZZ_H

#define SUPPORT_NO_CHECK
#include "../support.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUZZ_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define FUZZ_ASAN 1
#endif
#ifdef FUZZ_ASAN
#include <sanitizer/asan_interface.h>
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    const uint8_t *at, *end;
} input;

/* Behind its end an input reads as zeros. */
static inline uint8_t take(input *in) { return in->at < in->end ? *in->at++ : 0; }

static inline _Noreturn void fuzz_fail(const char *where, size_t step, const char *what) {
    fprintf(stderr, "%s: step %zu: %s\n", where, step, what);
    abort();
}

/* With BP_FUZZ_TRACE set: each operation and the bytes that it was made from. */
static inline void fuzz_trace(size_t step, const char *op, const uint8_t *from, const uint8_t *to) {
    static int wanted = -1;
    if (wanted < 0) wanted = getenv("BP_FUZZ_TRACE") != NULL;
    if (!wanted) return;
    fprintf(stderr, "%4zu %s", step, op);
    for (; from < to; from++) fprintf(stderr, " %02x", *from);
    fprintf(stderr, "\n");
}

/* False where that can not be told. */
static inline bool known_live(const void *p) {
#ifdef FUZZ_ASAN
    return !__asan_address_is_poisoned(p);
#else
    (void)p;
    return false;
#endif
}

#ifdef FUZZ_STANDALONE
static inline bool run_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        return false;
    }
    static uint8_t data[1 << 20];
    size_t size = fread(data, 1, sizeof data, f);
    fclose(f);
    uint8_t *exact = malloc(size ? size : 1); /* so that a sanitizer knows its end */
    if (exact == NULL) return false;
    memcpy(exact, data, size);
    fprintf(stderr, "%s\n", path);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return true;
}

static inline int run_files(int argc, char **argv) {
    bool all = argc > 1;
    if (!all) fprintf(stderr, "usage: %s FILE ...\n", argv[0]);
    for (int i = 1; i < argc; i++) all = run_file(argv[i]) && all;
    return all ? EXIT_SUCCESS : EXIT_FAILURE;
}
#endif
#endif
