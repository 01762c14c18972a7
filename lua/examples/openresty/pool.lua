-- The worker's pool: bytepool check pool.lua tells what is wrong with it.
return {
    tiers = policy.power_of_two{from = 256, to = "1MiB"},
    limits = {idle = "32MiB", bytes = "256MiB", decay = "10s"},
}
