--- Raw pointers for LuaJIT programs that manage lifetimes themselves.
--
--     local raw = require "bytepool.ffi"
--     local pointer, capacity = raw.get(pool, n)
--     ...
--     raw.put(pool, pointer)
--
-- No collector helps here: a pointer that is not put stays out, and one that is out when
-- the pool is closed can not be put any more. put refuses foreign and repeated pointers
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

local ffi, C, getmetatable = clib.ffi, clib.C, clib.getmetatable
local cast, istype, pcall, tonumber, type, error = ffi.cast, ffi.istype, pcall, tonumber, type, error
local byte_pointer, void_pointer = ffi.typeof("uint8_t *"), ffi.typeof("void *")
local floor = math.floor
local POOL, LIGHT, MAGIC = core.pool, core.light, core.pool_magic
local pool_pointer = clib.pool_pointer
local show = require "bytepool.options".show

local MAX_SIZE = 2 ^ 40
local capacity = ffi.new("size_t[1]") -- filled by each get and read at once

local raw = {}

-- The open pool behind the userdata, or nil.
local function open(pool)
    if getmetatable(pool) == POOL and type(pool) == "userdata" and getmetatable(LIGHT) ~= POOL then
        local p = cast(pool_pointer, pool)
        if p.magic == MAGIC and p.pool ~= nil then return p end
    end
    return nil
end

-- Any other pointer than get's own `uint8_t *` too, but no number that looks like one.
local function is_pointer(x)
    return type(x) == "cdata" and tonumber(x) == nil and (pcall(cast, void_pointer, x))
end

-- Raises at the line of whoever called get or put.
local function refuse_pool(method, pool)
    if core.type(pool) == "closed pool" then error(method .. ": the pool is closed", 3) end
    error(("%s: argument 'pool' must be a bytepool pool, got %s"):format(method, type(pool)), 3)
end

local function refuse_size(n)
    error(("get: argument 'n' must be a whole number from 0 to %s, got %s"):format(show(MAX_SIZE), show(n)), 3)
end

local refusals = {
    [-3] = "put: pointer given back already",
    [-4] = "put: foreign pointer",
    [-6] = "put: pointer belongs to a buffer handle",
}

local function refuse_put(status)
    error(refusals[status] or "put: " .. ffi.string(C.bp_strerror(status)), 3)
end

--- Memory for one owner, aligned to 64 bytes, not cleared.
---@param pool bytepool.Pool
---@param n integer bytes
---@return ffi.cdata*|nil pointer a `uint8_t *`; nil where memory ran out
---@return integer|string capacity bytes that may be used, at least n; or a message
function raw.get(pool, n)
    local p = open(pool)
    if p == nil then refuse_pool("get", pool) end
    if type(n) ~= "number" or not (n >= 0 and n <= MAX_SIZE) or n ~= floor(n) then refuse_size(n) end
    local pointer = C.bp_raw_get(p.pool, n, capacity)
    if pointer == nil then return nil, "out of memory" end
    return pointer, tonumber(capacity[0])
end

--- Gives it back. Raises when it is not a pointer that raw.get gave and that is out.
---@param pool bytepool.Pool the pool it came from
---@param pointer ffi.cdata*
function raw.put(pool, pointer)
    local p = open(pool)
    if p == nil then refuse_pool("put", pool) end
    if not istype(byte_pointer, pointer) and not is_pointer(pointer) then
        error("put: argument 'pointer' must be a pointer, got " .. type(pointer), 2)
    end
    local status = C.bp_raw_put(p.pool, pointer)
    if status ~= 0 then refuse_put(status) end
end

return raw
