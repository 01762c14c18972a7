--- The tiers of a config: a list, or a policy, which runs here. Every fault is named by its key.
--
-- A policy is what bytepool.tiers takes for one, or what bytepool.config.prelude made in a sandbox.
--
-- Since 0.1.0.
-- @module bytepool.config.tiers

local core = require "bytepool.core"
local options = require "bytepool.options"
local schema = require "bytepool.config.schema"
local schemas = require "bytepool.policy.schemas"
local size = require "bytepool.size"
local tier_lists = require "bytepool.tiers"

local tiers = {}

local MAX_SIZE, MAX_TIERS = core.max_size, core.max_tiers
local processor_seconds = core.internals.processor_seconds
local to_integer = require("bytepool.compat").to_integer
local unpack = require("bytepool.compat").unpack

-- What the host does for a config is bounded too, in steps of a loop, 0.3 s for all of them on Lua 5.1. Nor does
-- another policy or function begin, which may take its sandbox's limits again, when the others took long.
local MOST_WORK = 10000000
local MOST_SECONDS = 0.25
local FIT_STEP = 10

local ENTRY_STEP, TABLE_STEP = 30, 500 -- of a list

local MOST_ARGUMENTS = 255
local MOST_LINE = 2 ^ 20 -- more than a text can have

---@class bytepool.config.Reading
---@field work integer done so far
---@field began number processor_seconds
---@field line table<string, integer> lines of policies that a key's own line is not known for

--- For one config.
---@return bytepool.config.Reading
function tiers.reading() return {work = 0, began = processor_seconds(), line = {}} end

--- Faults beyond these are not looked for.
tiers.MOST_FAULTS = 100

local function add(faults, path, text)
    if #faults >= tiers.MOST_FAULTS then return end
    faults[#faults + 1] = {kind = "text", path = path, text = text}
end

local function expected(faults, path, what, value)
    add(faults, path, ("expected %s, got %s"):format(what, options.show(value, true)))
end

local function charge(reading, steps, path, faults)
    reading.work = reading.work + steps
    local over = reading.work > MOST_WORK and "work" or processor_seconds() - reading.began > MOST_SECONDS and "time"
    if not over then return true end
    if not faults.over then add(faults, path, "the policies take too much " .. over) end
    faults.over = true -- told once
    return false
end

-- ---- lists -------------------------------------------------------------------

local function read_entry(value, path, faults)
    if type(value) == "table" then
        local before = #faults
        local entry = options.walk(value, schema.entry, path, faults, tiers.MOST_FAULTS)
        if #faults > before then return nil end
        local size_of = entry.size
        entry.size = to_integer(size_of) or size_of
        return entry
    end
    local bytes = size.of(value)
    if options.is_whole(bytes, 1, MAX_SIZE) then return to_integer(bytes) or bytes end
    local must = "a whole number from 1 to " .. options.show(MAX_SIZE)
    if type(bytes) == "string" then must = size.EXPECTED end
    expected(faults, path, must, value)
end

local function read_list(value, path, faults, reading, most)
    local count = type(value) == "table" and #value or 0
    if type(value) ~= "table" then
        expected(faults, path, "an array of sizes or a policy", value)
        return nil
    elseif not options.is_whole(count, 1, most) then -- a metatable can say that it is anything
        add(faults, path, ("expected an array of 1 to %d sizes or a policy, got %s"):format(most,
            options.show(count, true)))
        return nil
    end
    if not charge(reading, count * ENTRY_STEP, path, faults) then return nil end
    local before, list, last = #faults, {}, nil
    for i = 1, count do
        if type(value[i]) == "table" and not charge(reading, TABLE_STEP, path, faults) then return nil end
        local entry = read_entry(value[i], options.join(path, i), faults)
        local bytes = type(entry) == "table" and entry.size or entry
        if bytes and last and bytes <= last then
            add(faults, options.join(path, i), ("expected a size above %s, got %s"):format(options.show(last),
                options.show(bytes)))
        end
        list[i], last = entry, bytes or last
    end
    for key in pairs(value) do
        if #faults >= tiers.MOST_FAULTS then break end
        if not options.is_whole(key, 1, count) then
            add(faults, options.join(path, key), "expected an array, got a key that is no place in it")
        end
    end
    return #faults == before and list or nil
end

-- ---- policies ----------------------------------------------------------------

local read

-- "option 'from' must be a power of two, got 5" of a policy, as a fault of its key.
local function refused(message, name, path, faults)
    message = tostring(message):gsub("^" .. name .. ": ", "")
    local key, text = message:match("^option '([%w_]+)' (.*)$")
    if key then path, message = options.join(path, key), text end
    add(faults, path, (message:gsub("^must be ", "expected ")))
end

local function made(name, path, faults, ...)
    local ok, policy = pcall(require("bytepool.policy")[name], ...)
    if ok then return policy:sizes() end
    refused(policy, name, path, faults)
end

local function by_schema(name, path, faults, args, reading)
    local given = args[1]
    if args.n > 1 then
        add(faults, path, ("expected one table, got %d arguments"):format(args.n))
        return nil
    end
    local before = #faults
    local values = options.walk(given == nil and {} or given, schemas[name], path, faults,
        tiers.MOST_FAULTS)
    if #faults > before then return nil end
    if name == "fitted" then
        local samples, fault = require("bytepool.policy.samples").read(values.samples, "samples")
        if not samples then
            add(faults, options.join(path, "samples"), fault)
            return nil
        end
        if not charge(reading, #samples.sizes * values.tiers * FIT_STEP, path, faults) then return nil end
    end
    return made(name, path, faults, values)
end

local composed = {}

function composed.merge(path, faults, args, reading)
    if args.n == 0 then
        add(faults, path, "expected at least one policy or array of sizes")
        return nil
    end
    local lists = {}
    for i = 1, args.n do
        lists[#lists + 1] = read(args[i], options.join(path, i), faults, reading, tier_lists.MOST)
    end
    return #lists == args.n and made("merge", path, faults, unpack(lists)) or nil
end

function composed.cap(path, faults, args, reading)
    local list = read(args[1], options.join(path, 1), faults, reading, tier_lists.MOST)
    local before, limit = #faults, args[2]
    local limit_path = options.join(path, 2)
    if type(limit) == "table" then
        limit = options.walk(limit, schemas.cap, limit_path, faults, tiers.MOST_FAULTS)
    elseif not options.is_whole(limit, 1, MAX_TIERS) then
        expected(faults, limit_path, ("a number of tiers from 1 to %d, or a table"):format(MAX_TIERS), limit)
    end
    if not list or #faults > before then return nil end
    if not charge(reading, #list * #list / 2, path, faults) then return nil end
    return made("cap", path, faults, list, limit)
end

local function run_function(fn, path, faults, reading, most)
    if not charge(reading, 1000, path, faults) then return nil end
    local ok, list = pcall(fn)
    if ok then return read_list(list, path, faults, reading, most) end
    add(faults, path, (tostring(list):gsub("\n", " "))) -- as it is, with the line that raised it
end

-- The script could have made such a table itself: nothing about it is certain.
local function run_described(value, path, faults, reading)
    local name = value["policy()"]
    if options.is_whole(value.line, 1, MOST_LINE) then reading.line[path] = value.line end
    if not charge(reading, 5000, path, faults) then return nil end
    local known = type(name) == "string" and (composed[name] or schemas[name])
        and name ~= "fit" and name ~= "adaptive"
    if not known or not options.is_whole(value.n, 0, MOST_ARGUMENTS) then
        add(faults, path, name == "adaptive" and "policy.adaptive has a key of its own, adaptive"
            or "expected a policy")
        return nil
    end
    if composed[name] then return composed[name](path, faults, value, reading) end
    return by_schema(name, path, faults, value, reading)
end

function read(value, path, faults, reading, most)
    if type(value) == "function" then return run_function(value, path, faults, reading, most) end
    if type(value) == "table" and value["policy()"] ~= nil then
        local list = run_described(value, path, faults, reading)
        if list and #list > most then
            add(faults, path, ("expected at most %d tiers, got %d"):format(most, #list))
            return nil
        end
        return list
    end
    if tier_lists.is_policy(value) then
        return run_function(function() return value:sizes() end, path, faults, reading, most)
    end
    return read_list(value, path, faults, reading, most)
end

--- Reads tiers: sizes and entries with their sizes and limits as numbers, strictly rising.
---@param value any
---@param path string
---@param faults table[] as options.walk has them, or {kind = "text", path, text}
---@param reading bytepool.config.Reading
---@return (integer|table)[]|nil
function tiers.read(value, path, faults, reading)
    return read(value, path, faults, reading, MAX_TIERS)
end

return tiers
