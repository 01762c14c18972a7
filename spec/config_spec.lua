-- bytepool.load_config and new_pools(config): what is read, and each fault with its line and key.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local function load(text) return bytepool.load_config { text = text, name = "app.lua" } end

-- The text has these faults, one a line, and no other.
local function faulty(text, ...)
  local config, message = load(text)
  assert.is_nil(config)
  local expected = {}
  for i, line in ipairs { ... } do expected[i] = "app.lua:" .. line end
  assert.equal(table.concat(expected, "\n"), message)
end

local SIZE = 'a number of bytes or a string with a unit, B, KiB, MiB, GiB or TiB, such as "64KiB"'
local UNKNOWN = "unknown key (known: adaptive, debug, leaks, limits, name, on_tick, recent, region_size, tiers, zero)"
local TIME = 'seconds from 0 to 1000000000 or a string with a unit, ms, s, min or h, such as "10s"'

describe("load_config", function()
  it("normalises what the issue's example says", function()
    local config = assert(load [[
      return { name = "bodies", tiers = policy.power_of_two{from = 512, to = "2MiB"},
               limits = { idle = "64MiB", bytes = "512MiB", decay = "10s" }, leaks = "simple",
               on_tick = function(stats, pool) return stats.in_use end }]])
    local on_tick = config.on_tick
    config.on_tick = nil
    assert.same({
      name = "bodies", leaks = "simple", limits = { idle = 64 * 2 ^ 20, bytes = 512 * 2 ^ 20, decay = 10 },
      tiers = { 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152 },
    }, config)
    assert.same({ true, 7 }, { on_tick { in_use = 7 } })
  end)

  it("takes every key", function()
    local config = assert(load [[
      local limits = { waste = 0.25, decay = "500ms", pressure = false, idle = 0 }
      return {
        tiers = { 100, "4KiB", { size = "64KiB", max_idle = "1MiB", max_bytes = 2 ^ 30, max_waste = 0 } },
        limits = limits, recent = { size = 10, mode = "exact" }, zero = "get", debug = true, region_size = "64MiB",
      }]])
    assert.same({
      tiers = { 100, 4096, { size = 65536, max_idle = 2 ^ 20, max_bytes = 2 ^ 30, max_waste = 0 } },
      limits = { waste = 0.25, decay = 0.5, pressure = false, idle = 0 },
      recent = { size = 10, mode = "exact" }, zero = "get", debug = true, region_size = 2 ^ 26,
    }, config)
    if math.type then
      assert.equal("integer", math.type(config.limits.idle))
      assert.equal("integer", math.type(config.tiers[3].size))
    end
    config = assert(load "return { tiers = { 1 }, limits = { decay = '2min', pressure = function() return 0.5 end } }")
    assert.equal(120, config.limits.decay)
    assert.equal(0.5, config.limits.pressure())
    assert.equal("auto", assert(load "return { tiers = { 1 }, limits = { pressure = 'auto' } }").limits.pressure)
  end)

  it("knows a path from a text", function()
    local text = "return { tiers = { 1 } }"
    assert.same({ 1 }, bytepool.load_config(text).tiers)
    assert.same({ 1 }, bytepool.load_config("\n" .. text).tiers)
    assert.same({ 1 }, bytepool.load_config("-- a comment\n" .. text).tiers)
    h.with_file("#!/usr/bin/env lua\n" .. text, function(path)
      assert.same({ 1 }, bytepool.load_config(path).tiers)
      assert.same({ 1 }, bytepool.load_config({ path = path }).tiers)
    end)
    h.with_file("# bob's pools\nreturn {\n  tiers = { 1 },\n  foo = 1 }", function(path)
      local _, message = bytepool.load_config(path)
      assert.equal(path .. ":4: foo: unknown key", message:match "^.-unknown key")
    end)
    h.with_file("\239\187\191return {\n  tier = 1 }", function(path)
      local _, message = bytepool.load_config(path)
      assert.equal(path .. ":1: tiers: expected an array of sizes or a policy, got nothing\n"
        .. path .. ":2: tier: unknown key, did you mean 'tiers'?", message)
    end)
    assert.same({ nil, "returns.lua: No such file or directory" }, { bytepool.load_config "returns.lua" })
    h.raises(function() bytepool.load_config(7) end,
      "load_config: argument 'source' must be a path, a text or a table with either, got 7")
    h.raises(function() bytepool.load_config({}) end,
      "load_config: argument 'source' must be a path, a text or a table with either, got nil")
    h.raises(function() bytepool.load_config { text = text, name = 7 } end,
      "load_config: argument 'source': name must be a string of one line, got 7")
    h.raises(function() bytepool.load_config("a\0b") end,
      "load_config: argument 'source' must be a path, a text or a table with either, got string")
  end)

  it("lists all faults, each with its line and key", function()
    faulty([=[
-- A config with many faults. { limits = { idle = 1 } }
local LIMITS = [[
  idle = "not this one"
]]

return {
  name = 5,
  teirs = policy.stream(),
  tiers = policy.merge(
    policy.power_of_two{from = 500, to = "2MiB"}, --[==[ to = ]==]
    {"64KiB",
     3}),
  limits = {
    idle = "64MB", ["decay"] = "10",
    byts = 5,
    waste = 2 },
  leaks = 'simpel'; recent = {
    size = -1,
  },
  on_tick = "function(stats) end",
  adaptive = policy.adaptive{
    tiers = 65, evry = 1 },
}]=],
      "7: name: expected a string of at most 63 bytes, got 5",
      "8: teirs: unknown key, did you mean 'tiers'?",
      "10: tiers[1].from: expected a power of two, got 500",
      "12: tiers[2][2]: expected a size above 65536, got 3",
      "14: limits.decay: expected " .. TIME .. ', got "10"',
      "14: limits.idle: expected " .. SIZE .. ', got "64MB"',
      "15: limits.byts: unknown key, did you mean 'bytes'?",
      "16: limits.waste: expected a number from 0 to 1, got 2",
      '17: leaks: expected "off" or "simple" or "advanced" or "paranoid", got "simpel"',
      "18: recent.size: expected a whole number from 0 to 65536, got -1",
      "20: on_tick: expected a function, got string",
      "22: adaptive.evry: unknown key, did you mean 'every'?",
      "22: adaptive.tiers: expected a whole number from 1 to 64, got 65")
  end)

  it("finds lines however the table is made", function()
    faulty([[
      local config = { tiers = { 1 } }
      config.limits = {
        idle = -1,
      }
      config.leaks = 1
      local function later() return { zero = 1 } end
      if later then config.zero = 1 end
      return config]],
      "3: limits.idle: expected a whole number from 0 to 1099511627776, got -1",
      '5: leaks: expected "off" or "simple" or "advanced" or "paranoid", got 1',
      '7: zero: expected "get" or "release" or false, got 1')
    faulty([[
      local sizes = {
        5,
        4 }
      local limits = { idle = "x" }
      return { ["debug"] = 1,
        tiers = sizes,
        limits = limits }]],
      "3: tiers[2]: expected a size above 5, got 4",
      "4: limits.idle: expected " .. SIZE .. ', got "x"',
      "5: debug: expected true or false, got 1")
    faulty([[
      return { tiers = policy.merge(
          policy.linear({
            from = 0, to = 5,
            step = 1 }),
          { 5,
            3 }) }]],
      "3: tiers[1].from: expected a whole number from 1 to 1099511627776, got 0",
      "6: tiers[2][2]: expected a size above 5, got 3")
    faulty([[
      if math.pi > 3 then
        return { tiers = { 1 },
          leaks = 1 }
      end]],
      '3: leaks: expected "off" or "simple" or "advanced" or "paranoid", got 1')
    -- Where nothing tells, the key around it, or the `return`.
    faulty([[

      local t = {}
      t["lea" .. "ks"] = 1
      t.tiers = { 1 }
      t.limits = (function() return { idle = -1 } end)()

      return t]],
      "5: limits.idle: expected a whole number from 0 to 1099511627776, got -1",
      '7: leaks: expected "off" or "simple" or "advanced" or "paranoid", got 1')
    faulty("return {\n[1] = 2,\n  3,\n [1.5] = 4, ['a b'] = 5,\n [true] = 6, tiers = { 1 } }",
      "2: [1]: " .. UNKNOWN,
      "4: [1.5]: " .. UNKNOWN, '4: ["a b"]: ' .. UNKNOWN, "5: [true]: " .. UNKNOWN)
  end)

  it("names what is wrong with tiers", function()
    local cases = {
      { "{}", "1: tiers: expected an array of 1 to 64 sizes or a policy, got 0" },
      { "5", "1: tiers: expected an array of sizes or a policy, got 5" },
      { "'64KiB'", '1: tiers: expected an array of sizes or a policy, got "64KiB"' },
      { "{1, x = 2}", "1: tiers.x: expected an array, got a key that is no place in it" },
      { "{1, {}}", "1: tiers[2].size: expected " .. SIZE .. ", got nothing" },
      { "{{size = 1, max_wast = 1}}", "1: tiers[1].max_wast: unknown key, did you mean 'max_waste'?" },
      { "{{size = 1, max_waste = 1.5}}", "1: tiers[1].max_waste: expected a number from 0 to 1, got 1.5" },
      { "{{size = 10}, 10}", "1: tiers[2]: expected a size above 10, got 10" },
      { "{0}", "1: tiers[1]: expected a whole number from 1 to 1099511627776, got 0" },
      { "{1.5}", "1: tiers[1]: expected a whole number from 1 to 1099511627776, got 1.5" },
      { "{false}", "1: tiers[1]: expected a whole number from 1 to 1099511627776, got boolean" },
      { "{'1K'}", "1: tiers[1]: expected " .. SIZE .. ', got "1K"' },
      { "policy.linear{from = 1, to = 9}", "1: tiers.step: expected a size, got nothing" },
      { "policy.linear{from = 9, to = 1, step = 1}", "1: tiers.from: must not be above option 'to', 1, got 9" },
      { "policy.linear{from = 1, to = 100, step = 1}", "1: tiers: expected at most 64 tiers, got 100" },
      { "policy.linear{from = 1, to = 9, step = 1}, limits = {bytes = 0}",
        "1: limits.bytes: expected a whole number from 1 to 1099511627776, got 0" },
      { "policy.geometric{from = 1, to = 9, ratio = 1}", "1: tiers.ratio: expected above 1, got 1" },
      { "policy.stream(1)", "1: tiers: expected a table, got 1" },
      { "policy.stream({}, 1)", "1: tiers: expected one table, got 2 arguments" },
      { "policy.merge()", "1: tiers: expected at least one policy or array of sizes" },
      { "policy.merge({1}, nil)", "1: tiers[2]: expected an array of sizes or a policy, got nil" },
      { "policy.merge({1}, {{size = 0}})",
        "1: tiers[2][1].size: expected a whole number from 1 to 1099511627776, got 0" },
      { "policy.cap({1, 2})", "1: tiers[2]: expected a number of tiers from 1 to 64, or a table, got nil" },
      { "policy.cap({1, 2}, {teirs = 1})", "1: tiers[2].teirs: unknown key, did you mean 'tiers'?" },
      { "policy.fitted{tiers = 3}", "1: tiers.samples: expected a table, got nothing" },
      { "policy.fitted{samples = {1, -1}, tiers = 1}",
        "1: tiers.samples: samples[2] must be a whole number from 0 to 1099511627776, got -1" },
      { "policy.adaptive{}", "1: tiers: policy.adaptive has a key of its own, adaptive" },
      { "function() return 1 end", "1: tiers: expected an array of sizes or a policy, got 1" },
      { "function() return {2, 1} end", "1: tiers[2]: expected a size above 2, got 1" },
      { "function() error 'no' end", "1: tiers: app.lua:1: no" },
      { "function() policy.sizes(policy.merge()) end",
        "1: tiers: app.lua:1: sizes: expected at least one policy or array of sizes" },
      { "{['policy()'] = 'merge', n = 1e9}", "1: tiers: expected a policy" },
      { "{['policy()'] = 'merge', line = {}, n = 'x'}", "1: tiers: expected a policy" },
      { "{['policy()'] = {}, n = 1}", "1: tiers: expected a policy" },
      { "{['policy()'] = 'fit', n = 1}", "1: tiers: expected a policy" },
      { "{1}, adaptive = {['policy()'] = {}}", "1: adaptive: expected policy.adaptive{...}, got table" },
      { "{1}, adaptive = policy.stream()", "1: adaptive: expected policy.adaptive{...}, got policy.stream" },
      { "{1}, adaptive = policy.adaptive(1)", "1: adaptive: expected a table, got 1" },
      { "{1}, adaptive = {}",
        "1: adaptive: expected policy.adaptive{...}, or an object with a method look, got a table" },
      { "{1}, adaptive = 1", "1: adaptive: expected policy.adaptive{...}, got number" },
    }
    for _, case in ipairs(cases) do faulty("return { tiers = " .. case[1] .. " }", case[2]) end
  end)

  it("has the policies that the library has", function()
    local policy = bytepool.policy
    local samples = { [100] = 5, [4000] = 7, [70000] = 1 }
    local cases = {
      { "policy.power_of_two()", policy.power_of_two() },
      { "policy.power_of_two{to = '4KiB'}", policy.power_of_two { to = 4096 } },
      { "policy.power_of_two_plus({from = 1024})", policy.power_of_two_plus { from = 1024 } },
      { "policy.stream()", policy.stream() },
      { "policy.linear{from = 10, to = 95, step = 10}", policy.linear { from = 10, to = 95, step = 10 } },
      { "policy.geometric{from = 100, to = '1MiB', ratio = 2.5, align = 64}",
        policy.geometric { from = 100, to = 2 ^ 20, ratio = 2.5, align = 64 } },
      { "policy.page_multiples{to = '32KiB'}", policy.page_multiples { to = 32768 } },
      { "policy.fitted{samples = {[100] = 5, [4000] = 7, [70000] = 1}, tiers = 2}",
        policy.fitted { samples = samples, tiers = 2 } },
      { "policy.fitted{samples = {100, 100, 200}, tiers = 2, align = 64}",
        policy.fitted { samples = { 100, 100, 200 }, tiers = 2, align = 64 } },
      { "policy.merge(policy.stream(), {'2MiB'}, function() return {7} end)",
        policy.merge(policy.stream(), { 2 ^ 21 }, { 7 }) },
      { "policy.cap(policy.page_multiples{to = '4MiB'}, 7)",
        policy.cap(policy.page_multiples { to = 2 ^ 22 }, 7) },
      { "policy.cap(policy.stream(), {tiers = 3, to = '20KiB'})",
        policy.cap(policy.stream(), { tiers = 3, to = 20480 }) },
      { "function() local t = policy.sizes(policy.stream()) t[#t + 1] = '1MiB' return t end",
        policy.merge(policy.stream(), { 2 ^ 20 }) },
    }
    for _, case in ipairs(cases) do
      local config, message = load("return { tiers = " .. case[1] .. " }")
      assert.is_nil(message)
      assert.same(case[2]:sizes(), config.tiers)
    end
  end)

  it("gives a message for a script that fails", function()
    assert.same({ nil, "app.lua:2: no such thing" }, { load "\nerror 'no such thing'" })
    local _, message = load "return {\n  tiers = { 1 }\n  limits = {} }"
    assert.equal("app.lua:3: ", message:sub(1, 11))
    _, message = load "\nlocal x = nil + 1"
    assert.equal("app.lua:2: attempt to perform arithmetic on", message:sub(1, 43))
    assert.same({ nil, "app.lua: t: contains itself" }, { load "local t = {} t.t = t return t" })
  end)
end)

-- What the host does for a text is bounded as the sandbox is: in time, and in memory.
describe("load_config is quick", function()
  local names = ("a"):rep(40) .. "={"
  local list = "local t = {} for i = 1, 4096 do t[i] = { size = i } end\n"
  local many = "policy.merge(" .. ("t,"):rep(27) .. "t)"
  local texts = {
    ["where keys lie deep"] = "local f local x = " .. ("{" .. names):rep(90) .. "{" .. ("f,"):rep(39000) .. "}"
      .. ("}}"):rep(90) .. " return { tiers = { 2, 1 } }",
    ["where a key has a long path"] = "local x function f() x" .. (".abcdefghijk"):rep(39000) .. " = 1 end\n"
      .. "return { tiers = { 2, 1 } }",
    ["where long lists are merged"] = list .. "return { tiers = " .. many .. " }",
    ["where long lists are read again and again"] = list .. "local m = " .. many
      .. "\nwhile true do policy.sizes(policy.cap(m, 3)) end",
  }
  for name, text in pairs(texts) do
    it(name, function()
      local began, before = os.clock(), collectgarbage "count"
      collectgarbage "stop"
      local config, message = load(text)
      local seconds, grown = os.clock() - began, collectgarbage "count" - before
      collectgarbage "restart"
      assert.is_nil(config)
      assert.truthy(message:find "^app.lua:[12]: tiers%[2%]: expected a size above 2, got 1$"
        or message:find "^app.lua:[123]: [%w%[%]]+: the policies take too much %a+$", message)
      assert.truthy(seconds < 1, seconds)
      assert.truthy(grown < 32 * 1024, grown)
    end)
  end

  it("and sure of what it takes", function()
    for _, tiers in ipairs { "page_multiples{ to = '1TiB', from = '1TiB', page = 2 ^ 40 - 1 }",
      "geometric{ from = 1, to = '1TiB', ratio = 1e9, align = 1073741823 }",
      "fitted{ samples = { 2 ^ 40 }, tiers = 3, align = 1073741823 }" } do
      local config = assert(load("return { tiers = policy." .. tiers .. " }"))
      assert(bytepool.new_pools(config)):close()
      assert.equal(2 ^ 40, config.tiers[#config.tiers])
    end
  end)

  it("and believes no line that a script made up", function()
    local config, message = load [[
local p = { ["policy()"] = "power_of_two", n = 1, line = 1e300, { x = 1 } }
return { tiers = { ["policy()"] = "merge", n = 1, line = 2, p } }]]
    assert.is_nil(config)
    assert.equal("app.lua:2: tiers[1].x: unknown key (known: from, to)", message)
  end)
end)

describe("on_tick", function()
  local function tick(body) return assert(load("return { tiers = { 1 }, on_tick = function(stats, pool)\n" .. body
    .. "\nend }")).on_tick end

  it("sees a snapshot, and reaches the pool by functions of the host", function()
    local pool = h.new()
    local buf = pool:get_buffer(1000)
    local on_tick = tick "return stats.pools[1024].get + stats.in_use"
    assert.same({ true, 2 }, { on_tick(pool:get_pool_stats(), pool) })
    buf:release()
    assert.same({ true, 1024 }, { tick("return pool:trim()")(pool:get_pool_stats(), pool) })
    assert.same({ true, true }, { tick("return pool:prewarm{[1024] = 2}")({}, pool) })
    assert.equal(2, pool:get_pool_stats().pools[1024].idle)
    local seen = {}
    local methods = { configure = function(new, more) seen[1], seen[2] = new, more return { changed = 1 } end }
    local configure = tick "return pool:configure({limits = {idle = 5}}, {dry_run = true}).changed"
    assert.same({ true, 1 }, { configure({}, methods) })
    assert.same({ { limits = { idle = 5 } }, { dry_run = true } }, seen)
    assert.same({ true }, { tick "return pool.trim"({}) })
    h.raises(function() configure({}, 5) end,
      "on_tick: argument 'pool' must be a pool or a table of functions, got number")
    h.raises(function() configure({}, pool:get_buffer(5)) end,
      "on_tick: argument 'pool' must be a pool or a table of functions, got buffer")
    h.collect()
    pool:close()
  end)

  it("gives nil and a message where it fails, and the pool does not notice", function()
    local pool = h.new()
    local before = h.counters(pool)
    local function failing(body, message)
      assert.same({ nil, message }, { tick(body)(pool:get_pool_stats(), pool) })
    end
    failing("error 'no'", "app.lua:2: no")
    failing("while true do end", "app.lua:2: too many instructions: is there a loop without end?")
    failing("pool.trim()", "app.lua:2: trim: call it as pool:trim(...)")
    failing("local s = stats\n s.s = s return s", "app.lua: s: contains itself")
    failing("pool:prewarm{[-1] = 1}", "app.lua:2: prewarm: size must be a whole number from 0 to 1099511627776, got -1")
    assert.same(before, h.counters(pool))
    pool:close()
    local closed, message = tick("pool:trim()")({}, pool)
    assert.same({ nil, "app.lua:2: trim: the pool is closed" }, { closed, message })
    assert.same({ nil, "app.lua:2: shrink is not here" },
      { tick("if not pool.shrink then error 'shrink is not here' end")({}, { trim = print }) })
  end)

  it("makes no more memory ready than it may", function()
    local pool = bytepool.new_pools(assert(load [[
      return { tiers = { 4096, 2 ^ 20 }, limits = { idle = "1GiB", pressure = false }, on_tick = function(_, pool)
        local made = pool:prewarm{ [5000] = 60, [1] = 256 }
        local more = pool:prewarm{ [2 ^ 20] = 4 }
        return made and more
      end }]]))
    local done = pool:tick()
    assert.equal("on_tick: app.lua:3: prewarm: more than 64 MiB in one call of on_tick", done.fault)
    assert.equal(61 * 2 ^ 20, pool:get_pool_stats().idle_bytes)
    pool:close()
  end)

  it("can set tiers by a policy of its own", function()
    local got
    local methods = { configure = function(new) got = new return true end }
    assert(tick("pool:configure{tiers = function() return {stats.size, '4KiB'} end, limits = {idle = 1}}")({ size = 7 },
      methods))
    assert.same({ 7, "4KiB" }, got.tiers())
    local checked = assert(require("bytepool.config").check("configure", got))
    assert.same({ 7, 4096 }, checked.tiers)
    assert(tick("pool:configure{tiers = policy.stream()}")({}, methods))
    assert.same(bytepool.size_stream(), require("bytepool.config").check("configure", got).tiers)
  end)
end)

describe("new_pools of a config", function()
  it("takes what load_config gives", function()
    local config = assert(load [[
      return { tiers = { 100, { size = "4KiB", max_idle = "1MiB" } }, limits = { idle = "1MiB" }, zero = "get",
        leaks = "simple", region_size = "8MiB", recent = { size = 3 } }]])
    local pool = assert(bytepool.new_pools(config))
    assert.same({ 100, 4096 }, pool:get_available_sizes())
    assert.equal("simple", pool:leak_level())
    assert.equal(2 ^ 20, pool:get_pool_stats().max_idle)
    for i = 1, 5 do pool:get_buffer(i):release() end
    assert.same({ 3, 4, 5 }, pool:get_pool_stats().recent_lengths)
    pool:close()
  end)

  it("takes a table of the program's own, with its policies", function()
    local pool = assert(bytepool.new_pools { tiers = bytepool.policy.stream(), limits = { idle = "2MiB" },
      region_size = 2 ^ 23 })
    assert.same(bytepool.size_stream(), pool:get_available_sizes())
    pool:close()
    pool = assert(bytepool.new_pools { tiers = function() return { "1KiB" } end, region_size = "8MiB" })
    assert.same({ 1024 }, pool:get_available_sizes())
    pool:close()
    h.raises(function() bytepool.new_pools { tiers = { 2, 1 }, limts = {} } end,
      "new_pools: limts: unknown key, did you mean 'limits'?\nnew_pools: tiers[2]: expected a size above 2, got 1")
    h.raises(function() bytepool.new_pools({ tiers = { 1 } }, {}) end,
      "new_pools: a config has all options, and none may stand beside it")
  end)
end)
