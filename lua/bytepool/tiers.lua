--- Tier tables: what new_pools, the policies and the command take for one, looked through and copied.
--
-- An array of sizes is one. An entry may be a table {size =, max_idle =, max_bytes =, max_waste =}, a size with
-- limits of its own. So is a policy: a function that returns an array, or a table with a
-- function `sizes` that does, called as policy:sizes().
--
-- Since 0.1.0.
-- @module bytepool.tiers

local core = require "bytepool.core"
local options = require "bytepool.options"
local schema = require "bytepool.config.schema"
local size = require "bytepool.size"

local tiers = {}

local MAX_SIZE, MAX_TIERS = core.max_size, core.max_tiers

local to_integer = rawget(math, "tointeger") or function(v) return v end

--- The most that a policy may give to another that chooses among them (policy.cap).
tiers.MOST = 4096

-- Size and limits of an entry that is a table; nil and what is wrong.
local function read_entry(given, path)
    local faults = {}
    local entry = options.walk(given, schema.entry, path, faults, 1)
    local fault = faults[1]
    if not fault then return entry.size, entry end
    if fault.kind == "unknown" then
        return nil, ("%s is unknown (known: %s)"):format(fault.path, table.concat(fault.known, ", "))
    elseif fault.kind == "missing" then
        return nil, fault.path .. " is missing"
    end
    return nil, ("%s must be %s, got %s"):format(fault.path, fault.expected, fault.got)
end

local function read_size(given, path)
    local bytes = size.of(given)
    if options.is_whole(bytes, 1, MAX_SIZE) then return bytes end
    local must = "a whole number from 1 to " .. options.show(MAX_SIZE)
    if type(bytes) == "string" then must = size.EXPECTED end
    return nil, ("%s must be %s, got %s"):format(path, must, options.show(given, true))
end

-- A plain copy. What is used is the copy: the table may be a proxy that answers differently the
-- next time. `whole` is what a message calls the array, `part` its entries.
local function copy_array(array, most, whole, part)
    local count = type(array) == "table" and #array or 0
    if count < 1 or count > most then
        return nil, ("%s must be an array of 1 to %d sizes%s, got %s"):format(whole, most,
            part == "sizes" and " or a policy" or "",
            type(array) == "table" and options.show(count) or type(array))
    end
    local copy, limits = {}, {}
    for i = 1, count do
        local given = array[i]
        local read = type(given) == "table" and read_entry or read_size
        local bytes, entry = read(given, ("%s[%d]"):format(part, i))
        if not bytes then return nil, entry end
        if i > 1 and bytes <= copy[i - 1] then
            return nil, ("%s[%d] is %s, not above %s[%d], %s"):format(part, i, options.show(bytes), part, i - 1,
                options.show(copy[i - 1]))
        end
        copy[i] = to_integer(bytes)
        if entry then
            entry.size = copy[i]
            if next(entry, next(entry)) ~= nil then limits[copy[i]] = entry end
        end
    end
    for key in pairs(array) do
        if not options.is_whole(key, 1, count) then
            return nil, ("%s must be an array, got the key %s"):format(whole, tostring(key))
        end
    end
    return copy, limits
end

--- Sizes with their limits, as one array.
---@param sizes integer[]
---@param limits table<integer, table>
---@return (integer|table)[] list its entries that are tables are new ones
function tiers.join(sizes, limits)
    local list = {}
    for i, bytes in ipairs(sizes) do
        local entry = limits[bytes]
        list[i] = entry and {size = bytes, max_idle = entry.max_idle, max_bytes = entry.max_bytes,
            max_waste = entry.max_waste} or bytes
    end
    return list
end

-- The function of a policy, or nil for all else. A table with entries is an array, whatever its
-- metatable makes of the name.
local function run_of(given)
    if type(given) == "function" then return given end
    if type(given) ~= "table" or rawget(given, 1) ~= nil or #given > 0 then return nil end
    local sizes = given.sizes
    return type(sizes) == "function" and sizes or nil
end

--- Whether a value is a policy.
---@param value any
---@return boolean
function tiers.is_policy(value)
    return run_of(value) ~= nil
end

--- The sizes of an array or a policy, which runs: what it raises passes through.
---@param given any
---@param most? integer how many there may be (default: as many as a pool takes)
---@param argument? string what a message calls an array (default: sizes)
---@return integer[]|nil sizes a new table, strictly rising
---@return table<integer, table>|string limits of those that have some, by size: {size =, max_idle =, ...}; or a
--- message without the method's name
function tiers.list(given, most, argument)
    local run = run_of(given)
    argument = argument or "sizes"
    if not run then return copy_array(given, most or MAX_TIERS, ("argument '%s'"):format(argument), argument) end
    return copy_array(run(given), most or MAX_TIERS, "what the policy returned", "the policy's sizes")
end

return tiers
