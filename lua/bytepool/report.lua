--- What a pool did, for people and for programs.
--
-- `report.text` writes one snapshot as a table to read. `report.expvar` is the
-- counterpart of Go's /debug/vars: the JSON text of every pool published with
-- `pool:expvar(prefix)`.
--
-- Since 0.1.0.
-- @module bytepool.report

local core = require "bytepool.core"
local options = require "bytepool.options"

local report = {}

local RECENT_SHOWN = 8 -- lengths that report.text writes out
local COLUMNS = {"size", "get", "put", "hit", "miss", "in_use", "idle"}

local function count(n)
    return ("%.0f"):format(n)
end

local UNITS = {"KiB", "MiB", "GiB", "TiB"}

-- "3145728 (3.0 MiB)": exact for comparing, rounded for reading.
local function bytes(n)
    local unit, scaled = nil, n
    for i = 1, #UNITS do
        if scaled < 1024 then break end
        unit, scaled = UNITS[i], scaled / 1024
    end
    if not unit then return count(n) end
    return ("%s (%.1f %s)"):format(count(n), scaled, unit)
end

local function tier_rows(pools)
    local sizes = {}
    for size in pairs(pools) do sizes[#sizes + 1] = size end
    table.sort(sizes)
    local rows = {COLUMNS}
    for _, size in ipairs(sizes) do
        local row = {count(size)}
        for i = 2, #COLUMNS do row[i] = count(pools[size][COLUMNS[i]]) end
        rows[#rows + 1] = row
    end
    return rows
end

local function align(rows, lines)
    local widths = {}
    for i in ipairs(COLUMNS) do
        widths[i] = 0
        for _, row in ipairs(rows) do widths[i] = math.max(widths[i], #row[i]) end
    end
    for _, row in ipairs(rows) do
        local cells = {}
        for i, cell in ipairs(row) do cells[i] = (" "):rep(widths[i] - #cell) .. cell end
        lines[#lines + 1] = table.concat(cells, "  ")
    end
end

local function recent_text(lengths)
    local n = #lengths
    if n == 0 then return "none" end
    local shown = {}
    for i = math.max(1, n - RECENT_SHOWN + 1), n do shown[#shown + 1] = count(lengths[i]) end
    local dots = n > RECENT_SHOWN and "..., " or ""
    return ("%s%s (%d kept, newest last)"):format(dots, table.concat(shown, ", "), n)
end

--- A snapshot as a table for people: a row for each tier, then the totals, each
-- on a line `name = value`. Sizes and lengths are bytes, the rest are counts.
---@param snapshot table what pool:get_pool_stats() returned
---@return string text several lines, no line break at the end
function report.text(snapshot)
    local lines = {}
    if snapshot.name and snapshot.name ~= "" then
        lines[1] = "pool " .. options.quote(snapshot.name)
    end
    align(tier_rows(snapshot.pools), lines)
    local function add(name, value) lines[#lines + 1] = name .. " = " .. value end
    add("total_get", count(snapshot.total_get))
    add("total_put", count(snapshot.total_put))
    add("requests", count(snapshot.requests))
    add("discarded", count(snapshot.discarded))
    add("in_use", count(snapshot.in_use))
    add("in_use_bytes", bytes(snapshot.in_use_bytes))
    add("idle_bytes", bytes(snapshot.idle_bytes))
    add("peak_owned_bytes", bytes(snapshot.peak_owned_bytes))
    add("recent_lengths", recent_text(snapshot.recent_lengths))
    return table.concat(lines, "\n")
end

-- prefix -> pool. Weak, so that being published keeps no pool alive.
local published = setmetatable({}, {__mode = "v"})

-- Required here and not at load: bytepool itself loads this file.
local function is_open(pool)
    return require("bytepool").type(pool) == "pool"
end

--- Publishes a pool under a prefix; `pool:expvar(prefix)` is the way to call it.
-- Doing so again with the same pool changes nothing. A prefix is free again
-- when its pool is closed or collected.
-- Raises when prefix is not a non-empty string, and when another open pool has it.
---@param prefix string
---@param pool userdata an open pool
---@param level? integer whom an error blames, as in error(): 1 is the caller of
--- publish, 2 (the default) the caller of that one
function report.publish(prefix, pool, level)
    level = (level or 2) + 1
    if type(prefix) ~= "string" or prefix == "" then
        error("expvar: argument 'prefix' must be a non-empty string, got "
            .. options.show(prefix, true), level)
    end
    local holder = published[prefix]
    if holder ~= nil and is_open(holder) and not core.same_pool(holder, pool) then
        error(("expvar: prefix %s is held by another pool"):format(options.quote(prefix)), level)
    end
    published[prefix] = pool
end

--- Snapshots of all published pools that are open.
---@return table<string, table> snapshots what pool:get_pool_stats() returns, by prefix
function report.collect()
    local snapshots = {}
    for prefix, pool in pairs(published) do
        if is_open(pool) then
            snapshots[prefix] = pool:get_pool_stats()
        else
            published[prefix] = nil
        end
    end
    return snapshots
end

-- lua-cjson with settings of its own, so that neither the host's settings
-- change our text nor ours the host's.
local function default_encode()
    local found, cjson = pcall(require, "cjson")
    if not found then return nil end
    local own = cjson.new()
    -- Old releases stop at 14 digits, and raise when asked for more.
    pcall(own.encode_number_precision, 16)
    return function(value)
        -- An empty Lua table is an object to lua-cjson. The quotes keep this
        -- from matching inside a string, where they would be escaped.
        local text = own.encode(value):gsub('"recent_lengths":{}', '"recent_lengths":[]')
        return (text:gsub('"histogram":{}', '"histogram":[]'))
    end
end

--- All published pools as JSON text, `{prefix: stats, ...}`. The stats are those
-- of pool:get_pool_stats(), with the tier sizes as strings ("4096").
-- Raises when lua-cjson is missing and no `encode` was given, and what `encode` raises.
---@param encode? fun(value: table): string a JSON encoder (default: lua-cjson's)
---@return string json
function report.expvar(encode)
    if encode ~= nil and type(encode) ~= "function" then
        error("expvar: argument 'encode' must be a function, got " .. options.show(encode), 2)
    end
    encode = encode or default_encode()
    if not encode then
        error("expvar: the Lua module cjson (lua-cjson) is missing; install it, "
            .. "or give a JSON encoder: report.expvar(encode)", 2)
    end
    local snapshots = report.collect()
    for _, snapshot in pairs(snapshots) do
        local pools = {}
        for size, tier in pairs(snapshot.pools) do pools[count(size)] = tier end
        snapshot.pools = pools
    end
    return (encode(snapshots))
end

return report
