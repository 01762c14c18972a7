--- Times as people write them: 1.5 seconds or "500ms". The one place that reads them.
--
-- Since 0.1.0.
-- @module bytepool.duration

local duration = {}

local UNITS = {ms = 0.001, s = 1, min = 60, h = 3600}
local LONGEST = 15 -- digits

--- What to say of a string that is no time.
duration.EXPECTED = 'seconds as a number or a string with a unit, ms, s, min or h, such as "10s"'

--- The seconds of a string: digits, a fraction or none, then ms, s, min or h.
---@param text string
---@return number|nil seconds nil for any other text
function duration.parse(text)
    local digits, unit = text:match("^(%d+%.?%d*)(%l+)$")
    local factor = unit and UNITS[unit]
    if not factor or digits:sub(-1) == "." or #digits > LONGEST then return nil end
    return tonumber(digits) * factor
end

--- Seconds of a string with a unit. All else is returned as it is, for a check to look at.
---@param value any
---@return any
function duration.of(value)
    if type(value) ~= "string" then return value end
    return duration.parse(value) or value
end

return duration
