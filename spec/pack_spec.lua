-- pack and unpack: Lua 5.3's format language, by a table that holds on every Lua.
-- pack_differential_spec.lua compares with string.pack.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")

local bytepool = require "bytepool"
local pool = h.new()
local unpack_list = table.unpack or _G.unpack
local has_integers = math.type ~= nil
local string_pack = rawget(string, "pack")
local little = not string_pack or string_pack("=I2", 1) == "\1\0"

after_each(function()
  h.collect()
  h.all_back(pool)
end)

local bytes = h.bytes

local function packed(fmt, ...)
  local buf = pool:builder()
  local ok, err = pcall(buf.pack, buf, fmt, ...)
  local s = buf:tostring()
  buf:release()
  if not ok then error(err, 0) end
  return s
end

-- Format, values, bytes.
local cases = {
  { "", {}, "" },
  { " ", {}, "" },
  { "b", { -128 }, "80" },
  { "bB", { -1, 255 }, "ff ff" },
  { "<h", { -2 }, "fe ff" },
  { ">h", { -2 }, "ff fe" },
  { "<H>H", { 258, 258 }, "02 01 01 02" },
  { "<i", { -2 }, "fe ff ff ff" },
  { ">I", { 4294967295 }, "ff ff ff ff" },
  { "<i3", { -2 }, "fe ff ff" },
  { ">i3", { -8388608 }, "80 00 00" },
  { ">I3", { 16777215 }, "ff ff ff" },
  { "<i5 >i6", { 1, -1 }, "01 00 00 00 00 ff ff ff ff ff ff" },
  { ">i7", { -3 }, "ff ff ff ff ff ff fd" },
  { "<l>L", { 1, 2 }, "01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02" },
  { "<j>J", { -1, 3 }, "ff ff ff ff ff ff ff ff 00 00 00 00 00 00 00 03" },
  { ">T", { 513 }, "00 00 00 00 00 00 02 01" },
  { "<i16", { -2 }, "fe ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff" },
  { ">i9", { -2 }, "ff ff ff ff ff ff ff ff fe" },
  { ">I16", { 7 }, "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 07" },
  { "<f>f", { 1, -0.5 }, "00 00 80 3f bf 00 00 00" },
  { "<d>n", { 1, math.pi }, "00 00 00 00 00 00 f0 3f 40 09 21 fb 54 44 2d 18" },
  { "z", { "ab" }, "61 62 00" },
  { "zz", { "", "x" }, "00 78 00" },
  { "s1", { "ab" }, "02 61 62" },
  { ">s2 <s4", { "a", "" }, "00 01 61 00 00 00 00" },
  { "<s", { "a" }, "01 00 00 00 00 00 00 00 61" },
  { "c0c3c2", { "", "abc", "de" }, "61 62 63 64 65" },
  { "bxb", { 1, 2 }, "01 00 02" },
  { "<!4 b i4", { 1, 2 }, "01 00 00 00 02 00 00 00" },
  { "<!2 b i4", { 1, 2 }, "01 00 02 00 00 00" },
  { "<! b d", { 1, 1 }, "01 00 00 00 00 00 00 00 00 00 00 00 00 00 f0 3f" },
  { "<!4 b Xi4 b", { 1, 2 }, "01 00 00 00 02" },
  { "<!8 b s4", { 1, "a" }, "01 00 00 00 01 00 00 00 61" },
  { "<!8 b c8 Xd", { 1, "abcdefgh" }, "01 61 62 63 64 65 66 67 68 00 00 00 00 00 00 00" },
  { "b Xi4", { 1 }, "01" },
  { ">!16 b i16", { 1, 2 }, "01" .. ("00"):rep(30) .. "02" },
}

describe("pack and unpack", function()
  it("lay out what string.pack does", function()
    for _, case in ipairs(cases) do
      local fmt, values, want = case[1], case[2], bytes(case[3])
      assert.is_true(packed(fmt, unpack_list(values)) == want, fmt)
      if string_pack then assert.is_true(string_pack(fmt, unpack_list(values)) == want, fmt) end
      local buf = pool:from_string(want)
      local got = h.pack(buf:unpack(fmt))
      assert.equal(#values + 1, got.n)
      for i, v in ipairs(values) do assert.is_true(got[i] == v, fmt) end
      assert.equal(#want + 1, got[got.n])
      buf:release()
    end
  end)

  it("in the machine's own order by default", function()
    local one = little and "\1\0" or "\0\1"
    assert.equal(one .. one .. "\0\1" .. one, packed("H=H>H=H", 1, 1, 1, 1))
    local buf = pool:from_string(one)
    assert.equal(1, (buf:unpack "H"))
    buf:release()
  end)

  it("pad short strings, end at a zero of the format, and take no more values than asked", function()
    assert.equal("ab\0\0", packed("c4", "ab"))
    assert.equal("\1", packed("b\0b", 1, 2))
    assert.equal("\1", packed("b", 1, 2, {}))
  end)

  it("take numbers for strings and strings for numbers, as Lua does", function()
    assert.equal("\00212\0", packed("s1x", 12))
    assert.equal("12\0\7", packed("zb", 12, "7"))
  end)

  it("integers of 64 bits and more", function()
    local buf = pool:from_string(bytes "fe dc ba 98 76 54 32 10")
    if h.is_luajit then
      local ffi = require "ffi"
      local unsigned, signed = loadstring "return 0xfedcba9876543210ULL, 0xfedcba9876543210LL"()
      for fmt, want in pairs { [">J"] = unsigned, [">I8"] = unsigned, [">j"] = signed, [">i8"] = signed } do
        local v = buf:unpack(fmt)
        assert.is_true(v == want and ffi.istype(ffi.typeof(want), v), fmt)
        assert.equal(buf:tostring(), packed(fmt, unsigned))
        assert.equal(buf:tostring(), packed(fmt, signed))
      end
      assert.equal(bytes "ff fe dc ba 98 76 54 32 10", packed(">i9", signed))
      assert.equal("\254\255", packed("<i2", loadstring "return -2LL"()))
      local other = pool:builder()
      h.refused(pool, function() other:pack("<i2", unsigned) end, "pack: argument 'value 1': integer overflow")
      h.refused(pool, function() other:pack("I2", signed) end, "pack: argument 'value 1': unsigned overflow")
      h.refused(pool, function() other:pack("j", ffi.new("int")) end,
        "pack: argument 'value 1' must be a number, got cdata")
      other:release()
      assert.equal("cdata", type((buf:unpack ">i7")))
      assert.equal("number", type((buf:unpack ">i6")))
    elseif has_integers then
      assert.equal(load "return 0xfedcba9876543210"(), (buf:unpack ">J"))
      assert.equal(buf:tostring(), packed(">J", (buf:unpack ">j")))
    else
      h.refused(pool, function() buf:unpack(">J") end,
        "unpack: 18364758544493064720 is beyond 2^53, where numbers of this Lua are not exact")
      h.refused(pool, function() buf:unpack(">j") end,
        "unpack: -81985529216486896 is beyond 2^53, where numbers of this Lua are not exact")
      assert.equal(("\255"):rep(8), packed("J", -1))
    end
    buf:release()
  end)
end)

describe("pack", function()
  it("appends by the rules of put, counts alignment from its own begin, and returns the buffer", function()
    local buf = pool:builder():put("abc")
    assert.equal(buf, buf:pack("<!4 b i4", 1, 2))
    assert.equal("abc\1\0\0\0\2\0\0\0", buf:tostring())
    buf:pack("s2", ("x"):rep(5000)):pack(">s2", buf:slice(1, 2):release() or "yz")
    assert.equal("\0\2yz", buf:sub(-4))
    assert.equal(11 + 5002 + 4, #buf)
    buf:release()
  end)

  it("takes buffers for strings, self too", function()
    local buf, other = pool:builder():put("abc"), pool:from_string("de")
    assert.equal("abc\3abcde\0\0\2de", buf:pack(">s1z s2", buf, other, other):tostring())
    local dead = pool:get_buffer(1)
    dead:release()
    h.refused(pool, function() buf:pack("s1", dead) end, "pack: argument 'value 1' is a released buffer")
    other:release()
    buf:release()
  end)

  it("refuses what may not grow", function()
    local buf = pool:from_string("abcd")
    local part = buf:slice(1, 2)
    h.refused_like(pool, function() buf:pack("b", 1) end, "pack: buffer is shared")
    h.refused_like(pool, function() part:pack("b", 1) end, "pack: a slice does not grow")
    part:release()
    buf:freeze()
    h.refused_like(pool, function() buf:pack("b", 1) end, "pack: buffer is frozen")
    assert.equal("abcd", buf:tostring())
    buf:release()
    h.refused(pool, function() buf:pack("b", 1) end, "pack: buffer already released")
    h.refused(pool, function() buf:unpack("b") end, "unpack: buffer already released")
  end)

  it("refuses formats and values, and changes nothing then", function()
    local b = pool:from_string("abc")
    for _, case in ipairs {
      { "invalid format option 'y'", "by", 1 },
      { "invalid format option '3'", "b3", 1 },
      { "integral size (0) out of limits [1,16]", "i0", 1 },
      { "integral size (17) out of limits [1,16]", "I17", 1 },
      { "integral size (17) out of limits [1,16]", "!17" },
      { "missing size for format option 'c'", "c", "a" },
      { "invalid next option for option 'X'", "X" },
      { "invalid next option for option 'X'", "Xz", "a" },
      { "invalid next option for option 'X'", "Xc4", "a" },
      { "invalid next option for option 'X'", "X ", "a" },
      { "format asks for alignment not power of 2", "!4 i3", 1 },
      { "argument 'fmt' must be a string, got nil" },
      { "argument 'fmt' must be a string, got table", {} },
      { "argument 'value 1' must be a number, got nil", "b" },
      { "argument 'value 2' must be a number, got table", "bb", 1, {} },
      { "argument 'value 1' must be a number, got string", "d", "x" },
      { "argument 'value 1': number has no integer representation", "b", 1.5 },
      { "argument 'value 1': number has no integer representation", "j", 0 / 0 },
      { "argument 'value 1': number has no integer representation", "J", 2 ^ 64 },
      { "argument 'value 1': integer overflow", "b", 128 },
      { "argument 'value 2': integer overflow", "zi3", "", -8388609 },
      { "argument 'value 1': unsigned overflow", "B", 256 },
      { "argument 'value 1': unsigned overflow", "I7", -1 },
      { "argument 'value 1': string longer than given size", "c2", "abc" },
      { "argument 'value 1': string length does not fit in given size", "s1", ("a"):rep(256) },
      { "argument 'value 1': string contains zeros", "z", "a\0" },
      { "argument 'value 1' must be a string or a bytepool buffer, got nil", "z" },
      { "argument 'value 1' must be a string or a bytepool buffer, got boolean", "s", true },
    } do
      h.refused(pool, function() b:pack(unpack_list(case, 2)) end, "pack: " .. case[1])
    end
    local none = {}
    for i = 1, 6000 do none[i] = "" end
    h.refused(pool, function() b:pack(("c214748364"):rep(6000), unpack_list(none)) end, "pack: result too long")
    assert.equal("abc", b:tostring())
    b:release()
  end)
end)

describe("unpack", function()
  it("begins at a position from either end, and aligns by the buffer's first byte", function()
    local buf = pool:from_string("\1\2\3\4\5\6\7\8")
    assert.same(h.pack(3, 4, 5), h.pack(buf:unpack("bb", 3)))
    assert.same(h.pack(7, 8), h.pack(buf:unpack("b", -2)))
    assert.same(h.pack(5, 6), h.pack(buf:unpack("!4 Xi4 b", 2)))
    assert.same(h.pack(9), h.pack(buf:unpack("", 9)))
    assert.same(h.pack("", 9), h.pack(buf:unpack("c0", 9)))
    assert.same(h.pack(1, 2), h.pack(buf:unpack("b", nil)))
    local part = buf:slice(4, 6)
    assert.same(h.pack(4, 2), h.pack(part:unpack("b")))
    h.refused(pool, function() part:unpack("i4") end,
      "unpack: data string too short: 4 bytes at position 1 do not fit in length 3")
    part:release()
    buf:release()
  end)

  it("refuses what does not fit, and names position and length", function()
    local b = pool:from_string("\5ab\0c")
    local short = "unpack: data string too short: "
    h.refused(pool, function() b:unpack("d") end, short .. "8 bytes at position 1 do not fit in length 5")
    h.refused(pool, function() b:unpack("b", 6) end, short .. "1 bytes at position 6 do not fit in length 5")
    h.refused(pool, function() b:unpack("bbi4") end, short .. "4 bytes at position 3 do not fit in length 5")
    h.refused(pool, function() b:unpack("s1") end, short .. "5 bytes at position 2 do not fit in length 5")
    h.refused(pool, function() b:unpack("c9") end, short .. "9 bytes at position 1 do not fit in length 5")
    h.refused(pool, function() b:unpack("!8 bXd") end, short .. "7 bytes at position 2 do not fit in length 5")
    h.refused(pool, function() b:unpack("z", 5) end,
      "unpack: unfinished string for format 'z' at position 5 in length 5")
    h.refused(pool, function() b:unpack("b", 7) end, "unpack: 0 bytes at position 7 do not fit in length 5")
    h.refused(pool, function() b:unpack("b", 0) end, "unpack: 0 bytes at position 0 do not fit in length 5")
    h.refused(pool, function() b:unpack("b", -6) end, "unpack: 0 bytes at position -6 do not fit in length 5")
    h.refused(pool, function() b:unpack("b", 1.5) end, "unpack: argument 'pos' must be a whole number, got 1.5")
    h.refused(pool, function() b:unpack(1) end, "unpack: argument 'fmt' must be a string, got number")
    h.refused(pool, function() b:unpack("y") end, "unpack: invalid format option 'y'")
    b:release()
    b = pool:get_buffer(16):fill(255)
    h.refused(pool, function() b:unpack("I9") end, "unpack: 9-byte integer does not fit into Lua Integer")
    h.refused(pool, function() b:unpack("s") end,
      "unpack: data string too short: 18446744073709551615 bytes at position 9 do not fit in length 16")
    assert.is_true(b:unpack("i16") == -1)
    b:release()
  end)

  it("gives many values, and refuses more than the stack holds", function()
    local b = pool:get_buffer(2000000):fill(1)
    assert.equal(201, select("#", b:unpack(("b"):rep(200))))
    local ok, err = pcall(function() return b:unpack(("b"):rep(2000000)) end)
    assert.is_false(ok)
    assert.truthy(tostring(err):find("unpack: too many results", 1, true))
    b:release()
  end)

  it("survives a finalizer that releases the buffer", function()
    local armed, buf = true, nil
    local function arm()
      local function finalizer()
        if not armed then return end
        arm()
        if bytepool.type(buf) == "buffer" then buf:release() end
      end
      h.on_collect(finalizer)
    end
    local pause, mul = collectgarbage("setpause", 1), collectgarbage("setstepmul", 400)
    for _ = 1, 5 do arm() end
    for i = 1, 500 do
      buf = pool:from_string("\60" .. ("x"):rep(60))
      local ok, a = pcall(buf.unpack, buf, "s1zz<j")
      assert.is_true(ok == false or a == ("x"):rep(60), i)
      pcall(buf.pack, buf, "zs4d", i, "s", i)
      pcall(buf.release, buf) -- no look at its type first: that may run the finalizer
    end
    armed = false
    collectgarbage("setpause", pause)
    collectgarbage("setstepmul", mul)
  end)
end)
