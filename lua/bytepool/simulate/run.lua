--- A trace through the model of a pool.
--
-- Since 0.1.0.
-- @module bytepool.simulate.run

local model = require "bytepool.simulate.model"
local replay = require "bytepool.simulate.replay"

local to_integer = require("bytepool.compat").to_integer

-- The same kind of number on every Lua.
local function whole(t)
    for key, value in pairs(t) do
        if type(value) == "table" then whole(value) else t[key] = to_integer(value) or value end
    end
end

---@param config bytepool.simulate.Config
---@param trace bytepool.simulate.Trace
---@param hold integer
---@return bytepool.Simulation
return function(config, trace, hold)
    local pool = model.new(config)
    replay(trace, pool, hold)
    local figures = pool:stats()
    whole(figures)
    figures.hits = figures.requests > 0 and figures.hit / figures.requests or 0.0
    figures.waste = figures.asked_bytes > 0 and figures.waste_bytes / figures.asked_bytes or 0.0
    return figures
end
