/* Pointers that belong to nobody, given back while their slab goes from tier to tier:
 * each must be refused, and none may lead a look-up astray. (It once mixed the geometry
 * of two tiers and read behind the headers.) */
#define SUPPORT_NO_CHECK
#include <pthread.h>
#include <stdatomic.h>

#include "../support.h"

enum { LOOKERS = 3, CYCLES = 40000 };
static bp_pool *pool;
static char *slab;
static atomic_bool stop;
static atomic_long taken;

static void *look(void *unused) {
    (void)unused;
    while (!atomic_load(&stop)) {
        for (size_t i = 0; i < 64; i++) {
            /* Starts of 128 byte blocks far beyond the last 4 KiB block. */
            if (bp_raw_put(pool, slab + (3700 + i) * 1088) == BP_OK) atomic_fetch_add(&taken, 1);
        }
    }
    return NULL;
}

int main(void) {
    bp_options o;
    bp_options_init(&o);
    o.max_idle = 0; /* so that the slab goes back each time */
    pool = bp_pool_create(&o, NULL);
    if (pool == NULL) return 1;
    void *first = bp_raw_get(pool, 128, NULL);
    slab = (char *)((uintptr_t)first & ~(uintptr_t)4095);
    if (bp_raw_put(pool, first) != BP_OK) return 1;
    pthread_t threads[LOOKERS];
    for (int i = 0; i < LOOKERS; i++) pthread_create(&threads[i], NULL, look, NULL);
    int refused = 0;
    for (long n = 0; n < CYCLES; n++) {
        void *p = bp_raw_get(pool, n & 1 ? 128 : 4096, NULL);
        if (p == NULL || bp_raw_put(pool, p) != BP_OK) refused++;
    }
    atomic_store(&stop, true);
    for (int i = 0; i < LOOKERS; i++) pthread_join(threads[i], NULL);
    printf("stale: %d cycles, %ld strangers taken, %d of our own refused\n", CYCLES,
           atomic_load(&taken), refused);
    char message[200];
    if (bp_pool_check(pool, message, sizeof message) != BP_OK) {
        printf("stale: %s\n", message);
        return 1;
    }
    bp_pool_destroy(pool);
    return atomic_load(&taken) != 0 || refused != 0;
}
