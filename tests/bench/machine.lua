-- Which machine the figures are from, and whether it was busy.

local machine = {}

local function first_line(command)
    local pipe = io.popen(command .. " 2>/dev/null")
    local line = pipe and pipe:read("*l")
    if pipe then pipe:close() end
    return line and line ~= "" and line or nil
end

--- processor, processors, system, libc, compiler, luajit, load: texts and numbers.
function machine.describe()
    local load = first_line("cut -d' ' -f1 /proc/loadavg")
    return {
        processor = first_line("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo") or "unknown processor",
        processors = tonumber(first_line("getconf _NPROCESSORS_ONLN")) or 0,
        system = first_line("uname -srm") or "unknown system",
        libc = first_line("getconf GNU_LIBC_VERSION") or "another libc",
        compiler = first_line("${CC:-cc} --version") or "unknown compiler",
        luajit = rawget(_G, "jit") and jit.version or _VERSION,
        load = tonumber(load) or 0,
    }
end

return machine
