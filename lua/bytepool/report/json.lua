--- Snapshots as JSON, and back.
--
-- Since 0.1.0.
-- @module bytepool.report.json

local pools = require "bytepool.report.pools"
local units = require "bytepool.report.units"

local json = {}

-- Lua 5.1 and 5.2 have one kind of number.
local to_integer = require("bytepool.compat").to_integer

-- lua-cjson with settings of its own, so that neither the host's settings change our text nor
-- ours the host's; nil where it is missing.
local function own_cjson()
    local found, cjson = pcall(require, "cjson")
    if not found then return nil end
    local own = cjson.new()
    own.decode_invalid_numbers(false)
    return own
end

--- What a method says that misses lua-cjson.
json.MISSING = "the Lua module cjson (lua-cjson) is missing; install it"

-- lua-cjson writes 14 digits, some releases not one more. Numbers that have more go in as strings
-- that begin with a character which cleaned ones have not got, and lose their quotes behind it.
local MARK, MARKED = "\1", '"\\u0001([^"]*)"'

local function mark_long(value)
    if type(value) == "table" then
        local copy = {}
        for key, item in pairs(value) do copy[key] = mark_long(item) end
        return copy
    end
    if type(value) == "number" and tonumber(("%.14g"):format(value)) ~= value then
        return MARK .. units.number(value)
    end
    return value
end

--- An encoder of what the reports make, or nil where lua-cjson is missing.
---@return nil|fun(value: table): string
function json.encoder()
    local own = own_cjson()
    if not own then return nil end
    return function(value)
        -- An empty Lua table is an object to lua-cjson. The quotes keep this from matching inside
        -- a string, where they would be escaped.
        local text = own.encode(mark_long(value)):gsub(MARKED, "%1")
        for _, name in ipairs {"recent_lengths", "histogram", "leaks", "cmdline"} do
            text = text:gsub('"' .. name .. '":{}', '"' .. name .. '":[]')
        end
        return text
    end
end

-- With the tier sizes as strings: lua-cjson takes whole numbers as keys for a sparse array.
local function plain(snapshot)
    local tiers = {}
    for size, tier in pairs(snapshot.pools) do tiers[units.count(size)] = tier end
    snapshot.pools = tiers
    return snapshot
end

--- The table that expvar encodes.
---@param list bytepool.report.Entry[]
---@param figures? table what stands beside the pools; a pool of that name goes first
---@return table<string, table>
function json.expvar(list, figures)
    local all = {}
    for name, value in pairs(figures or {}) do all[name] = value end
    for _, entry in ipairs(list) do all[entry.pool] = plain(entry.snapshot) end
    return all
end

--- The table that dump encodes: of one snapshot itself, of several by prefix.
---@param list bytepool.report.Entry[]
---@param single boolean
---@return table
function json.dump(list, single)
    if single then return plain(list[1].snapshot) end
    return json.expvar(list)
end

-- Whole numbers as integers, null as nothing.
local function restore(value)
    local kind = type(value)
    if kind == "number" then return to_integer(value) or value end
    if kind == "userdata" then return nil end
    if kind ~= "table" then return value end
    local copy = {}
    for key, item in pairs(value) do copy[key] = restore(item) end
    return copy
end

-- The same, with tier sizes as numbers.
local function restore_snapshot(value)
    local snapshot, tiers = restore(value), {}
    for size, tier in pairs(snapshot.pools) do
        local number = type(size) == "string" and size:find("^%d+$") and tonumber(size)
        tiers[number and (to_integer(number) or number) or size] = tier
    end
    snapshot.pools = tiers
    return snapshot
end

--- The snapshot in a JSON text, or a table of them where it is an expvar page or the dump of one;
-- what else is on that page is left out.
---@param text string
---@return table|nil snapshot
---@return string? message
function json.load(text)
    local own = own_cjson()
    if not own then return nil, json.MISSING end
    local decoded, value = pcall(own.decode, text)
    if not decoded then return nil, "not JSON: " .. tostring(value) end
    if type(value) ~= "table" then return nil, "the JSON is no object" end
    local found
    if pools.is_single(value) then
        found = restore_snapshot(value)
    else
        found = {}
        for prefix, snapshot in pairs(value) do
            if type(prefix) == "string" and type(snapshot) == "table" and type(snapshot.pools) == "table" then
                found[prefix] = restore_snapshot(snapshot)
            end
        end
        if next(found) == nil then return nil, "no pool's snapshot is in it" end
    end
    local list, fault = pools.list(found)
    if not list then return nil, "the JSON " .. fault end
    return found
end

return json
