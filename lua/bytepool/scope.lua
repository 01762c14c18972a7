-- Buffers that go back at the end of a piece of program, whichever way it is left.
--
-- Private to bytepool, which puts both into the pools' methods.

local core = require "bytepool.core"
local options = require "bytepool.options"

local get_buffer, kind_of = core.pool_methods.get_buffer, core.type
local give_back = core.internals.live.__close -- all that a handle owns; silent about a dead one
local pcall = pcall

-- A buffer, or nil and a message. What is wrong with n is the fault of our caller's caller.
local function get(method, pool, n)
    local ok, buf, message = pcall(get_buffer, pool, n)
    if not ok then
        if type(buf) == "string" then buf = buf:gsub("^get_buffer", method) end
        error(buf, 3)
    end
    return buf, message
end

-- Level 0: the error keeps the position that it has.
local function finish(buf, ok, ...)
    give_back(buf)
    if not ok then error((...), 0) end
    return ...
end

local function using(pool, n, fn, ...)
    if type(fn) ~= "function" then
        options.check_pool("using", pool)
        error("using: argument 'fn' must be a function, got " .. type(fn), 2)
    end
    local buf, message = get("using", pool, n)
    if not buf then return nil, message end
    return finish(buf, pcall(fn, buf, ...))
end

local Scope = {}
Scope.__index = Scope
Scope.__name = "bytepool.scope"

local function check_open(method, scope)
    if getmetatable(scope) ~= Scope then
        error(method .. ": self must be a bytepool scope, got " .. type(scope), 3)
    end
    if scope.count < 0 then error(method .. ": the scope is closed", 3) end
end

-- What was released by hand is dropped from time to time, or a scope around a loop would keep
-- every handle of it.
local function prune(scope)
    local list, live = scope.list, 0
    for i = 1, scope.count do
        local buf = list[i]
        list[i] = nil
        if kind_of(buf) == "buffer" then
            live = live + 1
            list[live] = buf
        end
    end
    scope.count, scope.limit = live, 2 * live + 64
end

-- Counted, then stored: a finalizer that adds in between must not get the same place.
local function keep(scope, buf)
    if scope.count >= scope.limit then prune(scope) end
    local at = scope.count + 1
    scope.count = at
    scope.list[at] = buf
    return buf
end

function Scope:get_buffer(n)
    check_open("get_buffer", self)
    local buf, message = get("get_buffer", self.pool, n)
    if not buf then return nil, message end
    return keep(self, buf)
end

function Scope:add(buf)
    check_open("add", self)
    local kind = kind_of(buf)
    if kind == "released buffer" then error("add: buffer already released", 2) end
    if kind ~= "buffer" then error("add: argument 'buf' must be a bytepool buffer, got " .. type(buf), 2) end
    return keep(self, buf)
end

local function close(method, scope)
    if getmetatable(scope) ~= Scope then
        error(method .. ": self must be a bytepool scope, got " .. type(scope), 3)
    end
    local list, count = scope.list, scope.count
    scope.list, scope.count = {}, -1
    for i = count, 1, -1 do
        if list[i] then give_back(list[i]) end
    end
end

function Scope:close() close("close", self) end

function Scope:__close() close("__close", self) end

function Scope:__tostring()
    return self.count < 0 and "bytepool.scope: closed" or ("bytepool.scope: %d buffers"):format(self.count)
end

core.pool_methods.using = using

function core.pool_methods.scope(pool)
    options.check_pool("scope", pool)
    return setmetatable({ pool = pool, list = {}, count = 0, limit = 64 }, Scope)
end

return Scope
