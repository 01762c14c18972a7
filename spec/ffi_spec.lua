-- LuaJIT: raw pointers of bytepool.ffi, and the hot methods as compiled FFI bodies.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local tracing = dofile(here .. "/tracing.lua")
local bytepool = require "bytepool"

if not h.is_luajit then
  it("bytepool.ffi says that it needs LuaJIT", function()
    local ok, err = pcall(require, "bytepool.ffi")
    assert.is_false(ok)
    assert.truthy(tostring(err):find("LuaJIT", 1, true))
  end)
  return
end

local ffi = require "ffi"
ffi.cdef "void free(void *);"
local raw = require "bytepool.ffi"
local pool

-- No collector takes raw pointers back, so each spec has its own pool.
before_each(function() pool = h.new() end)

after_each(function()
  h.collect()
  h.all_back(pool)
end)

describe("raw pointers", function()
  it("come with their capacity and go back", function()
    for _, case in ipairs { { 0, 128 }, { 1, 128 }, { 129, 256 }, { 4096, 4096 }, { 2097152, 2097152 } } do
      local ptr, capacity = raw.get(pool, case[1])
      assert.equal("cdata", type(ptr))
      assert.is_true(ffi.istype("uint8_t *", ptr))
      assert.equal(case[2], tonumber(capacity))
      assert.equal(0, tonumber(ffi.cast("uintptr_t", ptr) % 64))
      ffi.fill(ptr, tonumber(capacity), 0xa5)
      assert.equal(0xa5, ptr[tonumber(capacity) - 1])
      assert.equal(1, h.balanced(pool).in_use)
      raw.put(pool, ptr)
    end
  end)

  it("above the largest tier are counted as discarded", function()
    local before = pool:get_discarded_count()
    local ptr, capacity = raw.get(pool, 3000000)
    assert.is_true(tonumber(capacity) >= 3000000)
    ptr[2999999] = 1
    raw.put(pool, ptr)
    assert.equal(before + 1, pool:get_discarded_count())
  end)

  it("do not overlap", function()
    local list = {}
    for i = 1, 500 do
      local ptr = raw.get(pool, 256)
      ffi.fill(ptr, 256, i % 256)
      list[i] = ptr
    end
    for i = 1, 500 do
      assert.equal(i % 256, list[i][0])
      assert.equal(i % 256, list[i][255])
      raw.put(pool, list[i])
    end
  end)

  it("any pointer type is taken back", function()
    raw.put(pool, ffi.cast("void *", (raw.get(pool, 10))))
    raw.put(pool, ffi.cast("char *", (raw.get(pool, 10))))
  end)

  it("are refused when foreign", function()
    local other = h.new()
    local ptr, theirs = raw.get(pool, 4096), raw.get(other, 4096)
    local mine = ffi.new("uint8_t[4096]")
    for _, p in ipairs { mine, ptr + 1, ptr + 64, ptr - 1, ptr + 4095, theirs, ffi.cast("uint8_t *", 0),
      ffi.cast("uint8_t *", 1), ffi.cast("uint8_t *", -1), ffi.cast("uint8_t *", ffi.C.free) } do
      local before = h.counters(other)
      h.refused(pool, function() raw.put(pool, p) end, "put: foreign pointer")
      assert.same(before, h.counters(other))
    end
    h.refused(other, function() raw.put(other, ptr) end, "put: foreign pointer")
    -- Wherever a neighbour starts, it is not out.
    for i = -100, 100 do
      local p = ptr + i * 64
      if i ~= 0 then h.refused_like(pool, function() raw.put(pool, p) end, "put: ") end
    end
    raw.put(pool, ptr)
    raw.put(other, theirs)
    h.all_back(other)
  end)

  it("are refused the second time", function()
    for _, n in ipairs { 10, 4096, 2097152 } do
      local ptr = raw.get(pool, n)
      raw.put(pool, ptr)
      h.refused(pool, function() raw.put(pool, ptr) end, "put: pointer given back already")
    end
    local big = raw.get(pool, 3000000)
    raw.put(pool, big)
    h.refused_like(pool, function() raw.put(pool, big) end, "put: ")
  end)

  it("are refused while a handle owns the block", function()
    local ptr = raw.get(pool, 4096)
    raw.put(pool, ptr)
    -- The block given back last is the next one handed out, or soon after.
    local bufs, found = {}, false
    for i = 1, 1000 do
      bufs[i] = pool:get_buffer(4096)
      bufs[i]:set_string(1, "handle " .. i)
      if ffi.string(ptr, 7) == "handle " then
        found = true
        break
      end
    end
    assert.is_true(found)
    h.refused(pool, function() raw.put(pool, ptr) end, "put: pointer belongs to a buffer handle")
    for _, buf in ipairs(bufs) do buf:release() end
  end)

  it("refuse a pool's or buffer's disguise", function()
    local buf, file = pool:get_buffer(1), assert(io.tmpfile())
    h.refused(pool, function() raw.get(buf, 1) end, "get: argument 'pool' must be a bytepool pool, got userdata")
    local real = debug.getmetatable(file)
    debug.setmetatable(file, debug.getmetatable(pool))
    h.refused(pool, function() raw.get(file, 1) end, "get: argument 'pool' must be a bytepool pool, got userdata")
    debug.setmetatable(file, real)
    file:close()
    buf:release()
  end)

  it("refuse wrong arguments", function()
    for _, v in ipairs(h.foreign_values()) do
      local x = v[1]
      h.refused(pool, function() raw.get(x, 1) end, "get: argument 'pool' must be a bytepool pool, got " .. v[2])
      h.refused(pool, function() raw.put(x, nil) end, "put: argument 'pool' must be a bytepool pool, got " .. v[2])
      if v[2] == "cdata" then
        h.refused_like(pool, function() raw.put(pool, x) end, "put: ")
      else
        h.refused(pool, function() raw.put(pool, x) end, "put: argument 'pointer' must be a pointer, got " .. v[2])
      end
    end
    local must = "get: argument 'n' must be a whole number from 0 to 1099511627776, got "
    for _, case in ipairs { { -1, "-1" }, { 1.5, "1.5" }, { 0 / 0, "nan" }, { 1 / 0, "inf" }, { "x", "string" },
      { {}, "table" } } do
      local n = case[1]
      h.refused(pool, function() raw.get(pool, n) end, must .. case[2])
    end
    h.refused(pool, function() raw.get(pool, nil) end, must .. "nil")
    local closed = h.new()
    local ptr = raw.get(closed, 10)
    closed:close()
    h.raises(function() raw.get(closed, 1) end, "get: the pool is closed")
    h.raises(function() raw.put(closed, ptr) end, "put: the pool is closed")
  end)
end)

describe("in a loop under the JIT", function()
  local setup = [[
    local pool = bytepool.new_pools({ 128 }, { region_size = 67108864 })
    local buf = pool:from_string("abcdefgh")
  ]]
  local results = "sum, buf:ref_count()"
  local bodies = {
    byte = "sum = sum + buf:byte(i % 8 + 1)",
    len = "sum = sum + buf:len()",
    ref_count = "sum = sum + buf:ref_count()",
    set_string = "buf:set_string(i % 8 + 1, 'z') sum = sum + buf:byte(i % 8 + 1)",
    ["retain and release"] = "buf:retain() buf:release()",
  }
  local sums = { byte = 100500, len = 8000, ref_count = 1000, set_string = 122000, ["retain and release"] = 0 }

  if jit.status() then
    for name, body in pairs(bodies) do
      it(name .. " compiles without an abort", function()
        assert.equal(sums[name] .. " 1", tracing.compiles(setup, body, results))
      end)
    end

    it("the raw pair compiles without an abort", function()
      local body = "local p = raw.get(pool, 100) p[0] = 1 sum = sum + p[0] raw.put(pool, p)"
      assert.equal("1000 1", tracing.compiles(setup .. 'local raw = require "bytepool.ffi"', body, results))
    end)
  end

  it("gives the same sums with the JIT off", function()
    for name, body in pairs(bodies) do
      local links, aborts, printed = tracing.loop(setup, body, results, "-joff")
      assert.same({ "", "", sums[name] .. " 1" }, { links, aborts, printed })
    end
  end)
end)

describe("the methods", function()
  local which = [[
    local getinfo = debug.getinfo
    PRELUDE
    local bytepool = require "bytepool"
    local buf = bytepool.default():get_buffer(1)
    for _, name in ipairs { "byte", "release", "retain", "ref_count", "len" } do
      io.write(name, "=", getinfo(buf[name], "S").what, " ")
    end
  ]]

  it("are FFI bodies with the JIT on", function()
    assert.equal("byte=Lua release=Lua retain=Lua ref_count=Lua len=Lua ", h.script_ok((which:gsub("PRELUDE", ""))))
  end)

  it("are the C ones with the JIT off", function()
    assert.equal("byte=C release=C retain=C ref_count=C len=C ", h.script_ok((which:gsub("PRELUDE", "")), "-joff"))
  end)

  it("are the C ones without the debug library", function()
    local text = which:gsub("PRELUDE", "debug = nil package.loaded.debug = nil")
    assert.equal("byte=C release=C retain=C ref_count=C len=C ", h.script_ok(text))
  end)

  it("answer alike with the JIT on and off", function()
    local text = [[
      local bytepool = require "bytepool"
      local pool = bytepool.new_pools({ 128, 4096 }, { region_size = 67108864 })
      local dead, live, whole = pool:get_buffer(5), pool:from_string("abc"), pool:from_string("abcd")
      dead:release()
      local values = { 1, -1, 0, 9, 1.5, 0/0, 1/0, "2", "x", {}, true, print, newproxy(), live, dead, pool, false }
      for _, name in ipairs { "byte", "sub", "set_string", "len", "capacity", "ref_count", "tostring", "get", "set",
        "skip", "find", "compare", "equals", "starts_with", "ends_with", "copy", "fill", "reserve", "commit",
        "resize", "put", "u8", "set_u8", "slice", "reset", "free", "unshare", "is_unique", "freeze", "copy", "fill" } do
        for _, self in ipairs { live, whole, dead, pool, "s", 5, io.stdout } do
          local method = live[name]
          for k = 1, #values + 1 do
            for m = 1, #values + 1, 2 do
              local result
              local ok, err = pcall(function() result = method(self, values[k], values[m], values[k]) end)
              if rawequal(result, self) then result = "self" end
              if name == "slice" and ok then
                local part = result
                result = part:tostring()
                part:release()
              end
              print(name, k, m, ok, err, ok and result)
            end
          end
          if bytepool.type(self) == "buffer" and not self:is_frozen() then
            print(#self:get(), self:capacity())
            self:set("abc")
          end
        end
      end
      live, whole, values = nil, nil, nil
      collectgarbage()
      collectgarbage()
      local s = pool:get_pool_stats()
      print(s.total_get, s.total_put, s.in_use)
    ]]
    h.with_file(text, function(path)
      local on_status, on = h.exec(path)
      local off_status, off = h.exec("-joff", path)
      assert.equal(0, on_status)
      assert.equal(0, off_status)
      local on_lines, off_lines = on:gmatch("[^\n]+"), off:gmatch("[^\n]+")
      local lines = 0
      for line in on_lines do
        assert.equal(off_lines(), line)
        lines = lines + 1
      end
      assert.is_nil((off_lines()))
      assert.is_true(lines > 30000)
    end)
  end)
end)

it("bytepool reports which methods run", function()
  local what = debug.getinfo(bytepool.default().get_buffer, "S").what
  assert.equal(what == "Lua", bytepool.ffi_bodies)
end)
