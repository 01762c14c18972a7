-- Pools: tiers, counters against a model, recent lengths, prewarm, trim, close, default().
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local mib = 1024 * 1024

describe("tiers", function()
  local tables = {
    one = { 1 }, odd = { 1, 2, 3, 100, 1000, 1001, 65537 }, large = { 4 * mib, 10 * mib + 1 },
    stream = bytepool.size_stream(),
  }
  local many = {}
  for i = 1, 64 do many[i] = i * 37 end
  tables["64"] = many

  for name, sizes in pairs(tables) do
    it("serve each size and its neighbours: " .. name, function()
      local pool = h.new(nil, sizes)
      for i, size in ipairs(sizes) do
        for _, n in ipairs { (sizes[i - 1] or -1) + 1, size } do
          local buf = pool:get_buffer(n)
          assert.equal(n, #buf)
          assert.equal(size, buf:capacity())
          if n > 0 then
            buf:set_string(1, "a"):set_string(-1, "z")
            assert.equal(122, buf:byte(n))
          end
          assert.equal(1, h.balanced(pool).pools[size].in_use)
          buf:release()
        end
      end
      local over = pool:get_buffer(sizes[#sizes] + 1)
      assert.equal(sizes[#sizes] + 1, over:capacity())
      over:release()
      local s = h.all_back(pool)
      assert.equal(1, s.discarded)
      assert.equal(2 * #sizes, s.total_get)
    end)
  end

  it("have a row each in the stats, whether used or not", function()
    local s = h.new(nil, { 10, 20 }):get_pool_stats()
    for _, size in ipairs { 10, 20 } do
      for _, key in ipairs { "get", "put", "hit", "miss", "in_use", "owned", "idle", "cached", "depot", "asked_bytes",
        "waste_bytes", "peak_in_use", "peak_owned", "collected" } do
        assert.equal(0, s.pools[size][key])
        s.pools[size][key] = nil
      end
      assert.is_nil((next(s.pools[size])))
    end
    s.pools[10], s.pools[20] = nil, nil
    assert.is_nil((next(s.pools)))
  end)
end)

describe("the counters", function()
  -- Random operations on a pool and on a model of it in Lua.
  local function play(random, pool, sizes, steps)
    local model = { get = {}, put = {}, discarded = 0, discarded_put = 0, refs = 0, live = {}, lengths = {} }
    for _, size in ipairs(sizes) do model.get[size], model.put[size] = 0, 0 end
    local live = model.live

    local function get()
      local n = random(0, 9) == 0 and random(sizes[#sizes] + 1, sizes[#sizes] * 2) or random(0, sizes[#sizes])
      local buf = random(0, 1) == 0 and pool:get_buffer(n) or pool:get(n)
      model.lengths[#model.lengths + 1] = n
      local entry = { buf, refs = 1 }
      for _, size in ipairs(sizes) do
        if size >= n then
          entry.size = size
          break
        end
      end
      if entry.size then
        model.get[entry.size] = model.get[entry.size] + 1
      else
        model.discarded = model.discarded + 1
      end
      live[#live + 1] = entry
    end

    local function drop(k)
      local entry = live[k]
      entry.refs = entry.refs - 1
      local buf = table.remove(entry)
      if random(0, 2) == 0 then pool:release_buffer(buf) else buf:release() end
      if entry.refs > 0 then return end
      table.remove(live, k)
      if entry.size then
        model.put[entry.size] = model.put[entry.size] + 1
      else
        model.discarded_put = model.discarded_put + 1
      end
    end

    for _ = 1, steps do
      local action, k = random(1, 10), random(1, math.max(1, #live))
      if #live == 0 or action <= 4 then
        get()
      elseif action <= 6 and live[k].refs < 5 then
        local entry = live[k]
        entry.refs = entry.refs + 1
        local last = entry[#entry]
        entry[#entry + 1] = action == 5 and last:share() or last:retain()
      elseif action == 7 and random(0, 9) == 0 then
        pool:trim()
      else
        drop(k)
      end
    end
    return model, drop
  end

  local function compare(pool, model)
    local s = h.balanced(pool)
    local in_use, bytes = 0, 0
    for size, n in pairs(model.get) do
      assert.equal(n, s.pools[size].get)
      assert.equal(model.put[size], s.pools[size].put)
    end
    for _, entry in ipairs(model.live) do
      in_use = in_use + 1
      bytes = bytes + entry[1]:capacity()
      assert.equal(entry.refs, entry[1]:ref_count())
    end
    assert.equal(model.discarded, s.discarded)
    assert.equal(model.discarded, pool:get_discarded_count())
    assert.equal(model.discarded_put, s.discarded_put)
    assert.equal(in_use, s.in_use)
    assert.is_true(s.in_use_bytes >= bytes)
    local lengths = {}
    for i = math.max(1, #model.lengths - 255), #model.lengths do lengths[#lengths + 1] = model.lengths[i] end
    assert.same(lengths, s.recent_lengths)
  end

  for name, sizes in pairs { few = { 64, 4096 }, stream = bytepool.size_stream(), odd = { 1, 7, 100, 3333 } } do
    it("agree with a model after random operations #random: tiers " .. name, function()
      h.seeded(function(random)
        local pool = h.new({ max_idle = 2 * mib, recent = { size = 256, mode = "exact" } }, sizes)
        for _ = 1, 10 do
          local model, drop
          local before = pool:get_pool_stats()
          model, drop = play(random, pool, sizes, 300)
          -- The model starts at zero in each round.
          for size, t in pairs(before.pools) do
            model.get[size], model.put[size] = model.get[size] + t.get, model.put[size] + t.put
          end
          model.discarded = model.discarded + before.discarded
          model.discarded_put = model.discarded_put + before.discarded_put
          for i = #before.recent_lengths, 1, -1 do table.insert(model.lengths, 1, before.recent_lengths[i]) end
          compare(pool, model)
          while #model.live > 0 do drop(random(1, #model.live)) end
          compare(pool, model)
          h.all_back(pool)
          pool:trim()
          assert.is_true(h.all_back(pool).idle_bytes <= 2 * mib)
        end
      end)
    end)
  end

  it("of bytes are those of the blocks", function()
    local pool = h.new({ max_idle = 64 * mib }, { 128, 4096, mib })
    local a, b, c = pool:get_buffer(1), pool:get_buffer(4096), pool:get_buffer(4097)
    local s = h.balanced(pool)
    assert.equal(128 + 4096 + mib, s.in_use_bytes)
    assert.equal(s.in_use_bytes + s.idle_bytes, s.owned_bytes)
    local d = pool:get_buffer(5 * mib)
    s = h.balanced(pool)
    assert.is_true(s.in_use_bytes >= 128 + 4096 + 6 * mib and s.in_use_bytes <= 128 + 4096 + 11 * mib)
    local peak = s.peak_owned_bytes
    for _, buf in ipairs { a, b, c, d } do buf:release() end
    s = h.all_back(pool)
    assert.equal(peak, s.peak_owned_bytes)
    assert.is_true(s.idle_bytes >= 128 + 4096 + mib)
    assert.is_true(s.reserved_bytes >= s.owned_bytes)
    assert.is_true(s.threads >= 1)
  end)

  it("tell a hit from a miss", function()
    local pool = h.new({ max_idle = 64 * mib }, { 4096 })
    local bufs = {}
    for round = 1, 3 do
      for i = 1, 20 do bufs[i] = pool:get_buffer(4096) end
      for i = 1, 20 do bufs[i]:release() end
      local t = h.all_back(pool).pools[4096]
      assert.equal(20 * round, t.get)
      assert.equal(20, t.miss)
      assert.equal(20 * (round - 1), t.hit)
      assert.equal(20, t.idle)
    end
  end)

  it("keep nothing idle where max_idle is 0", function()
    local pool = h.new({ max_idle = 0 })
    local bufs = {}
    for i = 1, 100 do bufs[i] = pool:get_buffer(i * 100) end
    for i = 1, 100 do bufs[i]:release() end
    local s = h.all_back(pool)
    assert.equal(0, s.idle_bytes)
    assert.equal(0, s.owned_bytes)
    assert.equal(0, s.max_idle)
  end)

  it("keep idle memory under max_idle whatever the sizes #random", function()
    h.seeded(function(random)
      local pool = h.new({ max_idle = 4 * mib })
      for _ = 1, 5 do
        local bufs = {}
        for i = 1, 200 do bufs[i] = pool:get_buffer(random(0, 400000)) end
        for i = 1, 200 do bufs[i]:release() end
        assert.is_true(h.all_back(pool).idle_bytes <= 4 * mib)
      end
    end)
  end)
end)

describe("recent lengths", function()
  for _, mode in ipairs { "relaxed", "exact" } do
    it("of every request, oversize and from_string too, mode " .. mode, function()
      local pool = h.new({ recent = { size = 6, mode = mode } }, { 128 })
      pool:prewarm { [128] = 3 }
      assert.same({}, pool:get_pool_stats().recent_lengths)
      pool:get_buffer(0):release()
      pool:put(pool:get(100))
      pool:from_string("four"):release()
      pool:get_buffer(1000):share():release()
      pool:get_buffer(5):bytes()
      assert.same({ 0, 100, 4, 1000, 5 }, pool:get_pool_stats().recent_lengths)
      pcall(pool.get_buffer, pool, -1)
      assert.same({ 0, 100, 4, 1000, 5 }, pool:get_pool_stats().recent_lengths)
      pool:get_buffer(6)
      pool:get_buffer(7)
      assert.same({ 100, 4, 1000, 5, 6, 7 }, pool:get_pool_stats().recent_lengths)
    end)

    it("of sizes from 0 to 65536, mode " .. mode, function()
      for _, size in ipairs { 0, 1, 2, 3, 255, 1000, 65536 } do
        local pool = h.new({ recent = { size = size, mode = mode } }, { 128 })
        for i = 1, 2500 do pool:get_buffer(i % 1001):release() end
        local want = {}
        for i = math.max(1, 2500 - size + 1), 2500 do want[#want + 1] = i % 1001 end
        assert.same(want, pool:get_pool_stats().recent_lengths)
      end
    end)
  end

  it("beyond 32 bits are whole", function()
    local pool = h.new({ recent = { size = 2, mode = "exact" } }, { 128 })
    local buf = pool:get_buffer(2 ^ 36)
    if buf then
      assert.same({ 2 ^ 36 }, pool:get_pool_stats().recent_lengths)
      buf:release()
    end
    h.all_back(pool)
  end)
end)

describe("prewarm", function()
  it("makes the first gets hits", function()
    local pool = h.new({ max_idle = 64 * mib })
    assert.equal(pool, pool:prewarm { [4096] = 10, [100] = 2, [65536] = 0 })
    local s = h.balanced(pool)
    assert.equal(10, s.pools[4096].idle)
    assert.equal(2, s.pools[128].idle)
    assert.equal(0, s.pools[65536].idle)
    assert.equal(0, s.requests)
    assert.equal(10 * 4096 + 2 * 128, s.idle_bytes)
    local bufs = {}
    for i = 1, 11 do bufs[i] = pool:get_buffer(4096) end
    local t = h.balanced(pool).pools[4096]
    assert.equal(10, t.hit)
    assert.equal(1, t.miss)
    for i = 1, 11 do bufs[i]:release() end
    h.all_back(pool)
  end)

  it("of nothing is nothing", function()
    local pool = h.new()
    local before = h.counters(pool)
    assert.equal(pool, pool:prewarm {})
    assert.same(before, h.counters(pool))
  end)
end)

describe("trim", function()
  it("gives all idle memory back when nothing is out", function()
    local pool = h.new({ max_idle = 64 * mib })
    local bufs = {}
    for i = 1, 50 do bufs[i] = pool:get_buffer(i * 1000) end
    for i = 1, 50 do bufs[i]:release() end
    local idle = h.all_back(pool).idle_bytes
    assert.is_true(idle > 0)
    assert.equal(idle, pool:trim())
    local s = h.all_back(pool)
    assert.equal(0, s.idle_bytes)
    assert.equal(0, s.owned_bytes)
    assert.equal(idle, s.trimmed_bytes)
    assert.equal(0, pool:trim())
    assert.equal("again", (function()
      local buf = pool:from_string("again")
      local text = buf:tostring()
      buf:release()
      return text
    end)())
  end)

  it("leaves live buffers alone", function()
    local pool = h.new({ max_idle = 64 * mib })
    local live, bufs = pool:from_string("live"), {}
    for i = 1, 50 do bufs[i] = pool:get_buffer(i * 1000) end
    for i = 1, 50 do bufs[i]:release() end
    pool:trim()
    local s = h.balanced(pool)
    assert.equal("live", live:tostring())
    assert.equal(1, s.in_use)
    for i = 1, 50 do
      bufs[i] = pool:get_buffer(i * 1000)
      bufs[i]:set_string(1, "x")
    end
    assert.equal("live", live:tostring())
    for i = 1, 50 do bufs[i]:release() end
    live:release()
    h.all_back(pool)
  end)
end)

describe("names and printing", function()
  it("show the tiers, in_use and the name", function()
    local pool = h.new()
    assert.equal("bytepool.pool: 15 tiers, in_use=0", tostring(pool))
    local buf = pool:get_buffer(1)
    assert.equal("bytepool.pool: 15 tiers, in_use=1", tostring(pool))
    buf:release()
    local named = h.new({ name = "bodies" }, { 1, 2 })
    assert.equal("bytepool.pool 'bodies': 2 tiers, in_use=0", tostring(named))
    assert.equal("bodies", named:get_pool_stats().name)
    assert.equal("bytepool.pool", getmetatable(named))
    assert.equal("pool", bytepool.type(named))
    named:close()
    assert.equal("bytepool.pool: closed", tostring(named))
    assert.equal("closed pool", bytepool.type(named))
  end)
end)

describe("default()", function()
  it("is one pool with the power-of-two tiers", function()
    local pool = bytepool.default()
    assert.equal(pool, bytepool.default())
    assert.same(bytepool.size_power_of_two(), pool:get_available_sizes())
    local buf = pool:from_string("hello")
    assert.equal("hello", buf:tostring())
    buf:release()
  end)

  it("is a new one after a close", function()
    local first = bytepool.default()
    first:close()
    local second = bytepool.default()
    assert.not_equal(first, second)
    assert.equal("pool", bytepool.type(second))
    assert.equal(second, bytepool.default())
    second:get_buffer(1):release()
  end)
end)

it("many pools at once", function()
  local list = {}
  for i = 1, 100 do
    list[i] = h.new({ name = "p" .. i }, { 64, 1024 })
    list[i] = { list[i], list[i]:from_string("pool " .. i) }
  end
  for i = 1, 100 do
    assert.equal("pool " .. i, list[i][2]:tostring())
    assert.equal(1, h.balanced(list[i][1]).in_use)
  end
  for i = 1, 100, 2 do list[i][1]:close() end
  for i = 1, 100 do list[i][2]:release() end
  for i = 2, 100, 2 do h.all_back(list[i][1]) end
end)
