-- FFI bodies for numbers at a position: buf:u32be(pos), buf:set_u32be(pos, v) and so on,
-- one from each entry of the C table. As in methods.lua, whatever is not the plain case goes
-- to the C method of the same name.
--
-- Each is compiled from a text of its own: closures of one function share its traces, and
-- would load size and type anew in each. A pointer is made before the look whether the handle
-- lives and has not moved; what is read through it is a number, or a cdata that holds a copy.

local core = require "bytepool.core"

local clib = require "bytepool.clib"
local bit = require "bit"
local jit = rawget(_G, "jit")

local ffi = clib.ffi

-- Pointers need not be aligned there, and low bytes come first.
local inline = jit.arch == "x64" or jit.arch == "x86" or jit.arch == "arm64"

local HEAD = [[
local c_method, clib, bit, scratch = ...
local ffi, C, is, LIVE = clib.ffi, clib.C, clib.is, clib.live
local cast, istype, bswap, floor = ffi.cast, ffi.istype, bit.bswap, math.floor
local arshift, rshift, tonumber, type = bit.arshift, bit.rshift, tonumber, type
local handle_pointer, char_pointer = ffi.typeof("bytepool_handle *"), ffi.typeof("char *")
local pointer, uint32 = ffi.typeof("const $TYPE *"), ffi.typeof("uint32_t")
local int64, uint64 = ffi.typeof("int64_t"), ffi.typeof("uint64_t")
]]

local GETTER = HEAD .. [[
return function(buf, pos)
    if is(buf, LIVE) and type(pos) == "number" then
        local h = cast(handle_pointer, buf)
        if h ~= nil and h.seal == cast(char_pointer, h) + 1 then -- BPL_HANDLE_SEAL
            local state = h.state
            local p, last = cast(pointer, h.data + (pos - 1)), tonumber(h.length) - $REST
            if pos >= 1 and pos <= last and pos == floor(pos)
                and h.owned > 0 and h.state == state then
                $READ
            end
        end
    end
    return c_method(buf, pos)
end
]]

local SETTER = HEAD .. [[
return function(buf, pos, v)
    if is(buf, LIVE) and type(pos) == "number" then
        if type(v) == "number" then
            if C.bytepool_handle_set(buf, pos, $KIND, v) == 0 then return buf end
        $WIDE
        end
    end
    return c_method(buf, pos, v)
end
]]

local WIDE = [[elseif istype(int64, v) or istype(uint64, v) then
            if C.bytepool_handle_set_bits(buf, pos, cast(uint64, v), $BIG) == 0 then return buf end]]

-- What big-endian bytes are read as, and how they become the number. Floats go by memory that
-- they share with an integer; only a debug hook that reads such a float too could come between.
local BIG = {
    u2 = {"uint16_t", "return rshift(bswap(p[0]), 16)"},
    i2 = {"uint16_t", "return arshift(bswap(p[0]), 16)"},
    u4 = {"int32_t", "return tonumber(cast(uint32, bswap(p[0])))"},
    i4 = {"int32_t", "return bswap(p[0])"},
    u8 = {"uint64_t", "return bswap(p[0])"},
    i8 = {"int64_t", "return bswap(p[0])"},
    f4 = {"int32_t", "scratch.i4 = bswap(p[0]) return scratch.f4"},
    f8 = {"int64_t", "scratch.i8 = bswap(p[0]) return scratch.f8"},
}
local FLOATS = {[4] = "float", [8] = "double"}
local scratch = ffi.new("union { int32_t i4; int64_t i8; float f4; double f8; }")

local function reading(kind)
    if kind.big then return unpack(BIG[kind.type .. kind.size]) end
    local integer = (kind.type == "u" and "uint" or "int") .. 8 * kind.size .. "_t"
    return kind.type == "f" and FLOATS[kind.size] or integer, "return p[0]"
end

local function make(name, text, values)
    local code = text:gsub("%$(%u+)", values)
    local chunk = assert(loadstring(code, "=bytepool." .. name))
    return function(c_method) return chunk(c_method, clib, bit, scratch) end
end

-- replace(name, make) puts a body in front of a C method.
return function(replace)
    for i, kind in ipairs(core.internals.kinds) do
        local ctype, read = reading(kind)
        local wide = kind.size == 8 and kind.type ~= "f" and WIDE:gsub("%$BIG", kind.big and "1" or "0") or ""
        if inline then
            replace(kind.name, make(kind.name, GETTER, {TYPE = ctype, REST = kind.size - 1, READ = read}))
        end
        local set = "set_" .. kind.name
        replace(set, make(set, SETTER, {TYPE = ctype, KIND = i - 1, WIDE = wide}))
    end
end
