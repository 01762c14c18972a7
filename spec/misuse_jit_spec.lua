-- Misuse never crashes, part 4: the same inside hot loops, where LuaJIT runs compiled
-- traces. The other Luas run it too: the answers must not differ.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local pool = h.new()
local hot = 300

after_each(function()
  h.collect()
  h.all_back(pool)
end)

-- Calls fn(x) over and over, with good values and from time to time the bad one.
-- Returns how often it failed, and the last message without its position.
local function run_hot(fn, good, bad)
  local failed, message = 0, nil
  for i = 1, hot * 2 do
    local x = good
    if i > hot and i % 7 == 0 then x = bad end
    local ok, err = pcall(fn, x)
    if not ok then
      failed = failed + 1
      message = err
    end
  end
  return failed, message and message:gsub("^[^:]+:%d+: ", "")
end

local expected_failures = 0
for i = hot + 1, hot * 2 do
  if i % 7 == 0 then expected_failures = expected_failures + 1 end
end

local sink = 0
local calls = {
  byte = function(b) sink = sink + b:byte(2) end,
  len = function(b) sink = sink + b:len() end,
  capacity = function(b) sink = sink + b:capacity() end,
  ref_count = function(b) sink = sink + b:ref_count() end,
  retain = function(b) b:retain():release() end,
  set_string = function(b) b:set_string(1, "abc") end,
  tostring = function(b) sink = sink + #b:tostring() end,
  sub = function(b) sink = sink + #b:sub(1, 2) end,
  share = function(b) b:share():release() end,
  bytes = function(b)
    local _, release = b:bytes()
    release()
  end,
}

describe("a dead handle in a hot loop", function()
  for name, call in pairs(calls) do
    it("of " .. name, function()
      local good, dead = pool:from_string("abcd"), pool:from_string("dead")
      dead:release()
      local failed, message = run_hot(call, good, dead)
      assert.equal(expected_failures, failed)
      assert.equal(name .. ": buffer already released", message)
      assert.equal(1, good:ref_count())
      good:release()
    end)
  end
end)

describe("a foreign value in a hot loop", function()
  for name in pairs(calls) do
    it("of " .. name, function()
      local good = pool:from_string("abcd")
      local method = good[name]
      local a, b = nil, nil
      if name == "byte" or name == "sub" then a = 2 elseif name == "set_string" then a, b = 1, "abc" end
      local function call(x)
        local result, release = method(x, a, b)
        if name == "retain" or name == "share" then result:release() end
        if name == "bytes" then release() end
      end
      for _, v in ipairs(h.foreign_values()) do
        local failed, message = run_hot(call, good, v[1])
        assert.equal(expected_failures, failed)
        assert.equal(name .. ": self must be a bytepool buffer, got " .. v[2], message)
      end
      assert.equal(1, good:ref_count())
      good:release()
    end)
  end
end)

describe("death in the middle of a hot loop", function()
  it("by release", function()
    local buf, reads = pool:from_string("abcd"), 0
    for i = 1, hot * 2 do
      if i == hot + 50 then buf:release() end
      local ok, err = pcall(function() return buf:byte(1) end)
      if ok then
        reads = reads + 1
        assert.equal(97, err)
      else
        assert.truthy(err:find("byte: buffer already released", 1, true))
      end
    end
    assert.equal(hot + 49, reads)
  end)

  it("by __gc called by hand", function()
    local buf, reads = pool:from_string("abcd"), 0
    local gc = debug.getmetatable(buf).__gc
    local function read() reads = reads + (buf:byte(1) - 96) end
    for i = 1, hot * 2 do
      if i == hot + 50 then gc(buf) end
      pcall(read)
    end
    assert.equal(hot + 49, reads)
  end)

  it("by another metatable", function()
    local buf, reads = pool:from_string("abcd"), 0
    local method, real = buf.byte, debug.getmetatable(buf)
    local function read() reads = reads + (method(buf, 1) - 96) end
    for i = 1, hot * 2 do
      if i == hot + 50 then debug.setmetatable(buf, nil) end
      pcall(read)
    end
    assert.equal(hot + 49, reads)
    debug.setmetatable(buf, real)
    buf:release()
  end)

  it("release until it is refused", function()
    local refused = 0
    for _ = 1, hot do
      local buf = pool:get_buffer(16)
      buf:retain()
      buf:release()
      buf:release()
      local ok, err = pcall(function() buf:release() end)
      if not ok and err:find("release: buffer already released", 1, true) then refused = refused + 1 end
    end
    assert.equal(hot, refused)
  end)
end)

describe("bad arguments in a hot loop", function()
  it("of byte", function()
    local buf = pool:from_string("abcd")
    for _, case in ipairs { { 1.5, "1.5" }, { 0 / 0, "nan" }, { "x", "string" }, { {}, "table" },
      { true, "boolean" } } do
      local failed, message = run_hot(function(i) return buf:byte(i) end, 2, case[1])
      assert.equal(expected_failures, failed)
      assert.equal("byte: argument 'i' must be a whole number, got " .. case[2], message)
    end
    for _, outside in ipairs { 0, 5, -5, 2 ^ 31, -2 ^ 31, 2 ^ 52, 2 ^ 64, math.huge, -math.huge } do
      local none = 0
      for i = 1, hot * 2 do
        if buf:byte(i % 7 == 0 and outside or 4) == nil then none = none + 1 end
      end
      assert.equal(math.floor(hot * 2 / 7), none)
    end
    buf:release()
  end)

  it("of byte over every index, as string.byte", function()
    local s = h.random_string(math.random, 1000)
    local buf, differ = pool:from_string(s), 0
    for i = -1100, 1100 do
      if buf:byte(i) ~= s:byte(i) then differ = differ + 1 end
    end
    assert.equal(0, differ)
    buf:release()
  end)

  it("of get_buffer", function()
    for _, case in ipairs { { -1, "-1" }, { 1.5, "1.5" }, { 0 / 0, "nan" }, { "x", "string" } } do
      local failed, message = run_hot(function(n) pool:get_buffer(n):release() end, 64, case[1])
      assert.equal(expected_failures, failed)
      assert.equal("get_buffer: argument 'n' must be a whole number from 0 to 1099511627776, got " .. case[2], message)
    end
  end)

  it("of put", function()
    local other = h.new()
    local theirs = other:get(64)
    local failed, message = run_hot(function(b) pool:put(b or pool:get(64)) end, false, theirs)
    assert.equal(expected_failures, failed)
    assert.equal("put: argument 'buf' belongs to another pool", message)
    theirs:release()
    h.all_back(other)
  end)
end)

it("the counters hold after all that", function()
  assert.equal("pool", bytepool.type(pool))
  assert.is_true(h.all_back(pool).total_get > hot)
end)

-- Under LuaJIT a get fills a userdata that was made ahead: two gets must never fill one.
describe("a hook that gets in the middle of a get", function()
  it("never shares a handle with it", function()
    local jit = rawget(_G, "jit")
    local was_on = jit and jit.status()
    local seen, count = {}, 0
    local function take()
      local b = pool:get_buffer(100)
      assert(not seen[b], "a handle was handed out twice")
      seen[b], count = true, count + 1
    end
    if was_on then jit.off() end -- compiled code calls no hooks
    for step = 1, 40 do
      debug.sethook(take, "", step)
      for _ = 1, 20 do take() end
      debug.sethook()
    end
    if was_on then jit.on() end
    assert.is_true(count > 40 * 20)
    for b in pairs(seen) do
      assert.equal(1, b:ref_count())
      b:release()
    end
  end)
end)
