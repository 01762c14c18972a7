--- Request sizes as the policies take them, read into one form: distinct sizes, rising, and how often
--- each was asked for.
--
-- Since 0.1.0.
-- @module bytepool.policy.samples

local core = require "bytepool.core"
local options = require "bytepool.options"

local samples = {}

local MAX_SIZE = core.max_size
local MAX_COUNT = 2 ^ 53

---@class bytepool.policy.Samples
---@field sizes number[] distinct, rising
---@field counts number[] beside them
---@field requests number
---@field asked_bytes number

local function bad_size(where, size)
    return nil, ("%s must be a whole number from 0 to %s, got %s"):format(where, options.show(MAX_SIZE),
        options.show(size, true))
end

local function bad_count(where, count)
    return nil, ("%s must be a whole number of at least 1, got %s"):format(where, options.show(count, true))
end

-- Each reader adds to counts, size -> count, or returns nil and what is wrong.

local function read_array(given, counts, name)
    for i = 1, #given do
        local size = given[i]
        if not options.is_whole(size, 0, MAX_SIZE) then return bad_size(("%s[%d]"):format(name, i), size) end
        counts[size] = (counts[size] or 0) + 1
    end
    return true
end

local function read_buckets(given, counts, name)
    for i = 1, #given do
        local bucket = given[i]
        if type(bucket) ~= "table" then
            return nil, ("%s[%d] must be a table as the first is, got %s"):format(name, i, options.show(bucket))
        end
        local size, count = bucket.le, bucket.count
        if not options.is_whole(size, 0, MAX_SIZE) then return bad_size(("%s[%d].le"):format(name, i), size) end
        if not options.is_whole(count, 1, MAX_COUNT) then
            return bad_count(("%s[%d].count"):format(name, i), count)
        end
        counts[size] = (counts[size] or 0) + count
    end
    return true
end

local function read_counts(given, counts, name)
    for size, count in pairs(given) do
        if not options.is_whole(size, 0, MAX_SIZE) then return bad_size("a key of " .. name, size) end
        if not options.is_whole(count, 1, MAX_COUNT) then
            return bad_count(("%s[%s]"):format(name, options.show(size)), count)
        end
        counts[size] = (counts[size] or 0) + count
    end
    return true
end

-- Whether the keys are 1, 2, ... without a gap.
local function is_array(t)
    local keys, length = 0, #t
    for _ in pairs(t) do keys = keys + 1 end
    if keys ~= length then return false end
    for i = 1, length do
        if t[i] == nil then return false end
    end
    return length > 0
end

local function reader_of(given)
    if not is_array(given) then return read_counts end
    return type(given[1]) == "table" and read_buckets or read_array
end

--- Reads an array of sizes, a table size -> count, the histogram of a snapshot, or the snapshot.
-- A table whose keys are 1 to n is an array.
---@param given any
---@param name? string what a message calls it (default: samples)
---@return bytepool.policy.Samples|nil
---@return string? message without the method's name
function samples.read(given, name)
    local called = name or "samples"
    if type(given) ~= "table" then
        return nil, ("argument '%s' must be a table, got %s"):format(called, options.show(given))
    end
    if type(given.histogram) == "table" then given, called = given.histogram, called .. ".histogram" end
    local counts = {}
    local read, fault = reader_of(given)(given, counts, called)
    if not read then return nil, fault end
    local result = samples.of_counts(counts)
    if result.requests == 0 then return nil, ("argument '%s' has no request in it"):format(called) end
    return result
end

--- The same of a table that was looked through.
---@param by_size table<number, number> size -> count
---@return bytepool.policy.Samples
function samples.of_counts(by_size)
    local sizes, counts, requests, asked = {}, {}, 0, 0
    for size in pairs(by_size) do sizes[#sizes + 1] = size end
    table.sort(sizes)
    for i = 1, #sizes do
        local size = sizes[i]
        local count = by_size[size] + 0.0 -- sums of floats do not wrap
        counts[i] = count
        requests, asked = requests + count, asked + size * count
    end
    return {sizes = sizes, counts = counts, requests = requests, asked_bytes = asked}
end

return samples
