-- Misuse never crashes, part 1: methods called on what they are not for. A method
-- fetched from a live buffer meets foreign values, dead handles, and values whose
-- metatable a script has made to lie.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local pool = h.new()

after_each(function()
  h.collect()
  h.all_back(pool)
end)

local buffer_methods = {
  "bytes", "share", "retain", "release", "ref_count", "tostring", "sub", "byte", "set_string", "len", "capacity",
}
local pool_methods = {
  "get_buffer", "release_buffer", "get", "put", "from_string", "prewarm", "trim", "close",
  "get_pool_stats", "get_discarded_count", "get_available_sizes", "expvar",
}

-- Arguments that would be right, so that only self can be at fault.
local right = {
  sub = { 1, 2 }, byte = { 1 }, set_string = { 1, "a" }, get_buffer = { 1 }, get = { 1 },
  from_string = { "a" }, prewarm = { {} }, expvar = { "misuse" },
}

local function refuse_self(method, name, kind, value, typename)
  local a = right[name] or {}
  h.refused(pool, function() method(value, a[1], a[2]) end,
    name .. ": self must be a bytepool " .. kind .. ", got " .. typename)
end

describe("a buffer's method", function()
  local buf
  before_each(function() buf = pool:from_string("four") end)
  after_each(function()
    assert.equal("four", buf:tostring())
    assert.equal(1, buf:ref_count())
    buf:release()
  end)

  for _, name in ipairs(buffer_methods) do
    it(name .. " refuses a foreign self", function()
      local method = buf[name]
      for _, v in ipairs(h.foreign_values()) do refuse_self(method, name, "buffer", v[1], v[2]) end
      refuse_self(method, name, "buffer", pool, "userdata")
      h.refused_like(pool, function() method() end, name .. ": self must be a bytepool buffer, got n")
    end)

    it(name .. " refuses a dead handle", function()
      local method, a = buf[name], right[name] or {}
      local released, collected = pool:get_buffer(4), pool:get_buffer(4)
      released:release()
      debug.getmetatable(collected).__gc(collected)
      for _, dead in ipairs { released, collected } do
        h.refused(pool, function() method(dead, a[1], a[2]) end, name .. ": buffer already released")
        -- A bad argument besides must not be looked at before the handle.
        h.refused(pool, function() dead[name](dead, a[1], a[2]) end, name .. ": buffer already released")
      end
    end)
  end

  it("# refuses a dead handle", function()
    local dead = pool:get_buffer(4)
    dead:release()
    h.refused(pool, function() local _ = #dead end, "len: buffer already released")
  end)
end)

describe("a pool's method", function()
  for _, name in ipairs(pool_methods) do
    it(name .. " refuses a foreign self", function()
      local method, buf = pool[name], pool:get_buffer(4)
      for _, v in ipairs(h.foreign_values()) do refuse_self(method, name, "pool", v[1], v[2]) end
      refuse_self(method, name, "pool", buf, "userdata")
      buf:release()
      refuse_self(method, name, "pool", buf, "userdata")
    end)
  end
end)

describe("a metatable that lies", function()
  local live, file, undo

  before_each(function()
    live, undo = pool:from_string("live"), {}
    file = assert(io.tmpfile())
  end)

  after_each(function()
    for i = #undo, 1, -1 do undo[i]() end
    file:close()
    assert.equal("live", live:tostring())
    live:release()
  end)

  -- Gives value another metatable until the test is over.
  local function disguise(value, meta)
    local old = debug.getmetatable(value)
    debug.setmetatable(value, meta)
    undo[#undo + 1] = function() debug.setmetatable(value, old) end
    return value
  end

  local function set(t, key, value)
    local old = rawget(t, key)
    rawset(t, key, value)
    undo[#undo + 1] = function() rawset(t, key, old) end
  end

  local function refuse_as_buffer(value, typename)
    for _, name in ipairs(buffer_methods) do refuse_self(live[name], name, "buffer", value, typename) end
    h.refused(pool, function() pool:put(value) end,
      "put: argument 'buf' must be a bytepool buffer, got " .. typename)
    h.refused(pool, function() pool:release_buffer(value) end,
      "release_buffer: argument 'buf' must be a bytepool buffer, got " .. typename)
    assert.is_nil(bytepool.type(value))
  end

  local function refuse_as_pool(value, typename)
    for _, name in ipairs(pool_methods) do refuse_self(pool[name], name, "pool", value, typename) end
    assert.is_nil(bytepool.type(value))
  end

  it("by __metatable and __name on a file", function()
    local meta = debug.getmetatable(file)
    set(meta, "__metatable", getmetatable(live))
    set(meta, "__name", "bytepool.buffer")
    assert.equal("bytepool.buffer", getmetatable(file))
    refuse_as_buffer(file, "userdata")
    set(meta, "__metatable", getmetatable(pool))
    set(meta, "__name", "bytepool.pool")
    refuse_as_pool(file, "userdata")
  end)

  it("by __metatable holding the very metatable", function()
    set(debug.getmetatable(file), "__metatable", debug.getmetatable(live))
    assert.equal(debug.getmetatable(live), getmetatable(file))
    refuse_as_buffer(file, "userdata")
  end)

  it("by __index on a file", function()
    set(debug.getmetatable(file), "__index", debug.getmetatable(live).__index)
    h.refused(pool, function() file:release() end, "release: self must be a bytepool buffer, got userdata")
  end)

  it("a table with the buffer's metatable", function()
    refuse_as_buffer(disguise({}, debug.getmetatable(live)), "table")
  end)

  it("a table with the pool's metatable", function()
    refuse_as_pool(disguise({}, debug.getmetatable(pool)), "table")
  end)

  it("a file with the buffer's metatable", function()
    refuse_as_buffer(disguise(file, debug.getmetatable(live)), "userdata")
  end)

  it("a file with the pool's metatable", function()
    refuse_as_pool(disguise(file, debug.getmetatable(pool)), "userdata")
  end)

  it("a pool with the buffer's metatable", function()
    refuse_as_buffer(disguise(h.new(), debug.getmetatable(live)), "userdata")
  end)

  it("a buffer with the pool's metatable", function()
    local other = pool:get_buffer(10)
    refuse_as_pool(disguise(other, debug.getmetatable(pool)), "userdata")
    debug.setmetatable(other, debug.getmetatable(live))
    other:release()
  end)

  local newproxy = rawget(_G, "newproxy")
  if newproxy then
    it("a proxy with the buffer's metatable", function()
      refuse_as_buffer(disguise(newproxy(), debug.getmetatable(live)), "userdata")
    end)

    it("a proxy with the pool's metatable", function()
      refuse_as_pool(disguise(newproxy(true), debug.getmetatable(pool)), "userdata")
    end)
  end

  -- One metatable serves all values of such a type, so this needs a process of its own.
  for _, kind in ipairs { "nil", "number", "string", "boolean", "function", "thread", "light", "cdata" } do
    local make = {
      ["nil"] = "nil", number = "5", string = "'abc'", boolean = "true", ["function"] = "print",
      thread = "coroutine.create(function() end)", light = "light", cdata = "require('ffi').new('uint64_t', 5)",
    }
    local text = [[
      local light = require("bytepool.core").light -- points at one byte that is no buffer
      local value = VALUE
      local bytepool = require "bytepool"
      local pool = bytepool.new_pools({ 128 }, { region_size = 67108864 })
      local buf = pool:from_string("live")
      local meta, pool_meta, old = debug.getmetatable(buf), debug.getmetatable(pool), debug.getmetatable(value)
      local calls, results = {}, {}
      for name, method in pairs(meta.__index) do calls[#calls + 1] = { name, method, meta, "buffer" } end
      for name, method in pairs(pool_meta.__index) do calls[#calls + 1] = { name, method, pool_meta, "pool" } end
      calls[#calls + 1] = { "put", function(v) pool:put(v) end, meta }
      calls[#calls + 1] = { "release_buffer", function(v) pool:release_buffer(v) end, meta }
      for i, call in ipairs(calls) do
        local method = call[2]
        debug.setmetatable(value, call[3])
        local ok, err = pcall(function() method(value, 1, "a") end)
        debug.setmetatable(value, old)
        results[i] = not ok and err
      end
      for i, call in ipairs(calls) do
        local want = call[1] .. (call[4] and ": self must be a bytepool " .. call[4] .. ", got " .. type(value)
          or ": argument 'buf' must be a bytepool buffer, got " .. type(value))
        if not results[i] or results[i]:sub(-#want) ~= want then print(want, results[i]) end
      end
      assert(buf:tostring() == "live" and buf:ref_count() == 1)
      buf:release()
    ]]
    if kind ~= "cdata" or h.is_luajit then
      it("on every value of type " .. kind, function()
        assert.equal("", h.script_ok((text:gsub("VALUE", function() return make[kind] end))))
      end)
    end
  end

  it("a dead handle given the live metatable again", function()
    local dead = pool:get_buffer(10)
    dead:release()
    debug.setmetatable(dead, debug.getmetatable(live))
    assert.equal("released buffer", bytepool.type(dead))
    for _, name in ipairs(buffer_methods) do
      local method, a = live[name], right[name] or {}
      h.refused(pool, function() method(dead, a[1], a[2]) end, name .. ": buffer already released")
    end
    h.refused(pool, function() pool:put(dead) end, "put: buffer already released")
    local before = h.counters(pool)
    dead = nil -- luacheck: ignore
    h.collect()
    assert.same(before, h.counters(pool))
  end)

  it("a live handle given a dead one's metatable", function()
    local dead, other = pool:get_buffer(10), pool:from_string("other")
    dead:release()
    local real = debug.getmetatable(other)
    debug.setmetatable(other, debug.getmetatable(dead))
    -- It may work or be refused, but it must stay whole.
    pcall(function() return other:byte(1), #other end)
    debug.setmetatable(other, real)
    assert.equal("other", other:tostring())
    other:release()
  end)

  it("a live handle without a metatable", function()
    local other = pool:from_string("other")
    local real = debug.getmetatable(other)
    debug.setmetatable(other, nil)
    refuse_as_buffer(other, "userdata")
    debug.setmetatable(other, real)
    assert.equal("other", other:tostring())
    other:release()
  end)
end)
