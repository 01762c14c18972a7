-- Tiers fitted to requests, and what is predicted of tiers. BP_TRACE=FILE (sizes on lines) adds the figures
-- of the trace cloudphysics-io-sizes.txt.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local policy = require "bytepool".policy

local function round_up(n, align)
  local up = math.ceil(n / align) * align
  return up > 0 and up or align
end

-- Waste of tiers by its definition, without a word of the code under test.
local function waste_of(sizes, tiers)
  local waste = 0
  for _, size in ipairs(sizes) do
    local best
    for _, tier in ipairs(tiers) do
      if tier >= size and (not best or tier < best) then best = tier end
    end
    if not best then return math.huge end
    waste = waste + best - size
  end
  return waste
end

local function distinct(sizes, align)
  local seen, list = {}, {}
  for _, size in ipairs(sizes) do
    local up = round_up(size, align)
    if not seen[up] then
      seen[up] = true
      list[#list + 1] = up
    end
  end
  table.sort(list)
  return list
end

-- The least waste of all choices of n tiers; a tier is worth being at a size alone.
local function least_waste(sizes, n, align)
  local points, least = distinct(sizes, align), math.huge
  local function choose(from, chosen)
    if #chosen == n or from > #points then
      least = math.min(least, waste_of(sizes, chosen))
      return
    end
    choose(from + 1, chosen)
    chosen[#chosen + 1] = points[from]
    choose(from + 1, chosen)
    chosen[#chosen] = nil
  end
  choose(1, {})
  return least
end

-- The recurrence as it stands, in time points * points * n.
local function slow_waste(sizes, n)
  local points, counts, asked = distinct(sizes, 1), {}, 0
  for _, size in ipairs(sizes) do
    counts[size] = (counts[size] or 0) + 1
    asked = asked + size
  end
  local row = { [0] = 0 }
  for _ = 1, n do
    local next_row = { [0] = 0 }
    for j = 1, #points do
      local requests, least = 0, math.huge
      for i = j - 1, 0, -1 do
        requests = requests + counts[points[i + 1]]
        if row[i] then least = math.min(least, row[i] + points[j] * requests) end
      end
      next_row[j] = least
    end
    row = next_row
  end
  return row[#points] - asked
end

-- A trace with a few frequent sizes and a tail: the same on every Lua.
local function synthetic()
  local sizes, state = {}, 1
  for i = 1, 5000 do
    state = state * 16807 % 2147483647
    sizes[i] = state % 4 == 0 and 4096 or state % 4 == 1 and 65536 or 512 * (1 + math.floor(state / 4) % 128)
  end
  return sizes
end

describe("policy.fit", function()
  it("finds what a search of all choices finds, 500 times #random", function()
    h.seeded(function(random, seed)
      for case = 1, 500 do
        local sizes, range = {}, ({ 8, 40, 1000, 1000000 })[random(1, 4)]
        local align = random(1, 4) == 1 and 64 or 1
        for i = 1, random(1, 10) do sizes[i] = random(0, range) end
        local n = random(1, 6)
        local tiers, told = policy.fit(sizes, n, { align = align })
        local least = least_waste(sizes, n, align)
        assert.equal(least, told.waste_bytes, ("case %d of seed %d"):format(case, seed))
        assert.equal(least, waste_of(sizes, tiers))
        assert.is_true(#tiers <= n)
        for _, tier in ipairs(tiers) do assert.equal(0, tier % align) end
      end
    end)
  end)

  it("finds what the plain recurrence finds, with many sizes and tiers #random", function()
    h.seeded(function(random)
      for _, n in ipairs { 2, 3, 7, 16, 33 } do
        local sizes = {}
        for i = 1, 400 do sizes[i] = random(1, 3) == 1 and random(1, 300) or random(1, 100000) end
        local tiers, told = policy.fit(sizes, n)
        assert.equal(n, #tiers)
        assert.equal(slow_waste(sizes, n), told.waste_bytes)
        assert.equal(told.waste_bytes, waste_of(sizes, tiers))
      end
    end)
  end)

  it("is exact with large sizes and counts", function()
    local counts, sizes = {}, {}
    for i = 1, 60 do
      counts[2 ^ 40 - (60 - i) * (60 - i) * 977] = 100 -- 6,000 requests of 2^40: just below 2^53
      sizes[i] = 2 ^ 40 - (60 - i) * (60 - i) * 977
    end
    for _, n in ipairs { 2, 5, 31 } do
      local _, told = policy.fit(counts, n)
      assert.equal(100 * slow_waste(sizes, n), told.waste_bytes)
    end
  end)

  it("fits a trace", function()
    local sizes = synthetic()
    local before
    for n = 1, 20 do
      local tiers, told = policy.fit(sizes, n)
      assert.equal(slow_waste(sizes, n), told.waste_bytes)
      assert.equal(65536, tiers[#tiers])
      assert.is_true(not before or told.waste < before)
      before = told.waste
    end
  end)

  it("takes the same requests in each form", function()
    local counts, buckets = {}, {}
    local sizes = synthetic()
    for _, size in ipairs(sizes) do counts[size] = (counts[size] or 0) + 1 end
    for size, count in pairs(counts) do buckets[#buckets + 1] = { le = size, count = count } end
    local tiers, told = policy.fit(sizes, 6)
    for _, form in ipairs { counts, buckets, { histogram = buckets } } do
      assert.same({ tiers, told }, { policy.fit(form, 6) })
    end
  end)

  it("takes a snapshot of a pool", function()
    local pool = h.new(nil, { 512, 4096 })
    for _ = 1, 10 do pool:get_buffer(512):release() end
    for _ = 1, 5 do pool:get_buffer(4096):release() end
    local tiers, told = policy.fit(pool:get_pool_stats(), 8)
    assert.same({ 512, 4096 }, tiers)
    assert.equal(15, told.requests)
    h.all_back(pool)
  end)

  it("tells what each tier gets", function()
    local tiers, told = policy.fit({ 10, 10, 10, 20, 100 }, 2)
    assert.same({ 20, 100 }, tiers)
    assert.same({ requests = 5, discarded = 0, asked_bytes = 150, waste_bytes = 30, waste = 0.2, hits = 0.6, tiers = {
      { size = 20, requests = 4, asked_bytes = 50, waste_bytes = 30 },
      { size = 100, requests = 1, asked_bytes = 100, waste_bytes = 0 },
    } }, told)
  end)

  it("takes the fewest tiers for a waste", function()
    local sizes = synthetic()
    for n = 2, 12 do
      local _, told = policy.fit(sizes, n)
      local tiers, same = policy.fit(sizes, 64, { max_waste = told.waste + 1e-9 })
      assert.equal(n, #tiers)
      assert.equal(told.waste_bytes, same.waste_bytes)
    end
    assert.equal(3, #policy.fit(sizes, 3, { max_waste = 0 })) -- as good as it gets
    assert.equal(2, #policy.fit({ 1, 2, 1 }, 64, { max_waste = 0 }))
  end)

  it("takes requests of 0 bytes and one size alone", function()
    assert.same({ 1 }, (policy.fit({ 0 }, 4)))
    assert.same({ 1 }, (policy.fit({ 0, 1, 0 }, 4)))
    assert.same({ 64 }, (policy.fit({ 0, 1 }, 4, { align = "64B" })))
    assert.same({ 7 }, (policy.fit({ [7] = 100 }, 64)))
    assert.same({ 2 ^ 40 }, (policy.fit({ 2 ^ 40 }, 1)))
  end)

  it("refuses wrong arguments", function()
    h.raises(function() policy.fit({ 1 }) end, "fit: argument 'n' must be a whole number from 1 to 64, got nil")
    h.raises(function() policy.fit({ 1 }, 65) end, "fit: argument 'n' must be a whole number from 1 to 64, got 65")
    h.raises(function() policy.fit(nil, 1) end, "fit: argument 'samples' must be a table, got nil")
    h.raises(function() policy.fit({}, 1) end, "fit: argument 'samples' has no request in it")
    local must = " must be a whole number from 0 to 1099511627776, got "
    h.raises(function() policy.fit({ 1, 1.5 }, 1) end, "fit: samples[2]" .. must .. "1.5")
    h.raises(function() policy.fit({ 1, "2" }, 1) end, "fit: samples[2]" .. must .. '"2"')
    h.raises(function() policy.fit({ x = 1 }, 1) end, "fit: a key of samples" .. must .. '"x"')
    h.raises(function() policy.fit({ [9] = 0 }, 1) end, "fit: samples[9] must be a whole number of at least 1, got 0")
    h.raises(function() policy.fit({ { le = 1 } }, 1) end,
      "fit: samples[1].count must be a whole number of at least 1, got nil")
    h.raises(function() policy.fit({ histogram = { { count = 1 } } }, 1) end,
      "fit: samples.histogram[1].le" .. must .. "nil")
    h.raises(function() policy.fit({ { le = 1, count = 1 }, 5 }, 1) end,
      "fit: samples[2] must be a table as the first is, got 5")
    h.raises_like(function() policy.fit({ 1 }, 1, { aline = 1 }) end, "fit: unknown option 'aline'")
    h.raises_like(function() policy.fit({ 1 }, 1, { align = 0 }) end, "fit: option 'align' must be ")
    h.raises_like(function() policy.fit({ 1 }, 1, { max_waste = -1 }) end, "fit: option 'max_waste' must be ")
  end)

  -- In a process of its own, whose peak of memory it tells.
  local compiles = h.is_luajit and rawget(_G, "jit").status() and h.exists("/proc/self/status")
  if compiles then
    it("fits 64 tiers to a million sizes in 10 seconds and 1 GiB", function()
      local out = h.script_ok [[
        local policy = require "bytepool.policy"
        local counts, size, state = {}, 0, 1
        for _ = 1, 1000000 do
          state = state * 16807 % 2147483647
          size = size + 1 + state % 1000
          counts[size] = 1 + state % 50
        end
        local began = os.clock()
        local tiers = policy.fit(counts, 64)
        local seconds = os.clock() - began
        for line in io.lines("/proc/self/status") do
          local peak = line:match("VmHWM:%s*(%d+)")
          if peak then print(#tiers, seconds, peak) end
        end
      ]]
      local tiers, seconds, peak = out:match("^(%S+)%s+(%S+)%s+(%S+)")
      assert.equal("64", tiers)
      assert.is_true(tonumber(seconds) < 10, out)
      assert.is_true(tonumber(peak) < 1048576, out)
    end)
  end

  local trace = os.getenv("BP_TRACE")
  if trace then
    it("finds the best tiers of the trace", function()
      local sizes = {}
      for line in io.lines(trace) do sizes[#sizes + 1] = tonumber(line) end
      assert.equal("18.67", ("%.2f"):format(100 * policy.predict(sizes, policy.power_of_two()).waste))
      for n, waste in pairs { [4] = "7.001", [6] = "2.851", [8] = "1.518", [15] = "0.349" } do
        local tiers, told = policy.fit(sizes, n)
        assert.equal(n, #tiers)
        assert.equal(waste, ("%.3f"):format(100 * told.waste))
      end
    end)
  end
end)

describe("policy.predict", function()
  it("counts what is above the largest tier apart", function()
    local told = policy.predict({ 10, 20, 30, 5000 }, { 16, 64, 1024 })
    assert.same({ requests = 4, discarded = 1, asked_bytes = 60, waste_bytes = 6 + 44 + 34, waste = 84 / 60,
      hits = 1 / 4, tiers = {
        { size = 16, requests = 1, asked_bytes = 10, waste_bytes = 6 },
        { size = 64, requests = 2, asked_bytes = 50, waste_bytes = 78 },
        { size = 1024, requests = 0, asked_bytes = 0, waste_bytes = 0 },
      } }, told)
  end)

  -- The pool's own books are the judge.
  it("is what a pool counts, each buffer going back before the next get #random", function()
    h.seeded(function(random)
      local sizes = {}
      for i = 1, 500 do sizes[i] = random(0, 70000) end
      local pool = h.new({ name = "predicted" }, policy.power_of_two_plus { from = 256, to = 65536 })
      for _, size in ipairs(sizes) do pool:get_buffer(size):release() end
      local s = h.all_back(pool)
      local told = policy.predict(sizes, pool:get_available_sizes())
      local hits = 0
      for _, tier in pairs(s.pools) do hits = hits + tier.hit end
      assert.same({ s.requests, s.discarded, s.asked_bytes, s.waste_bytes },
        { told.requests, told.discarded, told.asked_bytes, told.waste_bytes })
      for _, tier in ipairs(told.tiers) do assert.equal(s.pools[tier.size].get, tier.requests) end
      pool:close()
      assert.is_true(math.abs(hits / s.requests - told.hits) < 1e-12, hits .. " " .. told.hits * s.requests)
    end)
  end)

  it("refuses wrong arguments", function()
    h.raises(function() policy.predict({ 1 }) end,
      "predict: argument 'sizes' must be an array of 1 to 64 sizes or a policy, got nil")
    h.raises(function() policy.predict(5, { 1 }) end, "predict: argument 'samples' must be a table, got 5")
  end)
end)
