--- The text formats that Prometheus scrapes: its own, version 0.0.4, and OpenMetrics 1.0.
--
-- Since 0.1.0.
-- @module bytepool.report.exposition

local families = require "bytepool.report.families"
local units = require "bytepool.report.units"

local exposition = {}

local ESCAPES = {["\\"] = "\\\\", ["\n"] = "\\n", ['"'] = '\\"'}

local function quoted(value)
    return '"' .. value:gsub('[\\\n"]', ESCAPES) .. '"'
end

-- OpenMetrics wants the bounds of buckets as floats.
local function bound(le, open)
    if le == math.huge then return "+Inf" end
    local text = units.number(le)
    return open and not text:find("[.e]") and text .. ".0" or text
end

local function label_text(pool, labels, open)
    local pairs_of = {"pool=" .. quoted(pool)}
    for i = 1, #labels, 2 do
        local value = labels[i + 1]
        pairs_of[#pairs_of + 1] = labels[i] .. "=" .. quoted(type(value) == "number" and bound(value, open) or value)
    end
    return "{" .. table.concat(pairs_of, ",") .. "}"
end

-- Of a counter, Prometheus names the family as its samples, OpenMetrics without the _total.
local function head(family, name, lines, open)
    if not open and family.type == "counter" then name = name .. "_total" end
    if open then
        lines[#lines + 1] = ("# TYPE %s %s"):format(name, family.type)
        if family.unit then lines[#lines + 1] = ("# UNIT %s %s"):format(name, family.unit) end
        lines[#lines + 1] = ("# HELP %s %s"):format(name, family.help)
    else
        lines[#lines + 1] = ("# HELP %s %s"):format(name, family.help)
        lines[#lines + 1] = ("# TYPE %s %s"):format(name, family.type)
    end
end

local function write(list, open)
    local lines = {}
    for _, family in ipairs(families.list) do
        local name, headed = "bytepool_" .. family.name, false
        for _, entry in ipairs(list) do
            for _, sample in ipairs(families.samples(family, entry.snapshot)) do
                if not headed then
                    head(family, name, lines, open)
                    headed = true
                end
                local suffix = sample.suffix or (family.type == "counter" and "_total" or "")
                lines[#lines + 1] = name .. suffix .. label_text(entry.pool, sample.labels, open) .. " "
                    .. units.number(sample.value)
            end
        end
    end
    if open then lines[#lines + 1] = "# EOF" end
    lines[#lines + 1] = ""
    return table.concat(lines, "\n")
end

--- Prometheus text format 0.0.4.
---@param list bytepool.report.Entry[]
---@return string text every line ends with a line break
function exposition.prometheus(list)
    return write(list, false)
end

--- OpenMetrics 1.0.
---@param list bytepool.report.Entry[]
---@return string text
function exposition.openmetrics(list)
    return write(list, true)
end

return exposition
