--- Rows of sizes by a rule. Each takes checked options and returns an array, or nil and what is wrong.
--
-- Since 0.1.0.
-- @module bytepool.policy.series

local core = require "bytepool.core"
local tiers = require "bytepool.tiers"
local options = require "bytepool.options"

local series = {}

local floor, log, min = math.floor, math.log, math.min
local MAX_SIZE = core.max_size
local to_integer = require("bytepool.compat").to_integer

local function whole(n) return to_integer(n) or n end

local function too_many(count)
    if count <= tiers.MOST then return nil end
    return ("gives %s sizes, more than %d"):format(options.show(count), tiers.MOST)
end

local function order(values)
    if values.from <= values.to then return nil end
    return ("option 'from' must not be above option 'to', %s, got %s"):format(options.show(values.to),
        options.show(values.from))
end

-- The exponent of 2^53 at most that is v, or nil.
local function exponent(v)
    local power = 0
    while v > 1 and v % 2 == 0 do v, power = v / 2, power + 1 end
    return v == 1 and power or nil
end

local function powers(values)
    local fault = order(values)
    for _, key in ipairs {"from", "to"} do
        if not exponent(values[key]) then
            return nil, ("option '%s' must be a power of two, got %s"):format(key, options.show(values[key]))
        end
    end
    if fault then return nil, fault end
    local sizes, size = {}, values.from
    while size <= values.to do
        sizes[#sizes + 1] = whole(size)
        size = size * 2
    end
    return sizes
end

function series.power_of_two(values) return powers(values) end

function series.power_of_two_plus(values)
    local doubles, fault = powers(values)
    if not doubles then return nil, fault end
    local sizes = {}
    for _, size in ipairs(doubles) do
        sizes[#sizes + 1] = size
        local half = size * 3 / 2
        if half % 1 == 0 and half < values.to then sizes[#sizes + 1] = whole(half) end
    end
    return sizes
end

-- from, from + step, ... and `to`, whether a step meets it or not.
function series.linear(values)
    local fault = order(values) or too_many(floor((values.to - values.from) / values.step) + 1)
    if fault then return nil, fault end
    local sizes, size = {}, values.from
    while size < values.to do
        sizes[#sizes + 1] = whole(size)
        size = size + values.step
    end
    sizes[#sizes + 1] = whole(values.to)
    return sizes
end

-- The largest size there is stands for what is above it.
local function round_up(n, align) return min(floor((n + align - 1) / align) * align, MAX_SIZE) end

-- Each is computed from `from`, so that no rounding adds up.
function series.geometric(values)
    if values.ratio <= 1 then
        return nil, ("option 'ratio' must be above 1, got %s"):format(options.show(values.ratio))
    end
    local fault = order(values) or too_many(floor(log(values.to / values.from) / log(values.ratio)) + 1)
    if fault then return nil, fault end
    local sizes, last, k = {}, 0, 0
    local to = round_up(values.to, values.align)
    while last < to do
        local size = round_up(floor(values.from * values.ratio ^ k + 0.5), values.align)
        if size > to then size = to end
        if size > last then
            sizes[#sizes + 1] = whole(size)
            last = size
        end
        k = k + 1
    end
    return sizes
end

function series.page_multiples(values)
    local page = values.page
    local from = round_up(values.from or page, page)
    return series.linear {from = from, to = round_up(values.to, page), step = page}
end

-- ---- of given ones -----------------------------------------------------------

--- All sizes of several arrays.
---@param arrays integer[][]
---@return integer[]
function series.union(arrays)
    local seen, sizes = {}, {}
    for _, array in ipairs(arrays) do
        for _, size in ipairs(array) do
            if not seen[size] then
                seen[size] = true
                sizes[#sizes + 1] = size
            end
        end
    end
    table.sort(sizes)
    return sizes
end

--- At most `count` sizes: again and again the one goes whose next larger is nearest in proportion, so
--- that a request loses least by going there. The largest stays.
---@param sizes integer[] changed
---@param count integer
---@return integer[] sizes
function series.thin(sizes, count)
    while #sizes > count do
        local nearest, at = math.huge, 1
        for i = 1, #sizes - 1 do
            local ratio = sizes[i + 1] / sizes[i]
            if ratio < nearest then nearest, at = ratio, i end
        end
        table.remove(sizes, at)
    end
    return sizes
end

--- Those below `limit`, and `limit` where there are larger ones: what was above it is above the largest
--- tier then.
---@param sizes integer[]
---@param limit integer
---@return integer[]
function series.below(sizes, limit)
    local kept = {}
    for _, size in ipairs(sizes) do
        if size >= limit then
            kept[#kept + 1] = limit
            break
        end
        kept[#kept + 1] = size
    end
    return kept
end

return series
