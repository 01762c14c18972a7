-- pool:configure, rollback and settings: a pool that runs gets other tiers and limits.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"
local policy = bytepool.policy

local function quiet(options, sizes)
  local o = { pressure = false }
  for k, v in pairs(options or {}) do o[k] = v end
  return h.new(o, sizes)
end

describe("configure", function()
  it("gives a pool other tiers, and buffers that are out stay valid", function()
    local pool = quiet(nil, { 128, 1024, 4096 })
    local kept, gone = pool:from_string(("k"):rep(1000)), pool:from_string(("g"):rep(4000))
    pool:get_buffer(100):release()
    local report = assert(pool:configure { tiers = { 128, "1KiB", 2048, 8192 }, limits = { pressure = false } })
    assert.same({ 2048, 8192 }, report.added)
    assert.same({ { size = 4096, in_use = 1, idle_bytes = 0 } }, report.removed)
    assert.same({ 128, 1024 }, report.kept)
    assert.same({}, report.changed)
    assert.same({ 2, false }, { report.generation, report.dry_run })
    assert.equal("generation 2\ntiers added: 2048, 8192\ntiers removed: 4096 (1 in use, 0 bytes idle)\n"
      .. "tiers kept: 128, 1024", report.text)
    assert.same({ 128, 1024, 2048, 8192 }, pool:get_available_sizes())
    assert.equal("bytepool.pool: 4 tiers, in_use=2", tostring(pool))
    assert.equal(("g"):rep(4000), gone:tostring())
    local s = h.balanced(pool)
    assert.is_true(s.pools[4096].draining)
    assert.is_nil(s.pools[1024].draining)
    assert.same({ 1, 1 }, { s.pools[1024].get, s.pools[128].get })
    assert.equal(8192, pool:get_buffer(5000):capacity())
    h.collect()
    gone:release()
    kept:release()
    s = h.all_back(pool)
    assert.is_nil(s.pools[4096])
    assert.same({ 1, 1, 1 }, { s.drained.tiers, s.drained.get, s.drained.put })
  end)

  it("says in a dry run what would change, and changes nothing", function()
    local pool = quiet({ leaks = "simple", max_bytes = "1MiB" }, { 128, 1024 })
    local before = h.counters(pool)
    local report = assert(pool:configure({
      tiers = { { size = 128, max_idle = "64KiB" }, 512 },
      limits = { idle = "2MiB", waste = 0.5, decay = "500ms" },
      on_tick = function() end,
    }, { dry_run = true }))
    assert.same(before, h.counters(pool))
    assert.same({ true, 1 }, { report.dry_run, report.generation })
    assert.same({ 512 }, report.added)
    assert.same({ { size = 1024, in_use = 0, idle_bytes = 0 } }, report.removed)
    assert.same({ from = 1048576 }, report.changed["limits.bytes"])
    assert.same({ from = false, to = "auto" }, report.changed["limits.pressure"])
    assert.same({ to = 0.5 }, report.changed["limits.waste"])
    assert.same({ from = 10, to = 0.5 }, report.changed["limits.decay"])
    assert.same({ from = "simple", to = "off" }, report.changed.leaks)
    assert.same({ to = "a function" }, report.changed.on_tick)
    assert.same({ to = 65536 }, report.changed["tiers[128].max_idle"])
    assert.equal(2097152, report.changed["limits.idle"].to)
    assert.truthy(report.text:find("^dry run, generation stays 1\n"))
    assert.truthy(report.text:find("\nlimits.decay: 10 s -> 0.5 s\n", 1, true))
    assert.truthy(report.text:find("\nlimits.bytes: 1048576 (1.0 MiB) -> none\n", 1, true))
    assert.is_nil(pool:settings().on_tick)
    assert.equal("simple", pool:leak_level())
  end)

  it("takes tiers alone, and all else stays", function()
    local function on_tick() end
    local pool = quiet { max_bytes = "1MiB", leaks = "simple", decay = 3 }
    local config = pool:settings()
    config.on_tick = on_tick
    pool:configure(config)
    for _, tiers in ipairs { { 512, "1MiB" }, policy.stream(), function() return { 64 } end } do
      local report = assert(pool:configure(tiers))
      assert.same({}, report.changed)
      local s = pool:settings()
      assert.same({ 1048576, 3, false, "simple" }, { s.limits.bytes, s.limits.decay, s.limits.pressure, s.leaks })
      assert.equal(on_tick, s.on_tick)
    end
    assert.same({ 64 }, pool:get_available_sizes())
  end)

  it("takes back what settings gave", function()
    local pool = bytepool.new_pools {
      name = "configure spec",
      tiers = { 128, { size = "1KiB", max_idle = "1MiB", max_bytes = "2MiB", max_waste = 0.4 } },
      limits = { idle = "3MiB", bytes = "64MiB", waste = 0.75, decay = "2min", pressure = false },
      leaks = "advanced", recent = { size = 32, mode = "exact" }, zero = "release", region_size = "64MiB",
      on_tick = print, adaptive = policy.adaptive(),
    }
    local s = pool:settings()
    assert.same({ 128, { size = 1024, max_idle = 1048576, max_bytes = 2097152, max_waste = 0.4 } }, s.tiers)
    assert.same({ idle = 3145728, bytes = 67108864, waste = 0.75, decay = 120, pressure = false }, s.limits)
    assert.same({ "configure spec", "advanced", "release", 67108864, false }, { s.name, s.leaks, s.zero, s.region_size,
      s.debug })
    assert.same({ size = 32, mode = "exact" }, s.recent)
    assert.equal(print, s.on_tick)
    local report = assert(pool:configure(s))
    assert.same({ {}, {}, {} }, { report.added, report.removed, report.changed })
    assert.same(s, pool:settings())
    s.tiers[2].max_idle = 5 -- a copy
    assert.equal(1048576, pool:settings().tiers[2].max_idle)
    pool:close()
  end)

  it("is refused as a whole", function()
    local pool = quiet({ name = "refused" }, { 128 })
    local function no(config, message)
      h.refused(pool, function() pool:configure(config) end, "configure: " .. message)
    end
    no({ tiers = { 64, 32 } }, "tiers[2]: expected a size above 64, got 32")
    no({ tiers = { 64 }, limits = { idel = 5, bytes = "x" } }, "limits.idel: unknown key, did you mean 'idle'?\n"
      .. 'configure: limits.bytes: expected a number of bytes or a string with a unit, B, KiB, MiB, GiB or TiB, '
      .. 'such as "64KiB", got "x"')
    no({}, "tiers: expected an array of sizes or a policy, got nothing")
    no({ tiers = { 64 }, name = "other" }, 'name: is fixed when a pool is made, and is "refused", not "other"')
    no({ tiers = { 64 }, zero = "get" }, 'zero: is fixed when a pool is made, and is false, not "get"')
    no({ tiers = { 64 }, debug = true }, "debug: is fixed when a pool is made, and is false, not true")
    no({ tiers = { 64 }, recent = { size = 5 } }, "recent.size: is fixed when a pool is made, and is 256, not 5")
    no({ tiers = { 64 }, recent = { mode = "exact" } },
      'recent.mode: is fixed when a pool is made, and is "relaxed", not "exact"')
    no({ tiers = { 64 }, region_size = 5 }, "region_size: is fixed when a pool is made, and is 67108864, not 5")
    no({ tiers = { 64 }, adaptive = {} }, "adaptive: expected policy.adaptive{...}, or an object with a method look, "
      .. "got a table")
    no({ 64, 0 }, "new[2] must be a whole number from 1 to 1099511627776, got 0")
    no({ { size = 64, max_idel = 1 } }, "new[1].max_idel is unknown (known: max_bytes, max_idle, max_waste, size)")
    no({ { max_idle = 1 } }, "new[1].size is missing")
    no({ { size = 64, max_waste = 2 } }, "new[1].max_waste must be a number from 0 to 1, got 2")
    no(5, "argument 'new' must be a config, an array of sizes or a policy, got 5")
    h.refused(pool, function() pool:configure({ 64 }, { dry = 1 }) end,
      "configure: unknown option 'dry' (known: dry_run)")
    assert.same({ false, "mine" }, { pcall(pool.configure, pool, function() error("mine", 0) end) })
    assert.same({ 128 }, pool:get_available_sizes())
    pool:close()
  end)

  it("wants an open pool, also after a policy that closes it", function()
    local pool = quiet(nil, { 128 })
    h.raises(function() pool:configure(function() pool:close() return { 64 } end) end, "configure: the pool is closed")
    for _, name in ipairs { "configure", "rollback", "settings", "tick", "shrink" } do
      h.raises(function() pool[name](pool, { 64 }) end, name .. ": the pool is closed")
      for _, value in ipairs(h.foreign_values()) do
        if value[2] ~= "nil" then
          h.raises(function() require("bytepool.core").pool_methods[name](value[1], { 64 }) end,
            name .. ": self must be a bytepool pool, got " .. value[2])
        end
      end
    end
  end)

  it("says so when too many tiers of earlier tables have buffers out", function()
    local pool, held, message = quiet(nil, { 64 }), {}, nil
    for turn = 1, 4 do
      local sizes = {}
      for i = 1, 50 do sizes[i] = turn * 10000 + i * 64 end
      local report, why = pool:configure(sizes)
      message = why
      if not report then break end
      for i = 1, 50 do held[#held + 1] = pool:get_buffer(sizes[i]) end
    end
    assert.equal("too many tiers of earlier tables still have buffers", message)
    h.balanced(pool)
    for _, buf in ipairs(held) do buf:release() end
    assert.truthy(pool:configure { 64 })
    h.all_back(pool)
  end)

  it("is the pool's where two userdata have it, and on_tick is one's own", function()
    local one = quiet({ name = "two of them" }, { 128 })
    local two = bytepool.open "two of them"
    local config = one:settings()
    config.on_tick, config.limits.bytes = print, 1048576
    one:configure(config)
    assert.equal(1048576, two:settings().limits.bytes)
    assert.is_nil(two:settings().on_tick)
    two:configure { 256 }
    assert.same({ 256 }, one:get_available_sizes())
    assert.equal(print, one:settings().on_tick)
    one:rollback() -- of two's change: what is one's own stays
    assert.equal(print, one:settings().on_tick)
    assert.same({ 128 }, two:get_available_sizes())
    one:close()
    two:close()
  end)
end)

describe("rollback", function()
  it("goes back, and forth again", function()
    local function on_tick() end
    local pool = quiet({ leaks = "simple", decay = 5 }, { 128, 4096 })
    local first = pool:settings()
    pool:configure { tiers = { 64 }, limits = { bytes = "1MiB" }, on_tick = on_tick, leaks = "paranoid" }
    local second = pool:settings()
    local report = assert(pool:rollback { dry_run = true })
    assert.same({ true, 2, { 128, 4096 } }, { report.dry_run, report.generation, report.added })
    assert.same(second, pool:settings())
    report = assert(pool:rollback())
    assert.same({ false, 3, { 128, 4096 } }, { report.dry_run, report.generation, report.added })
    assert.same({ from = "a function" }, report.changed.on_tick)
    assert.same(first, pool:settings())
    assert.equal("simple", pool:leak_level())
    assert.same({ 3, 5 }, { pool:get_pool_stats().generation, pool:get_pool_stats().decay })
    pool:rollback()
    assert.same(second, pool:settings())
    h.all_back(pool)
  end)

  it("says so where there is nothing to go back to", function()
    local pool = quiet(nil, { 128 })
    local before = h.counters(pool)
    assert.same({ n = 2, nil, "there is nothing to roll back to" }, h.pack(pool:rollback()))
    assert.same(before, h.counters(pool))
    h.refused(pool, function() pool:rollback(5) end, "rollback: argument 'options' must be a table, got 5")
  end)
end)

describe("what a userdata keeps", function()
  it("goes with it, also where it leads back to it", function()
    local gone = 0
    local function make()
      local pool = quiet(nil, { 128 })
      local witness = h.on_collect(function() gone = gone + 1 end)
      local config = pool:settings()
      config.on_tick = function() return pool, witness end
      pool:configure(config)
      config.on_tick = function() return pool, witness, 2 end
      pool:configure(config)
    end
    for _ = 1, 10 do make() end
    for _ = 1, 4 do h.collect() end
    assert.is_true(gone >= 9, gone .. " of 10")
  end)

  it("is not asked for where the debug library put something else", function()
    local pool = quiet(nil, { 128 })
    local set = rawget(debug, "setuservalue") or rawget(debug, "setfenv")
    set(pool, _VERSION == "Lua 5.1" and { parts = 5 } or nil)
    if _VERSION ~= "Lua 5.1" then
      assert.is_nil(pool:tick())
      assert.truthy(pool:configure { 256 })
    end
    assert.truthy(pool:close() == nil)
  end)
end)

describe("the histogram after a change", function()
  it("still sums up to the requests", function()
    local pool = quiet({}, { 100, 1000 })
    for i = 1, 50 do pool:get_buffer(i * 30):release() end
    local before = pool:get_pool_stats()
    pool:configure { 200, 600, 3000 }
    for i = 1, 20 do pool:get_buffer(i * 30):release() end
    local after = h.all_back(pool)
    local function sum(s)
      local total = 0
      for _, bucket in ipairs(s.histogram) do total = total + bucket.count end
      return total
    end
    assert.equal(70, sum(after))
    local delta = bytepool.report.delta(after, before)
    assert.equal(20, sum(delta))
    assert.equal(20, delta.total_get)
    local gets = delta.drained.get
    for _, tier in pairs(delta.pools) do gets = gets + tier.get end
    assert.equal(20, gets)
  end)
end)
