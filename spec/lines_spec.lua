-- lines and split_on: a buffer's contents piece by piece, as slices.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")

local pool = h.new()

after_each(function()
  h.collect()
  h.all_back(pool)
end)

-- What a loop yields, joined: "+" behind a piece that was ended, "." behind one that was not.
local function pieces(iterator)
  local t = {}
  for piece, ended in iterator do
    t[#t + 1] = piece:tostring() .. (ended and "+" or ".")
    piece:release()
  end
  return table.concat(t)
end

describe("lines", function()
  it("are slices without the newline", function()
    for s, expected in pairs {
      [""] = "", ["\n"] = "+", ["\n\n"] = "++", ["a"] = "a.", ["a\n"] = "a+", ["a\nb"] = "a+b.",
      ["\na\r\n\nbc\n"] = "+a\r++bc+", ["a\0b\nc"] = "a\0b+c.",
    } do
      local buf = pool:from_string(s)
      assert.equal(expected, pieces(buf:lines()))
      assert.equal(s, buf:tostring())
      assert.is_true(buf:is_unique())
      buf:release()
    end
  end)

  it("are the same as string.gmatch finds #random", function()
    h.seeded(function(random)
      for _ = 1, 50 do
        local t = {}
        for i = 1, random(0, 300) do t[i] = random(1, 5) == 1 and "\n" or "x" end
        local s, expected = table.concat(t), {}
        for line, ended in s:gmatch("([^\n]*)(\n?)") do
          if line ~= "" or ended ~= "" then expected[#expected + 1] = line .. (ended ~= "" and "+" or ".") end
        end
        local buf = pool:from_string(s):freeze()
        assert.equal(table.concat(expected), pieces(buf:lines()))
        buf:release()
      end
    end)
  end)

  it("are the buffer's own bytes, which stay when it is released", function()
    local buf, kept = pool:from_string("one\ntwo\nthree"), {}
    for line in buf:lines() do
      kept[#kept + 1] = line
      if #kept == 1 then
        assert.equal(3, buf:ref_count())
        buf:set_string(5, "TWO")
        buf:release()
      end
    end
    assert.equal("one TWO three", table.concat({ kept[1]:tostring(), kept[2]:tostring(), kept[3]:tostring() }, " "))
    assert.equal(3, kept[1]:ref_count())
    assert.equal(1, pool:get_pool_stats().in_use)
    for _, line in ipairs(kept) do line:release() end
    assert.equal(0, pool:get_pool_stats().in_use)
  end)

  it("of a slice and of a buffer whose front was consumed are its own", function()
    local buf = pool:from_string("a\nb\nc\nd")
    local slice = buf:slice(3, 5)
    assert.equal("b+c.", pieces(slice:lines()))
    assert.equal("+c+d.", pieces(buf:skip(3):lines()))
    slice:release()
    buf:release()
  end)

  it("end once and for all", function()
    local buf = pool:from_string("a")
    local following = buf:lines()
    following():release()
    assert.is_nil(following())
    assert.is_nil(following())
    buf:release()
  end)
end)

describe("split_on", function()
  it("takes any delimiter", function()
    for _, case in ipairs {
      { "a,b,,c", ",", "a+b++c." }, { "a, b,c, ", ", ", "a+b,c+" }, { "aaaa", "aa", "++" },
      { "aaa", "aa", "+a." }, { "ab\0\0cd", "\0\0", "ab+cd." }, { "abc", "abcd", "abc." },
      { "x\r\n\r\ny", "\r\n", "x++y." },
    } do
      local buf = pool:from_string(case[1])
      assert.equal(case[3], pieces(buf:split_on(case[2])))
      buf:release()
    end
  end)

  it("refuses what is none", function()
    local buf = pool:from_string("a,b")
    local text = "split_on: argument 'delimiter' must be a string that is not empty, got "
    h.refused(pool, function() buf:split_on("") end, text .. "''")
    h.refused(pool, function() buf:split_on() end, text .. "nil")
    h.refused(pool, function() buf:split_on(buf) end, text .. "userdata")
    h.refused_like(pool, function() buf:split_on(",", -1) end, "split_on: argument 'max' must be a whole number")
    h.refused_like(pool, function() buf:lines("x") end, "lines: argument 'max' must be a whole number")
    h.refused_like(pool, function() buf.lines({}) end, "lines: self must be a bytepool buffer, got table")
    buf:release()
    h.refused(pool, function() buf:lines() end, "lines: buffer already released")
    h.refused(pool, function() buf:split_on(",") end, "split_on: buffer already released")
  end)
end)

describe("a bound", function()
  it("lets pieces up to it through, and raises at a longer one", function()
    local buf = pool:from_string("abc\nabcd\nabc")
    assert.equal("abc+abcd+abc.", pieces(buf:lines(4)))
    local following = buf:lines(3)
    following():release()
    h.raises(function() following() end, "lines: a piece is longer than 3 bytes")
    assert.is_nil(following())
    assert.is_true(buf:is_unique())
    following = buf:split_on("cd\n", 2)
    h.raises(function() following() end, "split_on: a piece is longer than 2 bytes")
    buf:release()
    buf = pool:from_string("abc")
    assert.equal("abc.", pieces(buf:lines(3)))
    following = buf:lines(2)
    h.raises(function() following() end, "lines: a piece is longer than 2 bytes")
    buf:release()
    buf = pool:from_string("\n\n")
    assert.equal("++", pieces(buf:lines(0)))
    buf:release()
  end)

  it("holds for the delimiter's own length too", function()
    local buf = pool:from_string("12345--678--")
    assert.equal("12345+678+", pieces(buf:split_on("--", 5)))
    local following = buf:split_on("--", 4)
    h.raises(function() following() end, "split_on: a piece is longer than 4 bytes")
    buf:release()
  end)
end)

describe("a loop that is left", function()
  it("gives its reference back: at once where Lua can, else by the collector", function()
    local buf = pool:from_string("a\nb\nc")
    local count = 0
    for line in buf:lines() do
      line:release()
      count = count + 1
      if count == 2 then break end
    end
    if h.has_close then assert.is_true(buf:is_unique()) end
    h.collect()
    assert.is_true(buf:is_unique())
    buf:release()
  end)

  it("by an error too", function()
    local buf = pool:from_string("a\nb\nc")
    assert.is_false(pcall(function() for line in buf:lines() do line:release() error("x") end end))
    h.collect()
    assert.is_true(buf:is_unique())
    buf:release()
  end)

  it("may have forgotten its slices", function()
    local buf, count = pool:from_string(("line\n"):rep(1000)), 0
    for line in buf:lines() do count = count + #line end
    assert.equal(4000, count)
    h.collect()
    assert.is_true(buf:is_unique())
    buf:release()
  end)
end)

describe("finalizers that run meanwhile", function()
  it("may release the buffer and use the same iterator", function()
    for _ = 1, 200 do
      local buf = pool:from_string("a\nb\nc\nd\ne")
      local following = buf:lines()
      local function finalize()
        local line = following()
        if line then line:release() end
        if buf then buf:release() end
        buf = nil
      end
      h.on_collect(finalize)
      collectgarbage("setpause", 0)
      for line in following do
        assert.equal(1, #line)
        line:release()
        collectgarbage("step")
      end
      collectgarbage("setpause", 200)
      h.collect()
      assert.is_nil(buf)
    end
  end)
end)
