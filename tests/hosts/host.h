/* Shared by the programs that hold Lua states: the core that the module brings along. It
 * is a copy of the module's own, so its functions are asked of the module. */
#ifndef BYTEPOOL_TESTS_HOST_H
#define BYTEPOOL_TESTS_HOST_H

#include <dlfcn.h>

#define SUPPORT_NO_CHECK
#include "../support.h"
#include "../../lua/binding/binding.h"

static struct {
    __typeof__(bp_pool_stats) *stats;
    __typeof__(bp_pool_check) *check;
    __typeof__(bp_pool_create) *create;
    __typeof__(bp_pool_destroy) *destroy;
    __typeof__(bp_buffer_get) *get;
    __typeof__(bp_buffer_release) *release;
    __typeof__(bp_buffer_import) *import;
} core;

static inline void fail(const char *what, const char *detail) {
    fprintf(stderr, "%s: %s\n", what, detail ? detail : "");
    exit(EXIT_FAILURE);
}

static inline void host_symbol(void *module, const char *name, void *function) {
    void *found = dlsym(module, name);
    if (!found) fail("the module does not export", name);
    memcpy(function, &found, sizeof found);
}

/* The module stays loaded from here on: where that must not be, do not call it. */
static inline void host_load_core(const char *path) {
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module) fail("no module", dlerror());
    host_symbol(module, "bp_pool_stats", &core.stats);
    host_symbol(module, "bp_pool_check", &core.check);
    host_symbol(module, "bp_pool_create", &core.create);
    host_symbol(module, "bp_pool_destroy", &core.destroy);
    host_symbol(module, "bp_buffer_get", &core.get);
    host_symbol(module, "bp_buffer_release", &core.release);
    host_symbol(module, "bp_buffer_import", &core.import);
}

/* Every pool but `lost` ones is gone when as many as there can be find a place. */
static inline void host_no_pool_stays(size_t lost) {
    static bp_pool *pools[BP_MAX_POOLS];
    size_t count = BP_MAX_POOLS - lost;
    for (size_t i = 0; i < count; i++)
        if (!(pools[i] = core.create(NULL, NULL))) fail("host", "pools stay behind");
    for (size_t i = 0; i < count; i++) core.destroy(pools[i]);
}

#endif
