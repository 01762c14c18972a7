-- What the worker, or all workers, did: for programs and as handlers of locations.
--
-- Private to resty.bytepool, whose functions these are.

local bp_report = require "bytepool.report"
local json = require "bytepool.report.json"
local options = require "bytepool.options"
local pools = require "bytepool.report.pools"
local process = require "bytepool.report.process"
local sums = require "resty.bytepool.sums"
local units = require "bytepool.report.units"
local worker = require "resty.bytepool.worker"

local ngx = ngx

---@class resty.bytepool
local report = {}

--- Snapshots of this worker's pools, as `pool:get_pool_stats()` gives them.
---@return table<string, bytepool.Stats> stats by the pool's name
function report.stats()
    worker.pool()
    return sums.stats()
end

-- ---- what stands beside the pools ----------------------------------------------------

-- Name, type and help of the figures that are not a pool's.
local SEND = {
    {"requests", "counter", "Requests that kept or sent a buffer."},
    {"kept", "counter", "Buffers tied to requests."},
    {"kept_now", "gauge", "Buffers that are tied to requests now."},
    {"unkept", "counter", "Buffers that could not be tied to a request."},
    {"sends", "counter", "Sends of a buffer without a copy."},
    {"sent_bytes", "counter", "Bytes of those."},
    {"copies", "counter", "Sends through ngx.print."},
    {"copied_bytes", "counter", "Bytes of those."},
    {"in_flight", "gauge", "Buffers on their way to clients."},
    {"in_flight_bytes", "gauge", "Bytes of those."},
    {"early", "counter", "Buffers let go before their request ended."},
}
local CHANNELS = {
    {"published", "counter", "Chunks published."},
    {"published_bytes", "counter", "Bytes of those."},
    {"delivered", "counter", "Chunks that subscribers took."},
    {"delivered_bytes", "counter", "Bytes of those."},
    {"dropped", "counter", "Chunks that slow subscribers missed."},
    {"dropped_subscribers", "counter", "Subscriptions that ended for being slow."},
    {"timeouts", "counter", "Publishes that found no room in time."},
    {"subscribers", "gauge", "Subscribers."},
    {"queued", "gauge", "Chunks that a subscriber waits for."},
    {"queued_bytes", "gauge", "Bytes of those."},
}

local function add_family(lines, prefix, family, samples)
    if #samples == 0 then return end
    local name, kind, help = family[1], family[2], family[3]
    name = prefix .. name .. (kind == "counter" and "_total" or "")
    lines[#lines + 1] = ("# HELP %s %s"):format(name, help)
    lines[#lines + 1] = ("# TYPE %s %s"):format(name, kind)
    for _, sample in ipairs(samples) do
        lines[#lines + 1] = ("%s%s %s"):format(name, sample[1], units.number(sample[2]))
    end
end

local function channel_label(name)
    return '{channel="' .. units.clean(name):gsub('[\\\n"]', {["\\"] = "\\\\", ["\n"] = "\\n", ['"'] = '\\"'}) .. '"}'
end

local function metrics_of(figures)
    local lines, names = {}, {}
    local workers = figures.workers and {{"", figures.workers}} or {}
    add_family(lines, "bytepool_nginx_", {"workers", "gauge", "Workers that live."}, workers)
    for _, family in ipairs(SEND) do
        local value = figures.send[family[1]]
        add_family(lines, "bytepool_nginx_", family, value and {{"", value}} or {})
    end
    for name in pairs(figures.channels) do names[#names + 1] = name end
    table.sort(names)
    for _, family in ipairs(CHANNELS) do
        local samples = {}
        for _, name in ipairs(names) do
            local value = figures.channels[name][family[1]]
            if value then samples[#samples + 1] = {channel_label(name), value} end
        end
        add_family(lines, "bytepool_channel_", family, samples)
    end
    lines[#lines + 1] = ""
    return table.concat(lines, "\n")
end

-- ---- handlers ----------------------------------------------------------------------

local schema = {all = {type = "boolean"}}

-- Snapshots and figures of all workers where the shared dict is there, or of this one.
local function figures_of(method, given)
    local values, fault = options.check(method, given, schema)
    if not values then error(fault, 3) end
    if values.all ~= false and (values.all or ngx.shared[worker.dict]) then
        local stats, figures = require("resty.bytepool.totals").totals()
        if not stats then
            ngx.log(ngx.ERR, "bytepool: ", method, ": ", figures)
            return nil, figures
        end
        return stats, figures
    end
    worker.pool()
    local record = sums.own()
    return sums.stats(), record.figures
end

local function answer(kind, text)
    ngx.header.content_type = kind
    ngx.header.cache_control = "no-store"
    ngx.print(text)
end

local function fail(message)
    ngx.status = 500
    answer("text/plain; charset=utf-8", message .. "\n")
end

--- A handler: JSON as Go's expvar has it at /debug/vars, with the pools by name, `memstats` and `cmdline` of this
-- worker, and `nginx`: workers, counts of sends, channels.
---@param given? {all?: boolean} of all workers: by default where there is the shared dict of the totals
function report.vars(given)
    local stats, figures = figures_of("vars", given)
    if not stats then return fail(figures) end
    local encode = json.encoder()
    if not encode then return fail(json.MISSING) end
    local page = process.figures()
    -- nginx writes its title over the words of its command.
    while page.cmdline[#page.cmdline] == "" do table.remove(page.cmdline) end
    page.nginx = figures
    page = json.expvar(assert(pools.list(stats)), page)
    answer("application/json", encode(page))
end

--- A handler: the same for Prometheus, in its text format.
---@param given? {all?: boolean} as of vars
function report.metrics(given)
    local stats, figures = figures_of("metrics", given)
    if not stats then return fail(figures) end
    answer("text/plain; version=0.0.4; charset=utf-8",
        (next(stats) and bp_report.prometheus(stats) or "") .. metrics_of(figures))
end

--- A handler: the pools as a page for people.
---@param given? {all?: boolean} as of vars
function report.html(given)
    local stats, figures = figures_of("html", given)
    if not stats then return fail(figures) end
    local title = figures.workers and ("bytepool, %d worker%s"):format(figures.workers,
        figures.workers == 1 and "" or "s") or ("bytepool, worker %d"):format(ngx.worker.pid())
    answer("text/html; charset=utf-8", bp_report.html(stats, title))
end

return report
