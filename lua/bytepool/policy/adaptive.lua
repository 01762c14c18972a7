--- Tiers that follow the traffic: looks at snapshots of a pool and says when other tiers would do better,
--- and which. It has no pool in it and changes nothing.
--
-- A look compares two figures, both of the traffic as it is known (bytepool.policy.traffic): what the present
-- tiers waste, and what the best ones would. Other tiers are proposed where
--
--     waste - predicted waste >= gain,
--
-- so that different requests that the tiers serve as well change nothing, and not before `min_requests` came
-- since the last change. Where a change follows soon on the last (within four times the wait for that one),
-- the wait doubles, up to 64 times `min_requests`: traffic that never settles makes fewer and fewer changes. A
-- request above the largest tier counts as if all its bytes were wasted.
--
-- A look takes LuaJIT 0.03 ms where a few sizes are frequent, and 4 ms (Lua 5.1: 28 ms) at worst: 64 tiers, 2048
-- distinct lengths.
--
-- Since 0.1.0.
-- @module bytepool.policy.adaptive

local core = require "bytepool.core"
local fit = require "bytepool.policy.fit"
local options = require "bytepool.options"
local predict = require "bytepool.policy.predict"
local schemas = require "bytepool.policy.schemas"
local size = require "bytepool.size"
local traffic = require "bytepool.policy.traffic"

local adaptive = {}

local MAX_SIZE = core.max_size
local ENTRIES = 32     -- of the log
local ENOUGH = 512     -- exact lengths to know before the first change, where the pool has recent lengths
local SOON, LONGEST = 4, 64

local methods = {}
methods.__index = methods
methods.__name = "bytepool.adaptive"

--- A new one that has seen nothing.
---@param given table|nil
---@return bytepool.Adaptive|nil
---@return string? message
function adaptive.new(given)
    local values, message = options.check("adaptive", given, schemas.adaptive)
    if not values then return nil, message end
    return setmetatable({
        options = values,
        traffic = traffic.new(values.forget or 8 * values.min_requests),
        wait = values.min_requests,
        since = 0,      -- requests since the last change
        changes = 0,
        entries = {},
    }, methods)
end

--- Another one with the same options, that has seen nothing.
---@return bytepool.Adaptive
function methods:fresh()
    return (adaptive.new(self.options))
end

-- ---- what the pool has ---------------------------------------------------------

local function present_sizes(stats)
    local sizes = {}
    for bytes, tier in pairs(stats.pools) do
        if not tier.draining then sizes[#sizes + 1] = bytes end
    end
    table.sort(sizes)
    return sizes
end

local function same(a, b)
    if not a or #a ~= #b then return false end
    for i = 1, #a do
        if a[i] ~= b[i] then return false end
    end
    return true
end

-- The new sizes, with the entry of the table before for each that stays.
local function with_limits(sizes, given)
    local entries = {}
    for _, entry in ipairs(given or {}) do
        local bytes = type(entry) == "table" and size.of(entry.size)
        if bytes then entries[bytes] = entry end
    end
    local tiers = {}
    for i, bytes in ipairs(sizes) do tiers[i] = entries[bytes] or bytes end
    return tiers
end

-- ---- what is said --------------------------------------------------------------

local function percent(ratio)
    return ("%.2f %%"):format(ratio * 100)
end

local function note(self, stats, verdict)
    verdict.time, verdict.requests = stats.time, self.since
    self.latest = verdict
    return verdict
end

local function quiet(self, stats, verdict)
    return nil, note(self, stats, verdict).why
end

-- What came of the last proposal, and what it wastes since, as the pool counted it.
local function follow_up(self, stats, sizes, changed)
    local entry, start = self.entries[#self.entries], self.start
    if entry and entry.applied == nil then
        entry.applied = same(entry.to, sizes)
        if not entry.applied then self.start, start = nil, nil end
    elseif changed then
        self.start, start = nil, nil -- what these tiers waste is not its doing
        self.since = 0               -- and they get their time too
    end
    if start then
        local asked = stats.asked_bytes - start.asked
        if asked > 0 then entry.measured = (stats.waste_bytes - start.waste) / asked end
    end
end

-- ---- looking -------------------------------------------------------------------

local function waste_of(samples, sizes)
    if samples.asked_bytes == 0 then return 0 end
    local told = predict(samples, sizes)
    return (told.waste_bytes + samples.asked_bytes - told.asked_bytes) / samples.asked_bytes
end

-- As few tiers as max_waste allows, where that gains enough.
local function best(values, samples, waste)
    local target = values.max_waste and math.max(0, math.min(values.max_waste, waste - values.gain))
    local sizes = fit.best(samples, values.tiers, values.align, target)
    local largest = values.cap or MAX_SIZE
    while sizes[#sizes] > largest do -- what align made of it
        sizes[#sizes] = nil
        if not sizes[1] or sizes[#sizes] < largest then sizes[#sizes + 1] = largest end
    end
    return sizes
end

local function too_early(self, stats)
    local missing = self.wait - self.since
    if missing > 0 then
        return ("waits for %.0f more requests (%s)"):format(missing,
            self.changes == 0 and "min_requests" or "since the last change")
    end
    if self.changes == 0 and self.traffic.seen < ENOUGH and #(stats.recent_lengths or {}) > 0
        and self.traffic.seen < self.since then
        return ("waits for %d more exact lengths"):format(ENOUGH - self.traffic.seen)
    end
end

local function propose(self, stats, from, to, waste, predicted, given)
    local why = ("waste %s, with other tiers %s, over %.0f requests"):format(percent(waste), percent(predicted),
        self.since)
    local soon = self.changes > 0 and self.since < SOON * self.wait
    self.wait = soon and math.min(2 * self.wait, LONGEST * self.options.min_requests) or self.options.min_requests
    self.changes = self.changes + 1
    self.entries[#self.entries + 1] = {time = stats.time, requests = self.since, from = from, to = to,
        waste_before = waste, predicted = predicted, why = why}
    if #self.entries > ENTRIES then table.remove(self.entries, 1) end
    note(self, stats, {waste = waste, predicted = predicted, why = why})
    self.since, self.start = 0, {asked = stats.asked_bytes, waste = stats.waste_bytes}
    return with_limits(to, given), why
end

--- Looks at a snapshot.
---@param stats bytepool.Stats of the pool
---@param given? (bytepool.Size|table)[] its tiers with their limits, where they have any: what stays keeps them
---@return (integer|table)[]|nil tiers other ones that the pool should have; nil where it should not change
---@return string why
function methods:look(stats, given)
    if type(stats) ~= "table" or type(stats.pools) ~= "table" or type(stats.histogram) ~= "table"
        or type(stats.requests) ~= "number" then
        error("look: argument 'stats' must be a snapshot of a pool, got " .. options.show(stats), 2)
    end
    if given ~= nil and type(given) ~= "table" then
        error("look: argument 'given' must be an array of tiers, got " .. options.show(given), 2)
    end
    local values = self.options
    local sizes = present_sizes(stats)
    local known = self.sizes
    if stats.requests < self.traffic.requests then known, self.since, self.start = nil, 0, nil end -- another pool
    local changed = known ~= nil and not same(known, sizes)
    follow_up(self, stats, sizes, changed)
    self.since = self.since + self.traffic:add(stats, changed or stats.generation ~= self.generation)
    self.sizes, self.generation = sizes, stats.generation

    local early = too_early(self, stats)
    if early then return quiet(self, stats, {why = early}) end
    local samples = self.traffic:samples(values.cap)
    if not samples then return quiet(self, stats, {why = "no request of a size that a tier may have"}) end
    local waste = waste_of(samples, sizes)
    if values.max_waste and waste <= values.max_waste then
        return quiet(self, stats, {waste = waste,
            why = ("waste %s, within max_waste, %s"):format(percent(waste), percent(values.max_waste))})
    end
    if waste < values.gain then
        return quiet(self, stats, {waste = waste,
            why = ("waste %s, less than the gain asked for, %s"):format(percent(waste), percent(values.gain))})
    end
    local to = best(values, samples, waste)
    local predicted = waste_of(samples, to)
    if waste - predicted < values.gain then
        return quiet(self, stats, {waste = waste, predicted = predicted,
            why = ("waste %s, with other tiers %s: a gain below %s"):format(percent(waste), percent(predicted),
                percent(values.gain))})
    end
    return propose(self, stats, sizes, to, waste, predicted, given)
end

local function copy(t)
    local c = {}
    for key, value in pairs(t) do c[key] = type(value) == "table" and copy(value) or value end
    return c
end

--- What it proposed so far, oldest first; the last 32.
---@return bytepool.Retune[]
function methods:log()
    return copy(self.entries)
end

--- What the last look came to, and why nothing changed where nothing did.
---@return {time: integer, requests: integer, waste?: number, predicted?: number, why: string}|nil look nil
--- before the first
function methods:last()
    return self.latest and copy(self.latest)
end

--- Whether a look is due, for a caller who would take a snapshot for it: true at most once in `every` seconds.
---@param now number seconds of any clock, always the same
---@return boolean
function methods:due(now)
    if type(now) ~= "number" then error("due: argument 'now' must be a number, got " .. options.show(now), 2) end
    local due, every = self.next, self.options.every
    if due and now < due and due - now <= every then return false end
    self.next = now + every
    return true
end

return adaptive
