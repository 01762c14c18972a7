-- Buffers: length and capacity, bytes in and out, what they print.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local pool = h.new()

after_each(function()
  h.collect()
  h.all_back(pool)
end)


describe("length and capacity", function()
  it("are what was asked for and the tier's size", function()
    for _, n in ipairs { 1, 127, 128, 129, 4096, 2097151, 2097152 } do
      local buf = pool:get_buffer(n)
      assert.equal(n, #buf)
      assert.equal(n, buf:len())
      assert.is_true(buf:capacity() >= n and (buf:capacity() < 2 * n or n < 128))
      buf:release()
    end
  end)

  it("of an oversize buffer are both the length asked for", function()
    local buf = pool:get_buffer(3000000)
    assert.equal(3000000, #buf)
    assert.equal(3000000, buf:capacity())
    buf:set_string(3000000, "z")
    assert.equal(122, buf:byte(-1))
    buf:release()
  end)

  it("of an empty buffer", function()
    local buf = pool:get_buffer(0)
    assert.equal(0, #buf)
    assert.equal(128, buf:capacity())
    assert.equal("", buf:tostring())
    assert.equal("", buf:sub(1, -1))
    assert.equal(0, select("#", buf:byte(1)))
    h.refused(pool, function() buf:set_string(1, "x") end, "set_string: 1 bytes at position 1 do not fit in length 0")
    buf:release()
  end)

  it("accept a number written as a string, as Lua does", function()
    local buf = pool:get_buffer("100")
    assert.equal(100, #buf)
    buf:release()
  end)
end)

describe("what they print", function()
  it("is the state", function()
    local buf = pool:get_buffer(4096)
    assert.equal("bytepool.buffer: 4096/4096 refs=1", tostring(buf))
    buf:retain()
    local other = buf:share()
    assert.equal("bytepool.buffer: 4096/4096 refs=3", tostring(buf))
    assert.equal("bytepool.buffer: 4096/4096 refs=3", tostring(other))
    other:release()
    assert.equal("bytepool.buffer: released", tostring(other))
    buf:release()
    assert.equal("bytepool.buffer: 4096/4096 refs=1", tostring(buf))
    buf:release()
    assert.equal("bytepool.buffer: released", tostring(buf))
  end)

  it("of an empty and of an oversize buffer", function()
    local a, b = pool:get_buffer(0), pool:get_buffer(2097153)
    assert.equal("bytepool.buffer: 0/128 refs=1", tostring(a))
    assert.equal("bytepool.buffer: 2097153/2097153 refs=1", tostring(b))
    a:release()
    b:release()
  end)

  it("getmetatable and bytepool.type", function()
    local buf = pool:get_buffer(1)
    assert.equal("bytepool.buffer", getmetatable(buf))
    assert.equal("buffer", bytepool.type(buf))
    assert.has_error(function() setmetatable(buf, {}) end)
    buf:release()
    assert.equal("bytepool.buffer", getmetatable(buf))
    assert.equal("released buffer", bytepool.type(buf))
    for _, v in ipairs(h.foreign_values()) do assert.is_nil((bytepool.type(v[1]))) end
  end)
end)

describe("byte and sub", function()
  it("are string.byte and string.sub for all small indexes", function()
    for _, s in ipairs { "\1\0\254\255", "", "x", "ab" } do
      local buf = pool:from_string(s)
      for i = -6, 6 do
        assert.same(h.pack(h.byte(s, i)), h.pack(buf:byte(i)))
        assert.equal(h.sub(s, i), buf:sub(i))
        for j = -6, 6 do
          assert.same(h.pack(h.byte(s, i, j)), h.pack(buf:byte(i, j)))
          assert.equal(h.sub(s, i, j), buf:sub(i, j))
        end
      end
      buf:release()
    end
  end)

  it("with indexes left out, nil, and written as strings", function()
    local buf = pool:from_string("abc")
    assert.same(h.pack(97), h.pack(buf:byte()))
    assert.same(h.pack(97), h.pack(buf:byte(nil)))
    assert.same(h.pack(98), h.pack(buf:byte(2, nil)))
    assert.same(h.pack(98), h.pack(buf:byte("2")))
    assert.same(h.pack(98, 99), h.pack(buf:byte("2", "3")))
    assert.equal("bc", buf:sub("2"))
    assert.equal("bc", buf:sub(2, nil))
    buf:release()
  end)

  it("clamp indexes far outside", function()
    local buf = pool:from_string("abc")
    for _, far in ipairs { 2 ^ 31 - 1, 2 ^ 31, 2 ^ 32 + 1, 2 ^ 52, 2 ^ 63, 2 ^ 64, 1e300, math.huge } do
      assert.equal(0, select("#", buf:byte(far)))
      assert.equal(0, select("#", buf:byte(-far)))
      assert.same(h.pack(97, 98, 99), h.pack(buf:byte(-far, far)))
      assert.equal("abc", buf:sub(-far, far))
      assert.equal("", buf:sub(far, -far))
      assert.equal("", buf:sub(far))
    end
    buf:release()
  end)

  it("refuse what is no whole number", function()
    local b = pool:from_string("abc")
    h.refused(pool, function() b:byte(1.5) end, "byte: argument 'i' must be a whole number, got 1.5")
    h.refused(pool, function() b:byte(0 / 0) end, "byte: argument 'i' must be a whole number, got nan")
    h.refused(pool, function() b:byte("x") end, "byte: argument 'i' must be a whole number, got string")
    h.refused(pool, function() b:byte({}) end, "byte: argument 'i' must be a whole number, got table")
    h.refused(pool, function() b:byte(1, 1.5) end, "byte: argument 'j' must be a whole number, got 1.5")
    h.refused(pool, function() b:byte(1, true) end, "byte: argument 'j' must be a whole number, got boolean")
    h.refused(pool, function() b:sub(-1.5) end, "sub: argument 'i' must be a whole number, got -1.5")
    h.refused(pool, function() b:sub(nil) end, "sub: argument 'i' must be a whole number, got nil")
    h.refused(pool, function() b:sub(1, 0 / 0) end, "sub: argument 'j' must be a whole number, got nan")
    b:release()
  end)

  it("of a large buffer", function()
    local s = ("0123456789abcdef"):rep(65536)
    local buf = pool:from_string(s)
    assert.is_true(buf:tostring() == s)
    assert.is_true(buf:sub(2, -2) == h.sub(s, 2, -2))
    assert.same(h.pack(s:byte(1000, 1100)), h.pack(buf:byte(1000, 1100)))
    assert.equal(102, buf:byte(1048576))
    assert.equal(0, select("#", buf:byte(1048577)))
    -- string.byte refuses a million results; what matters is that nothing breaks.
    local ok, err = pcall(function() return select("#", buf:byte(1, -1)) end)
    if ok then assert.equal(1048576, err) else assert.truthy(err:find("byte: ", 1, true)) end
    buf:release()
  end)
end)

describe("set_string", function()
  it("writes at a position from either end and returns the buffer", function()
    local buf = pool:from_string("..........")
    assert.equal(buf, buf:set_string(1, "ab"))
    assert.equal("ab........", buf:tostring())
    buf:set_string(9, "yz")
    assert.equal("ab......yz", buf:tostring())
    buf:set_string(-3, "\0\255")
    assert.equal("ab.....\0\255z", buf:tostring())
    buf:set_string(-10, "0123456789")
    assert.equal("0123456789", buf:tostring())
    buf:set_string(5, "")
    assert.equal("0123456789", buf:tostring())
    buf:set_string("2", "x")
    assert.equal("0x23456789", buf:tostring())
    buf:release()
  end)

  it("is seen through the other handles of the block", function()
    local a = pool:from_string("aaaa")
    local b = a:share()
    local c, release = a:bytes()
    a:set_string(2, "b")
    c:set_string(3, "c")
    assert.equal("abca", b:tostring())
    a:release()
    b:release()
    release()
  end)

  it("refuses what does not fit and leaves the bytes alone", function()
    local b = pool:get_buffer(4096)
    b:set_string(1, ("x"):rep(4096))
    local big = ("y"):rep(4097)
    h.refused(pool, function() b:set_string(4095, "abc") end,
      "set_string: 3 bytes at position 4095 do not fit in length 4096")
    h.refused(pool, function() b:set_string(1, big) end,
      "set_string: 4097 bytes at position 1 do not fit in length 4096")
    h.refused(pool, function() b:set_string(4097, "a") end,
      "set_string: 1 bytes at position 4097 do not fit in length 4096")
    h.refused(pool, function() b:set_string(2 ^ 40, "a") end,
      "set_string: 1 bytes at position 1099511627776 do not fit in length 4096")
    h.refused_like(pool, function() b:set_string(0, "a") end, "set_string: ")
    h.refused_like(pool, function() b:set_string(-4097, "a") end, "set_string: ")
    h.refused_like(pool, function() b:set_string(-1, "ab") end, "set_string: 2 bytes at position ")
    h.refused_like(pool, function() b:set_string(math.huge, "a") end, "set_string: ")
    h.refused_like(pool, function() b:set_string(-math.huge, "a") end, "set_string: ")
    h.refused_like(pool, function() b:set_string(2 ^ 53, "a") end, "set_string: ")
    h.refused_like(pool, function() b:set_string(-2 ^ 53, "a") end, "set_string: ")
    assert.is_true(b:tostring() == ("x"):rep(4096))
    b:release()
  end)

  it("refuses wrong types", function()
    local b = pool:get_buffer(4)
    h.refused(pool, function() b:set_string("p", "a") end,
      "set_string: argument 'pos' must be a whole number, got string")
    h.refused(pool, function() b:set_string(1.5, "a") end,
      "set_string: argument 'pos' must be a whole number, got 1.5")
    h.refused(pool, function() b:set_string(0 / 0, "a") end,
      "set_string: argument 'pos' must be a whole number, got nan")
    h.refused(pool, function() b:set_string(nil, "a") end,
      "set_string: argument 'pos' must be a whole number, got nil")
    h.refused(pool, function() b:set_string(1, nil) end, "set_string: argument 's' must be a string, got nil")
    h.refused(pool, function() b:set_string(1, {}) end, "set_string: argument 's' must be a string, got table")
    h.refused(pool, function() b:set_string(1, true) end, "set_string: argument 's' must be a string, got boolean")
    h.refused(pool, function() b:set_string(1, b) end, "set_string: argument 's' must be a string, got userdata")
    b:release()
  end)
end)

describe("strings in and out", function()
  it("keep every byte, zeros too", function()
    local t = {}
    for i = 0, 255 do t[#t + 1] = string.char(i) end
    local all = table.concat(t)
    for _, s in ipairs { all, "\0", "\0\0\0", "a\0b\0", "\r\n\26", all:rep(40) } do
      local buf = pool:from_string(s)
      assert.equal(#s, #buf)
      assert.is_true(buf:tostring() == s)
      buf:release()
    end
  end)

  it("round trip random strings #random", function()
    h.seeded(function(random)
      for _ = 1, 200 do
        local s = h.random_string(random, random(0, 1500))
        local buf = pool:from_string(s)
        assert.is_true(buf:tostring() == s)
        local i, j = random(-1600, 1600), random(-1600, 1600)
        assert.is_true(buf:sub(i, j) == h.sub(s, i, j))
        assert.is_true(buf:byte(i) == h.byte(s, i))
        if #s > 0 then
          local pos = random(1, #s)
          local piece = h.random_string(random, random(0, #s - pos + 1))
          buf:set_string(pos, piece)
          assert.is_true(buf:tostring() == h.sub(s, 1, pos - 1) .. piece .. h.sub(s, pos + #piece))
        end
        buf:release()
      end
    end)
  end)

  it("refuse what is no string", function()
    h.refused(pool, function() pool:from_string(nil) end, "from_string: argument 's' must be a string, got nil")
    h.refused(pool, function() pool:from_string({}) end, "from_string: argument 's' must be a string, got table")
    h.refused(pool, function() pool:from_string(print) end, "from_string: argument 's' must be a string, got function")
  end)

  it("live blocks do not overlap #random", function()
    h.seeded(function(random)
      local live = {}
      for i = 1, 300 do
        local s = h.random_string(random, random(1, 400))
        live[i] = { pool:from_string(s), s }
      end
      for i = 1, 300 do
        local buf, s = live[i][1], live[i][2]
        assert.is_true(buf:tostring() == s)
        buf:set_string(1, ("\0"):rep(#s))
      end
      for i = 1, 300 do
        assert.is_true(live[i][1]:tostring() == ("\0"):rep(#live[i][2]))
        live[i][1]:release()
      end
    end)
  end)
end)
