--- What a simulated pool is made by: tiers, or a table as a config file returns it.
--
-- Since 0.1.0.
-- @module bytepool.simulate.config

local options = require "bytepool.options"
local size = require "bytepool.size"
local tiers = require "bytepool.tiers"

local config = {}

local MAX_SIZE = 2 ^ 40
local DEFAULT_IDLE = 2 ^ 28

-- The parts that a model has no use for are looked through where a pool is made.
local any = {type = "any"}
local bytes_rule = {type = "size", min = 0, max = MAX_SIZE}
local share_rule = {type = "number", min = 0, max = 1}
local schema = {
    tiers = {type = "any", required = true}, name = any, leaks = any, recent = any, zero = any, on_tick = any,
    adaptive = any, region_size = any, debug = {type = "boolean", default = false},
    limits = {type = "table", schema = {idle = bytes_rule, bytes = bytes_rule, waste = share_rule,
        decay = {type = "duration", max = 1e9},
        pressure = any}},
}

-- Sizes, and the limits of those that have some by place.
local function read_tiers(given)
    local sizes, by_size = tiers.list(given, nil, "tiers")
    if not sizes then return nil, by_size end
    local limits = {}
    for i, bytes in ipairs(sizes) do limits[i] = by_size[bytes] end
    return sizes, limits
end

--- Reads tiers (an array of sizes, a policy) or a config.
---@param given any
---@param defaults? {idle?: bytepool.Size, bytes?: bytepool.Size} limits where the config has none
---@return bytepool.simulate.Config|nil
---@return string? message without the method's name
function config.read(given, defaults)
    local is_config = type(given) == "table" and not tiers.is_policy(given) and given.tiers ~= nil
    local values, fault = options.check("config", is_config and given or {tiers = given}, schema)
    if not values then return nil, (fault:gsub("^config: ", "")) end
    local limits = values.limits
    local sizes, of_tiers = read_tiers(values.tiers)
    if not sizes then return nil, of_tiers end
    defaults = defaults or {}
    return {sizes = sizes, limits = of_tiers, max_idle = limits.idle or size.of(defaults.idle) or DEFAULT_IDLE,
        max_bytes = limits.bytes or size.of(defaults.bytes), max_waste = limits.waste, decay = limits.decay,
        debug = values.debug}
end

return config
