-- max_bytes, max_waste and decay of a pool, and the limits of its tiers.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"
local policy = bytepool.policy

local MiB = 1024 * 1024

local function quiet(options, sizes)
  local o = { pressure = false }
  for k, v in pairs(options or {}) do o[k] = v end
  return h.new(o, sizes)
end

-- Gets of n bytes until one fails: the buffers and the message.
local function fill(pool, n)
  local held = {}
  while true do
    local buf, message = pool:get_buffer(n)
    if not buf then return held, message end
    held[#held + 1] = buf
  end
end

local function release_all(held)
  for _, buf in ipairs(held) do buf:release() end
end

describe("max_bytes", function()
  it("is never exceeded, and a get over it says so", function()
    local pool = quiet { max_bytes = "1MiB" }
    local held, message = fill(pool, 4096)
    assert.equal(256, #held)
    assert.equal("over quota: 1 MiB of 1 MiB, and 4 KiB more (max_bytes of the pool)", message)
    local s = h.balanced(pool)
    assert.equal(MiB, s.owned_bytes)
    assert.equal(MiB, s.peak_owned_bytes)
    assert.equal(MiB, s.max_bytes)
    assert.is_true(s.over_quota >= 1)
    assert.equal(256, s.requests)
    held[1]:release()
    held[1] = assert(pool:get_buffer(4000))
    release_all(held)
    h.all_back(pool)
    assert.truthy(fill(pool, 65536)[16]) -- what idles in another tier gives way
  end)

  it("refuses a prewarm, and as much idles as before, to a slab", function()
    local pool = quiet({ max_bytes = "16MiB" }, { 1024, 65536 })
    assert(pool:prewarm { [1024] = 4096 })
    for _, counts in ipairs { { [65536] = 512 }, { [1024] = 2048, [65536] = 512 } } do
      local made, message = pool:prewarm(counts)
      assert.is_nil(made)
      assert.equal("prewarm: would exceed max_bytes", message)
      local s = pool:get_pool_stats()
      assert.truthy(s.idle_bytes <= 4 * MiB and s.idle_bytes > (counts[1024] and 0 or 4 * MiB - 1), s.idle_bytes)
      assert.equal(0, s.trims)
    end
  end)

  it("is told by every method that gets", function()
    local pool = quiet({ max_bytes = 8192 }, { 4096, 65536 })
    local one, two = pool:builder(10), assert(pool:get_buffer(4096))
    one:put("abc")
    local full = "^over quota: 8 KiB of 8 KiB, and %d+ K?i?B more %(max_bytes of the pool%)$"
    local function no(...)
      local result, message = ...
      assert.is_nil(result)
      assert.truthy(message:find(full), message)
      assert.equal(2, select("#", ...))
    end
    local s = ("x"):rep(5000)
    no(pool:get(100))
    no(pool:get_buffer(100))
    no(pool:get_buffer(100, "tag"))
    no(pool:get(200000))
    no(pool:from_string("abc"))
    no(pool:builder(10))
    no(pool:using(10, print))
    local scope = pool:scope()
    no(scope:get_buffer(10))
    scope:close()
    no(one:put(s))
    no(one:put(s, 5))
    no(one:putf("%s%s", s, s))
    no(one:set(s))
    no(one:reserve(5000))
    no(one:resize(5000))
    no(one:pack("c5000", s))
    no(one:free())
    local shared = one:share()
    no(shared:unshare())
    shared:release()
    h.with_file(s, function(path)
      local file = assert(io.open(path))
      no(one:read_from(file, 5000))
      file:close()
    end)
    assert.equal("abc", one:tostring())
    local view, slice = assert(one:bytes()), assert(one:slice(1, 2))
    view:release()
    slice:release()
    if h.is_luajit then
      local raw = require "bytepool.ffi"
      no(raw.get(pool, 100))
    end
    one:release()
    two:release()
    h.all_back(pool)
  end)

  it("names a tier's own", function()
    local pool = quiet({ max_bytes = "1MiB" }, { { size = 1024, max_bytes = "4KiB" }, 4096 })
    local held, message = fill(pool, 1000)
    assert.equal(4, #held)
    assert.equal("over quota: 4 KiB of 4 KiB, and 1 KiB more (max_bytes of tier 1024)", message)
    local other = assert(pool:get_buffer(4096))
    local s = h.balanced(pool)
    assert.same({ 4096, nil }, { s.pools[1024].max_bytes, s.pools[4096].max_bytes })
    other:release()
    release_all(held)
    h.all_back(pool)
  end)

  it("can be lifted and set while buffers are out", function()
    local pool = quiet({ max_bytes = 4096 }, { 1024 })
    local held = fill(pool, 1024)
    local config = pool:settings()
    config.limits.bytes = nil
    pool:configure(config)
    held[5] = assert(pool:get_buffer(1024))
    config.limits.bytes = 2048
    pool:configure(config)
    local _, message = pool:get_buffer(1024)
    assert.equal("over quota: 5 KiB of 2 KiB, and 1 KiB more (max_bytes of the pool)", message)
    release_all(held)
    assert.truthy(pool:get_buffer(1024))
  end)

  it("counts what is refused, and forgets nothing of the pool", function()
    local pool = quiet({ max_bytes = 1024 }, { 1024 })
    local buf = pool:get_buffer(1)
    local before = pool:get_pool_stats()
    for _ = 1, 10 do assert.is_nil((pool:get_buffer(1))) end
    local after = pool:get_pool_stats()
    assert.equal(10, after.over_quota - before.over_quota)
    for _, key in ipairs { "requests", "in_use", "owned_bytes" } do assert.equal(before[key], after[key]) end
    buf:release()
    h.all_back(pool)
  end)
end)

describe("max_waste", function()
  it("serves what would waste more alone", function()
    local pool = quiet({ max_waste = 0.5 }, { 128, 1024 * 1024 })
    local small, large, alone = pool:get_buffer(1), pool:get_buffer(600000), pool:get_buffer(10000)
    assert.same({ 128, 1024 * 1024, 10000 }, { small:capacity(), large:capacity(), alone:capacity() })
    local s = h.balanced(pool)
    assert.same({ 1, 0.5 }, { s.discarded, s.max_waste })
    release_all { small, large, alone }
    h.all_back(pool)
  end)

  it("of a tier counts where it is less than the pool's", function()
    local pool = quiet(nil, { 128, { size = 1024 * 1024, max_waste = 0.25 } })
    local alone, tier = pool:get_buffer(700000), pool:get_buffer(800000)
    assert.same({ 700000, 1024 * 1024 }, { alone:capacity(), tier:capacity() })
    release_all { alone, tier }
  end)
end)

describe("max_idle of a tier", function()
  it("bounds what idles in it", function()
    local pool = quiet(nil, { { size = "64KiB", max_idle = "1MiB" }, "1MiB" })
    for _, n in ipairs { 65536, MiB } do
      local held = {}
      for i = 1, 200 do held[i] = pool:get_buffer(n) end
      release_all(held)
    end
    local s = h.all_back(pool)
    assert.is_true(s.pools[65536].idle * 65536 <= MiB + 4 * MiB, s.pools[65536].idle .. " blocks") -- and a slab
    assert.is_true(s.pools[MiB].idle > 32)
    assert.equal(MiB, s.pools[65536].max_idle)
  end)
end)

describe("decay", function()
  it("gives back what nobody needed, and not what is used", function()
    local pool = quiet { decay = "20ms" }
    local held = {}
    for i = 1, 500 do held[i] = pool:get_buffer(65536) end
    release_all(held)
    local burst = pool:get_pool_stats().idle_bytes
    local ends, bytes, hits = os.clock() + 0.5, 0, pool:get_pool_stats().pools[1024].miss
    repeat
      pool:get_buffer(1000):release()
      local done = pool:tick()
      bytes = bytes + (done and done.decayed or 0)
    until os.clock() > ends
    local s = h.all_back(pool)
    assert.is_true(s.idle_bytes < burst / 8, ("%.0f of %.0f bytes still idle"):format(s.idle_bytes, burst))
    assert.equal(s.decayed_bytes, bytes)
    assert.equal(hits + 1, s.pools[1024].miss)
  end)

  it("of 0 never does", function()
    local pool = quiet { decay = 0 }
    release_all((fill(quiet { max_bytes = "1MiB" }, 4096)))
    pool:get_buffer(65536):release()
    local idle = pool:get_pool_stats().idle_bytes
    for _ = 1, 1000 do assert.is_nil(pool:tick()) end
    assert.equal(idle, pool:get_pool_stats().idle_bytes)
  end)
end)

describe("shrink", function()
  it("leaves no more than so much behind the caches", function()
    local pool = quiet { decay = 0 }
    local held = {}
    for i = 1, 400 do held[i] = pool:get_buffer(65536) end
    release_all(held)
    local idle = pool:get_pool_stats().idle_bytes
    assert.equal(0, pool:shrink(idle))
    local bytes = pool:shrink(8 * MiB)
    local s = h.all_back(pool)
    assert.equal(idle - s.idle_bytes, bytes)
    assert.is_true(s.idle_bytes <= 8 * MiB and s.idle_bytes > 0)
    assert.equal(s.idle_bytes, pool:shrink(0))
    assert.equal(0, pool:get_pool_stats().trims)
    h.refused(pool, function() pool:shrink(-1) end,
      "shrink: argument 'idle' must be a whole number from 0 to 1099511627776, got -1")
  end)
end)

describe("tiers with limits", function()
  it("pass through policies", function()
    local own = { { size = 512, max_idle = "1MiB" }, { size = "4KiB", max_bytes = 8192, max_waste = 0.5 }, 65536 }
    local merged = policy.merge(own, policy.stream(), { { size = 4096, max_idle = 7 }, { size = 32768 } })
    assert.same({ { size = 512, max_idle = MiB }, 1024, { size = 4096, max_idle = 7 }, 16384, 32768, 65536, 131072 },
      merged:sizes())
    assert.same({ 512, 1024, 4096, 16384, 32768, 65536, 131072 }, policy.sizes(merged))
    local capped = policy.cap(merged, { tiers = 3, to = "32KiB" }):sizes()
    assert.equal(3, #capped)
    for _, tier in ipairs(capped) do
      if type(tier) == "table" then assert.truthy(tier.size == 512 or tier.size == 4096) end
    end
    local pool = quiet(nil, merged)
    assert.same(merged:sizes(), pool:settings().tiers)
  end)

  it("pass through policies of a config file", function()
    local config = assert(bytepool.load_config [[
      local own = { { size = 512, max_idle = "1MiB" }, 1024 }
      return { tiers = policy.cap(policy.merge(own, { 4096 }), { tiers = #policy.sizes(own) + 1, to = 4096 }) }]])
    assert.same({ { size = 512, max_idle = MiB }, 1024, 4096 }, config.tiers)
    config = assert(bytepool.load_config [[
      return { tiers = policy.sizes(policy.merge({ { size = 512, max_idle = "1MiB" } })) }]])
    assert.same({ 512 }, config.tiers)
  end)

  it("are read by new_pools as in a config", function()
    local tiers = { { size = "1KiB", max_idle = 0 }, { size = 2048 } }
    assert.same({ { size = 1024, max_idle = 0 }, 2048 }, quiet(nil, tiers):settings().tiers)
    local pool = bytepool.new_pools { tiers = tiers, limits = { pressure = false }, region_size = "64MiB" }
    assert.same({ { size = 1024, max_idle = 0 }, 2048 }, pool:settings().tiers)
  end)
end)

describe("options of new_pools", function()
  it("take sizes and times with units", function()
    local pool = quiet { max_idle = "64MiB", max_bytes = "1GiB", max_waste = 0.25, decay = "1.5s",
      region_size = "64MiB" }
    assert.same({ idle = 64 * MiB, bytes = 1024 * MiB, waste = 0.25, decay = 1.5, pressure = false },
      pool:settings().limits)
    for text, seconds in pairs { ["500ms"] = 0.5, ["10s"] = 10, ["2min"] = 120, ["1h"] = 3600 } do
      assert.equal(seconds, quiet({ decay = text }):get_pool_stats().decay)
    end
  end)

  it("are refused where they are wrong", function()
    local function no(options, message)
      h.raises(function() bytepool.new_pools({ 128 }, options) end, "new_pools: " .. message)
    end
    local duration = "option 'decay' must be seconds from 0 to 1000000000 or a string with a unit, ms, s, min or h, "
      .. 'such as "10s", got '
    for _, bad in ipairs { "10", "10 s", "1d", "s", "1.s", "-1s", "1e3s" } do
      no({ decay = bad }, duration .. '"' .. bad .. '"')
    end
    no({ decay = -1 }, duration .. "-1")
    no({ max_bytes = 0 }, "option 'max_bytes' must be a whole number from 1 to 1099511627776, got 0")
    no({ max_idle = "1KB" }, "option 'max_idle' must be a number of bytes or a string with a unit, B, KiB, MiB, GiB or "
      .. 'TiB, such as "64KiB", got "1KB"')
    no({ max_waste = 1.5 }, "option 'max_waste' must be a number from 0 to 1, got 1.5")
    no({ pressure = "psi" }, "option 'pressure' must be \"auto\" or false or a function, got \"psi\"")
  end)
end)
