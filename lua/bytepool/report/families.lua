--- The metric families: what prometheus, openmetrics and statsd tell, and which of a snapshot's
-- numbers are counters.
--
-- A family has a name (of which formats make `bytepool_<name>`, and `_total` of a counter), a
-- type, a help text, a unit where its name ends in one, and says which numbers it reads:
--
--     tier = {...}   of each tier, under the label `tier`; several go by the family's `label`
--     pool = {...}   of the pool; beside `tier`: where no tier has the number
--     gc = {...}     of snapshot.gc; so is `drained`
--     read = fn      fn(snapshot, add) calls add(labels, value [, suffix])
--
-- Since 0.1.0.
-- @module bytepool.report.families

local units = require "bytepool.report.units"

local families = {}

-- Records of one site may differ in what the labels do not show: they are summed, because two
-- samples with the same labels make a scrape invalid.
local function leaks_by_site(wanted, field)
    return function(snapshot, add)
        local sums, order = {}, {}
        for _, leak in ipairs(snapshot.leaks or {}) do
            local value = leak[field]
            if value and (leak.kind == "out") == (wanted == "out") then
                local labels = {"site", leak.site}
                if wanted ~= "out" then labels[3], labels[4] = "kind", leak.kind end
                if leak.tag then labels[#labels + 1], labels[#labels + 2] = "tag", leak.tag end
                local key = table.concat(labels, "\0")
                if not sums[key] then
                    sums[key] = 0
                    order[#order + 1] = {key, labels}
                end
                sums[key] = sums[key] + value
            end
        end
        for _, item in ipairs(order) do add(item[2], sums[item[1]]) end
    end
end

-- Cumulative, up to each tier's size, at which a bucket of the snapshot ends. Those of the
-- snapshot are some hundreds, and come and go as they are hit: series that are not always there
-- can not be summed over pools. Sum and count go together. Oversize requests are in no tier's
-- asked_bytes.
local function read_histogram(snapshot, add)
    local histogram = snapshot.histogram
    if not histogram then return end
    local total, i = 0, 1
    for _, size in ipairs(units.sizes(snapshot.pools)) do
        while histogram[i] and histogram[i].le <= size do
            total, i = total + histogram[i].count, i + 1
        end
        add({"le", size}, total, "_bucket")
    end
    for rest = i, #histogram do total = total + histogram[rest].count end
    add({"le", math.huge}, total, "_bucket")
    if snapshot.asked_bytes then
        add({}, snapshot.asked_bytes + (snapshot.discarded_bytes or 0), "_sum")
        add({}, total, "_count")
    end
end

families.list = {
    {name = "requests", type = "counter", pool = {"requests"},
        help = "Requests for a buffer, of any length."},
    {name = "gets", type = "counter", tier = {"hit", "miss"}, label = "result",
        help = "Requests that a tier served, with a block made before (hit) or a new one (miss)."},
    {name = "puts", type = "counter", tier = {"put"}, help = "Blocks that came back to their tier."},
    {name = "discarded", type = "counter", pool = {"discarded"},
        help = "Requests above the largest tier, allocated alone."},
    {name = "discarded_puts", type = "counter", pool = {"discarded_put"},
        help = "Of those, the ones given back."},
    {name = "discarded_bytes", type = "counter", unit = "bytes", pool = {"discarded_bytes"},
        help = "Lengths of the requests above the largest tier, summed."},
    {name = "in_use_blocks", type = "gauge", tier = {"in_use"}, help = "Blocks that buffers hold."},
    {name = "owned_blocks", type = "gauge", tier = {"owned"}, help = "Blocks in use and idle."},
    {name = "idle_blocks", type = "gauge", tier = {"cached", "depot"}, label = "place",
        help = "Blocks kept for reuse, in the threads' caches (cached) or behind them (depot)."},
    {name = "peak_in_use_blocks", type = "gauge", tier = {"peak_in_use"},
        help = "The most blocks in use at once, as sampled."},
    {name = "peak_owned_blocks", type = "gauge", tier = {"peak_owned"}, help = "The most blocks owned at once."},
    {name = "in_use_buffers", type = "gauge", pool = {"in_use"}, help = "Live buffers, oversize ones too."},
    {name = "in_use_bytes", type = "gauge", unit = "bytes", pool = {"in_use_bytes"},
        help = "Bytes of the blocks that live buffers hold."},
    {name = "idle_bytes", type = "gauge", unit = "bytes", pool = {"idle_bytes"}, help = "Bytes kept for reuse."},
    {name = "owned_bytes", type = "gauge", unit = "bytes", pool = {"owned_bytes"},
        help = "Bytes in use and idle."},
    {name = "peak_owned_bytes", type = "gauge", unit = "bytes", pool = {"peak_owned_bytes"},
        help = "The most bytes owned at once."},
    {name = "peak_in_use_bytes", type = "gauge", unit = "bytes", pool = {"peak_in_use_bytes"},
        help = "The most bytes in use at once, as sampled."},
    {name = "max_idle_bytes", type = "gauge", unit = "bytes", pool = {"max_idle"},
        help = "Bytes that may be kept for reuse."},
    {name = "max_bytes", type = "gauge", unit = "bytes", pool = {"max_bytes"},
        help = "The quota on bytes owned."},
    {name = "max_waste_ratio", type = "gauge", unit = "ratio", pool = {"max_waste"},
        help = "The largest share of a block that a request may leave unused."},
    {name = "decay_seconds", type = "gauge", unit = "seconds", pool = {"decay"},
        help = "Seconds after which idle memory that nobody needed goes back to the system."},
    {name = "tier_max_idle_bytes", type = "gauge", unit = "bytes", tier = {"max_idle"},
        help = "Bytes of a tier that may be kept for reuse."},
    {name = "tier_max_bytes", type = "gauge", unit = "bytes", tier = {"max_bytes"},
        help = "The quota on bytes of a tier."},
    {name = "settings_generation", type = "gauge", pool = {"generation"},
        help = "Changes of the pool's settings, and 1."},
    {name = "over_quota", type = "counter", pool = {"over_quota"}, help = "Gets that a quota refused."},
    {name = "reserved_bytes", type = "gauge", unit = "bytes", pool = {"reserved_bytes"},
        help = "Address space under the pool."},
    {name = "resident_bytes", type = "gauge", unit = "bytes", pool = {"resident_bytes"},
        help = "Estimated resident memory of the pool."},
    {name = "pinned_bytes", type = "gauge", unit = "bytes", pool = {"pinned_bytes"},
        help = "Bytes of blocks that slices keep and do not show."},
    {name = "asked_bytes", type = "counter", unit = "bytes", tier = {"asked_bytes"}, pool = {"asked_bytes"},
        help = "Bytes that the requests which tiers served asked for."},
    {name = "waste_bytes", type = "counter", unit = "bytes", tier = {"waste_bytes"}, pool = {"waste_bytes"},
        help = "Bytes of blocks beyond what requests asked for."},
    {name = "collected", type = "counter", tier = {"collected"}, pool = {"collected"},
        help = "Blocks that the garbage collector gave back, not a release."},
    {name = "collected_bytes", type = "counter", unit = "bytes", pool = {"collected_bytes"},
        help = "Bytes of the blocks that the garbage collector gave back."},
    {name = "trimmed_bytes", type = "counter", unit = "bytes", pool = {"trimmed_bytes"},
        help = "Bytes that trims gave back to the system."},
    {name = "decayed_bytes", type = "counter", unit = "bytes", pool = {"decayed_bytes"},
        help = "Bytes of those that went because nobody had needed them for a while."},
    {name = "drained_tiers", type = "counter", drained = {"tiers"},
        help = "Tiers that left the tier table and have nothing out any more."},
    {name = "drained_gets", type = "counter", drained = {"hit", "miss"}, label = "result",
        help = "Requests that those tiers served."},
    {name = "drained_puts", type = "counter", drained = {"put"}, help = "Blocks that came back to those tiers."},
    {name = "drained_asked_bytes", type = "counter", unit = "bytes", drained = {"asked_bytes"},
        help = "Bytes that the requests which those tiers served asked for."},
    {name = "drained_waste_bytes", type = "counter", unit = "bytes", drained = {"waste_bytes"},
        help = "Bytes of their blocks beyond what requests asked for."},
    {name = "drained_collected", type = "counter", drained = {"collected"},
        help = "Their blocks that the garbage collector gave back."},
    {name = "returned_bytes", type = "counter", unit = "bytes", pool = {"returned_bytes"},
        help = "Bytes given back to the system."},
    {name = "trims", type = "counter", pool = {"trims"}, help = "Trims."},
    {name = "double_releases", type = "counter", pool = {"double_releases"},
        help = "Releases of a buffer that was released already."},
    {name = "overruns", type = "counter", pool = {"overruns"}, help = "Blocks found written past their end."},
    {name = "late_writes", type = "counter", pool = {"late_writes"},
        help = "Blocks found written after their release."},
    {name = "exported_tokens", type = "gauge", pool = {"exported"}, help = "Tokens that nobody imported yet."},
    {name = "threads", type = "gauge", pool = {"threads"}, help = "Thread caches."},
    {name = "uptime_seconds", type = "gauge", unit = "seconds", pool = {"uptime"},
        help = "Seconds since the pool was made."},
    {name = "gc_held_bytes", type = "gauge", unit = "bytes", gc = {"held_bytes"},
        help = "Bytes of blocks that handles of this Lua state hold."},
    {name = "gc_budget_bytes", type = "gauge", unit = "bytes", gc = {"budget_bytes"},
        help = "The option: handles that nobody released hold 5/4 of it at most."},
    {name = "gc_limit_bytes", type = "gauge", unit = "bytes", gc = {"limit_bytes"},
        help = "Bytes that handles of the Lua state hold at which a whole collection is due."},
    {name = "gc_steps", type = "counter", gc = {"steps"}, help = "Steps of the Lua collector that pools asked for."},
    {name = "gc_full", type = "counter", gc = {"full"}, help = "Full collections that pools asked for."},
    {name = "gc_cycles", type = "counter", gc = {"cycles"}, help = "Cycles of the Lua collector."},
    {name = "gc_seconds", type = "counter", unit = "seconds", gc = {"seconds"},
        help = "Seconds spent in collections that pools asked for."},
    {name = "leaks", type = "counter", read = leaks_by_site("leaked", "count"),
        help = "Buffers that were not released as they should be, by the line that got them."},
    {name = "out_buffers", type = "gauge", read = leaks_by_site("out", "count"),
        help = "Live buffers that leak detection follows, by the line that got them."},
    {name = "out_bytes", type = "gauge", unit = "bytes", read = leaks_by_site("out", "bytes"),
        help = "Bytes of those."},
    {name = "request_size_bytes", type = "histogram", unit = "bytes", read = read_histogram,
        help = "Lengths that requests asked for, oversize ones too."},
}

-- Counters that are sums of what the families read, and so in none of them.
local counters = {pool = {total_get = true, total_put = true}, tier = {get = true}, gc = {}, drained = {get = true}}
for _, family in ipairs(families.list) do
    if family.type == "counter" then
        for place, names in pairs(counters) do
            for _, name in ipairs(family[place] or {}) do names[name] = true end
        end
    end
end
families.counters = counters

--- Whether a number of the pool, such as "total_get", only rises.
---@param name string
---@return boolean
function families.is_counter(name)
    return counters.pool[name] == true
end

local function read_tiers(family, snapshot, add)
    local any = false
    for _, size in ipairs(units.sizes(snapshot.pools)) do
        for _, name in ipairs(family.tier) do
            local value = snapshot.pools[size][name]
            if value then
                any = true
                local labels = {"tier", units.count(size)}
                if family.label then labels[3], labels[4] = family.label, name end
                add(labels, value)
            end
        end
    end
    return any
end

---@class bytepool.report.Sample
---@field labels any[] name, value, name, value ...; values are strings, of `le` numbers
---@field value number
---@field suffix? string "_bucket", "_sum" or "_count" of a histogram

--- The samples of a family in a snapshot; none where the snapshot has not got the numbers.
---@param family table
---@param snapshot table
---@return bytepool.report.Sample[]
function families.samples(family, snapshot)
    local samples = {}
    local function add(labels, value, suffix)
        samples[#samples + 1] = {labels = labels, value = value, suffix = suffix}
    end
    if family.read then
        family.read(snapshot, add)
    elseif not (family.tier and read_tiers(family, snapshot, add)) then
        for place, from in pairs {pool = snapshot, gc = snapshot.gc or {}, drained = snapshot.drained or {}} do
            for _, name in ipairs(family[place] or {}) do
                if from[name] then add(family.label and {family.label, name} or {}, from[name]) end
            end
        end
    end
    return samples
end

return families
