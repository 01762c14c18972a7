-- Leak detection: which line got what was not released, at each level.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"
local me = debug.getinfo(1, "S").short_src

local function line(level) return me .. ":" .. debug.getinfo(level or 2, "l").currentline end

-- By site and kind, with the counts.
local function summary(leaks)
  local t = {}
  for _, leak in ipairs(leaks) do t[leak.kind .. " " .. leak.site] = leak.count end
  return t
end

describe("three planted leaks", function()
  local kept, sites = {}, {}

  local function dropped(pool)
    pool:get_buffer(100); sites.dropped = line()
  end

  local function forgotten_table(pool)
    kept[#kept + 1] = pool:get_buffer(2000); sites.kept = line()
  end

  local function callback(buf) buf:retain() end

  local function one_retain_too_many(pool)
    local buf = pool:get_buffer(50); sites.retained = line()
    callback(buf)
    buf:release()
    kept[#kept + 1] = buf
  end

  local function fine(pool)
    local buf = pool:get_buffer(10)
    local view = buf:share()
    buf:release()
    pool:using(5, function(b) return b:len() end)
    view:release()
  end

  local function run(pool, rounds)
    for _ = 1, rounds do
      dropped(pool)
      forgotten_table(pool)
      one_retain_too_many(pool)
      fine(pool)
    end
    h.collect()
    return pool:leaks()
  end

  after_each(function() kept = {} end)

  it("are named with their counts at paranoid", function()
    local pool = h.new { leaks = "paranoid" }
    local leaks = run(pool, 20)
    assert.same({
      ["collected " .. sites.dropped] = 20, ["out " .. sites.kept] = 20, ["out " .. sites.retained] = 20,
    }, summary(leaks))
    for _, leak in ipairs(leaks) do
      assert.is_nil(leak.every)
      assert.equal(20 * (leak.site == sites.kept and 2048 or 128), leak.bytes)
      assert.equal(leak.site, leak.traceback:match "^[^<]+" :gsub("%s+$", ""))
      if leak.site == sites.retained then
        assert.equal(2, #leak.last)
        assert.truthy(leak.last[1]:find("^retained at " .. me:gsub("%p", "%%%0") .. ":%d+$"))
        assert.truthy(leak.last[2]:find("^released at "))
      end
    end
  end)

  -- The lines of a report that name a site, with what they say beside it.
  it("are named in every report", function()
    local report = bytepool.report
    local pool = h.new { leaks = "paranoid", name = "leaky" }
    run(pool, 20)
    local s = pool:get_pool_stats()
    local expected = { [sites.dropped] = true, [sites.kept] = true, [sites.retained] = true }
    local pattern = me:gsub("%p", "%%%0") .. ":%d+"
    for _, format in ipairs { "text", "expvar", "prometheus", "openmetrics", "html" } do
      local text, seen = report[format](s):gsub("\\/", "/"), {}
      for site in text:gmatch(pattern) do
        if expected[site] then seen[site] = true end
      end
      assert.same(expected, seen, format)
    end
    assert.truthy(report.text(s):find("\n    retained at " .. me, 1, true))
    assert.truthy(report.html(s):find("retained at " .. me, 1, true))
    local metrics = report.prometheus(s)
    local function sample(name, site)
      return tonumber(metrics:match(name .. "{[^}\n]*" .. site:gsub("%p", "%%%0") .. "[^}\n]*} (%d+)"))
    end
    assert.equal(20, sample("bytepool_leaks_total", sites.dropped))
    assert.equal(20, sample("bytepool_out_buffers", sites.kept))
    assert.equal(20, sample("bytepool_out_buffers", sites.retained))
  end)

  for _, level in ipairs { "simple", "advanced" } do
    it("are named after enough rounds at " .. level, function()
      local pool = h.new { leaks = level }
      local leaks = run(pool, 6000)
      local found = summary(leaks)
      for _, key in ipairs { "collected " .. sites.dropped, "out " .. sites.kept, "out " .. sites.retained } do
        local count = found[key] -- 47 of 6,000 are to be expected
        assert.is_true(count and count > 15 and count < 110, key .. ": " .. tostring(count))
        found[key] = nil
      end
      assert.same({}, found)
      for _, leak in ipairs(leaks) do
        assert.equal(128, leak.every)
        assert.equal(level == "advanced", leak.traceback ~= nil)
      end
    end)
  end

  it("are not seen at off", function()
    local pool = h.new()
    assert.equal("off", pool:leak_level())
    assert.same({}, run(pool, 300))
    assert.is_true(pool:get_pool_stats().collected >= 299)
  end)
end)

describe("leak levels", function()
  it("are switched while running", function()
    local pool = h.new { leaks = "paranoid" }
    local a = pool:get_buffer(1); local first = line()
    assert.equal(pool, pool:leak_level "off")
    local b = pool:get_buffer(1)
    pool:leak_level "paranoid"
    local c = pool:get_buffer(1); local third = line()
    assert.same({ ["out " .. first] = 1, ["out " .. third] = 1 }, summary(pool:leaks()))
    assert.equal("paranoid", pool:get_pool_stats().leak_level)
    a:release()
    b:release()
    c:release()
    assert.same({}, pool:leaks())
    h.all_back(pool)
  end)

  it("refuse what they are not", function()
    local pool = h.new()
    h.raises(function() pool:leak_level "all" end,
      'leak_level: argument \'level\' must be "off", "simple", "advanced" or "paranoid", got "all"')
    h.raises(function() pool:leak_level(1) end,
      'leak_level: argument \'level\' must be "off", "simple", "advanced" or "paranoid", got number')
    h.raises(function() bytepool.new_pools({ 64 }, { leaks = "some" }) end,
      'new_pools: option \'leaks\' must be "off" or "simple" or "advanced" or "paranoid", got "some"')
    pool:close()
    h.raises(function() pool:leak_level() end, "leak_level: the pool is closed")
    h.raises(function() pool:leaks() end, "leaks: the pool is closed")
  end)

  it("know every way to make a handle", function()
    local pool = h.new { leaks = "paranoid" }
    local list = { pool:get_buffer(100) }
    local expected = { ["out " .. line()] = nil }
    local base = list[1]
    list[2] = base:share(); expected["out " .. line()] = 1
    list[3] = base:slice(1, 5); expected["out " .. line()] = 1
    list[4] = base:bytes(); expected["out " .. line()] = 1
    list[5] = pool:from_string "x"; expected["out " .. line()] = 1
    list[6] = pool:builder(); expected["out " .. line()] = 1
    list[7] = bytepool.import(base:export()); expected["out " .. line()] = 1
    list[8] = pool:get(7); expected["out " .. line()] = 1
    list[9] = list[3]:split(2); expected["out " .. line()] = 1
    local scope = pool:scope()
    list[10] = scope:get_buffer(3); expected["out " .. line()] = 1
    base:release()
    assert.same(expected, summary(pool:leaks()))
    scope:close()
    for _, buf in ipairs(list) do if bytepool.type(buf) == "buffer" then buf:release() end end
    assert.same({}, pool:leaks())
    h.all_back(pool)
  end)

  it("keep a tag, and fold by it", function()
    local pool = h.new { leaks = "paranoid" }
    local kept = {}
    for i = 1, 6 do kept[i] = pool:get_buffer(1, i % 2 == 0 and "even" or "odd") end
    local leaks = pool:leaks()
    table.sort(leaks, function(a, b) return a.tag < b.tag end)
    assert.equal(2, #leaks)
    assert.equal("even", leaks[1].tag)
    assert.equal(3, leaks[1].count)
    h.raises(function() pool:get_buffer(1, 5) end, "get_buffer: argument 'tag' must be a string, got number")
    h.raises(function() pool:get(1, {}) end, "get: argument 'tag' must be a string, got table")
    for _, buf in ipairs(kept) do buf:release() end
  end)

  it("say how old the oldest is, and how large a block has grown", function()
    local pool = h.new { leaks = "paranoid" }
    local b = pool:builder()
    b:put(("x"):rep(5000))
    local leak = pool:leaks()[1]
    assert.equal(8192, leak.bytes)
    assert.is_true(leak.age >= 0 and leak.age < 60)
    b:release()
  end)
end)

describe("one release too many", function()
  it("tells the sites of the get and of the last release", function()
    local pool = h.new { leaks = "paranoid" }
    local buf = pool:get_buffer(100, "body"); local got = line()
    buf:release(); local released = line()
    local text = ("buffer already released (got at %s, tag body, last released at %s)"):format(got, released)
    h.raises(function() buf:release() end, "release: " .. text)
    h.raises(function() pool:put(buf) end, "put: " .. text)
    h.raises(function() buf:len() end, "len: " .. text)
    h.raises(function() buf:retain() end, "retain: " .. text)
    assert.same({ ["over_release " .. got] = 2 }, summary(pool:leaks()))
    assert.equal(2, pool:get_pool_stats().double_releases)
  end)

  it("remembers the last thousand dead ones, and no others", function()
    local pool = h.new { leaks = "paranoid" }
    local first = pool:get_buffer(1)
    first:release()
    for _ = 1, 500 do pool:get_buffer(1):release() end
    assert.truthy(select(2, pcall(first.release, first)):find "got at")
    for _ = 1, 2000 do pool:get_buffer(1):release() end
    h.raises(function() first:release() end, "release: buffer already released")
  end)
end)

describe("a listener", function()
  after_each(function() bytepool.on_leak(nil) end)

  it("is told of each fault once, with the pool's name", function()
    local pool = h.new { leaks = "paranoid", name = "listened" }
    local told = {}
    assert.is_nil(bytepool.on_leak(function(leak) told[#told + 1] = leak end))
    local function drop() pool:get_buffer(100, "t") end
    drop()
    drop()
    h.collect()
    local buf = pool:get_buffer(1)
    buf:release()
    pcall(buf.release, buf)
    assert.equal(3, #told)
    assert.equal("collected", told[1].kind)
    assert.equal("listened", told[1].pool)
    assert.equal("t", told[1].tag)
    assert.equal(1, told[1].count)
    assert.equal("over_release", told[3].kind)
    assert.is_function(bytepool.on_leak(nil))
    drop()
    h.collect()
    assert.equal(3, #told)
    pool:close()
  end)

  it("harms nothing when it raises, gets, forgets, collects or yields", function()
    local pool = h.new { leaks = "paranoid" }
    local ran = 0
    bytepool.on_leak(function()
      ran = ran + 1
      pool:get_buffer(10)
      if ran % 3 == 0 then collectgarbage() end
      if ran % 5 == 0 then coroutine.yield() end
      error "mine"
    end)
    for i = 1, 300 do
      pool:get_buffer(100)
      if i % 10 == 0 then collectgarbage() end
    end
    h.collect()
    bytepool.on_leak(nil)
    h.collect()
    assert.is_true(ran > 20, ran)
    h.all_back(pool)
  end)

  it("must be a function", function()
    h.raises(function() bytepool.on_leak(5) end, "on_leak: argument 'fn' must be a function or nil, got number")
  end)
end)

describe("expect_balanced", function()
  it("passes what releases all, and returns what it returned", function()
    local pool = h.new()
    local results = h.pack(bytepool.expect_balanced(function(a, b)
      pool:get_buffer(10):release()
      pool:using(10, function() end)
      return a, nil, b, nil
    end, 1, 2))
    assert.same({ n = 4, 1, nil, 2, nil }, results)
  end)

  it("fails with the sites, at the line of its call", function()
    local pool, kept = h.new(), {}
    local old = pool:get_buffer(1)
    local sites = {}
    local function work()
      kept[1] = pool:get_buffer(100); sites[1] = line()
      kept[2] = kept[1]:slice(1, 2):retain(); sites[2] = line()
      pool:get_buffer(5, "gone"); sites[3] = line()
    end
    local called
    local ok, message = pcall(function() called = line(); bytepool.expect_balanced(work) end)
    assert.is_false(ok)
    assert.equal(called, message:match "^(.-:%d+)")
    local found = {}
    for l in message:gmatch "\n  ([^\n]+)" do found[#found + 1] = l end
    assert.same({
      sites[1] .. ": 1 handle, 128 bytes",
      sites[2] .. ": 1 handle, 128 bytes; retained at " .. sites[2],
      sites[3] .. " (gone): 1 handle, 128 bytes",
    }, found)
    assert.equal("off", pool:leak_level())
    old:release()
    kept[1]:release()
  end)

  it("lets an error of fn out as it is, and nests", function()
    local pool = h.new()
    local fault = {}
    local ok, err = pcall(bytepool.expect_balanced, function()
      bytepool.expect_balanced(function() pool:get_buffer(1):release() end)
      error(fault)
    end)
    assert.is_false(ok)
    assert.equal(fault, err)
    local buf = pool:get_buffer(1)
    assert.same({}, pool:leaks()) -- no longer traced
    buf:release()
    h.raises(function() bytepool.expect_balanced(5) end,
      "expect_balanced: argument 'fn' must be a function, got number")
  end)

  it("knows pools that are made meanwhile", function()
    local ok, message = pcall(bytepool.expect_balanced, function()
      h.new():get_buffer(5)
    end)
    assert.is_false(ok)
    assert.truthy(message:find("1 handle, 128 bytes", 1, true))
  end)

  it("is a Busted assertion too", function()
    require "bytepool.busted"
    local pool = h.new()
    assert.is_balanced(function() pool:get_buffer(1):release() end)
    local kept
    local ok, err = pcall(function() assert.is_balanced(function() kept = pool:get_buffer(1) end) end)
    assert.is_false(ok)
    assert.truthy((type(err) == "table" and err.message or err):find "not released")
    kept:release()
    assert.is_not_balanced(function() kept = pool:get_buffer(1) end)
    kept:release()
  end)
end)
