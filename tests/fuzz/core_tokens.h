/* The operations of core.c on names and tokens: a token owns a reference of its own, which
 * the other operations leave to it. */
#ifndef BYTEPOOL_TESTS_CORE_TOKENS_H
#define BYTEPOOL_TESTS_CORE_TOKENS_H

#include "core_pools.h"

enum { TOKENS = 24 }; /* more than the table holds before it grows */
static struct token {
    char text[BP_TOKEN_SIZE]; /* "": this place is free */
    model *m;
    uint64_t key; /* of the entry; they move */
} tokens[TOKENS];

static entry *entry_of(const struct token *t) {
    for (size_t i = 0; i < live_count; i++) {
        if (live[i].key == t->key) return &live[i];
    }
    return NULL;
}

static void op_export(input *in) {
    char text[BP_TOKEN_SIZE];
    entry *e = take_entry(in);
    struct token *t = &tokens[take(in) % TOKENS];
    if (e == NULL || t->text[0] != '\0') return;
    if (e->b == NULL) {
        /* Dead, or out again; after a change its slab may be cut in another way. */
        bool known = stale[0].m == e->m && e->m->now.generation == 1;
        bp_buffer *header = known ? stale[0].b : NULL;
        for (size_t i = 0; header != NULL && i < live_count; i++) {
            if (live[i].b == header) header = NULL;
        }
        if (header != NULL) {
            int status = bp_buffer_export(e->m->pool, header, NULL, text);
            must(status == BP_ERR_DEAD || status == BP_ERR_KIND, "export of what is no buffer");
        }
        return;
    }
    must(bp_buffer_export(e->m->pool, e->b, NULL, t->text) == BP_OK, "export failed");
    must(strlen(t->text) < BP_TOKEN_SIZE, "a token is too long");
    t->m = e->m;
    t->key = e->key;
    e->refs++;
    e->tokens++;
    e->m->exported++;
}

/* The reference is the program's from now on; a second import is refused. */
static void import(struct token *t) {
    bp_pool *pool = NULL;
    bp_buffer *b = NULL;
    entry *e = entry_of(t);
    must(e != NULL, "a token outlived its buffer");
    must(bp_buffer_import(t->text, &pool, &b, NULL) == BP_OK, "import failed");
    must(pool == t->m->pool && b == e->b, "import gave another buffer");
    must(bp_buffer_import(t->text, &pool, &b, NULL) == BP_ERR_TOKEN, "a token was taken twice");
    e->tokens--;
    e->m->exported--;
    t->text[0] = '\0';
    verify_entry(e);
}

static void op_import(input *in) {
    struct token *t = &tokens[take(in) % TOKENS];
    if (t->text[0] != '\0') import(t);
}

static void import_all(void) {
    for (size_t i = 0; i < TOKENS; i++) {
        if (tokens[i].text[0] != '\0') import(&tokens[i]);
    }
}

/* A character of a good token changed, or a text of the input's own. */
static void op_forge(input *in) {
    char text[BP_TOKEN_SIZE];
    bp_pool *pool = NULL;
    bp_buffer *b = NULL;
    const struct token *t = &tokens[take(in) % TOKENS];
    size_t at = take(in), count;
    memcpy(text, t->text, sizeof text);
    if (text[0] == '\0') {
        for (count = 0; count < at % BP_TOKEN_SIZE; count++) text[count] = (char)take(in);
        text[count] = '\0';
    } else {
        char old = text[at % strlen(text)];
        text[at % strlen(text)] = (char)(old ^ (1 + take(in) % 127));
    }
    int status = bp_buffer_import(text, &pool, &b, NULL);
    must(status == BP_ERR_TOKEN || status == BP_ERR_COPY, "a forged token was taken");
    must(pool == NULL && b == NULL, "a refused import stored something");
}

/* Once more by its name, and closed again: the pool goes on. */
static void op_open(input *in) {
    const model *m = take_open(in);
    must(bp_pool_open("nobody's name") == NULL, "open of no pool");
    if (m == NULL) return;
    const char *name = bp_pool_name(m->pool);
    bp_pool *same = bp_pool_open(name);
    must(same == (name[0] != '\0' ? m->pool : NULL), "open found another pool");
    bp_pool_destroy(same); /* where that ended the pool, the comparison that follows shows it */
}

/* A name that is taken is refused. */
static void op_same_name(input *in) {
    const model *m = take_open(in);
    bp_options o;
    bp_error error;
    if (m == NULL) return;
    bp_options_init(&o);
    o.region_size = 64 * MIB;
    o.name = bp_pool_name(m->pool);
    bp_pool *pool = bp_pool_create(&o, &error);
    must((pool == NULL) == (o.name[0] != '\0'), "a name was taken twice");
    must(pool != NULL || error.status == BP_ERR_EXISTS, "the status of a name that is taken");
    bp_pool_destroy(pool);
}

#endif
