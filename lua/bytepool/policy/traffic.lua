--- What a pool is asked for, learned from one snapshot after another: older requests count less and less.
--
-- A snapshot tells how many requests were in each bucket (exact, but a bucket is an eighth of an octave
-- wide), and the lengths of the last few requests (exact lengths, but a sample). Together: the requests of a
-- bucket, spread as the lengths that were seen in it are, with one more request at its upper end for those
-- that were not seen.
--
-- Buckets end where a tier does. After a change of tiers the pool has its counts from before in the plain
-- buckets, 8 to an octave, and so the counts of the look before are put there to compare with. Counts never
-- fall, which tells whether that was so.
--
-- Since 0.1.0.
-- @module bytepool.policy.traffic

local buckets = require "bytepool.buckets"
local core = require "bytepool.core"
local samples = require "bytepool.policy.samples"

local traffic = {}

local MAX_SIZE = core.max_size
local GRID = 64                   -- to an octave: buckets of lengths that are seldom
local EXACT, DISTINCT = 512, 2048 -- lengths kept as they are where there come to be more than the second
local LEAST = 1 / 64             -- what counts less is forgotten

local ceil, max, upper = math.ceil, math.max, buckets.upper

---@class bytepool.policy.Traffic
---@field requests number that came so far, forgotten ones too
---@field largest? number upper end of the largest bucket with a request in it so far
---@field seen number lengths taken from recent_lengths so far
---@field private half_life number
---@field private counts table<number, number> of the snapshot before: bucket's end -> requests
---@field private weights table<number, number> bucket's end -> requests that still count
---@field private lengths table<number, number> length -> how often it was seen, as far as that still counts
local methods = {}
methods.__index = methods

--- Nothing is known yet.
---@param half_life number after so many requests earlier ones count half
---@return bytepool.policy.Traffic
function traffic.new(half_life)
    local self = setmetatable({half_life = half_life}, methods)
    self:clear()
    return self
end

function methods:clear()
    self.requests, self.seen, self.largest = 0, 0, nil
    self.counts, self.weights, self.lengths = {}, {}, {}
end

local function fade(weights, factor)
    for key, weight in pairs(weights) do
        weight = weight * factor
        weights[key] = weight >= LEAST and weight or nil
    end
end

local function in_plain_buckets(counts)
    local plain = {}
    for le, count in pairs(counts) do
        local at = upper(le)
        plain[at] = (plain[at] or 0) + count
    end
    return plain
end

-- The counts before, as the pool has them now.
local function to_compare(before, counts, changed)
    local function still_there(old)
        for le, count in pairs(old) do
            if (counts[le] or 0) < count then return false end
        end
        return true
    end
    local plain = in_plain_buckets(before)
    if changed then return still_there(plain) and plain or before end
    return still_there(before) and before or plain
end

-- Frequent lengths stay exact; the others are rounded up, to few enough.
local function thin(lengths)
    local order = {}
    for length in pairs(lengths) do order[#order + 1] = length end
    if #order <= DISTINCT then return lengths end
    table.sort(order, function(a, b)
        if lengths[a] ~= lengths[b] then return lengths[a] > lengths[b] end
        return a < b
    end)
    local kept = {}
    for i, length in ipairs(order) do
        local at = i <= EXACT and length or upper(length, GRID)
        kept[at] = (kept[at] or 0) + lengths[length]
    end
    return kept
end

--- Takes in what came since the snapshot before.
---@param stats bytepool.Stats
---@param changed boolean whether the pool was configured since then, as far as is known
---@return number requests that came since then
function methods:add(stats, changed)
    if stats.requests < self.requests then self:clear() end -- another pool
    local fresh = stats.requests - self.requests
    self.requests = stats.requests
    local factor = 0.5 ^ (fresh / self.half_life)
    fade(self.weights, factor)
    fade(self.lengths, factor)

    local counts, weights = {}, self.weights
    for _, bucket in ipairs(stats.histogram) do counts[bucket.le] = bucket.count end
    local before = to_compare(self.counts, counts, changed)
    for le, count in pairs(counts) do
        local more = count - (before[le] or 0)
        if more > 0 then
            weights[le] = (weights[le] or 0) + more
            if not self.largest or le > self.largest then self.largest = le end
        end
    end
    self.counts = counts

    local recent, lengths = stats.recent_lengths or {}, self.lengths
    local first = #recent > fresh and #recent - fresh + 1 or 1
    for i = first, #recent do
        lengths[recent[i]] = (lengths[recent[i]] or 0) + 1
        self.seen = self.seen + 1
    end
    self.lengths = thin(lengths)
    return fresh
end

local function put(into, size, weight)
    into[size] = (into[size] or 0) + weight
end

--- The requests as the policies take them, in whole numbers, each part of one rounded up.
---@param cap? number without those above
---@return bytepool.policy.Samples|nil samples nil where there are none
function methods:samples(cap)
    local most = cap or MAX_SIZE
    local sums, seen = {}, {} -- by end of the plain bucket
    for le, weight in pairs(self.weights) do put(sums, upper(le), weight) end
    for length, weight in pairs(self.lengths) do put(seen, upper(length), weight) end

    local points = {}
    -- What is asked for in the bucket around the limit may be below it.
    local function at_end(le, weight)
        if le > most and upper(most) >= le then le = most end
        put(points, le, weight)
    end
    for le, weight in pairs(self.weights) do at_end(le, weight / ((seen[upper(le)] or 0) + 1)) end
    for length, weight in pairs(self.lengths) do
        local at = upper(length)
        if sums[at] then put(points, length, sums[at] * weight / (seen[at] + 1)) end
    end
    if self.largest then at_end(self.largest, 0) end -- keeps its tier, however long ago it was

    local whole = {}
    for size, weight in pairs(points) do
        if size <= most then whole[size] = max(1, ceil(weight)) end
    end
    if next(whole) == nil then return nil end
    return samples.of_counts(whole)
end

return traffic
