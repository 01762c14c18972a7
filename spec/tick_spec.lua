-- pool:tick: pressure, adaptive tiers and on_tick; and what goes wrong in a user's functions.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local MiB = 1024 * 1024

local function made(config)
  config.tiers = config.tiers or { 128, 65536 }
  config.limits = config.limits or { pressure = false, decay = 0 }
  config.region_size = config.region_size or "64MiB"
  return assert(bytepool.new_pools(config))
end

local function burst(pool)
  local held = {}
  for i = 1, 400 do held[i] = pool:get_buffer(65536) end
  for _, buf in ipairs(held) do buf:release() end
  return pool:get_pool_stats().idle_bytes
end

-- "file:line" of a function that stands on one line.
local function place(fn)
  local info = debug.getinfo(fn, "S")
  return info.short_src .. ":" .. info.linedefined
end

describe("a tick", function()
  it("with nothing due returns nil", function()
    local pool = made {}
    for _ = 1, 100 do assert.same({ n = 1 }, h.pack(pool:tick())) end
    h.all_back(pool)
  end)

  it("does not take an open pool's pressure for a fault", function()
    local pool = made { name = "tick spec", limits = { decay = 0 } }
    local other = bytepool.open "tick spec"
    for _, p in ipairs { pool, other } do
      local done = p:tick()
      if done then assert.is_nil(done.fault) end
      assert.is_nil(p:tick()) -- once a second at most
      p:close()
    end
  end)
end)

describe("pressure", function()
  it("shrinks what idles by its level", function()
    local level = 0
    local pool = made { limits = { decay = 0, pressure = function() return level, "because" end } }
    local idle = burst(pool)
    assert.is_nil(pool:tick())
    level = 0.5
    local done = pool:tick()
    assert.same({ 0.5, "because" }, { done.level, done.why })
    local left = h.all_back(pool).idle_bytes
    assert.equal(idle - left, done.shrunk)
    assert.is_true(left <= idle / 2 and left >= idle / 2 - 8 * MiB, ("%.0f of %.0f"):format(left, idle))
    level = 1
    assert.equal(left, pool:tick().shrunk)
    assert.equal(0, h.all_back(pool).idle_bytes)
  end)

  it("that a reader of bytepool.pressure tells is one", function()
    local reader = require("bytepool.pressure").of(function() return 1 end)
    local pool = made { limits = { decay = 0, pressure = reader } }
    local idle = burst(pool)
    local done = pool:tick()
    assert.same({ 1, idle, "a function of the user" }, { done.level, done.shrunk, done.why })
  end)

  it("that is none is a fault, and changes nothing", function()
    local value
    local function source() return value end
    local pool = made { limits = { decay = 0, pressure = source } }
    local idle = burst(pool)
    for _, bad in ipairs { -1, 1.5, 0 / 0, "x", {} } do
      value = bad
      assert.equal("pressure: " .. place(source) .. ": returned no number from 0 to 1", pool:tick().fault)
    end
    value = nil
    assert.is_nil(pool:tick())
    assert.equal(idle, pool:get_pool_stats().idle_bytes)
  end)

  -- These are C functions, and Lua 5.1 makes no coroutine of one.
  it("may be a loaded config's, or any C function's", function()
    local config = assert(bytepool.load_config
      "return { tiers = { 65536 }, limits = { decay = 0, pressure = function() return 0.75, 'so it is' end } }")
    local pool = made(config)
    local idle = burst(pool)
    local done = pool:tick()
    assert.same({ 0.75, "so it is" }, { done.level, done.why })
    assert.is_true(done.shrunk >= idle / 2 and done.shrunk < idle)
    config = assert(bytepool.load_config
      "return { tiers = { 1 }, limits = { decay = 0, pressure = function() error 'no' end } }")
    assert.equal("pressure: config:1: no", made(config):tick().fault)
    assert.equal("pressure: returned no number from 0 to 1",
      made { limits = { decay = 0, pressure = os.date } }:tick().fault)
    assert.truthy(made { limits = { decay = 0, pressure = coroutine.yield } }:tick().fault:find "^pressure: ")
    assert.truthy(made { on_tick = setmetatable }:tick().fault:find "^on_tick: ")
  end)
end)

describe("on_tick", function()
  it("gets a snapshot and the pool", function()
    local seen = {}
    local pool
    pool = made { on_tick = function(stats, p) seen[#seen + 1] = { stats.requests, p == pool } end }
    assert.same({ on_tick = true }, pool:tick())
    pool:get_buffer(1):release()
    assert.same({ on_tick = true }, pool:tick())
    assert.same({ { 0, true }, { 1, true } }, seen)
  end)

  it("that fails is told, and stops nothing else", function()
    local fn
    local pool = made { limits = { decay = 0, pressure = function() return 1 end },
      on_tick = function(...) return fn(...) end }
    local function fault_of(f)
      fn = f
      burst(pool)
      local done = pool:tick()
      assert.is_true(done.shrunk > 0)
      return done.fault
    end
    local function raises() error("oh no") end
    assert.equal("on_tick: " .. place(raises) .. ": oh no", fault_of(raises))
    local function bare() error("oh no", 0) end
    assert.truthy(fault_of(bare):find("^on_tick: [^\n]*tick_spec.lua:%d+: oh no$"))
    local function of_table() error({}) end
    assert.truthy(fault_of(of_table):find("^on_tick: [^\n]*tick_spec.lua:%d+: raised a table value$"))
    local function yields() coroutine.yield(1) end
    assert.truthy(fault_of(yields):find("^on_tick: [^\n]*tick_spec.lua:%d+: must not yield$"))
    assert.equal("on_tick: it did not work", fault_of(function() return nil, "it did not work" end))
    assert.is_nil(fault_of(function() end))
    assert.is_nil(fault_of(function() return true, "a value" end))
    assert.is_nil(fault_of(type))
    assert.truthy(fault_of(setmetatable):find "^on_tick: ")
    h.all_back(pool)
  end)

  it("may tick, change, roll back and close the pool", function()
    local count = 0
    local pool = made { on_tick = function(_, p)
      count = count + 1
      assert(p:tick() == nil)
      if count == 1 then p:configure { 128, 512 } end
      if count == 2 then p:rollback() end
      if count == 3 then
        local config = p:settings()
        config.on_tick = nil
        p:configure(config)
      end
    end }
    assert.same({ on_tick = true }, pool:tick())
    assert.same({ 128, 512 }, pool:get_available_sizes())
    assert.same({ on_tick = true }, pool:tick())
    assert.same({ 128, 65536 }, pool:get_available_sizes())
    assert.same({ on_tick = true }, pool:tick())
    assert.is_nil(pool:tick())
    assert.equal(3, count)

    local closing = made { limits = { decay = 0, pressure = function() return 0.5 end }, on_tick = function(_, p)
      p:close()
    end, adaptive = { look = function() end } }
    assert.same({ on_tick = true, level = 0.5, shrunk = 0, why = "a function of the user" }, closing:tick())
    h.raises(function() closing:tick() end, "tick: the pool is closed")
    local other
    other = made { limits = { pressure = function() other:close() return 1 end }, on_tick = error,
      adaptive = { look = error } }
    assert.is_nil(other:tick())
  end)

  it("works in a coroutine that yields elsewhere", function()
    local pool = made { on_tick = function() end }
    local thread = coroutine.wrap(function() for _ = 1, 3 do coroutine.yield(pool:tick().on_tick) end end)
    for _ = 1, 3 do assert.is_true(thread()) end
  end)

  it("of a loaded config has the pool's methods", function()
    local config = assert(bytepool.load_config [[
      local count = 0
      return { tiers = { 128, 65536 }, limits = { pressure = false, decay = 0 }, on_tick = function(stats, pool)
        count = count + 1
        if count == 1 then pool:trim() end
        if count == 2 then
          local report = pool:configure { tiers = { 128, 1024 }, limits = { pressure = false } }
          return report.text
        end
        if count == 3 then error("here") end
      end }]])
    local pool = bytepool.new_pools(config)
    pool:get_buffer(60000):release()
    assert.same({ on_tick = true }, pool:tick())
    assert.equal(0, pool:get_pool_stats().idle_bytes)
    assert.same({ on_tick = true }, pool:tick())
    assert.same({ 128, 1024 }, pool:get_available_sizes())
    assert.is_nil(pool:tick()) -- the config that it gave has no on_tick
    pool:rollback()
    assert.truthy(pool:tick().fault:find("^on_tick: config:9: here"))
  end)

  it("of a loaded config may set another one, and tiers by a policy", function()
    local config = assert(bytepool.load_config [[
      local seen = 0
      return { tiers = { 128 }, limits = { pressure = false, decay = 0 }, on_tick = function(stats, pool)
        seen = seen + 1
        if seen == 1 then pool:configure(policy.linear{ from = 1024, to = 4096, step = 1024 }) end
        if seen == 2 then pool:configure(policy.merge({ 64 }, policy.cap({ 1, 2 }, 1))) end
        if seen == 3 then pool:configure(policy.linear{ from = 0, to = 1, step = 1 }) end
        if seen > 3 then
          pool:configure { tiers = { 256 }, limits = { pressure = false, decay = 0 }, on_tick = function(s, p)
            p:configure { 512, seen * 1000 + s.generation }
          end }
        end
      end }]])
    local pool = bytepool.new_pools(config)
    assert.same({ on_tick = true }, pool:tick())
    assert.same({ 1024, 2048, 3072, 4096 }, pool:get_available_sizes())
    assert.same({ on_tick = true }, pool:tick())
    assert.same({ 2, 64 }, pool:get_available_sizes())
    assert.truthy(pool:tick().fault:find("^on_tick: config:6: configure: tiers.from: expected a whole number"))
    assert.same({ on_tick = true }, pool:tick())
    assert.same({ 256 }, pool:get_available_sizes())
    assert.same({ on_tick = true }, pool:tick())
    assert.same({ 512, 4004 }, pool:get_available_sizes())
  end)
end)

describe("adaptive", function()
  it("changes the tiers that it proposes, and says why", function()
    local asked
    local pool = made { tiers = { { size = 128, max_idle = 4096 }, 65536 }, adaptive = {
      look = function(_, stats, tiers)
        asked = { stats.requests, tiers }
        return { tiers[1], 1024 }, "it is better so"
      end } }
    local done = pool:tick()
    assert.same({ 0, { { size = 128, max_idle = 4096 }, 65536 } }, asked)
    assert.equal("it is better so", done.retuned.why)
    assert.same({ { 1024 }, 2 }, { done.retuned.added, done.retuned.generation })
    assert.same({ { size = 128, max_idle = 4096 }, 1024 }, pool:settings().tiers)
    assert.truthy(pool:settings().adaptive)
    pool:rollback()
    assert.same({ { size = 128, max_idle = 4096 }, 65536 }, pool:settings().tiers)
  end)

  it("of bytepool.policy follows the traffic", function()
    local pool = made { tiers = { 128, 65536 }, recent = { size = 4096 },
      adaptive = bytepool.policy.adaptive { every = 0, tiers = 4, min_requests = 1000 } }
    local retuned
    for _ = 1, 20 do
      for i = 1, 200 do pool:get_buffer(3000 + i % 3):release() end
      local done = pool:tick()
      if done then
        assert.is_nil(done.fault)
        retuned = retuned or done.retuned
      end
    end
    assert.truthy(retuned.why:find "^waste ")
    local capacity = pool:get_buffer(3000):capacity()
    assert.is_true(capacity < 3100, capacity .. " bytes")
    h.collect()
    h.balanced(pool)
  end)

  it("of one config serves each of its pools by itself", function()
    local config = assert(bytepool.load_config [[
      return { tiers = { 128, 65536 }, limits = { pressure = false, decay = 0 }, region_size = "64MiB",
        adaptive = policy.adaptive { every = 0, tiers = 1, min_requests = 1000 } }]])
    local pools = { bytepool.new_pools(config), bytepool.new_pools(config), made {} }
    pools[3]:configure { tiers = { 128, 65536 }, limits = { pressure = false, decay = 0 }, adaptive = config.adaptive }
    for _ = 1, 10 do
      for i, pool in ipairs(pools) do
        for _ = 1, 200 do pool:get_buffer(i * 1024):release() end
        local done = pool:tick()
        if done then assert.is_nil(done.fault) end
      end
    end
    for i, pool in ipairs(pools) do
      assert.same({ i * 1024 }, pool:get_available_sizes())
      assert.equal(1, #pool:settings().adaptive:log())
    end
    assert.equal(config.adaptive, pools[1]:settings().adaptive)
    pools[1]:close()
    assert.equal(config.adaptive, bytepool.new_pools(config):settings().adaptive)
  end)

  it("serves the pool that has it, and another one when that gave it up", function()
    local one, two = made {}, made {}
    local adaptive = bytepool.policy.adaptive { tiers = 2 }
    one:configure { tiers = { 1024 }, adaptive = adaptive }
    local refused = { look = function() end, fresh = function() error "no other one" end }
    one:configure { tiers = { 1024 }, adaptive = refused }
    two:configure { tiers = { 1024 }, adaptive = adaptive }
    assert.equal(adaptive, two:settings().adaptive)
    one:rollback() -- its own is another's by now
    assert.is_true(one:settings().adaptive ~= nil and one:settings().adaptive ~= adaptive)
    one:rollback()
    assert.is_false(pcall(bytepool.new_pools, { tiers = { 8 }, adaptive = refused, name = "tick_spec" }))
    assert(bytepool.new_pools({ 8 }, { name = "tick_spec" })):close()
    assert.is_false(pcall(two.configure, two, { tiers = { 2048 }, adaptive = refused }))
    assert.same({ 1024 }, two:get_available_sizes())
  end)

  it("that fails is told", function()
    local list
    local pool = made { adaptive = { look = function() return list end } }
    list = { 64, 32 }
    assert.equal("adaptive: sizes[2] is 32, not above sizes[1], 64", pool:tick().fault)
    list = nil
    assert.is_nil(pool:tick())
    pool = made { adaptive = { due = function() return true end, look = function() error("no idea") end } }
    assert.truthy(pool:tick().fault:find("^adaptive: [^\n]*tick_spec.lua:%d+: no idea$"))
    pool = made { adaptive = { due = function() return false end, look = error } }
    assert.is_nil(pool:tick())
  end)
end)
