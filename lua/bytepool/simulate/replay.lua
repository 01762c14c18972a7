--- A trace through a pool, the model or one that does the same: `get(n)` returns something to give `put`, or nil
--- where it refuses; `trim()`, and `tick(seconds)` where it has one.
--
-- Since 0.1.0.
-- @module bytepool.simulate.replay

local sorted_keys = require("bytepool.options").sorted_keys

-- What is to go back before the get of that number: a block, or several.
local function schedule(due, at, block)
    local held = due.first[at]
    if held == nil then
        due.first[at] = block
        return
    end
    local more = due.more[at]
    if not more then
        more = {}
        due.more[at] = more
    end
    more[#more + 1] = block
end

local function give_back(pool, due, at)
    local block = due.first[at]
    if block == nil then return end
    pool:put(block)
    due.first[at] = nil
    local more = due.more[at]
    if not more then return end
    for i = 1, #more do pool:put(more[i]) end
    due.more[at] = nil
end

--- Replays a trace. What is out at its end goes back then: what waits for a get, in the order in which it would
--- have gone, then what has a name, in the order of the gets.
---@param trace bytepool.simulate.Trace
---@param pool {get: function, put: function, trim: function, tick?: function}
---@param hold integer during how many gets a buffer stays out whose line does not say it
return function(trace, pool, hold)
    local kinds, sizes, times, holds, names = trace.kinds, trace.sizes, trace.times, trace.holds, trace.names
    local due, named, order, gets = {first = {}, more = {}}, {}, {}, 0
    for i = 1, trace.count do
        local kind = kinds[i]
        if kind == "size" then
            local bytes, stays = sizes[i], (holds[i] or hold) + 1
            for _ = 1, times[i] do
                gets = gets + 1
                give_back(pool, due, gets)
                local block = pool:get(bytes)
                if block ~= nil then schedule(due, gets + stays, block) end
            end
        elseif kind == "get" then
            gets = gets + 1
            give_back(pool, due, gets)
            named[names[i]], order[names[i]] = pool:get(sizes[i]), gets
        elseif kind == "put" then
            local name = names[i]
            if named[name] ~= nil then pool:put(named[name]) end
            named[name] = nil
        elseif kind == "trim" then
            pool:trim()
        elseif pool.tick then
            pool:tick(sizes[i])
        end
    end
    for _, at in ipairs(sorted_keys(due.first)) do give_back(pool, due, at) end
    local left = sorted_keys(named)
    table.sort(left, function(a, b) return order[a] < order[b] end)
    for _, name in ipairs(left) do pool:put(named[name]) end
end
