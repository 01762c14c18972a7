-- What bytepool is held against, as functions of the results.
--
-- A verdict: name, limit, value (nil where it could not be measured), met, unit ("x": a
-- ratio; ns, us, B), and a note on what the value was compared with. Values are compared as they
-- are printed, to two decimals.

local figures = require "figures"

local targets = {}

local function size_text(n)
    if n >= 1048576 then return n / 1048576 .. " MiB" end
    if n >= 1024 then return n / 1024 .. " KiB" end
    return n .. " B"
end
targets.size_text = size_text

-- At most limit, or below it where strict.
local function verdict(name, value, limit, extra)
    extra = extra or {}
    local shown = value and math.floor(value * 100 + 0.5) / 100
    local met = shown and (extra.strict and shown < limit or not extra.strict and shown <= limit)
    return {name = name, value = shown, limit = limit, met = met or false, strict = extra.strict,
        unit = extra.unit or "x", note = extra.note}
end

local function against_peers(r, name, case, strict)
    local peer = r:fastest(case)
    return verdict(name, peer and r:ratio(case, "pool", case, peer), 1.0,
        {strict = strict, note = peer and "of the fastest, " .. peer or "no peer was measured"})
end

-- The least and the greatest pair of all sizes, by their medians.
local function spread(r)
    local least, most, slow
    for _, n in ipairs(figures.sizes) do
        local case = "pair/" .. n
        local ns = r:median(case, "pool")
        if ns and (not least or ns < r:median(least, "pool")) then least = case end
        if ns and (not most or ns > r:median(most, "pool")) then most, slow = case, n end
    end
    return verdict("C pair, slowest size to fastest", least and r:ratio(most, "pool", least, "pool"), 1.3,
        {note = slow and "slowest " .. size_text(slow)})
end

-- The mean over the sizes: a nanosecond's fraction is less than one size's noise.
local function counters(r)
    local names = {}
    for _, n in ipairs(figures.sizes) do
        table.insert(names, {"pair/" .. n, "pool"})
        table.insert(names, {"pair/" .. n, "bare"})
    end
    local cost = r:over_rounds(names, function(row)
        local sum = 0
        for i = 1, #row, 2 do sum = sum + row[i] - row[i + 1] end
        return sum / (#row / 2)
    end)
    return verdict("C counters and recent lengths", cost, 0.8, {unit = "ns", note = "mean over the sizes"})
end

local function judge_c(r, list)
    for _, n in ipairs(figures.sizes) do
        table.insert(list, against_peers(r, "C pair " .. size_text(n), "pair/" .. n))
    end
    table.insert(list, spread(r))
    for _, n in ipairs(figures.sizes) do
        table.insert(list, verdict("C two threads " .. size_text(n),
            r:ratio("two/" .. n, "pool", "one/" .. n, "pool"), 1.1, {note = "of one thread"}))
    end
    for _, k in ipairs {8, 64} do
        for _, n in ipairs {128, 4096, 65536} do
            table.insert(list, against_peers(r, ("C %d gets, %d releases %s"):format(k, k, size_text(n)),
                ("burst%d/%d"):format(k, n)))
        end
    end
    table.insert(list, against_peers(r, "C live set of 1,000, mixed sizes", "mixed"))
    for _, n in ipairs(figures.sizes) do
        table.insert(list, against_peers(r, "C get here, release there " .. size_text(n), "handed/" .. n, true))
    end
    for _, n in ipairs(figures.sizes) do
        table.insert(list, against_peers(r, "C the same, first line used " .. size_text(n),
            "handed_touched/" .. n, true))
    end
    table.insert(list, counters(r))
end

local function judge_scale(r, list)
    local function of(name, case, base, limit)
        table.insert(list, verdict("scale " .. name, r:ratio(case, "pool", base, "pool"), limit or 1.3))
    end
    of("1 million live, pair", "live_pair/1000000", "small_pair")
    of("1 million live, burst of 64", "live_burst64/1000000", "small_burst64")
    of("1 million live to 1,000, pair", "live_pair/1000000", "live_pair/1000")
    of("1 million live to 1,000, snapshot", "live_stats/1000000", "live_stats/1000")
    of("64 tiers, pair in the first", "tiers64_first", "small_pair")
    of("64 tiers, pair in the last", "tiers64_last", "small_pair")
    of("200 pools, pair in the first", "pools200_first", "small_pair")
    of("200 pools, pair in the last", "pools200_last", "small_pair")
    of("64 threads that come and go, pair", "threads64_pair", "small_pair")
    of("64 threads that come and go, burst of 64", "threads64_burst64", "small_burst64")
    of("after those threads, pair", "after_threads_pair", "small_pair")
    of("after those threads, burst of 64", "after_threads_burst64", "small_burst64")
    of("two threads, a snapshot of 64 tiers every 10 ms", "snapshot_pair_beside", "snapshot_pair_without", 1.05)
    list[#list].note = "of none"
    local ns = r:median("snapshot", "pool")
    table.insert(list, verdict("scale such a snapshot", ns and ns / 1000, 50, {unit = "us"}))
    of("two threads, a change between three tables every 10 ms", "change_pair_beside", "change_pair_without", 1.3)
    list[#list].note = "of none"
    for _, n in ipairs {64, 128, 4096} do
        table.insert(list, verdict("scale bytes kept for a block of " .. size_text(n),
            r:median("block_bytes/" .. n, "pool"), 64, {unit = "B"}))
    end
    for _, how in ipairs {"read", "write", "update"} do
        of(how .. " of the first line of 512 blocks", "touch_" .. how, "touch_" .. how .. "_odd", 1.0)
        list[#list].note = "of lines 4160 B apart"
    end
end

local function judge_luajit(r, list)
    local function of(name, case, base, limit, note)
        table.insert(list, verdict("LuaJIT " .. name, r:ratio("lua_" .. case, "luajit", "lua_" .. base, "luajit"),
            limit, {note = note}))
    end
    of("bytepool.ffi get + put", "raw", "ffi_malloc", 0.45, "of FFI malloc + free")
    of("get_buffer + release", "buffer", "noop", 4.5, "of a C function that does nothing")
    of("get_buffer + release", "buffer", "ffi_new", 0.25, "of ffi.new")
    of("get_buffer + release", "buffer", "string_buffer", 0.6, "of string.buffer")
    of("retain + release", "retain_release", "retain_release_ffi", 1.5, "of the two calls by FFI")
    of("ref_count", "ref_count", "ref_count_ffi", 1.5, "of the call by FFI")
    of("every byte of 64 KiB", "byte_run", "byte_run_raw", 1.5, "of a raw pointer loop")
    of("every u32be of 64 KiB", "u32be_run", "u32be_run_raw", 2, "of a raw pointer loop")
    of("put of 16 bytes until 64 KiB", "put16", "put16_string_buffer", 1.2, "of string.buffer")
    of("sub of 4 KiB", "sub4k", "sub4k_ffi_string", 1.2, "of ffi.string")
    of("slice + release of 1 MiB", "slice", "memcpy16k", 1, "of memcpy of 16 KiB")
    of("get_buffer + release, paced", "level_off", "unpaced", 1.03, "of the same unpaced")
    of("get_buffer + release, leaks simple", "level_simple", "level_off", 1.05, "of off")
    of("300,000 live buffers, paced", "live_paced", "live_unpaced", 3, "of the same unpaced")
    local ns = r:median("lua_forgotten", "luajit")
    table.insert(list, verdict("LuaJIT a forgotten get", ns and ns / 1000, 15, {unit = "us"}))
    for name, case in pairs {
        ["retain + release"] = "retain_release", ref_count = "ref_count", byte = "byte_run", u32be = "u32be_run",
        put = "put16", sub = "sub4k", slice = "slice",
    } do
        table.insert(list, verdict(("LuaJIT %s, traces aborted"):format(name),
            r:median("lua_" .. case .. "_aborts", "luajit"), 0, {unit = ""}))
    end
end

--- All verdicts, in order.
function targets.judge(results)
    local list = {}
    judge_c(results, list)
    judge_scale(results, list)
    judge_luajit(results, list)
    return list
end

return targets
