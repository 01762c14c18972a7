-- Changing a pool that runs: its methods configure, rollback and settings.
--
-- Settings are the pool's, whatever state or thread changes them. on_tick, adaptive, pressure and the level of leaks
-- belong to one userdata, which keeps them in the table that core.own gives:
--   parts    {on_tick =, adaptive =, pressure =}, replaced as a whole
--   undo     parts and level of before its last change, and the generation that this made
--
-- Private to bytepool, which puts them into the pools' methods.

local core = require "bytepool.core"
local options = require "bytepool.options"
local settings = require "bytepool.settings"
local tiers = require "bytepool.tiers"

local change = {}

local methods = core.pool_methods
local kind_of, leak_level, get_pool_stats = core.type, methods.leak_level, methods.get_pool_stats

--- What an open pool's userdata keeps.
---@param pool bytepool.Pool
---@return table
function change.own(pool)
    local own = core.own(pool)
    return type(own) == "table" and own or {} -- not what the debug library put there
end

-- Which pool an object of policy.adaptive serves: it learns from the counts of one.
local served = setmetatable({}, {__mode = "kv"})

-- This one, or a fresh one where it serves another pool.
local function free_one(pool, adaptive)
    if type(adaptive) ~= "table" or type(adaptive.fresh) ~= "function" then return adaptive end
    local other = served[adaptive]
    if other and other ~= pool and kind_of(other) == "pool" then return adaptive:fresh() end
    return adaptive
end

--- What of settings the Lua part of a pool goes by. Calls what the user gave: before anything is changed.
---@param pool bytepool.Pool|nil nil: one that is yet to be made
---@param flat bytepool.settings.Flat
---@return table parts for change.begin
function change.parts(pool, flat)
    return {on_tick = flat.on_tick, adaptive = free_one(pool, flat.adaptive), pressure = flat.pressure}
end

local function set_parts(pool, own, parts)
    local before = own.parts and own.parts.adaptive
    own.parts, own.quiet_until = parts, nil
    if before and before ~= parts.adaptive and served[before] == pool then served[before] = nil end
    if type(parts.adaptive) == "table" then served[parts.adaptive] = pool end
end

--- The parts of a userdata that nobody gave any, such as one that bytepool.open made.
change.DEFAULT = {pressure = "auto"}
local DEFAULT = change.DEFAULT

-- All that the pool goes by, seen from this userdata.
local function present(pool)
    local flat = core.settings(pool)
    local parts = change.own(pool).parts or DEFAULT
    flat.on_tick, flat.adaptive, flat.pressure = parts.on_tick, parts.adaptive, parts.pressure
    flat.leaks = leak_level(pool)
    return flat
end

--- For a pool that was made by these settings just now.
---@param pool bytepool.Pool
---@param flat bytepool.settings.Flat
---@param parts table of change.parts
function change.begin(pool, flat, parts)
    set_parts(pool, change.own(pool), parts)
    return leak_level(pool, flat.leaks)
end

-- ---- reports -------------------------------------------------------------------

local function list_text(lines, title, list)
    if #list == 0 then return end
    local texts = {}
    for i, tier in ipairs(list) do
        texts[i] = type(tier) ~= "table" and options.show(tier) or ("%s (%s in use, %s bytes idle)"):format(
            options.show(tier.size), options.show(tier.in_use), options.show(tier.idle_bytes))
    end
    lines[#lines + 1] = ("tiers %s: %s"):format(title, table.concat(texts, ", "))
end

local function value_text(key, value)
    if value == nil then return "none" end
    if value == false then return "false" end
    if type(value) ~= "number" then return value end
    if key == "limits.decay" then return options.show(value) .. " s" end
    if key:find("waste$") then return options.show(value) end
    return require("bytepool.report.units").bytes(value)
end

local function text_of(report)
    local lines = {report.dry_run and ("dry run, generation stays %s"):format(options.show(report.generation))
        or "generation " .. options.show(report.generation)}
    list_text(lines, "added", report.added)
    list_text(lines, "removed", report.removed)
    list_text(lines, "kept", report.kept)
    for _, key in ipairs(options.sorted_keys(report.changed)) do
        local values = report.changed[key]
        local from, to = value_text(key, values.from), value_text(key, values.to)
        local value = from == to and "another one, " .. to or from .. " -> " .. to
        lines[#lines + 1] = key .. ": " .. value
    end
    return table.concat(lines, "\n")
end

-- All of it is made before the change: nothing can fail after it.
local function report_of(pool, from, to, dry_run)
    local report = settings.difference(from, to)
    report.dry_run = dry_run
    local stats = #report.removed > 0 and get_pool_stats(pool).pools
    for i, bytes in ipairs(report.removed) do
        local tier = stats[bytes] or {in_use = 0, idle = 0}
        report.removed[i] = {size = bytes, in_use = tier.in_use, idle_bytes = tier.idle * bytes}
    end
    report.generation = dry_run and from.generation or from.generation + 1
    report.text = text_of(report)
    return report
end

-- ---- applying ------------------------------------------------------------------

-- Makes a change, `to` nil: back. Its parts and its level follow; what they replace is for a rollback, and all made
-- before, with a place in `own`.
local function make(pool, to, dry_run, parts, level, report)
    local own = change.own(pool)
    local undo = {parts = own.parts or DEFAULT, leaks = leak_level(pool), generation = report.generation}
    own.parts, own.undo = own.parts or DEFAULT, own.undo or false
    local done, message
    if to then done, message = core.configure(pool, to, dry_run) else done, message = core.rollback(pool, dry_run) end
    if not done then return nil, message end
    if not dry_run then
        own.undo = undo
        set_parts(pool, own, parts)
        leak_level(pool, level)
    end
    return report
end

local function apply(pool, from, to, dry_run)
    local report, parts = report_of(pool, from, to, dry_run), change.parts(pool, to)
    return make(pool, to, dry_run, parts, to.leaks, report)
end

--- Gives the pool other tiers, all else stays: for what bytepool itself changes.
---@param pool bytepool.Pool open
---@param list any as tiers.list takes it
---@return table|nil report
---@return string? message
function change.retier(pool, list)
    local sizes, limits = tiers.list(list)
    if not sizes then return nil, limits end
    local from, to = present(pool), present(pool)
    to.tiers = tiers.join(sizes, limits)
    return apply(pool, from, to, false)
end

-- Whether a report tells of anything that is the pool's and not a userdata's.
local function changes_pool(report)
    for key in pairs(report.changed) do
        if key:find("^tiers") or key:find("^limits") and key ~= "limits.pressure" then return true end
    end
    return #report.added > 0 or #report.removed > 0
end

--- Has an open pool go by a config, for a state that found it by its name: only what differs is changed, and
--- generation and what a rollback would go back to stay where nothing does.
---@param pool bytepool.Pool open
---@param checked bytepool.Config as config.check gives it
---@return table|nil report
---@return string? message also what is fixed and differs
function change.adopt(pool, checked)
    local from, to = present(pool), settings.of_config(checked)
    local refused = settings.fixed_fault(from, to)
    if refused then return nil, refused end
    local report = report_of(pool, from, to, true)
    if changes_pool(report) then return apply(pool, from, to, false) end
    change.own(pool).quiet_until = nil
    return change.begin(pool, to, change.parts(pool, to)) and report
end

local schema = {dry_run = {type = "boolean", default = false}}

-- Blames the caller of the method.
local function is_dry(method, given)
    if given == nil then return false end
    local values, message = options.check(method, given, schema)
    if not values then error(message, 3) end
    return values.dry_run
end

local function is_config(given)
    return type(given) == "table" and not tiers.is_policy(given) and #given == 0
end

-- What a config or tiers say, and whether these are all that is said; nil and a message.
local function read(given)
    local described = type(given) == "table" and given["policy()"] ~= nil -- by policy.* of a config's on_tick
    if described or is_config(given) then
        local checked, fault = require("bytepool.config").check("configure", described and {tiers = given} or given)
        if not checked then return nil, fault end
        return settings.of_config(checked), nil, described
    end
    if type(given) ~= "table" and type(given) ~= "function" then
        return nil, "configure: argument 'new' must be a config, an array of sizes or a policy, got "
            .. options.show(given)
    end
    local sizes, limits = tiers.list(given, nil, "new")
    if not sizes then return nil, "configure: " .. limits end
    return {tiers = tiers.join(sizes, limits)}, nil, true
end

function methods.configure(pool, new, given)
    options.check_pool("configure", pool)
    local dry_run = is_dry("configure", given)
    local to, fault, only_tiers = read(new)
    if not to then error(fault, 2) end
    options.check_pool("configure", pool) -- policies ran
    local from = present(pool)
    if only_tiers then
        local list = to.tiers
        to = present(pool)
        to.tiers = list
    end
    local refused = settings.fixed_fault(from, to)
    if refused then error("configure: " .. refused, 2) end
    local report, why = apply(pool, from, to, dry_run)
    return report, why
end

function methods.rollback(pool, given)
    options.check_pool("rollback", pool)
    local dry_run = is_dry("rollback", given)
    local from, to = present(pool), core.settings(pool, true)
    if not to then return nil, "there is nothing to roll back to" end
    local own = change.own(pool)
    local undo = own.undo
    -- Where another state made the last change, what is this one's stays.
    local back = undo and undo.generation == from.generation and undo
        or {parts = from, leaks = from.leaks}
    local parts = change.parts(pool, back.parts)
    to.on_tick, to.adaptive, to.pressure, to.leaks = parts.on_tick, parts.adaptive, parts.pressure, back.leaks
    local report = report_of(pool, from, to, dry_run)
    return make(pool, nil, dry_run, parts, back.leaks, report)
end

function methods.settings(pool)
    options.check_pool("settings", pool)
    local as_config = settings.to_config(present(pool))
    return as_config
end

return change
