-- FFI bodies for the hot buffer methods, under LuaJIT with its compiler on: a C
-- function is never compiled into a trace, these are. Returns whether they are in use.
--
-- A body handles the plain case of a live buffer and valid arguments. All else it
-- leaves to the C method of the same name by a tail call: there stand the errors,
-- once. What exists is the C methods' table; a body can only replace an entry of it.

local core = require "bytepool.core"

local clib = require "bytepool.clib"
local jit = rawget(_G, "jit")
if not clib or not jit.status() then return false end

local ffi, C, getmetatable = clib.ffi, clib.C, clib.getmetatable
local cast, copy, ffi_string = ffi.cast, ffi.copy, ffi.string
local floor, tonumber, type = math.floor, tonumber, type

local LIVE, LIGHT = core.live, core.light
local MAGIC = core.handle_magic
local handle_pointer = clib.handle_pointer

-- The handle behind a live buffer, or nil. By the debug library a script can give our
-- metatable to any table, and to all values of a type at once. The type refuses
-- these; the last test is for light userdata, which pass as userdata but whose memory
-- is nobody's to read. Compiled, it costs nothing.
local function live(buf)
    if getmetatable(buf) == LIVE and type(buf) == "userdata" and getmetatable(LIGHT) ~= LIVE then
        local h = cast(handle_pointer, buf)
        if h.magic == MAGIC and h.owned > 0 then return h end
    end
    return nil
end

local methods = core.buffer_methods

local function replace(name, make)
    methods[name] = make(assert(methods[name], name))
end

-- bury(buf) gives a userdata the metatable without __gc by a store where LuaJIT
-- keeps it, so that no finalizer runs at its sweep. The collector needs no barrier:
-- the registry holds that metatable anyway. Later loads of the metatable in the
-- same trace still see the old one, so nothing may tell life from it.
local function make_bury()
    local offset, width = core.metatable_place()
    if not offset then return nil end
    local slot = ffi.typeof(width == 8 and "uint64_t *" or "uint32_t *")
    local bytes = ffi.typeof("char *")
    local probe = core.new_pools({64}, nil, 0, 0):get_buffer(0)
    local function metatable_of(buf)
        return cast(slot, cast(bytes, cast("void *", buf)) - offset)[0]
    end
    local before = metatable_of(probe)
    methods.release(probe) -- still the C method, which sets the dead metatable
    local dead = metatable_of(probe)
    if before == dead then return nil end
    return function(buf)
        cast(slot, cast(bytes, cast("void *", buf)) - offset)[0] = dead
    end
end

local bury = make_bury()

if bury then
    replace("release", function(c_release)
        return function(buf)
            local h = live(buf)
            if h == nil then return c_release(buf) end
            local owned = h.owned
            h.owned = owned - 1
            if owned == 1 then
                h.data = nil
                h.length = 0
                bury(buf)
            end
            C.bp_buffer_release(h.pool, h.block)
        end
    end)
end

replace("retain", function(c_retain)
    return function(buf)
        local h = live(buf)
        if h == nil or C.bp_buffer_retain(h.block) ~= 0 then return c_retain(buf) end
        h.owned = h.owned + 1
        return buf
    end
end)

replace("ref_count", function(c_ref_count)
    return function(buf)
        local h = live(buf)
        if h == nil then return c_ref_count(buf) end
        return C.bp_buffer_ref_count(h.block)
    end
end)

replace("len", function(c_len)
    return function(buf)
        local h = live(buf)
        if h == nil then return c_len(buf) end
        return tonumber(h.length)
    end
end)
LIVE.__len = methods.len

-- A dead handle has length 0, so the bounds check refuses it too.
replace("byte", function(c_byte)
    return function(buf, i, j)
        local h = live(buf)
        if h ~= nil and j == nil and type(i) == "number" and i >= 1 and i <= tonumber(h.length)
            and i == floor(i) then
            return h.data[i - 1]
        end
        return c_byte(buf, i, j)
    end
end)

replace("set_string", function(c_set_string)
    return function(buf, pos, s)
        local h = live(buf)
        if h ~= nil and type(s) == "string" and type(pos) == "number" and pos >= 1
            and pos == floor(pos) and #s <= tonumber(h.length) - (pos - 1) then
            copy(h.data + (pos - 1), s, #s)
            return buf
        end
        return c_set_string(buf, pos, s)
    end
end)

replace("tostring", function(c_tostring)
    return function(buf)
        local h = live(buf)
        if h == nil then return c_tostring(buf) end
        return ffi_string(h.data, h.length)
    end
end)

return true
