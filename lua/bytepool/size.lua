--- Sizes in bytes as people write them: 65536 or "64KiB". The one place that reads them.
--
-- Since 0.1.0.
-- @module bytepool.size

local size = {}

local UNITS = {[""] = 1, B = 1, KiB = 2 ^ 10, MiB = 2 ^ 20, GiB = 2 ^ 30, TiB = 2 ^ 40}
local LARGEST = 2 ^ 53 -- whole numbers up to here are exact on every Lua
local LONGEST = 15     -- digits, of which all numbers are below that

local to_integer = require("bytepool.compat").to_integer

--- What to say of a string that is no size.
size.EXPECTED = 'a number of bytes or a string with a unit, B, KiB, MiB, GiB or TiB, such as "64KiB"'

--- The bytes of a string: digits, then B, KiB, MiB, GiB, TiB or nothing. KB and K are refused, because
--- they mean 1000 to some and 1024 to others.
---@param text string
---@return integer|nil bytes nil for any other text, and above 2^53
function size.parse(text)
    local digits, unit = text:match("^(%d+)(%a*)$")
    local factor = unit and UNITS[unit]
    if not factor then return nil end
    digits = digits:gsub("^0+(%d)", "%1")
    if #digits > LONGEST then return nil end
    local number = tonumber(digits)
    if number > LARGEST / factor then return nil end
    number = number * factor
    return to_integer(number) or number
end

--- Bytes of a string with a unit. All else is returned as it is, for a check to look at; so are strings of
--- digits alone, as Lua programs have numbers for these.
---@param value any
---@return any
function size.of(value)
    if type(value) ~= "string" or value:find("^%d*$") then return value end
    local bytes = size.parse(value)
    if bytes then return bytes end
    return value
end

return size
