-- What adaptive tiers know of the requests of a pool, from its snapshots.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local buckets = require "bytepool.buckets"
local traffic = require "bytepool.policy.traffic"

describe("what is known of the traffic", function()
  local function stats(counts, recent)
    local s = { requests = 0, histogram = {}, recent_lengths = recent or {} }
    for le, count in pairs(counts) do
      s.requests = s.requests + count
      s.histogram[#s.histogram + 1] = { le = le, count = count }
    end
    table.sort(s.histogram, function(a, b) return a.le < b.le end)
    return s
  end

  local function counts_of(t, cap)
    local read, counts = t:samples(cap), {}
    for i, size in ipairs(read and read.sizes or {}) do counts[size] = read.counts[i] end
    return counts
  end

  it("ends buckets where the pool does", function()
    local pool = h.new(nil, { 2 ^ 21 })
    for n = 1, 20 do pool:get(2 ^ n):release() end
    for i = 0, 2000 do pool:get(math.floor(1.006 ^ i)):release() end
    for _, n in ipairs { 1, 9, 16, 17, 18, 19, 33, 1025, 69632, 2 ^ 20 + 1 } do
      local empty = h.new(nil, { 2 ^ 21 })
      empty:get(n):release()
      assert.equal(empty:get_pool_stats().histogram[1].le, buckets.upper(n))
      empty:close()
    end
    for _, bucket in ipairs(pool:get_pool_stats().histogram) do
      assert.equal(bucket.le, buckets.upper(bucket.le))
    end
    assert.equal(2 ^ 40, buckets.upper(2 ^ 40))
  end)

  it("spreads a bucket as its lengths were seen, with one more at its end", function()
    local t = traffic.new(math.huge)
    assert.equal(47, t:add(stats({ [1152] = 40, [64] = 7 }, { 1025, 1025, 1100 }), false))
    assert.same({ [64] = 7, [1025] = 20, [1100] = 10, [1152] = 10 }, counts_of(t))
    assert.equal(3, t.seen)
  end)

  it("takes of recent lengths only those of new requests", function()
    local t = traffic.new(math.huge)
    t:add(stats({ [1152] = 3 }, { 1025, 1026, 1027 }), false)
    t:add(stats({ [1152] = 4 }, { 1026, 1027, 1028 }), false)
    t:add(stats({ [1152] = 4 }, { 1026, 1027, 1028 }), false)
    assert.equal(4, t.seen)
    assert.same({ [1025] = 1, [1026] = 1, [1027] = 1, [1028] = 1 }, t.lengths)
  end)

  it("puts the counts before a change of tiers in plain buckets", function()
    local t = traffic.new(math.huge)
    t:add(stats { [1100] = 50, [1152] = 3 }, false)
    t:add(stats { [1040] = 20, [1152] = 53 }, true) -- 20 in a tier of 1040, and what was there before
    assert.same({ [1100] = 50, [1152] = 3, [1040] = 20 }, counts_of(t))
    t:add(stats { [1040] = 20, [1152] = 54 }, false)
    assert.same({ [1100] = 50, [1152] = 4, [1040] = 20 }, counts_of(t))
  end)

  it("sees by the counts whether that happened, whatever it was told", function()
    for _, told in ipairs { true, false } do
      local t = traffic.new(math.huge)
      t:add(stats { [1100] = 50, [1152] = 3 }, false)
      t:add(stats { [1152] = 55 }, told)
      assert.same({ [1100] = 50, [1152] = 5 }, counts_of(t))
      t = traffic.new(math.huge)
      t:add(stats { [1100] = 50, [1152] = 3 }, false)
      t:add(stats { [1100] = 51, [1152] = 5 }, told)
      assert.same({ [1100] = 51, [1152] = 5 }, counts_of(t))
    end
  end)

  it("forgets, but not the largest", function()
    local t = traffic.new(100)
    t:add(stats({ [64] = 400, [4096] = 1, [128] = 1200 }, { 62, 125 }), false)
    t:add(stats({ [64] = 500, [4096] = 1, [128] = 1200 }), false)
    local counts = counts_of(t)
    assert.equal(600, counts[128] + counts[125])
    assert.equal(300, counts[64] + counts[62])
    assert.same({ [62] = 0.5, [125] = 0.5 }, t.lengths)
    t:add(stats({ [64] = 5500, [4096] = 1, [128] = 1200 }), false)
    assert.same({ [64] = 5000, [4096] = 1 }, counts_of(t))
    assert.same({}, t.lengths)
  end)

  it("ends at the cap", function()
    local t = traffic.new(math.huge)
    t:add(stats({ [1152] = 40, [4096] = 9, [64] = 7 }, { 1025, 1025, 1100 }), false)
    assert.same({ [64] = 7, [1025] = 20, [1090] = 10 }, counts_of(t, 1090))
    assert.same({ [64] = 7 }, counts_of(t, 1024))
    assert.is_nil(t:samples(20))
  end)

  it("stays small, and frequent lengths stay exact #random", function()
    h.seeded(function(random)
      local t, requests, frequent = traffic.new(math.huge), 0, 0
      for _ = 1, 10 do
        local recent = {}
        for i = 1, 2000 do
          recent[i] = i % 4 == 0 and 12347 or random(1, 1000000)
          if recent[i] == 12347 then frequent = frequent + 1 end
        end
        requests = requests + #recent
        t:add(stats({ [2 ^ 20] = requests }, recent), false)
        local distinct, sum = 0, 0
        for length, weight in pairs(t.lengths) do
          distinct, sum = distinct + 1, sum + weight
          assert.is_true(length >= 1 and length <= 1015808)
        end
        assert.is_true(distinct <= 2048)
        assert.equal(requests, sum)
      end
      assert.equal(frequent, t.lengths[12347])
    end)
  end)
end)
