--- The command `bytepool check`: what is wrong with config files, as bytepool.load_config has it.
--
-- Since 0.1.0.
-- @module bytepool.cli.check

local check = {}

local MOST_INPUT = 512 * 1024

--- Arguments of the command, for argparse.
---@param command table
function check.define(command)
    command:argument("files", "Config files, or - for standard input."):argname("FILE"):args("*")
end

local function size_of(entry) return type(entry) == "table" and entry.size or entry end

-- "13 tiers from 512 B to 2 MiB, idle 64 MiB, decay 10 s"
local function summary(config, units)
    local list, limits = config.tiers, config.limits or {}
    local parts = {}
    local function bytes(n) return units.rounded(n) or units.count(n) .. " B" end
    local function add(...) parts[#parts + 1] = (...):format(select(2, ...)) end
    if #list == 1 then
        add("1 tier of %s", bytes(size_of(list[1])))
    else
        add("%d tiers from %s to %s", #list, bytes(size_of(list[1])), bytes(size_of(list[#list])))
    end
    if limits.idle then add("idle %s", bytes(limits.idle)) end
    if limits.bytes then add("bytes %s", bytes(limits.bytes)) end
    if limits.waste then add("waste %g %%", limits.waste * 100) end
    if limits.decay then add("decay %g s", limits.decay) end
    if limits.pressure ~= nil then
        add("pressure %s", type(limits.pressure) == "function" and "by a function" or tostring(limits.pressure))
    end
    if config.on_tick then add("on_tick") end
    if config.adaptive then add("adaptive") end
    return table.concat(parts, ", ")
end

--- `bytepool check FILE...`
---@param bytepool table
---@param arguments table
---@param out fun(text: string)
---@return string? complaint
---@return boolean? usage whether the arguments are wrong
function check.run(bytepool, arguments, out)
    local files = arguments.files
    if #files == 0 then return "missing argument 'FILE'", true end
    local units = require "bytepool.report.units"
    local bad = 0
    for _, name in ipairs(files) do
        local source = {path = name}
        if name == "-" then
            local text, why = io.stdin:read(MOST_INPUT + 1)
            if why then return "standard input: " .. why end
            source = {text = text or "", name = "standard input"}
        end
        local config, faults = bytepool.load_config(source)
        if config then
            out(("%s: ok: %s\n"):format(source.name or name, summary(config, units)))
        else
            bad = bad + 1
            out(faults:gsub("[^\n%C]", function(c) return ("\\%03d"):format(c:byte()) end) .. "\n")
        end
    end
    if bad > 0 then return ("%d of %d config files can not be used"):format(bad, #files) end
end

return check
