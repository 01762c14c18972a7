--- bytepool for OpenResty.
--
--     local bp = require "resty.bytepool"
--
-- Since 0.1.0.
-- @module resty.bytepool

local bytepool = require "bytepool"

local bp = {_VERSION = bytepool._VERSION}

-- Which part has a function: loaded when it is first used.
local parts = {
    request = "request", keep = "request",
    send = "send", flush = "send", pending = "send", send_stats = "send",
    serve = "serve",
}

local pools = {}

--- The worker's pool of that name, made from sizes or found again.
---@param config? integer[] sizes of its tiers
---@param name? string default "default"
---@return bytepool.Pool|nil pool
---@return string? message
function bp.init(config, name)
    name = name or "default"
    local pool, message = bytepool.open(name)
    if not pool then
        pool, message = bytepool.new_pools(config or bytepool.size_power_of_two(), {name = name})
    end
    pools[name] = pool
    return pool, message
end

--- The worker's pool.
---@param name? string default "default"
---@return bytepool.Pool
function bp.pool(name)
    return pools[name or "default"] or assert(bp.init(nil, name))
end

return setmetatable(bp, {__index = function(_, key)
    local part = parts[key]
    if not part then return nil end
    local value = require("resty.bytepool." .. part)[key]
    rawset(bp, key, value)
    return value
end})
