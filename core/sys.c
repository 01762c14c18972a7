/* What the pool asks of the operating system and of malloc, in one place. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif
#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

size_t bp__sys_page(void) {
    static _Atomic size_t page;
    size_t p = bp_peek(&page);
    if (p == 0) {
        long asked = sysconf(_SC_PAGESIZE);
        p = asked > 0 ? (size_t)asked : 4096;
        bp_poke(&page, p);
    }
    return p;
}

size_t bp__sys_ram(void) {
#ifdef _SC_PHYS_PAGES
    long pages = sysconf(_SC_PHYS_PAGES);
    if (pages > 0 && (size_t)pages < SIZE_MAX / bp__sys_page()) {
        return (size_t)pages * bp__sys_page();
    }
#endif
    return (size_t)1 << 30;
}

/* Pages of address space in use, 0 where the system does not tell. Locks are held here: no
 * stdio, which allocates, and no end of the thread by a cancellation. */
static size_t address_pages(void) {
    char text[64];
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    ssize_t got = -1;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        got = read(fd, text, sizeof text - 1);
        (void)close(fd);
    }
    pthread_setcancelstate(old, &old);
    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)strtoul(text, NULL, 10) : 0;
}

size_t bp__sys_address_room(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return SIZE_MAX;
    }
    size_t used = address_pages() * bp__sys_page();
    return (size_t)limit.rlim_cur > used ? (size_t)limit.rlim_cur - used : 0;
}

void *bp__sys_reserve(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
#ifdef MADV_NOHUGEPAGE
    /* One touched page of a tier would otherwise cost 2 MiB of resident memory. */
    (void)madvise(p, bytes, MADV_NOHUGEPAGE);
#endif
    return p;
}

bool bp__sys_commit(void *p, size_t bytes) {
    return mprotect(p, bytes, PROT_READ | PROT_WRITE) == 0;
}

void bp__sys_uncommit(void *p, size_t bytes) { (void)mprotect(p, bytes, PROT_NONE); }

void bp__sys_decommit(void *p, size_t bytes) {
#ifdef __linux__
    if (madvise(p, bytes, MADV_DONTNEED) == 0) {
        return;
    }
#else
    /* Elsewhere DONTNEED need not clear: a new mapping over the old one does. */
    if (mmap(p, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
        p) {
        return;
    }
#endif
    memset(p, 0, bytes); /* locked pages: kept, but the promise of zero holds */
}

void bp__sys_unmap(void *p, size_t bytes) { (void)munmap(p, bytes); }

void *bp__sys_alloc(size_t bytes) {
    void *p = NULL;
    if (posix_memalign(&p, BP_LINE, bytes) != 0) {
        return NULL;
    }
    return memset(p, 0, bytes);
}

void bp__sys_free(void *p) { free(p); }

double bp__sys_seconds(void) {
    struct timespec t = {0, 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
