-- Getting 4 KiB and letting it go on LuaJIT: bytepool beside what else there is.
--
-- Each figure is the median of interleaved rounds, the ratio the median of the rounds'
-- own ratios to FFI malloc/free.

local bytepool = require "bytepool"
local raw = require "bytepool.ffi"
local noop = require "bench_noop"
local ffi = require "ffi"
local has_buffer, string_buffer = pcall(require, "string.buffer")

ffi.cdef "void *malloc(size_t); void free(void *);"
local C = ffi.C

local ROUNDS = 11
local SIZE = 4096
local pool = bytepool.new_pools(bytepool.size_power_of_two())
local held = pool:get_buffer(SIZE)

local cases = {
    {"FFI malloc + free", 2e6, function(n) for _ = 1, n do C.free(C.malloc(SIZE)) end end},
    {"bytepool.ffi get + put", 2e6, function(n) for _ = 1, n do raw.put(pool, (raw.get(pool, SIZE))) end end},
    {"pool:get_buffer + release", 3e5, function(n) for _ = 1, n do pool:get_buffer(SIZE):release() end end},
    {"a C function that does nothing", 2e6, function(n) for _ = 1, n do noop() end end},
    {"ffi.new", 1e5, function(n) for _ = 1, n do ffi.new("uint8_t[?]", SIZE)[0] = 1 end end},
    {"string.buffer new + reserve + free", 1e5, has_buffer and function(n)
        for _ = 1, n do
            local b = string_buffer.new()
            b:reserve(SIZE)
            b:free()
        end
    end},
    {"buf:retain + release", 2e6, function(n) for _ = 1, n do held:retain() held:release() end end},
    {"buf:ref_count", 2e6, function(n)
        local sum = 0
        for _ = 1, n do sum = sum + held:ref_count() end
        return sum
    end},
    {"buf:byte", 5e6, function(n)
        local sum = 0
        for i = 1, n do sum = sum + held:byte(i % SIZE + 1) end
        return sum
    end},
}

local function median(values)
    table.sort(values)
    return values[math.floor(#values / 2) + 1]
end

-- What a forgotten buffer leaves behind belongs to the case that made it.
local function measure(case)
    collectgarbage()
    local start = os.clock()
    case[3](case[2])
    return (os.clock() - start) / case[2] * 1e9
end

local ns, ratio = {}, {}
for round = 0, ROUNDS do
    local first
    for i, case in ipairs(cases) do
        if case[3] then
            local t = measure(case)
            first = first or t
            if round > 0 then -- the first warms the caches and the compiler
                ns[i], ratio[i] = ns[i] or {}, ratio[i] or {}
                table.insert(ns[i], t)
                table.insert(ratio[i], t / first)
            end
        end
    end
end

print(("%s, JIT %s, %d bytes, ns each:"):format(jit.version, jit.status() and "on" or "off", SIZE))
print(("%-36s %9s  %s"):format("", "ns", "of FFI malloc + free"))
for i, case in ipairs(cases) do
    if case[3] then
        print(("%-36s %9.1f  %.2f"):format(case[1], median(ns[i]), median(ratio[i])))
    else
        print(("%-36s %9s  not in this LuaJIT"):format(case[1], "-"))
    end
end
pool:close()
