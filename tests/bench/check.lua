-- Does the JSON of a bench run hold every case that there should be? For tests/run; what
-- the figures say does not matter here.
-- usage: luajit tests/bench/check.lua FILE

local cjson = require "cjson"

local file = assert(io.open(arg[1]))
local run = cjson.decode(file:read("*a"))
file:close()

local sizes = {128, 512, 4096, 65536, 262144, 1048576, 2097152}
local expected = {} -- case -> side
local function expect(side, ...) for _, case in ipairs {...} do expected[case] = side end end

for _, n in ipairs(sizes) do
    for _, case in ipairs {"pair", "one", "two", "handed", "handed_touched"} do expect("pool", case .. "/" .. n) end
end
for _, n in ipairs {128, 4096, 65536} do expect("pool", "burst1/" .. n, "burst8/" .. n, "burst64/" .. n) end
for _, n in ipairs {1000, 1000000} do
    for _, what in ipairs {"pair", "burst64", "replace", "stats"} do expect("pool", ("live_%s/%d"):format(what, n)) end
end
expect("pool", "mixed", "small_pair", "small_burst64", "tiers64_first", "tiers64_last", "tiers64_in_turn",
    "pools200_first", "pools200_last", "pools200_in_turn", "threads64_pair", "threads64_burst64",
    "after_threads_pair", "after_threads_burst64", "touch_read", "touch_read_odd", "touch_write",
    "touch_write_odd", "touch_update", "touch_update_odd", "snapshot", "snapshot_pair_without",
    "snapshot_pair_beside", "change", "change_pair_without", "change_pair_beside")
expect("luajit", "lua_ffi_malloc", "lua_raw", "lua_buffer", "lua_noop", "lua_ffi_new", "lua_retain_release",
    "lua_retain_release_ffi", "lua_ref_count", "lua_ref_count_ffi", "lua_byte", "lua_retain_release_aborts",
    "lua_ref_count_aborts", "lua_byte_run", "lua_byte_run_raw", "lua_u32be_run", "lua_u32be_run_raw", "lua_put16",
    "lua_sub4k", "lua_sub4k_ffi_string", "lua_slice", "lua_memcpy16k", "lua_slice_aborts",
    "lua_level_off", "lua_level_simple", "lua_level_advanced", "lua_level_paranoid", "lua_debug_pool", "lua_unpaced",
    "lua_live_paced", "lua_live_unpaced", "lua_forgotten")

local wrong = 0
local function say(text)
    print(text)
    wrong = wrong + 1
end

local medians = {}
for _, entry in ipairs(run.cases) do medians[entry.case] = entry.median end
for case, side in pairs(expected) do
    local value = medians[case] and medians[case][side]
    local least = case:find("_aborts$") and 0 or 1e-6
    if type(value) ~= "number" or value < least then say(("no %s of %s"):format(case, side)) end
end
for _, side in ipairs {"raw", "static", "bare", "glibc"} do
    local skipped = table.concat(run.about.skipped, "\n"):find(side, 1, true)
    if not medians["pair/4096"][side] and not skipped then say("no pairs of " .. side) end
end
for _, text in ipairs(run.about.failed) do say(text) end
if #run.targets < 60 then say("only " .. #run.targets .. " targets were judged") end
if wrong > 0 then os.exit(1) end
