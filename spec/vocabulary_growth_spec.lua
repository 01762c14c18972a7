-- The vocabulary, part 3: which block a buffer that grows moves to, and when it may.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")

local sizes = { 64, 256, 1024, 1500 }
local pool = h.new(nil, sizes)

after_each(function()
  h.collect()
  h.all_back(pool)
end)

describe("growth", function()
  it("goes by tiers that fit, geometric, the old blocks going back", function()
    local buf, text, steps = pool:builder(), {}, {}
    for i = 1, 700 do
      local piece = ("%04d,"):format(i)
      text[i] = piece
      buf:put(piece)
      if steps[#steps] ~= buf:capacity() then steps[#steps + 1] = buf:capacity() end
      assert.equal(1, h.balanced(pool).in_use)
    end
    assert.equal(table.concat(text), buf:tostring())
    assert.same({ 64, 256, 1024, 1500, 3000, 6000 }, steps)
    assert.same({ alone = 1 }, h.out(pool))
    buf:free()
    assert.same({ [64] = 1 }, h.out(pool))
    buf:release()
  end)

  it("takes one large step where one is asked for", function()
    local buf = pool:from_string("ab")
    assert.equal(1022, buf:reserve(900))
    assert.same({ [1024] = 1 }, h.out(pool))
    buf:put(("x"):rep(10000))
    assert.same({ alone = 1 }, h.out(pool))
    assert.equal(10002, buf:capacity())
    assert.equal("abxx", buf:sub(1, 4))
    buf:release()
  end)

  it("keeps all references of its handle", function()
    local buf = pool:from_string("0123456789")
    buf:retain():retain()
    buf:put(("x"):rep(100))
    assert.equal(3, buf:ref_count())
    assert.is_true(buf:is_unique())
    assert.same({ [256] = 1 }, h.out(pool))
    buf:resize(2000):free()
    assert.equal(3, buf:ref_count())
    assert.same({ [64] = 1 }, h.out(pool))
    buf:release()
    buf:release()
    buf:put("x")
    buf:release()
  end)

  local growers = {
    put = { "x" }, putf = { "x" }, set = { "x" }, reserve = { 1 }, commit = { 0 }, resize = { 9 }, free = {},
  }
  for name, a in pairs(growers) do
    it("by " .. name .. " is refused to shared, frozen and sliced buffers", function()
      local buf = pool:from_string("12345678")
      local function refused(which, message)
        h.refused(pool, function() which[name](which, a[1]) end, name .. ": " .. message)
      end
      local twin = buf:share()
      refused(buf, "buffer is shared (ref_count 2)")
      refused(twin, "buffer is shared (ref_count 2)")
      twin:release()
      local part = buf:slice(1, 4)
      refused(buf, "buffer is shared (ref_count 2)")
      refused(part, "a slice does not grow")
      buf:release()
      refused(part, "a slice does not grow")
      assert.equal("1234", part:tostring())
      part:release()
      buf = pool:from_string("12345678"):freeze()
      refused(buf, "buffer is frozen")
      assert.equal("12345678", buf:tostring())
      buf:release()
    end)
  end

  it("is allowed again to the last of several owners", function()
    local buf = pool:from_string("12345678")
    local twin, token = buf:share(), buf:export()
    buf:release()
    h.refused(pool, function() twin:put("9") end, "put: buffer is shared (ref_count 2)")
    require("bytepool").import(token):release()
    assert.equal("123456789", twin:put("9"):tostring())
    assert.equal(64, twin:capacity())
    twin:release()
  end)

  it("of a buffer of a closed pool uses up its block, then is refused", function()
    local closed = h.new(nil, sizes)
    local buf = closed:from_string("12345678")
    closed:close()
    assert.equal("123456789", buf:put("9"):tostring())
    assert.equal(55, buf:reserve(55))
    local big = ("x"):rep(100)
    h.raises(function() buf:put(big) end, "put: the pool is closed")
    h.raises(function() buf:putf("%s", big) end, "putf: the pool is closed")
    h.raises(function() buf:set(big) end, "set: the pool is closed")
    h.raises(function() buf:resize(65) end, "resize: the pool is closed")
    h.raises(function() buf:reserve(56) end, "reserve: the pool is closed")
    h.raises(function() buf:free() end, "free: the pool is closed")
    local part = buf:slice(1, 3)
    h.raises(function() part:unshare() end, "unshare: the pool is closed")
    assert.equal("123", part:tostring())
    part:release()
    assert.equal("123456789", buf:tostring())
    buf:release()
  end)

  it("above the largest request returns nil and a message", function()
    local buf = pool:from_string("12345678")
    local before = h.counters(pool)
    assert.same(h.pack(nil, "out of memory"), h.pack(buf:reserve(2 ^ 40)))
    assert.same(before, h.counters(pool))
    assert.equal("12345678", buf:tostring())
    buf:release()
  end)
end)

describe("resize", function()
  it("cuts, and lengthens with zeros", function()
    local buf = pool:from_string("abcdef")
    assert.equal(buf, buf:resize(3))
    assert.equal("abc", buf:tostring())
    assert.equal("abc\0\0\0", buf:resize(6):tostring())
    assert.equal("", buf:resize(0):tostring())
    assert.equal(("\0"):rep(300), buf:resize(300):tostring())
    assert.equal(1024, buf:capacity())
    buf:release()
  end)

  it("only cuts what is shared, sliced or frozen, for its own handle", function()
    local buf = pool:from_string("abcdef"):freeze()
    local part = buf:slice(2, 5)
    assert.equal("bc", part:resize(2):tostring())
    assert.equal("ab", buf:resize(2):tostring())
    h.refused(pool, function() part:resize(3) end, "resize: buffer is frozen")
    part:release()
    buf:release()
  end)

  it("refuses what is no size", function()
    local buf = pool:from_string("abc")
    for _, case in ipairs { { -1, "-1" }, { 1.5, "1.5" }, { "x", "string" }, { {}, "table" } } do
      local n = case[1]
      for _, name in ipairs { "resize", "reserve", "commit", "skip", "split", "get" } do
        h.refused(pool, function() buf[name](buf, n) end, name
          .. ": argument 'n' must be a whole number from 0 to 1099511627776, got " .. case[2])
      end
    end
    for _, name in ipairs { "resize", "reserve", "commit", "skip", "split" } do
      h.refused_like(pool, function() buf[name](buf) end, name .. ": argument 'n' must be a whole number from ")
    end
    assert.equal("abc", buf:tostring())
    buf:release()
  end)
end)

describe("ref", function()
  if not h.is_luajit then
    it("needs LuaJIT", function()
      local buf = pool:get_buffer(1)
      h.refused(pool, function() buf:ref() end, "ref: needs the FFI of LuaJIT")
      buf:release()
    end)
    return
  end

  it("resize to a length above all tiers is zero, also where it was used before", function()
    local buf = pool:builder(10):put("x")
    assert.equal(buf, buf:resize(3000000))
    assert.equal(0, buf:byte(2999999))
    buf:fill(7):resize(10):resize(3000000)
    assert.equal(7, buf:byte(10))
    assert.equal(0, buf:byte(11))
    assert.equal(0, buf:byte(3000000))
    buf:release()
    local huge = pool:builder()
    if huge:resize(2 ^ 36) then assert.equal(0, huge:byte(2 ^ 36)) end -- or nil, "out of memory"
    huge:release()
  end)

  it("is a pointer and the length", function()
    local ffi = require "ffi"
    local buf = pool:from_string("abcdef")
    local pointer, length = buf:ref()
    assert.is_true(ffi.istype("uint8_t *", pointer))
    assert.equal("number", type(length))
    assert.equal("abcdef", ffi.string(pointer, length))
    pointer[0] = 120
    assert.equal("xbcdef", buf:tostring())
    local part = buf:slice(3, 4)
    assert.equal("cd", ffi.string(part:ref()))
    part:release()
    buf:skip(4)
    assert.equal("ef", ffi.string(buf:ref()))
    buf:reserve(5)
    local at, size = buf:ref()
    ffi.copy(at + size, "xyz", 3)
    assert.equal("efxyz", buf:commit(3):tostring())
    buf:release()
    h.refused(pool, function() buf:ref() end, "ref: buffer already released")
  end)
end)
