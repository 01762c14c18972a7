--- What changed between two snapshots of a pool.
--
-- Since 0.1.0.
-- @module bytepool.report.delta

local buckets = require "bytepool.buckets"
local families = require "bytepool.report.families"

local delta = {}

local counters = families.counters

-- What `drained` had before: its own, and what the tiers that have gone since had then.
local function drained_before(new, old)
    local before = {}
    for name in pairs(counters.drained) do
        before[name] = old.drained and old.drained[name] or 0
        for size, tier in pairs(name ~= "tiers" and old.pools or {}) do
            local now = new.pools[size]
            if not now or (now.get or 0) < (tier.get or 0) then before[name] = before[name] + (tier[name] or 0) end
        end
    end
    return before
end

-- By the buckets that all pools have, 8 to a power of two: only by these can two histograms be compared whose tiers
-- differ, for the requests of earlier tiers are kept by them.
local function coarsened(histogram)
    local merged = {}
    for _, bucket in ipairs(histogram) do
        local le, last = buckets.upper(bucket.le), merged[#merged]
        if last and last.le == le then
            last.count = last.count + bucket.count
        else
            merged[#merged + 1] = {le = le, count = bucket.count}
        end
    end
    return merged
end

-- Each counter once: fn(counts, name, value, earlier value). Records of leaks and buckets of the
-- histogram are matched by what they are of.
local function each_counter(new, old, fn)
    local function among(names, counts, before)
        for name in pairs(names) do
            if counts[name] then fn(counts, name, counts[name], before and before[name] or 0) end
        end
    end
    among(counters.pool, new, old)
    for size, tier in pairs(new.pools) do
        local before = old and old.pools[size]
        -- When a pool's tiers are changed, one may go, come again, and begin anew.
        if before and (tier.get or 0) < (before.get or 0) then before = nil end
        among(counters.tier, tier, before)
    end
    if new.gc then among(counters.gc, new.gc, old and old.gc) end
    if new.drained then among(counters.drained, new.drained, old and drained_before(new, old)) end

    local function records(field, key_of)
        local before = {}
        for _, record in ipairs(old and old[field] or {}) do
            local key = key_of(record)
            if key then before[key] = record end
        end
        for _, record in ipairs(new[field] or {}) do
            local key = key_of(record)
            if key then
                local earlier = before[key]
                fn(record, "count", record.count, earlier and earlier.count or 0)
                if record.bytes then fn(record, "bytes", record.bytes, earlier and earlier.bytes or 0) end
            end
        end
    end
    records("histogram", function(bucket) return bucket.le end)
    records("leaks", function(leak)
        -- "out" is how many there are, not how many there were.
        return leak.kind ~= "out" and table.concat({leak.kind, leak.site, leak.tag or ""}, "\0")
    end)
end

-- Whether `new` is of another pool than `old`, made since under the same name.
local function began_since(new, old)
    if new.uptime and old.uptime and new.uptime < old.uptime then return true end
    for name in pairs(counters.pool) do
        if new[name] and old[name] and new[name] < old[name] then return true end
    end
    return false
end

local function drop_empty(histogram)
    local kept = {}
    for _, bucket in ipairs(histogram) do
        if bucket.count ~= 0 then kept[#kept + 1] = bucket end
    end
    return kept
end

-- Turns `new` into its difference from `old`. What fell in a pool that goes on did not move: under
-- load a snapshot may have counted a get that waits for its block as a hit.
local function subtract(new, old)
    if old and began_since(new, old) then
        new.restarted = true
        old = nil
    end
    if old and new.histogram and old.histogram and new.generation ~= old.generation then
        new.histogram, old.histogram = coarsened(new.histogram), coarsened(old.histogram)
    end
    each_counter(new, old, function(counts, name, value, earlier)
        counts[name] = math.max(value - earlier, 0)
    end)
    if new.histogram then new.histogram = drop_empty(new.histogram) end
    return new
end

-- Seconds from old to new. A monotonic uptime is better than a clock that may be set.
local function elapsed(new, old)
    if not old then return new.uptime end
    if new.restarted and new.uptime then return new.uptime end
    if new.uptime and old.uptime then return new.uptime - old.uptime end
    if new.time and old.time then return new.time - old.time end
end

local function by_pool(list)
    local found = {}
    for _, entry in ipairs(list) do found[entry.pool] = entry.snapshot end
    return found
end

--- The list `new` with counters subtracted; a pool that is not in `old` is counted from zero.
-- Changes `new`, which is a copy made for this call.
---@param new bytepool.report.Entry[]
---@param old bytepool.report.Entry[]
---@return bytepool.report.Entry[] new
function delta.lists(new, old)
    local before = by_pool(old)
    for _, entry in ipairs(new) do subtract(entry.snapshot, before[entry.pool]) end
    return new
end

--- The same, counters per second.
---@param new bytepool.report.Entry[]
---@param old bytepool.report.Entry[]
---@param seconds? number between the two; default: by uptime, or by time
---@return bytepool.report.Entry[]|nil list
---@return string? fault to stand behind the name of `new`
function delta.rates(new, old, seconds)
    local before, rated = by_pool(old), {}
    for _, entry in ipairs(new) do
        local snapshot = entry.snapshot
        local earlier = before[entry.pool]
        subtract(snapshot, earlier)
        local span = elapsed(snapshot, earlier) or seconds
        if earlier and not span then return nil, "has no time and no uptime to tell the seconds by" end
        if span and span <= 0 and earlier then return nil, "is not later than 'old'" end
        -- A pool that is new, and does not say since when, has no rate yet.
        if span and span > 0 then
            each_counter(snapshot, nil, function(counts, name, value) counts[name] = value / span end)
            snapshot.seconds = span
            rated[#rated + 1] = entry
        end
    end
    return rated
end

return delta
