--- A pool of any Lua values: tables, parsers, connections, whatever `fn` makes.
--
--     local new_pool = require "bytepool".new_pool
--     local lists = new_pool(function() return {} end, {reset = clear})
--     local list = lists:get()
--     ...
--     lists:put(list)
--
-- The value put last is the first to be got again: it is the likeliest to be
-- in the processor's cache. One pool belongs to one Lua state.
--
-- Since 0.1.0.
-- @module bytepool.object_pool

local options = require "bytepool.options"

local error, getmetatable, setmetatable, type = error, getmetatable, setmetatable, type

local KIND = "bytepool.object_pool"
local DEFAULT_MAX_IDLE = 256

local schema = {
    reset = {type = "function"},
    max_idle = {type = "integer", min = 0, max = 2 ^ 31 - 1, default = DEFAULT_MAX_IDLE},
}

-- Values that are equal without being the same thing: a second put of one of
-- these says nothing about who owns it.
local is_plain = {number = true, string = true, boolean = true}

---@class bytepool.ObjectPool
---@field private make fun(): any
---@field private reset? fun(x: any)
---@field private max_idle integer
---@field private stack any[] idle values, last put on top
---@field private top integer how many
---@field private is_idle table<any, true> the reference values in stack
---@field private gets integer
---@field private puts integer
---@field private news integer
---@field private drops integer
local methods = {}

-- `make` and `reset` are the user's: they may raise, yield or call this very
-- pool. So counters move only after them, and every field is read again.

--- A value from the pool; a new one from `fn` when none is idle.
-- Raises what `fn` raises, and when it returns nil; nothing is counted then.
---@return any x never nil
function methods:get()
    if getmetatable(self) ~= KIND then
        error("get: self must be an object pool, got " .. type(self), 2)
    end
    local top = self.top
    local x
    if top > 0 then
        local stack, is_idle = self.stack, self.is_idle
        x = stack[top]
        stack[top] = nil
        self.top = top - 1
        -- Tested first because nan may be read as a key but not assigned.
        if is_idle[x] then is_idle[x] = nil end
    else
        x = self.make()
        -- Not `x == nil`, which holds for LuaJIT's NULL pointers too.
        if type(x) == "nil" then
            error("get: the function given to new_pool returned nil", 2)
        end
        if self.is_idle[x] then
            error("get: the function given to new_pool returned a value that is in the pool", 2)
        end
        self.news = self.news + 1
    end
    self.gets = self.gets + 1
    return x
end

--- Gives a value back. It is handed to `reset` and kept, or dropped when
--- `max_idle` values are idle already (then counted in `dropped` as well).
-- Raises when x is nil, when x is in the pool already (values that are plain,
-- such as numbers, cannot be told apart and are let through), and what `reset`
-- raises; nothing is counted and x is not kept then.
---@param x any
function methods:put(x)
    if getmetatable(self) ~= KIND then
        error("put: self must be an object pool, got " .. type(self), 2)
    end
    local kind = type(x)
    if kind == "nil" then error("put: argument 'x' must not be nil", 2) end
    local is_idle = self.is_idle
    if is_idle[x] then error("put: x is in the pool already", 2) end
    local reset = self.reset
    if reset and self.top < self.max_idle then
        reset(x)
        if is_idle[x] then error("put: x is in the pool already", 2) end
    end
    local top = self.top
    if top < self.max_idle then
        top = top + 1
        -- Either can run out of memory; what counts is top, which moves after both.
        self.stack[top] = x
        if not is_plain[kind] then is_idle[x] = true end
        self.top = top
    else
        self.drops = self.drops + 1
    end
    self.puts = self.puts + 1
end

--- Counts since the pool was made: `get` and `put` calls that succeeded, `new`
--- values made by `fn`, values `idle` now, puts that `dropped` the value.
---@return {get: integer, put: integer, new: integer, idle: integer, dropped: integer}
function methods:stats()
    if getmetatable(self) ~= KIND then
        error("stats: self must be an object pool, got " .. type(self), 2)
    end
    return {get = self.gets, put = self.puts, new = self.news, idle = self.top, dropped = self.drops}
end

local meta = {__index = methods, __metatable = KIND}

function meta:__tostring()
    return ("%s: %d idle"):format(KIND, self.top)
end

--- Makes a pool of Lua values.
-- Options: `reset`, a function called with each value that is put, before it is
-- kept; `max_idle`, how many idle values are kept at most (default 256).
-- Raises on a wrong type or an unknown option.
---@param fn fun(): any makes a value when none is idle; must not return nil
---@param opts? {reset?: fun(x: any), max_idle?: integer}
---@return bytepool.ObjectPool
local function new_pool(fn, opts)
    if type(fn) ~= "function" then
        error("new_pool: argument 'fn' must be a function, got " .. options.show(fn), 2)
    end
    local values, message = options.check("new_pool", opts, schema)
    if not values then error(message, 2) end
    return setmetatable({
        make = fn, reset = values.reset, max_idle = values.max_idle,
        stack = {}, top = 0, is_idle = {},
        gets = 0, puts = 0, news = 0, drops = 0,
    }, meta)
end

return new_pool
