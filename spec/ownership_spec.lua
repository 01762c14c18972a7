-- Who owns a block: handles with references of their own, the collector, <close>.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local pool = h.new()

after_each(function()
  h.collect()
  h.all_back(pool)
end)

-- A scenario is a list of steps on handles that are named by a letter. "a" comes
-- from get_buffer. After each step: which handles are alive, and the block's references.
local scenarios = {
  ["one owner"] = {
    { "release a", "", 0 },
  },
  ["retain and release on one handle"] = {
    { "retain a", "a", 2 }, { "retain a", "a", 3 }, { "release a", "a", 2 },
    { "release a", "a", 1 }, { "release a", "", 0 },
  },
  ["a share outlives the first handle"] = {
    { "share a b", "ab", 2 }, { "release a", "b", 1 }, { "dead a", "b", 1 }, { "release b", "", 0 },
  },
  ["a first handle outlives its share"] = {
    { "share a b", "ab", 2 }, { "release b", "a", 1 }, { "dead b", "a", 1 }, { "release a", "", 0 },
  },
  ["retained references stay with their handle"] = {
    { "share a b", "ab", 2 }, { "retain b", "ab", 3 }, { "release a", "b", 2 }, { "dead a", "b", 2 },
    { "release b", "b", 1 }, { "release b", "", 0 },
  },
  ["one release too many never takes another's reference"] = {
    { "share a b", "ab", 2 }, { "share b c", "abc", 3 }, { "release a", "bc", 2 }, { "dead a", "bc", 2 },
    { "dead a", "bc", 2 }, { "release c", "b", 1 }, { "dead c", "b", 1 }, { "release b", "", 0 },
  },
  ["bytes and its release function"] = {
    { "bytes a b", "ab", 2 }, { "call b", "a", 1 }, { "used b", "a", 1 }, { "dead b", "a", 1 }, { "release a", "", 0 },
  },
  ["a release function takes one of the handle's references"] = {
    { "bytes a b", "ab", 2 }, { "retain b", "ab", 3 }, { "call b", "ab", 2 }, { "used b", "ab", 2 },
    { "release b", "a", 1 }, { "release a", "", 0 },
  },
  ["a release function of a handle that was released takes nothing"] = {
    { "bytes a b", "ab", 2 }, { "release b", "a", 1 }, { "spent b", "a", 1 }, { "release a", "", 0 },
  },
  ["two release functions of one buffer"] = {
    { "bytes a b", "ab", 2 }, { "bytes a c", "abc", 3 }, { "release a", "bc", 2 }, { "call c", "b", 1 },
    { "used c", "b", 1 }, { "call b", "", 0 }, { "used b", "", 0 },
  },
  ["a share of a share of bytes"] = {
    { "bytes a b", "ab", 2 }, { "share b c", "abc", 3 }, { "share c d", "abcd", 4 }, { "call b", "acd", 3 },
    { "release a", "cd", 2 }, { "release c", "d", 1 }, { "release d", "", 0 },
  },
}

local names = {}
for name in pairs(scenarios) do names[#names + 1] = name end
table.sort(names)

local function step(line, handles, functions)
  local verb, x, y = line:match("^(%a+) (%a) ?(%a?)$")
  local buf = handles[x]
  if verb == "retain" then buf:retain()
  elseif verb == "release" then buf:release()
  elseif verb == "share" then handles[y] = buf:share()
  elseif verb == "bytes" then handles[y], functions[y] = buf:bytes()
  elseif verb == "call" then functions[x]()
  elseif verb == "used" then
    h.refused(pool, function() functions[x]() end, "bytes: this release function was used already")
  elseif verb == "spent" then
    h.refused_like(pool, function() functions[x]() end, "bytes: ")
  elseif verb == "dead" then
    h.refused(pool, function() buf:release() end, "release: buffer already released")
    h.refused(pool, function() buf:retain() end, "retain: buffer already released")
  else error("no such step: " .. line) end
end

describe("ownership", function()
  for _, name in ipairs(names) do
    it(name, function()
      local handles, functions = { a = pool:get_buffer(64) }, {}
      for _, s in ipairs(scenarios[name]) do
        step(s[1], handles, functions)
        for letter, buf in pairs(handles) do
          local alive = s[2]:find(letter, 1, true) ~= nil
          assert.equal(alive and "buffer" or "released buffer", bytepool.type(buf))
          if alive then assert.equal(s[3], buf:ref_count()) end
        end
        assert.equal(s[3] > 0 and 1 or 0, h.balanced(pool).in_use)
      end
    end)
  end

  it("many references on one handle", function()
    local buf = pool:get_buffer(1)
    for _ = 1, 10000 do buf:retain() end
    assert.equal(10001, buf:ref_count())
    for _ = 1, 10000 do buf:release() end
    assert.equal(1, buf:ref_count())
    buf:release()
    assert.equal("released buffer", bytepool.type(buf))
  end)

  it("many handles of one block", function()
    local buf, list = pool:from_string("shared"), {}
    for i = 1, 500 do list[i] = (list[i - 1] or buf):share() end
    assert.equal(501, buf:ref_count())
    buf:release()
    for i = 1, 500 do
      assert.equal("shared", list[i]:tostring())
      list[i]:release()
    end
  end)

  it("release_buffer takes one reference of the handle given", function()
    local a = pool:get_buffer(1)
    local b = a:share()
    pool:release_buffer(a)
    assert.equal("released buffer", bytepool.type(a))
    assert.equal(1, b:ref_count())
    h.refused(pool, function() pool:release_buffer(a) end, "release_buffer: buffer already released")
    pool:release_buffer(b)
  end)
end)

describe("the collector gives back what a handle owns", function()
  local function in_use() return h.balanced(pool).in_use end

  it("one forgotten reference", function()
    pool:get_buffer(10)
    h.collect()
    assert.equal(0, in_use())
  end)

  it("all references of one handle", function()
    (function()
      local buf = pool:get_buffer(10)
      for _ = 1, 5 do buf:retain() end
      buf:release()
    end)()
    h.collect()
    assert.equal(0, in_use())
  end)

  it("only its own", function()
    local kept
    (function()
      local buf = pool:from_string("kept")
      buf:retain()
      kept = buf:share()
      assert.equal(3, kept:ref_count())
    end)()
    h.collect()
    assert.equal(1, kept:ref_count())
    assert.equal("kept", kept:tostring())
    assert.equal(1, in_use())
    kept:release()
  end)

  it("the reference of bytes(), although its function was never called", function()
    (function()
      local _, release = pool:get_buffer(10):bytes()
      assert.equal("function", type(release))
    end)()
    h.collect()
    assert.equal(0, in_use())
  end)

  it("not while only the release function is kept", function()
    local release = (function()
      local _, f = pool:get_buffer(10):bytes()
      return f
    end)()
    h.collect()
    assert.equal(1, in_use())
    release()
    assert.equal(0, in_use())
  end)

  it("nothing of a released handle", function()
    for _ = 1, 100 do pool:get_buffer(10):release() end
    local before = h.counters(pool)
    h.collect()
    assert.same(before, h.counters(pool))
  end)

  it("oversize buffers", function()
    pool:get_buffer(5000000)
    h.collect()
    local s = h.all_back(pool)
    assert.equal(s.discarded, s.discarded_put)
  end)
end)

describe("under a collector that never rests", function()
  local function churn()
    h.seeded(function(random)
      local own = h.new({ max_idle = 1024 * 1024 })
      local kept = {}
      for i = 1, 500 do
        local text = "number " .. i
        local buf = own:from_string(text)
        local slot = random(1, 20)
        if kept[slot] and random(0, 1) == 0 then kept[slot][1]:release() end
        if random(0, 2) > 0 then
          kept[slot] = { buf:share(), text }
        else
          kept[slot] = { (buf:bytes()), text }
        end
        if random(0, 1) == 0 then buf:release() end
        if random(0, 9) == 0 then own:trim() end
        local other = kept[random(1, 20)]
        if other then assert.equal(other[2], other[1]:tostring()) end
      end
      kept = nil -- luacheck: ignore
      h.collect()
      h.all_back(own)
    end)
  end

  it("step by step #random", function()
    local pause, multiplier = collectgarbage("setpause", 10), collectgarbage("setstepmul", 200)
    local ok, err = pcall(churn)
    collectgarbage("setpause", pause)
    collectgarbage("setstepmul", multiplier)
    if not ok then error(err, 0) end
  end)

  if h.has_close then
    it("in generations #random", function()
      collectgarbage("generational")
      local ok, err = pcall(churn)
      collectgarbage("incremental")
      if not ok then error(err, 0) end
    end)
  end

  it("buffers got and released inside finalizers", function()
    local count = 0
    local function finalize()
      local buf = pool:from_string("from a finalizer")
      if buf:share():tostring() == "from a finalizer" then count = count + 1 end
      buf:release()
    end
    for _ = 1, 100 do h.on_collect(finalize) end
    h.collect()
    h.collect()
    assert.equal(100, count)
  end)
end)

if not h.has_close then return end

describe("<close>", function()
  -- As text, because the other Luas cannot parse the syntax.
  local function run(text)
    local load_text = rawget(_G, "load")
    return assert(load_text(text, "=close"))(pool, h)
  end

  it("gives the buffer back at the end of the block", function()
    run [[
      local pool, h = ...
      do
        local buf <close> = pool:get_buffer(10)
        assert(pool:get_pool_stats().in_use == 1)
      end
      h.all_back(pool)
    ]]
  end)

  it("gives all references of the handle back", function()
    run [[
      local pool, h = ...
      local other
      do
        local buf <close> = pool:get_buffer(10)
        buf:retain():retain()
        other = buf:share()
      end
      assert(other:ref_count() == 1)
      other:release()
      h.all_back(pool)
    ]]
  end)

  it("after an explicit release does nothing", function()
    run [[
      local pool, h = ...
      do
        local buf <close> = pool:get_buffer(10)
        local second <close>, release = buf:bytes()
        buf:release()
        release()
        h.all_back(pool)
      end
      h.all_back(pool)
    ]]
  end)

  it("accepts a handle that is dead already", function()
    run [[
      local pool, h = ...
      local dead = pool:get_buffer(10)
      dead:release()
      do local buf <close> = dead end
      h.all_back(pool)
    ]]
  end)

  it("works when an error leaves the block", function()
    run [[
      local pool, h = ...
      local ok, err = pcall(function()
        local buf <close> = pool:get_buffer(10)
        local other <close> = buf:share()
        error("on purpose", 0)
      end)
      assert(not ok and err == "on purpose")
      h.all_back(pool)
    ]]
  end)

  it("works when a coroutine is closed", function()
    run [[
      local pool, h = ...
      local co = coroutine.create(function()
        local buf <close> = pool:get_buffer(10)
        coroutine.yield()
      end)
      coroutine.resume(co)
      assert(pool:get_pool_stats().in_use == 1)
      assert(coroutine.close(co))
      h.all_back(pool)
    ]]
  end)
end)
