--- The lines of a trace: sizes in their order, with how long each buffer stays out where the trace says so.
--
--     512              a buffer of 512 bytes
--     64KiB 3          three of them
--     4096 @10         one that stays out during the ten gets after it
--     4096 3 @10       three of these
--     get a7 4096      one that is out until
--     put a7           this line
--     time 1.5         seconds since some point; they do not fall
--     trim             a call of pool:trim()
--     # a comment
--
-- Without `@` a buffer stays out as long as whoever reads the trace says. Where buffers go back between
-- two gets, those that were got earlier go first.
--
-- Since 0.1.0.
-- @module bytepool.simulate.lines

local options = require "bytepool.options"
local size = require "bytepool.size"

local lines = {}

local MAX_SIZE, MOST = 2 ^ 40, 2 ^ 53
local MOST_GETS = 1000000000 -- minutes on LuaJIT

---@alias bytepool.simulate.Kind "size"|"get"|"put"|"time"|"trim"

local function to_size(word)
    local bytes = size.parse(word)
    return bytes and bytes <= MAX_SIZE and bytes or nil
end

local function to_whole(word, least)
    local number = word:find("^%d+$") and tonumber(word)
    return number and options.is_whole(number, least, MOST) and number or nil
end

-- Each takes the words behind the first and the line.
local readers = {}

function readers.get(id, word, rest, line)
    local bytes = rest == "" and to_size(word)
    if not bytes then return nil, "must be 'get', a name and a size, got " .. options.quote(line) end
    return "get", bytes, id
end

function readers.put(id, word, rest, line)
    if id == "" or word ~= "" or rest ~= "" then
        return nil, "must be 'put' and a name, got " .. options.quote(line)
    end
    return "put", id
end

function readers.time(word, more, rest, line)
    local seconds = word:find("^%d+%.?%d*$") and more == "" and rest == "" and tonumber(word)
    if not seconds or seconds > MOST then
        return nil, "must be 'time' and a number of seconds, got " .. options.quote(line)
    end
    return "time", seconds
end

function readers.trim(word, _, _, line)
    if word ~= "" then return nil, "must be 'trim' alone, got " .. options.quote(line) end
    return "trim"
end

local function read_size(first, count, hold, rest, line)
    if hold == "" and count:sub(1, 1) == "@" then count, hold = "", count end
    local bytes = rest == "" and (hold == "" or hold:sub(1, 1) == "@") and to_size(first)
    if not bytes then return nil, "must be a size, or a size and a count, got " .. options.quote(line) end
    local times = count == "" and 1 or to_whole(count, 1)
    if not times then
        return nil, "the count must be a whole number of at least 1, got " .. options.quote(count)
    end
    if hold == "" then return "size", bytes, times end
    local gets = to_whole(hold:sub(2), 0)
    if not gets then return nil, "behind '@' must be a whole number, got " .. options.quote(hold) end
    return "size", bytes, times, gets
end

--- Reads a line.
---@param line string
---@return bytepool.simulate.Kind|nil kind nil where nothing is in it, or where it is wrong
---@return integer|string|number|nil what size: bytes; get: bytes; put: name; time: seconds; wrong: what is
---@return integer|string|nil more size: how many; get: name
---@return integer|nil hold size: during how many gets it stays out
function lines.read(line)
    local first, second, third, rest = line:match("^%s*(%S*)%s*(%S*)%s*(%S*)%s*(.-)%s*$")
    if first == "" or first:sub(1, 1) == "#" then return nil end
    local reader = readers[first]
    if reader then return reader(second, third, rest, line) end
    return read_size(first, second, third, rest, line)
end

-- ---- a trace -------------------------------------------------------------------------

--- What to replay: parallel arrays. `count` is of entries, `gets` of buffers.
---@class bytepool.simulate.Trace
---@field count integer
---@field gets number
---@field kinds bytepool.simulate.Kind[]
---@field sizes (integer|number|false)[] of a time its seconds
---@field times (integer|false)[]
---@field holds (integer|false)[]
---@field names (string|false)[]

---@return bytepool.simulate.Trace
function lines.new()
    return {count = 0, gets = 0, kinds = {}, sizes = {}, times = {}, holds = {}, names = {}, out = {}, time = 0}
end

local function append(trace, kind, bytes, times, hold, name)
    local i = trace.count + 1
    trace.count = i
    trace.kinds[i], trace.sizes[i], trace.times[i] = kind, bytes, times
    trace.holds[i], trace.names[i] = hold, name
end

local function count_gets(trace, times)
    trace.gets = trace.gets + times
    if trace.gets > MOST_GETS then return ("the trace has more than %d gets"):format(MOST_GETS) end
end

--- Appends buffers of a size that was looked at.
---@return string|nil fault
function lines.add_size(trace, bytes, times, hold)
    local fault = count_gets(trace, times)
    if fault then return fault end
    append(trace, "size", bytes, times, hold or false, false)
end

local adders = {size = lines.add_size}

function adders.get(trace, bytes, name)
    if trace.out[name] then return options.quote(name) .. " is out already" end
    trace.out[name] = true
    append(trace, "get", bytes, false, false, name)
    return count_gets(trace, 1)
end

function adders.put(trace, name)
    if not trace.out[name] then return options.quote(name) .. " is not out" end
    trace.out[name] = nil
    append(trace, "put", false, false, false, name)
end

function adders.time(trace, seconds)
    if seconds < trace.time then
        return ("the time %s is before %s"):format(options.show(seconds), options.show(trace.time))
    end
    trace.time = seconds
    append(trace, "time", seconds, false, false, false)
end

function adders.trim(trace) append(trace, "trim", false, false, false, false) end

--- Appends what a line says.
---@param trace bytepool.simulate.Trace
---@param line string
---@return string|nil fault
function lines.add(trace, line)
    local kind, what, more, hold = lines.read(line)
    if kind then return adders[kind](trace, what, more, hold) end
    return what
end

--- The trace of an array of sizes and lines.
---@param given any
---@return bytepool.simulate.Trace|nil
---@return string? message without the method's name
function lines.of_array(given)
    if type(given) ~= "table" then
        return nil, ("argument 'trace' must be a table, got %s"):format(options.show(given))
    end
    local trace = lines.new()
    for i = 1, #given do
        local entry, fault = given[i]
        if type(entry) == "string" then
            fault = lines.add(trace, entry)
        elseif options.is_whole(entry, 0, MAX_SIZE) then
            fault = lines.add_size(trace, entry, 1)
        else
            fault = ("must be a whole number from 0 to %s or a line, got %s"):format(options.show(MAX_SIZE),
                options.show(entry))
        end
        if fault then return nil, ("trace[%d]: %s"):format(i, fault) end
    end
    if trace.gets == 0 then return nil, "argument 'trace' has no request in it" end
    return trace
end

return lines
