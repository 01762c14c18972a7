-- Misuse never crashes, part 2: wrong types and sizes, unknown options, bad tier tables.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local pool = h.new()

after_each(function()
  h.collect()
  h.all_back(pool)
end)

local limit = 1099511627776
local not_sizes = {
  { -1, "-1" }, { -0.5, "-0.5" }, { 1.5, "1.5" }, { 0 / 0, "nan" }, { -(0 / 0), "nan" }, { 1 / 0, "inf" },
  { -1 / 0, "-inf" }, { limit + 1, "1099511627777" }, { "abc", "string" }, { "", "string" }, { "0x", "string" },
  { {}, "table" }, { true, "boolean" }, { print, "function" }, { nil, "nil" },
}
if h.is_luajit then
  not_sizes[#not_sizes + 1] = { require("ffi").new("uint64_t", 5), "cdata" }
end

describe("a size", function()
  for _, name in ipairs { "get_buffer", "get" } do
    it("of " .. name .. " is a whole number", function()
      local must = name .. ": argument 'n' must be a whole number from 0 to 1099511627776, got "
      for _, case in pairs(not_sizes) do
        local n = case[1]
        h.refused(pool, function() pool[name](pool, n) end, must .. case[2])
      end
      h.refused_like(pool, function() pool[name](pool, 2 ^ 53) end, must)
      h.refused_like(pool, function() pool[name](pool, 2 ^ 63) end, must)
      h.refused_like(pool, function() pool[name](pool, -2 ^ 63) end, must)
      h.refused_like(pool, function() pool[name](pool, 1e308) end, must)
      h.refused_like(pool, function() pool[name](pool, "1.5") end, must)
      h.refused_like(pool, function() pool[name](pool, "-1") end, must)
      h.refused_like(pool, function() pool[name](pool) end, must)
    end)
  end

  it("that the machine cannot serve is no mistake of the program", function()
    local ok, buf, message = pcall(pool.get_buffer, pool, limit)
    assert.is_true(ok)
    if buf then
      assert.equal(limit, #buf)
      buf:release()
    else
      assert.equal("out of memory", message)
    end
  end)

  it("written as 0 or -0 is fine", function()
    for _, n in ipairs { 0, -0.0, "0" } do
      local buf = pool:get_buffer(n)
      assert.equal(0, #buf)
      buf:release()
    end
  end)
end)

describe("put and release_buffer", function()
  it("refuse what is no buffer", function()
    for _, v in ipairs(h.foreign_values()) do
      local x, typename = v[1], v[2]
      h.refused(pool, function() pool:put(x) end,
        "put: argument 'buf' must be a bytepool buffer, got " .. typename)
      h.refused(pool, function() pool:release_buffer(x) end,
        "release_buffer: argument 'buf' must be a bytepool buffer, got " .. typename)
    end
    h.refused(pool, function() pool:put(pool) end, "put: argument 'buf' must be a bytepool buffer, got userdata")
  end)

  it("refuse a buffer of another pool", function()
    local other = h.new()
    local mine, theirs = pool:get(10), other:get(10)
    for _, pair in ipairs { { pool, theirs }, { other, mine } } do
      local p, b = pair[1], pair[2]
      local before = { h.counters(pool), h.counters(other) }
      h.raises(function() p:put(b) end, "put: argument 'buf' belongs to another pool")
      h.raises(function() p:release_buffer(b) end, "release_buffer: argument 'buf' belongs to another pool")
      assert.same(before, { h.counters(pool), h.counters(other) })
      assert.equal(1, b:ref_count())
    end
    pool:put(mine)
    other:put(theirs)
    h.all_back(other)
  end)

  it("put refuses a shared buffer, whoever holds the references", function()
    local a = pool:get(10)
    local b = a:share()
    h.refused(pool, function() pool:put(a) end, "put: buffer is shared (ref_count 2)")
    h.refused(pool, function() pool:put(b) end, "put: buffer is shared (ref_count 2)")
    local _, release = b:bytes()
    h.refused(pool, function() pool:put(a) end, "put: buffer is shared (ref_count 3)")
    release()
    a:release()
    pool:put(b)
  end)

  it("put refuses an oversize buffer that is shared", function()
    local a = pool:get(3000000)
    local b = a:share()
    h.refused(pool, function() pool:put(a) end, "put: buffer is shared (ref_count 2)")
    b:release()
    pool:put(a)
  end)
end)

describe("new_pools", function()
  local function bad_sizes(sizes, message)
    h.raises(function() bytepool.new_pools(sizes) end, "new_pools: " .. message)
  end

  it("refuses what is no array of 1 to 64 sizes", function()
    local must = "argument 'sizes' must be an array of 1 to 64 sizes or a policy, got "
    bad_sizes(nil, must .. "nil")
    bad_sizes(128, must .. "number")
    bad_sizes("128", must .. "string")
    bad_sizes(true, must .. "boolean")
    bad_sizes(pool, must .. "userdata")
    bad_sizes({}, must .. "0")
    local many = {}
    for i = 1, 65 do many[i] = i * 64 end
    bad_sizes(many, must .. "65")
    many[65] = nil
    assert.equal(64, #h.new(nil, many):get_available_sizes())
  end)

  it("names the entry that is no size", function()
    local must = "must be a whole number from 1 to 1099511627776, got "
    bad_sizes({ 0 }, "sizes[1] " .. must .. "0")
    bad_sizes({ -128 }, "sizes[1] " .. must .. "-128")
    bad_sizes({ 128, 1.5 }, "sizes[2] " .. must .. "1.5")
    bad_sizes({ 128, 256, 0 / 0 }, "sizes[3] " .. must .. "nan")
    bad_sizes({ 1 / 0 }, "sizes[1] " .. must .. "inf")
    bad_sizes({ 128, "abc" }, "sizes[2] must be a number of bytes or a string with a unit, B, KiB, MiB, GiB or TiB, "
      .. 'such as "64KiB", got "abc"')
    bad_sizes({ 128, {} }, "sizes[2].size is missing")
    bad_sizes({ 128, false }, "sizes[2] " .. must .. "boolean")
    bad_sizes({ limit + 1 }, "sizes[1] " .. must .. "1099511627777")
    h.raises_like(function() bytepool.new_pools({ 2 ^ 53 }) end, "new_pools: sizes[1] " .. must)
  end)

  it("names the entry that does not rise", function()
    bad_sizes({ 128, 128 }, "sizes[2] is 128, not above sizes[1], 128")
    bad_sizes({ 128, 1024, 512 }, "sizes[3] is 512, not above sizes[2], 1024")
  end)

  it("does not trust a tier table that changes while it is read", function()
    local reads = 0
    local sizes = setmetatable({ 128 }, { __index = function(_, k)
      reads = reads + 1
      return k < 3 and reads or nil
    end, __len = function() return 1000000 end })
    local ok, made = pcall(bytepool.new_pools, sizes)
    if ok then assert.same({ 128 }, made:get_available_sizes()) end
  end)

  local function bad_options(o, message)
    h.raises(function() bytepool.new_pools({ 128 }, o) end, "new_pools: " .. message)
  end

  it("refuses unknown options", function()
    local known = " (known: debug, decay, leaks, max_bytes, "
        .. "max_idle, max_waste, name, pressure, recent, region_size, zero)"
    bad_options({ recnt = 1 }, "unknown option 'recnt'" .. known)
    bad_options({ "x" }, "unknown option '1'" .. known)
    bad_options({ recent = { foo = 1 } }, "unknown option 'recent.foo' (known: mode, size)")
    bad_options({ recent = { 7 } }, "unknown option 'recent.1' (known: mode, size)")
  end)

  it("refuses options of wrong types and ranges", function()
    bad_options(5, "argument 'options' must be a table, got 5")
    bad_options("x", "argument 'options' must be a table, got string")
    bad_options({ recent = 5 }, "option 'recent' must be a table, got 5")
    bad_options({ recent = { mode = "fast" } }, [[option 'recent.mode' must be "relaxed" or "exact", got "fast"]])
    bad_options({ recent = { mode = 1 } }, [[option 'recent.mode' must be "relaxed" or "exact", got 1]])
    local cases = {
      max_idle = { -1, 1.5, 0 / 0, 1 / 0, 2 ^ 64, "abc", {}, true },
      region_size = { -1, 1.5, 0 / 0, 1 / 0, 2 ^ 64, "abc", {}, true },
      name = { 5, {}, true, ("n"):rep(64), "zero\0byte" },
    }
    for key, values in pairs(cases) do
      for _, value in ipairs(values) do
        local o = { [key] = value }
        h.raises_like(function() bytepool.new_pools({ 128 }, o) end, "new_pools: option '" .. key .. "' must be ")
      end
    end
    for _, value in ipairs { -1, 1.5, 65537, 0 / 0, "abc", {} } do
      local o = { recent = { size = value } }
      h.raises_like(function() bytepool.new_pools({ 128 }, o) end, "new_pools: option 'recent.size' must be ")
    end
    assert.equal(("n"):rep(63), h.new({ name = ("n"):rep(63) }):get_pool_stats().name)
  end)
end)

describe("prewarm", function()
  local function bad(counts, message)
    h.refused(pool, function() pool:prewarm(counts) end, "prewarm: " .. message)
  end

  it("refuses wrong counts", function()
    bad(nil, "argument 'counts' must be a table {[size] = count}, got nil")
    bad(5, "argument 'counts' must be a table {[size] = count}, got number")
    bad("x", "argument 'counts' must be a table {[size] = count}, got string")
    bad({ [9999999] = 1 }, "size 9999999 is above the largest tier, 2097152")
    for _, case in ipairs { { -1, "-1" }, { 1.5, "1.5" }, { 0 / 0, "nan" }, { 1 / 0, "inf" }, { "x", "string" },
      { {}, "table" }, { true, "boolean" } } do
      local counts = { [4096] = case[1] }
      h.refused_like(pool, function() pool:prewarm(counts) end,
        "prewarm: count of size 4096 must be a whole number from 0 to ")
      local _, err = pcall(pool.prewarm, pool, counts)
      assert.equal(", got " .. case[2], err:sub(-#case[2] - 6))
    end
    for _, counts in ipairs { { [-1] = 1 }, { [1.5] = 1 }, { x = 1 }, { [true] = 1 }, { [{}] = 1 } } do
      h.refused_like(pool, function() pool:prewarm(counts) end, "prewarm: ")
    end
  end)

  it("refuses more than max_idle without a change", function()
    local small = h.new({ max_idle = 1024 * 1024 })
    for _, counts in ipairs { { [2097152] = 1 }, { [4096] = 257 }, { [4096] = 2 ^ 30 },
      { [128] = 1, [2097152] = 9 } } do
      local before = h.counters(small)
      local result, message = small:prewarm(counts)
      assert.is_nil(result)
      assert.equal("prewarm: would exceed max_idle", message)
      assert.same(before, h.counters(small))
    end
  end)
end)

describe("expvar", function()
  it("refuses a wrong prefix", function()
    local must = "expvar: argument 'prefix' must be a non-empty string, got "
    h.refused(pool, function() pool:expvar(nil) end, must .. "nil")
    h.refused(pool, function() pool:expvar("") end, must .. '""')
    h.refused(pool, function() pool:expvar({}) end, must .. "table")
    h.refused(pool, function() pool:expvar(5) end, must .. "5")
  end)
end)

describe("any method", function()
  it("survives any mixture of arguments #random", function()
    local junk = {
      -1, 0, 1, 1.5, 2 ^ 53, -2 ^ 53, 0 / 0, 1 / 0, "", "abc", "7", {}, true, false, print, io.stdout, pool,
    }
    local random_pool = h.new({ max_idle = 1024 * 1024 })
    h.seeded(function(random)
      local live = random_pool:from_string("live")
      for _, name in ipairs { "byte", "sub", "set_string", "retain", "share", "ref_count", "len", "tostring" } do
        for _ = 1, 200 do
          pcall(live[name], live, junk[random(1, #junk + 1)], junk[random(1, #junk + 1)])
        end
      end
    end)
    h.collect()
    h.all_back(random_pool)
  end)
end)
