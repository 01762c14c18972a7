/* Tokens: a reference as a short text, for whoever in this process gets to read it.
 *
 * A table of what each token stands for, by number, under one lock; a secret tells a token
 * from one that was used or made up. No other lock is taken inside, and no hot path comes here.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#if defined(__has_include) && !defined(__cppcheck__)
#if __has_include(<sys/random.h>)
#include <sys/random.h>
#define HAVE_GETENTROPY 1
#endif
#endif

/* bp1-<copy>-<number>-<secret>, hexadecimal and lower case. */
#define PREFIX       "bp1-"
#define COPY_DIGITS  8u
#define PLACE_DIGITS 8u
#define TOKEN_CHARS  (sizeof PREFIX - 1 + COPY_DIGITS + 1 + PLACE_DIGITS + 1 + 16)
_Static_assert(TOKEN_CHARS < BP_TOKEN_SIZE, "a token fits");

typedef struct entry {
    bp_buffer *b; /* NULL: free */
    bp_pool *pool;
    bp_part part;
    uint64_t secret;
    uint32_t next_free; /* number + 1 */
} entry;

pthread_mutex_t bp__tokens = PTHREAD_MUTEX_INITIALIZER;

/* All under bp__tokens. The table grows on the heap, and is the small one again when no token
 * is out. */
static entry few[16];
static entry *entries = few;
static uint32_t count, first_free; /* entries in use or free; number + 1 of a free one, or 0 */
static uint32_t out;               /* tokens that nobody imported yet */
static uint64_t secrets[32];       /* drawn ahead: asking the system costs 200 ns */
static uint32_t secrets_left;
static uint32_t copy; /* tells two loaded copies of this library apart; never 0 once drawn */

/* Where the system gives no random numbers, what differs from run to run must do. */
static void draw_locked(void) {
    secrets_left = sizeof secrets / sizeof secrets[0];
#ifdef HAVE_GETENTROPY
    if (getentropy(secrets, sizeof secrets) == 0) {
        return;
    }
#endif
    struct timespec now = {0, 0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    uint64_t state = (uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec ^
                     (uint64_t)getpid() << 32 ^ (uintptr_t)&now ^ secrets[0];
    for (uint32_t i = 0; i < secrets_left; i++) {
        uint64_t z = (state += UINT64_C(0x9E3779B97F4A7C15));
        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        secrets[i] = z ^ (z >> 27);
    }
}

static uint64_t secret_locked(void) {
    if (secrets_left == 0) {
        draw_locked();
    }
    return secrets[--secrets_left];
}

/* A child of fork must not go on with the secrets that its parent uses too. */
void bp__tokens_fork_child(void) { secrets_left = 0; }

uint64_t bp__tokens_count(const bp_pool *pool) {
    uint64_t found = 0;
    pthread_mutex_lock(&bp__tokens);
    for (uint32_t i = 0; i < count; i++) {
        found += entries[i].b != NULL && entries[i].pool == pool ? 1 : 0;
    }
    pthread_mutex_unlock(&bp__tokens);
    return found;
}

static bool grow_locked(void) {
    uint32_t wanted = count > 0 ? count * 2 : (uint32_t)(sizeof few / sizeof few[0]);
    entry *larger = count == 0 ? few : NULL;
    if (larger == NULL && wanted <= UINT32_MAX / 2) {
        larger = bp__sys_alloc(wanted * sizeof *larger);
    }
    if (larger == NULL) {
        return false;
    }
    if (larger != entries) {
        memcpy(larger, entries, count * sizeof *larger);
    }
    if (entries != few) {
        bp__sys_free(entries);
    }
    for (uint32_t i = wanted; i > count; i--) {
        larger[i - 1].b = NULL;
        larger[i - 1].next_free = first_free;
        first_free = i;
    }
    entries = larger;
    count = wanted;
    return true;
}

static int export_locked(bp_pool *pool, bp_buffer *b, const bp_part *part, char *token) {
    while (copy == 0) {
        copy = (uint32_t)secret_locked();
    }
    if (first_free == 0 && !grow_locked()) {
        return BP_ERR_NOMEM;
    }
    int status = bp_buffer_retain(b);
    if (status != BP_OK) {
        return status;
    }
    uint32_t place = first_free - 1;
    entry *e = &entries[place];
    first_free = e->next_free;
    e->b = b;
    e->pool = pool;
    e->part = part != NULL ? *part : (bp_part){0, bp_buffer_length(b), 0};
    e->secret = secret_locked();
    out++;
    (void)snprintf(token, BP_TOKEN_SIZE, PREFIX "%08x-%08x-%016llx", (unsigned)copy,
                   (unsigned)place, (unsigned long long)e->secret);
    bp_add(&pool->exported, 1u);
    return BP_OK;
}

int bp_buffer_export(bp_pool *pool, bp_buffer *b, const bp_part *part, char token[BP_TOKEN_SIZE]) {
    pthread_mutex_lock(&bp__tokens);
    int status = export_locked(pool, b, part, token);
    pthread_mutex_unlock(&bp__tokens);
    return status;
}

/* The number that `digits` hexadecimal digits say, behind which stands `end`. */
static bool number(const char **text, unsigned digits, char end, uint64_t *value) {
    *value = 0;
    for (const char *stop = *text + digits; *text < stop; ++*text) {
        char c = **text;
        uint64_t digit = c >= '0' && c <= '9'   ? (uint64_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint64_t)(c - 'a') + 10
                                                : 16;
        if (digit == 16) {
            return false;
        }
        *value = *value << 4 | digit;
    }
    bool ends = **text == end;
    *text += ends && end != '\0' ? 1 : 0;
    return ends;
}

static int import_locked(uint64_t of, uint64_t place, uint64_t secret, bp_pool **pool,
                         bp_buffer **b, bp_part *part) {
    if (of != copy) {
        return BP_ERR_COPY;
    }
    entry *e = place < count ? &entries[place] : NULL;
    if (e == NULL || e->b == NULL || e->secret != secret) {
        return BP_ERR_TOKEN;
    }
    *pool = e->pool;
    *b = e->b;
    if (part != NULL) {
        *part = e->part;
    }
    e->b = NULL;
    e->next_free = first_free;
    first_free = (uint32_t)place + 1;
    if (--out == 0 && entries != few) {
        bp__sys_free(entries);
        entries = few;
        count = first_free = 0;
    }
    bp_sub(&(*pool)->exported, 1u);
    return BP_OK;
}

int bp_buffer_import(const char *token, bp_pool **pool, bp_buffer **b, bp_part *part) {
    uint64_t of, place, secret;
    const char *at = token + sizeof PREFIX - 1;
    if (strncmp(token, PREFIX, sizeof PREFIX - 1) != 0 || !number(&at, COPY_DIGITS, '-', &of) ||
        !number(&at, PLACE_DIGITS, '-', &place) || !number(&at, 16, '\0', &secret)) {
        return BP_ERR_TOKEN;
    }
    pthread_mutex_lock(&bp__tokens);
    int status = import_locked(of, place, secret, pool, b, part);
    pthread_mutex_unlock(&bp__tokens);
    return status;
}
