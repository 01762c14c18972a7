/* What only one Lua state of a process is to do, and goes on when it ends: an nginx worker whose
 * Lua code is not cached has a state for each request, and one timer. */
#include <stdatomic.h>
#include <unistd.h>

#include "binding.h"

/* Of the process that claimed it, 0 where nobody has: a fork does not inherit a claim. */
static _Atomic pid_t claimed_by;

/* claim() -> whether this call got it; claim(false) gives it back. */
int bpl_claim(lua_State *L) {
    pid_t self = getpid(), seen = atomic_load(&claimed_by);
    if (lua_isboolean(L, 1) && !lua_toboolean(L, 1)) {
        (void)atomic_compare_exchange_strong(&claimed_by, &self, 0);
        return 0;
    }
    bool got = seen != self && atomic_compare_exchange_strong(&claimed_by, &seen, self);
    lua_pushboolean(L, got);
    return 1;
}
