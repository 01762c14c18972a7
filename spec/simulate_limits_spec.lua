-- What the model makes of limits, what a trace may say, and policy.simulate.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local policy = require "bytepool".policy
local lines = require "bytepool.simulate.lines"
local replay = require "bytepool.simulate.replay"

local KiB, MiB = 1024, 1024 * 1024

-- What is asked of a pool, in its order.
local function story(entries, hold)
  local said, named = {}, 0
  local pool = {}
  function pool:get(n) -- luacheck: ignore 212
    named = named + 1
    said[#said + 1] = ("+%s"):format(n)
    if n == 13 then return nil end
    return ("%d of %s"):format(named, n)
  end
  function pool:put(block) said[#said + 1] = "-" .. block:match "^%d+" end -- luacheck: ignore 212
  function pool:trim() said[#said + 1] = "trim" end -- luacheck: ignore 212
  function pool:tick(seconds) said[#said + 1] = "tick " .. seconds end -- luacheck: ignore 212
  local trace, fault = lines.of_array(entries)
  assert.is_nil(fault)
  replay(trace, pool, hold or 0)
  return table.concat(said, " ")
end

describe("a trace", function()
  it("has each buffer go back before the next get", function()
    assert.equal("+5 -1 +6 -2 +6 -3 +7 -4", story { 5, "6 2", "7B" })
    assert.equal("+5 +5 +5 -1 +5 -2 +5 -3 -4 -5", story({ "5 5" }, 2))
    assert.equal("+5 +6 +7 -1 -2 -3", story({ 5, 6, 7 }, 2 ^ 53))
  end)

  it("has buffers stay out as a line says", function()
    assert.equal("+5 -1 +6 +7 -3 +8 -4 +9 -5 -2", story { "5 @0", "6 @10", 7, 8, 9 })
    assert.equal("+5 +5 +6 -1 -3 +7 -2 -4 +8 -5", story { "5 2 @2", 6, 7, "8" })
    assert.equal("+5 -1 +6 +7 -2 -3", story({ "5 1 @0", 6, "7 @0" }, 1))
  end)

  it("has buffers with names", function()
    assert.equal("+5 +6 -1 +7 -2 -3", story { "get a 5", "get b 6", "put a", 7, "put b" })
    assert.equal("+5 +6 -2 -1", story { "get a 5", "get b 6", "put b", "# all that is out goes back at the end" })
    assert.equal("+5 +6 +7 -3 -1 -2", story { "get z 5", "get a 6", 7 })
    assert.equal("+5 -1 +6 -2", story { "get 1 5", "put 1", "get 1 6", "put 1" })
  end)

  it("has times and trims", function()
    assert.equal("tick 0 +5 trim -1 +6 tick 1.5 -2", story { "time 0", 5, "trim", "", " # x", 6, "time 1.5" })
  end)

  it("goes on where a get is refused", function()
    assert.equal("+13 +5 -2 +13", story { 13, 5, "get a 13", "put a" })
  end)

  it("is refused with what is wrong in it", function()
    for line, fault in pairs {
      ["x"] = 'must be a size, or a size and a count, got "x"',
      ["5 x"] = 'the count must be a whole number of at least 1, got "x"',
      ["5 0"] = 'the count must be a whole number of at least 1, got "0"',
      ["5 1 2"] = 'must be a size, or a size and a count, got "5 1 2"',
      ["5 1 @2 3"] = 'must be a size, or a size and a count, got "5 1 @2 3"',
      ["5 @"] = "behind '@' must be a whole number, got \"@\"",
      ["5 @-1"] = "behind '@' must be a whole number, got \"@-1\"",
      ["5 @1.5"] = "behind '@' must be a whole number, got \"@1.5\"",
      ["5 @1 2"] = 'must be a size, or a size and a count, got "5 @1 2"',
      ["get a"] = "must be 'get', a name and a size, got \"get a\"",
      ["get a 5 6"] = "must be 'get', a name and a size, got \"get a 5 6\"",
      ["put"] = "must be 'put' and a name, got \"put\"",
      ["put a b"] = "must be 'put' and a name, got \"put a b\"",
      ["put a"] = '"a" is not out',
      ["time"] = "must be 'time' and a number of seconds, got \"time\"",
      ["time -1"] = "must be 'time' and a number of seconds, got \"time -1\"",
      ["time 0x10"] = "must be 'time' and a number of seconds, got \"time 0x10\"",
      ["time 1 2"] = "must be 'time' and a number of seconds, got \"time 1 2\"",
      ["trim now"] = "must be 'trim' alone, got \"trim now\"",
      [("9"):rep(30)] = 'must be a size, or a size and a count, got "' .. ("9"):rep(30) .. '"',
    } do
      local trace, told = lines.of_array { 5, line }
      assert.is_nil(trace)
      assert.equal("trace[2]: " .. fault, told)
    end
    assert.equal('trace[2]: "a" is out already', select(2, lines.of_array { "get a 5", "get a 5" }))
    assert.equal("trace[3]: the trace has more than 1000000000 gets",
      select(2, lines.of_array { "get a 5", "5 999999999", "get b 5" }))
    assert.equal("trace[1]: the trace has more than 1000000000 gets", select(2, lines.of_array { "5 9999999999" }))
    assert.equal("trace[2]: the time 1 is before 2", select(2, lines.of_array { "time 2", "time 1" }))
  end)
end)

describe("a model with limits", function()
  local function simulate(config, trace, hold) return policy.simulate(config, trace, { hold = hold }) end

  it("refuses what would pass the quota", function()
    local told = simulate({ tiers = { MiB }, limits = { bytes = "10MiB" } }, { "1MiB 25" }, 100)
    assert.same({ 10, 15, 10, 10 * MiB }, { told.total_get, told.over_quota, told.miss, told.peak_owned_bytes })
    told = simulate({ tiers = { MiB }, limits = { bytes = "10MiB" } }, { "1MiB 25" }, 9)
    assert.same({ 25, 0, 10 }, { told.total_get, told.over_quota, told.miss })
    told = simulate({ tiers = { KiB }, limits = { bytes = "10MiB" } }, { "5MiB 3", "1KiB" }, 100)
    assert.same({ 2, 2 }, { told.discarded, told.over_quota })
  end)

  it("has what idles give way to the quota", function()
    local trace = {}
    for i = 1, 8 do trace[i] = ("get %d 1MiB"):format(i) end
    for i = 1, 8 do trace[8 + i] = ("put %d"):format(i) end
    trace[17] = "64KiB 100 @99"
    local told = simulate({ tiers = { 64 * KiB, MiB }, limits = { bytes = "8MiB" } }, trace)
    assert.same({ 0, 108 }, { told.over_quota, told.total_get })
    assert.is_true(told.trimmed_bytes > 0 and told.peak_owned_bytes <= 8 * MiB)
    assert.equal(0, simulate({ tiers = { 64 * KiB, MiB } }, trace).trimmed_bytes)
  end)

  it("never passes the quota #random", function()
    h.seeded(function(random)
      local refused = 0
      for _ = 1, 20 do
        local bytes = random(1, 64) * 256 * KiB
        local trace = {}
        for i = 1, 400 do trace[i] = ("%d @%d"):format(random(0, 3 * MiB), random(0, 60)) end
        local config = { tiers = { 4096, { size = 100000, max_bytes = bytes / 4 }, MiB, 2 * MiB },
          limits = { bytes = bytes, idle = random(0, 64) * MiB } }
        local told = policy.simulate(config, trace)
        assert.is_true(told.peak_owned_bytes <= bytes)
        assert.is_true(told.pools[100000].peak_owned * 100000 <= bytes / 4)
        assert.equal(400, told.requests + told.over_quota)
        refused = refused + told.over_quota
      end
      assert.is_true(refused > 0)
    end)
  end)

  it("heeds a tier's own quota", function()
    local told = simulate({ { size = 64 * KiB, max_bytes = "1MiB" }, MiB }, { "64KiB 20", "1MiB 5" }, 100)
    assert.same({ 16, 5, 4 }, { told.pools[64 * KiB].get, told.pools[MiB].get, told.over_quota })
  end)

  it("heeds a tier's own idle bound", function()
    local trace = { "64KiB 1000 @999", "1MiB 60 @59" }
    local free = simulate({ 64 * KiB, MiB }, trace)
    local told = simulate({ { size = 64 * KiB, max_idle = "16MiB" }, MiB }, trace)
    assert.equal(1000, free.pools[64 * KiB].idle)
    assert.is_true(told.pools[64 * KiB].idle * 64 * KiB <= 16 * MiB)
    assert.equal(60, told.pools[MiB].idle)
    assert.equal(free.miss, told.miss)
  end)

  it("serves alone what would waste too much", function()
    local config = { tiers = { 4096, 64 * KiB }, limits = { waste = 0.5 } }
    local told = simulate(config, { 1, 4096, 4097, 32767, 32768, 65536, 65537 })
    assert.same({ 3, 4 }, { told.discarded, told.total_get }) -- of 4096 bytes a page is no better
    assert.same({ 2, 2 }, { told.pools[4096].get, told.pools[64 * KiB].get })
    assert.equal(4097 + 32767 + 65537, told.discarded_bytes)
    local own = simulate({ tiers = { 4096, { size = 64 * KiB, max_waste = 0.25 } }, limits = { waste = 0.5 } },
      { 49151, 49152 })
    assert.same({ 1, 1 }, { own.discarded, own.total_get })
    assert.equal(0, simulate({ tiers = { 64 * KiB }, limits = { waste = 1 } }, { 0, 1 }).discarded)
    assert.equal(2, simulate({ tiers = { 64 * KiB }, limits = { waste = 0 } }, { 0, 60 * KiB, 60 * KiB + 1 }).discarded)
  end)

  it("gives back what idles for the decay, and keeps what is used", function()
    local trace = { "time 0", "1MiB 100 @99" }
    for second = 1, 30 do
      trace[#trace + 1] = "time " .. second
      trace[#trace + 1] = "1MiB 40 @39"
    end
    local config = { tiers = { MiB }, limits = { decay = "10s" } }
    local told = policy.simulate(config, trace)
    assert.equal(100, told.miss) -- no get had to make a block that was there before
    assert.is_true(told.decayed_bytes >= 50 * MiB and told.decayed_bytes == told.trimmed_bytes)
    assert.is_true(told.idle_bytes >= 40 * MiB)
    assert.same(told, policy.simulate({ MiB }, trace)) -- as a pool, by default
    assert.equal(0, policy.simulate({ tiers = { MiB }, limits = { decay = 0 } }, trace).decayed_bytes)
    assert.equal(0, policy.simulate({ tiers = { MiB }, limits = { decay = 60 } }, trace).decayed_bytes)
    local unused = { "1MiB 100 @99", "4096 100", "time 0.1", "time 5.1", "time 10.2", "time 15.3" }
    config = { tiers = { 4096, MiB }, limits = { decay = "10s" } }
    assert.is_true(policy.simulate(config, unused).idle_bytes <= 8 * MiB)
    unused[6] = nil
    assert.is_true(policy.simulate(config, unused).idle_bytes >= 100 * MiB)
  end)
end)

describe("policy.simulate", function()
  it("tells what a pool would count", function()
    local told = policy.simulate({ 100, 200 }, { 50, 150, "60 2", 300 })
    assert.same({ requests = 5, total_get = 4, total_put = 4, discarded = 1, discarded_put = 1, discarded_bytes = 300,
      hit = 2, miss = 2, hits = 2 / 5, asked_bytes = 320, waste_bytes = 180, waste = 180 / 320, in_use = 0,
      in_use_bytes = 0, peak_in_use_bytes = 300, idle_bytes = 300, owned_bytes = 300, peak_owned_bytes = 600, trims = 0,
      trimmed_bytes = 0, decayed_bytes = 0, retired = 0, over_quota = 0, pools = {
        [100] = { get = 3, put = 3, hit = 2, miss = 1, in_use = 0, peak_in_use = 1, owned = 1, peak_owned = 1,
          idle = 1, cached = 1, depot = 0, asked_bytes = 170, waste_bytes = 130 },
        [200] = { get = 1, put = 1, hit = 0, miss = 1, in_use = 0, peak_in_use = 1, owned = 1, peak_owned = 1,
          idle = 1, cached = 1, depot = 0, asked_bytes = 150, waste_bytes = 50 },
      } }, told)
  end)

  it("takes policies and configs", function()
    local trace = { 50, 1000, "4KiB" }
    local told = policy.simulate({ 512, 4096 }, trace)
    assert.same(told, policy.simulate(function() return { "512B", { size = "4KiB" } } end, trace))
    assert.same(told, policy.simulate(policy.merge({ 512 }, { 4096 }), trace))
    assert.same(told, policy.simulate({ tiers = { 512, 4096 }, name = "x", leaks = "simple", recent = { size = 1 },
      limits = { idle = "256MiB", pressure = "auto" } }, trace))
  end)

  it("leaves what it is given as it was", function()
    local tiers = { 512, { size = 4096, max_idle = "1MiB" } }
    local trace = { 50, "1000 2" }
    policy.simulate({ tiers = tiers }, trace)
    assert.same({ 512, { size = 4096, max_idle = "1MiB" } }, tiers)
    assert.same({ 50, "1000 2" }, trace)
  end)

  it("refuses wrong arguments", function()
    h.raises(function() policy.simulate({ 512, 100 }, { 1 }) end,
      "simulate: tiers[2] is 100, not above tiers[1], 512")
    h.raises(function() policy.simulate(nil, { 1 }) end, "simulate: option 'tiers' is missing")
    h.raises_like(function() policy.simulate({ tiers = { 1 }, limit = {} }, { 1 }) end,
      "simulate: unknown option 'limit' (known: ")
    h.raises_like(function() policy.simulate({ tiers = { 1 }, limits = { waste = 2 } }, { 1 }) end,
      "simulate: option 'limits.waste' must be a number from 0 to 1, got 2")
    h.raises(function() policy.simulate({ tiers = { 1 }, limits = { decay = "10" } }, { 1 }) end,
      "simulate: option 'limits.decay' must be seconds from 0 to 1000000000 or a string with a unit, ms, s, min or h, "
        .. 'such as "10s", got "10"')
    h.raises_like(function() policy.simulate({ { size = 5, idle = 1 } }, { 1 }) end,
      "simulate: tiers[1].idle is unknown (known: ")
    h.raises(function() policy.simulate({ 1 }, 5) end, "simulate: argument 'trace' must be a table, got 5")
    h.raises(function() policy.simulate({ 1 }, {}) end, "simulate: argument 'trace' has no request in it")
    h.raises(function() policy.simulate({ 1 }, { "trim" }) end, "simulate: argument 'trace' has no request in it")
    h.raises(function() policy.simulate({ 1 }, { 1.5 }) end,
      "simulate: trace[1]: must be a whole number from 0 to 1099511627776 or a line, got 1.5")
    h.raises(function() policy.simulate({ 1 }, { 1 }, { hold = -1 }) end,
      "simulate: option 'hold' must be a whole number from 0 to 9007199254740992, got -1")
  end)
end)
