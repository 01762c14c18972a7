/* The text of a config file, without waiting for anybody: a fifo would block the open, and a
 * device may have no end. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox.h"

static int refuse(lua_State *L, int fd, const char *why) {
    if (fd >= 0) {
        (void)close(fd);
    }
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

/* read_text(path, most): the bytes of a regular file, or nil and what is wrong without the path. */
int bpl_read_text(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    size_t most = (size_t)luaL_checknumber(L, 2);
    char *text = bpl_newuserdata(L, most + 1); /* one more: to see that there is more */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat s;
    if (fd < 0 || fstat(fd, &s) != 0) {
        return refuse(L, fd, strerror(errno));
    }
    if (!S_ISREG(s.st_mode)) {
        return refuse(L, fd, S_ISDIR(s.st_mode) ? "is a directory" : "is no regular file");
    }
    size_t length = 0;
    while (length <= most && (size_t)s.st_size <= most) {
        ssize_t n = read(fd, text + length, most + 1 - length);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return refuse(L, fd, strerror(errno));
        }
        if (n == 0) {
            break;
        }
        length += (size_t)n;
    }
    if (length > most || (size_t)s.st_size > most) {
        char why[64];
        (void)snprintf(why, sizeof why, "is longer than %zu bytes", most);
        return refuse(L, fd, why);
    }
    (void)close(fd);
    lua_pushlstring(L, text, length);
    return 1;
}
