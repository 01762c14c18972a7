-- Prints the dump of two pools: one that works, with all that a snapshot may have one day, and one
-- with hostile names.
local bytepool = require "bytepool"
local report = bytepool.report

local pool = assert(bytepool.new_pools(bytepool.size_power_of_two(), { name = "main" }))
local held, state = {}, 1
for i = 1, 3000 do
  state = state * 16807 % 2147483647
  local buf = assert(pool:get_buffer(math.floor(2 ^ (state / 2147483647 * 21.4))))
  if i % 17 == 0 then held[#held + 1] = buf else buf:release() end
end

-- What it has not got yet.
local function fill(s)
  local function default(t, key, value) if t[key] == nil then t[key] = value end end
  local asked, waste = 0, 0
  for size, tier in pairs(s.pools) do
    default(tier, "asked_bytes", math.floor(tier.get * size * 0.8))
    default(tier, "waste_bytes", tier.get * size - tier.asked_bytes)
    default(tier, "collected", tier.put % 5)
    default(tier, "peak_in_use", tier.in_use)
    default(tier, "peak_owned", tier.owned)
    asked, waste = asked + tier.asked_bytes, waste + tier.waste_bytes
  end
  default(s, "asked_bytes", asked + s.discarded_bytes)
  default(s, "waste_bytes", waste)
  default(s, "time", 1785000000.25)
  default(s, "uptime", 3723.5)
  for i, key in ipairs { "peak_in_use_bytes", "collected", "collected_bytes", "double_releases", "trims",
    "returned_bytes", "resident_bytes", "pinned_bytes", "overruns", "late_writes" } do default(s, key, i * 1000) end
  if not s.histogram or #s.histogram == 0 then
    s.histogram = {}
    for i = 0, 21 do s.histogram[i + 1] = { le = 2 ^ i, count = 100 + i * 9 } end
  end
  s.leak_level = "paranoid"
  s.leaks = {
    { kind = "out", site = "/srv/app/handlers/stream/chunk_reader.lua:1204", tag = "viewer", count = 3, bytes = 300000,
      age = 120000, traceback = "stack traceback:\n\tapp.lua:12: in function 'read'\n\tapp.lua:99: in main chunk" },
    { kind = "collected", site = "b.lua:1", count = 1, bytes = 4096 },
    { kind = "over_release", site = "<script>alert(1)</script>", tag = "\"><img src=x onerror=alert(1)>", count = 1 },
    { kind = "overrun", site = "back\\slash\nand\255", tag = "'", count = 2, bytes = 1 },
  }
  default(s, "gc", { held_bytes = 1000000, budget_bytes = 33554432, steps = 8, full = 1, cycles = 2, seconds = 0.0125 })
  return s
end

io.write(report.dump {
  main = fill(pool:get_pool_stats()),
  ['"><script>alert(1)</script>\\\n{evil="1"} 1\255'] = fill(pool:get_pool_stats()),
})
for _, buf in ipairs(held) do buf:release() end
