/* Between the core and the system: counts what it asks for, and refuses the n-th request.
 *
 * For programs that the Makefile links with -Wl,--wrap: the objects under test are the
 * very ones that ship, so the core needs no build of its own for this. What else is in the
 * program is wrapped too; hence armed only around calls of the core. */
#ifndef BYTEPOOL_TESTS_WRAP_H
#define BYTEPOOL_TESTS_WRAP_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

enum {
    WRAP_MMAP,
    WRAP_MUNMAP,
    WRAP_MPROTECT,
    WRAP_MADVISE,
    WRAP_MALLOC,
    WRAP_CALLOC,
    WRAP_REALLOC,
    WRAP_MEMALIGN, /* posix_memalign and aligned_alloc */
    WRAP_FREE,
    WRAP_KEY,
    WRAP_SPECIFIC,
    WRAP_ATFORK,
    WRAP_KINDS
};
#define WRAP_ALL ((1u << WRAP_KINDS) - 1)

static const char *const wrap_names[] = {
    "mmap",        "munmap",         "mprotect", "madvise", "malloc",
    "calloc",      "realloc",        "memalign", "free",    "pthread_key_create",
    "setspecific", "pthread_atfork",
};

static struct {
    _Atomic uint64_t calls[WRAP_KINDS];
    _Atomic uint64_t refused[WRAP_KINDS];
    _Atomic uint64_t asked; /* of the kinds that may be refused */
    uint64_t from, to;      /* which of them are; from 0: none */
    unsigned kinds;
    bool (*refuse_more)(int kind, size_t bytes, int prot); /* another rule beside that */
    bool huge_pages;                                       /* NOHUGEPAGE turns into HUGEPAGE */
    _Atomic size_t mapped, lost; /* bytes; lost where munmap was refused */
    _Atomic int64_t allocated;   /* blocks of malloc and its like */
} wrap;

/* From the n-th request of those kinds on, `count` of them fail. */
static inline void wrap_refuse(uint64_t n, uint64_t count, unsigned kinds) {
    wrap.asked = 0;
    wrap.kinds = kinds;
    wrap.to = count > UINT64_MAX - n ? UINT64_MAX : n + count;
    wrap.from = n;
}

static inline void wrap_obey(void) { wrap.from = 0; }

static inline uint64_t wrap_refused(unsigned kinds) {
    uint64_t sum = 0;
    for (int i = 0; i < WRAP_KINDS; i++) sum += kinds >> i & 1 ? wrap.refused[i] : 0;
    return sum;
}

static bool wrap_refuses(int kind) {
    wrap.calls[kind]++;
    if (wrap.from == 0 || (wrap.kinds >> kind & 1) == 0) return false;
    uint64_t asked = ++wrap.asked;
    bool refused = asked >= wrap.from && asked < wrap.to;
    wrap.refused[kind] += refused;
    return refused;
}

static bool wrap_refuses_more(int kind, size_t bytes, int prot) {
    return wrap.refuse_more && wrap.refuse_more(kind, bytes, prot);
}

void *__real_mmap(void *, size_t, int, int, int, off_t);
int __real_munmap(void *, size_t);
int __real_mprotect(void *, size_t, int);
int __real_madvise(void *, size_t, int);
void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
int __real_posix_memalign(void **, size_t, size_t);
void *__real_aligned_alloc(size_t, size_t);
void __real_free(void *);
int __real_pthread_key_create(pthread_key_t *, void (*)(void *));
int __real_pthread_setspecific(pthread_key_t, const void *);
int __real_pthread_atfork(void (*)(void), void (*)(void), void (*)(void));

void *__wrap_mmap(void *, size_t, int, int, int, off_t);
int __wrap_munmap(void *, size_t);
int __wrap_mprotect(void *, size_t, int);
int __wrap_madvise(void *, size_t, int);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
int __wrap_posix_memalign(void **, size_t, size_t);
void *__wrap_aligned_alloc(size_t, size_t);
void __wrap_free(void *);
int __wrap_pthread_key_create(pthread_key_t *, void (*)(void *));
int __wrap_pthread_setspecific(pthread_key_t, const void *);
int __wrap_pthread_atfork(void (*)(void), void (*)(void), void (*)(void));

void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset) {
    bool refused = wrap_refuses(WRAP_MMAP) || wrap_refuses_more(WRAP_MMAP, n, prot);
    void *p = refused ? MAP_FAILED : __real_mmap(at, n, prot, flags, fd, offset);
    if (refused) errno = ENOMEM;
    if (p != MAP_FAILED) wrap.mapped += n;
    return p;
}

int __wrap_munmap(void *p, size_t n) {
    if (wrap_refuses(WRAP_MUNMAP)) {
        wrap.lost += n;
        errno = ENOMEM;
        return -1;
    }
    wrap.mapped -= n;
    return __real_munmap(p, n);
}

int __wrap_mprotect(void *p, size_t n, int prot) {
    if (wrap_refuses(WRAP_MPROTECT) || wrap_refuses_more(WRAP_MPROTECT, n, prot)) {
        errno = ENOMEM;
        return -1;
    }
    return __real_mprotect(p, n, prot);
}

int __wrap_madvise(void *p, size_t n, int advice) {
    if (wrap_refuses(WRAP_MADVISE)) {
        errno = EINVAL; /* as for locked pages */
        return -1;
    }
    if (wrap.huge_pages && advice == MADV_NOHUGEPAGE) advice = MADV_HUGEPAGE;
    return __real_madvise(p, n, advice);
}

static void *wrap_counted(void *p) {
    wrap.allocated += p != NULL;
    return p;
}

void *__wrap_malloc(size_t n) {
    return wrap_refuses(WRAP_MALLOC) ? NULL : wrap_counted(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size) {
    return wrap_refuses(WRAP_CALLOC) ? NULL : wrap_counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n) {
    if (wrap_refuses(WRAP_REALLOC)) return NULL;
    return p ? __real_realloc(p, n) : wrap_counted(__real_realloc(p, n));
}

int __wrap_posix_memalign(void **p, size_t align, size_t n) {
    if (wrap_refuses(WRAP_MEMALIGN)) return ENOMEM;
    int status = __real_posix_memalign(p, align, n);
    if (status == 0) wrap_counted(*p);
    return status;
}

void *__wrap_aligned_alloc(size_t align, size_t n) {
    return wrap_refuses(WRAP_MEMALIGN) ? NULL : wrap_counted(__real_aligned_alloc(align, n));
}

void __wrap_free(void *p) {
    wrap.calls[WRAP_FREE]++;
    if (p) wrap.allocated--;
    __real_free(p);
}

int __wrap_pthread_key_create(pthread_key_t *key, void (*end)(void *)) {
    return wrap_refuses(WRAP_KEY) ? EAGAIN : __real_pthread_key_create(key, end);
}

int __wrap_pthread_setspecific(pthread_key_t key, const void *value) {
    return wrap_refuses(WRAP_SPECIFIC) ? ENOMEM : __real_pthread_setspecific(key, value);
}

int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    return wrap_refuses(WRAP_ATFORK) ? ENOMEM : __real_pthread_atfork(prepare, parent, child);
}

#endif
