/* Pools made with debug: what the bytes of a block say about who wrote them.
 *
 * Behind the capacity of each block lies a canary, which nobody may write: it is looked at when the
 * last reference goes. Then the payload is filled with a pattern, which must still be there
 * when the block is handed out again. Under AddressSanitizer the canary, and the payload of
 * an idle block, are poisoned too, so that it names the instruction.
 *
 * All of it runs in the slow halves of get and release, on a block that is the caller's alone.
 */
#include <string.h>

#include "internal.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif

#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes)   ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#endif

#define IDLE   0xdb
#define CANARY 0xca

/* A slab that is about to go, or to be another's. */
void bp__debug_forget(void *slab) { ASAN_UNPOISON_MEMORY_REGION(slab, BP_SLAB); }

static bool is_all(const uint8_t *p, size_t bytes, uint8_t value) {
    return bytes == 0 || (p[0] == value && memcmp(p, p + 1, bytes - 1) == 0);
}

/* Of a larger block, whose memory may be there on paper only, the first slab is enough. */
static size_t filled(size_t capacity) { return capacity < BP_SLAB ? capacity : BP_SLAB; }

void bp__debug_issue(bp_pool *pool, bp_buffer *b, size_t n) {
    bool alone = b->bin == BP_BIN_NONE;
    size_t capacity = alone ? n : bp_peek(&pool->sizes[b->bin]);
    uint8_t *data = bp_buffer_data(b);
    if (!alone) {
        ASAN_UNPOISON_MEMORY_REGION(data, filled(capacity));
        if (b->marked != 0 && !is_all(data, filled(capacity), IDLE)) {
            bp_add(&pool->late_writes, 1u);
        }
        b->marked = 0;
    }
    memset(data + capacity, CANARY, BP_CANARY);
    ASAN_POISON_MEMORY_REGION(data + capacity, BP_CANARY);
}

bool bp__debug_retire(bp_pool *pool, bp_buffer *b) {
    size_t capacity = bp_buffer_capacity(pool, b);
    uint8_t *data = bp_buffer_data(b);
    ASAN_UNPOISON_MEMORY_REGION(data + capacity, BP_CANARY);
    bool whole = is_all(data + capacity, BP_CANARY, CANARY);
    if (!whole) {
        bp_add(&pool->overruns, 1u);
    }
    if (b->bin != BP_BIN_NONE) { /* an alone block's memory goes to the system */
        memset(data, IDLE, filled(capacity));
        b->marked = 1;
        ASAN_POISON_MEMORY_REGION(data, filled(capacity));
    }
    return whole;
}
