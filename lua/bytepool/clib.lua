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

local internals = core.internals
if not pcall(ffi.typeof, "bytepool_handle") then ffi.cdef(internals.cdef) end
local C = ffi.load(path)

-- package.cpath may name another copy by now, with pools of its own.
local function address(x) return ffi.cast("uintptr_t", ffi.cast("void *", x)) end
if address(C.bytepool_handle_release) ~= address(internals.release_address) then return false end

-- A symbol that was never used can not be compiled into a trace.
for name in internals.cdef:gmatch("(b[%w_]+)%(") do
    local _ = C[name]
end

-- Captured at load, and not the plain one: a script can forge what that returns
-- (`__metatable`), and then a FILE would be read as a buffer.
local getmetatable = debug.getmetatable
local type = type
local light = internals.light

-- is(value, metatable): whether it is a userdata with that metatable. By the debug
-- library a script can give ours to any table, and to all values of a type at once: the
-- type refuses these, and the last test light userdata, whose memory is nobody's to
-- read. What is left, the C functions look at themselves. Compiled, it costs nothing.
local function is(value, metatable)
    return getmetatable(value) == metatable and type(value) == "userdata"
        and getmetatable(light) ~= metatable
end

return {
    ffi = ffi,
    C = C,
    is = is,
    live = internals.live,
    pool = internals.pool,
    dead_address = ffi.cast("void *", internals.dead_address),
    metatable_place = internals.metatable_place,
    make_blanks = internals.make_blanks,
    trace_new = internals.trace_new,
    quota_text = internals.quota_text,
}
