-- Buffers that go back at the end of a function or of a scope, whichever way it ends.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local pool = h.new()
local yields_in_pcall = _VERSION ~= "Lua 5.1" or h.is_luajit

after_each(function()
  h.collect()
  h.all_back(pool)
end)


describe("pool:using", function()
  it("calls the function with a buffer and passes arguments and results on", function()
    local kept
    local results = h.pack(pool:using(10, function(buf, ...)
      kept = buf
      assert.equal(10, #buf)
      assert.same(h.pack(1, nil, "x", nil), h.pack(...))
      return ...
    end, 1, nil, "x", nil))
    assert.same(h.pack(1, nil, "x", nil), results)
    assert.equal("released buffer", bytepool.type(kept))
    h.all_back(pool)
    assert.same(h.pack(), h.pack(pool:using(0, function() end)))
  end)

  it("gives the buffer back with all references of the handle, and no other's", function()
    local twin = pool:using(10, function(buf)
      buf:retain():retain()
      return buf:share()
    end)
    assert.equal(1, twin:ref_count())
    twin:release()
    h.all_back(pool)
  end)

  it("accepts that the function released it", function()
    pool:using(10, function(buf) buf:release() end)
    pool:using(10, function(buf) pool:put(buf) end)
    h.all_back(pool)
  end)

  it("passes errors on as they are", function()
    local kept
    h.raises(function() pool:using(1, function(buf) kept = buf error("on purpose") end) end, "on purpose")
    assert.equal("released buffer", bytepool.type(kept))
    local mine = { "mine" }
    local ok, err = pcall(pool.using, pool, 1, function() error(mine) end)
    assert.is_false(ok)
    assert.equal(mine, err)
    assert.same(h.pack(false, nil), h.pack(pcall(pool.using, pool, 1, function() error(nil) end)))
    h.raises(function() pool:using(1, function(buf) buf:sub({}) end) end,
      "sub: argument 'i' must be a whole number, got table")
    h.all_back(pool)
  end)

  it("nested", function()
    local ok = pcall(pool.using, pool, 1, function(a)
      return pool:using(2, function(b)
        return pool:using(3, function(c)
          assert.equal(6, #a + #b + #c)
          assert.equal(3, h.balanced(pool).in_use)
          error("out of all three")
        end)
      end)
    end)
    assert.is_false(ok)
    h.all_back(pool)
  end)

  it("refuses wrong arguments at the caller's line", function()
    local called = false
    local function fn() called = true end
    h.refused(pool, function() pool:using(-1, fn) end,
      "using: argument 'n' must be a whole number from 0 to 1099511627776, got -1")
    h.refused(pool, function() pool:using(nil, fn) end,
      "using: argument 'n' must be a whole number from 0 to 1099511627776, got nil")
    h.refused(pool, function() pool:using(1) end, "using: argument 'fn' must be a function, got nil")
    h.refused(pool, function() pool:using(1, {}) end, "using: argument 'fn' must be a function, got table")
    h.refused(pool, function() pool.using({}, 1, fn) end, "using: self must be a bytepool pool, got table")
    local closed = h.new()
    closed:close()
    h.raises(function() closed:using(1, fn) end, "using: the pool is closed")
    assert.is_false(called)
  end)

  it("survives that the function closes the pool", function()
    local own = h.new()
    own:using(10, function(buf)
      own:close()
      buf:set_string(1, "still here")
    end)
    assert.equal("closed pool", bytepool.type(own))
  end)

  if yields_in_pcall then
    it("holds the buffer while a coroutine waits", function()
      local co = coroutine.create(function()
        return pool:using(10, function(buf) return coroutine.yield(#buf) end)
      end)
      assert.same(h.pack(true, 10), h.pack(coroutine.resume(co)))
      assert.equal(1, h.balanced(pool).in_use)
      assert.same(h.pack(true, "result"), h.pack(coroutine.resume(co, "result")))
      h.all_back(pool)
    end)

    it("of a coroutine that is never resumed goes back by the collector", function()
      local co = coroutine.wrap(function() pool:using(10, function() coroutine.yield() end) end)
      co()
      co = nil -- luacheck: ignore
      h.collect()
      h.all_back(pool)
    end)
  else
    it("gives the buffer back where Lua 5.1 refuses to yield", function()
      local co = coroutine.create(function() pool:using(10, function() coroutine.yield() end) end)
      assert.is_false((coroutine.resume(co)))
      h.all_back(pool)
    end)
  end
end)

describe("pool:scope", function()
  it("gives back all that it holds", function()
    local scope = pool:scope()
    local a, b = scope:get_buffer(10), scope:get_buffer(5000000)
    local c = scope:add(a:share())
    assert.same({ 10, 5000000, 10 }, { #a, #b, #c })
    a:retain()
    assert.equal(2, h.balanced(pool).in_use)
    scope:close()
    for _, buf in ipairs { a, b, c } do assert.equal("released buffer", bytepool.type(buf)) end
    h.all_back(pool)
  end)

  it("closes once, and takes nothing any more", function()
    local scope = pool:scope()
    scope:get_buffer(1)
    scope:close()
    scope:close()
    local buf = pool:from_string("mine")
    h.refused(pool, function() scope:get_buffer(1) end, "get_buffer: the scope is closed")
    h.refused(pool, function() scope:add(buf) end, "add: the scope is closed")
    assert.equal("mine", buf:tostring())
    buf:release()
    scope:close()
  end)

  it("skips what was released by hand, added twice, or grew", function()
    local scope = pool:scope()
    scope:get_buffer(1):release()
    local b = scope:get_buffer(1)
    assert.equal(b, scope:add(scope:add(b)))
    scope:add(pool:builder()):put(("x"):rep(1000))
    pool:put(scope:get_buffer(1))
    local other = b:share()
    scope:close()
    assert.equal(1, other:ref_count())
    other:release()
    h.all_back(pool)
  end)

  it("takes buffers of other pools", function()
    local other, scope = h.new(), pool:scope()
    scope:add(other:get_buffer(1))
    scope:close()
    h.all_back(other)
  end)

  it("does not gather what was released by hand", function()
    local scope, weak = pool:scope(), setmetatable({}, { __mode = "k" })
    local kept = {}
    for i = 1, 3000 do
      local buf = scope:get_buffer(1)
      weak[buf] = true
      if i % 100 == 0 then kept[#kept + 1] = buf else buf:release() end
    end
    h.collect()
    local count = 0
    for _ in pairs(weak) do count = count + 1 end
    assert.is_true(count < 300, count .. " handles are kept")
    for _, buf in ipairs(kept) do assert.equal("buffer", bytepool.type(buf)) end
    scope:close()
    h.all_back(pool)
  end)

  it("refuses wrong arguments at the caller's line", function()
    local scope = pool:scope()
    h.refused(pool, function() scope:get_buffer(-1) end,
      "get_buffer: argument 'n' must be a whole number from 0 to 1099511627776, got -1")
    h.refused(pool, function() scope:get_buffer() end,
      "get_buffer: argument 'n' must be a whole number from 0 to 1099511627776, got nil")
    for _, v in ipairs(h.foreign_values()) do
      local x, typename = v[1], v[2]
      h.refused(pool, function() scope:add(x) end, "add: argument 'buf' must be a bytepool buffer, got " .. typename)
      h.refused(pool, function() scope.add(x, x) end, "add: self must be a bytepool scope, got " .. typename)
      h.refused(pool, function() scope.close(x) end, "close: self must be a bytepool scope, got " .. typename)
    end
    h.refused(pool, function() scope:add(pool) end, "add: argument 'buf' must be a bytepool buffer, got userdata")
    local dead = pool:get_buffer(1)
    dead:release()
    h.refused(pool, function() scope:add(dead) end, "add: buffer already released")
    h.refused(pool, function() pool.scope(5) end, "scope: self must be a bytepool pool, got number")
    scope:close()
    local closed = h.new()
    local late = closed:scope()
    closed:close()
    h.raises(function() closed:scope() end, "scope: the pool is closed")
    h.raises(function() late:get_buffer(1) end, "get_buffer: the pool is closed")
    late:close()
  end)

  it("prints its state", function()
    local scope = pool:scope()
    scope:get_buffer(1)
    assert.equal("bytepool.scope: 1 buffers", tostring(scope))
    scope:close()
    assert.equal("bytepool.scope: closed", tostring(scope))
  end)

  it("is shared by coroutines, and outlives one that fails", function()
    local scope = pool:scope()
    local function worker(fails)
      return coroutine.create(function()
        scope:get_buffer(10)
        coroutine.yield()
        scope:get_buffer(20)
        if fails then error("on purpose") end
      end)
    end
    local a, b = worker(false), worker(true)
    for _ = 1, 2 do
      coroutine.resume(a)
      coroutine.resume(b)
    end
    assert.equal(4, h.balanced(pool).in_use)
    scope:close()
    h.all_back(pool)
  end)

  it("that is forgotten goes back by the collector", function()
    pool:scope():get_buffer(10)
    h.collect()
    h.all_back(pool)
  end)

  if not h.has_close then return end

  -- As text, because the other Luas cannot parse the syntax.
  it("ends with its block, by an error too", function()
    assert(load [[
      local pool, h = ...
      do
        local scope <close> = pool:scope()
        scope:get_buffer(10)
        scope:get_buffer(10):release()
      end
      h.all_back(pool)
      local ok, err = pcall(function()
        local scope <close> = pool:scope()
        scope:get_buffer(10)
        error("on purpose", 0)
      end)
      assert(not ok and err == "on purpose")
      h.all_back(pool)
      local co = coroutine.create(function()
        local scope <close> = pool:scope()
        scope:get_buffer(10)
        coroutine.yield()
      end)
      coroutine.resume(co)
      assert(pool:get_pool_stats().in_use == 1)
      assert(coroutine.close(co))
      h.all_back(pool)
    ]])(pool, h)
  end)
end)
