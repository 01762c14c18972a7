--- Lines for a StatsD server: `bytepool.<pool>.<family>[.<label values>]:<value>|<type>`.
--
-- A server adds up what it gets of a counter, so a counter is what was added since `before`; without
-- that, since the pool was made. Gauges are as they are. A bucket of the histogram is not cumulative.
--
-- Since 0.1.0.
-- @module bytepool.report.statsd

local delta = require "bytepool.report.delta"
local families = require "bytepool.report.families"
local units = require "bytepool.report.units"

-- The characters that neither the protocol nor Graphite, behind it, give a meaning to.
local function segment(value)
    if value == "" then return "_" end
    return (value:gsub("[^%w_-]", "_"))
end

local function path(pool, family, labels)
    local segments = {"bytepool", segment(pool), family.name}
    for i = 2, #labels, 2 do
        local value = labels[i]
        if type(value) == "number" then value = value == math.huge and "inf" or units.number(value) end
        segments[#segments + 1] = segment(value)
    end
    return table.concat(segments, ".")
end

local function histogram_lines(entry, family, samples, lines)
    local below = 0
    for _, sample in ipairs(samples) do
        local name, value = path(entry.pool, family, sample.labels), sample.value
        if sample.suffix == "_bucket" then
            value, below = value - below, value
        else
            name = name .. "." .. sample.suffix:sub(2)
        end
        if value ~= 0 then lines[#lines + 1] = ("%s:%s|c"):format(name, units.number(value)) end
    end
end

---@param list bytepool.report.Entry[]
---@param before? bytepool.report.Entry[] the list that was sent last
---@return string lines each ends with a line break; counters that stood still are left out
return function(list, before)
    if before then list = delta.lists(list, before) end
    local lines = {}
    for _, entry in ipairs(list) do
        for _, family in ipairs(families.list) do
            local samples = families.samples(family, entry.snapshot)
            if family.type == "histogram" then
                histogram_lines(entry, family, samples, lines)
            else
                local is_counter = family.type == "counter"
                for _, sample in ipairs(samples) do
                    if not is_counter or sample.value ~= 0 then
                        lines[#lines + 1] = ("%s:%s|%s"):format(path(entry.pool, family, sample.labels),
                            units.number(sample.value), is_counter and "c" or "g")
                    end
                end
            end
        end
    end
    lines[#lines + 1] = ""
    return table.concat(lines, "\n")
end
