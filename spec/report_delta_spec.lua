-- report.delta and report.rates: what happened between two snapshots.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local report = require "bytepool".report

local function at(uptime, gets, more)
  local s = {
    name = "p", requests = gets, total_get = gets, total_put = gets - 1, discarded = 0, in_use = 1,
    in_use_bytes = 128, owned_bytes = 256, peak_owned_bytes = 512, uptime = uptime,
    pools = { [128] = { get = gets, put = gets - 1, hit = gets - 2, miss = 2, in_use = 1, owned = 2, idle = 1,
      cached = 1, depot = 0, peak_owned = 4 } },
    recent_lengths = { 1, 2 },
  }
  for key, value in pairs(more or {}) do s[key] = value end
  return s
end

describe("report.delta", function()
  it("subtracts counters and keeps gauges", function()
    local old, new = at(10, 100), at(15, 150)
    local d = report.delta(new, old)
    assert.same({ 50, 50, 50, 0 }, { d.requests, d.total_get, d.total_put, d.discarded })
    assert.same({ get = 50, put = 50, hit = 50, miss = 0, in_use = 1, owned = 2, idle = 1, cached = 1, depot = 0,
      peak_owned = 4 }, d.pools[128])
    assert.same({ 1, 128, 256, 512, 15 }, { d.in_use, d.in_use_bytes, d.owned_bytes, d.peak_owned_bytes, d.uptime })
    assert.is_nil(d.restarted)
    assert.same({ 1, 2 }, d.recent_lengths)
    assert.same(at(10, 100), old)
    assert.same(at(15, 150), new)
  end)

  it("of a live pool is what was done meanwhile", function()
    local pool = h.new(nil, { 128, 1024 })
    for _ = 1, 5 do pool:get_buffer(100):release() end
    local before = pool:get_pool_stats()
    for _ = 1, 7 do pool:get_buffer(100):release() end
    pool:get_buffer(1000):release()
    pool:get_buffer(9999):release()
    local d = report.delta(pool:get_pool_stats(), before)
    assert.same({ 9, 8, 8, 1, 1, 9999 }, { d.requests, d.total_get, d.total_put, d.discarded, d.discarded_put,
      d.discarded_bytes })
    assert.same({ 7, 7, 0 }, { d.pools[128].get, d.pools[128].hit, d.pools[128].miss })
    assert.same({ 1, 0, 1 }, { d.pools[1024].get, d.pools[1024].hit, d.pools[1024].miss })
    assert.equal(0, report.delta(before, before).total_get)
  end)

  it("counts across a change of the tiers what was done, whatever tiers have gone or come", function()
    local pool = h.new({ pressure = false }, { 128, 1024, 4096 })
    local held = pool:get_buffer(4000)
    for _ = 1, 50 do pool:get_buffer(1000):release() end
    local before = pool:get_pool_stats()
    for _ = 1, 5 do pool:get_buffer(1000):release() end
    pool:configure { 128, 2048, 8192 }
    held:release()
    for _ = 1, 7 do pool:get_buffer(2000):release() end
    pool:get_buffer(100):release()
    local after = pool:get_pool_stats()
    local d = report.delta(after, before)
    assert.same({ 13, 13, 14 }, { d.requests, d.total_get, d.total_put })
    assert.same({ 2, 5, 6, 5 }, { d.drained.tiers, d.drained.get, d.drained.put, d.drained.hit })
    assert.same({ 7, 1 }, { d.pools[2048].get, d.pools[128].get })
    assert.is_nil(d.pools[1024])
    local sum = 0
    for _, bucket in ipairs(d.histogram) do sum = sum + bucket.count end
    assert.equal(13, sum)
    assert.same({ 2048, 7 }, { d.histogram[#d.histogram].le, d.histogram[#d.histogram].count })
    local loaded = require("cjson") and report.load(report.dump { one = after }).one
    assert.same(after.drained, loaded.drained)
    assert.equal(2, loaded.generation)
    pool:close()
  end)

  it("subtracts buckets, records of leaks and the collector's work", function()
    local old = at(10, 100, {
      histogram = { { le = 128, count = 5 }, { le = 256, count = 1 } },
      leaks = { { kind = "collected", site = "a:1", count = 2, bytes = 20 },
        { kind = "out", site = "a:1", count = 9, bytes = 90 } },
      gc = { held_bytes = 5, steps = 10 },
    })
    local new = at(15, 150, {
      histogram = { { le = 128, count = 15 }, { le = 256, count = 1 }, { le = 512, count = 3 } },
      leaks = { { kind = "collected", site = "a:1", count = 5, bytes = 50 },
        { kind = "collected", site = "b:1", count = 1 },
        { kind = "out", site = "a:1", count = 7, bytes = 70 } },
      gc = { held_bytes = 6, steps = 14 },
    })
    local d = report.delta(new, old)
    assert.same({ { le = 128, count = 10 }, { le = 512, count = 3 } }, d.histogram)
    assert.same({ { kind = "collected", site = "a:1", count = 3, bytes = 30 },
      { kind = "collected", site = "b:1", count = 1 },
      { kind = "out", site = "a:1", count = 7, bytes = 70 } }, d.leaks)
    assert.same({ held_bytes = 6, steps = 4 }, d.gc)
  end)

  it("tells a pool that began anew", function()
    local by_counter = report.delta(at(nil, 30), at(nil, 100))
    assert.is_true(by_counter.restarted)
    assert.same({ 30, 30, 28 }, { by_counter.requests, by_counter.total_get, by_counter.pools[128].hit })
    local by_uptime = report.delta(at(3, 300), at(10, 100))
    assert.is_true(by_uptime.restarted)
    assert.equal(300, by_uptime.requests)
    -- One tier alone that begins anew does not make a new pool.
    local new, old = at(15, 150), at(10, 100)
    new.pools[128].get, new.pools[128].put = 5, 4
    local d = report.delta(new, old)
    assert.is_nil(d.restarted)
    assert.same({ 5, 4, 50 }, { d.pools[128].get, d.pools[128].put, d.total_get })
  end)

  it("takes a hit that turned out to be a miss for none", function()
    local new, old = at(15, 101), at(10, 100)
    new.pools[128].hit = old.pools[128].hit - 1
    local d = report.delta(new, old)
    assert.is_nil(d.restarted)
    assert.same({ 1, 0 }, { d.pools[128].get, d.pools[128].hit })
  end)

  it("takes several pools, and counts one that is new from zero", function()
    local d = report.delta({ a = at(15, 150), b = at(1, 7) }, { a = at(10, 100), gone = at(10, 1) })
    assert.same({ 50, 7 }, { d.a.requests, d.b.requests })
    assert.is_nil(d.gone)
  end)

  it("names the argument that is wrong", function()
    local s = at(1, 10)
    h.raises(function() report.delta(nil, s) end,
      "delta: argument 'new' must be a snapshot or a table of them, got nil")
    h.raises(function() report.delta(s, "x") end,
      "delta: argument 'old' must be a snapshot or a table of them, got string")
    h.raises(function() report.delta(s, { pools = 5 }) end,
      "delta: argument 'old' must be a snapshot or a table of them, got a table with the key \"pools\"")
    h.raises(function() report.delta(s, { a = s }) end, "delta: argument 'old' must be one snapshot as 'new' is")
    h.raises(function() report.delta({ a = s }, s) end,
      "delta: argument 'old' must be a table of snapshots as 'new' is")
  end)
end)

describe("report.rates", function()
  it("are counters per second of uptime", function()
    local r = report.rates(at(14, 150), at(10, 100))
    assert.equal(4, r.seconds)
    assert.same({ 12.5, 12.5, 12.5 }, { r.requests, r.total_get, r.pools[128].get })
    assert.same({ 1, 128 }, { r.in_use, r.in_use_bytes })
  end)

  it("go by time where there is no uptime, and by the argument where there is neither", function()
    assert.equal(25, report.rates(at(nil, 150, { time = 1002 }), at(nil, 100, { time = 1000 })).requests)
    assert.equal(10, report.rates(at(nil, 150), at(nil, 100), 5).requests)
    assert.equal(25, report.rates(at(12, 150, { time = 900 }), at(10, 100, { time = 1000 })).requests)
  end)

  it("of a pool that began anew go by its own uptime", function()
    local r = report.rates(at(4, 20), at(100, 5000))
    assert.is_true(r.restarted)
    assert.equal(5, r.requests)
  end)

  it("leave out a new pool that does not say since when", function()
    local r = report.rates({ a = at(12, 120), b = at(nil, 7), c = at(2, 8) }, { a = at(10, 100) })
    assert.same({ 10, 4 }, { r.a.requests, r.c.requests })
    assert.is_nil(r.b)
  end)

  it("stand beside the counters in the text", function()
    local new, old = at(14, 150), at(10, 100)
    local text = report.text(new, report.rates(new, old))
    assert.truthy(text:find("\nrequests = 150, 12.50/s\n", 1, true), text)
    assert.truthy(text:find(" get/s  miss/s\n", 1, true), text)
    local row = " 128  150  149  148     2       1      2     1       1      0           4  12.50       0"
    assert.truthy(text:find("\n" .. row .. "\n", 1, true), text)
    assert.truthy(text:find("\nin_use = 1\n", 1, true), text)
    local again = report.text(at(4, 20), report.rates(at(4, 20), at(100, 5000)))
    assert.truthy(again:find("began anew", 1, true))
  end)

  it("names the argument that is wrong", function()
    local s = at(10, 10)
    h.raises(function() report.rates(s, s) end, "rates: argument 'new' is not later than 'old'")
    h.raises(function() report.rates(at(nil, 10), s) end,
      "rates: argument 'new' has no time and no uptime to tell the seconds by")
    h.raises(function() report.rates(s, 5) end, "rates: argument 'old' must be a snapshot or a table of them, got 5")
    h.raises(function() report.rates(s, s, 0) end, "rates: argument 'seconds' must be a number above 0, got 0")
    h.raises(function() report.rates(s, s, "1") end, "rates: argument 'seconds' must be a number above 0, got string")
    h.raises(function() report.text(s, 5) end, "text: argument 'rates' must be a snapshot or a table of them, got 5")
  end)
end)
