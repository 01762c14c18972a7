-- Figures of several workers as one: {stats = snapshots by pool, figures = {send =, channels =}}.
--
-- Private to resty.bytepool.

local families = require "bytepool.report.families"
local worker = require "resty.bytepool.worker"

local sums = {}

local counters = families.counters

-- Of several workers the largest says more than the sum.
local LARGEST = {uptime = true, time = true, decay = true, generation = true, max_waste = true}

-- Figures of sends and channels that are no counters.
local NOW = {kept_now = true, in_flight = true, in_flight_bytes = true, subscribers = true, queued = true,
    queued_bytes = true}

function sums.new() return {stats = {}, figures = {send = {}, channels = {}}} end

-- Adds numbers: counters always, others where `now`.
local function add_numbers(to, from, is_counter, now)
    for name, value in pairs(from) do
        if type(value) == "number" then
            if is_counter(name) then
                to[name] = (to[name] or 0) + value
            elseif not now then
                to[name] = to[name] or 0
            elseif LARGEST[name] then
                to[name] = math.max(to[name] or 0, value)
            else
                to[name] = (to[name] or 0) + value
            end
        end
    end
end

local function counter_of(names)
    return function(name) return names[name] == true end
end
local of_pool, of_tier, of_gc = counter_of(counters.pool), counter_of(counters.tier), counter_of(counters.gc)
local function always() return true end
local function of_figures(name) return not NOW[name] end

-- Buckets by their bound.
local function add_histogram(to, from)
    local counts, bounds = {}, {}
    for _, list in ipairs {to.histogram or {}, from} do
        for _, bucket in ipairs(list) do
            if not counts[bucket.le] then bounds[#bounds + 1] = bucket.le end
            counts[bucket.le] = (counts[bucket.le] or 0) + bucket.count
        end
    end
    table.sort(bounds)
    to.histogram = {}
    for i, le in ipairs(bounds) do to.histogram[i] = {le = le, count = counts[le]} end
end

local function add_leaks(to, from, now)
    local known = {}
    local function key_of(leak) return table.concat({leak.kind, leak.site, leak.tag or ""}, "\0") end
    to.leaks = to.leaks or {}
    for _, leak in ipairs(to.leaks) do known[key_of(leak)] = leak end
    for _, leak in ipairs(from) do
        if leak.kind ~= "out" or now then
            local sum = known[key_of(leak)]
            if not sum then
                sum = {kind = leak.kind, site = leak.site, tag = leak.tag, count = 0, bytes = 0, age = 0}
                known[key_of(leak)] = sum
                to.leaks[#to.leaks + 1] = sum
            end
            sum.count, sum.bytes = sum.count + leak.count, sum.bytes + (leak.bytes or 0)
            sum.age = math.max(sum.age, leak.age or 0)
        end
    end
end

local function add_snapshot(to, from, now)
    add_numbers(to, from, of_pool, now)
    to.name, to.leak_level = from.name, from.leak_level
    to.pools = to.pools or {}
    for size, tier in pairs(from.pools) do
        to.pools[size] = to.pools[size] or {}
        add_numbers(to.pools[size], tier, of_tier, now)
        if tier.draining and now then to.pools[size].draining = true end
    end
    for _, part in ipairs {"gc", "drained"} do
        if from[part] then
            to[part] = to[part] or {}
            add_numbers(to[part], from[part], part == "gc" and of_gc or always, now)
        end
    end
    if from.histogram then add_histogram(to, from.histogram) end
    if from.leaks then add_leaks(to, from.leaks, now) end
end

--- Adds a record to a sum; without `now` only what it counted.
function sums.add(sum, record, now)
    for name, snapshot in pairs(record.stats) do
        sum.stats[name] = sum.stats[name] or {}
        add_snapshot(sum.stats[name], snapshot, now)
    end
    local figures = record.figures or {}
    add_numbers(sum.figures.send, figures.send or {}, of_figures, now)
    for name, counts in pairs(figures.channels or {}) do
        local channels = sum.figures.channels
        channels[name] = channels[name] or {}
        add_numbers(channels[name], counts, of_figures, now)
    end
end

--- Adds one sum to another.
function sums.merge(sum, part) sums.add(sum, part, true) end

--- Snapshots of the open pools of this Lua state by name.
---@return table<string, bytepool.Stats>
function sums.stats()
    local stats = {}
    for name, pool in pairs(worker.pools()) do stats[name] = pool:get_pool_stats() end
    return stats
end

--- This worker's record.
function sums.own()
    local record = {stats = sums.stats(), figures = {send = {}, channels = {}}}
    for _, snapshot in pairs(record.stats) do snapshot.recent_lengths = nil end
    local send = package.loaded["resty.bytepool.send"]
    if send then record.figures.send = send.send_stats() end
    local channel = package.loaded["resty.bytepool.channel"]
    if channel then record.figures.channels = channel.channel_stats() end
    return record
end

return sums
