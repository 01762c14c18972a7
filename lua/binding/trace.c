/* Records and texts, and where a call came from. trace.h says what they are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "binding.h"

#define CHUNK_SHIFT 8u
#define CHUNK       (1u << CHUNK_SHIFT)
#define MAX_CHUNKS  (1u << (BPL_TRACE_BITS - CHUNK_SHIFT))
#define LAST_NUMBER ((1u << BPL_TRACE_BITS) - 1)
#define DEAD_KEPT   1024u
#define BUCKETS     1024u
#define MAX_TEXTS   65536u
#define FRAMES      6    /* of a traceback */
#define KNOWN       256u /* places in the program whose text was looked up last */

/* Queues of records by number: 0 is none. */
typedef struct list {
    uint32_t first, last, count;
} list;

/* A guess, for a source that was collected may be followed by another at its address: the text
 * itself tells. */
typedef struct known {
    const char *source;
    int line;
    const bpl_text *text;
} known;

struct bpl_trace {
    known known[KNOWN];
    bpl_text *texts[BUCKETS];
    uint32_t text_count;
    uint32_t made; /* numbers given so far */
    list live, dead;
    uint64_t serial;
    bpl_record *chunks[MAX_CHUNKS];
};

static bpl_record *at(const struct bpl_trace *t, uint32_t number) {
    return &t->chunks[(number - 1) >> CHUNK_SHIFT][(number - 1) & (CHUNK - 1)];
}

static void append(struct bpl_trace *t, list *l, uint32_t number) {
    bpl_record *r = at(t, number);
    r->next = 0;
    r->prev = l->last;
    *(l->last != 0 ? &at(t, l->last)->next : &l->first) = number;
    l->last = number;
    l->count++;
}

static void unlink_from(struct bpl_trace *t, list *l, uint32_t number) {
    const bpl_record *r = at(t, number);
    *(r->prev != 0 ? &at(t, r->prev)->next : &l->first) = r->next;
    *(r->next != 0 ? &at(t, r->next)->prev : &l->last) = r->prev;
    l->count--;
}

/* ---- texts ------------------------------------------------------------------ */

static const bpl_text *text(struct bpl_trace *t, const char *s) {
    uint32_t hash = 2166136261u;
    for (const char *c = s; *c != '\0'; c++) {
        hash = (hash ^ (uint8_t)*c) * 16777619u;
    }
    bpl_text **bucket = &t->texts[hash % BUCKETS];
    for (bpl_text *x = *bucket; x != NULL; x = x->next) {
        if (x->hash == hash && strcmp(x->s, s) == 0) {
            return x;
        }
    }
    size_t size = strlen(s) + 1;
    bpl_text *x = t->text_count < MAX_TEXTS ? malloc(sizeof *x + size) : NULL;
    if (x != NULL) {
        x->hash = hash;
        memcpy(x->s, s, size);
        x->next = *bucket;
        *bucket = x;
        t->text_count++;
    }
    return x;
}

static struct bpl_trace *trace_of(bpl_state *s) {
    if (s->trace == NULL) {
        s->trace = calloc(1, sizeof *s->trace);
    }
    return s->trace;
}

static bool ends_in(const char *s, const char *end) {
    size_t length = strlen(s), n = strlen(end);
    return length >= n && strcmp(s + length - n, end) == 0;
}

/* Frames of bytepool's own Lua files are not where a program made a mistake: of all that get
 * buffers for their callers. */
static bool is_own(const lua_Debug *ar) {
    return ar->source[0] == '@' && (ends_in(ar->source, "bytepool/scope.lua") ||
                                    ends_in(ar->source, "bytepool/methods.lua") ||
                                    strstr(ar->source, "/resty/bytepool/") != NULL);
}

/* "file:line" of the innermost frame of the program, and where it stands. */
static int find_frame(lua_State *L, int level, lua_Debug *ar) {
    for (; lua_getstack(L, level, ar) != 0; level++) {
        if (lua_getinfo(L, "Sl", ar) != 0 && ar->currentline > 0 && !is_own(ar)) {
            return level;
        }
    }
    return -1;
}

const bpl_text *bpl_site(lua_State *L, bpl_state *s) {
    struct bpl_trace *t = trace_of(s);
    lua_Debug ar;
    char line[sizeof ar.short_src + 16];
    if (t == NULL || find_frame(L, 0, &ar) < 0) {
        return NULL;
    }
    known *k = &t->known[((uintptr_t)ar.source / 16 + (unsigned)ar.currentline) % KNOWN];
    size_t length = strlen(ar.short_src);
    if (k->source == ar.source && k->line == ar.currentline && k->text != NULL &&
        strncmp(k->text->s, ar.short_src, length) == 0 && k->text->s[length] == ':') {
        return k->text;
    }
    (void)snprintf(line, sizeof line, "%s:%d", ar.short_src, ar.currentline);
    *k = (known){ar.source, ar.currentline, text(t, line)};
    return k->text;
}

/* The frames above that one, innermost first: "a.lua:3 < b.lua:7". */
static const bpl_text *stack(lua_State *L, struct bpl_trace *t) {
    lua_Debug ar;
    char lines[FRAMES * (sizeof ar.short_src + 16)];
    size_t used = 0;
    int level = 0;
    for (int i = 0; i < FRAMES && (level = find_frame(L, level, &ar)) >= 0; i++, level++) {
        int n = snprintf(lines + used, sizeof lines - used, "%s%s:%d", i > 0 ? " < " : "",
                         ar.short_src, ar.currentline);
        used += n > 0 ? (size_t)n : 0;
        if (used >= sizeof lines) {
            break;
        }
    }
    return used > 0 ? text(t, lines) : NULL;
}

/* ---- records ------------------------------------------------------------------ */

/* A number for a new record, or 0: the oldest dead one's where enough of them are kept. */
static uint32_t take_number(struct bpl_trace *t) {
    if (t->dead.count >= DEAD_KEPT) {
        uint32_t number = t->dead.first;
        unlink_from(t, &t->dead, number);
        return number;
    }
    uint32_t chunk = t->made >> CHUNK_SHIFT;
    if (chunk >= MAX_CHUNKS || t->made + 1 > LAST_NUMBER) {
        return 0;
    }
    if (t->chunks[chunk] == NULL) {
        t->chunks[chunk] = calloc(CHUNK, sizeof(bpl_record));
    }
    return t->chunks[chunk] != NULL ? ++t->made : 0;
}

void bpl_trace_slow(lua_State *L, bpl_handle *h, const char *tag) {
    bpl_state *s = h->ledger->state;
    struct bpl_trace *t = trace_of(s);
    uint32_t number = t != NULL ? take_number(t) : 0;
    if (number == 0) {
        return;
    }
    bpl_record *r = at(t, number);
    bool closely = h->ledger->level >= BPL_ADVANCED || s->forced > 0;
    *r = (bpl_record){.handle = h, .ledger = h->ledger, .live = true, .closely = closely};
    r->watched = closely || h->ledger->debug;
    r->sampled = !bpl_all_traced(h->ledger);
    r->site = bpl_site(L, s);
    r->tag = tag != NULL ? text(t, tag) : NULL;
    r->stack = closely ? stack(L, t) : NULL;
    r->bytes = bpl_capacity(h);
    r->since = bpl_now_coarse();
    r->serial = ++t->serial;
    h->trace = number & LAST_NUMBER;
    append(t, &t->live, number);
}

void bpl_trace_event(lua_State *L, bpl_handle *h, bool released) {
    bpl_state *s = h->ledger->state;
    bpl_record *r = at(s->trace, h->trace);
    const bpl_text *site = bpl_site(L, s);
    r->end = released ? site : r->end;
    if (r->closely) {
        r->last[r->events % BPL_LAST].site = site;
        r->last[r->events++ % BPL_LAST].released = released;
    }
}

bool bpl_watched(const bpl_handle *h) { return at(h->ledger->state->trace, h->trace)->watched; }

void bpl_trace_moved(bpl_handle *h) {
    at(h->ledger->state->trace, h->trace)->bytes = bpl_capacity(h);
}

void bpl_trace_end(bpl_handle *h) {
    struct bpl_trace *t = h->ledger->state->trace;
    bpl_record *r = at(t, h->trace);
    unlink_from(t, &t->live, h->trace);
    append(t, &t->dead, h->trace);
    r->live = false;
    r->ledger = NULL;
}

bpl_record *bpl_record_of(const bpl_state *s, const bpl_handle *h) {
    if (h->trace == 0 || s->trace == NULL || h->trace > s->trace->made) {
        return NULL;
    }
    bpl_record *r = at(s->trace, h->trace);
    return r->handle == h && r->live == (h->owned > 0) ? r : NULL;
}

const bpl_record *bpl_next_live(const bpl_state *s, const bpl_record *r) {
    const struct bpl_trace *t = s->trace;
    uint32_t number = t == NULL ? 0 : r == NULL ? t->live.first : r->next;
    return number != 0 ? at(t, number) : NULL;
}

size_t bpl_live_count(const bpl_state *s) { return s->trace != NULL ? s->trace->live.count : 0; }

uint64_t bpl_last_serial(const bpl_state *s) { return s->trace != NULL ? s->trace->serial : 0; }

void bpl_trace_free(bpl_state *s) {
    struct bpl_trace *t = s->trace;
    if (t == NULL) {
        return;
    }
    for (uint32_t i = 0; i < BUCKETS; i++) {
        for (bpl_text *x = t->texts[i], *next; x != NULL; x = next) {
            next = x->next;
            free(x);
        }
    }
    for (uint32_t i = 0; i < MAX_CHUNKS && t->chunks[i] != NULL; i++) {
        free(t->chunks[i]);
    }
    free(t);
}

bool bpl_all_traced(const bpl_ledger *l) {
    return l->level == BPL_PARANOID || l->debug || l->state->forced > 0;
}

/* Uneven steps, so that a program that takes turns does not have the same site sampled each time. */
void bpl_rearm(bpl_ledger *l) {
    bpl_state *s = l->state;
    if (bpl_all_traced(l)) {
        l->sample = 1;
    } else if (l->level == BPL_OFF) {
        l->sample = UINT32_MAX;
    } else {
        s->random = s->random * 1664525u + 1013904223u;
        l->sample = 1 + (s->random >> 16) % (2 * BPL_SAMPLE - 1);
    }
}
