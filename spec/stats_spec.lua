-- What pool:get_pool_stats() says beyond the seed's counters: bytes asked for, lengths, peaks,
-- forgotten and repeated releases, memory.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"
local found = pcall(require, "cjson")

describe("pool:get_pool_stats", function()
  it("counts the bytes that were asked for, and what the tiers waste on them", function()
    local pool = h.new(nil, { 128, 1000 })
    for _, n in ipairs { 0, 1, 100, 128, 129, 1000, 1000, 5000 } do pool:get_buffer(n):release() end
    local s = h.all_back(pool)
    assert.same({ 229, 4 * 128 - 229 }, { s.pools[128].asked_bytes, s.pools[128].waste_bytes })
    assert.same({ 2129, 3 * 1000 - 2129 }, { s.pools[1000].asked_bytes, s.pools[1000].waste_bytes })
    assert.same({ 2358, 1154, 5000 }, { s.asked_bytes, s.waste_bytes, s.discarded_bytes })
  end)

  it("counts every length in a histogram", function()
    local pool = h.new(nil, { 128, 1000 })
    assert.same({}, pool:get_pool_stats().histogram)
    local lengths = { 0, 1, 2, 100, 104, 105, 128, 129, 1000, 1001, 1024, 1025, 5000 }
    for _, n in ipairs(lengths) do pool:get_buffer(n):release() end
    assert.same({
      { le = 1, count = 2 }, { le = 2, count = 1 }, { le = 104, count = 2 }, { le = 112, count = 1 },
      { le = 128, count = 1 }, { le = 144, count = 1 }, { le = 1000, count = 1 }, { le = 1024, count = 2 },
      { le = 1152, count = 1 }, { le = 5120, count = 1 },
    }, h.all_back(pool).histogram)
  end)

  it("keeps the peaks", function()
    local pool = h.new(nil, { 128, 1000 })
    local list = {}
    for i = 1, 10 do list[i] = pool:get_buffer(i <= 7 and 100 or 2000) end
    h.balanced(pool)
    for i = 1, 10 do list[i]:release() end
    local s = h.all_back(pool)
    assert.same({ 7, 7 }, { s.pools[128].peak_in_use, s.pools[128].peak_owned })
    assert.same({ 0, 0 }, { s.pools[1000].peak_in_use, s.pools[1000].peak_owned })
    assert.equal(7 * 128 + 3 * 2000, s.peak_in_use_bytes)
  end)

  it("counts what the collector gave back", function()
    local pool = h.new(nil, { 128, 1000 })
    local kept = pool:get_buffer(1)
    pool:get_buffer(1):release()
    h.collect()
    assert.equal(0, h.balanced(pool).collected)
    do
      local forgotten = { pool:get_buffer(1), pool:get_buffer(500), kept:share(), pool:get_buffer(5000) }
      assert.equal(4, #forgotten)
    end
    h.collect()
    local s = h.balanced(pool)
    assert.same({ 2, 1, 4 }, { s.pools[128].collected, s.pools[1000].collected, s.collected })
    kept:release()
    h.all_back(pool)
  end)

  it("counts the releases that were refused", function()
    local pool, gone = h.new(), h.new()
    local buf = pool:get_buffer(100)
    local _, free = buf:bytes()
    local view = buf:share()
    free()
    view:release()
    buf:release()
    assert.equal(0, h.all_back(pool).double_releases)
    h.refused(pool, function() buf:release() end, "release: buffer already released")
    h.refused(pool, function() view:release() end, "release: buffer already released")
    h.refused(pool, function() pool:put(buf) end, "put: buffer already released")
    h.refused(pool, function() pool:release_buffer(buf) end, "release_buffer: buffer already released")
    assert.equal(4, h.all_back(pool).double_releases)
    -- Neither another mistake nor a buffer of a pool that is gone.
    h.refused(pool, function() buf:retain() end, "retain: buffer already released")
    local orphan = gone:get_buffer(1)
    orphan:release()
    gone:close()
    h.refused(pool, function() orphan:release() end, "release: buffer already released")
    assert.equal(4, h.all_back(pool).double_releases)
  end)

  it("tells memory and time", function()
    local pool = h.new()
    local empty = pool:get_pool_stats()
    pool:get_buffer(3 * 1024 * 1024):release()
    local buf = pool:get_buffer(65536)
    local s = h.balanced(pool)
    assert.is_true(s.returned_bytes >= 3 * 1024 * 1024 and s.returned_bytes < 3.1 * 1024 * 1024)
    assert.is_true(s.resident_bytes >= empty.resident_bytes + 65536)
    buf:release()
    pool:trim()
    pool:trim()
    local after = h.all_back(pool)
    assert.same({ 0, 2 }, { s.trims, after.trims })
    assert.is_true(after.returned_bytes >= s.returned_bytes + 65536)
    assert.is_true(after.resident_bytes <= s.resident_bytes - 65536)
    assert.is_true(empty.uptime >= 0 and after.uptime >= empty.uptime and after.uptime < 60)
    assert.is_true(math.abs(after.time - os.time()) <= 2)
  end)

  -- An encoder can not tell an empty list from an empty object.
  local json = found and it or pending
  json("is lists in JSON where the lists are empty, too", function()
    local pool = h.new():expvar("stats_spec")
    local text = bytepool.report.expvar()
    assert.truthy(text:find('"histogram":[]', 1, true))
    assert.truthy(text:find('"recent_lengths":[]', 1, true))
    pool:close()
  end)
end)
