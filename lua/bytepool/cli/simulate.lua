--- The command `bytepool simulate`: a trace through a model of the pool, configs side by side.
--
-- Since 0.1.0.
-- @module bytepool.cli.simulate

local units = require "bytepool.report.units"

local simulate = {}

local count, bytes, percent = units.count, units.bytes, units.percent

-- Figures of a bytepool.Simulation, in their order.
local ROWS = {
    {"gets", "requests", count}, {"discarded", "discarded", count}, {"hits", "hit", count}, {"misses", "miss", count},
    {"hit rate", "hits", percent}, {"waste bytes", "waste_bytes", bytes}, {"waste", "waste", percent},
    {"peak owned", "peak_owned_bytes", bytes}, {"peak in use", "peak_in_use_bytes", bytes},
    {"idle at the end", "idle_bytes", bytes}, {"given back", "trimmed_bytes", bytes},
    {"of it by decay", "decayed_bytes", bytes}, {"slabs given back", "retired", count}, {"trims", "trims", count},
    {"over quota", "over_quota", count},
}

local POLICIES = "power_of_two, power_of_two_plus, stream or fitted:N"

--- Options and arguments of the command, for argparse.
---@param command table
function simulate.define(command)
    command:option("--policy", "A policy by name: " .. POLICIES
        .. " (the N tiers that waste least for the trace). May be repeated."):argname("NAME"):target("policies")
        :count("*")
    command:option("--hold", "Buffers of which the trace does not say it stay out during so many gets after theirs.")
        :argname("N"):default("0")
    command:option("--max-idle", "limits.idle of what has none of its own; default 256MiB."):argname("SIZE")
        :target("max_idle")
    command:option("--max-bytes", "limits.bytes of what has none of its own; default none."):argname("SIZE")
        :target("max_bytes")
    command:option("--format", "Of the trace's lines: sizes or nginx (combined access log).")
        :argname("FORMAT"):choices({"sizes", "nginx"}):default("sizes")
    command:epilog("A line of a trace: SIZE [COUNT] [@GETS that come while it is out], get NAME SIZE, put NAME, "
        .. "time SECONDS (of a tick), or trim.")
    command:argument("files", "Config files, files of tiers (a size on a line) or snapshots; last the trace: a file, "
        .. "or - for standard input."):argname("FILE"):args("*")
end

local function size_option(arguments, key, name, least)
    local given = arguments[key]
    if not given then return nil end
    local value = require("bytepool.size").parse(given)
    if value and value >= least and value <= 2 ^ 40 then return value end
    return nil, ("%s takes a size such as 64MiB, got '%s'"):format(name, given)
end

-- What the options say, or nil and what is wrong.
local function read_options(arguments)
    local hold = arguments.hold:find("^%d+$") and #arguments.hold < 16 and tonumber(arguments.hold)
    if not hold then return nil, ("--hold takes a whole number, got '%s'"):format(arguments.hold) end
    local idle, wrong_idle = size_option(arguments, "max_idle", "--max-idle", 0)
    local most, wrong_bytes = size_option(arguments, "max_bytes", "--max-bytes", 1)
    if wrong_idle or wrong_bytes then return nil, wrong_idle or wrong_bytes end
    return {hold = hold, limits = {idle = idle, bytes = most}}
end

-- ---- what is compared ----------------------------------------------------------

local function fitted(steps, n)
    local counts = {}
    for i = 1, steps.count do
        local size = (steps.kinds[i] == "size" or steps.kinds[i] == "get") and steps.sizes[i]
        if size then counts[size] = (counts[size] or 0) + (steps.times[i] or 1) end
    end
    return require("bytepool.policy.fit").best(require("bytepool.policy.samples").of_counts(counts), n, 1)
end

local function of_policy(policy, name, steps)
    local n = tonumber(name:match("^fitted:(%d%d?)$"))
    if n and n >= 1 and n <= 64 then return fitted(steps, n) end
    if name == "power_of_two" or name == "power_of_two_plus" or name == "stream" then return policy[name]() end
    return nil, ("--policy takes %s, got '%s'"):format(POLICIES, name)
end

-- Tiers and snapshots begin with a digit, a comment or a brace; a config is Lua, maybe with a line for the shell.
local function is_config(path)
    local file = io.open(path, "rb")
    local text = file and file:read(4096)
    if file then file:close() end
    text = text and text:gsub("^\239\187\191", "")
    return text ~= nil and (text:find("^#!") or text:find("^%s*[^%s%d#{]")) ~= nil
end

local function of_file(bytepool, path)
    local load_config = rawget(bytepool, "load_config")
    if not load_config or not is_config(path) then
        return require("bytepool.cli.trace").tiers(bytepool.report, path)
    end
    local called, config, fault = pcall(load_config, {path = path})
    if called and config then return config end
    return nil, tostring(called and fault or config)
end

-- Each {name = ..., config = a bytepool.simulate.Config}; or nil, what is wrong, and whether the arguments are.
local function columns_of(bytepool, arguments, steps, limits)
    local columns = {}
    local function add(name, given, fault)
        if given == nil then return fault end
        local config, wrong = require("bytepool.simulate.config").read(given, limits)
        columns[#columns + 1] = {name = units.one_line(units.clean(name)), config = config}
        return wrong and name .. ": " .. wrong
    end
    for i = 1, #arguments.files - 1 do
        local fault = add(arguments.files[i], of_file(bytepool, arguments.files[i]))
        if fault then return nil, fault end
    end
    for _, name in ipairs(arguments.policies or {}) do
        local fault = add(name, of_policy(bytepool.policy, name, steps))
        if fault then return nil, fault, true end
    end
    if #columns == 0 then add("power_of_two", bytepool.policy.power_of_two()) end
    return columns
end

-- ---- the table -------------------------------------------------------------------

-- Trims, decay and quota only where there are such.
local OPTIONAL = {decayed_bytes = true, trims = true, over_quota = true}

local function text_of(columns)
    local head, tiers = {""}, {"tiers"}
    for _, column in ipairs(columns) do
        head[#head + 1], tiers[#tiers + 1] = column.name, count(#column.config.sizes)
    end
    local rows = {head, tiers}
    for _, row in ipairs(ROWS) do
        local name, key, write = row[1], row[2], row[3]
        local cells, told = {name}, not OPTIONAL[key]
        for _, column in ipairs(columns) do
            cells[#cells + 1] = write(column.figures[key])
            told = told or column.figures[key] > 0
        end
        if told then rows[#rows + 1] = cells end
    end
    return table.concat(units.align(rows, {true}), "\n") .. "\n"
end

--- `bytepool simulate [--policy NAME] [--hold N] CONFIG... TRACE`
---@param bytepool table
---@param arguments table
---@param out fun(text: string)
---@return string? complaint
---@return boolean? usage whether the arguments are wrong
function simulate.run(bytepool, arguments, out)
    if #arguments.files == 0 then return "missing argument 'TRACE'", true end
    local wanted, wrong = read_options(arguments)
    if not wanted then return wrong, true end
    local steps, fault = require("bytepool.cli.trace").steps(arguments.files[#arguments.files], arguments.format)
    if not steps then return fault end
    local columns, why, usage = columns_of(bytepool, arguments, steps, wanted.limits)
    if not columns then return why, usage end
    for _, column in ipairs(columns) do
        column.figures = require("bytepool.simulate.run")(column.config, steps, wanted.hold)
    end
    out(text_of(columns))
end

return simulate
