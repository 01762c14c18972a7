-- Runs the bench programs side by side, several rounds, and reports. From the root of the
-- checkout; bench.sh sets the paths.
--
-- BENCH_ROUNDS=9      rounds
-- BENCH_JSON=file     the results as JSON, too
-- BENCH_QUICK=1       does it all run? The figures mean nothing.

local figures = require "figures"
local machine = require "machine"
local report = require "report"
local targets = require "targets"

local BENCH = "build/bench/"
local libraries = {
    mimalloc = "libmimalloc.so.2",
    jemalloc = "libjemalloc.so.2",
    tcmalloc = "libtcmalloc_minimal.so.4",
}

local quick = (os.getenv("BENCH_QUICK") or "") ~= "" and os.getenv("BENCH_QUICK") ~= "0"
local rounds = math.max(1, math.floor(tonumber(os.getenv("BENCH_ROUNDS")) or (quick and 1 or 9)))

-- A side's environment, the program for it, and the side as the program names it.
local sides = {
    pool = {"", "", "pool"},
    raw = {"", "", "raw"},
    static = {"", "-static", "pool"},
    bare = {"LD_LIBRARY_PATH=" .. BENCH .. "bare/lib ", "", "pool"},
    glibc = {"", "", "malloc"},
}
for name, library in pairs(libraries) do sides[name] = {"LD_PRELOAD=" .. library .. " ", "", "malloc"} end

local scripts = {["tests/bench/luajit.lua"] = true, ["tests/bench/forget.lua"] = true} -- for LuaJIT

-- What is run in turn within a round: a program, its cases, the sides. Short, so that
-- the sides of a case are seconds apart at most.
local all = {"pool", "glibc", "mimalloc", "jemalloc", "tcmalloc"}
local plan = {
    {"alloc", "pair", {"pool", "raw", "static", "bare", "glibc", "mimalloc", "jemalloc", "tcmalloc"}},
    {"alloc", "pattern", {"pool", "static", "glibc", "mimalloc", "jemalloc", "tcmalloc"}},
    {"threads", "pair", all},
    {"threads", "handed", all},
    {"scale", "live", all},
    {"scale", "bytes64", all, rounds = 3},
    {"scale", "bytes128", all, rounds = 3},
    {"scale", "bytes4096", {"pool"}, rounds = 3},
    {"scale", "count", {"pool"}},
    {"scale", "snapshot", {"pool"}},
    {"scale", "change", {"pool"}},
    {"tests/bench/luajit.lua", "", {"luajit"}},
    {"tests/bench/forget.lua", "", {"luajit"}, rounds = 3},
}

-- The lines that a command prints, and whether it ended well.
local function lines_of(command)
    local pipe = assert(io.popen(command .. "; echo status $?"))
    local lines = {}
    for line in pipe:lines() do table.insert(lines, line) end
    pipe:close()
    return lines, table.remove(lines) == "status 0"
end

-- Allocators that answer when they are preloaded; the others are named as skipped.
local function find_sides()
    local here, skipped = {luajit = true}, {}
    local wanted = setmetatable({bare = "/bare/", glibc = "libc.so"}, {__index = libraries})
    for name, side in pairs(sides) do
        local said = lines_of(("%s%salloc%s %s who 2>/dev/null"):format(side[1], BENCH, side[2], side[3]))
        here[name] = #said > 0 and (not wanted[name] or said[1]:find(wanted[name], 1, true) ~= nil)
        if not here[name] then
            table.insert(skipped, wanted[name] and ("%s: no %s, or another answers"):format(name, wanted[name])
                or name .. ": the program does not run")
        end
    end
    table.sort(skipped)
    return here, skipped
end

local function run_step(results, step, side, round, failed)
    local program, case = step[1], step[2]
    local command
    if scripts[program] then
        command = "luajit " .. program
    else
        local s = sides[side]
        command = ("%s%s%s%s %s %s"):format(s[1], BENCH, program, s[2], s[3], case)
    end
    local lines, ended_well = lines_of(command)
    local prefix = scripts[program] and "lua_" or ""
    for _, line in ipairs(lines) do
        local name, size, value = line:match("^(%S+) (%d+) (%S+)$")
        if name then
            local key = prefix .. (size == "0" and name or name .. "/" .. size)
            results:add(key, side, round, tonumber(value))
        end
    end
    if not ended_well then failed[command] = true end
end

local function run_all(results, here)
    local failed, list = {}, {}
    for round = 1, rounds do
        for _, step in ipairs(plan) do
            for i = 1, round <= (step.rounds or rounds) and #step[3] or 0 do
                -- Each round begins with another side.
                local side = step[3][(i + round) % #step[3] + 1]
                if here[side] then run_step(results, step, side, round, failed) end
            end
        end
        io.stderr:write(("\rbench: round %d of %d "):format(round, rounds))
    end
    io.stderr:write("\n")
    for command in pairs(failed) do table.insert(list, "failed: " .. command) end
    table.sort(list)
    return list
end

local here, skipped = find_sides()
local results = figures.new()
local began = os.time()
local failed = run_all(results, here)
local about = {
    machine = machine.describe(),
    version = require "bytepool"._VERSION,
    rounds = rounds,
    quick = quick,
    seconds = os.time() - began,
    skipped = skipped,
    failed = failed,
}
local verdicts = targets.judge(results)

report.print(results, about, verdicts)
local file = os.getenv("BENCH_JSON")
if file and file ~= "" then report.write_json(file, results, about, verdicts) end
