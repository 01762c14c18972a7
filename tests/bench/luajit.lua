-- 4096 bytes got and let go on LuaJIT: bytepool beside what else there is. Prints a line
-- for each figure as the C programs do: case, 0, ns; and for the cases that must compile
-- how many traces were aborted.

local quick = (os.getenv("BENCH_QUICK") or "0") ~= "0" and os.getenv("BENCH_QUICK") ~= ""
local CHUNKS, LEAST = quick and 3 or 9, quick and 1e-4 or 4e-3 -- seconds

-- In a function that has returned, as a module's are: LuaJIT looks in each round whether a
-- local of a chunk that still runs is where it was.
local function make_cases()
    local bytepool = require "bytepool"
    local raw = require "bytepool.ffi"
    local clib = require "bytepool.clib"
    local noop = require "bench_noop"
    local ffi = require "ffi"
    local has_buffer, string_buffer = pcall(require, "string.buffer")
    ffi.cdef "void *malloc(size_t); void free(void *);"
    local C, libc = clib.C, ffi.C
    local pool = bytepool.new_pools(bytepool.size_power_of_two())
    local held = pool:get_buffer(4096)

    -- What the methods of a handle call, called without them: so a ratio is what is spent in
    -- Lua on finding the method, checking the handle and the result.
    local DEAD, PLACE = clib.dead_address, clib.metatable_place

    local list = {
        {"ffi_malloc", function(n) for _ = 1, n do libc.free(libc.malloc(4096)) end end},
        {"raw", function(n) for _ = 1, n do raw.put(pool, (raw.get(pool, 4096))) end end},
        {"buffer", function(n) for _ = 1, n do pool:get_buffer(4096):release() end end},
        {"noop", function(n) for _ = 1, n do noop() end end},
        {"ffi_new", function(n) for _ = 1, n do ffi.new("uint8_t[?]", 4096)[0] = 1 end end},
        {"string_buffer", has_buffer and function(n)
            for _ = 1, n do
                local b = string_buffer.new()
                b:reserve(4096)
                b:free()
            end
        end},
        {"retain_release", function(n) for _ = 1, n do held:retain() held:release() end end, compiles = true},
        {"retain_release_ffi", function(n)
            for _ = 1, n do
                C.bytepool_handle_retain(held)
                C.bytepool_handle_release(held, DEAD, PLACE)
            end
        end},
        {"ref_count", function(n)
            local sum = 0
            for _ = 1, n do sum = sum + held:ref_count() end
            return sum
        end, compiles = true},
        {"ref_count_ffi", function(n)
            local sum = 0
            for _ = 1, n do sum = sum + C.bytepool_handle_ref_count(held) end
            return sum
        end},
        {"byte", function(n)
            local sum = 0
            for i = 1, n do sum = sum + held:byte(i % 4096 + 1) end
            return sum
        end, compiles = true},
    }
    for _, case in ipairs(require "contents"(bytepool, ffi, has_buffer, string_buffer)) do table.insert(list, case) end
    for _, case in ipairs(require "levels"(bytepool)) do table.insert(list, case) end
    return list, function()
        held:release()
        pool:close()
    end
end

local cases, finish = make_cases()

local function time_of(fn, n)
    local start = os.clock()
    fn(n)
    return os.clock() - start
end

-- The median of several chunks, after a warm-up that also finds how long one must be.
-- What a forgotten buffer leaves behind belongs to the case that made it.
local function measure(fn)
    local n, ns = 1000, {}
    collectgarbage()
    while time_of(fn, n) < LEAST do n = n * 2 end
    for i = 1, CHUNKS do ns[i] = time_of(fn, n) / n * 1e9 end
    table.sort(ns)
    return ns[math.ceil(CHUNKS / 2)]
end

-- Traces that were begun and given up while fn ran from the interpreter into compiled code.
-- One that was begun in a loop's last round says nothing about what the loop does.
local function aborts_of(fn)
    local found, vmdef = pcall(require, "jit.vmdef")
    local aborts = 0
    local function count(what, _, _, _, reason)
        local text = found and vmdef.traceerr[reason] or ""
        if what == "abort" and text ~= "leaving loop in root trace" then aborts = aborts + 1 end
    end
    jit.flush()
    jit.attach(count, "trace")
    fn(10000)
    jit.attach(count)
    return aborts
end

for _, case in ipairs(cases) do
    if case[2] then print(("%s 0 %.4f"):format(case[1], measure(case[2]))) end
end
for _, case in ipairs(cases) do
    if case.compiles then print(("%s_aborts 0 %d"):format(case[1], aborts_of(case[2]))) end
end
finish()
