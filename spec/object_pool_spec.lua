-- bytepool.new_pool: a pool of any Lua values.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local function stats(objects)
  local s = objects:stats()
  assert.equal(s.put - s.dropped - (s.get - s.new), s.idle)
  return s
end

local function refused(objects, fn, message)
  local before = stats(objects)
  h.raises(fn, message)
  assert.same(before, stats(objects))
end

describe("an object pool", function()
  it("counts", function()
    local objects = bytepool.new_pool(function() return {} end)
    assert.same({ get = 0, put = 0, new = 0, idle = 0, dropped = 0 }, stats(objects))
    local a, b = objects:get(), objects:get()
    assert.same({ get = 2, put = 0, new = 2, idle = 0, dropped = 0 }, stats(objects))
    objects:put(a)
    assert.same({ get = 2, put = 1, new = 2, idle = 1, dropped = 0 }, stats(objects))
    assert.equal(a, objects:get())
    objects:put(a)
    objects:put(b)
    assert.same({ get = 3, put = 3, new = 2, idle = 2, dropped = 0 }, stats(objects))
  end)

  it("keeps at most max_idle and drops the rest", function()
    local objects = bytepool.new_pool(function() return {} end, { max_idle = 2 })
    for _ = 1, 5 do objects:put({}) end
    assert.same({ get = 0, put = 5, new = 0, idle = 2, dropped = 3 }, objects:stats())
    local none = bytepool.new_pool(function() return {} end, { max_idle = 0 })
    none:put(none:get())
    assert.same({ get = 1, put = 1, new = 1, idle = 0, dropped = 1 }, stats(none))
  end)

  it("keeps 256 where nothing is asked", function()
    local objects = bytepool.new_pool(function() return {} end)
    for _ = 1, 300 do objects:put({}) end
    assert.equal(256, objects:stats().idle)
    assert.equal(44, objects:stats().dropped)
  end)

  it("does not keep dropped or handed out values alive", function()
    local objects = bytepool.new_pool(function() return {} end, { max_idle = 1 })
    local weak = setmetatable({}, { __mode = "v" });
    (function()
      weak[1], weak[2], weak[3] = objects:get(), objects:get(), objects:get()
      objects:put(weak[1])
      objects:put(weak[2])
    end)()
    h.collect()
    assert.not_nil(weak[1])
    assert.is_nil(weak[2])
    assert.is_nil(weak[3])
    objects:get()
    h.collect()
    assert.is_nil(weak[1])
  end)

  it("resets what is put", function()
    local objects = bytepool.new_pool(function() return { n = 0 } end, { reset = function(x) x.n = 0 end })
    local x = objects:get()
    x.n = 5
    objects:put(x)
    local again = objects:get()
    assert.equal(x, again)
    assert.equal(0, again.n)
  end)

  it("takes values of every type but nil", function()
    local thread = coroutine.create(function() end)
    local values = { 1, 1.5, 0 / 0, "s", true, false, {}, print, function() end, io.stdout, thread }
    local objects = bytepool.new_pool(function() return "new" end)
    for _, v in ipairs(values) do objects:put(v) end
    assert.equal(#values, objects:stats().idle)
    for i = #values, 1, -1 do
      local v = objects:get()
      assert.equal(type(values[i]), type(v))
      if v == v then assert.equal(values[i], v) end
    end
    assert.equal("new", objects:get())
  end)

  it("takes a plain value twice", function()
    local objects = bytepool.new_pool(function() return 0 end)
    for _, v in ipairs { 1, "s", true, false } do
      objects:put(v)
      objects:put(v)
    end
    assert.equal(8, stats(objects).put)
  end)
end)

describe("misuse of an object pool", function()
  it("put of nil", function()
    local objects = bytepool.new_pool(function() return {} end)
    refused(objects, function() objects:put(nil) end, "put: argument 'x' must not be nil")
    refused(objects, function() objects:put() end, "put: argument 'x' must not be nil")
  end)

  it("put of what is in the pool", function()
    local objects = bytepool.new_pool(function() return {} end)
    for _, x in ipairs { {}, print, io.stdout, coroutine.create(function() end) } do
      objects:put(x)
      refused(objects, function() objects:put(x) end, "put: x is in the pool already")
      assert.equal(x, objects:get())
      objects:put(x)
      refused(objects, function() objects:put(x) end, "put: x is in the pool already")
    end
  end)

  it("a function that returns nil", function()
    local objects = bytepool.new_pool(function() return nil end)
    refused(objects, function() objects:get() end, "get: the function given to new_pool returned nil")
  end)

  it("a function that raises", function()
    local objects = bytepool.new_pool(function() error("no more", 0) end)
    local before = stats(objects)
    assert.same({ false, "no more" }, { pcall(objects.get, objects) })
    assert.same(before, stats(objects))
  end)

  it("a reset that raises", function()
    local objects = bytepool.new_pool(function() return {} end, { reset = function() error("no reset", 0) end })
    local x = objects:get()
    local before = stats(objects)
    assert.same({ false, "no reset" }, { pcall(objects.put, objects, x) })
    assert.same(before, stats(objects))
    assert.not_equal(x, objects:get())
  end)

  it("a reset that puts the same value", function()
    local objects
    objects = bytepool.new_pool(function() return {} end, { reset = function(x) pcall(objects.put, objects, x) end })
    local x = objects:get()
    pcall(objects.put, objects, x)
    local a, b = objects:get(), objects:get()
    assert.not_equal(a, b)
    stats(objects)
  end)

  it("a function that uses the pool it serves", function()
    local objects, depth = nil, 0
    objects = bytepool.new_pool(function()
      depth = depth + 1
      if depth < 5 then objects:put(objects:get()) end
      return {}
    end)
    local a, b = objects:get(), objects:get()
    assert.not_equal(a, b)
    stats(objects)
  end)

  it("wrong arguments of new_pool", function()
    local new_pool = bytepool.new_pool
    local fn = function() return {} end
    h.raises(function() new_pool() end, "new_pool: argument 'fn' must be a function, got nil")
    h.raises(function() new_pool({}) end, "new_pool: argument 'fn' must be a function, got table")
    h.raises(function() new_pool(fn, { x = 1 }) end, "new_pool: unknown option 'x' (known: max_idle, reset)")
    h.raises(function() new_pool(fn, 5) end, "new_pool: argument 'options' must be a table, got 5")
    h.raises(function() new_pool(fn, { reset = 5 }) end, "new_pool: option 'reset' must be a function, got 5")
    for _, n in ipairs { -1, 1.5, 0 / 0, 1 / 0, "x", true } do
      h.raises_like(function() new_pool(fn, { max_idle = n }) end, "new_pool: option 'max_idle' must be a whole number")
    end
  end)

  it("a foreign self", function()
    local objects = bytepool.new_pool(function() return {} end)
    for _, name in ipairs { "get", "put", "stats" } do
      local method = objects[name]
      for _, self in ipairs { 5, "x", {}, h.new(), print } do
        h.raises_like(function() method(self, 1) end, name .. ": self must be ")
      end
      h.raises_like(function() method(nil, 1) end, name .. ": self must be ")
    end
  end)
end)
