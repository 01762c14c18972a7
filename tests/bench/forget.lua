-- What a forgotten buffer costs, beside 20 MiB of live Lua heap; and what pacing costs a program
-- that keeps 300,000 buffers of 4 KiB. Prints lines as luajit.lua does: case, 0, ns. For any Lua:
-- eval "$(make -s env LUA=lua5.4)"; lua5.4 tests/bench/forget.lua

local bytepool = require "bytepool"
local quick = (os.getenv("BENCH_QUICK") or "0") ~= "0" and os.getenv("BENCH_QUICK") ~= ""
local FORGOTTEN, LIVE = quick and 2000 or 100000, quick and 2000 or 300000
local BUDGET = bytepool.pacing().budget_bytes

-- A pool of its own for each run: blocks that were used before are cheaper.
local function keep(budget)
    bytepool.pacing {budget = budget}
    local pool, list = bytepool.new_pools(bytepool.size_power_of_two()), {}
    local began = os.clock()
    for i = 1, LIVE do list[i] = pool:get_buffer(4096) end
    local ns = (os.clock() - began) / LIVE * 1e9
    for i = 1, LIVE do list[i]:release() end
    pool:close()
    list = nil
    collectgarbage()
    collectgarbage()
    return ns, list
end

local function medians(rounds)
    local paced, unpaced = {}, {}
    for i = 1, rounds do
        unpaced[i] = keep(false)
        paced[i] = keep(BUDGET)
    end
    table.sort(paced)
    table.sort(unpaced)
    return paced[math.ceil(rounds / 2)], unpaced[math.ceil(rounds / 2)]
end

keep(false)
local paced, unpaced = medians(quick and 1 or 3)
print(("live_paced 0 %.2f"):format(paced))
print(("live_unpaced 0 %.2f"):format(unpaced))

local live = {}
collectgarbage "stop"
while collectgarbage "count" < 20 * 1024 do live[#live + 1] = {#live} end
collectgarbage "restart"
collectgarbage()
local pool = bytepool.new_pools(bytepool.size_power_of_two())
local began = os.clock()
for _ = 1, FORGOTTEN do pool:get_buffer(65536) end
print(("forgotten 0 %.2f"):format((os.clock() - began) / FORGOTTEN * 1e9))
io.stderr:write(#live < 0 and "never" or "")
