rockspec_format = "3.0"
package = "bytepool"
version = "scm-1"
source = {
  url = "git+https://example.org/bytepool.git",
}
description = {
  summary = "Reference-counted byte buffers from size tiers",
  detailed = [[
A pool of byte buffers for programs in which nobody knows who lets go last: a chunk of a stream that is
sent to many clients, a request body that several handlers read. The pool is a C library; Lua programs hold
its buffers as userdata, retain and release them, and the last release gives the memory back to the pool.

What LuaRocks can not call optional: lua-cjson for reports in JSON, luasocket for `bytepool stats URL`, luassert for
`assert.is_balanced`. Each is loaded when it is asked for, and missed by name.]],
  license = "MIT",
}
supported_platforms = { "unix" }
dependencies = {
  "lua >= 5.1, < 5.5",
  "argparse", -- of the command
}
build = {
  type = "make",
  build_target = "rock",
  install_target = "install-lua",
  -- A build folder of its own: the Lua and the flags are LuaRocks' choice, not those of `make`.
  -- The same for both targets, or the second one would build again.
  variables = {
    BUILD = "build/rock",
    LUA = "rock",
    LUA_INCDIR = "$(LUA_INCDIR)",
    CC = "$(CC)",
    CFLAGS = "$(CFLAGS)",
    LIBFLAG = "$(LIBFLAG)",
  },
  build_variables = {
    BP_ROCK_VERSION = "0.1.0",
  },
  install_variables = {
    INST_LIBDIR = "$(LIBDIR)",
    INST_LUADIR = "$(LUADIR)",
    INST_BINDIR = "$(BINDIR)",
  },
}
