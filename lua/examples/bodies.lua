-- A config: `bytepool check lua/examples/bodies.lua`, bytepool.load_config("bodies.lua").
return {
    name = "bodies",
    tiers = policy.power_of_two{from = 512, to = "2MiB"},
    limits = {idle = "64MiB", bytes = "512MiB", decay = "10s"},
    leaks = "simple",
    on_tick = function(stats, pool)
        if stats.idle_bytes > stats.in_use_bytes + 32 * 1024 * 1024 then pool:trim() end
    end,
}
