-- The vocabulary, part 2: buffers that are put to, and are consumed.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local unpack = table.unpack or unpack

local sizes = { 64, 256, 1024, 1500 }
local pool = h.new(nil, sizes)

after_each(function()
  h.collect()
  h.all_back(pool)
end)

local function pack(...) return { n = select("#", ...), ... } end

-- Blocks in use, by size of tier; oversize ones under "alone".
local function out()
  local s, t = h.balanced(pool), {}
  for size, tier in pairs(s.pools) do if tier.in_use > 0 then t[size] = tier.in_use end end
  if s.discarded > s.discarded_put then t.alone = s.discarded - s.discarded_put end
  return t
end

describe("builder", function()
  it("is an empty buffer with room for its hint", function()
    for _, case in ipairs { { nil, 64 }, { 0, 64 }, { 1, 64 }, { 65, 256 }, { 1500, 1500 }, { 5000, 5000 } } do
      local buf = pool:builder(case[1])
      assert.equal(0, #buf)
      assert.equal("", buf:tostring())
      assert.equal(case[2], buf:capacity())
      assert.equal(case[2], buf:reserve(0))
      assert.is_true(buf:is_unique())
      buf:release()
    end
  end)

  it("refuses a wrong hint and a wrong self", function()
    h.refused(pool, function() pool:builder(-1) end,
      "builder: argument 'hint' must be a whole number from 0 to 1099511627776, got -1")
    h.refused(pool, function() pool:builder({}) end,
      "builder: argument 'hint' must be a whole number from 0 to 1099511627776, got table")
    h.refused(pool, function() pool.builder({}, -1) end, "builder: self must be a bytepool pool, got table")
    local closed = h.new()
    closed:close()
    h.raises(function() closed:builder() end, "builder: the pool is closed")
  end)
end)

describe("put", function()
  it("appends strings, numbers, buffers and what has a __tostring; returns self", function()
    local buf, other = pool:builder(), pool:from_string("other")
    assert.equal(buf, buf:put("a", 1, other, "\0", ""))
    assert.equal("a1other\0", buf:tostring())
    assert.equal(buf, buf:put())
    local shown = setmetatable({}, { __tostring = function() return "shown" end })
    buf:reset():put(shown, 1.5, shown)
    assert.equal("shown" .. 1.5 .. "shown", buf:tostring())
    other:release()
    buf:release()
  end)

  it("of itself, before and after it grows", function()
    local buf = pool:from_string("0123456789")
    buf:put(buf)
    assert.equal(("0123456789"):rep(2), buf:tostring())
    buf:put(buf, "|", buf, buf)
    assert.equal(("0123456789"):rep(4) .. "|" .. ("0123456789"):rep(4), buf:tostring())
    buf:release()
    local empty = pool:builder()
    assert.equal("", empty:put(empty):tostring())
    empty:release()
  end)

  it("of a wrong value changes nothing", function()
    local buf = pool:from_string("same")
    for _, v in ipairs(h.foreign_values()) do
      local x, typename = v[1], v[2]
      if typename ~= "string" and typename ~= "number" and not (debug.getmetatable(x) or {}).__tostring then
        for _, name in ipairs { "put", "set" } do
          h.refused(pool, function() buf[name](buf, x) end, name
            .. ": argument 'value' must be a string, a number or a bytepool buffer, got " .. typename)
        end
        h.refused(pool, function() buf:put("good", x) end,
          "put: argument 'value' must be a string, a number or a bytepool buffer, got " .. typename)
      end
    end
    h.refused(pool, function() buf:set() end,
      "set: argument 'value' must be a string, a number or a bytepool buffer, got nil")
    assert.equal("same", buf:tostring())
    buf:release()
  end)

  it("meets a __tostring that raises, or changes the buffer", function()
    local function shows(fn) return setmetatable({}, { __tostring = fn }) end
    local buf = pool:from_string("x")
    local ok, err = pcall(buf.put, buf, "a", shows(function() error({ "mine" }) end))
    assert.same({ false, { "mine" } }, { ok, err })
    assert.equal("x", buf:tostring())
    buf:put("a", shows(function() buf:put("inner") return "b" end))
    assert.equal("xinnerab", buf:tostring())
    local release = shows(function() buf:release() return "b" end)
    h.raises(function() buf:put("a", release) end, "put: buffer already released")
    buf = pool:from_string("x")
    h.raises(function() buf:put(buf, shows(function() buf:release() return "b" end)) end,
      "put: buffer already released")
    buf = pool:from_string("x")
    local twin
    h.raises(function() buf:put(shows(function() twin = buf:share() return "b" end)) end,
      "put: buffer is shared (ref_count 2)")
    twin:release()
    buf:release()
  end)

  it("of many values at once", function()
    local values = {}
    for i = 1, 200 do values[i] = "value " .. i end
    local buf = pool:builder()
    assert.equal(table.concat(values), buf:put(unpack(values)):tostring())
    buf:release()
  end)
end)

describe("putf", function()
  it("is string.format, then put", function()
    local buf = pool:from_string("x")
    assert.equal(buf, buf:putf("%d|%5.2f|%s|%%", 7, 1.5, "s"))
    assert.equal("x7| 1.50|s|%", buf:tostring())
    assert.equal(buf, buf:putf(""))
    buf:reset():putf(("y"):rep(300))
    assert.equal(300, #buf)
    buf:release()
  end)

  it("puts its name before the formatter's errors", function()
    local buf = pool:from_string("x")
    h.refused_like(pool, function() buf:putf("%d", "no number") end, "putf: bad argument #2 to ")
    h.refused_like(pool, function() buf:putf() end, "putf: bad argument #1 to ")
    h.refused_like(pool, function() buf:putf("%s") end, "putf: bad argument #2 to ")
    h.refused_like(pool, function() buf:putf("%y", 1) end, "putf: invalid ")
    local twin = buf:share()
    h.refused(pool, function() buf:putf("%d", 1) end, "putf: buffer is shared (ref_count 2)")
    twin:release()
    assert.equal("x", buf:tostring())
    buf:release()
    h.refused(pool, function() buf:putf("%d", 1) end, "putf: buffer already released")
  end)

  it("does not ask a string library that a script has changed", function()
    local format = string.format
    local buf = pool:builder()
    string.format = function() return "forged" end -- luacheck: ignore
    local ok, err = pcall(buf.putf, buf, "%d", 5)
    string.format = format -- luacheck: ignore
    assert.is_true(ok, err)
    assert.equal("5", buf:tostring())
    buf:release()
  end)
end)

describe("set", function()
  it("replaces all of it and returns self", function()
    local buf = pool:from_string("first")
    assert.equal(buf, buf:set("second one"))
    assert.equal("second one", buf:tostring())
    assert.equal("7", buf:set(7):tostring())
    assert.equal("7", buf:set(buf):tostring())
    local other = pool:from_string("other")
    assert.equal("other", buf:set(other):tostring())
    assert.equal("", buf:set(""):tostring())
    assert.equal(("z"):rep(70), buf:set(("z"):rep(70)):tostring())
    assert.equal(256, buf:capacity())
    other:release()
    buf:release()
  end)

  it("reclaims what was consumed before it takes a larger block", function()
    local buf = pool:from_string(("x"):rep(60))
    buf:skip(10)
    assert.equal(54, buf:capacity())
    assert.equal(("y"):rep(64), buf:set(("y"):rep(64)):tostring())
    assert.equal(64, buf:capacity())
    buf:release()
  end)
end)

describe("reserve and commit", function()
  it("make room, and let it in", function()
    local buf = pool:from_string("abc")
    local room = buf:reserve(10)
    assert.equal(61, room)
    assert.equal("abc", buf:tostring())
    assert.equal(buf, buf:commit(2))
    assert.equal(5, #buf)
    buf:set_string(4, "de")
    assert.equal("abcde", buf:tostring())
    buf:commit(0):commit(59)
    assert.equal(64, #buf)
    h.refused(pool, function() buf:commit(1) end, "commit: 1 bytes are more than the 0 reserved")
    assert.equal(0, buf:reserve(0))
    assert.equal(192, buf:reserve(1))
    h.refused(pool, function() buf:commit(193) end, "commit: 193 bytes are more than the 192 reserved")
    buf:release()
  end)
end)

describe("skip and get", function()
  it("consume from the front", function()
    local buf = pool:from_string("0123456789")
    assert.equal(buf, buf:skip(2))
    assert.equal("23456789", buf:tostring())
    assert.equal("2", buf:get(1))
    assert.same(pack("34", "", "567"), pack(buf:get(2, 0, 3)))
    assert.equal("89", buf:tostring())
    assert.same(pack("89", "", ""), pack(buf:get(5, 1, nil)))
    assert.same(pack(""), pack(buf:get()))
    assert.equal(0, #buf)
    buf:put("abc")
    assert.same(pack("a", "bc"), pack(buf:get(1, nil)))
    assert.equal("", buf:skip(100):tostring())
    buf:put("again")
    assert.equal("again", buf:get())
    buf:release()
  end)

  it("of a wrong argument consume nothing", function()
    local buf = pool:from_string("abc")
    h.refused(pool, function() buf:get(1, "x") end,
      "get: argument 'n' must be a whole number from 0 to 1099511627776, got string")
    assert.equal("abc", buf:tostring())
    buf:release()
  end)

  it("move one handle's view, and no other's", function()
    local buf = pool:from_string("abcdef")
    local twin = buf:share()
    assert.equal("ab", buf:get(2))
    assert.equal("abcdef", twin:tostring())
    twin:set_string(3, "X")
    assert.equal("Xdef", buf:tostring())
    twin:freeze()
    assert.equal("X", buf:get(1))
    assert.equal("f", buf:skip(2):get())
    buf:release()
    twin:release()
  end)

  it("let a queue run through a block of twice its length", function()
    local buf = pool:builder()
    for i = 1, 2000 do
      buf:put(("%06d"):format(i))
      if i > 5 then assert.equal(("%06d"):format(i - 5), buf:get(6)) end
    end
    assert.same({ [256] = 1 }, out())
    buf:release()
  end)

  it("many strings at once", function()
    local buf, n = pool:from_string(("ab"):rep(300)), {}
    for i = 1, 300 do n[i] = 2 end
    local got = pack(buf:get(unpack(n)))
    assert.equal(300, got.n)
    assert.equal(("ab"):rep(300), table.concat(got))
    buf:release()
  end)
end)

describe("reset and free", function()
  it("reset empties, and the whole block is there again", function()
    local buf = pool:from_string("abcdef")
    buf:skip(4)
    assert.equal(60, buf:capacity())
    assert.equal(buf, buf:reset())
    assert.equal("", buf:tostring())
    assert.equal(64, buf:capacity())
    assert.equal("x", buf:put("x"):tostring())
    buf:release()
  end)

  it("reset of a shared, frozen or sliced buffer changes its own handle alone", function()
    local buf = pool:from_string("abcdef")
    local twin, part = buf:share(), buf:slice(2, 4)
    assert.equal("", twin:reset():tostring())
    assert.equal("", part:skip(1):reset():tostring())
    assert.equal("abcdef", buf:tostring())
    twin:release()
    part:release()
    assert.equal("", buf:freeze():reset():tostring())
    h.refused(pool, function() buf:put("x") end, "put: buffer is frozen")
    buf:release()
  end)

  it("free gives a large block back and leaves an empty buffer", function()
    local buf = pool:from_string(("x"):rep(5000))
    assert.same({ alone = 1 }, out())
    assert.equal(buf, buf:free())
    assert.same({ [64] = 1 }, out())
    assert.equal("", buf:tostring())
    assert.equal("again", buf:put("again"):tostring())
    buf:free():free():release()
    h.refused(pool, function() buf:free() end, "free: buffer already released")
  end)
end)
