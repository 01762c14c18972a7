--- The commands `bytepool stats` and `bytepool report`.
--
-- Since 0.1.0.
-- @module bytepool.cli.reports

local source = require "bytepool.cli.source"

local commands = {}

local DEFAULT_SECONDS, MOST_SECONDS = 2, 86400
local CLEAR = "\27[H\27[2J"

-- os.execute: Lua 5.1 returns the status, later ones true or nil first.
local function succeeds(command)
    local status = os.execute(command)
    return status == true or status == 0
end

-- Whether it went on for so long; not where the user interrupted it.
local function sleep(seconds)
    local found, socket = pcall(require, "socket")
    if found then
        socket.sleep(seconds)
        return true
    end
    return succeeds(("sleep %.3f"):format(seconds):gsub(",", "."))
end

local function now()
    local found, socket = pcall(require, "socket")
    return found and socket.gettime() or os.time()
end

-- Rates where they can be told: not of a file that nobody wrote meanwhile, nor of other pools.
local function rates_of(report, new, old, seconds)
    if not old or seconds <= 0 then return nil end
    local told, rates = pcall(report.rates, new, old, seconds)
    return told and rates or nil
end

local function draw(report, snapshot, rates, place, clear, out)
    local text = report.text(snapshot, rates)
    out(("%s%s\n"):format(clear and CLEAR or "", text))
    if clear then out(("\n%s, %s\n"):format(place, os.date("%Y-%m-%d %H:%M:%S"))) else out("\n") end
end

local function watch(report, place, seconds, count, clear, out)
    local before, before_at
    local drawn = 0
    while true do
        local at = now()
        local snapshot, message = source.load(report, place)
        if not snapshot then return message end
        draw(report, snapshot, rates_of(report, snapshot, before, at - (before_at or at)), place, clear, out)
        io.stdout:flush()
        drawn = drawn + 1
        if drawn == count then return end
        before, before_at = snapshot, at
        if not sleep(seconds) then return end
    end
end

local function positive(value, most)
    local number = tonumber(value)
    return number and number > 0 and number <= most and number or nil
end

--- `bytepool stats FILE|URL [--watch [SECONDS]] [--count N]`
---@param bytepool table
---@param arguments table
---@param out fun(text: string)
---@return string? complaint
---@return boolean? usage whether the arguments are wrong
function commands.stats(bytepool, arguments, out)
    local report, place = bytepool.report, arguments.source
    if not place then return "missing argument 'FILE|URL'", true end
    if not arguments.watch then
        if arguments.count then return "--count goes with --watch", true end
        local snapshot, message = source.load(report, place)
        if not snapshot then return message end
        out(report.text(snapshot) .. "\n")
        return
    end
    local given = type(arguments.watch) == "table" and arguments.watch[1] or arguments.watch
    local seconds = type(given) == "string" and positive(given, MOST_SECONDS) or DEFAULT_SECONDS
    if type(given) == "string" and not positive(given, MOST_SECONDS) then
        return ("--watch takes seconds from 0 to %d, got '%s'"):format(MOST_SECONDS, given), true
    end
    local count = arguments.count and positive(arguments.count, 2 ^ 53)
    if arguments.count and not (count and count % 1 == 0) then
        return ("--count takes a whole number above 0, got '%s'"):format(arguments.count), true
    end
    if place == "-" then return "--watch can not read standard input again", true end
    local clear = arguments.is_stdout and succeeds("test -t 1")
    local ran, complaint = pcall(watch, report, place, seconds, count, clear, out)
    -- Ctrl-C is how a watch ends.
    if not ran and not tostring(complaint):find("interrupted!", 1, true) then error(complaint, 0) end
    if ran then return complaint end
end

--- `bytepool report --format FORMAT FILE`
---@param bytepool table
---@param arguments table
---@param out fun(text: string)
---@return string? complaint
---@return boolean? usage
function commands.report(bytepool, arguments, out)
    local report = bytepool.report
    if not arguments.source then return "missing argument 'FILE'", true end
    local snapshot, message = source.load(report, arguments.source)
    if not snapshot then return message end
    local text = report.render(arguments.format, snapshot)
    out(text:sub(-1) == "\n" and text or text .. "\n")
end

return commands
