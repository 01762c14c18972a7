--- Request sizes out of a file: sizes on lines, a snapshot, or an nginx access log.
--
-- Since 0.1.0.
-- @module bytepool.cli.trace

local core = require "bytepool.core"
local lines = require "bytepool.simulate.lines"
local options = require "bytepool.options"
local samples = require "bytepool.policy.samples"
local size = require "bytepool.size"

local trace = {}

local MAX_SIZE, MAX_COUNT = core.max_size, 2 ^ 53
local MOST_FAULTS = 10 -- lines that are named; the others are counted

local function to_size(word)
    local bytes = size.parse(word)
    return bytes and bytes <= MAX_SIZE and bytes or nil
end

-- Each reader of a line returns a size and a count; or nil and what is wrong; or nothing where the line
-- asks for no buffer.
local readers = {}

function readers.sizes(line)
    local kind, what, count = lines.read(line)
    if kind == "size" then return what, count end
    if kind == "get" then return what, 1 end
    if not kind then return nil, what end
end

-- The "combined" format. A response without a body asks for no buffer.
function readers.nginx(line)
    if line:find("^%s*$") then return end
    local bytes, rest = line:match('%[[^%]]*%] "[^"]*" %d%d%d (%d+)(.?)')
    bytes = bytes and (rest == "" or rest == " ") and to_size(bytes)
    if not bytes then return nil, "is not in nginx's combined format: " .. options.quote(line) end
    if bytes > 0 then return bytes, 1 end
end

local function add_fault(faults, place, number, fault)
    faults.count = faults.count + 1
    if #faults < MOST_FAULTS then faults[#faults + 1] = ("%s:%d: %s"):format(place, number, fault) end
end

local function faults_text(faults)
    if faults.count > #faults then
        faults[#faults + 1] = ("and %d more lines"):format(faults.count - #faults)
    end
    return table.concat(faults, "\n")
end

-- A file by lines, with all their bytes: of a line with a NUL, "*l" gives a part on LuaJIT and Lua 5.1.
local reader = {}
reader.__index = reader

local BLOCK = 65536

-- nil at the end, and where it fails nil and what file.read says.
function reader:line()
    while true do
        local stop = self.text:find("\n", self.at, true)
        if stop then
            local line = self.text:sub(self.at, stop - 1)
            self.at = stop + 1
            return (line:gsub("\r$", ""))
        end
        local rest = self.text:sub(self.at)
        local more, fault = self.file:read(math.max(BLOCK, #rest))
        self.text, self.at = more and rest .. more or "", 1
        if not more then return not fault and rest ~= "" and rest:gsub("\r$", "") or nil, fault end
    end
end

-- The first one, without a byte order mark.
function reader:first_line()
    local line, fault = self:line()
    return line and line:gsub("^\239\187\191", ""), fault
end

function reader:rest() return self.text:sub(self.at) .. (self.file:read("*a") or "") end

-- From `line` on; take(line) returns what is wrong with it.
local function read_lines(file, place, line, take)
    local faults, number, fault = {count = 0}, 0, nil
    while line do
        number = number + 1
        local wrong = take(line)
        if wrong then add_fault(faults, place, number, wrong) end
        line, fault = file:line()
    end
    if fault then return nil, ("%s: %s"):format(place, fault) end
    if faults.count > 0 then return nil, faults_text(faults) end
    return true
end

local function count_lines(file, place, line, read)
    local counts = {}
    local done, fault = read_lines(file, place, line, function(text)
        local bytes, count = read(text)
        if not bytes then return count end
        counts[bytes] = (counts[bytes] or 0) + count
    end)
    if not done then return nil, fault end
    if next(counts) == nil then return nil, place .. ": no request is in it" end
    return counts
end

-- The counts of all pools in a snapshot, and the tiers of its only pool.
local function of_snapshots(report, place, text)
    local snapshot, fault = report.load(text)
    if not snapshot then return nil, ("%s: %s"):format(place, fault) end
    local list = require("bytepool.report.pools").list(snapshot)
    local counts, tiers = {}, nil
    for _, entry in ipairs(list) do
        for _, bucket in ipairs(entry.snapshot.histogram or {}) do
            if bucket.count > 0 then counts[bucket.le] = (counts[bucket.le] or 0) + bucket.count end
        end
        tiers = require("bytepool.report.units").sizes(entry.snapshot.pools)
    end
    if #list > 1 then tiers = nil end
    return counts, nil, tiers
end

local function open(name)
    if name == "-" then return io.stdin, "standard input" end
    local file, fault = io.open(name, "rb")
    return file, file and name or fault -- the system's message begins with the name
end

local function with_file(name, fn)
    local file, place = open(name)
    if not file then return nil, place end
    local counts, fault, tiers = fn(setmetatable({file = file, text = "", at = 1}, reader), place)
    if name ~= "-" then file:close() end
    return counts, fault, tiers
end

local function is_json(line) return line ~= nil and line:find("^%s*{") ~= nil end

---@class bytepool.cli.Trace
---@field samples bytepool.policy.Samples
---@field tiers? integer[] of the pool that the snapshot is of
---@field bounds boolean whether the sizes are bounds of a histogram's buckets

--- Reads a trace.
---@param report table bytepool.report
---@param name string a file, or - for standard input
---@param format "sizes"|"nginx" of lines; a snapshot is told by its first character
---@return bytepool.cli.Trace|nil
---@return string? message with the place and the line in front
function trace.read(report, name, format)
    local bounds, called
    local counts, fault, tiers = with_file(name, function(file, place)
        called = place
        local line, why = file:first_line()
        if why then return nil, ("%s: %s"):format(place, why) end
        bounds = format == "sizes" and is_json(line)
        if bounds then return of_snapshots(report, place, line .. "\n" .. file:rest()) end
        return count_lines(file, place, line, readers[format])
    end)
    if not counts then return nil, fault end
    for at, count in pairs(counts) do
        if not (options.is_whole(at, 0, MAX_SIZE) and options.is_whole(count, 1, MAX_COUNT)) then
            return nil, ("%s: its histogram has the bound %s and the count %s"):format(called, options.show(at),
                options.show(count))
        end
    end
    if next(counts) == nil then return nil, called .. ": no request is in it" end
    return {samples = samples.of_counts(counts), tiers = tiers, bounds = bounds}
end

--- Reads a trace in its order, see simulate.lines.
---@param name string a file, or - for standard input
---@param format "sizes"|"nginx" of lines
---@return bytepool.simulate.Trace|nil
---@return string? message with the place and the line in front
function trace.steps(name, format)
    return with_file(name, function(file, place)
        local line, why = file:first_line()
        if why then return nil, ("%s: %s"):format(place, why) end
        if format == "sizes" and is_json(line) then
            return nil, place .. ": a snapshot does not tell the order of its requests"
        end
        local steps = lines.new()
        local done, fault = read_lines(file, place, line, function(text)
            if format == "sizes" then return lines.add(steps, text) end
            local bytes, wrong = readers[format](text)
            if not bytes then return wrong end
            return lines.add_size(steps, bytes, 1)
        end)
        if not done then return nil, fault end
        if steps.gets == 0 then return nil, place .. ": no request is in it" end
        return steps
    end)
end

--- Tiers out of a file: sizes on lines, in any order, or a snapshot of one pool.
---@param report table bytepool.report
---@param name string
---@return integer[]|nil sizes rising
---@return string? message
function trace.tiers(report, name)
    local counts, fault, tiers = with_file(name, function(file, place)
        local line, why = file:first_line()
        if why then return nil, ("%s: %s"):format(place, why) end
        if not is_json(line) then return count_lines(file, place, line, readers.sizes) end
        local found, message, of_pool = of_snapshots(report, place, line .. "\n" .. file:rest())
        if found and not of_pool then return nil, place .. ": more than one pool's snapshot is in it" end
        return found, message, of_pool
    end)
    if not counts then return nil, fault end
    local checked, wrong = require("bytepool.tiers").list(tiers or samples.of_counts(counts).sizes, nil, "tiers")
    if not checked then return nil, ("%s: %s"):format(name, wrong) end
    return checked
end

return trace
