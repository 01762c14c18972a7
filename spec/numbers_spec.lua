-- Numbers at a position: every kind, both byte orders, its edges, and what is refused.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local tracing = dofile(here .. "/tracing.lua")

local pool = h.new()
local inf, nan = math.huge, 0 / 0
local has_integers = math.type ~= nil
local exact = 2 ^ 53

after_each(function()
  h.collect()
  h.all_back(pool)
end)

local bytes = h.bytes

-- A 64-bit integer of this Lua by its hexadecimal digits; nil where it has none.
local function wide(hex, unsigned)
  if h.is_luajit then return loadstring("return 0x" .. hex .. (unsigned and "ULL" or "LL"))() end
  return has_integers and load("return 0x" .. hex)() or nil
end

-- Bytes from the high one, and the value.
local cases = {
  u8 = { { "00", 0 }, { "01", 1 }, { "7f", 127 }, { "80", 128 }, { "ff", 255 } },
  i8 = { { "00", 0 }, { "01", 1 }, { "7f", 127 }, { "80", -128 }, { "ff", -1 } },
  u16 = { { "0000", 0 }, { "0102", 258 }, { "7fff", 32767 }, { "8000", 32768 }, { "ffff", 65535 } },
  i16 = { { "0000", 0 }, { "0102", 258 }, { "7fff", 32767 }, { "8000", -32768 }, { "fffe", -2 } },
  u32 = { { "00000000", 0 }, { "01020304", 16909060 }, { "7fffffff", 2147483647 }, { "80000000", 2147483648 },
    { "ffffffff", 4294967295 } },
  i32 = { { "00000000", 0 }, { "01020304", 16909060 }, { "7fffffff", 2147483647 }, { "80000000", -2147483648 },
    { "fffffffe", -2 } },
  u64 = { { "0000000000000000", 0 }, { "0000000000000001", 1 }, { "0001020304050607", 283686952306183 },
    { "0020000000000000", exact }, { "7fffffffffffffff" }, { "8000000000000000" }, { "fedcba9876543210" } },
  i64 = { { "0000000000000000", 0 }, { "0000000000000001", 1 }, { "fffffffffffffffe", -2 },
    { "ffe0000000000000", -exact }, { "7fffffffffffffff" }, { "8000000000000000" }, { "fedcba9876543210" } },
  f32 = { { "00000000", 0 }, { "3f800000", 1 }, { "bf000000", -0.5 }, { "7f800000", inf }, { "ff800000", -inf },
    { "00000001", 2 ^ -149 }, { "7f7fffff", (2 - 2 ^ -23) * 2 ^ 127 } },
  f64 = { { "0000000000000000", 0 }, { "3ff0000000000000", 1 }, { "bfe0000000000000", -0.5 },
    { "7ff0000000000000", inf }, { "fff0000000000000", -inf }, { "0000000000000001", 2 ^ -1074 },
    { "400921fb54442d18", math.pi } },
}

-- Calls fn(name, size, kind, big) for each of the 18.
local function each(fn)
  for kind in pairs(cases) do
    local size = tonumber(kind:sub(2)) / 8
    if size == 1 then fn(kind, size, kind, false) end
    if size > 1 then
      fn(kind .. "le", size, kind, false)
      fn(kind .. "be", size, kind, true)
    end
  end
end

local function size_text(name) return ("%d"):format(tonumber(name:match("%d+")) / 8) end

local function each_case(fn)
  each(function(name, size, kind, big)
    for _, case in ipairs(cases[kind]) do
      local text = bytes(case[1])
      local value = case[2] or wide(case[1], kind == "u64")
      if value then fn(name, size, big and text or text:reverse(), value) end
    end
  end)
end

describe("numbers", function()
  it("are read at every position", function()
    each_case(function(name, size, text, value)
      local buf = pool:from_string("??" .. text .. "???" .. text)
      local get = buf[name]
      for _ = 1, 2 do
        assert.is_true(get(buf, 3) == value, name)
        assert.is_true(get(buf, size + 6) == value, name)
        assert.is_true(get(buf, -size) == value, name)
        assert.is_true(get(buf, -2 * size - 3) == value, name)
        assert.is_true(get(buf, "3") == value, name)
      end
      buf:release()
    end)
  end)

  it("are written at every position, and nothing beside them", function()
    each_case(function(name, size, text, value)
      local set = pool:get_buffer(1)["set_" .. name]
      local buf = pool:from_string(("."):rep(size + 3))
      assert.equal(buf, set(buf, 2, value))
      assert.is_true(buf:tostring() == "." .. text .. "..", name)
      buf:fill(46)
      set(buf, -size, value)
      assert.is_true(buf:tostring() == "..." .. text, name)
      buf:fill(46)
      if value == 1 then value = "1" end
      set(buf, "1", value)
      assert.is_true(buf:tostring() == text .. "...", name)
      buf:release()
    end)
  end)

  it("of 64 bits are the integers of this Lua", function()
    local buf = pool:from_string(("\255"):rep(8))
    for _, name in ipairs { "u64le", "u64be", "i64le", "i64be" } do
      if h.is_luajit then
        local ctype = name:sub(1, 1) == "u" and "uint64_t" or "int64_t"
        assert.is_true(require("ffi").istype(ctype, buf[name](buf, 1)), name)
      elseif has_integers then
        assert.equal("integer", math.type(buf[name](buf, 1)))
        assert.equal(-1, buf[name](buf, 1))
      elseif name:sub(1, 1) == "i" then
        assert.equal(-1, buf[name](buf, 1))
      else
        h.refused(pool, function() buf[name](buf, 1) end,
          name .. ": 18446744073709551615 is beyond 2^53, where numbers of this Lua are not exact")
      end
    end
    if not h.is_luajit and not has_integers then
      buf:set_string(1, bytes("ffdfffffffffffff"))
      h.refused(pool, function() buf:i64be(1) end,
        "i64be: -9007199254740993 is beyond 2^53, where numbers of this Lua are not exact")
    end
    buf:release()
  end)

  it("of 64 bits are written from either sign's encoding", function()
    local buf = pool:get_buffer(8)
    assert.equal(bytes("fffffffffffffffe"), buf:set_u64be(1, -2):tostring())
    local high = wide("fedcba9876543210", true)
    if high then assert.equal(bytes("fedcba9876543210"), buf:set_i64be(1, high):tostring()) end
    if h.is_luajit then
      assert.equal(bytes("fffffffffffffffe"), buf:set_u64be(1, wide("fffffffffffffffe")):tostring())
      -- Smaller ones take a cdata by its value.
      assert.equal(bytes("fffe"), buf:set_i16be(1, wide("fffffffffffffffe")):sub(1, 2))
      assert.equal(bytes("00000005"), buf:set_u32be(1, wide("5", true)):sub(1, 4))
    end
    buf:release()
  end)

  it("keep NaN and the sign of zero, and become infinite where they are too large", function()
    local buf = pool:get_buffer(8)
    for _, name in ipairs { "f32le", "f32be", "f64le", "f64be" } do
      local get, set = buf[name], buf["set_" .. name]
      set(buf, 1, nan)
      local v = get(buf, 1)
      assert.is_true(v ~= v)
      set(buf, 1, -1 / inf)
      assert.equal(-inf, 1 / get(buf, 1))
    end
    assert.equal(inf, buf:set_f32le(1, 1e300):f32le(1))
    assert.equal(-inf, buf:set_f32be(1, -1e300):f32be(1))
    buf:release()
  end)

  it("are the same whichever way they are read #random", function()
    h.seeded(function(random)
      local s = h.random_string(random, 64)
      local buf = pool:from_string(s)
      for pos = 1, 61 do
        local a, b, c, d = s:byte(pos, pos + 3)
        assert.equal(a, buf:u8(pos))
        assert.equal((a + 128) % 256 - 128, buf:i8(pos))
        assert.equal(a + b * 256, buf:u16le(pos))
        assert.equal(a * 256 + b, buf:u16be(pos))
        assert.equal(((a + b * 256) + 32768) % 65536 - 32768, buf:i16le(pos))
        assert.equal(a + b * 256 + c * 65536 + d * 16777216, buf:u32le(pos))
        assert.equal(d + c * 256 + b * 65536 + a * 16777216, buf:u32be(pos))
        assert.equal((d + c * 256 + b * 65536 + a * 16777216 + 2 ^ 31) % 2 ^ 32 - 2 ^ 31, buf:i32be(pos))
      end
      buf:release()
    end)
  end)
end)

describe("numbers refuse", function()
  it("a position where they do not fit, and name it and the length", function()
    each(function(name, size)
      local b = pool:from_string(("x"):rep(size + 1))
      local get, set, n, length = b[name], b["set_" .. name], size_text(name), ("%d"):format(size + 1)
      for _, pos in ipairs { 0, 3, size + 2, -1 - size - 1, 1099511627776, -1099511627776 } do
        local text = (": %s bytes at position %.0f do not fit in length %s"):format(n, pos, length)
        h.refused(pool, function() get(b, pos) end, name .. text)
        h.refused(pool, function() set(b, pos, 1) end, "set_" .. name .. text)
      end
      h.refused_like(pool, function() get(b, inf) end, name .. ": " .. n .. " bytes at position ")
      h.refused_like(pool, function() set(b, -inf, 1) end, "set_" .. name .. ": " .. n .. " bytes at position ")
      assert.is_true(b:tostring() == ("x"):rep(size + 1))
      b:release()
    end)
  end)

  it("what is no position", function()
    each(function(name)
      local b = pool:get_buffer(8)
      for _, case in ipairs { { 1.5, "1.5" }, { nan, "nan" }, { "p", "string" }, { {}, "table" }, { nil, "nil" } } do
        local text = ": argument 'pos' must be a whole number, got " .. case[2]
        h.refused(pool, function() b[name](b, case[1]) end, name .. text)
        h.refused(pool, function() b["set_" .. name](b, case[1], 1) end, "set_" .. name .. text)
      end
      h.refused(pool, function() b[name](b) end, name .. ": argument 'pos' must be a whole number, got nil")
      b:release()
    end)
  end)

  it("a value that is out of range or not whole", function()
    local ranges = {
      u8 = { 0, 255 }, i8 = { -128, 127 }, u16 = { 0, 65535 }, i16 = { -32768, 32767 },
      u32 = { 0, 4294967295 }, i32 = { -2147483648, 2147483647 },
    }
    each(function(name, _, kind)
      local b = pool:get_buffer(8):fill(1)
      local set, range = b["set_" .. name], ranges[kind]
      local must = "set_" .. name .. ": argument 'v' must be "
      if range then
        must = must .. ("a whole number from %.0f to %.0f, got "):format(range[1], range[2])
        for _, v in ipairs { range[1] - 1, range[2] + 1 } do
          h.refused(pool, function() set(b, 1, v) end, must .. ("%.0f"):format(v))
        end
        if h.is_luajit then
          h.refused(pool, function() set(b, 1, wide("ffffffffffffffff", true)) end, must .. "cdata")
          h.refused(pool, function() set(b, 1, require("ffi").new("int[2]")) end, must .. "cdata")
        end
      end
      if kind:sub(1, 1) ~= "f" then
        for _, v in ipairs { 1.5, -0.5, inf, -inf, nan, 2 ^ 64, 2 ^ 63, -2 ^ 65 } do
          h.refused_like(pool, function() set(b, 1, v) end, must)
        end
      end
      for _, v in ipairs { "x", {}, true, print, b } do
        h.refused_like(pool, function() set(b, 1, v) end, must)
      end
      h.refused_like(pool, function() set(b, 1) end, must)
      assert.equal(("\1"):rep(8), b:tostring())
      b:release()
    end)
    local b = pool:get_buffer(8)
    h.refused(pool, function() b:set_f32le(1, {}) end, "set_f32le: argument 'v' must be a number, got table")
    h.refused_like(pool, function() b:set_i64le(1, 1.5) end, "set_i64le: argument 'v' must be a whole number ")
    if not h.is_luajit and not has_integers then
      h.refused(pool, function() b:set_u64le(1, 2 ^ 53 + 2) end,
        "set_u64le: argument 'v' must be a whole number within 2^53, got 9007199254740994")
    end
    b:release()
  end)

  it("a buffer that is dead, frozen or none", function()
    each(function(name)
      local b, dead = pool:get_buffer(8):fill(0):freeze(), pool:get_buffer(8)
      local get, set = b[name], b["set_" .. name]
      dead:release()
      h.refused(pool, function() get(dead, 1) end, name .. ": buffer already released")
      h.refused(pool, function() set(dead, 1, 1) end, "set_" .. name .. ": buffer already released")
      h.refused(pool, function() set(dead, "p", {}) end, "set_" .. name .. ": buffer already released")
      h.refused(pool, function() set(b, 1, 1) end, "set_" .. name .. ": buffer is frozen")
      assert.is_true(get(b, 1) == 0)
      for _, v in ipairs(h.foreign_values()) do
        h.refused(pool, function() get(v[1], 1) end, name .. ": self must be a bytepool buffer, got " .. v[2])
        h.refused(pool, function() set(v[1], 1, 1) end,
          "set_" .. name .. ": self must be a bytepool buffer, got " .. v[2])
      end
      b:release()
    end)
  end)
end)

describe("numbers of a slice", function()
  it("are counted from its beginning, end at its end, and are the parent's bytes", function()
    local buf = pool:from_string("\1\2\3\4\5\6\7\8")
    local part = buf:slice(3, 6)
    assert.equal(3 + 4 * 256, part:u16le(1))
    assert.equal(5 * 256 + 6, part:u16be(-2))
    h.refused(pool, function() part:u32be(2) end, "u32be: 4 bytes at position 2 do not fit in length 4")
    h.refused(pool, function() part:set_u16be(4, 1) end, "set_u16be: 2 bytes at position 4 do not fit in length 4")
    part:set_u16be(3, 0x0a0b)
    assert.equal("\1\2\3\4\10\11\7\8", buf:tostring())
    buf:skip(4)
    assert.equal(0x0a0b, buf:u16be(1))
    part:release()
    buf:release()
  end)
end)

if h.is_luajit and rawget(_G, "jit").status() then
  it("numbers compile without an abort", function()
    local setup = "local buf = bytepool.default():get_buffer(64):fill(1)"
    each(function(name)
      tracing.compiles(setup,
        ("sum = sum + tonumber(buf:%s(i %% 8 + 1)) buf:set_%s(i %% 8 + 1, i %% 100)"):format(name, name))
    end)
    tracing.compiles(setup, "local v = buf:i64be(1) buf:set_u64le(9, v) buf:set_i64be(17, v + 1LL)")
  end)
end
