-- FFI bodies for what buffers do with bytes; methods.lua says how a body must be written.
-- Reading goes straight to memory; what writes, and what compares or searches, is one C call.

local clib = require "bytepool.clib"
local core = require "bytepool.core"

local ffi, C, is, LIVE = clib.ffi, clib.C, clib.is, clib.live
local cast, ffi_string = ffi.cast, ffi.string
local floor, select, tonumber, type = math.floor, select, tonumber, type
local handle_pointer, char_pointer = ffi.typeof("bytepool_handle *"), ffi.typeof("char *")
local MAX_SIZE = core.max_size
local MAX_STRING = 2 ^ 31 - 256 -- LuaJIT's own bound; ffi.string would cut the length

-- The handle, its state, data and length, to be used only while h.owned > 0 and h.state is
-- still the same; or nil.
local function look(buf)
    if not is(buf, LIVE) then return nil end
    local h = cast(handle_pointer, buf)
    if h == nil or h.seal ~= cast(char_pointer, h) + 1 then return nil end -- BPL_HANDLE_SEAL
    return h, h.state, h.data, tonumber(h.length)
end

local function whole(x) return type(x) == "number" and x == floor(x) end

local DUE, TRACE = -101, 1 -- BPL_E_DUE, BPL_TRACE

local contents, bodies = {}, {}

-- Pointer and length; instead of the C method of the name, which can only refuse.
function contents.ref(c_ref)
    return function(buf)
        local h, state, data, length = look(buf)
        if h ~= nil and h.owned > 0 and h.state == state then return data, length end
        return c_ref(buf)
    end
end

function bodies.len(c_len)
    return function(buf)
        local h, _, _, length = look(buf)
        if h ~= nil and h.owned > 0 then return length end
        return c_len(buf)
    end
end

function bodies.byte(c_byte)
    return function(buf, i, j)
        local h, state, data, length = look(buf)
        if h ~= nil and j == nil and type(i) == "number" and i >= 1 and i <= length
            and i == floor(i) and h.owned > 0 and h.state == state then
            return data[i - 1]
        end
        return c_byte(buf, i, j)
    end
end

function bodies.tostring(c_tostring)
    return function(buf)
        local h, state, data, length = look(buf)
        if h ~= nil and length < MAX_STRING and h.owned > 0 and h.state == state then
            return ffi_string(data, length)
        end
        return c_tostring(buf)
    end
end

function bodies.sub(c_sub)
    return function(buf, i, j)
        local h, state, data, length = look(buf)
        if h ~= nil and length < MAX_STRING and whole(i) and i ~= 0 and (j == nil or whole(j)) then
            local first, last = i, j or -1
            if first < 0 then first = length + first + 1 end
            if first < 1 then first = 1 end
            if last < 0 then last = length + last + 1 end
            if last > length then last = length end
            local from = data + (first - 1)
            if h.owned > 0 and h.state == state then
                if last < first then return "" end
                return ffi_string(from, last - first + 1)
            end
        end
        return c_sub(buf, i, j)
    end
end

function bodies.set_string(c_set_string)
    return function(buf, pos, s)
        if is(buf, LIVE) and type(pos) == "number" and type(s) == "string"
            and C.bytepool_handle_write(buf, pos, s, #s) == 0 then
            return buf
        end
        return c_set_string(buf, pos, s)
    end
end

function bodies.put(c_put)
    return function(buf, ...)
        local s = ...
        if type(s) == "string" and select("#", ...) == 1 and is(buf, LIVE)
            and C.bytepool_handle_append(buf, s, #s) == 0 then
            return buf
        end
        return c_put(buf, ...)
    end
end

function bodies.set(c_set)
    return function(buf, s)
        if type(s) == "string" and is(buf, LIVE) and C.bytepool_handle_replace(buf, s, #s) == 0 then return buf end
        return c_set(buf, s)
    end
end

-- The other arguments are left out, or numbers.
local function is_part(i, j)
    return (i == nil or type(i) == "number") and (j == nil or type(j) == "number")
end

function bodies.copy(c_copy)
    return function(buf, pos, from, i, j)
        if type(pos) == "number" and is_part(i, j) and is(buf, LIVE) then
            local first, last = i or 1, j or -1
            if type(from) == "string" then
                if C.bytepool_handle_copy(buf, pos, from, #from, first, last) == 0 then return buf end
            elseif is(from, LIVE) and C.bytepool_handle_copy_from(buf, pos, from, first, last) == 0 then
                return buf
            end
        end
        return c_copy(buf, pos, from, i, j)
    end
end

function bodies.fill(c_fill)
    return function(buf, value, i, j)
        if type(value) == "number" and is_part(i, j) and is(buf, LIVE)
            and C.bytepool_handle_set_bytes(buf, value, i or 1, j or -1) == 0 then
            return buf
        end
        return c_fill(buf, value, i, j)
    end
end

-- The string is made, then its bytes are consumed if a finalizer that ran meanwhile left them there.
function bodies.get(c_get)
    return function(buf, ...)
        local n = ...
        if select("#", ...) <= 1 and (n == nil or whole(n) and n >= 0 and n <= MAX_SIZE) then
            local h, state, data, length = look(buf)
            if h ~= nil and length < MAX_STRING then
                local count = n or length
                if count > length then count = length end
                if h.owned > 0 and h.state == state then
                    local s = ffi_string(data, count)
                    if C.bytepool_handle_take(buf, data, count) == 0 then return s end
                end
            end
        end
        return c_get(buf, ...)
    end
end

function bodies.skip(c_skip)
    return function(buf, n)
        if type(n) == "number" and is(buf, LIVE) and C.bytepool_handle_skip(buf, n) >= 0 then return buf end
        return c_skip(buf, n)
    end
end

function bodies.capacity(c_capacity)
    return function(buf)
        local capacity = is(buf, LIVE) and C.bytepool_handle_capacity(buf) or -1
        if capacity >= 0 then return capacity end
        return c_capacity(buf)
    end
end

function bodies.reserve(c_reserve)
    return function(buf, n)
        local room = type(n) == "number" and is(buf, LIVE) and C.bytepool_handle_reserve(buf, n) or -1
        if room >= 0 then return room end
        return c_reserve(buf, n)
    end
end

function bodies.commit(c_commit)
    return function(buf, n)
        if type(n) == "number" and is(buf, LIVE) and C.bytepool_handle_commit(buf, n) == 0 then return buf end
        return c_commit(buf, n)
    end
end

function bodies.resize(c_resize)
    return function(buf, n)
        if type(n) == "number" and is(buf, LIVE) and C.bytepool_handle_resize(buf, n) == 0 then return buf end
        return c_resize(buf, n)
    end
end

local function order(name)
    return function(c_method)
        return function(buf)
            if is(buf, LIVE) and C[name](buf) == 0 then return buf end
            return c_method(buf)
        end
    end
end
bodies.reset, bodies.free = order "bytepool_handle_reset", order "bytepool_handle_free"
bodies.freeze, bodies.unshare = order "bytepool_handle_freeze", order "bytepool_handle_unshare"

function bodies.find(c_find)
    return function(buf, needle, init)
        local from = init == nil and 1 or init
        if type(needle) == "string" and type(from) == "number" and is(buf, LIVE) then
            local at = C.bytepool_handle_find(buf, needle, #needle, from)
            if at > 0 then return at, at + #needle - 1 end
            if at == 0 then return nil end
        end
        return c_find(buf, needle, init)
    end
end

function bodies.compare(c_compare)
    return function(buf, s)
        local answer = type(s) == "string" and is(buf, LIVE) and C.bytepool_handle_compare(buf, s, #s) or -1
        if answer >= 0 then return answer - 1 end
        return c_compare(buf, s)
    end
end

local function answer_of(which)
    return function(c_method)
        return function(buf, s)
            local answer = type(s) == "string" and is(buf, LIVE) and C.bytepool_handle_is(buf, s, #s, which) or -1
            if answer >= 0 then return answer == 1 end
            return c_method(buf, s)
        end
    end
end
bodies.starts_with, bodies.equals, bodies.ends_with = answer_of(0), answer_of(1), answer_of(2)

local function question(name)
    return function(c_method)
        return function(buf)
            local answer = is(buf, LIVE) and C[name](buf) or -1
            if answer >= 0 then return answer == 1 end
            return c_method(buf)
        end
    end
end
bodies.is_unique = question "bytepool_handle_is_unique"
bodies.is_frozen = question "bytepool_handle_is_frozen"

-- replace(name, make) puts a body in front of a C method; next_blank() is a userdata made ahead,
-- put_back(blank) for one that was not used.
function contents.install(replace, next_blank, put_back)
    function bodies.slice(c_slice)
        return function(buf, i, j)
            if whole(i) and whole(j) and i >= 1 and j >= i - 1 and is(buf, LIVE) then
                local blank = next_blank()
                local status = blank and C.bytepool_handle_slice(blank, buf, i, j)
                if status == 0 then return blank end
                if status == TRACE then return clib.trace_new(blank) end
                if status == DUE then put_back(blank) end
            end
            return c_slice(buf, i, j)
        end
    end
    for name, make in pairs(bodies) do replace(name, make) end
    LIVE.__len = core.buffer_methods.len
end

return contents
