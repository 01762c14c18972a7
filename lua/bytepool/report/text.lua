--- Snapshots as tables for people.
--
-- Since 0.1.0.
-- @module bytepool.report.text

local units = require "bytepool.report.units"

local count, bytes = units.count, units.bytes

local RECENT_SHOWN = 8
local COLUMNS = {
    "get", "put", "hit", "miss", "in_use", "owned", "idle", "cached", "depot",
    "asked_bytes", "waste_bytes", "collected", "peak_in_use", "peak_owned", "max_idle", "max_bytes",
}
local RATE_COLUMNS = {"get", "miss"}

-- The lines below the tiers, in their order, and how each value is written.
local TOTALS = {
    {"total_get", count}, {"total_put", count}, {"requests", count},
    {"discarded", count}, {"discarded_put", count}, {"discarded_bytes", bytes},
    {"in_use", count}, {"in_use_bytes", bytes}, {"idle_bytes", bytes}, {"owned_bytes", bytes},
    {"peak_owned_bytes", bytes}, {"peak_in_use_bytes", bytes},
    {"reserved_bytes", bytes}, {"resident_bytes", bytes}, {"pinned_bytes", bytes}, {"max_idle", bytes},
    {"max_bytes", bytes}, {"max_waste", units.number}, {"decay", units.seconds}, {"generation", count},
    {"over_quota", count},
    {"asked_bytes", bytes}, {"waste_bytes", bytes},
    {"trimmed_bytes", bytes}, {"decayed_bytes", bytes}, {"returned_bytes", bytes}, {"trims", count},
    {"collected", count}, {"collected_bytes", bytes},
    {"double_releases", count}, {"overruns", count}, {"late_writes", count},
    {"exported", count}, {"threads", count},
    {"time", function(n) return ("%s (%s)"):format(count(n), units.date(n)) end},
    {"uptime", units.seconds},
}
local GC = {
    {"held_bytes", bytes}, {"budget_bytes", bytes}, {"limit_bytes", bytes},
    {"steps", count}, {"full", count}, {"cycles", count}, {"seconds", units.number},
}

-- Of the tiers that are gone; a pool that never lost one says nothing of them.
local DRAINED = {
    {"tiers", count}, {"get", count}, {"put", count}, {"hit", count}, {"miss", count},
    {"asked_bytes", bytes}, {"waste_bytes", bytes}, {"collected", count},
}

local function align(rows, lines, left)
    for _, line in ipairs(units.align(rows, left)) do lines[#lines + 1] = line end
end

local function tier_lines(tiers, rates, lines)
    local columns = units.columns(tiers, COLUMNS)
    local head = {"size"}
    for _, name in ipairs(columns) do head[#head + 1] = name end
    if rates then
        for _, name in ipairs(RATE_COLUMNS) do head[#head + 1] = name .. "/s" end
    end
    local rows = {head}
    for _, size in ipairs(units.sizes(tiers)) do
        local row = {count(size)}
        for _, name in ipairs(columns) do
            local value = tiers[size][name]
            row[#row + 1] = value and count(value) or "-"
        end
        for _, name in ipairs(rates and RATE_COLUMNS or {}) do
            local value = rates.pools[size] and rates.pools[size][name]
            row[#row + 1] = value and count(value) or "-"
        end
        rows[#rows + 1] = row
    end
    align(rows, lines)
    local draining = {}
    for _, size in ipairs(units.sizes(tiers)) do
        if tiers[size].draining then draining[#draining + 1] = count(size) end
    end
    if #draining > 0 then lines[#lines + 1] = "draining: " .. table.concat(draining, ", ") end
end

local function recent_text(lengths)
    local n = #lengths
    if n == 0 then return "none" end
    local shown = {}
    for i = math.max(1, n - RECENT_SHOWN + 1), n do shown[#shown + 1] = count(lengths[i]) end
    local dots = n > RECENT_SHOWN and "..., " or ""
    return ("%s%s (%d kept, newest last)"):format(dots, table.concat(shown, ", "), n)
end

local function histogram_lines(histogram, lines)
    if #histogram == 0 then return end
    lines[#lines + 1] = "request sizes:"
    local rows = {}
    for i, bucket in ipairs(units.octaves(histogram)) do
        rows[i] = {"  <= " .. count(bucket.le), count(bucket.count)}
    end
    align(rows, lines)
end

local function leak_lines(snapshot, lines)
    local leaks = snapshot.leaks
    if snapshot.leak_level then lines[#lines + 1] = "leak_level = " .. units.one_line(snapshot.leak_level) end
    if not leaks then return end
    if #leaks == 0 then
        lines[#lines + 1] = "leaks: none"
        return
    end
    lines[#lines + 1] = "leaks:"
    local rows = {{"  kind", "site", "tag", "count", "bytes", "age"}}
    for i, leak in ipairs(leaks) do
        rows[i + 1] = {"  " .. units.one_line(leak.kind), units.one_line(leak.site),
            leak.tag and units.one_line(leak.tag) or "-", count(leak.count),
            leak.bytes and count(leak.bytes) or "-", leak.age and units.seconds(leak.age) or "-"}
    end
    align(rows, lines, {true, true, true})
    for _, leak in ipairs(leaks) do
        if leak.detail then
            lines[#lines + 1] = ("  %s %s:"):format(units.one_line(leak.kind), units.one_line(leak.site))
            for _, line in ipairs(leak.detail) do lines[#lines + 1] = "    " .. units.one_line(line) end
        end
    end
end

local function pool_lines(entry, rates, lines, is_counter)
    local snapshot = entry.snapshot
    if entry.title then lines[#lines + 1] = ('pool "%s"'):format(units.one_line(entry.title)) end
    if snapshot.restarted or rates and rates.restarted then lines[#lines + 1] = "began anew since the last snapshot" end
    tier_lines(snapshot.pools, rates, lines)
    local function add(name, value) lines[#lines + 1] = name .. " = " .. value end
    for _, total in ipairs(TOTALS) do
        local name, write = total[1], total[2]
        local value = snapshot[name]
        if value then
            local rate = rates and is_counter(name) and rates[name]
            add(name, write(value) .. (rate and (", %s/s"):format(count(rate)) or ""))
        end
    end
    if snapshot.recent_lengths then add("recent_lengths", recent_text(snapshot.recent_lengths)) end
    local function among(name, figures)
        for _, figure in ipairs(figures) do
            local value = snapshot[name][figure[1]]
            if value then add(name .. "." .. figure[1], figure[2](value)) end
        end
    end
    if snapshot.drained and snapshot.drained.tiers ~= 0 then among("drained", DRAINED) end
    if snapshot.gc then among("gc", GC) end
    histogram_lines(snapshot.histogram or {}, lines)
    leak_lines(snapshot, lines)
end

--- A row for each tier, then the totals, each on a line `name = value`, then leaks. Sizes,
-- lengths and what ends in _bytes are bytes, the rest are counts.
---@param list bytepool.report.Entry[]
---@param rates? table<string, table> report.rates of some of the pools, by entry.pool
---@return string text without a line break at the end
return function(list, rates)
    local is_counter = rates and require("bytepool.report.families").is_counter
    local texts = {}
    for i, entry in ipairs(list) do
        local lines = {}
        pool_lines(entry, rates and rates[entry.pool], lines, is_counter)
        texts[i] = table.concat(lines, "\n")
    end
    return table.concat(texts, "\n\n")
end
