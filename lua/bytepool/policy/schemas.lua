--- What the policies take, as schemas of bytepool.options.
--
-- Since 0.1.0.
-- @module bytepool.policy.schemas

local core = require "bytepool.core"

local MAX_SIZE, MAX_TIERS = core.max_size, core.max_tiers

local function size(default)
    return {type = "size", min = 1, max = MAX_SIZE, default = default, required = default == nil,
        expected = "a size"}
end

local optional_size = {type = "size", min = 1, max = MAX_SIZE}
local align = {type = "size", min = 1, max = 2 ^ 30, default = 1}
local powers = {from = size(128), to = size(2097152)}
local max_waste = {type = "number", min = 0, max = 2 ^ 40}

return {
    power_of_two = powers,
    power_of_two_plus = powers,
    stream = {},
    linear = {from = size(), to = size(), step = size()},
    geometric = {from = size(), to = size(), align = align,
        ratio = {type = "number", min = 1, max = 2 ^ 40, required = true, expected = "a number"}},
    page_multiples = {to = size(), page = size(4096), from = optional_size},
    cap = {tiers = {type = "integer", min = 1, max = MAX_TIERS}, to = optional_size},
    fit = {align = align, max_waste = max_waste},
    fitted = {samples = {type = "any", required = true, expected = "a table"}, align = align,
        max_waste = max_waste, tiers = {type = "integer", min = 1, max = MAX_TIERS, required = true,
            expected = "a number of tiers"}},
}
