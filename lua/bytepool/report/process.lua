--- Figures of the process, as Go's expvar has them beside a program's own.
--
-- Since 0.1.0.
-- @module bytepool.report.process

local units = require "bytepool.report.units"

local process = {}

local function read(path)
    local file = io and io.open(path, "rb")
    if not file then return nil end
    local text = file:read("*a")
    file:close()
    return text
end

local function cmdline()
    local words = {}
    for word in (read("/proc/self/cmdline") or ""):gmatch("(%Z*)%z") do words[#words + 1] = units.clean(word) end
    return words
end

--- `memstats`, by Go's names where there is a counterpart: HeapAlloc, HeapInuse (the Lua heap), Sys
-- (address space), and RSS (resident memory); and `cmdline`, the words of the command. What the
-- system does not tell is absent. In bytes.
---@return {memstats: table<string, integer>, cmdline: string[]}
function process.figures()
    local heap = math.floor(collectgarbage("count") * 1024)
    local memstats = {HeapAlloc = heap, HeapInuse = heap}
    -- Not statm, which counts in pages of a size that Lua can not ask for.
    local status = read("/proc/self/status") or ""
    local size, resident = status:match("VmSize:%s*(%d+) kB"), status:match("VmRSS:%s*(%d+) kB")
    if size then memstats.Sys = size * 1024 end
    if resident then memstats.RSS = resident * 1024 end
    return {memstats = memstats, cmdline = cmdline()}
end

return process
