-- The C core as LuaJIT's FFI sees it: the same shared object that was required, so
-- both share one state. False without the FFI or the debug library.
--
-- Private to bytepool: methods.lua and ffi.lua build on it.

local core = require "bytepool.core"

local found, ffi = pcall(require, "ffi")
local debug = rawget(_G, "debug") or package.loaded.debug
if not found or not rawget(_G, "jit") or not debug or not debug.getmetatable then return false end

local path = package.searchpath("bytepool.core", package.cpath)
if not path then return false end -- linked into the host: ffi.load has no file to name

ffi.cdef(core.cdef)

return {
    ffi = ffi,
    C = ffi.load(path),
    -- Captured at load, and not the plain one: a script can forge what that
    -- returns (`__metatable`), and then a FILE would be read as a buffer.
    getmetatable = debug.getmetatable,
    handle_pointer = ffi.typeof("bytepool_handle *"),
    pool_pointer = ffi.typeof("bytepool_pool *"),
}
