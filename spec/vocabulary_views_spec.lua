-- The vocabulary, part 4: several handles on one block; what is frozen; and every method on
-- what it is not for.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local pool = h.new(nil, { 64, 256, 1024 })

after_each(function()
  h.collect()
  h.all_back(pool)
end)

describe("slice", function()
  it("is sub without a copy, and holds the block", function()
    local s = "abcdef"
    local buf = pool:from_string(s)
    for i = 1, 7 do
      for j = i - 1, 6 do
        local parts = { buf:slice(i, j) }
        if i <= 6 then parts[2] = buf:slice(i - 7, j) end
        if j > 0 then parts[#parts + 1] = buf:slice(i, j - 7) end
        for _, part in ipairs(parts) do
          assert.equal(s:sub(i, j), part:tostring())
          assert.equal(#part, part:capacity())
          assert.equal(1 + #parts, buf:ref_count())
        end
        for _, part in ipairs(parts) do part:release() end
      end
    end
    local whole, tail = buf:slice(), buf:slice(3)
    buf:release()
    assert.equal("abcdef", whole:tostring())
    whole:set_string(3, "XY")
    assert.equal("XYef", tail:tostring())
    whole:release()
    assert.is_true(tail:is_unique())
    tail:release()
  end)

  it("of slices, each with a reference of its own", function()
    local buf = pool:from_string("0123456789")
    local a = buf:slice(2, 9)
    local b = a:slice(2, -2)
    local c = b:slice(-3, -2)
    assert.same({ "12345678", "234567", "56" }, { a:tostring(), b:tostring(), c:tostring() })
    assert.equal(4, c:ref_count())
    assert.same({ 10, "buffer" }, { #buf, bytepool.type(c) })
    a:release()
    buf:release()
    assert.equal("56", c:tostring())
    b:fill(120)
    assert.equal("xx", c:tostring())
    h.refused(pool, function() c:slice(1, 3) end, "slice: positions 1 to 3 are not in length 2")
    b:release()
    c:retain():release()
    c:release()
  end)

  it("refuses positions outside", function()
    local buf = pool:from_string("abcd")
    local function refused(message, i, j)
      h.refused(pool, function() buf:slice(i, j) end, "slice: " .. message)
    end
    refused("positions 0 to 2 are not in length 4", 0, 2)
    refused("positions 1 to 5 are not in length 4", 1, 5)
    refused("positions 6 to -1 are not in length 4", 6)
    refused("positions 3 to 1 are not in length 4", 3, 1)
    refused("positions -5 to -1 are not in length 4", -5)
    refused("positions 1 to -6 are not in length 4", nil, -6)
    refused("argument 'i' must be a whole number, got 1.5", 1.5)
    refused("argument 'j' must be a whole number, got function", 1, print)
    buf:release()
  end)
end)

describe("split", function()
  it("gives the first bytes away and keeps the rest", function()
    local buf = pool:from_string("abcdef")
    local head = buf:split(2)
    assert.same({ "ab", "cdef", 2 }, { head:tostring(), buf:tostring(), buf:ref_count() })
    local none, all = buf:split(0), buf:split(4)
    assert.same({ "", "cdef", "" }, { none:tostring(), all:tostring(), buf:tostring() })
    assert.equal(4, buf:ref_count())
    assert.equal("", buf:split(0):tostring())
    h.refused(pool, function() buf:split(1) end, "split: 1 bytes are more than the length 0")
    h.refused(pool, function() all:split(5) end, "split: 5 bytes are more than the length 4")
    for _, b in ipairs { head, none, all } do b:release() end
    h.refused(pool, function() buf:put("x") end, "put: a slice does not grow")
    h.collect()
    assert.equal("x", buf:unshare():put("x"):tostring())
    buf:release()
  end)
end)

describe("freeze", function()
  it("is for all handles, and over with the block", function()
    local buf = pool:from_string("abcd")
    local twin, part = buf:share(), buf:slice(2, 3)
    assert.is_false(buf:is_frozen())
    assert.equal(buf, part:freeze() and buf:freeze())
    for _, b in ipairs { buf, twin, part } do
      assert.is_true(b:is_frozen())
      h.refused(pool, function() b:set_string(1, "x") end, "set_string: buffer is frozen")
      h.refused(pool, function() b:copy(1, "x") end, "copy: buffer is frozen")
      h.refused(pool, function() b:copy(1, b, 1, 1) end, "copy: buffer is frozen")
      h.refused(pool, function() b:fill(1) end, "fill: buffer is frozen")
      h.refused(pool, function() b:set_string(1, "") end, "set_string: buffer is frozen")
    end
    assert.equal("abcd", twin:tostring())
    local imported = bytepool.import(buf:export())
    assert.is_true(imported:is_frozen())
    for _, b in ipairs { buf, twin, part, imported } do b:release() end
    buf = pool:get_buffer(4)
    assert.is_false(buf:is_frozen())
    buf:set_string(1, "work"):release()
  end)
end)

describe("is_unique", function()
  it("means that all references are this handle's", function()
    local buf = pool:from_string("x")
    assert.is_true(buf:is_unique())
    assert.is_true(buf:retain():is_unique())
    local view, release = buf:bytes()
    assert.is_false(buf:is_unique())
    assert.is_false(view:is_unique())
    release()
    assert.is_true(buf:is_unique())
    local token = buf:export()
    assert.is_false(buf:is_unique())
    bytepool.import(token):release()
    buf:release()
    assert.is_true(buf:is_unique())
    buf:release()
  end)
end)

describe("unshare", function()
  it("leaves a sole owner where it is", function()
    local buf = pool:from_string("abc")
    local before = h.counters(pool)
    assert.equal(buf, buf:unshare())
    assert.equal(buf, buf:retain():unshare():skip(1):unshare())
    assert.same({ before, "bc" }, { h.counters(pool), buf:tostring() })
    buf:release()
    buf:release()
  end)

  it("gives a private copy of what is shared, sliced or frozen", function()
    local buf = pool:from_string("abcdef")
    local twin, part = buf:share(), buf:slice(2, 4)
    assert.equal(twin, twin:retain():unshare())
    assert.same({ true, 2, 2 }, { twin:is_unique(), twin:ref_count(), buf:ref_count() })
    twin:fill(120)
    assert.equal("abcdef", buf:tostring())
    assert.equal("bcd!", part:unshare():put("!"):tostring())
    buf:freeze():skip(3):unshare():put("g")
    assert.equal("defg", buf:tostring())
    assert.is_false(buf:is_frozen())
    assert.equal(3, h.balanced(pool).in_use)
    twin:release()
    twin:release()
    part:release()
    buf:release()
  end)
end)

describe("export and import", function()
  it("carry a slice's and a consumed buffer's view", function()
    local buf = pool:from_string("0123456789")
    local part = bytepool.import(buf:slice(3, 6):export())
    assert.equal("2345", part:tostring())
    buf:skip(4)
    local rest = bytepool.import(buf:export())
    assert.equal("456789", rest:tostring())
    h.refused(pool, function() part:put("x") end, "put: a slice does not grow")
    h.refused(pool, function() rest:put("x") end, ("put: buffer is shared (ref_count %d)"):format(buf:ref_count()))
    part:release()
    buf:release()
    h.collect() -- the slice that was exported
    assert.equal(60, rest:capacity())
    assert.equal("456789x", rest:put("x"):tostring())
    assert.equal(64, rest:reset():capacity())
    local empty = bytepool.import(rest:export())
    assert.equal("", empty:tostring())
    rest:release()
    empty:put(("y"):rep(65)):release()
  end)
end)

-- Arguments that would be right, so that only self can be at fault.
local right = {
  slice = {}, split = { 0 }, sub = { 1 }, byte = { 1 }, equals = { "a" }, compare = { "a" }, starts_with = { "a" },
  ends_with = { "a" }, find = { "a" }, set_string = { 1, "a" }, copy = { 1, "a" }, fill = { 0 }, resize = { 0 },
  put = { "a" }, putf = { "a" }, set = { "a" }, reserve = { 1 }, commit = { 0 }, skip = { 0 }, get = { 0 },
}

describe("every method", function()
  local names = {}
  for name in pairs(require "bytepool.core".buffer_methods) do names[#names + 1] = name end
  table.sort(names)

  it("refuses a foreign self, and none", function()
    local buf = pool:from_string("four")
    for _, name in ipairs(names) do
      local method, a = buf[name], right[name] or {}
      for _, v in ipairs(h.foreign_values()) do
        local x, typename = v[1], v[2]
        h.refused(pool, function() method(x, a[1], a[2]) end,
          name .. ": self must be a bytepool buffer, got " .. typename)
      end
      h.refused_like(pool, function() method() end, name .. ": self must be a bytepool buffer, got n")
    end
    assert.equal("four", buf:tostring())
    assert.equal(1, buf:ref_count())
    buf:release()
  end)

  it("refuses a dead handle before it looks at the arguments", function()
    local released, collected, consumed = pool:get_buffer(4), pool:get_buffer(4), pool:get_buffer(4)
    released:release()
    debug.getmetatable(collected).__gc(collected)
    consumed:skip(2):release()
    for _, name in ipairs(names) do
      local a = right[name] or {}
      for _, dead in ipairs { released, collected, consumed } do
        h.refused(pool, function() dead[name](dead, a[1], a[2]) end, name .. ": buffer already released")
        h.refused(pool, function() dead[name](dead, {}, {}) end, name .. ": buffer already released")
      end
    end
  end)

  it("survives any mixture of arguments #random", function()
    local own = h.new({ max_idle = 1024 * 1024 }, { 64, 256, 1024 })
    h.seeded(function(random)
      local function junk()
        local list = { -1, 0, 1, 1.5, 3, 70, -2 ^ 53, 0 / 0, 1 / 0, "", "abc", "7", {}, true, print, own }
        return list[random(1, #list + 2)]
      end
      local live = own:from_string("live")
      local extra = own:from_string("extra")
      for _ = 1, 100 do
        for _, name in ipairs(names) do
          local a, b, c = junk(), junk(), junk()
          if random(0, 4) == 0 then a = random(0, 1) == 0 and live or extra end
          local ok, result = pcall(live[name], live, a, b, c)
          if ok and name == "export" then bytepool.import(result) end
          if bytepool.type(live) ~= "buffer" then live = own:from_string("live") end
          if #live > 5000 then live:reset() end
        end
      end
    end)
    h.collect()
    h.all_back(own)
  end)
end)
