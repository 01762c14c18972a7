--- The keys of configs and of new_pools' options, as schemas of bytepool.options.
--
-- Since 0.1.0.
-- @module bytepool.config.schema

local core = require "bytepool.core"
local size = require "bytepool.size"

local schema = {}

local MAX_SIZE = core.max_size

local name = {type = "string", maxlen = 63}
local zero = {type = "enum", values = {"get", "release", false}}
local leaks = {type = "enum", values = {"off", "simple", "advanced", "paranoid"}}

local function recent(default_size, default_mode)
    return {type = "table", optional = not default_size, schema = {
        size = {type = "integer", min = 0, max = 65536, default = default_size},
        mode = {type = "enum", values = {"relaxed", "exact"}, default = default_mode},
    }}
end

local function bytes(min) return {type = "size", min = min, max = MAX_SIZE} end

local share = {type = "number", min = 0, max = 1}
local decay = {type = "duration", max = 1e9}
local pressure = {type = "choice", values = {"auto", false}}

--- Options of new_pools, with their defaults.
schema.options = {
    name = name,
    max_idle = bytes(0),
    max_bytes = bytes(1),
    max_waste = share,
    decay = decay,
    pressure = pressure,
    recent = recent(256, "relaxed"),
    region_size = bytes(0),
    zero = {type = "enum", values = zero.values, default = false},
    debug = {type = "boolean", default = false},
    leaks = {type = "enum", values = leaks.values, default = "off"},
}

--- An entry of a tier list that is a table.
schema.entry = {
    size = {type = "size", min = 1, max = MAX_SIZE, required = true, expected = size.EXPECTED},
    max_idle = bytes(0),
    max_bytes = bytes(1),
    max_waste = share,
}

local limits = {
    idle = bytes(0),
    bytes = bytes(1),
    waste = share,
    decay = decay,
    pressure = pressure,
}

--- A config. What is absent stays absent: its default is the pool's business.
---@param read_tiers function reader of `tiers`
---@param read_adaptive function reader of `adaptive`
---@return table<string, table>
function schema.config(read_tiers, read_adaptive)
    return {
        name = name,
        tiers = {read = read_tiers, required = true, expected = "an array of sizes or a policy"},
        limits = {type = "table", optional = true, schema = limits},
        leaks = leaks,
        recent = recent(),
        zero = zero,
        debug = {type = "boolean"},
        region_size = bytes(0),
        on_tick = {type = "function"},
        adaptive = {read = read_adaptive},
    }
end

return schema
