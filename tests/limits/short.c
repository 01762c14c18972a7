/* Takes buffers until the system refuses or `most` MiB are out, three times over, and goes
 * on with what it released. For a process whose memory or address space is short.
 *
 *     short MOST LEAST      MiB; LEAST must be had, whatever the limit
 */
#include <errno.h>

#define SUPPORT_NO_CHECK
#include "../support.h"

static const size_t lengths[] = {100, 5000, 70000, MIB, 2 * MIB, 3 * MIB, 9 * MIB};
enum { MANY = 100000 };
static bp_buffer *held[MANY];
static size_t count;

static void must(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "short: %s\n", what);
    exit(EXIT_FAILURE);
}

/* Returns the bytes that are out. */
static size_t take(bp_pool *pool, size_t most, bool *refused) {
    size_t bytes = 0;
    errno = 0;
    *refused = false;
    while (bytes < most && count < MANY) {
        size_t n = lengths[count % COUNT_OF(lengths)];
        if (!(held[count] = bp_buffer_get(pool, n))) {
            must(errno == ENOMEM, "errno is not ENOMEM");
            *refused = true;
            break;
        }
        fill(bp_buffer_data(held[count]), n < 4096 ? n : 4096, count);
        touch((char *)bp_buffer_data(held[count]) + n / 2, n - n / 2);
        bytes += n;
        count++;
    }
    return bytes;
}

static void give(bp_pool *pool, size_t down_to) {
    while (count > down_to) {
        count--;
        size_t n = bp_buffer_length(held[count]), edge = n < 4096 ? n : 4096;
        must(filled(bp_buffer_data(held[count]), n / 2 < edge ? n / 2 : edge, count),
             "overwritten");
        must(bp_buffer_release(pool, held[count]) == BP_OK, "release failed");
    }
}

static void in_order(bp_pool *pool) {
    char message[256] = "";
    must(!pool_broken(pool, message, sizeof message), message);
    must(stats_of(pool).in_use == count, "in_use");
}

int main(int argc, char **argv) {
    must(argc == 3, "usage: short MOST LEAST");
    size_t most = strtoul(argv[1], NULL, 10) * MIB, least = strtoul(argv[2], NULL, 10) * MIB;
    bp_error e;
    bp_pool *pool = bp_pool_create(NULL, &e);
    must(pool != NULL, e.message);
    for (int round = 0; round < 3; round++) {
        bool refused, again;
        size_t bytes = take(pool, most, &refused);
        printf("short: %zu MiB out, %s\n", bytes / MIB,
               refused ? "then refused" : "all there were");
        must(bytes >= least, "too little could be had");
        in_order(pool);
        size_t full = count;
        give(pool, full / 2);
        bp_buffer *b = bp_buffer_get(pool, 100000);
        must(b && bp_buffer_release(pool, b) == BP_OK, "nothing after half was released");
        size_t half = count;
        take(pool, most / 2, &again);
        must(count > half, "nothing more after half was released");
        in_order(pool);
        bp_pool *other = bp_pool_create(NULL, &e); /* may find no room for a region */
        must(other || e.status == BP_ERR_NOMEM, "another pool");
        b = other ? bp_buffer_get(other, 100) : NULL;
        must(!b || bp_buffer_release(other, b) == BP_OK, "release in another pool");
        bp_pool_destroy(other);
        give(pool, 0);
        in_order(pool);
        if (round == 1) bp_pool_trim(pool);
    }
    bp_pool_destroy(pool);
    return EXIT_SUCCESS;
}
