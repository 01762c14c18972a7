/* Keeps the shared library that holds an address in memory until the process ends: for code that
 * is called after its host unloaded it. Takes the loader's lock. For files with _GNU_SOURCE. */
#ifndef BP_PIN_H
#define BP_PIN_H

#include <dlfcn.h>

#if defined(RTLD_NODELETE) && defined(RTLD_NOLOAD)
#define BP_PIN (RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE)
#else
#define BP_PIN RTLD_NOW /* opened once more, and never closed */
#endif

static inline void bp__pin(const void *address) {
    Dl_info info;
    if (dladdr(address, &info) != 0 && info.dli_fname != NULL) {
        (void)dlopen(info.dli_fname, BP_PIN);
    }
}

#endif
