--- The command `bytepool suggest`: the tiers that waste least for a trace, beside others.
--
-- Since 0.1.0.
-- @module bytepool.cli.suggest

local units = require "bytepool.report.units"

local suggest = {}

local count, percent = units.count, units.percent

--- Options and arguments of the command, for argparse.
---@param command table
function suggest.define(command)
    command:option("--tiers", "How many tiers at most, 1 to 64."):argname("N")
    command:option("--max-waste", "Find the fewest tiers, up to N, that waste at most P percent."):argname("P")
        :target("max_waste")
    command:option("--align", "Make all tiers multiples of a size, such as 64."):argname("SIZE")
    command:option("--format", "Of lines: sizes (a size, or a size and a count) or nginx (combined access log).")
        :argname("FORMAT"):choices({"sizes", "nginx"}):default("sizes")
    command:option("--tiers-of", "Compare with these tiers: a file of sizes, or a snapshot. May be repeated.")
        :argname("FILE"):target("tiers_of"):count("*")
    command:option("--svg", "Draw the sizes and the tiers into a file."):argname("FILE")
    command:argument("trace", "Sizes on lines, a file of report.dump or report.expvar, a log, or - for standard input.")
        :argname("TRACE"):args("?")
end

local function aligned(rows) return table.concat(units.align(rows, {true}), "\n") end

local function comparison(list)
    local rows = {{"", "tiers", "waste", "waste bytes", "hits", "above the largest"}}
    for _, entry in ipairs(list) do
        local p = entry.prediction
        rows[#rows + 1] = {entry.name, count(#p.tiers), percent(p.waste), count(p.waste_bytes), percent(p.hits),
            count(p.discarded)}
    end
    return aligned(rows)
end

local function tier_table(prediction)
    local rows = {{"size", "requests", "share", "waste bytes", "waste"}}
    for _, tier in ipairs(prediction.tiers) do
        rows[#rows + 1] = {count(tier.size), count(tier.requests), percent(tier.requests / prediction.requests),
            count(tier.waste_bytes), percent(tier.asked_bytes > 0 and tier.waste_bytes / tier.asked_bytes or 0)}
    end
    return aligned(rows)
end

local function counted(n, noun) return ("%s %s%s"):format(count(n), noun, n == 1 and "" or "s") end

local function text_of(trace, list)
    local samples, suggested = trace.samples, list[#list].prediction
    local sizes = {}
    for i, tier in ipairs(suggested.tiers) do sizes[i] = count(tier.size) end
    return table.concat({
        ("%s, %s from %s to %s, %s bytes asked for%s\n"):format(counted(samples.requests, "request"),
            counted(#samples.sizes, "size"), count(samples.sizes[1]),
            count(samples.sizes[#samples.sizes]), units.bytes(samples.asked_bytes),
            trace.bounds and "\nSizes are the bounds of a histogram's buckets: a request is at most so long." or ""),
        comparison(list),
        "\nThe suggested tiers\n",
        tier_table(suggested),
        "\nhits: where each buffer goes back before the next get, all but the first of each tier",
        ("bytepool.new_pools{%s}"):format(table.concat(sizes, ", ")),
    }, "\n") .. "\n"
end

-- Numbers of the arguments, or nil and what is wrong.
local function numbers_of(bytepool, arguments)
    local options, size = require "bytepool.options", require "bytepool.size"
    local n = arguments.tiers:find("^%d+$") and tonumber(arguments.tiers)
    if not n or not options.is_whole(n, 1, 64) then
        return nil, ("--tiers takes a whole number from 1 to 64, got '%s'"):format(arguments.tiers)
    end
    local given, waste = arguments.max_waste, nil
    if given then
        waste = tonumber((given:gsub("%%$", "")))
        if not waste or not (waste >= 0 and waste < math.huge) then
            return nil, ("--max-waste takes a percentage of at least 0, got '%s'"):format(given)
        end
    end
    local align = size.parse(arguments.align or "1")
    if not align or align < 1 or align > 2 ^ 30 then
        return nil, ("--align takes a size from 1 to 1GiB, got '%s'"):format(arguments.align)
    end
    return {tiers = n, align = align, max_waste = waste and waste / 100, policy = bytepool.policy}
end

-- What there is to compare with: the tiers of files, else of the snapshot's pool, else the default.
local function present(bytepool, arguments, trace)
    local list = {}
    for _, name in ipairs(arguments.tiers_of or {}) do
        local tiers, fault = require("bytepool.cli.trace").tiers(bytepool.report, name)
        if not tiers then return nil, fault end
        list[#list + 1] = {name = name, tiers = tiers}
    end
    if #list == 0 and trace.tiers then list[1] = {name = "present", tiers = trace.tiers} end
    if #list == 0 then list[1] = {name = "power_of_two", tiers = bytepool.size_power_of_two()} end
    return list
end

local function write(path, text)
    local file, fault = io.open(path, "wb")
    if not file then return fault end
    local written, why = file:write(text)
    local closed, late = file:close()
    if not written or not closed then return ("%s: %s"):format(path, why or late) end
end

--- `bytepool suggest --tiers N [--max-waste P] [--svg FILE] TRACE`
---@param bytepool table
---@param arguments table
---@param out fun(text: string)
---@return string? complaint
---@return boolean? usage whether the arguments are wrong
function suggest.run(bytepool, arguments, out)
    if not arguments.trace then return "missing argument 'TRACE'", true end
    if not arguments.tiers then return "missing option '--tiers'", true end
    local wanted, wrong = numbers_of(bytepool, arguments)
    if not wanted then return wrong, true end
    local trace, fault = require("bytepool.cli.trace").read(bytepool.report, arguments.trace, arguments.format)
    if not trace then return fault end
    local list, why = present(bytepool, arguments, trace)
    if not list then return why end

    local predict = require "bytepool.policy.predict"
    local sizes = require("bytepool.policy.fit").best(trace.samples, wanted.tiers, wanted.align, wanted.max_waste)
    list[#list + 1] = {name = "suggested", tiers = sizes}
    for _, entry in ipairs(list) do entry.prediction = predict(trace.samples, entry.tiers) end
    local best = list[#list].prediction
    if wanted.max_waste and best.waste_bytes > best.asked_bytes * wanted.max_waste then
        return ("the best %d tiers waste %s, more than %s"):format(#sizes, percent(best.waste),
            percent(wanted.max_waste))
    end
    if arguments.svg then
        local picture = require("bytepool.cli.picture")(trace.samples, list)
        local complaint = write(arguments.svg, picture)
        if complaint then return complaint end
    end
    out(text_of(trace, list))
end

return suggest
