-- policy.adaptive: from snapshots of a real pool to tiers. BP_TRACE=FILE adds cloudphysics-io-sizes.txt.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"
local policy = bytepool.policy
local MAX_SIZE = require("bytepool.core").max_size

-- A pool that is asked, looked at and changed.
local Live = {}
Live.__index = Live

local function live(sizes, options)
  return setmetatable({ pool = h.new(options, sizes) }, Live)
end

function Live:get(n) self.pool:get_buffer(n):release() end

function Live:snapshot() return self.pool:get_pool_stats() end

function Live:configure(tiers) assert.truthy(self.pool:configure(tiers)) end

-- Requests 1 to count of next_size through the pool, a look every `step`, what it proposes done. Returns the
-- snapshots at which tiers changed, and the last one.
local function follow(pool, adaptive, count, next_size, step)
  local changes = {}
  for i = 1, count do
    pool:get(next_size(i))
    if i % step == 0 then
      local s = pool:snapshot()
      local tiers, why = adaptive:look(s, pool.pool:get_available_sizes())
      assert.equal("string", type(why))
      if tiers then
        changes[#changes + 1] = s
        s.at, s.tiers = i, tiers
        pool:configure(tiers)
      end
    end
  end
  return changes, pool:snapshot()
end

local function waste_between(a, b)
  return (b.waste_bytes - a.waste_bytes) / (b.asked_bytes - a.asked_bytes)
end

local function contains(tiers, size)
  for _, tier in ipairs(tiers) do
    if tier == size then return true end
  end
  return false
end

-- Sizes off the buckets' bounds: a few frequent ones, and a tail of one request in twenty.
local POPULAR = { 700, 5000, 12345, 69632, 100001 }

local function popular(random, sizes)
  return function()
    if random(1, 20) == 1 then return random(1, 100000) end
    return sizes[random(1, #sizes)]
  end
end

describe("policy.adaptive", function()
  it("finds exact sizes where a bucket's bound would waste, and stays there #random", function()
    h.seeded(function(random)
      local adaptive, pool = policy.adaptive { tiers = 16 }, live()
      local changes, last = follow(pool, adaptive, 100000, popular(random, POPULAR), 1000)
      assert.is_true(#changes >= 1 and #changes <= 3, #changes .. " changes")
      for _, size in ipairs { 12345, 69632, 100001 } do
        local tier = math.huge -- a seldom length close above may share it
        for _, t in ipairs(changes[1].tiers) do if t >= size and t < tier then tier = t end end
        assert.is_true(tier <= size * 1.01, size .. " goes to " .. tier)
      end
      assert.is_true(changes[1].waste_bytes / changes[1].asked_bytes > 0.2)
      local waste = waste_between(changes[1], last)
      assert.is_true(waste < 0.03, "waste " .. waste)
    end)
  end)

  local trace = os.getenv("BP_TRACE")
  if trace then
    it("follows the trace with at most 3 changes and less than 3 % waste from the first on", function()
      local sizes = {}
      for line in io.lines(trace) do sizes[#sizes + 1] = tonumber(line) end
      local function next_size(i) return sizes[i] end
      for _, step in ipairs { 100, 500, 1000, 2000, 4000 } do
        local adaptive, pool = policy.adaptive(), live()
        local changes, last = follow(pool, adaptive, #sizes, next_size, step)
        local waste = waste_between(changes[1], last)
        local said = ("a look every %d: %d changes, waste %.3f %%"):format(step, #changes, waste * 100)
        assert.is_true(#changes <= 3, said)
        assert.is_true(waste < 0.03, said)
        -- What is served alone wastes nothing in these books, so there must be little of it.
        assert.is_true(last.discarded - changes[1].discarded < #sizes / 20, said)
        pool.pool:close()
      end
    end)
  end

  it("works by buckets where the pool has no recent lengths #random", function()
    h.seeded(function(random)
      local adaptive, pool = policy.adaptive { tiers = 16 }, live(nil, { recent = { size = 0 } })
      local changes, last = follow(pool, adaptive, 40000, popular(random, POPULAR), 1000)
      assert.equal(1, #changes)
      local waste = waste_between(changes[1], last)
      assert.is_true(waste < 0.10, "waste " .. waste)
    end)
  end)

  it("lets a tier alone that fits within a bucket, with recent lengths and without", function()
    for _, recent in ipairs { 0, 256 } do
      local adaptive = policy.adaptive { min_requests = 1000 }
      local pool = live({ 4096, 69632, 131072 }, { recent = { size = recent } })
      local changes = follow(pool, adaptive, 10000, function() return 69632 end, 500)
      assert.equal(0, #changes)
      assert.equal("waste 0.00 %, less than the gain asked for, 2.00 %", adaptive:last().why)
    end
  end)

  it("follows a shift of the traffic, then rests #random", function()
    h.seeded(function(random)
      local adaptive, pool = policy.adaptive { tiers = 8, min_requests = 2000 }, live()
      local first, second = { 700, 5000, 12345 }, { 900, 20001, 33000, 150000 }
      local changes = follow(pool, adaptive, 50000, function() return first[random(1, 3)] end, 500)
      assert.is_true(#changes >= 1 and #changes <= 2)
      assert.is_nil(follow(pool, adaptive, 50000, function() return first[random(1, 3)] end, 500)[1])
      changes = follow(pool, adaptive, 50000, function() return second[random(1, 4)] end, 500)
      assert.is_true(#changes >= 1 and #changes <= 3, #changes .. " changes")
      assert.is_true(changes[1].at <= 2000, "only after " .. changes[1].at)
      local quiet, last = follow(pool, adaptive, 50000, function() return second[random(1, 4)] end, 500)
      assert.equal(0, #quiet)
      for _, size in ipairs { 20001, 33000, 150000 } do
        assert.is_true(contains(pool.pool:get_available_sizes(), size), "no tier " .. size)
      end
      assert.is_true(waste_between(changes[#changes], last) < 0.01)
    end)
  end)

  it("changes nothing for other shares of the same sizes #random", function()
    h.seeded(function(random)
      local adaptive, pool = policy.adaptive { tiers = 8, min_requests = 2000 }, live(POPULAR)
      for round = 1, 5 do
        local often = POPULAR[round]
        local changes = follow(pool, adaptive, 10000,
          function() return random(1, 4) > 1 and often or POPULAR[random(1, 5)] end, 500)
        assert.equal(0, #changes)
      end
    end)
  end)

  it("leaves a pool with little traffic alone, however much it wastes", function()
    local adaptive, pool = policy.adaptive(), live()
    local changes = follow(pool, adaptive, 3999, function() return 1025 end, 1)
    assert.equal(0, #changes)
    assert.equal("waits for 1 more requests (min_requests)", adaptive:last().why)
    assert.equal(3999, adaptive:last().requests)
    assert.same({}, adaptive:log())
    for _ = 1, 100 do assert.is_nil((adaptive:look(pool:snapshot()))) end -- looking is no traffic
    pool:get(1025)
    -- The bucket's end too: not every request was seen, and the largest must have a tier.
    assert.same({ 1025, 1152 }, (adaptive:look(pool:snapshot())))
  end)

  it("does not flap where waste is about the gain #random", function()
    h.seeded(function(random)
      -- Of 1000 requests of 1000 bytes about 40 are of 500: they waste some 2 % in the one tier there is.
      local adaptive, pool = policy.adaptive { tiers = 4, min_requests = 200, forget = 400 }, live { 1000 }
      local total = 0
      for _ = 1, 100 do
        local share = random(20, 60)
        total = total + #follow(pool, adaptive, 200,
          function() return random(1, 1000) <= share and 500 or 1000 end, 50)
      end
      assert.is_true(total <= 1, total .. " changes")
      -- Noise that fits nothing: any sizes at all.
      adaptive, pool = policy.adaptive { tiers = 12, min_requests = 500, forget = 2000 }, live()
      local changes = follow(pool, adaptive, 50000, function() return random(1, 65536) end, 250)
      assert.is_true(#changes <= 3, #changes .. " changes")
    end)
  end)

  it("waits longer each time where the traffic never settles", function()
    local adaptive, pool = policy.adaptive { tiers = 2, min_requests = 100, forget = 50 }, live()
    local sizes = { 512, 1536 } -- one or the other, and 3072
    local changes = follow(pool, adaptive, 25600,
      function(i) return i % 2 == 0 and 3072 or sizes[math.floor(i / 200) % 2 + 1] end, 20)
    assert.is_true(#changes >= 4 and #changes <= 9, #changes .. " changes") -- 9: 1 + log2 of 25600 / 100
    for i = 2, #changes - 1 do
      assert.is_true(changes[i + 1].at - changes[i].at >= math.min(100 * 2 ^ (i - 1), 6400))
    end
  end)

  it("gives valid tiers for any traffic and options, with one for the largest request #random", function()
    h.seeded(function(random)
      local proposed = 0
      for _ = 1, 150 do
        local tiers, align = random(1, 64), ({ 1, 1, 64, 4096, 100 })[random(1, 5)]
        local cap = random(1, 3) == 1 and random(1, 300000) or nil
        local adaptive = policy.adaptive { tiers = tiers, align = align, cap = cap, min_requests = 600,
          gain = 0.001, max_waste = random(1, 3) == 1 and random(0, 100) / 1000 or nil }
        local pool, largest, top = live(), 0, 2 ^ random(1, 22)
        for round = 1, 2 do
          for _ = 1, 700 do
            local n = random(0, random(1, 2) == 1 and top or random(1, top))
            if not cap or n <= cap then largest = math.max(largest, n) end
            pool:get(n)
          end
          local to, why = adaptive:look(pool:snapshot(), pool.pool:get_available_sizes())
          if to then
            proposed = proposed + 1
            assert.same(to, policy.sizes(to))
            assert.is_true(#to <= tiers, why)
            assert.is_true(to[#to] >= largest, why)
            assert.is_true(not cap or to[#to] <= cap, why)
            for _, size in ipairs(to) do assert.is_true(size % align == 0 or size == cap) end
            if round == 1 then pool:configure(to) end
          end
        end
        pool.pool:close()
      end
      assert.is_true(proposed > 100, proposed .. " proposals")
    end)
  end)

  it("aligns no tier beyond the largest that there may be", function()
    local adaptive = policy.adaptive { min_requests = 1, align = 3 }
    local tiers = adaptive:look { requests = 10, pools = { [100] = {} }, asked_bytes = 0, waste_bytes = 0, time = 0,
      histogram = { { le = 50, count = 5 }, { le = MAX_SIZE, count = 5 } }, recent_lengths = {} }
    assert.same({ 51, MAX_SIZE }, tiers)
    assert.same(tiers, policy.sizes(tiers))
  end)

  it("takes as few tiers as max_waste allows, and rests within it #random", function()
    h.seeded(function(random)
      local function next_size() return POPULAR[random(1, 5)] end
      local adaptive, pool = policy.adaptive { tiers = 16, max_waste = 0.25 }, live()
      local changes, last = follow(pool, adaptive, 50000, next_size, 1000)
      assert.is_true(#changes >= 1 and #changes <= 2)
      local last_change = changes[#changes]
      assert.is_true(#last_change.tiers <= 4, #last_change.tiers .. " tiers")
      local waste = waste_between(last_change, last)
      assert.is_true(waste > 0.1 and waste < 0.27, "waste " .. waste)
      assert.matches("^waste %S+ %%, within max_waste, 25.00 %%$", adaptive:last().why)
    end)
  end)

  it("keeps the limits of tiers that stay", function()
    local adaptive, pool = policy.adaptive { min_requests = 1000 }, live { 704, 4096, 2 ^ 20 }
    assert.equal(0, #follow(pool, adaptive, 900, function(i) return i % 2 == 0 and 704 or 5120 end, 225))
    for i = 1, 100 do pool:get(i % 2 == 0 and 704 or 5120) end
    local small, large = { size = "704B", max_idle = "1MiB" }, { size = 2 ^ 20, max_bytes = 2 ^ 30 }
    local tiers = adaptive:look(pool:snapshot(), { small, "4KiB", large, {} })
    assert.equal(2, #tiers)
    assert.equal(small, tiers[1])
    assert.equal(5120, tiers[2])
    assert.same({ 704, 5120 }, adaptive:log()[1].to)
  end)

  it("does not count a tier that drains", function()
    local adaptive, pool = policy.adaptive { min_requests = 100 }, live { 1024, 4096 }
    for _ = 1, 100 do pool:get(1024) end
    local s = pool:snapshot()
    s.pools[1024].draining = true
    assert.same({ 1024 }, (adaptive:look(s)))
    assert.same({ 4096 }, adaptive:log()[1].from)
  end)
end)

describe("an adaptive policy", function()
  -- A thousand requests at a time, of one size and of its like.
  local function turn(pool, adaptive, size)
    local tiers, why
    for i = 1, 1000 do
      pool:get(size)
      if i % 250 == 0 then tiers, why = adaptive:look(pool:snapshot()) end
    end
    return tiers, why
  end

  local function new() return policy.adaptive { tiers = 1, min_requests = 1000, forget = 100 } end

  it("logs what it proposed and what came of it", function()
    local adaptive, pool = new(), live()
    assert.is_nil(adaptive:last())
    local tiers, why = turn(pool, adaptive, 1152)
    assert.same({ 1152 }, tiers)
    local said = "waste 77.78 %, with other tiers 0.00 %, over 1000 requests"
    assert.equal(said, why)
    assert.equal(said, adaptive:last().why)
    local entry = adaptive:log()[1]
    assert.is_true(math.abs(entry.time - os.time()) < 60)
    assert.is_true(math.abs(entry.waste_before - 896 / 1152) < 1e-9)
    entry.time, entry.waste_before = nil, nil
    assert.same({ from = bytepool.size_power_of_two(), to = { 1152 }, predicted = 0, requests = 1000, why = said },
      entry)
    pool:configure(tiers)
    turn(pool, adaptive, 1152)
    assert.is_true(adaptive:log()[1].applied)
    turn(pool, adaptive, 1152)
    assert.equal(0, adaptive:log()[1].measured)
    turn(pool, adaptive, 1100)
    assert.is_true(math.abs(adaptive:log()[1].measured - 52 * 1000 / (2000 * 1152 + 1000 * 1100)) < 1e-9)
    adaptive:log()[1].to[1] = "spoilt"
    assert.same({ 1152 }, adaptive:log()[1].to)
  end)

  it("says when a proposal was not followed, and waits before the next", function()
    local adaptive, pool = new(), live()
    assert.is_table((turn(pool, adaptive, 1152)))
    assert.is_table((turn(pool, adaptive, 1152)))
    assert.is_false(adaptive:log()[1].applied)
    local tiers, why = turn(pool, adaptive, 1152) -- the second came soon on the first
    assert.is_nil(tiers)
    assert.equal("waits for 1000 more requests (since the last change)", why)
    assert.is_nil(adaptive:log()[2].measured)
  end)

  it("gives tiers that somebody else chose their time", function()
    local adaptive, pool = new(), live { 2048 }
    for _ = 1, 900 do pool:get(1152) end
    adaptive:look(pool:snapshot())
    pool:configure { 4096 }
    assert.is_nil((turn(pool, adaptive, 1152)) and nil)
    pool:configure { 2048 }
    for _ = 1, 999 do pool:get(1152) end
    assert.is_nil((adaptive:look(pool:snapshot())))
    pool:get(1152)
    assert.same({ 1152 }, (adaptive:look(pool:snapshot())))
  end)

  it("waits for some exact lengths before the first change, where there are any", function()
    local adaptive, pool = policy.adaptive { min_requests = 1000 }, live()
    local function burst()
      for _ = 1, 1000 do pool:get(1025) end
      local tiers, why = adaptive:look(pool:snapshot())
      return tiers, why
    end
    local tiers, why = burst()
    assert.is_nil(tiers)
    assert.equal("waits for 256 more exact lengths", why)
    assert.is_table((burst()))
    pool, adaptive = live(nil, { recent = { size = 0 } }), policy.adaptive { min_requests = 1000 }
    assert.is_table((burst()))
  end)

  it("begins anew with another pool", function()
    local adaptive, pool = new(), live()
    for _ = 1, 3 do turn(pool, adaptive, 5000) end
    pool = live()
    for _ = 1, 900 do pool:get(100) end
    assert.is_nil((adaptive:look(pool:snapshot())))
    assert.equal(900, adaptive:last().requests)
    assert.equal(900, adaptive.traffic.requests)
    assert.equal(104, adaptive.traffic.largest)
  end)

  it("keeps the last 32 entries", function()
    local adaptive, time = policy.adaptive { tiers = 1, min_requests = 1, forget = 1 }, 0
    local requests, counts, tiers = 0, { [512] = 0, [4096] = 0 }, { 100 }
    for i = 1, 4000 do
      time, requests = time + 1, requests + 64
      local size = i % 2 == 0 and 512 or 4096
      counts[size] = counts[size] + 64
      local histogram = {}
      for _, le in ipairs { 512, 4096 } do
        if counts[le] > 0 then histogram[#histogram + 1] = { le = le, count = counts[le] } end
      end
      local to = adaptive:look { requests = requests, histogram = histogram, pools = { [tiers[1]] = {} }, time = time,
        asked_bytes = 0, waste_bytes = 0, recent_lengths = {} }
      -- Away again at once, so that there is always something to change.
      tiers = to and to or { 100 + i % 2 }
    end
    local log = adaptive:log()
    assert.is_true(#log <= 32)
    for i = 2, #log do assert.is_true(log[i].time > log[i - 1].time) end
    assert.is_true(#log == 32, "only " .. #log)
  end)

  it("is due once in so many seconds", function()
    local adaptive = policy.adaptive { every = 10 }
    assert.is_true(adaptive:due(100))
    assert.is_false(adaptive:due(100))
    assert.is_false(adaptive:due(109.9))
    assert.is_true(adaptive:due(110))
    assert.is_true(adaptive:due(50)) -- the clock was set back
    assert.is_false(adaptive:due(51))
    adaptive = policy.adaptive { every = 0 }
    assert.is_true(adaptive:due(1) and adaptive:due(1))
  end)

  it("refuses wrong arguments", function()
    h.raises(function() policy.adaptive { tiers = 65 } end,
      "adaptive: option 'tiers' must be a whole number from 1 to 64, got 65")
    h.raises(function() policy.adaptive { gain = 0 } end,
      "adaptive: option 'gain' must be a number from 0.001 to 1099511627776, got 0")
    h.raises(function() policy.adaptive(5) end, "adaptive: argument 'options' must be a table, got 5")
    h.raises(function() policy.adaptive { align = "64K" } end, "adaptive: option 'align' must be a number of bytes " ..
      'or a string with a unit, B, KiB, MiB, GiB or TiB, such as "64KiB", got "64K"')
    h.raises_like(function() policy.adaptive { evry = 1 } end, "adaptive: unknown option 'evry' (known: align, ")
    local adaptive = policy.adaptive()
    h.raises(function() adaptive:look(5) end, "look: argument 'stats' must be a snapshot of a pool, got 5")
    h.raises(function() adaptive:look {} end, "look: argument 'stats' must be a snapshot of a pool, got table")
    h.raises(function() adaptive:look { pools = {}, histogram = {} } end,
      "look: argument 'stats' must be a snapshot of a pool, got table")
    h.raises(function() adaptive:due() end, "due: argument 'now' must be a number, got nil")
    local stats = live():snapshot()
    h.raises(function() adaptive:look(stats, 5) end, "look: argument 'given' must be an array of tiers, got 5")
    assert.is_nil(adaptive:last())
  end)
end)
