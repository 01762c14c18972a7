--- What all reports begin with: a snapshot, or a table prefix -> snapshot, looked through and
-- copied to one list. A report then meets numbers that are numbers and strings that are UTF-8,
-- whoever made the table, and needs no check of its own.
--
-- Since 0.1.0.
-- @module bytepool.report.pools

local options = require "bytepool.options"
local units = require "bytepool.report.units"

local pools = {}

local UNNAMED = "unnamed" -- what metrics call a pool without a name

local FAULT = "field '%s' must be %s, got %s"

local function is_number(v)
    return type(v) == "number" and v == v and v ~= math.huge and v ~= -math.huge
end

-- Copies what is a number under a name. Tables and flags are left to others, or to a later
-- version; anything else is a mistake, but under the keys in `strings`.
local function copy_numbers(from, path, strings)
    if type(from) ~= "table" then
        return nil, FAULT:format(path, "a table", options.show(from))
    end
    local copy = {}
    for key, value in pairs(from) do
        if type(key) == "string" and key:find("^[%a_][%w_]*$") then
            local kind = type(value)
            local full = path and path .. "." .. key or key
            if strings and strings[key] then
                if kind ~= "string" then return nil, FAULT:format(full, "a string", options.show(value)) end
                copy[key] = units.clean(value)
            elseif is_number(value) then
                copy[key] = value
            elseif kind ~= "table" and kind ~= "boolean" then
                return nil, FAULT:format(full, "a finite number", options.show(value))
            end
        end
    end
    return copy
end

local function copy_array(from, path, copy_item)
    if from == nil then return nil end
    if type(from) ~= "table" then return nil, FAULT:format(path, "a table", options.show(from)) end
    local copy = {}
    for i = 1, #from do
        local item, fault = copy_item(from[i], ("%s[%d]"):format(path, i))
        if item == nil then return nil, fault end
        copy[i] = item
    end
    return copy
end

local arrays = {}

function arrays.recent_lengths(value, path)
    if is_number(value) then return value end
    return nil, FAULT:format(path, "a finite number", options.show(value))
end

local function with_fields(names, strings)
    return function(value, path)
        local copy, fault = copy_numbers(value, path, strings)
        if not copy then return nil, fault end
        for _, name in ipairs(names) do
            if copy[name] == nil then return nil, FAULT:format(path .. "." .. name, "there", "nil") end
        end
        return copy
    end
end

arrays.histogram = with_fields({"le", "count"})
local function clean_string(value, path)
    if type(value) == "string" then return units.clean(value) end
    return nil, FAULT:format(path, "a string", options.show(value))
end

local copy_leak = with_fields({"kind", "site", "count"},
    {kind = true, site = true, tag = true, traceback = true, released = true})

-- `detail`: what is known of it beside the columns of a table, as lines to read.
function arrays.leaks(value, path)
    local leak, fault = copy_leak(value, path)
    if not leak then return nil, fault end
    leak.last, fault = copy_array(value.last, path .. ".last", clean_string)
    if fault then return nil, fault end
    local detail = {}
    for line in (leak.traceback or ""):gmatch("[^\n]+") do detail[#detail + 1] = line end
    for _, line in ipairs(leak.last or {}) do detail[#detail + 1] = line end
    if leak.released and not leak.last then detail[#detail + 1] = "last released at " .. leak.released end
    if leak.every then detail[#detail + 1] = ("one in %s is traced"):format(units.count(leak.every)) end
    leak.detail = #detail > 0 and detail or nil
    return leak
end

local function copy_tiers(from)
    if type(from) ~= "table" then return nil, FAULT:format("pools", "a table", options.show(from)) end
    local copy = {}
    for size, tier in pairs(from) do
        if not options.is_whole(size, 1) then
            return nil, ("field 'pools' has a key that is no tier size: %s"):format(options.show(size, true))
        end
        local fault
        copy[size], fault = copy_numbers(tier, ("pools[%s]"):format(units.count(size)))
        if not copy[size] then return nil, fault end
        if tier.draining == true then copy[size].draining = true end
    end
    return copy
end

-- Ascending bounds are what makes a cumulative histogram of it.
local function check_rising(histogram)
    for i = 2, #histogram or 0 do
        if histogram[i].le <= histogram[i - 1].le then
            return nil, ("field 'histogram[%d].le' must be above the one before it"):format(i)
        end
    end
    return true
end

local function copy_snapshot(from)
    local copy, fault = copy_numbers(from, nil, {name = true, leak_level = true})
    if not copy then return nil, fault end
    copy.pools, fault = copy_tiers(from.pools)
    if not copy.pools then return nil, fault end
    for name, copy_item in pairs(arrays) do
        copy[name], fault = copy_array(from[name], name, copy_item)
        if fault then return nil, fault end
    end
    if copy.histogram then
        local rising
        rising, fault = check_rising(copy.histogram)
        if not rising then return nil, fault end
    end
    for _, name in ipairs {"gc", "drained"} do
        if from[name] ~= nil then
            copy[name], fault = copy_numbers(from[name], name)
            if not copy[name] then return nil, fault end
        end
    end
    if from.restarted == true then copy.restarted = true end
    return copy
end

---@class bytepool.report.Entry
---@field pool string what metrics call it: the prefix, or the pool's name
---@field title? string what people read; nil for a snapshot without a name
---@field snapshot bytepool.Stats a copy

--- Whether a table is one snapshot and not a table of them. Other keys of a table of snapshots
-- may hold anything, also a pool that is called "pools".
---@param given table
---@return boolean
function pools.is_single(given)
    local tiers = given.pools
    return type(tiers) == "table" and type(tiers.pools) ~= "table"
end

--- Looks a snapshot or a table prefix -> snapshot through.
---@param given any
---@return bytepool.report.Entry[]|nil list by prefix, rising
---@return string? fault what is wrong with `given`, to stand behind its name
function pools.list(given)
    if type(given) ~= "table" then
        return nil, "must be a snapshot or a table of them, got " .. options.show(given)
    end
    if pools.is_single(given) then
        local copy, fault = copy_snapshot(given)
        if not copy then return nil, "is no snapshot: " .. fault end
        local title = copy.name ~= "" and copy.name or nil
        return {{pool = title or UNNAMED, title = title, snapshot = copy}}
    end
    local list = {}
    for prefix, snapshot in pairs(given) do
        if type(prefix) ~= "string" or type(snapshot) ~= "table" or snapshot.pools == nil then
            return nil, ("must be a snapshot or a table of them, got a table with the key %s"):format(
                options.show(prefix, true))
        end
        local copy, fault = copy_snapshot(snapshot)
        if not copy then
            return nil, ("has no snapshot at %s: %s"):format(options.quote(prefix), fault)
        end
        local name = units.clean(prefix)
        list[#list + 1] = {pool = name, title = name, snapshot = copy}
    end
    table.sort(list, function(a, b) return a.pool < b.pool end)
    return list
end

return pools
