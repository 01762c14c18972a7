--- How reports write numbers and strings.
--
-- Since 0.1.0.
-- @module bytepool.report.units

local buckets = require "bytepool.buckets"
local options = require "bytepool.options"

local units = {}

local LAST_DATE = 253402300799 -- the end of the year 9999
local NAMES = {"KiB", "MiB", "GiB", "TiB"}

-- A host may have set a locale with a decimal comma.
local function point(text)
    return (text:gsub(",", "."))
end

--- For people: whole numbers in full, others with two decimals.
---@param n number
---@return string
function units.count(n)
    return n % 1 == 0 and ("%.0f"):format(n) or point(("%.2f"):format(n))
end

--- For programs: the shortest text that reads back as n. As a float, so that all Luas write the same
-- above 2^53.
---@param n number
---@return string
function units.number(n)
    return point(options.show(n + 0.0))
end

--- "3.0 MiB", or nil below 1 KiB.
---@param n number bytes
---@return string|nil
function units.rounded(n)
    local unit, scaled = nil, n
    for i = 1, #NAMES do
        if scaled < 1024 then break end
        unit, scaled = NAMES[i], scaled / 1024
    end
    return unit and point(("%.1f %s"):format(scaled, unit))
end

--- "3145728 (3.0 MiB)": exact for comparing, rounded for reading.
---@param n number bytes
---@return string
function units.bytes(n)
    local rounded = units.rounded(n)
    return rounded and ("%s (%s)"):format(units.count(n), rounded) or units.count(n)
end

--- "18.667 %".
---@param ratio number
---@return string
function units.percent(ratio)
    return point(("%.3f %%"):format(ratio * 100))
end

--- "3723 s (1 h 2 min)".
---@param n number seconds
---@return string
function units.seconds(n)
    local text = units.count(n) .. " s"
    if n < 60 or n > LAST_DATE then return text end
    local minutes = math.floor(n / 60)
    local hours = math.floor(minutes / 60)
    local days = math.floor(hours / 24)
    if days > 0 then return ("%s (%.0f d %.0f h)"):format(text, days, hours % 24) end
    if hours > 0 then return ("%s (%.0f h %.0f min)"):format(text, hours, minutes % 60) end
    return ("%s (%.0f min)"):format(text, minutes)
end

--- A point of time in UTC, whatever the machine's zone is.
---@param n number unix seconds
---@return string
function units.date(n)
    if n < 0 or n > LAST_DATE then return units.count(n) end
    return os.date("!%Y-%m-%d %H:%M:%S UTC", math.floor(n))
end

--- The keys of snapshot.pools, rising.
---@param pools table<integer, table>
---@return integer[]
function units.sizes(pools)
    local sizes = {}
    for size in pairs(pools) do sizes[#sizes + 1] = size end
    table.sort(sizes)
    return sizes
end

--- Those of the names that a tier has a figure of.
---@param pools table<integer, table>
---@param names string[]
---@return string[] columns in the order of names
function units.columns(pools, names)
    local shown = {}
    for _, name in ipairs(names) do
        for _, tier in pairs(pools) do
            if tier[name] then
                shown[#shown + 1] = name
                break
            end
        end
    end
    return shown
end

--- A histogram with at most one bucket for each power of two, and the bounds it had: some hundreds
-- are too many to read.
---@param histogram {le: number, count: number}[]
---@return {le: number, count: number}[]
function units.octaves(histogram)
    local merged, bound = {}, 0
    for _, bucket in ipairs(histogram) do
        local last = merged[#merged]
        if last and bucket.le <= bound then
            last.le, last.count = bucket.le, last.count + bucket.count
        else
            bound = buckets.upper(bucket.le, 1)
            merged[#merged + 1] = {le = bucket.le, count = bucket.count}
        end
    end
    return merged
end

--- Rows of strings as lines, right-aligned; the columns in `left` are left-aligned. No line ends with blanks.
---@param rows string[][]
---@param left? table<integer, boolean>
---@return string[] lines
function units.align(rows, left)
    local widths, lines = {}, {}
    for _, row in ipairs(rows) do
        for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, #cell) end
    end
    for _, row in ipairs(rows) do
        local cells = {}
        for i, cell in ipairs(row) do
            local space = (" "):rep(widths[i] - #cell)
            cells[i] = left and left[i] and cell .. space or space .. cell
        end
        lines[#lines + 1] = (table.concat(cells, "  "):gsub(" +$", ""))
    end
    return lines
end

-- The well-formed sequences of UTF-8, after RFC 3629.
local SEQUENCES = {
    "^[\194-\223][\128-\191]",
    "^\224[\160-\191][\128-\191]",
    "^[\225-\236\238\239][\128-\191][\128-\191]",
    "^\237[\128-\159][\128-\191]",
    "^\240[\144-\191][\128-\191][\128-\191]",
    "^[\241-\243][\128-\191][\128-\191][\128-\191]",
    "^\244[\128-\143][\128-\191][\128-\191]",
}

local function sequence_end(s, i)
    for _, pattern in ipairs(SEQUENCES) do
        local _, last = s:find(pattern, i)
        if last then return last end
    end
end

local function hex(c)
    return ("\\x%02x"):format(c:byte())
end

--- A string that every format can carry: bytes that are no UTF-8, and control characters other
-- than tab and line break, written as \xHH.
---@param s string
---@return string
function units.clean(s)
    if s:find("[%c\128-\255]") == nil then return s end
    local pieces, i = {}, 1
    while i <= #s do
        local _, last = s:find("^[^%c\128-\255]+", i)
        last = last or sequence_end(s, i)
        if last then
            pieces[#pieces + 1] = s:sub(i, last)
            i = last + 1
        else
            local c = s:sub(i, i)
            pieces[#pieces + 1] = (c == "\t" or c == "\n") and c or hex(c)
            i = i + 1
        end
    end
    return table.concat(pieces)
end

--- The same on one line.
---@param s string cleaned
---@return string
function units.one_line(s)
    return (s:gsub("[\t\n]", {["\t"] = "\\t", ["\n"] = "\\n"}))
end

return units
