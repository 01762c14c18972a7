--- Raw pointers for LuaJIT programs that manage lifetimes themselves.
--
--     local raw = require "bytepool.ffi"
--     local pointer, capacity = raw.get(pool, n)
--     ...
--     raw.put(pool, pointer)
--
-- No collector helps here: a pointer that is not put stays out, and one that is out when
-- the pool is closed can not be put any more. Where Lua itself runs out of memory within
-- get, or a stranger's finalizer or hook raises there, the pointer is lost. put refuses foreign and repeated pointers
-- and those of buffer handles; but a stale pointer whose block was handed out raw again
-- can not be told from the new owner's.
--
-- Since 0.1.0.
-- @module bytepool.ffi

local clib = require "bytepool.clib"
if not clib then
    error("bytepool.ffi needs LuaJIT with its ffi and debug libraries", 2)
end
local core = require "bytepool.core"

local ffi, C, is, POOL = clib.ffi, clib.C, clib.is, clib.pool
local cast, istype, pcall, tonumber, type, error = ffi.cast, ffi.istype, pcall, tonumber, type, error
local byte_pointer, void_pointer = ffi.typeof("uint8_t *"), ffi.typeof("void *")
local floor = math.floor
local show = require "bytepool.options".show

local MAX_SIZE, OVER_QUOTA = core.max_size, 1 -- BPL_OVER_QUOTA
local answer = ffi.new("bytepool_raw") -- filled by each get and read at once

local raw = {}

-- Any other pointer than get's own `uint8_t *` too, but no number that looks like one.
local function is_pointer(x)
    return type(x) == "cdata" and tonumber(x) == nil and (pcall(cast, void_pointer, x))
end

-- What is wrong with a pool argument, or nil.
local function fault_of_pool(method, pool)
    local kind = core.type(pool)
    if kind == "closed pool" then return method .. ": the pool is closed" end
    if kind ~= "pool" then
        return ("%s: argument 'pool' must be a bytepool pool, got %s"):format(method, type(pool))
    end
    return nil
end

local function fault_of_size(n)
    return ("get: argument 'n' must be a whole number from 0 to %s, got %s"):format(show(MAX_SIZE), show(n))
end

local refusals = {
    [-3] = "put: pointer given back already",
    [-4] = "put: foreign pointer",
    [-6] = "put: pointer belongs to a buffer handle",
}

local function fault_of_put(pool, status)
    return fault_of_pool("put", pool) or refusals[status] or "put: " .. ffi.string(C.bp_strerror(status))
end

--- Memory for one owner, aligned to 64 bytes, not cleared.
---@param pool bytepool.Pool
---@param n integer bytes
---@return ffi.cdata*|nil pointer a `uint8_t *`; nil where memory ran out
---@return integer|string capacity bytes that may be used, at least n; or a message
function raw.get(pool, n)
    local whole = type(n) == "number" and n >= 0 and n <= MAX_SIZE and n == floor(n)
    if not whole or not is(pool, POOL) then
        local fault = fault_of_pool("get", pool) or not whole and fault_of_size(n)
        if fault then error(fault, 2) end
    end
    local ticket = answer.next
    local pointer = C.bytepool_raw_get(pool, n, answer)
    local capacity = tonumber(answer.capacity)
    if pointer == nil then
        local fault = fault_of_pool("get", pool)
        if fault then error(fault, 2) end
        return nil, capacity == OVER_QUOTA and clib.quota_text(pool, n) or "out of memory"
    end
    if answer.ticket ~= ticket then -- a finalizer that ran meanwhile called get too
        capacity = tonumber(C.bytepool_raw_capacity(pool, pointer))
    end
    return pointer, capacity
end

--- Gives it back. Raises when it is not a pointer that raw.get gave and that is out.
---@param pool bytepool.Pool the pool it came from
---@param pointer ffi.cdata*
function raw.put(pool, pointer)
    local fault = not is(pool, POOL) and fault_of_pool("put", pool)
    if fault then error(fault, 2) end
    if not istype(byte_pointer, pointer) and not is_pointer(pointer) then
        error("put: argument 'pointer' must be a pointer, got " .. type(pointer), 2)
    end
    local status = C.bytepool_raw_put(pool, pointer)
    if status ~= 0 then error(fault_of_put(pool, status), 2) end
end

return raw
