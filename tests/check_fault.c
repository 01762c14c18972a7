/* Each thing that the core asks of the system is refused once, and then everything from it
 * on: whatever the pool does meanwhile, nothing crashes, leaks or goes out of balance, and
 * the pool is of use when the system gives again.
 *
 * Every run is a process of its own, since what is made once in a process may fail too. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "support.h"
#include "wrap.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define LEAKED() (__lsan_do_recoverable_leak_check() != 0)
#else
#define LEAKED() false
#endif

/* Refused, these change nothing that a caller could see. */
#define HARMLESS (1u << WRAP_MADVISE | 1u << WRAP_MUNMAP)

typedef struct rule {
    const char *name;
    uint64_t count;
    unsigned kinds;
} rule;

static const rule rules[] = {
    {"one request", 1, WRAP_ALL},
    {"all from one on", UINT64_MAX, WRAP_ALL},
    {"every madvise", UINT64_MAX, 1u << WRAP_MADVISE},
    {"every munmap", UINT64_MAX, 1u << WRAP_MUNMAP},
};

/* ---- what a run finds; it allocates nothing, for that would be refused, too -------------- */

static const char *wrong;

static void must(bool holds, const char *what) {
    if (!holds && !wrong) wrong = what;
}

static uint64_t vital(void) { return wrap_refused(WRAP_ALL & ~HARMLESS); }

/* A call was refused: something it needs was, and nothing was counted. */
static void refused_well(bp_pool *pool, const bp_stats *before, uint64_t vital_before) {
    bp_stats s = stats_of(pool);
    must(vital() > vital_before, "refused although the system gave all");
    must(s.requests == before->requests && s.total_get == before->total_get, "a refusal counted");
    must(s.total_put == before->total_put && s.discarded == before->discarded, "it counted a put");
    must(s.in_use == before->in_use && s.in_use_bytes == before->in_use_bytes, "it left in_use");
    must(s.owned_bytes <= before->owned_bytes, "a refused call owns something");
}

static bp_buffer *get(bp_pool *pool, size_t n) {
    bp_stats before = stats_of(pool);
    uint64_t refusals = vital();
    errno = 0;
    bp_buffer *b = bp_buffer_get(pool, n);
    if (b) {
        fill(bp_buffer_data(b), n < 512 ? n : 512, n);
        must(bp_buffer_length(b) == n, "length is another one");
    } else {
        must(errno == ENOMEM, "errno is not ENOMEM");
        refused_well(pool, &before, refusals);
    }
    return b;
}

static void release(bp_pool *pool, bp_buffer *b) {
    if (!b) return;
    size_t n = bp_buffer_length(b);
    must(filled(bp_buffer_data(b), n < 512 ? n : 512, n), "a buffer was written over");
    must(bp_buffer_retain(b) == BP_OK, "retain failed");
    must(bp_buffer_release(pool, b) == BP_OK, "the release of one of two failed");
    must(bp_buffer_release(pool, b) == BP_OK, "the last release failed");
}

static void *raw_get(bp_pool *pool, size_t n) {
    bp_stats before = stats_of(pool);
    uint64_t refusals = vital();
    size_t capacity = 0;
    void *p = bp_raw_get(pool, n, &capacity);
    if (p) must(capacity >= n && bp_raw_capacity(pool, p) == capacity, "a raw capacity");
    else refused_well(pool, &before, refusals);
    return p;
}

static void on_a_thread(void *(*run)(void *), void *arg) {
    pthread_t id;
    must(pthread_create(&id, NULL, run, arg) == 0 && pthread_join(id, NULL) == 0, "no thread");
}

/* ---- scenes ----------------------------------------------------------------------------------- */

/* All tiers; above them page classes and runs. */
static const size_t tiers[] = {100, 4096, 64 * KIB, MIB, 5 * MIB};
static const size_t stages[] = {100, 4096, 64 * KIB, MIB, 5 * MIB, 6 * MIB, 0, 9 * MIB};
static const size_t few[] = {100, 1000};
static const size_t above[] = {1, 1001, 5000, 70 * KIB, 600 * KIB, 2 * MIB, 3 * MIB, 13 * MIB};

typedef struct scene {
    const char *name;
    void (*act)(bp_pool **pool);
    const size_t *tiers;
    size_t count, max_idle, region_size, recent_size;
    bp_recent_mode mode;
} scene;

static void some_of(bp_pool *pool, const size_t *sizes, size_t count) {
    bp_buffer *held[3][8];
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < count; i++) held[k][i] = get(pool, sizes[i]);
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < count; i++) release(pool, held[k][i]);
}

static void every_tier(bp_pool **pool) { some_of(*pool, stages, COUNT_OF(stages)); }

static void oversize(bp_pool **pool) { some_of(*pool, above, COUNT_OF(above)); }

static void raw(bp_pool **pool) {
    void *p[COUNT_OF(stages)];
    for (size_t i = 0; i < COUNT_OF(stages); i++) p[i] = raw_get(*pool, stages[i]);
    for (size_t i = 0; i < COUNT_OF(stages); i++) {
        if (!p[i]) continue;
        must(bp_raw_put(*pool, p[i]) == BP_OK, "raw_put failed");
        int again = bp_raw_put(*pool, p[i]);
        must(again == BP_ERR_DEAD || again == BP_ERR_FOREIGN, "raw_put took one twice");
    }
}

static void prewarm_one(bp_pool *pool, size_t size, size_t count) {
    bp_stats before = stats_of(pool);
    uint64_t refusals = vital();
    int status = bp_pool_prewarm(pool, size, count);
    bp_stats after = stats_of(pool);
    if (status == BP_OK) {
        must(after.idle_bytes >= count * size, "prewarm made too few");
        return;
    }
    must(status == BP_ERR_NOMEM, "prewarm's status");
    refused_well(pool, &before, refusals);
    must(after.idle_bytes == before.idle_bytes, "a refused prewarm made some");
}

static void prewarm(bp_pool **pool) {
    release(*pool, get(*pool, 100));
    for (size_t t = 0; t < COUNT_OF(tiers); t++) prewarm_one(*pool, tiers[t], 11 * MIB / tiers[t]);
    every_tier(pool);
}

/* A slab that was given back holds headers of zeroes, whoever cleared it. */
static void trim(bp_pool **pool) {
    enum { MANY = 300 };
    void *p[MANY];
    size_t count = 0;
    while (count < MANY && (p[count] = raw_get(*pool, 4096)) != NULL) memset(p[count++], 1, 4096);
    for (size_t i = 0; i < count; i++) must(bp_raw_put(*pool, p[i]) == BP_OK, "raw_put failed");
    uint64_t idle = stats_of(*pool).idle_bytes;
    must(bp_pool_trim(*pool) == idle, "trim's result");
    must(stats_of(*pool).owned_bytes == 0, "trim left some");
    bp_buffer *b = get(*pool, 4096);
    for (size_t i = 0; i < count; i++)
        if (!b || p[i] != bp_buffer_data(b)) {
            int status = bp_raw_put(*pool, p[i]);
            must(i < 16 ? status != BP_OK : status == BP_ERR_FOREIGN, "a stale pointer was known");
        }
    release(*pool, b);
}

static void idle_bound(bp_pool **pool) {
    bp_buffer *held[12];
    for (size_t t = 0; t < COUNT_OF(tiers); t++) {
        for (size_t i = 0; i < COUNT_OF(held); i++) held[i] = get(*pool, tiers[t]);
        for (size_t i = 0; i < COUNT_OF(held); i++) release(*pool, held[i]);
        must(stats_of(*pool).idle_bytes <= stats_of(*pool).max_idle, "more than max_idle is idle");
    }
}

/* A region after the other, each as small as may be. */
static void regions(bp_pool **pool) {
    bp_buffer *held[12];
    for (size_t i = 0; i < COUNT_OF(held); i++) held[i] = get(*pool, i % 2 ? 5 * MIB : MIB);
    for (size_t i = 0; i < COUNT_OF(held); i += 2) release(*pool, held[i]);
    bp_pool_trim(*pool);
    for (size_t i = 0; i < COUNT_OF(held); i += 2) held[i] = get(*pool, 64 * KIB);
    for (size_t i = 0; i < COUNT_OF(held); i++) release(*pool, held[i]);
}

typedef struct parcel {
    bp_pool *pool, *other;
    bp_buffer *b[2];
} parcel;

static void *first_use(void *arg) {
    parcel *p = arg;
    release(p->pool, p->b[0]); /* must succeed where no cache can be had */
    every_tier(&p->pool);
    release(p->pool, p->b[1]);
    return NULL;
}

static void second_thread(bp_pool **pool) {
    parcel p = {*pool, NULL, {get(*pool, 4096), get(*pool, 9 * MIB)}};
    on_a_thread(first_use, &p);
    on_a_thread(first_use, &(parcel){*pool, NULL, {get(*pool, 9 * MIB), get(*pool, 100)}});
}

static void *use_two(void *arg) {
    const parcel *p = arg;
    some_of(p->pool, tiers, COUNT_OF(tiers));
    some_of(p->other, tiers, COUNT_OF(tiers));
    return NULL;
}

static void thread_exit(bp_pool **pool) {
    bp_pool *other = bp_pool_create(NULL, NULL);
    parcel p = {*pool, other ? other : *pool, {NULL, NULL}};
    on_a_thread(use_two, &p);
    must(stats_of(*pool).tiers[1].cached == 0, "a thread's end left its cache");
    on_a_thread(use_two, &p);
    bp_pool_destroy(other);
}

static void *let_go(void *arg) {
    parcel *p = arg;
    release(p->pool, p->b[0]);
    release(p->pool, p->b[1]);
    return NULL;
}

static void destroy(bp_pool **pool) {
    parcel p = {*pool, NULL, {get(*pool, 100), get(*pool, 9 * MIB)}};
    bp_buffer *last[] = {get(*pool, 4096), get(*pool, 2 * MIB)};
    bp_pool_destroy(*pool);
    *pool = NULL;
    on_a_thread(let_go, &p);
    release(p.pool, last[1]);
    release(p.pool, last[0]);
}

static void recent(bp_pool **pool) {
    uint64_t lengths[4];
    size_t given = 0;
    for (size_t i = 1; i <= 4; i++) {
        bp_buffer *b = get(*pool, i);
        given += b != NULL;
        release(*pool, b);
    }
    must(bp_pool_recent(*pool, lengths, 4) == given, "the number of recent lengths");
    must(given < 4 || (lengths[0] == 1 && lengths[3] == 4), "the recent lengths");
}

/* Each that is refused changes nothing; the table of tokens grows twice. */
static void tokens(bp_pool **pool) {
    static char list[40][BP_TOKEN_SIZE];
    size_t given = 0;
    bp_buffer *b = get(*pool, 4096);
    for (size_t i = 0; b && i < COUNT_OF(list); i++) {
        int status = bp_buffer_export(*pool, b, NULL, list[given]);
        must(status == BP_OK || status == BP_ERR_NOMEM, "export's status");
        given += status == BP_OK;
        must(bp_buffer_ref_count(b) == given + 1, "references of tokens");
    }
    must(stats_of(*pool).exported == given, "exported");
    for (size_t i = 0; i < given; i++) {
        bp_pool *of;
        bp_buffer *taken;
        must(bp_buffer_import(list[i], &of, &taken, NULL) == BP_OK && taken == b, "import");
        must(bp_buffer_release(of, taken) == BP_OK, "release of what was imported");
    }
    release(*pool, b);
}

/* A change asks for nothing. A thread that takes it up gives up its cache first, and goes without
 * where it gets no other: nothing is lost, and releases succeed. */
static void change(bp_pool **pool) {
    static const size_t others[] = {50, 4096, 300 * KIB, 9 * MIB};
    parcel p = {*pool, NULL, {get(*pool, 100), get(*pool, 5 * MIB)}};
    bp_buffer *held[4][COUNT_OF(stages)];
    bp_options o;
    uint64_t given = (p.b[0] != NULL ? 1u : 0u) + (p.b[1] != NULL ? 1u : 0u);
    bp_options_init(&o);
    o.tiers = others;
    o.tier_count = COUNT_OF(others);
    o.max_idle = stats_of(*pool).max_idle;
    for (size_t k = 0; k < COUNT_OF(held); k++) {
        for (size_t i = 0; i < COUNT_OF(stages); i++)
            given += (held[k][i] = get(*pool, stages[i])) != NULL;
        for (size_t i = k; i < COUNT_OF(stages); i += 2) {
            release(*pool, held[k][i]);
            held[k][i] = NULL;
        }
        int status = k == 0 ? bp_pool_configure(*pool, &o, false, NULL)
                            : bp_pool_rollback(*pool, false, NULL);
        must(status == BP_OK, "a change was refused");
        if (k == 1) on_a_thread(let_go, &p);
        must(stats_of(*pool).requests == given, "a get was lost, or counted twice");
    }
    for (size_t k = 0; k < COUNT_OF(held); k++)
        for (size_t i = 0; i < COUNT_OF(stages); i++) release(*pool, held[k][i]);
    must(stats_of(*pool).in_use == 0, "something is out after a change");
}

/* What the system refuses is not refused for the quota, and stays charged to nobody. */
static void quota(bp_pool **pool) {
    bp_options o;
    bp_options_init(&o);
    o.tiers = tiers;
    o.tier_count = COUNT_OF(tiers);
    o.max_idle = stats_of(*pool).max_idle;
    o.max_bytes = 90 * MIB;
    must(bp_pool_configure(*pool, &o, false, NULL) == BP_OK, "a quota was refused");
    every_tier(pool);
    must(stats_of(*pool).over_quota == 0, "refused for the quota");
    must(bp_pool_rollback(*pool, false, NULL) == BP_OK, "no way back from a quota");
}

#define TIERS tiers, COUNT_OF(tiers)
static const scene scenes[] = {
    {"get and release", every_tier, TIERS, 64 * MIB, 0, 256, BP_RECENT_RELAXED},
    {"oversize", oversize, few, COUNT_OF(few), 64 * MIB, 0, 256, BP_RECENT_RELAXED},
    {"raw", raw, TIERS, 64 * MIB, 0, 0, BP_RECENT_RELAXED},
    {"prewarm", prewarm, TIERS, GIB, 0, 256, BP_RECENT_RELAXED},
    {"trim", trim, TIERS, GIB, 0, 256, BP_RECENT_RELAXED},
    {"max_idle", idle_bound, TIERS, 4 * MIB, 0, 256, BP_RECENT_RELAXED},
    {"no idle", idle_bound, TIERS, 0, 0, 256, BP_RECENT_RELAXED},
    {"regions", regions, TIERS, 64 * MIB, 8 * MIB, 256, BP_RECENT_RELAXED},
    {"second thread", second_thread, TIERS, 64 * MIB, 0, 256, BP_RECENT_RELAXED},
    {"thread exit", thread_exit, TIERS, 64 * MIB, 0, 256, BP_RECENT_RELAXED},
    {"destroy", destroy, TIERS, 64 * MIB, 0, 256, BP_RECENT_RELAXED},
    {"change", change, TIERS, 64 * MIB, 0, 256, BP_RECENT_RELAXED},
    {"change of an exact pool", change, TIERS, 4 * MIB, 8 * MIB, 256, BP_RECENT_EXACT},
    {"quota", quota, TIERS, 64 * MIB, 0, 256, BP_RECENT_RELAXED},
    {"tokens", tokens, TIERS, 64 * MIB, 0, 256, BP_RECENT_RELAXED},
    {"recent relaxed", recent, TIERS, 64 * MIB, 0, 65536, BP_RECENT_RELAXED},
    {"recent exact", recent, TIERS, 64 * MIB, 0, 65536, BP_RECENT_EXACT},
};

/* ---- a run ---------------------------------------------------------------------------------------- */

static bp_pool *create(const scene *s) {
    bp_options o;
    bp_error e;
    bp_options_init(&o);
    o.tiers = s->tiers;
    o.tier_count = s->count;
    o.max_idle = s->max_idle;
    o.region_size = s->region_size;
    o.recent_size = s->recent_size;
    o.recent_mode = s->mode;
    uint64_t refusals = vital();
    bp_pool *pool = bp_pool_create(&o, &e);
    if (pool) return pool;
    must(vital() > refusals, "no pool although the system gave all");
    must(e.status == BP_ERR_NOMEM && strcmp(e.message, "out of memory") == 0, "create's error");
    wrap_obey();
    return bp_pool_create(&o, &e);
}

static void usable(bp_pool *pool) {
    static char message[256];
    if (pool_broken(pool, message, sizeof message)) must(false, message);
    must(stats_of(pool).in_use == 0, "something is still out");
    uint64_t refusals = wrap_refused(WRAP_ALL);
    every_tier(&pool);
    oversize(&pool);
    must(wrap_refused(WRAP_ALL) == refusals, "the test itself refused something");
    must(stats_of(pool).in_use == 0, "in_use at the end");
    if (pool_broken(pool, message, sizeof message)) must(false, message);
}

enum { RUN_OK, RUN_WRONG, RUN_NOTHING_REFUSED };

static int run(const scene *s, const rule *r, uint64_t n) {
    alarm(60);
    wrap.mapped = 0;
    wrap.allocated = 0;
    wrap_refuse(n, r->count, r->kinds);
    bp_pool *pool = create(s);
    if (pool) s->act(&pool);
    else must(false, "no pool at the second try");
    wrap_obey();
    if (pool) usable(pool);
    bp_pool_destroy(pool);
    /* this thread's table stays: 32 KiB and some */
    must(wrap.mapped - wrap.lost < 64 * KIB, "something stays mapped");
    must(wrap.allocated == 0, "something stays allocated");
    must(!LEAKED(), "the leak check found something");
    if (wrong)
        fprintf(stderr, "fault: %s, %s, request %" PRIu64 ": %s\n", s->name, r->name, n, wrong);
    return wrong ? RUN_WRONG : wrap_refused(WRAP_ALL) == 0 ? RUN_NOTHING_REFUSED : RUN_OK;
}

static int run_apart(const scene *s, const rule *r, uint64_t n) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGALRM, SIG_DFL); /* libcheck's handler would end the whole run */
        _exit(run(s, r, n));
    }
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) != RUN_WRONG,
                  "%s, %s, request %" PRIu64 ": status %#x", s->name, r->name, n, (unsigned)status);
    return WEXITSTATUS(status);
}

START_TEST(all_requests_in_turn) {
    const scene *s = &scenes[_i];
    for (size_t k = 0; k < COUNT_OF(rules); k++) {
        uint64_t n = 1;
        while (run_apart(s, &rules[k], n) == RUN_OK) {
            n++;
            if (rules[k].kinds != WRAP_ALL) break;
        }
        printf("fault: %s, %s: %" PRIu64 " runs\n", s->name, rules[k].name, n - 1);
        ck_assert_uint_gt(n, rules[k].kinds == WRAP_ALL ? 5 : 0);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("fault");
    TCase *tc = add_case(suite, "fault");
    tcase_add_loop_test(tc, all_requests_in_turn, 0, (int)COUNT_OF(scenes));
    return run_suite(suite);
}
