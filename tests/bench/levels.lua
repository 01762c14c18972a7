-- Cases of luajit.lua: a get and a release of 4096 bytes at each level of leak detection, with
-- the collector paced and not. A case is a name and a function of how often.

return function(bytepool)
    local function pair_of(options)
        local pool = bytepool.new_pools(bytepool.size_power_of_two(), options)
        return function(n) for _ = 1, n do pool:get_buffer(4096):release() end end
    end

    local unpaced = pair_of()
    local budget = bytepool.pacing().budget_bytes
    local list = {
        {"level_off", pair_of {leaks = "off"}},
        {"level_simple", pair_of {leaks = "simple"}},
        {"level_advanced", pair_of {leaks = "advanced"}},
        {"level_paranoid", pair_of {leaks = "paranoid"}},
        {"debug_pool", pair_of {debug = true}},
        {"unpaced", function(n)
            bytepool.pacing {budget = false}
            unpaced(n)
            bytepool.pacing {budget = budget}
        end},
    }
    return list
end
