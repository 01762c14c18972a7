--- What a config finds beside Lua's own functions, as the text that its sandbox runs first.
--
-- A policy makes a table there that says which policy it is and with what arguments: the host makes the
-- real one of it (bytepool.config.tiers), which can say line and key of what is wrong.
--
-- Since 0.1.0.
-- @module bytepool.config.prelude

-- policy.adaptive is read where it stands, by bytepool.config.schema.
local NAMES = {"power_of_two", "power_of_two_plus", "stream", "linear", "geometric", "page_multiples", "fitted",
    "merge", "cap", "adaptive"}

local TEXT = [[
local line = ...
local select, type, error, insert = select, type, error, table.insert
for name in pairs(policies) do
    policy[name] = function(...)
        return {["policy()"] = name, line = line(), n = select("#", ...), ...}
    end
end
policies = nil

-- Sorted halves are merged: in Lua, so that the limits hold within it.
local function sorted(t, first, last, less)
    if first == last then return {t[first]} end
    local middle = first + (last - first - (last - first) % 2) / 2
    local a, b = sorted(t, first, middle, less), sorted(t, middle + 1, last, less)
    local out, i, j = {}, 1, 1
    while a[i] ~= nil and b[j] ~= nil do
        if less(b[j], a[i]) then
            out[#out + 1], j = b[j], j + 1
        else
            out[#out + 1], i = a[i], i + 1
        end
    end
    while a[i] ~= nil do out[#out + 1], i = a[i], i + 1 end
    while b[j] ~= nil do out[#out + 1], j = b[j], j + 1 end
    return out
end

local function below(a, b) return a < b end

function table.sort(t, less)
    if type(t) ~= "table" then error("sort: argument 't' must be a table, got " .. type(t), 2) end
    local kind = type(t[1])
    for i = 1, #t do
        if less == nil and (type(t[i]) ~= kind or kind ~= "number" and kind ~= "string") then
            error("sort: without a function all values must be numbers, or all strings", 2)
        end
    end
    if #t < 2 then return end
    local out = sorted(t, 1, #t, less or below)
    for i = 1, #out do t[i] = out[i] end
end
]]

local policies = {}
for _, name in ipairs(NAMES) do policies[name] = true end

return {text = TEXT, policies = policies}
