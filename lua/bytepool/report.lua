--- What a pool did, for people and for programs.
--
-- A report is a function of a snapshot, as pool:get_pool_stats() returns it, or of a table
-- prefix -> snapshot; it asks no pool anything and changes nothing. Every format is there as
-- `report.<format>` and by its name in `report.render`; `report.register` adds one.
--
-- What a snapshot has not got is not shown. A wrong argument raises an error with the
-- caller's line.
--
--     local report = require "bytepool.report"
--     print(report.text(pool:get_pool_stats()))
--     response(report.prometheus(report.collect()))
--
-- Since 0.1.0.
-- @module bytepool.report

local core = require "bytepool.core"
local json = require "bytepool.report.json"
local options = require "bytepool.options"
local pools = require "bytepool.report.pools"
local process = require "bytepool.report.process"
local text = require "bytepool.report.text"

local report = {}

---@alias bytepool.Snapshots bytepool.Stats|table<string, bytepool.Stats> one, or several by prefix

-- ---- published pools ---------------------------------------------------------

-- What stands beside the pools on an expvar page.
local RESERVED = {memstats = true, cmdline = true}

-- prefix -> pool. Weak, so that being published keeps no pool alive.
local published = setmetatable({}, {__mode = "v"})

-- Required here and not at load: bytepool itself loads this file.
local function is_open(pool)
    return require("bytepool").type(pool) == "pool"
end

--- Publishes a pool under a prefix; `pool:expvar(prefix)` is the way to call it.
-- Doing so again with the same pool changes nothing. A prefix is free again
-- when its pool is closed or collected.
-- Raises when prefix is not a non-empty string, when it is "memstats" or "cmdline", and when
-- another open pool has it.
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
    if RESERVED[prefix] then
        error(("expvar: prefix %s is the process's own"):format(options.quote(prefix)), level)
    end
    local holder = published[prefix]
    if holder ~= nil and is_open(holder) and not core.same_pool(holder, pool) then
        error(("expvar: prefix %s is held by another pool"):format(options.quote(prefix)), level)
    end
    published[prefix] = pool
end

--- Snapshots of all published pools that are open.
---@return table<string, bytepool.Stats> snapshots what pool:get_pool_stats() returns, by prefix
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

-- ---- formats -----------------------------------------------------------------

-- Blames the line that called the function of this file that calls it.
local function fail(where, argument, fault)
    error(("%s: argument '%s' %s"):format(where, argument, fault), 3)
end

local function listed(where, argument, given)
    local list, fault = pools.list(given)
    if not list then error(("%s: argument '%s' %s"):format(where, argument, fault), 4) end
    return list
end

-- name -> fn(where, snapshot, ...). All but the text are loaded at their first use.
local formats = {}

function formats.text(where, snapshot, rates)
    local list = listed(where, "snapshot", snapshot)
    local by_pool
    if rates ~= nil then
        by_pool = {}
        for _, entry in ipairs(listed(where, "rates", rates)) do by_pool[entry.pool] = entry.snapshot end
    end
    return text(list, by_pool)
end

function formats.expvar(where, snapshot, encode)
    local figures
    if snapshot == nil or type(snapshot) == "function" then
        snapshot, encode = report.collect(), snapshot or encode
        figures = process.figures()
    end
    local list = listed(where, "snapshot", snapshot)
    if encode ~= nil and type(encode) ~= "function" then
        error(("%s: argument 'encode' must be a function, got %s"):format(where, options.show(encode)), 3)
    end
    encode = encode or json.encoder()
    if not encode then
        error(("%s: %s, or give a JSON encoder: report.expvar(encode)"):format(where, json.MISSING), 3)
    end
    return (encode(json.expvar(list, figures)))
end

function formats.prometheus(where, snapshot)
    local list = listed(where, "snapshot", snapshot)
    return require("bytepool.report.exposition").prometheus(list)
end

function formats.openmetrics(where, snapshot)
    local list = listed(where, "snapshot", snapshot)
    return require("bytepool.report.exposition").openmetrics(list)
end

function formats.statsd(where, snapshot, before)
    local list = listed(where, "snapshot", snapshot)
    local earlier = before ~= nil and listed(where, "before", before) or nil
    return require("bytepool.report.statsd")(list, earlier)
end

function formats.html(where, snapshot, title)
    local list = listed(where, "snapshot", snapshot)
    if title ~= nil and type(title) ~= "string" then
        error(("%s: argument 'title' must be a string, got %s"):format(where, options.show(title)), 3)
    end
    return require("bytepool.report.html")(list, title)
end

--- A table for people: a row for each tier, then the totals, each on a line `name = value`,
-- then leaks. Sizes, lengths and what ends in _bytes are bytes, the rest are counts.
---@param snapshot bytepool.Snapshots
---@param rates? bytepool.Snapshots report.rates of the same pools, shown beside their counters
---@return string text several lines, no line break at the end
function report.text(snapshot, rates)
    local result = formats.text("text", snapshot, rates)
    return result
end

--- Pools as JSON text, `{prefix: stats, ...}`, as Go serves it at /debug/vars. The stats are those
-- of pool:get_pool_stats(), with the tier sizes as strings ("4096").
-- Raises when lua-cjson is missing and no `encode` was given, and what `encode` raises.
---@param snapshot? bytepool.Snapshots default: all published pools, and beside them "memstats"
--- (HeapAlloc, HeapInuse, Sys, RSS, in bytes) and "cmdline"
---@param encode? fun(value: table): string a JSON encoder (default: lua-cjson's); may be the only argument
---@return string json
function report.expvar(snapshot, encode)
    local result = formats.expvar("expvar", snapshot, encode)
    return result
end

--- Prometheus text format 0.0.4, `text/plain; version=0.0.4`. The label `pool` is the prefix,
-- or the pool's name.
---@param snapshot bytepool.Snapshots
---@return string text
function report.prometheus(snapshot)
    local result = formats.prometheus("prometheus", snapshot)
    return result
end

--- OpenMetrics 1.0, `application/openmetrics-text; version=1.0.0; charset=utf-8`.
---@param snapshot bytepool.Snapshots
---@return string text
function report.openmetrics(snapshot)
    local result = formats.openmetrics("openmetrics", snapshot)
    return result
end

--- Lines for a StatsD server, `bytepool.<pool>.<family>[.<label values>]:<value>|c` or `|g`.
---@param snapshot bytepool.Snapshots
---@param before? bytepool.Snapshots what was sent last: counters are what came since; default:
--- since the pool was made
---@return string lines each ends with a line break
function report.statsd(snapshot, before)
    local result = formats.statsd("statsd", snapshot, before)
    return result
end

--- One HTML page that needs nothing else: bars, charts and all figures as text.
---@param snapshot bytepool.Snapshots
---@param title? string default "bytepool"
---@return string html
function report.html(snapshot, title)
    local result = formats.html("html", snapshot, title)
    return result
end

-- Names of the user's own formats, which may be given another function.
local registered = {}

--- Adds a format of the user's own, or replaces one.
---@param name string not that of a built-in format
---@param fn fun(snapshot: bytepool.Snapshots, ...): any called by render with what render was given
function report.register(name, fn)
    if type(name) ~= "string" or name == "" then
        fail("register", "name", "must be a non-empty string, got " .. options.show(name, true))
    end
    if formats[name] then
        fail("register", "name", ("is that of a built-in format: %s"):format(options.quote(name)))
    end
    if type(fn) ~= "function" then fail("register", "fn", "must be a function, got " .. options.show(fn)) end
    registered[name] = fn
end

--- The names that render knows.
---@return string[] names rising
function report.formats()
    local names = {}
    for name in pairs(formats) do names[#names + 1] = name end
    for name in pairs(registered) do names[#names + 1] = name end
    table.sort(names)
    return names
end

--- A report by the name of its format.
---@param name string
---@param snapshot bytepool.Snapshots
---@param ... any the format's other arguments
---@return string report of a registered format, what its function returned
function report.render(name, snapshot, ...)
    if registered[name] then return (registered[name](snapshot, ...)) end
    local format = type(name) == "string" and formats[name]
    if not format then
        fail("render", "name", ("must be a format (%s), got %s"):format(table.concat(report.formats(), ", "),
            options.show(name, true)))
    end
    if snapshot == nil then fail("render", "snapshot", "must be a snapshot or a table of them, got nil") end
    local result = format("render", snapshot, ...)
    return result
end

-- ---- two snapshots -----------------------------------------------------------

-- A list back in the shape of what the user gave.
local function unlisted(list, given)
    if pools.is_single(given) then return list[1].snapshot end
    local snapshots = {}
    for _, entry in ipairs(list) do snapshots[entry.pool] = entry.snapshot end
    return snapshots
end

local function two_lists(where, new, old)
    local newer, older = listed(where, "new", new), listed(where, "old", old)
    if pools.is_single(new) ~= pools.is_single(old) then
        error(("%s: argument 'old' must be %s as 'new' is"):format(where,
            pools.is_single(new) and "one snapshot" or "a table of snapshots"), 3)
    end
    -- Two snapshots are of one pool because the caller says so.
    if pools.is_single(new) then older[1].pool = newer[1].pool end
    return newer, older
end

--- What changed: counters are the difference, all else is as in `new`. Of a pool that began anew
-- (its counters or its uptime went down) counters are those of `new`, and `restarted` is true.
---@param new bytepool.Snapshots
---@param old bytepool.Snapshots earlier ones of the same pools; one that is missing is counted from zero
---@return bytepool.Snapshots delta
function report.delta(new, old)
    local newer, older = two_lists("delta", new, old)
    return unlisted(require("bytepool.report.delta").lists(newer, older), new)
end

--- The same with counters per second, and the `seconds`: by uptime, else by time. Of several pools,
-- one that `old` has not got and that has no uptime is left out.
---@param new bytepool.Snapshots
---@param old bytepool.Snapshots
---@param seconds? number that passed between the two, where the snapshots do not tell
---@return bytepool.Snapshots rates
function report.rates(new, old, seconds)
    local newer, older = two_lists("rates", new, old)
    if seconds ~= nil and not (type(seconds) == "number" and seconds > 0 and seconds < math.huge) then
        fail("rates", "seconds", "must be a number above 0, got " .. options.show(seconds))
    end
    local list, fault = require("bytepool.report.delta").rates(newer, older, seconds)
    if not list then fail("rates", "new", fault) end
    return unlisted(list, new)
end

-- ---- storing -----------------------------------------------------------------

--- A snapshot, or several, as JSON text, to be loaded in another process. Whole numbers are
-- exact up to 2^53. Needs lua-cjson.
---@param snapshot bytepool.Snapshots
---@return string json
function report.dump(snapshot)
    local list, fault = pools.list(snapshot)
    if not list then fail("dump", "snapshot", fault) end
    local encode = json.encoder()
    if not encode then error("dump: " .. json.MISSING, 2) end
    return (encode(json.dump(list, pools.is_single(snapshot))))
end

--- The snapshots in a text of report.dump or report.expvar.
---@param dumped string
---@return bytepool.Snapshots|nil snapshot one, or several by prefix, as they were
---@return string? message what is wrong with the text
function report.load(dumped)
    if type(dumped) ~= "string" then fail("load", "text", "must be a string, got " .. options.show(dumped)) end
    return json.load(dumped)
end

return report
