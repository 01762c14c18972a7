--- How scarce memory is, as a level from 0 (not at all) to 1 (give back all that can be given back).
--
-- A reader is a function that looks now and returns the level and a text that says why:
--
--     local read = require("bytepool.pressure").auto()
--     print(read())    --> 0.67   cgroup memory 93 % of memory.high
--
-- What is read, and the levels that figures stand for (in between in proportion; below, 0; above, 1):
--
-- | figure | 0 up to | 1 from | back to 0 below |
-- |---|---|---|---|
-- | memory of the cgroup, or of one around it, of its limit | 85 % | 97 % | 80 % |
-- | PSI: some task waited for memory, of the last 10 seconds | 10 % | 60 % | 5 % |
-- | PSI: all tasks waited | 5 % | 30 % | 2.5 % |
--
-- A level rises at once. It falls where the figure would give a tenth less, and to 0 where the figure is below
-- the last column, so that a figure that wavers around a value leaves the level where it is. The highest
-- counts. What a cgroup holds of files that were not used lately does not: the system takes that back first.
--
-- A reader never raises for what files hold or lack; it reads about six small ones.
--
-- Since 0.1.0.
-- @module bytepool.pressure

local options = require "bytepool.options"

local pressure = {}

local BAND = 0.1
local LONGEST = 65536 -- bytes read of a file
local DEEPEST = 16    -- cgroups, the own one and around it, that are looked at
local LONGEST_PATH = 4096 -- bytes of the path of one
local AGAIN = 64      -- reads until cgroups are looked for again: a process may move, and limits may come
local UNLIMITED = 2 ^ 60 -- cgroup v1 has a number of pages near 2^63 for no limit

local function read_file(path)
    local file = io.open(path, "r")
    if not file then return nil end
    local text = file:read(LONGEST) -- nil for a folder
    file:close()
    return text
end

-- What no kernel writes, such as what would be an infinity, is nothing.
local function number_of(digits)
    return digits and #digits <= 20 and tonumber(digits) or nil
end

-- A file that holds one number; nil for "max" and all else.
local function read_number(path)
    return number_of((read_file(path) or ""):match "^%s*(%d+)%s*$")
end

-- ---- levels --------------------------------------------------------------------

--- A level with hysteresis: a function of a figure.
---@param enter number the figure up to which the level is 0
---@param full number from which it is 1
---@param leave number below which it is 0 again; not above enter
---@return fun(figure: number): number level
function pressure.gauge(enter, full, leave)
    local level = 0
    return function(figure)
        local due = math.max(0, math.min(1, (figure - enter) / (full - enter)))
        if figure < leave then
            level = 0
        elseif due > level or due <= level - BAND then
            -- Not to 0 before the figure is below `leave`.
            level = (due == 0 and level > 0) and math.min(level, BAND) or due
        end
        return level
    end
end

-- The highest of several levels, with its text; the first of equal ones.
local function highest(best, why, level, text)
    if not best or level > best then return level, text end
    return best, why
end

-- ---- PSI -----------------------------------------------------------------------

-- A function that returns the level of a PSI file and why; nil where there is none that can be read.
local function psi_file(path, of)
    local some, full = pressure.gauge(10, 60, 5), pressure.gauge(5, 30, 2.5)
    return function()
        local text = read_file(path) or ""
        local level, why
        for _, line in ipairs {{"some", some}, {"full", full}} do
            local figure = number_of(("\n" .. text):match("\n" .. line[1] .. " avg10=(%d+%.?%d*)"))
            if figure then
                level, why = highest(level, why, line[2](figure),
                    ("PSI memory %s %.1f %%%s"):format(line[1], figure, of))
            end
        end
        return level, why
    end
end

-- ---- cgroups -------------------------------------------------------------------

local V2 = {used = "/memory.current", limits = {"memory.high", "memory.max"}, cold = "inactive_file",
    pressure = "/memory.pressure", places = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}}
local V1 = {used = "/memory.usage_in_bytes", limits = {"memory.limit_in_bytes"}, cold = "total_inactive_file",
    places = {"/sys/fs/cgroup/memory"}}

-- The paths of the own cgroup: in v2, and of v1's memory controller.
local function own_paths(root)
    local v2, v1
    for line in (read_file(root .. "/proc/self/cgroup") or ""):gmatch "[^\n]+" do
        local controllers, path = line:match "^%d+:([^:]*):(/.*)$"
        if controllers == "" then
            v2 = path
        elseif controllers and ("," .. controllers .. ","):find ",memory," then
            v1 = path
        end
    end
    return v2, v1
end

local function limit_of(kind, folder)
    local least, name
    for _, file in ipairs(kind.limits) do
        local bytes = read_number(folder .. "/" .. file)
        if bytes and bytes < UNLIMITED and (not least or bytes < least) then least, name = bytes, file end
    end
    return least, name
end

-- Folders of the own cgroup and of those around it; the own one first. In a container the own one may be
-- mounted as the root, whatever it is called outside: so the root always is among them.
local function folders(kind, root, path)
    local list = {}
    for _, place in ipairs(kind.places) do
        local at = path:sub(1, LONGEST_PATH):gsub("/+$", "")
        while #list < DEEPEST do
            local folder = root .. place .. at
            if read_number(folder .. kind.used) then list[#list + 1] = folder end
            if at == "" then break end
            at = at:gsub("/[^/]*$", "")
        end
        if #list > 0 then break end
    end
    return list
end

-- The folders that count: the two nearest with a limit. And where the own cgroup has its PSI.
local function find_limited(root)
    local v2, v1 = own_paths(root)
    local found = {}
    for _, try in ipairs {{kind = V2, path = v2}, {kind = V1, path = v1}} do
        for i, folder in ipairs(try.path and folders(try.kind, root, try.path) or {}) do
            if i == 1 and try.kind.pressure then found.pressure = found.pressure or folder .. try.kind.pressure end
            if limit_of(try.kind, folder) and #found < 2 then
                found[#found + 1] = {kind = try.kind, folder = folder}
            end
        end
    end
    return found
end

-- Use and limit of a cgroup as a ratio, and why; nil where it is gone.
local function fullness(group)
    local kind, folder = group.kind, group.folder
    local used = read_number(folder .. kind.used)
    local limit, name = limit_of(kind, folder)
    if not used or not limit then return nil end
    local figure = limit > 0 and used / limit or 1
    if limit > 0 and figure > 0.8 then -- only then does it matter what of it is cold
        local stat = "\n" .. (read_file(folder .. "/memory.stat") or "")
        local cold = number_of(stat:match("\n" .. kind.cold .. " (%d+)"))
        if cold then figure = math.max(0, used - cold) / limit end
    end
    return figure, ("cgroup memory %.0f %% of %s"):format(figure * 100, name)
end

-- ---- readers -------------------------------------------------------------------

---@alias bytepool.pressure.Reader fun(): number, string level and why

local function root_of(name, given)
    local values, message = options.check(name, given, {root = {type = "string", default = ""}})
    if not values then error(message, 3) end
    return values.root
end

--- A reader of the system's PSI, /proc/pressure/memory.
---@param given? {root?: string} root: the folder that proc and sys are in
---@return bytepool.pressure.Reader|nil reader
---@return string? message where the system has none
function pressure.psi(given)
    local root = root_of("psi", given)
    local read = psi_file(root .. "/proc/pressure/memory", "")
    if not read() then return nil, "no PSI for memory" end
    return function()
        local level, why = read()
        if not level then return 0, "PSI for memory can not be read" end
        return level, why
    end
end

--- A reader of the cgroup that the process is in and of those around it, v2 or v1: memory and its limit, and of v2
-- its PSI. Where a limit is set only later, it is found after a while.
---@param given? {root?: string}
---@return bytepool.pressure.Reader|nil reader
---@return string? message where there is no cgroup with memory in it
function pressure.cgroup(given)
    local root = root_of("cgroup", given)
    local groups = find_limited(root)
    if #groups == 0 and not (groups.pressure and read_file(groups.pressure)) then
        local v2, v1 = own_paths(root)
        local any = v2 and #folders(V2, root, v2) > 0 or v1 and #folders(V1, root, v1) > 0
        if not any then return nil, "no cgroup for memory" end
    end
    local memory, waits = pressure.gauge(0.85, 0.97, 0.80), nil
    local function wait_file() waits = groups.pressure and psi_file(groups.pressure, " of the cgroup") end
    wait_file()
    local reads = 0
    return function()
        reads = reads + 1
        if reads % AGAIN == 0 then
            local was = groups.pressure
            groups = find_limited(root)
            if groups.pressure ~= was then wait_file() end
        end
        local most, text
        for _, group in ipairs(groups) do
            local figure, why = fullness(group)
            if figure then most, text = highest(most, text, figure, why) end
        end
        local level, why = memory(most or 0), text
        if waits then
            local waited, reason = waits()
            if waited then level, why = highest(why and level, why, waited, reason) end
        end
        return level, why or "cgroup memory has no limit"
    end
end

--- A reader of all that this system has: PSI and the cgroup, the higher of the two.
---@param given? {root?: string}
---@return bytepool.pressure.Reader reader always 0 where there is neither
function pressure.auto(given)
    local from = {root = root_of("auto", given)}
    local psi, cgroup = pressure.psi(from), pressure.cgroup(from)
    if not (psi and cgroup) then
        return psi or cgroup or function() return 0, "neither PSI nor a cgroup for memory on this system" end
    end
    return function()
        local level, why = psi()
        local other, reason = cgroup()
        return highest(level, why, other, reason)
    end
end

--- A reader of a function of yours: it returns the level, or nil for 0, and may return a text. What it raises
-- passes; what else it returns raises an error with the line of the reader's caller.
---@param source fun(): number|nil, string|nil
---@return bytepool.pressure.Reader
function pressure.of(source)
    if type(source) ~= "function" then
        error("of: argument 'source' must be a function, got " .. options.show(source, true), 2)
    end
    return function()
        local level, why = source()
        if level == nil then level = 0 end
        if type(level) ~= "number" or not (level >= 0 and level <= 1) then
            local info = debug.getinfo(source, "S")
            local message = ("pressure: the function at %s:%d must return a number from 0 to 1 or nil, got %s")
                :format(info.short_src, info.linedefined, options.show(level, true))
            error(message, 2)
        end
        return level, type(why) == "string" and why or "a function of the user"
    end
end

return pressure
