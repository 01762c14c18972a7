--- Configs: tables that say what a pool shall be, and files that return one. `bytepool.load_config`,
--- `bytepool.new_pools(config)` and `bytepool check` stand on this.
--
-- A file runs in a sandbox (bytepool.core.sandbox): a Lua state of its own that has tables, math, some of the string
-- library and `policy`, and nothing that reaches outside.
--
-- Since 0.1.0.
-- @module bytepool.config

local core = require "bytepool.core"
local lines = require "bytepool.config.lines"
local options = require "bytepool.options"
local prelude = require "bytepool.config.prelude"
local schema = require "bytepool.config.schema"
local schemas = require "bytepool.policy.schemas"
local tiers = require "bytepool.config.tiers"

local config = {}

local MOST_TEXT = 512 * 1024
local LIMITS = {memory = 16 * 2 ^ 20, instructions = 5e6, seconds = 0.25}

local MOST_PREWARMED = 64 * 2 ^ 20 -- bytes

-- Methods of a pool that on_tick's `pool` has, where the pool has them.
local METHODS = {"configure", "rollback", "trim", "shrink", "prewarm"}

-- ---- faults ------------------------------------------------------------------

local function distance(a, b)
    local row = {}
    for j = 0, #b do row[j] = j end
    for i = 1, #a do
        local left_above = row[0]
        row[0] = i
        for j = 1, #b do
            local above = row[j]
            local same = a:byte(i) == b:byte(j) and 0 or 1
            row[j] = math.min(above + 1, row[j - 1] + 1, left_above + same)
            left_above = above
        end
    end
    return row[#b]
end

local function unknown_text(fault)
    local key, nearest, least = fault.key, nil, 3
    if type(key) == "string" and #key <= 40 then
        for _, known in ipairs(fault.known) do
            local steps = distance(key, known)
            if steps < least and steps < #known then nearest, least = known, steps end
        end
    end
    if nearest then return ("unknown key, did you mean '%s'?"):format(nearest) end
    if #fault.known == 0 then return "unknown key (none is known here)" end
    return ("unknown key (known: %s)"):format(table.concat(fault.known, ", "))
end

local function text_of(fault)
    if fault.text then return fault.text end
    if fault.kind == "unknown" then return unknown_text(fault) end
    return ("expected %s, got %s"):format(fault.expected, fault.got)
end

-- ---- checking ----------------------------------------------------------------

-- What the config's host made, or policy.adaptive makes of a description (bytepool.config.prelude).
local function adaptive_of(value, path, faults)
    local described = type(value) == "table" and value["policy()"]
    if described == "adaptive" then
        local given, before = value[1], #faults
        options.walk(given == nil and {} or given, schemas.adaptive, path, faults, tiers.MOST_FAULTS)
        return #faults == before and require("bytepool.policy").adaptive(given) or nil
    end
    if described == nil and type(value.look) == "function" then return value end
    local text = "expected policy.adaptive{...}, or an object with a method look, got a table"
    if described ~= nil then
        text = "expected policy.adaptive{...}, got "
            .. (type(described) == "string" and "policy." .. described or type(value))
    end
    faults[#faults + 1] = {kind = "text", path = path, text = text}
end

-- The config with values as numbers, its faults, and what is known of the lines of policies.
local function normalise(given)
    local reading, faults = tiers.reading(), {}
    local function read_tiers(value, path, list) return tiers.read(value, path, list, reading) end
    local values = options.walk(given, schema.config(read_tiers, adaptive_of), "", faults, tiers.MOST_FAULTS)
    return values, faults, reading
end

--- A config table with all values normalised: bytes and seconds as numbers, tiers as a list. Its policies run.
---@param where string name of the function that was given it
---@param given any
---@return bytepool.Config|nil
---@return string? message one fault a line: `where: key: expected X, got Y`
function config.check(where, given)
    local values, faults = normalise(given)
    if #faults == 0 then return values end
    local list = {}
    for i, fault in ipairs(faults) do
        list[i] = ("%s: %s: %s"):format(where, fault.path == "" and "the config" or fault.path, text_of(fault))
    end
    return nil, table.concat(list, "\n")
end

-- ---- loading -----------------------------------------------------------------

local function list_text(faults, name, text, reading)
    local map = lines.scan(text)
    for path, line in pairs(reading.line) do
        if not map.line[path] then map.line[path] = line end
    end
    for i, fault in ipairs(faults) do
        fault.line, fault.order = lines.find(map, fault.path), i
    end
    table.sort(faults, function(a, b) return a.line < b.line or a.line == b.line and a.order < b.order end)
    local list = {}
    for i, fault in ipairs(faults) do
        local path = fault.path == "" and "" or fault.path .. ": "
        list[i] = ("%s:%d: %s%s"):format(name, fault.line, path, text_of(fault))
    end
    if #list >= tiers.MOST_FAULTS then list[#list + 1] = name .. ": there may be more faults" end
    return table.concat(list, "\n")
end

-- policy.sizes in a config: all calls within a second share what work may be done.
local function make_sizes()
    local reading, processor_seconds = tiers.reading(), core.internals.processor_seconds
    return function(given)
        if processor_seconds() - reading.began > 1 then reading = tiers.reading() end
        local faults = {}
        local list = tiers.read(given, "sizes", faults, reading)
        for i, entry in ipairs(list or {}) do
            if type(entry) == "table" then list[i] = entry.size end
        end
        if list then return list end
        error(("%s: %s"):format(faults[1].path, text_of(faults[1])), 0)
    end
end

local function pack(...) return {n = select("#", ...), ...} end

-- A file may begin with the mark of UTF-8, and with a line for the shell.
local function as_lua(text)
    if text:sub(1, 3) == "\239\187\191" then text = text:sub(4) end
    return text:sub(1, 1) == "#" and "--" .. text or text
end

-- What the text returns, or nil and a message; `name` is its name in those.
local function run(text, name)
    local env = {policy = {sizes = make_sizes()}, policies = prelude.policies}
    local results = pack(pcall(core.sandbox, text, env, LIMITS, prelude.text, name))
    if not results[1] then return nil, tostring(results[2]) end
    local count, value = results.n - 1, results[2]
    if count == 1 and type(value) == "table" then return value end
    local got = count > 1 and count .. " values" or count == 0 and "nothing" or type(value)
    return nil, ("%s:%d: expected a config that returns one table, got %s"):format(name, lines.scan(text).root, got)
end

-- A config's function, as pool:tick calls it.
local make_on_tick

-- A method for on_tick's `pool`. Called by pcall, a method raises without a position, in place of which the
-- sandbox puts the script's.
local function handed_out(name, fn, pool)
    return function(self, new, ...)
        if type(self) ~= "table" or self[name] == nil then
            error(("%s: call it as pool:%s(...)"):format(name, name), 0)
        end
        if name == "configure" and type(new) == "table" and type(new.on_tick) == "function" then
            new.on_tick = make_on_tick(new.on_tick) -- the table is a copy
        end
        local ok, result, more
        if pool then ok, result, more = pcall(fn, pool, new, ...) else ok, result, more = pcall(fn, new, ...) end
        if not ok then error(result, 0) end
        if core.type(result) then return true end -- a method that returns the pool
        return result, more
    end
end

-- prewarm touches memory at once: that of one call of on_tick is bounded.
local function bounded_prewarm()
    local left = MOST_PREWARMED
    return function(pool, counts)
        local sizes, bytes = pool:get_available_sizes(), 0
        for size, count in pairs(type(counts) == "table" and counts or {}) do
            local tier = #sizes
            while tier > 1 and options.is_whole(size, 0, sizes[tier - 1]) do tier = tier - 1 end
            if type(count) == "number" and count > 0 then bytes = bytes + sizes[tier] * count end
        end
        if bytes > left then
            error(("prewarm: more than %d MiB in one call of on_tick"):format(MOST_PREWARMED / 2 ^ 20), 0)
        end
        left = left - bytes
        local ok, made, message = pcall(core.pool_methods.prewarm, pool, counts)
        if not ok then error(made, 0) end
        return made, message
    end
end

-- What on_tick sees of a pool, or of a table of functions that stand for its methods.
local function proxy(given)
    local seen = {}
    if core.type(given) then
        for _, name in ipairs(METHODS) do
            local fn = core.pool_methods[name]
            if name == "prewarm" then fn = bounded_prewarm() end
            if fn then seen[name] = handed_out(name, fn, given) end
        end
    else
        for name, fn in pairs(given or {}) do seen[name] = handed_out(name, fn) end
    end
    return seen
end

function make_on_tick(fn)
    return function(stats, pool)
        local kind = core.type(pool) or type(pool)
        if kind ~= "pool" and kind ~= "closed pool" and kind ~= "table" and kind ~= "nil" then
            error("on_tick: argument 'pool' must be a pool or a table of functions, got " .. kind, 2)
        end
        local ok, result = pcall(fn, stats, proxy(pool))
        if ok then return true, result end
        return nil, tostring(result)
    end
end

-- Text and its name: see bytepool.load_config.
local function source_of(source)
    if type(source) == "table" then
        local name = source.name
        if name ~= nil and (type(name) ~= "string" or name:find("\n", 1, true) or name:find("\0", 1, true)) then
            error("load_config: argument 'source': name must be a string of one line, got "
                .. options.show(name), 4)
        end
        if type(source.text) == "string" then return source.text, name or "config" end
        source = source.path
    elseif type(source) == "string" and (source:find("\n", 1, true) or source:find("^%s*%-%-")
        or source:find("^%s*return[%s{(]")) then
        return source, "config"
    end
    if type(source) ~= "string" or source:find("\0", 1, true) then
        error("load_config: argument 'source' must be a path, a text or a table with either, got "
            .. options.show(source), 4)
    end
    local text, fault = core.read_text(source, MOST_TEXT)
    if not text then return nil, ("%s: %s"):format(source, fault) end
    return text, source
end

--- See bytepool.load_config.
---@param source string|{text: string, name?: string}|{path: string}
---@return bytepool.Config|nil
---@return string? message
function config.load(source)
    local text, name = source_of(source)
    if not text then return nil, name end
    if #text > MOST_TEXT then return nil, ("%s: is longer than %d bytes"):format(name, MOST_TEXT) end
    text = as_lua(text)
    local given, fault = run(text, name)
    if not given then return nil, fault end
    local values, faults, reading = normalise(given)
    if #faults > 0 then return nil, list_text(faults, name, text, reading) end
    if values.on_tick then values.on_tick = make_on_tick(values.on_tick) end
    return values
end

return config
