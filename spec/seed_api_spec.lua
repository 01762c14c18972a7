-- The API of the seed, ixugo/bytepool for Go, under its Lua names: one describe for
-- each row of the table, then its faults, each tested so that the seed would fail.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

describe("NewPools(sizes): new_pools", function()
  it("makes a pool of the tiers given", function()
    local pool = bytepool.new_pools({ 100, 1000, 10000 })
    assert.equal("pool", bytepool.type(pool))
    assert.same({ 100, 1000, 10000 }, pool:get_available_sizes())
  end)

  it("serves a request from the smallest tier that fits", function()
    local pool = h.new(nil, { 128, 1024, 4096 })
    for _, case in ipairs { { 0, 128 }, { 1, 128 }, { 128, 128 }, { 129, 1024 }, { 1024, 1024 }, { 4096, 4096 } } do
      local buf = pool:get_buffer(case[1])
      assert.equal(case[1], #buf)
      assert.equal(case[2], buf:capacity())
      buf:release()
    end
    h.all_back(pool)
  end)
end)

describe("SizePowerOfTwo(), SizeStream(): size_power_of_two, size_stream", function()
  it("are the seed's tables", function()
    local want, size = {}, 128
    while size <= 2097152 do
      want[#want + 1] = size
      size = size * 2
    end
    assert.equal(15, #want)
    assert.same(want, bytepool.size_power_of_two())
    assert.same({ 1024, 4096, 16384, 32768, 65536, 131072 }, bytepool.size_stream())
  end)

  it("are fresh tables that a caller may change", function()
    bytepool.size_stream()[1] = 7
    bytepool.size_power_of_two()[1] = 7
    assert.equal(1024, bytepool.size_stream()[1])
    assert.equal(128, bytepool.size_power_of_two()[1])
  end)

  it("are accepted by new_pools", function()
    assert.same(bytepool.size_stream(), h.new(nil, bytepool.size_stream()):get_available_sizes())
  end)
end)

describe("NewPool(fn), its Get and Put: new_pool", function()
  it("makes a value when it has none and gives back what was put", function()
    local made = 0
    local objects = bytepool.new_pool(function()
      made = made + 1
      return { number = made }
    end)
    local a = objects:get()
    local b = objects:get()
    assert.equal(2, made)
    assert.not_equal(a, b)
    objects:put(a)
    assert.equal(a, objects:get())
    assert.equal(2, made)
  end)
end)

describe("Get(n), Put(b): pool:get, pool:put", function()
  it("hand a buffer to one owner and take it back", function()
    local pool = h.new()
    local buf = pool:get(4000)
    assert.equal(4000, #buf)
    assert.equal(4096, buf:capacity())
    assert.equal(1, buf:ref_count())
    assert.equal(1, h.balanced(pool).in_use)
    pool:put(buf)
    assert.equal("released buffer", bytepool.type(buf))
    assert.equal(1, h.all_back(pool).pools[4096].put)
  end)

  it("reuse what was put", function()
    local pool = h.new()
    for _ = 1, 10 do pool:put(pool:get(4096)) end
    local tier = h.all_back(pool).pools[4096]
    assert.equal(1, tier.miss)
    assert.equal(9, tier.hit)
  end)

  it("refuse a shared buffer", function()
    local pool = h.new()
    local buf = pool:get(10)
    local other = buf:share()
    h.refused(pool, function() pool:put(buf) end, "put: buffer is shared (ref_count 2)")
    assert.equal(2, buf:ref_count())
    other:release()
    pool:put(buf)
    h.all_back(pool)
  end)
end)

describe("GetBuffer(n), ReleaseBuffer(b): pool:get_buffer, pool:release_buffer", function()
  it("hand out a counted buffer and take one reference back", function()
    local pool = h.new()
    local buf = pool:get_buffer(5000)
    assert.equal(5000, #buf)
    assert.equal(8192, buf:capacity())
    buf:retain()
    pool:release_buffer(buf)
    assert.equal(1, buf:ref_count())
    assert.equal("buffer", bytepool.type(buf))
    pool:release_buffer(buf)
    assert.equal("released buffer", bytepool.type(buf))
    h.all_back(pool)
  end)
end)

describe("Bytes(): buf:bytes", function()
  it("gives a handle with a reference of its own and a release function", function()
    local pool = h.new()
    local buf = pool:from_string("some bytes")
    local view, release = buf:bytes()
    assert.equal("function", type(release))
    assert.equal("some bytes", view:tostring())
    assert.equal(2, buf:ref_count())
    buf:release()
    assert.equal("some bytes", view:tostring())
    assert.equal(1, view:ref_count())
    assert.equal(1, h.balanced(pool).in_use)
    release()
    assert.equal("released buffer", bytepool.type(view))
    h.all_back(pool)
  end)
end)

describe("Retain(), Release(), RefCount(): buf:retain, release, ref_count", function()
  it("count up and down, and the last release gives the block back", function()
    local pool = h.new()
    local buf = pool:get_buffer(100)
    assert.equal(1, buf:ref_count())
    assert.equal(buf, buf:retain())
    assert.equal(2, buf:ref_count())
    assert.equal(3, buf:retain():ref_count())
    assert.equal(0, select("#", buf:release()))
    assert.equal(2, buf:ref_count())
    buf:release()
    assert.equal(1, h.balanced(pool).in_use)
    buf:release()
    assert.equal(1, h.all_back(pool).total_put)
  end)
end)

describe("GetPoolStats(): pool:get_pool_stats", function()
  it("counts each tier, the totals, the discarded and the recent lengths", function()
    local pool = h.new({ name = "seed" }, { 128, 1024 })
    local a, b, c = pool:get_buffer(100), pool:get_buffer(1000), pool:get_buffer(5000)
    b:release()
    local s = h.balanced(pool)
    assert.equal("seed", s.name)
    assert.same({ 1, 0, 1 }, { s.pools[128].get, s.pools[128].put, s.pools[128].in_use })
    assert.same({ 1, 1, 0 }, { s.pools[1024].get, s.pools[1024].put, s.pools[1024].in_use })
    assert.same({ 2, 1, 1, 3 }, { s.total_get, s.total_put, s.discarded, s.requests })
    assert.same({ 100, 1000, 5000 }, s.recent_lengths)
    a:release()
    c:release()
    h.all_back(pool)
  end)
end)

describe("GetDiscardedCount(), GetAvailableSizes()", function()
  it("count the requests above the largest tier", function()
    local pool = h.new(nil, { 64, 256 })
    assert.equal(0, pool:get_discarded_count())
    for i = 1, 3 do
      local buf = pool:get_buffer(256 + i)
      assert.equal(256 + i, #buf)
      assert.equal(256 + i, buf:capacity())
      assert.equal(i, pool:get_discarded_count())
      buf:release()
    end
    assert.equal(3, pool:get_discarded_count())
  end)

  it("list the tiers in a fresh table", function()
    local pool = h.new(nil, { 64, 256 })
    assert.same({ 64, 256 }, pool:get_available_sizes())
    pool:get_available_sizes()[1] = 1
    assert.same({ 64, 256 }, pool:get_available_sizes())
  end)
end)

describe("Expvar(prefix): pool:expvar", function()
  -- The encoder is an argument, so that this needs no JSON module.
  local function published()
    local seen
    bytepool.report.expvar(function(value)
      seen = value
      return "{}"
    end)
    return seen
  end

  it("returns the pool and publishes its stats", function()
    local pool = h.new()
    assert.is_nil(published().seed_spec)
    assert.equal(pool, pool:expvar("seed_spec"))
    pool:from_string("x"):release()
    assert.equal(1, published().seed_spec.total_get)
    assert.equal(1, published().seed_spec.pools["128"].put)
    pool:close()
    assert.is_nil(published().seed_spec)
  end)

  it("refuses a prefix that another live pool holds", function()
    local first, second = h.new(), h.new()
    first:expvar("seed_spec_twice")
    h.refused(second, function() second:expvar("seed_spec_twice") end,
      'expvar: prefix "seed_spec_twice" is held by another pool')
    first:close()
    assert.equal(second, second:expvar("seed_spec_twice"))
    second:close()
  end)
end)

describe("ring queue options: options.recent", function()
  for _, mode in ipairs { "relaxed", "exact" } do
    it("keeps the last lengths, mode " .. mode, function()
      local pool = h.new({ recent = { size = 4, mode = mode } })
      for i = 1, 10 do pool:get_buffer(i):release() end
      assert.same({ 7, 8, 9, 10 }, pool:get_pool_stats().recent_lengths)
    end)
  end

  it("keeps 256 where nothing is asked", function()
    local pool = h.new()
    for i = 1, 300 do pool:get_buffer(i):release() end
    local lengths = pool:get_pool_stats().recent_lengths
    assert.equal(256, #lengths)
    assert.equal(45, lengths[1])
    assert.equal(300, lengths[256])
  end)
end)

describe("the seed's faults", function()
  it("over-release is an error and no counter moves", function()
    local pool = h.new()
    local buf = pool:get_buffer(100)
    buf:release()
    h.refused(pool, function() buf:release() end, "release: buffer already released")
    h.refused(pool, function() pool:release_buffer(buf) end, "release_buffer: buffer already released")
    h.refused(pool, function() pool:put(buf) end, "put: buffer already released")
    assert.equal(1, h.all_back(pool).total_put)
  end)

  it("retain after the last release is an error", function()
    local pool = h.new()
    local buf = pool:get_buffer(100)
    buf:release()
    h.refused(pool, function() buf:retain() end, "retain: buffer already released")
    -- The block may serve another owner by now, whose count must not move.
    local other = pool:get_buffer(100)
    h.refused(pool, function() buf:retain() end, "retain: buffer already released")
    assert.equal(1, other:ref_count())
    other:release()
    h.all_back(pool)
  end)

  it("a release function called twice takes one reference", function()
    local pool = h.new()
    local buf = pool:get_buffer(100)
    local _, release = buf:bytes()
    assert.equal(2, buf:ref_count())
    release()
    assert.equal(1, buf:ref_count())
    h.refused(pool, function() release() end, "bytes: this release function was used already")
    assert.equal(1, buf:ref_count())
    buf:release()
    h.refused(pool, function() release() end, "bytes: this release function was used already")
    h.all_back(pool)
  end)

  it("an oversize get and put count one discard", function()
    local pool = h.new(nil, { 128 })
    pool:put(pool:get(129))
    local s = h.all_back(pool)
    assert.equal(1, s.discarded)
    assert.equal(1, s.discarded_put)
    assert.equal(1, pool:get_discarded_count())
    assert.same({ 0, 0, 1 }, { s.total_get, s.total_put, s.requests })
  end)

  it("idle memory has a bound of its own", function()
    local max_idle = 8 * 1024 * 1024
    local pool = h.new({ max_idle = max_idle })
    local bufs = {}
    for i = 1, 64 do bufs[i] = pool:get_buffer(2097152) end
    for i = 1, 64 do bufs[i]:release() end
    local s = h.all_back(pool)
    assert.equal(max_idle, s.max_idle)
    assert.is_true(s.idle_bytes <= max_idle)
    assert.equal(s.owned_bytes, s.idle_bytes)
    assert.is_true(s.peak_owned_bytes >= 64 * 2097152)
  end)

  it("idle memory is bounded without options, too", function()
    local pool = bytepool.new_pools(bytepool.size_power_of_two())
    local bufs = {}
    for i = 1, 400 do bufs[i] = pool:get_buffer(2097152) end
    for i = 1, 400 do bufs[i]:release() end
    local s = h.all_back(pool)
    assert.is_true(s.max_idle > 0 and s.max_idle <= 256 * 1024 * 1024)
    assert.is_true(s.idle_bytes <= s.max_idle)
  end)
end)
