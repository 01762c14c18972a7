-- The model of the pool against the pool: the same trace through both, every figure compared. BP_TRACE=FILE (sizes
-- on lines) adds the trace cloudphysics-io-sizes.txt.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"
local depot = require "bytepool.simulate.depot"
local lines = require "bytepool.simulate.lines"
local model = require "bytepool.simulate.model"
local plan = require "bytepool.simulate.plan"
local replay = require "bytepool.simulate.replay"

local KiB, MiB = 1024, 1024 * 1024
local POOL = { "requests", "total_get", "total_put", "discarded", "discarded_put", "discarded_bytes", "asked_bytes",
  "waste_bytes", "in_use", "in_use_bytes", "idle_bytes", "owned_bytes", "peak_owned_bytes", "trimmed_bytes", "trims",
  "over_quota", "decayed_bytes" }
local TICK, DECAY = 0.004, 0.002 -- seconds between ticks, and a decay of which the windows are shorter
local TIER = { "get", "put", "hit", "miss", "in_use", "owned", "idle", "cached", "depot", "asked_bytes", "waste_bytes",
  "peak_owned" }

-- A pool as replay takes it. What is in use is summed here, as the pool samples its peak.
local function real(pool)
  local counted = { in_use = 0, peak = 0 }
  function counted:get(n)
    local buf, fault = pool:get_buffer(n)
    if not buf then
      assert.truthy(fault:find "^over quota", fault)
      return nil
    end
    self.in_use = self.in_use + buf:capacity()
    self.peak = math.max(self.peak, self.in_use)
    return buf
  end
  function counted:put(buf)
    self.in_use = self.in_use - buf:capacity()
    buf:release()
  end
  function counted.trim() pool:trim() end
  function counted.tick() -- in another window of decay than the last one
    local began = os.clock()
    repeat until os.clock() - began > TICK
    pool:tick()
  end
  return counted
end

local function figures_of(s, peak)
  local figures = { peak_in_use_bytes = peak }
  for _, key in ipairs(POOL) do figures[key] = s[key] end
  for size, tier in pairs(s.pools) do
    for _, key in ipairs(TIER) do figures[("%d.%s"):format(size, key)] = tier[key] end
  end
  return figures
end

-- The pool that a model's config describes.
local function pool_of(config)
  local tiers = {}
  for i, size in ipairs(config.sizes) do
    local limit = config.limits and config.limits[i]
    tiers[i] = limit and { size = size, max_idle = limit.max_idle, max_bytes = limit.max_bytes,
      max_waste = limit.max_waste } or size
  end
  return h.new({ max_idle = config.max_idle, debug = config.debug, max_bytes = config.max_bytes,
    max_waste = config.max_waste, decay = config.decay, pressure = false }, tiers)
end

-- Figures of the pool and of the model. The pool is new, and so is the cache that this thread has of it.
local function both(trace, config, hold)
  local pool = pool_of(config)
  local counted = real(pool)
  replay(trace, counted, hold or 0)
  local s = h.all_back(pool)
  pool:close()
  local simulated = model.new(config)
  replay(trace, simulated, hold or 0)
  local told = simulated:stats()
  assert.is_true(s.peak_in_use_bytes <= told.peak_in_use_bytes)
  for size, tier in pairs(s.pools) do assert.is_true(tier.peak_in_use <= told.pools[size].peak_in_use) end
  return figures_of(s, counted.peak), figures_of(told, told.peak_in_use_bytes), told
end

local function agree(trace, config, hold)
  local counted, simulated, told = both(trace, config, hold)
  assert.same(counted, simulated)
  return told
end

local function random_sizes(random)
  local seen, sizes = {}, {}
  for _ = 1, random(1, 8) do
    local low = 2 ^ random(6, 22)
    local size = low + random(0, low)
    if not seen[size] then sizes[#sizes + 1] = size end
    seen[size] = true
  end
  table.sort(sizes)
  return sizes
end

-- Sizes with and without lifetimes, named buffers in any order, some above the largest tier, trims, and ticks if
-- these are asked for: the last ones in quiet.
local function random_trace(random, sizes, steps, ticks)
  local trace, out, named, ticked = lines.new(), {}, 0, 0
  local function add(format, ...) assert.is_nil(lines.add(trace, format:format(...))) end
  local function size()
    if random(1, 8) == 1 then return random(0, math.floor(sizes[#sizes] * 1.2)) end
    return math.max(sizes[random(1, #sizes)] - random(0, 20), 0)
  end
  local function tick()
    ticked = ticked + 1
    add("time %.3f", ticked * TICK)
  end
  local longest = 2 ^ random(0, 9)
  for _ = 1, steps do
    local what = random(1, 100)
    if what <= 30 then
      add("%d %d @%d", size(), random(1, 4), random(0, longest))
    elseif what <= 45 then
      add("%d", size())
    elseif what <= 74 or what <= 99 and #out == 0 then
      named = named + 1
      out[#out + 1] = named
      add("get b%d %d", named, size())
    elseif what <= 99 then
      local at = random(1, #out)
      add("put b%d", out[at])
      out[at] = out[#out]
      out[#out] = nil
    elseif random(1, 4) == 1 then
      add "trim"
    end
    if ticks and random(1, 20) == 1 then tick() end
  end
  for _ = 1, ticks and 4 or 0 do tick() end -- what is idle by then decays
  return trace
end

-- A burst of every tier that goes back out of order, then small change: slabs are taken, kept, given back and
-- taken again.
local TIERS = { 4096, 20000, 64 * KiB, MiB }

local function bursts()
  local trace = lines.new()
  local function add(format, ...) assert.is_nil(lines.add(trace, format:format(...))) end
  for round = 1, 4 do
    for _, size in ipairs(TIERS) do
      for i = 0, math.floor(12 * MiB / size) - 1 do add("get %d.%d.%d %d", round, size, i, size) end
    end
    for _, size in ipairs { 64 * KiB, 4096, MiB, 20000 } do
      local count = math.floor(12 * MiB / size)
      for i = 0, count - 1 do add("put %d.%d.%d", round, size, i * 1009 % count) end
      for _ = 1, 50 do add "3000 @3" end
    end
  end
  return trace
end

-- A generator that repeats itself, for traces that must be the same each time.
local function generator(seed)
  local state = seed * 7919
  return function(low, high)
    state = state * 16807 % 2147483647
    return low + state % (high - low + 1)
  end
end

describe("the model of the pool", function()
  it("counts as the pool, on random traces #random", function()
    h.seeded(function(random)
      local trimmed, shut = 0, 0
      for _ = 1, 40 do
        local sizes = random_sizes(random)
        local config = { sizes = sizes, max_idle = math.floor(2 ^ (random(0, 2700) / 100)) - random(0, 1) }
        local hold = random(1, 4) == 1 and random(1, 600) or 0
        local told = agree(random_trace(random, sizes, random(10, 600)), config, hold)
        if told.trimmed_bytes > 0 then trimmed = trimmed + 1 end
        if told.trimmed_bytes > 20 * config.max_idle then shut = shut + 1 end
      end
      assert.is_true(trimmed >= 10 and shut >= 3, trimmed .. " " .. shut)
    end)
  end)

  local function random_limits(random, config)
    local function some(value) return random(1, 2) == 1 and value or nil end
    config.max_bytes = some(math.floor(2 ^ (random(2000, 2700) / 100)))
    config.max_waste = some(random(0, 10) / 10)
    config.decay = some(DECAY) or 0
    config.limits = {}
    for i, size in ipairs(config.sizes) do
      config.limits[i] = some { max_idle = some(random(0, 40) * size), max_bytes = some(random(1, 40) * size),
        max_waste = some(random(0, 10) / 10) }
    end
  end

  it("counts as the pool, with limits #random", function()
    h.seeded(function(random)
      local refused, decayed, alone = 0, 0, 0
      for _ = 1, 40 do
        local sizes = random_sizes(random)
        local config = { sizes = sizes, max_idle = math.floor(2 ^ (random(1800, 2700) / 100)) }
        random_limits(random, config)
        local trace, hold = random_trace(random, sizes, random(10, 600), config.decay > 0), random(0, 60)
        local told = agree(trace, config, hold)
        local free = model.new { sizes = sizes, max_idle = config.max_idle }
        replay(trace, free, hold)
        refused, decayed = refused + told.over_quota, decayed + told.decayed_bytes
        if told.discarded > free:stats().discarded then alone = alone + 1 end
      end
      assert.is_true(refused > 100 and decayed > 0 and alone > 0, ("%s %s %s"):format(refused, decayed, alone))
    end)
  end)

  it("counts as the pool, where bursts come and go", function()
    for _, max_idle in ipairs { 0, 1, 4 * MiB, 8 * MiB + 1, 20 * MiB, 64 * MiB, 1024 * MiB } do
      local told = agree(bursts(), { sizes = TIERS, max_idle = max_idle })
      assert.equal(max_idle < 50 * MiB, told.trimmed_bytes > 0)
    end
  end)

  it("counts as a pool with the option debug #random", function()
    for _, sizes in ipairs { { 1024, 64 * KiB, 4 * MiB }, { 48, 112, 4080 } } do
      h.seeded(function(random)
        agree(random_trace(random, sizes, 200), { sizes = sizes, max_idle = 6 * MiB, debug = true }, 20)
      end)
    end
  end)

  local function patched(module, name, make)
    return function(run)
      local right = module[name]
      module[name] = make(right)
      local ok, fault = pcall(run)
      module[name] = right
      if not ok then error(fault, 0) end
    end
  end

  -- Each of these makes it another pool, which the comparison must tell on some of these traces.
  local mutants = {
    ["fresh blocks"] = patched(plan, "cut", function(cut)
      return function(...)
        local made = cut(...)
        made.take = made.take + 2
        return made
      end
    end),
    ["blocks of a slab"] = patched(plan, "cut", function(cut)
      return function(...)
        local made = cut(...)
        made.blocks = math.max(made.blocks - 1, 1)
        return made
      end
    end),
    ["what a cache may hold"] = patched(plan, "cache", function(cache)
      return function(...)
        local counts, lease = cache(...)
        counts[1] = math.max(counts[1] - 1, 0)
        return counts, lease
      end
    end),
    ["its lease"] = patched(plan, "cache", function(cache)
      return function(...)
        local counts, lease = cache(...)
        return counts, lease * 0.7
      end
    end),
    ["the order of slabs"] = patched(depot, "give", function(give)
      return function(pool, d, blocks, n)
        local turned = {}
        for i = 1, n do turned[i] = blocks[n + 1 - i] end
        give(pool, d, turned, n)
      end
    end),
    ["when it shrinks"] = patched(depot, "shrink", function(shrink)
      return function(pool)
        shrink(pool)
        if depot.idle_over(pool) then depot.trim(pool, 0) end
      end
    end),
    ["unused fresh blocks"] = patched(depot, "unfresh", function()
      return function(_, d) d.carving = false end
    end),
  }

  it("would be told from one that counts otherwise", function()
    local cases = {}
    for seed = 1, 16 do
      local random = generator(seed)
      local sizes = { random(20000, 30000), random(60000, 300000), random(400000, 2000000) }
      local config = { sizes = sizes, max_idle = 2 ^ random(21, 27) + random(0, MiB) }
      cases[seed] = { trace = random_trace(random, sizes, 3000), config = config }
      cases[seed].counted = both(cases[seed].trace, config)
    end
    local function differ()
      local count = 0
      for _, case in ipairs(cases) do
        local simulated = model.new(case.config)
        replay(case.trace, simulated, 0)
        local told = simulated:stats()
        local figures = figures_of(told, told.peak_in_use_bytes)
        for name, value in pairs(case.counted) do
          if figures[name] ~= value then
            count = count + 1
            break
          end
        end
      end
      return count
    end
    assert.equal(0, differ())
    for what, mutant in pairs(mutants) do
      local count
      mutant(function() count = differ() end)
      assert.is_true(count > 0, "another idea of " .. what .. " is not seen")
    end
  end)

  local file = os.getenv "BP_TRACE"
  if file then
    it("counts as the pool, on the trace", function()
      local trace = lines.new()
      for line in io.lines(file) do assert.is_nil(lines.add(trace, line)) end
      local policy = bytepool.policy
      for _, sizes in ipairs { policy.sizes(policy.power_of_two()), { 4096, 65536 } } do
        for _, run in ipairs { { 256, 0 }, { 1, 1 }, { 16, 100 }, { 8, 1000 }, { 256, 20000 }, { 0, 1000 } } do
          local told = agree(trace, { sizes = sizes, max_idle = run[1] * MiB }, run[2])
          assert.equal(113872, told.requests)
          if #sizes == 15 then assert.equal(785136640, told.waste_bytes) end
        end
      end
      local told = agree(trace, { sizes = policy.sizes(policy.power_of_two()), max_idle = 64 * MiB,
        max_bytes = 48 * MiB, max_waste = 0.25, decay = 0,
        limits = { [9] = { max_idle = MiB }, [10] = { max_bytes = 30 * MiB } } }, 1000)
      assert.is_true(told.over_quota > 1000 and told.discarded > 1000, told.over_quota .. " " .. told.discarded)
    end)
  end
end)
