--- Checks of option tables, shared by everything in bytepool that takes one.
--
-- A schema says what each key may hold; one walk over it finds mistakes,
-- fills in defaults and words the messages, so that all of them read alike.
--
--     local schema = {
--         max_idle = {type = "integer", min = 0, max = 4096, default = 256},
--         mode = {type = "enum", values = {"relaxed", "exact"}, default = "relaxed"},
--     }
--     local values, message = options.check("new_pool", given, schema)
--     if not values then error(message, 2) end
--
-- Since 0.1.0.
-- @module bytepool.options

local core = require "bytepool.core"
local duration = require "bytepool.duration"
local size = require "bytepool.size"

local options = {}

local MOST_UNKNOWN = 1000 -- keys that are put into order
local LONGEST_SHOWN = 40 -- bytes of a string that a message repeats
local EXACT = 2 ^ 53     -- whole numbers up to here print without an exponent

-- Lua 5.1 and 5.2 have one kind of number; later ones tell 3 from 3.0, and
-- what comes out of a check is an integer there.
local to_integer = require("bytepool.compat").to_integer

--- Raises where self is no open pool, with the line of the caller's caller.
---@param method string
---@param pool any
function options.check_pool(method, pool)
    local kind = core.type(pool)
    if kind == "closed pool" then error(method .. ": the pool is closed", 3) end
    if kind ~= "pool" then error(method .. ": self must be a bytepool pool, got " .. type(pool), 3) end
end

--- A string in quotes, cut when long, control characters made visible.
---@param s string
---@return string
function options.quote(s)
    local cut = ""
    if #s > LONGEST_SHOWN then
        s, cut = s:sub(1, LONGEST_SHOWN), "..."
    end
    s = s:gsub('[%c"\\]', function(c) return ("\\%03d"):format(c:byte()) end)
    return '"' .. s .. cut .. '"'
end

local function show_number(v)
    if v ~= v then return "nan" end
    if v == math.huge then return "inf" end
    if v == -math.huge then return "-inf" end
    if v % 1 == 0 then
        if v >= -EXACT and v <= EXACT then return ("%.0f"):format(v) end
        if rawget(math, "type") and math.type(v) == "integer" then return ("%d"):format(v) end
    end
    -- 14 digits read better, but 1.0000000000000002 must not be shown as 1.
    local short = ("%.14g"):format(v)
    return tonumber(short) == v and short or ("%.17g"):format(v)
end

--- How a message shows a bad value: numbers by value, strings in quotes where
--- `quoted` is true, everything else by the name of its type.
---@param v any
---@param quoted? boolean
---@return string
function options.show(v, quoted)
    local kind = type(v)
    if kind == "number" then return show_number(v) end
    if kind == "string" and quoted then return options.quote(v) end
    return kind
end

--- Whether v is a number without a fraction from min to max. Strings that
--- look like numbers, nan and the infinities are not.
---@param v any
---@param min? number
---@param max? number
---@return boolean
function options.is_whole(v, min, max)
    return type(v) == "number" and v % 1 == 0
        and (not min or v >= min) and (not max or v <= max)
end

local function range_text(min, max)
    if min and max then return (" from %s to %s"):format(show_number(min), show_number(max)) end
    if min then return " of at least " .. show_number(min) end
    if max then return " of at most " .. show_number(max) end
    return ""
end

-- Each checker returns the value to keep, or nil and what was expected.
-- A third result replaces the usual way to show the value.
local checkers = {}

function checkers.integer(v, rule)
    if options.is_whole(v, rule.min, rule.max) then return to_integer(v) or v end
    if rule.off and v == false then return v end
    return nil, "a whole number" .. range_text(rule.min, rule.max) .. (rule.off and ", or false" or "")
end

-- As an integer, but "64KiB" will do.
function checkers.size(v, rule)
    local bytes = size.of(v)
    local kept, expected = checkers.integer(bytes, rule)
    if kept ~= nil then return kept end
    if type(bytes) == "string" then expected = size.EXPECTED end
    return nil, expected, options.show(v, true)
end

function checkers.number(v, rule)
    if type(v) == "number" and v >= rule.min and v <= rule.max then return v end
    return nil, "a number" .. range_text(rule.min, rule.max)
end

-- For what its own reader looks through.
function checkers.any(v) return v end

-- Seconds, or a string such as "500ms".
function checkers.duration(v, rule)
    local seconds = duration.of(v)
    if type(seconds) == "number" and seconds >= 0 and seconds <= rule.max then return seconds end
    return nil, ('seconds from 0 to %s or a string with a unit, ms, s, min or h, such as "10s"'):format(
        show_number(rule.max)), options.show(v, true)
end

function checkers.string(v, rule)
    local expected = "a string"
    if rule.maxlen then expected = ("a string of at most %d bytes"):format(rule.maxlen) end
    if type(v) ~= "string" then return nil, expected end
    if rule.maxlen and #v > rule.maxlen then return nil, expected, ("%d bytes"):format(#v) end
    -- Strings end up in C, which would cut them short at a zero byte.
    if v:find("\0", 1, true) then return nil, "a string without zero bytes", "one" end
    return v
end

function checkers.boolean(v)
    if type(v) == "boolean" then return v end
    return nil, "true or false"
end

checkers["function"] = function(v)
    if type(v) == "function" then return v end
    return nil, "a function"
end

-- A function, or one of a few values.
function checkers.choice(v, rule)
    if type(v) == "function" then return v end
    local kept, expected, shown = checkers.enum(v, rule)
    return kept, expected and expected .. " or a function", shown
end

function checkers.enum(v, rule)
    local quoted = {}
    for i, allowed in ipairs(rule.values) do
        if v == allowed then return v end
        quoted[i] = allowed == false and "false" or options.quote(allowed)
    end
    return nil, table.concat(quoted, " or "), options.show(v, true)
end

--- The keys of a table, in order.
---@param t table its keys all strings, or all numbers
---@return any[]
function options.sorted_keys(t)
    local keys = {}
    for key in pairs(t) do keys[#keys + 1] = key end
    table.sort(keys)
    return keys
end

local function show_key(key)
    return type(key) == "number" and show_number(key) or tostring(key)
end

-- In the order of the words shown, so that messages do not depend on the order of a hash table.
local function unknown_keys(given, schema)
    local shown, key_of = {}, {}
    for key in pairs(given) do
        if #shown == MOST_UNKNOWN then break end
        if type(key) ~= "string" or not schema[key] then
            local text = show_key(key) .. "\0" .. type(key) -- 1 is not "1"
            shown[#shown + 1], key_of[text] = text, key
        end
    end
    table.sort(shown)
    for i, text in ipairs(shown) do shown[i] = key_of[text] end
    return shown
end

--- The path of a key within a table.
---@param path string of the table, or ""
---@param key any
---@return string
function options.join(path, key)
    if type(key) == "number" then return ("%s[%s]"):format(path, show_number(key)) end
    if type(key) ~= "string" then return ("%s[%s]"):format(path, tostring(key)) end
    if #key > LONGEST_SHOWN or not key:find("^[%a_][%w_]*$") then return ("%s[%s]"):format(path, options.quote(key)) end
    return path == "" and key or path .. "." .. key
end

--- Looks through a table. A fault is a table: `kind` ("table": given is none; "unknown", "missing" or
--- "value"), `key`, `within` (path of the table), `path` (of the key, or of the table), for unknown keys
--- `known`, else `expected` and `got`.
---@param given table
---@param schema table<string, table>
---@param path string of the table, or ""
---@param faults table[] each is added
---@param most? integer stop at so many faults
---@return table values those without a fault
function options.walk(given, schema, path, faults, most)
    local function add(kind, key, expected, got)
        local full = key == nil and path or options.join(path, key)
        faults[#faults + 1] = {kind = kind, key = key, within = path, path = full, expected = expected, got = got,
            known = kind == "unknown" and options.sorted_keys(schema) or nil}
    end
    local function enough() return most and #faults >= most end
    if type(given) ~= "table" then
        add("table", nil, "a table", options.show(given))
        return {}
    end
    for _, key in ipairs(unknown_keys(given, schema)) do
        add("unknown", key)
        if enough() then return {} end
    end
    local values = {}
    for _, key in ipairs(options.sorted_keys(schema)) do
        if enough() then return {} end
        local rule, value = schema[key], given[key]
        if rule.type == "table" then
            if value ~= nil or not rule.optional then
                values[key] = options.walk(value == nil and {} or value, rule.schema, options.join(path, key),
                    faults, most)
            end
        elseif value == nil then
            if rule.required then add("missing", key, rule.expected or "a value", "nothing") end
            values[key] = rule.default
        elseif rule.read then
            values[key] = rule.read(value, options.join(path, key), faults)
        else
            local kept, expected, shown = checkers[rule.type](value, rule)
            if kept == nil then add("value", key, expected, shown or options.show(value)) end
            values[key] = kept
        end
    end
    return values
end

--- Checks an option table against a schema. Does not raise: the caller knows
--- the level at which the user's line is.
--
-- A rule is a table: `type` ("string", "boolean", "function", "integer", "size", "number", "duration",
-- "enum", "choice", "any" or "table"), `default` or `required`, and for integers, sizes and numbers `min`
-- and `max` (inclusive), for durations `max`, for the first two `off` (false is one of their values), for strings
-- `maxlen` (bytes), for enums and choices `values` (strings), for tables `schema` and `optional` (nil stays
-- nil). In place of a type `read` may be a function(value, path, faults), which gives the value to keep.
--
---@param where string name of the function whose options these are
---@param given table|nil the option table; nil means all defaults
---@param schema table<string, table> rules by key
---@return table|nil values a new table, defaults filled in; nil on a mistake
---@return string? message what was wrong, with the key's full path
function options.check(where, given, schema)
    local faults = {}
    local values = options.walk(given == nil and {} or given, schema, "", faults, 1)
    local fault = faults[1]
    if not fault then return values end
    if fault.kind == "table" then
        local what = fault.path ~= "" and ("option '%s'"):format(fault.path) or "argument 'options'"
        return nil, ("%s: %s must be a table, got %s"):format(where, what, fault.got)
    elseif fault.kind == "unknown" then
        local prefix = fault.within ~= "" and fault.within .. "." or ""
        return nil, ("%s: unknown option '%s%s' (known: %s)"):format(where, prefix, show_key(fault.key),
            table.concat(fault.known, ", "))
    elseif fault.kind == "missing" then
        return nil, ("%s: option '%s' is missing"):format(where, fault.path)
    end
    return nil, ("%s: option '%s' must be %s, got %s"):format(where, fault.path, fault.expected, fault.got)
end

return options
