--- What a pool goes by, as one flat table that bytepool.core reads, and its other two shapes: the options of
--- new_pools and configs.
--
-- Private to bytepool.
--
-- Since 0.1.0.
-- @module bytepool.settings

local core = require "bytepool.core"
local options = require "bytepool.options"
local tiers = require "bytepool.tiers"

local settings = {}

--- tiers, max_idle, max_bytes, max_waste, decay, pressure, leaks, on_tick, adaptive; and what is fixed when a pool is
--- made: name, recent_size, exact, region_size, zero, debug. A limit that is nil is none.
---@class bytepool.settings.Flat: table<string, any>

local to_integer = rawget(math, "tointeger") or function(v) return v end
local DEFAULT_IDLE = to_integer(core.max_idle)

-- Keys of a flat table that a change can change, as a config calls them.
local LIMITS = {
    {"max_idle", "limits.idle"}, {"max_bytes", "limits.bytes"}, {"max_waste", "limits.waste"},
    {"decay", "limits.decay"}, {"pressure", "limits.pressure"},
}
local OTHERS = {{"leaks", "leaks"}, {"on_tick", "on_tick"}, {"adaptive", "adaptive"}}
local FIXED = {
    {"name", "name"}, {"recent_size", "recent.size"}, {"exact", "recent.mode"}, {"region_size", "region_size"},
    {"zero", "zero"}, {"debug", "debug"},
}

-- What is not said is the default.
local function complete(flat)
    flat.max_idle = flat.max_idle or DEFAULT_IDLE
    flat.decay = flat.decay or core.decay
    flat.leaks = flat.leaks or "off"
    if flat.pressure == nil then flat.pressure = "auto" end
    if flat.max_waste and flat.max_waste >= 1 then flat.max_waste = nil end
    return flat
end

--- Out of checked options of new_pools.
---@param list (integer|table)[]
---@param values table
---@return bytepool.settings.Flat
function settings.of_options(list, values)
    return complete {
        tiers = list, max_idle = values.max_idle, max_bytes = values.max_bytes, max_waste = values.max_waste,
        decay = values.decay, pressure = values.pressure, leaks = values.leaks, name = values.name,
        recent_size = values.recent.size, exact = values.recent.mode == "exact", region_size = values.region_size,
        zero = values.zero, debug = values.debug,
    }
end

--- Out of a checked config. What is fixed when a pool is made stays nil where the config does not say it.
---@param config bytepool.Config
---@return bytepool.settings.Flat
function settings.of_config(config)
    local limits, recent = config.limits or {}, config.recent or {}
    local exact
    if recent.mode then exact = recent.mode == "exact" end
    return complete {
        tiers = config.tiers, max_idle = limits.idle, max_bytes = limits.bytes, max_waste = limits.waste,
        decay = limits.decay, pressure = limits.pressure, leaks = config.leaks, on_tick = config.on_tick,
        adaptive = config.adaptive, name = config.name, recent_size = recent.size, exact = exact,
        region_size = config.region_size, zero = config.zero, debug = config.debug,
    }
end

local function copy_tiers(list)
    local copy = {}
    for i, entry in ipairs(list) do
        copy[i] = type(entry) == "table" and tiers.join({entry.size}, {[entry.size] = entry})[1] or entry
    end
    return copy
end

--- As a config that configure and new_pools take.
---@param flat bytepool.settings.Flat
---@return bytepool.Config
function settings.to_config(flat)
    return {
        name = flat.name ~= "" and flat.name or nil, tiers = copy_tiers(flat.tiers),
        limits = {idle = flat.max_idle, bytes = flat.max_bytes, waste = flat.max_waste, decay = flat.decay,
            pressure = flat.pressure},
        leaks = flat.leaks, recent = {size = flat.recent_size, mode = flat.exact and "exact" or "relaxed"},
        zero = flat.zero or false, debug = flat.debug, region_size = flat.region_size,
        on_tick = flat.on_tick, adaptive = flat.adaptive,
    }
end

--- The first fixed option that a change would have to change, as a message; nil where there is none.
---@param present bytepool.settings.Flat
---@param wanted bytepool.settings.Flat
---@return string|nil
function settings.fixed_fault(present, wanted)
    for _, key in ipairs(FIXED) do
        local is, given = present[key[1]], wanted[key[1]]
        if key[1] == "zero" then is = is or false end
        if given ~= nil and given ~= is then
            if key[1] == "exact" then
                is, given = is and "exact" or "relaxed", given and "exact" or "relaxed"
            end
            local function show(v) return type(v) == "boolean" and tostring(v) or options.show(v, true) end
            return ("%s: is fixed when a pool is made, and is %s, not %s"):format(key[2], show(is), show(given))
        end
    end
end

-- ---- differences ---------------------------------------------------------------

-- Functions and objects are told apart, and not shown.
local function shown(value)
    if type(value) == "function" then return "a function" end
    if type(value) == "table" then return "an object" end
    return value
end

local function compare(changed, key, from, to)
    if from ~= to then changed[key] = {from = shown(from), to = shown(to)} end
end

local function by_size(list)
    local map, sizes = {}, {}
    for i, entry in ipairs(list) do
        local bytes = type(entry) == "table" and entry.size or entry
        map[bytes], sizes[i] = type(entry) == "table" and entry or {}, bytes
    end
    return map, sizes
end

--- What is different in `to`: sizes of tiers that came, went and stayed, and other values by their config's key.
---@param from bytepool.settings.Flat
---@param to bytepool.settings.Flat
---@return {added: integer[], removed: integer[], kept: integer[], changed: table<string, {from: any, to: any}>}
function settings.difference(from, to)
    local old, old_sizes = by_size(from.tiers)
    local new, new_sizes = by_size(to.tiers)
    local found = {added = {}, removed = {}, kept = {}, changed = {}}
    for _, bytes in ipairs(old_sizes) do
        if not new[bytes] then found.removed[#found.removed + 1] = bytes end
    end
    for _, bytes in ipairs(new_sizes) do
        local list = old[bytes] and found.kept or found.added
        list[#list + 1] = bytes
        for _, key in ipairs {"max_idle", "max_bytes", "max_waste"} do
            if old[bytes] then
                compare(found.changed, ("tiers[%s].%s"):format(options.show(bytes), key), old[bytes][key],
                    new[bytes][key])
            end
        end
    end
    for _, keys in ipairs {LIMITS, OTHERS} do
        for _, key in ipairs(keys) do compare(found.changed, key[2], from[key[1]], to[key[1]]) end
    end
    return found
end

return settings
