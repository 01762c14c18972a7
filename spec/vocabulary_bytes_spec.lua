-- The vocabulary, part 1: contents. Comparing, searching, writing in place.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")

local pool = h.new()

after_each(function()
  h.collect()
  h.all_back(pool)
end)


-- Runs fn on buffers that hold the strings given and releases them.
local function with(strings, fn)
  local list = {}
  for i, s in ipairs(strings) do list[i] = pool:from_string(s) end
  fn((table.unpack or unpack)(list))
  for _, buf in ipairs(list) do buf:release() end
end

local words = { "", "a", "ab", "abc", "abd", "b", "a\0", "a\0b", "\0", "\255", "\127", "\128", "ab\255" }

describe("equals and compare", function()
  it("go by bytes without sign, then by length, against strings and buffers", function()
    local function order(a, b)
      for i = 1, math.min(#a, #b) do
        if a:byte(i) ~= b:byte(i) then return a:byte(i) < b:byte(i) and -1 or 1 end
      end
      return #a < #b and -1 or #a > #b and 1 or 0
    end
    for _, a in ipairs(words) do
      for _, b in ipairs(words) do
        with({ a, b }, function(x, y)
          assert.equal(order(a, b), x:compare(b))
          assert.equal(order(a, b), x:compare(y))
          assert.equal(a == b, x:equals(b))
          assert.equal(a == b, x:equals(y))
          assert.equal(order(a, b) < 0, x < y)
          assert.equal(order(a, b) <= 0, x <= y)
          assert.equal(order(a, b) > 0, x > y)
          assert.equal(order(a, b) >= 0, x >= y)
          assert.equal(a:sub(1, #b) == b, x:starts_with(b))
          assert.equal(a:sub(1, #b) == b, x:starts_with(y))
          assert.equal(b == "" or a:sub(-#b) == b, x:ends_with(b))
          assert.equal(b == "" or a:sub(-#b) == b, x:ends_with(y))
        end)
      end
    end
  end)

  it("with itself, a share and a slice", function()
    with({ "abcabc" }, function(buf)
      local twin, left, right = buf:share(), buf:slice(1, 3), buf:slice(4, 6)
      assert.is_true(buf:equals(buf))
      assert.is_true(buf:equals(twin))
      assert.is_true(left:equals(right))
      assert.equal(0, buf:compare(buf))
      assert.equal(-1, left:compare(buf))
      assert.is_true(buf <= twin)
      assert.is_false(buf < twin)
      assert.is_true(buf:starts_with(left))
      assert.is_true(buf:ends_with(right))
      twin:release()
      left:release()
      right:release()
    end)
  end)

  -- Lua 5.1 and LuaJIT look for __lt only where both sides have one type.
  if _VERSION ~= "Lua 5.1" then
    it("< and <= with a string on either side", function()
      with({ "b" }, function(buf)
        assert.is_true(buf < "c")
        assert.is_true("a" < buf)
        assert.is_false(buf < "b")
        assert.is_true(buf <= "b")
        assert.is_true("b" <= buf)
        assert.is_false("c" <= buf)
        h.refused(pool, function() return buf < {} end,
          "<: argument 'right' must be a string or a bytepool buffer, got table")
        h.refused(pool, function() return 5 < buf end,
          "<: argument 'left' must be a string or a bytepool buffer, got number")
        h.refused(pool, function() return buf <= true end,
          "<=: argument 'right' must be a string or a bytepool buffer, got boolean")
      end)
    end)
  end

  it("refuse dead buffers", function()
    local dead = pool:get_buffer(1)
    dead:release()
    with({ "x" }, function(buf)
      h.refused(pool, function() return buf < dead end, "<: argument 'right' is a released buffer")
      h.refused(pool, function() return dead < buf end, "<: argument 'left' is a released buffer")
      h.refused(pool, function() return buf <= dead end, "<=: argument 'right' is a released buffer")
      for _, name in ipairs { "equals", "compare" } do
        h.refused(pool, function() buf[name](buf, dead) end, name .. ": argument 'other' is a released buffer")
      end
      h.refused(pool, function() buf:starts_with(dead) end, "starts_with: argument 'prefix' is a released buffer")
      h.refused(pool, function() buf:ends_with(dead) end, "ends_with: argument 'suffix' is a released buffer")
      h.refused(pool, function() buf:find(dead) end, "find: argument 'needle' is a released buffer")
      h.refused(pool, function() buf:copy(1, dead) end, "copy: argument 'from' is a released buffer")
      h.refused(pool, function() buf:put(dead) end, "put: argument 'value' is a released buffer")
      h.refused(pool, function() buf:set(dead) end, "set: argument 'value' is a released buffer")
    end)
  end)

  it("refuse what is neither string nor buffer", function()
    with({ "x" }, function(buf)
      local names = { equals = "other", compare = "other", starts_with = "prefix", ends_with = "suffix",
        find = "needle" }
      for _, v in ipairs(h.foreign_values()) do
        local x, typename = v[1], v[2]
        for name, argument in pairs(names) do
          local must = name .. ": argument '" .. argument .. "' must be a string or a bytepool buffer, got "
          if typename ~= "string" then
            h.refused(pool, function() buf[name](buf, x) end, must .. typename)
          end
        end
      end
    end)
  end)
end)

describe("find", function()
  -- Of an init behind the end, what Lua 5.2 and later do.
  local function expected(s, needle, init)
    if init > #s + 1 then return nil end
    return s:find(needle, init, true)
  end

  it("is string.find, plain, for all small positions", function()
    for _, s in ipairs { "", "a", "aab", "aaab\0aab", "%a+", "ababab" } do
      for _, needle in ipairs { "", "a", "aab", "b", "\0", "%a", "abab", "aaaaaaaaaaaaa" } do
        with({ s, needle }, function(buf, other)
          assert.same(h.pack(expected(s, needle, 1)), h.pack(buf:find(needle)))
          for init = -12, 12 do
            assert.same(h.pack(expected(s, needle, init)), h.pack(buf:find(needle, init)))
            assert.same(h.pack(expected(s, needle, init)), h.pack(buf:find(other, init)))
          end
        end)
      end
    end
  end)

  it("clamps positions far outside and refuses what is no whole number", function()
    with({ "abc" }, function(buf)
      for _, far in ipairs { 2 ^ 31, 2 ^ 53, 2 ^ 63, 1e300, math.huge } do
        assert.same(h.pack(nil), h.pack(buf:find("a", far)))
        assert.same(h.pack(nil), h.pack(buf:find("", far)))
        assert.same(h.pack(1, 1), h.pack(buf:find("a", -far)))
      end
      assert.same(h.pack(2, 2), h.pack(buf:find("b", "2")))
      assert.same(h.pack(2, 2), h.pack(buf:find("b", nil)))
      h.refused(pool, function() buf:find("a", 1.5) end, "find: argument 'init' must be a whole number, got 1.5")
      h.refused(pool, function() buf:find("a", {}) end, "find: argument 'init' must be a whole number, got table")
    end)
  end)

  it("itself, and nothing behind its own end", function()
    local buf = pool:from_string("needle")
    assert.same(h.pack(1, 6), h.pack(buf:find(buf)))
    local part = buf:slice(2, 3)
    assert.same(h.pack(nil), h.pack(part:find("d")))
    assert.same(h.pack(2, 3), h.pack(buf:find(part)))
    part:release()
    buf:skip(2):resize(2)
    assert.same(h.pack(nil), h.pack(buf:find("l")))
    assert.same(h.pack(2, 2), h.pack(buf:find("d")))
    buf:release()
  end)

  it("in random strings #random", function()
    h.seeded(function(random)
      for _ = 1, 300 do
        local s, needle = {}, {}
        for i = 1, random(0, 40) do s[i] = random(0, 1) end
        for i = 1, random(1, 5) do needle[i] = random(0, 1) end
        s, needle = table.concat(s), table.concat(needle)
        local init = random(-45, 45)
        with({ s }, function(buf)
          assert.same(h.pack(expected(s, needle, init)), h.pack(buf:find(needle, init)))
        end)
      end
    end)
  end)
end)

describe("copy", function()
  it("takes bytes of a string or a buffer and returns self", function()
    with({ "..........", "0123456789" }, function(buf, from)
      assert.equal(buf, buf:copy(1, "ab"))
      buf:copy(-2, "yz")
      assert.equal("ab......yz", buf:tostring())
      buf:copy(3, from, 4, 6)
      assert.equal("ab345...yz", buf:tostring())
      buf:copy(6, from, -2)
      assert.equal("ab34589.yz", buf:tostring())
      buf:copy(1, from)
      assert.equal("0123456789", buf:tostring())
      buf:copy(11, "")
      buf:copy(11, from, 5, 4)
      assert.equal("0123456789", buf:tostring())
    end)
  end)

  it("within itself, overlapping in both directions", function()
    for to = 1, 8 do
      for i = 1, 8 do
        for j = i - 1, math.min(8, i + 8 - to) do
          local s = "abcdefgh"
          local want = s:sub(1, to - 1) .. s:sub(i, j) .. s:sub(to + j - i + 1)
          with({ s, s }, function(a, b)
            assert.equal(want, a:copy(to, a, i, j):tostring())
            local part = b:slice(1, -1)
            assert.equal(want, b:copy(to, part, i, j):tostring())
            part:release()
          end)
        end
      end
    end
  end)

  it("refuses what does not fit, and positions outside of what it copies from", function()
    with({ "abcd" }, function(buf)
      local function refused(message, ...)
        local a = h.pack(...)
        h.refused(pool, function() buf:copy((table.unpack or unpack)(a, 1, a.n)) end, "copy: " .. message)
      end
      refused("3 bytes at position 3 do not fit in length 4", 3, "xyz")
      refused("5 bytes at position 1 do not fit in length 4", 1, "vwxyz")
      refused("1 bytes at position 5 do not fit in length 4", 5, "x")
      refused("1 bytes at position 0 do not fit in length 4", 0, "x")
      refused("1 bytes at position -5 do not fit in length 4", -5, "x")
      refused("2 bytes at position -1 do not fit in length 4", -1, "xy")
      refused("0 bytes at position 6 do not fit in length 4", 6, "")
      refused("positions 0 to -1 are not in length 2", 1, "xy", 0)
      refused("positions 4 to -1 are not in length 2", 1, "xy", 4)
      refused("positions 1 to 3 are not in length 2", 1, "xy", 1, 3)
      refused("positions 2 to 0 are not in length 2", 1, "xy", 2, 0)
      refused("positions -3 to -1 are not in length 2", 1, "xy", -3)
      refused("argument 'pos' must be a whole number, got nil", nil, "x")
      refused("argument 'pos' must be a whole number, got 1.5", 1.5, "x")
      refused("argument 'i' must be a whole number, got boolean", 1, "x", true)
      refused("argument 'j' must be a whole number, got nan", 1, "x", 1, 0 / 0)
      refused("argument 'from' must be a string or a bytepool buffer, got number", 1, 5)
      refused("argument 'from' must be a string or a bytepool buffer, got nil", 1)
      assert.equal("abcd", buf:tostring())
    end)
  end)
end)

describe("fill", function()
  it("sets bytes i to j and returns self", function()
    with({ "abcd" }, function(buf)
      assert.equal(buf, buf:fill(120, 2, 3))
      assert.equal("axxd", buf:tostring())
      assert.equal("axx\0", buf:fill(0, -1):tostring())
      assert.equal("\255\255\255\255", buf:fill(255):tostring())
      assert.equal("\255\255\255\255", buf:fill(1, 5):fill(1, 3, 2):tostring())
      assert.equal("0000", buf:fill("48"):tostring())
    end)
    with({ "" }, function(buf) assert.equal("", buf:fill(1):fill(1, 1, 0):tostring()) end)
  end)

  it("refuses other values and positions", function()
    with({ "abcd" }, function(buf)
      local function refused(message, value, i, j)
        h.refused(pool, function() buf:fill(value, i, j) end, "fill: " .. message)
      end
      refused("argument 'value' must be from 0 to 255, got 256", 256)
      refused("argument 'value' must be from 0 to 255, got -1", -1)
      refused("argument 'value' must be from 0 to 255, got inf", math.huge)
      refused("argument 'value' must be a whole number, got 0.5", 0.5)
      refused("argument 'value' must be a whole number, got nil", nil)
      refused("argument 'value' must be a whole number, got string", "x")
      refused("positions 0 to -1 are not in length 4", 1, 0)
      refused("positions 1 to 5 are not in length 4", 1, 1, 5)
      refused("positions 6 to -1 are not in length 4", 1, 6)
      refused("positions 3 to 1 are not in length 4", 1, 3, 1)
      refused("positions -5 to -1 are not in length 4", 1, -5)
      refused("positions 1 to 1099511627777 are not in length 4", 1, 1, 2 ^ 40 + 1)
      refused("positions 1 to inf are not in length 4", 1, nil, math.huge)
      refused("argument 'i' must be a whole number, got table", 1, {})
      assert.equal("abcd", buf:tostring())
    end)
  end)
end)

describe("a position", function()
  it("that a slice or a write refuses is shown with the length, however far", function()
    with({ "abcd" }, function(buf)
      h.refused(pool, function() buf:slice(2 ^ 50) end, "slice: positions 1125899906842624 to -1 are not in length 4")
      h.refused(pool, function() buf:slice(-math.huge) end, "slice: positions -inf to -1 are not in length 4")
      h.refused(pool, function() buf:set_string(2 ^ 50, "a") end,
        "set_string: 1 bytes at position 1125899906842624 do not fit in length 4")
    end)
  end)
end)

describe("..", function()
  it("joins buffers, strings and numbers to a string, in either order", function()
    with({ "ab", "" }, function(buf, empty)
      assert.equal("abx", buf .. "x")
      assert.equal("xab", "x" .. buf)
      assert.equal("abab", buf .. buf)
      assert.equal("ab5", buf .. 5)
      assert.equal("5ab", 5 .. buf)
      assert.equal("ab" .. 1.5, buf .. 1.5)
      assert.equal("", empty .. empty)
      assert.equal("x\0ab y", "x\0" .. buf .. " " .. "y")
      local part = buf:slice(2)
      assert.equal("abb", buf .. part)
      part:release()
      assert.equal(1, buf:ref_count())
    end)
  end)

  it("refuses everything else", function()
    with({ "ab" }, function(buf)
      h.refused(pool, function() return buf .. {} end, "..: cannot join a table to a buffer")
      h.refused(pool, function() return buf .. nil end, "..: cannot join a nil to a buffer")
      h.refused(pool, function() return true .. buf end, "..: cannot join a boolean to a buffer")
      h.refused(pool, function() return buf .. pool end, "..: cannot join a userdata to a buffer")
      local dead = pool:get_buffer(1)
      dead:release()
      h.refused(pool, function() return buf .. dead end, "..: buffer already released")
      h.refused(pool, function() return dead .. "x" end, "..: buffer already released")
    end)
  end)
end)
