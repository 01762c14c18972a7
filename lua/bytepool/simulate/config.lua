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
local SECONDS = {ms = 0.001, s = 1, min = 60, h = 3600}

-- The parts that a model has no use for are looked through where a pool is made.
local any = {type = "any"}
local bytes_rule = {type = "size", min = 0, max = MAX_SIZE}
local share_rule = {type = "number", min = 0, max = 1}
local schema = {
    tiers = {type = "any", required = true}, name = any, leaks = any, recent = any, zero = any, on_tick = any,
    adaptive = any, region_size = any, debug = {type = "boolean", default = false},
    limits = {type = "table", schema = {idle = bytes_rule, bytes = bytes_rule, waste = share_rule, decay = any,
        pressure = any}},
}
local tier_schema = {size = any, max_idle = bytes_rule, max_bytes = bytes_rule, max_waste = share_rule}

-- Seconds of 1.5 or "500ms"; false where it is neither.
local function seconds_of(given)
    if type(given) == "number" then return given >= 0 and given < math.huge and given end
    local digits, unit = (type(given) == "string" and given or ""):match("^(%d+%.?%d*)(%a+)$")
    return digits and SECONDS[unit] and tonumber(digits) * SECONDS[unit] or false
end

-- Entries {size = ..., max_idle = ...} among the sizes: the sizes alone, and the limits by place.
local function split(array)
    local sizes, limits = {}, {}
    for i, entry in ipairs(array) do
        sizes[i] = entry
        if type(entry) == "table" then
            local limit, fault = options.check("tiers", entry, tier_schema, ("tiers[%d]"):format(i))
            if not limit then return nil, (fault:gsub("^tiers: ", "")) end
            sizes[i], limits[i] = entry.size, limit
        end
    end
    return sizes, limits
end

local function read_tiers(given)
    if type(given) == "function" then given = given()
    elseif tiers.is_policy(given) then given = given:sizes() end
    local limits
    if type(given) == "table" then
        local sizes, found = split(given)
        if not sizes then return nil, found end
        given, limits = sizes, found
    end
    local sizes, fault = tiers.list(given, nil, "tiers")
    if not sizes then return nil, fault end
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
    local decay = limits.decay and seconds_of(limits.decay)
    if limits.decay and not decay then
        return nil, ('option \'limits.decay\' must be seconds as a number or a string such as "10s", got %s'):format(
            options.show(limits.decay, true))
    end
    local sizes, of_tiers = read_tiers(values.tiers)
    if not sizes then return nil, of_tiers end
    defaults = defaults or {}
    return {sizes = sizes, limits = of_tiers, max_idle = limits.idle or size.of(defaults.idle) or DEFAULT_IDLE,
        max_bytes = limits.bytes or size.of(defaults.bytes), max_waste = limits.waste, decay = decay or nil,
        debug = values.debug}
end

return config
