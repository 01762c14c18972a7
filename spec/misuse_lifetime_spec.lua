-- Misuse never crashes, part 3: finalizers called by hand, resurrection, errors and
-- the end of the Lua state with buffers out, pools that go before their buffers.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local pool = h.new()

after_each(function()
  h.collect()
  h.all_back(pool)
end)

local finalizers = { "__gc" }
if h.has_close then finalizers[2] = "__close" end

for _, name in ipairs(finalizers) do
  describe(name .. " called by hand", function()
    it("ends the handle, and a second time changes nothing", function()
      local buf = pool:get_buffer(10)
      local other = buf:share()
      buf:retain()
      local finalize = debug.getmetatable(buf)[name]
      finalize(buf)
      assert.equal("released buffer", bytepool.type(buf))
      assert.equal(1, other:ref_count())
      local before = h.counters(pool)
      finalize(buf)
      finalize(buf)
      assert.same(before, h.counters(pool))
      h.refused(pool, function() buf:release() end, "release: buffer already released")
      h.refused(pool, function() pool:put(buf) end, "put: buffer already released")
      other:release()
    end)

    it("after an explicit release changes nothing", function()
      local buf = pool:get_buffer(10)
      local finalize = debug.getmetatable(buf)[name]
      buf:release()
      local other = pool:get_buffer(10)
      finalize(buf)
      assert.equal(1, other:ref_count())
      assert.equal(1, h.balanced(pool).in_use)
      other:release()
    end)

    -- Where a script gave our metatable to a value of its own, an error of __gc would come
    -- out of a stranger's allocation: it does nothing. __close is called by code that sees it.
    it("on a foreign value does nothing, or is refused", function()
      local buf = pool:get_buffer(10)
      local finalize = debug.getmetatable(buf)[name]
      local function try(x, what)
        if name == "__gc" then
          local before = h.counters(pool)
          assert.is_nil((finalize(x)))
          assert.same(before, h.counters(pool))
        else
          h.refused(pool, function() finalize(x) end, name .. ": self must be a bytepool buffer, got " .. what)
        end
      end
      for _, v in ipairs(h.foreign_values()) do try(v[1], v[2]) end
      try(pool, "userdata")
      buf:release()
    end)

    it("of a shared block by each handle balances", function()
      local a = pool:get_buffer(10)
      local b, c = a:share(), (a:bytes())
      local finalize = debug.getmetatable(a)[name]
      for _ = 1, 3 do
        for _, buf in ipairs { a, b, c } do finalize(buf) end
      end
    end)
  end)
end

describe("a pool's __gc called by hand", function()
  it("closes it or is refused, and twice is no harm", function()
    local other = h.new()
    local buf = other:from_string("still here")
    local finalize = debug.getmetatable(other).__gc
    pcall(finalize, other)
    pcall(finalize, other)
    assert.equal("still here", buf:tostring())
    buf:release()
    h.raises(function() buf:release() end, "release: buffer already released")
    h.collect()
  end)

  it("on a foreign value does nothing", function()
    local finalize = debug.getmetatable(pool).__gc
    local buf = pool:get_buffer(1)
    local before = h.counters(pool)
    for _, v in ipairs(h.foreign_values()) do finalize(v[1]) end
    finalize(buf)
    assert.same(before, h.counters(pool))
    buf:release()
  end)
end)

describe("resurrection", function()
  -- Both orders of creation, since finalizers run in the reverse of it.
  for _, order in ipairs { "before", "after" } do
    it("of a buffer by a finalizer made " .. order .. " it finds a dead handle", function()
      local saved;
      (function()
        local buf, anchor
        local function save() saved = buf end
        if order == "before" then anchor = h.on_collect(save) end
        buf = pool:from_string("soul")
        if order == "after" then anchor = h.on_collect(save) end
        assert.truthy(anchor)
      end)()
      h.collect()
      assert.not_nil(saved)
      h.collect()
      assert.equal("released buffer", bytepool.type(saved))
      h.refused(pool, function() saved:tostring() end, "tostring: buffer already released")
      h.refused(pool, function() saved:release() end, "release: buffer already released")
      h.refused(pool, function() saved:share() end, "share: buffer already released")
      assert.equal("bytepool.buffer: released", tostring(saved))
      h.all_back(pool)
      saved = nil
    end)
  end

  it("of a buffer that is used inside the finalizer", function()
    local seen = {};
    (function()
      local buf = pool:from_string("soul")
      local anchor = h.on_collect(function()
        seen.ok, seen.text = pcall(function() return buf:tostring() end)
        pcall(function() buf:retain() end)
        pcall(function() seen.share = buf:share() end)
      end)
      assert.truthy(anchor)
    end)()
    h.collect()
    assert.is_true(seen.text == "soul" or not seen.ok and seen.text:find("buffer already released", 1, true) ~= nil)
    if seen.share then assert.equal("soul", seen.share:tostring()) end
    seen.share = nil
  end)

  it("of the release function of bytes()", function()
    local saved;
    (function()
      local view, release = pool:from_string("soul"):bytes()
      local anchor = h.on_collect(function() saved = release end)
      assert.truthy(anchor and view)
    end)()
    h.collect()
    h.collect()
    h.refused_like(pool, function() saved() end, "bytes: ")
  end)

  it("of a pool by a finalizer", function()
    local saved;
    (function()
      local other = h.new()
      local anchor = h.on_collect(function() saved = other end)
      assert.truthy(anchor)
    end)()
    h.collect()
    h.collect()
    -- Open or closed, it answers.
    local ok, err = pcall(function() return saved:get_buffer(10) end)
    if ok then err:release() else assert.truthy(err:find("get_buffer: the pool is closed", 1, true)) end
    assert.equal("bytepool.pool: ", tostring(saved):sub(1, 15))
    saved = nil
  end)
end)

describe("an error raised while buffers are out", function()
  it("leaves them to the collector", function()
    local ok, err = pcall(function()
      local a = pool:get_buffer(10)
      local b = a:retain():share()
      local c = pool:get_buffer(3000000)
      error("on purpose " .. #b + #c, 0)
    end)
    assert.is_false(ok)
    assert.equal("on purpose 3000010", err)
    h.collect()
    h.all_back(pool)
  end)

  it("in a coroutine", function()
    local co = coroutine.create(function()
      local a = pool:get_buffer(10)
      coroutine.yield(a:ref_count())
      error("on purpose", 0)
    end)
    assert.same({ true, 1 }, { coroutine.resume(co) })
    assert.same({ false, "on purpose" }, { coroutine.resume(co) })
    co = nil -- luacheck: ignore
    h.collect()
    h.all_back(pool)
  end)

  it("in a coroutine that is never resumed", function()
    (function()
      local co = coroutine.wrap(function()
        local a = pool:get_buffer(10)
        coroutine.yield()
        a:release()
      end)
      co()
    end)()
    h.collect()
    h.all_back(pool)
  end)
end)

describe("a pool that goes before its buffers", function()
  local pool_calls = {
    get_buffer = { 1 }, get = { 1 }, from_string = { "x" }, prewarm = { {} }, trim = {},
    get_pool_stats = {}, get_discarded_count = {}, get_available_sizes = {}, expvar = { "closed" },
  }

  it("closed: the buffers stay valid, the pool refuses", function()
    local other = h.new()
    local buf = other:from_string("still here")
    local big = other:get_buffer(3000000)
    local _, release = buf:bytes()
    assert.equal(0, select("#", other:close()))
    other:close()
    assert.equal("closed pool", bytepool.type(other))
    assert.equal("bytepool.pool: closed", tostring(other))
    for name, a in pairs(pool_calls) do
      local method = other[name]
      h.raises(function() method(other, a[1]) end, name .. ": the pool is closed")
    end
    h.raises(function() other:put(buf) end, "put: the pool is closed")
    h.raises(function() other:release_buffer(buf) end, "release_buffer: the pool is closed")
    assert.equal("still here", buf:tostring())
    assert.equal(2, buf:ref_count())
    assert.equal("bytepool.buffer: 10/128 refs=2", tostring(buf))
    local share = buf:share()
    buf:set_string(1, "STILL")
    buf:release()
    release()
    assert.equal("STILL here", share:tostring())
    share:release()
    h.raises(function() share:release() end, "release: buffer already released")
    big:set_string(-1, "x")
    big:release()
  end)

  it("collected: the buffers stay valid", function()
    local buf = h.new():from_string("still here")
    local big = h.new():get_buffer(3000000)
    for _ = 1, 3 do h.collect() end
    assert.equal("still here", buf:tostring())
    assert.equal(3000000, #big)
    local share = buf:share()
    buf:release()
    h.collect()
    assert.equal("still here", share:tostring())
    share:release()
    big:release()
    h.raises(function() big:release() end, "release: buffer already released")
  end)

  it("collected together with its buffers, many times", function()
    for round = 1, 50 do
      local other = h.new()
      for i = 1, 20 do other:get_buffer(i * round * 100) end
      if round % 3 == 0 then other:close() end
      if round % 10 == 0 then h.collect() end
    end
    h.collect()
  end)
end)

describe("lua_close with buffers out", function()
  local prelude = [[
    local bytepool = require "bytepool"
    local pool = bytepool.new_pools({ 128, 4096 }, { region_size = 67108864 })
    kept = { pool:get_buffer(10), pool:get_buffer(4000):retain(), pool:get_buffer(1000000) }
    kept[4] = kept[1]:share()
    kept[5], kept[6] = kept[2]:bytes()
  ]]

  local function ends_well(text)
    local status, out, err = h.script(prelude .. text)
    assert.equal("0  ", status .. " " .. out .. " " .. err)
  end

  it("is silent", function() ends_well "" end)

  it("with the pool closed before", function() ends_well "pool:close()" end)

  it("with a global pool and released ones among them", function()
    ends_well "the_pool = pool kept[1]:release() kept[6]()"
  end)

  it("with the default pool", function()
    ends_well "buf = bytepool.default():get_buffer(100)"
  end)

  it("by os.exit", function()
    ends_well "os.exit(0, true)"
    ends_well "os.exit(0)"
  end)

  it("when an object pool keeps buffers", function()
    ends_well [[
      objects = bytepool.new_pool(function() return pool:get_buffer(64) end)
      local a, b = objects:get(), objects:get()
      objects:put(a)
      held = b
    ]]
  end)

  it("when a finalizer uses buffers that are dead by then", function()
    ends_well [[
      local newproxy = newproxy
      local function last_words()
        for i = 1, 5 do
          pcall(function() return kept[i]:byte(1) end)
          pcall(function() kept[i]:release() end)
          pcall(function() kept[i]:share() end)
        end
        pcall(function() return pool:get_buffer(10) end)
        pcall(function() return pool:get_pool_stats() end)
        pcall(kept[6])
      end
      first = newproxy and newproxy(true)
      if first then getmetatable(first).__gc = last_words
      else first = setmetatable({}, { __gc = last_words }) end
    ]]
  end)

  it("after an error that nobody caught", function()
    local status, out, err = h.script(prelude .. "error('on purpose', 0)")
    assert.equal(1, status)
    assert.equal("", out)
    assert.truthy(err:find("on purpose", 1, true))
  end)
end)
