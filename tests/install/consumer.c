/* Stands for a program of somebody else: compiled against the installed library only. */
#include <bytepool.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    bp_error error;
    bp_pool *pool = bp_pool_create(NULL, &error);
    if (!pool) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    bp_buffer *b = bp_buffer_get(pool, 4096);
    if (!b) return 1;
    memset(bp_buffer_data(b), 'x', bp_buffer_length(b));
    bp_buffer_retain(b);
    bp_buffer_release(pool, b);
    bp_buffer_release(pool, b);

    bp_stats stats;
    bp_pool_stats(pool, &stats);
    int ok = stats.total_get == 1 && stats.total_put == 1 && stats.in_use == 0;
    ok = ok && strcmp(bp_version(), BP_VERSION) == 0;
    bp_pool_destroy(pool);
    printf("bytepool %s: %s\n", bp_version(), ok ? "ok" : "the counters are wrong");
    return ok ? 0 : 1;
}
