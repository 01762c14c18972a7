-- The pools of an nginx worker, and the timer that ticks them.
--
-- A pool that init_by_lua made is the master's: each worker begins with a copy of it as it was at the fork, and memory
-- is shared until somebody writes. The library keeps the names of pools outside of the Lua state, so a reload, or a
-- state of its own for each request (lua_code_cache off), finds the pool that is there and gives it the new settings.
--
-- Private to resty.bytepool, whose functions these are.

local bytepool = require "bytepool"
local change = require "bytepool.change"
local core = require "bytepool.core"
local options = require "bytepool.options"

local ngx = ngx
local claim, kind_of = core.claim, core.type

---@class resty.bytepool
local worker = {}

local DEFAULT = "default"

local known = {} -- name -> pool, of this Lua state
local ready = {} -- those of them that handlers asked for, once the timer runs

--- Seconds between two ticks, and the shared dict of the totals.
worker.interval, worker.dict = 1, "bytepool"

-- ---- the timer -------------------------------------------------------------------

local started, guard, last_fault

local function complain(text)
    if text ~= last_fault then ngx.log(ngx.WARN, "bytepool: ", text) end
    last_fault = text
end

local function tick(name, pool)
    if kind_of(pool) ~= "pool" then
        known[name], ready[name] = nil, nil
        return
    end
    local ran, done = pcall(pool.tick, pool)
    if not ran then return complain(tostring(done)) end
    if done and done.fault then complain(("pool %s: %s"):format(options.quote(name), done.fault)) end
end

-- What an interval asks for; also when the worker begins to shut down (premature).
local function beat(premature)
    for name, pool in pairs(known) do tick(name, pool) end
    local channel = package.loaded["resty.bytepool.channel"]
    if channel then channel.sweep() end
    -- In a timer of its own: what is woken in this one waits for the next event of the worker.
    if channel and premature then ngx.timer.at(0, channel.close_all) end
    if ngx.shared[worker.dict] then
        local done, why = require("resty.bytepool.totals").publish()
        if not done then complain(why) end
    end
end

-- One timer for a worker: a Lua state that is one request's would otherwise start another, and would live as long.
local function start()
    if started then return true end
    if ngx.get_phase() == "init" then return false end
    if not claim() then
        started = true
        return true
    end
    local made, why = ngx.timer.every(worker.interval, beat)
    if not made and not ngx.worker.exiting() then
        claim(false)
        complain("no timer: " .. tostring(why))
        return false
    end
    -- A state that ends while its process goes on leaves the timer to the next.
    guard = newproxy(true)
    getmetatable(guard).__gc = function() claim(false) end
    started = true
    return true
end

-- ---- making and finding ------------------------------------------------------------

local schema = {
    interval = {type = "duration", max = 3600, default = 1},
    dict = {type = "string", default = "bytepool"},
}

-- As nginx has it: a path that is not absolute begins at the prefix.
local function source_of(given)
    local path = not given:find("^/") and not given:find("\n", 1, true) and ngx.config.prefix() .. given
    local file = path and io.open(path, "rb")
    if not file then return given end
    file:close()
    return {path = path}
end

-- A config of what init was given: a new table.
local function config_of(given)
    if given == nil then return {tiers = bytepool.size_power_of_two()} end
    if type(given) == "string" then return bytepool.load_config(source_of(given)) end
    if type(given) ~= "table" or given.tiers == nil then return {tiers = given} end
    local copy = {}
    for key, value in pairs(given) do copy[key] = value end
    return copy
end

local function make(checked)
    local pool = known[checked.name]
    if kind_of(pool) ~= "pool" then pool = bytepool.open(checked.name) end
    if not pool then return bytepool.new_pools(checked) end
    local done, message = change.adopt(pool, checked)
    if not done then return nil, ("pool %s: %s"):format(options.quote(checked.name), message) end
    return pool
end

-- In the master: once for all workers, who may have no right to read the files.
local function load_parts()
    for _, part in pairs(getmetatable(require "resty.bytepool").__parts) do require("resty.bytepool." .. part) end
end

--- Makes the worker's pool of a name, in `init_by_lua` or `init_worker_by_lua`, or gives the one that is there these
-- settings. A timer ticks it from then on; where this ran in `init_by_lua`, from the worker's first
-- `bp.pool` on. After a reload the pool is the same, with what the new configuration says; what is
-- fixed when a pool is made can not differ then, and `nil, message` comes back.
---@param config? string|bytepool.Config|bytepool.Tiers the path of a config file, from nginx's prefix on; a config; or
--- tiers; default bytepool.size_power_of_two()
---@param name? string default: the config's, or "default"
---@param given? {interval?: number|string, dict?: string} of the worker, not of one pool: seconds between two ticks
--- (default 1), and the lua_shared_dict in which workers add up their figures ("bytepool", where there is one)
---@return bytepool.Pool|nil pool
---@return string? message what is wrong with the file, or out of memory
function worker.init(config, name, given)
    if name ~= nil and (type(name) ~= "string" or name == "") then
        error("init: argument 'name' must be a non-empty string, got " .. options.show(name, true), 2)
    end
    local values, fault = options.check("init", given, schema)
    if not values then error(fault, 2) end
    if values.interval < 0.001 then error("init: interval: must be at least 1 ms", 2) end
    local wanted, message = config_of(config)
    if not wanted then return nil, message end
    wanted.name = name or wanted.name or DEFAULT
    local checked
    checked, fault = require("bytepool.config").check("init", wanted)
    if not checked then error(fault, 2) end
    local pool
    pool, message = make(checked)
    if not pool then return nil, message end
    if given then worker.interval, worker.dict = values.interval, values.dict end
    known[checked.name] = pool
    if ngx.get_phase() == "init" then load_parts() end
    if start() then ready[checked.name] = pool end
    return pool
end

local function find(method, name, level)
    if type(name) ~= "string" or name == "" then
        local got = options.show(name, true)
        error(("%s: argument 'name' must be a non-empty string, got %s"):format(method, got), level)
    end
    local pool, message = known[name], nil
    if kind_of(pool) ~= "pool" then
        pool = bytepool.open(name)
        if not pool and name == DEFAULT then pool, message = bytepool.default() end
        if not pool then
            if message then return nil, message end
            error(("%s: no pool has the name %s: init makes it"):format(method, options.show(name, true)), level)
        end
        known[name] = pool
    end
    if start() then ready[name] = pool end
    return pool
end

--- The worker's pool of a name, the same in all handlers, modules and phases. Raises where there is none, but for
-- "default", which then is made as `bytepool.default()` makes it.
---@param name? string default "default"
---@return bytepool.Pool|nil pool
---@return string? message out of memory
function worker.pool(name)
    if name == nil then name = DEFAULT end
    local pool = ready[name]
    if pool then return pool end
    local found, message = find("pool", name, 3)
    return found, message
end

--- The same for another part: raises with the line of the caller's caller's caller.
---@param method string
---@param name? string
---@return bytepool.Pool|nil pool
---@return string? message
function worker.pool_for(method, name)
    if name == nil then name = DEFAULT end
    if ready[name] then return ready[name] end
    local found, message = find(method, name, 5)
    return found, message
end

--- The open pools that this Lua state knows, by name: a new table.
---@return table<string, bytepool.Pool>
function worker.pools()
    local list = {}
    for name, pool in pairs(known) do
        if kind_of(pool) == "pool" then list[name] = pool end
    end
    return list
end

return worker
