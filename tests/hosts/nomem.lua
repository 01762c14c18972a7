-- The scenes of nomem.c: what makes, shares, builds and reports buffers. A scene of thousands of requests has only
-- each `every`-th refused. `late` is what bytepool loads when it is asked for, and the scene before: to parse a file
-- takes thousands more.
-- `watch` is the host's; each pool is handed to it.
local watch, keep = rawget(_G, "watch"), rawget(_G, "keep")
local bytepool, pool, objects, raw
local unpack = table.unpack or unpack
local MANY = 20 -- each round's requests are refused in turn

local sizes = { 100, 4096, 65536 }

local function new(options)
  local p = bytepool.new_pools(sizes, options or { region_size = 8 * 2 ^ 20 })
  watch(p)
  return p
end

local function try_raw()
  local found, module = pcall(require, "bytepool.ffi")
  return found and module
end

local scenes = {
  { "require", every = 11, function() require "bytepool" end },
  { "new_pools", function()
    new { name = "x", max_idle = 2 ^ 20, recent = { size = 10, mode = "exact" }, region_size = 2 ^ 23 }
    new()
  end },
  { "default", function()
    watch(bytepool.default())
    bytepool.default():get_buffer(10):release()
  end },
  { "get and put", function()
    for i = 1, MANY do
      local a, b = pool:get_buffer(i), pool:get(70000 + i)
      a:release()
      pool:put(b)
      pool:release_buffer(pool:get_buffer(i))
    end
  end },
  { "from_string", function()
    for i = 1, 8 do
      local buf = pool:from_string(("x"):rep(i * 50))
      assert(#buf == i * 50)
      if i % 2 == 0 then buf:release() end -- the others are the collector's
    end
  end },
  { "share and retain", function()
    local buf = pool:get_buffer(5000)
    local others = {}
    for i = 1, MANY do
      if i % 8 == 0 then others[#others + 1] = buf:share() end
      buf:retain()
      assert(buf:ref_count() == 2 + #others)
      buf:release()
    end
    buf:release()
    for _, other in ipairs(others) do other:release() end
  end },
  { "bytes", function()
    for _ = 1, 4 do
      local buf = pool:get_buffer(100)
      local view, done = buf:bytes()
      local _, forgotten = buf:bytes()
      buf:release()
      assert(view:ref_count() == 2 and forgotten)
      done()
      assert(not pcall(done))
    end
  end },
  { "contents", function()
    local buf = pool:get_buffer(4096)
    for i = 1, MANY do
      local text = "text " .. i
      buf:set_string(i, text)
      assert(buf:sub(i, i + #text - 1) == text)
      assert(buf:byte(i) == 116 and buf:byte(i, i + 1) == 116)
      assert(#buf:tostring() == buf:len() and #tostring(buf) > 10 and buf:capacity() == 4096)
    end
    buf:release()
  end },
  { "stats", function()
    local buf = pool:get_buffer(1)
    local stats = pool:get_pool_stats()
    assert(stats.in_use == 2 and stats.pools[100].get == 2)
    assert(bytepool.report.text(stats):find("in_use = 2", 1, true))
    assert(pool:get_discarded_count() == 0 and #pool:get_available_sizes() == 3)
    assert(#bytepool.size_power_of_two() == 15 and #bytepool.size_stream() == 6)
    assert(tostring(pool) and bytepool.type(pool) == "pool")
    buf:release()
  end },
  { "expvar", function()
    pool:expvar("one")
    local two = new():expvar("two")
    local text = bytepool.report.expvar(function(all)
      local t = {}
      for name, entry in pairs(all) do
        if entry.pools then t[#t + 1] = name .. "=" .. entry.in_use end
      end
      table.sort(t)
      return table.concat(t, " ")
    end)
    assert(text == "one=1 two=1" and two)
  end },
  { "prewarm", function()
    assert(pool:prewarm { [100] = 3, [4096] = 5 } == pool)
    assert(pool:trim() >= 5 * 4096) -- a buffer of the host's pins the other slab
    local other = new()
    local buf = other:get_buffer(10)
    other:close()
    assert(not pcall(other.get_buffer, other, 1))
    assert(bytepool.type(other) == "closed pool" and tostring(other))
    buf:release()
  end },
  { "forgotten", function()
    for i = 1, MANY do pool:get_buffer(i * 1000):retain() end
    collectgarbage()
    local kept = {}
    for i = 1, 20 do kept[i] = pool:get_buffer(i) end
    assert(#kept == 20 and pool:get_pool_stats().in_use >= 21)
  end },
  { "messages", function()
    assert(not pcall(pool.get_buffer, pool, -1))
    assert(not pcall(bytepool.new_pools, { 2, 1 }))
    assert(not pcall(bytepool.new_pools, sizes, { colour = 1 }))
    local buf = pool:get_buffer(1)
    assert(not pcall(buf.set_string, buf, 1, "too long"))
    assert(not pcall(pool.put, pool, buf:share()))
    assert(not pcall(pool.prewarm, pool, { [2 ^ 30] = 1 }))
    buf:release()
    assert(not pcall(buf.release, buf))
  end },
  { "new_pool", function()
    local list = {}
    for i = 1, 20 do list[i] = objects:get() end
    local err
    for i = 1, 20 do
      local ok, message = pcall(objects.put, objects, list[i])
      if not ok then -- then it is still ours, and a second try is right
        err = message
        pcall(objects.put, objects, list[i])
      end
    end
    if err then error(err, 0) end
    assert(objects:stats().idle >= 20 and tostring(objects))
    bytepool.new_pool(function() return {} end, { max_idle = 1 }):get()
  end },
  { "names and tokens", function()
    local p = new { name = "nomem", region_size = 8 * 2 ^ 20 }
    local same = assert(bytepool.open("nomem"))
    assert(not bytepool.open("another"))
    for i = 1, 20 do
      local buf = same:from_string("token " .. i)
      local token = buf:export()
      keep(token) -- the host takes back what is not imported below
      buf:release()
      buf = bytepool.import(token)
      assert(buf:tostring() == "token " .. i)
      buf:release()
    end
    same:close()
    p:close()
  end },
  { "building", function()
    for _ = 1, 2 do
      local buf = pool:builder(10)
      buf:put("one", 2, " three "):putf("%d-%s", 4, "five"):set(buf .. "x")
      for _ = 1, 6 do buf:put(("y"):rep(900)) end -- through the tiers, then alone
      buf:put(buf):pack("<I4z", 7, "zero")
      assert(buf:unpack("<I4", #buf - 8) == 7)
      assert(#buf:get(3, 4) == 3 and buf:skip(2):starts_with("e 4"))
      buf:resize(70000):reserve(10)
      buf:reset():free():put("again")
      assert(buf:equals("again"))
      buf:release()
    end
  end },
  { "views", function()
    local buf = pool:from_string("a line\nanother\n\nthe last")
    local part = buf:slice(3, 6):slice(1, 2)
    local head = part:split(1)
    assert(head:equals("l") and part:equals("i") and part < head)
    local own = buf:share():unshare():fill(65, 1, 3):copy(4, "bc")
    assert(own:find("bc") == 4 and not buf:is_unique())
    local count = 0
    for line in buf:lines() do
      count = count + #line
      line:release()
    end
    assert(count == 21)
    buf:freeze()
    assert(not pcall(buf.put, buf, "x"))
    assert(pool:using(100, function(b) return #b end) == 100)
    local scope = pool:scope()
    scope:get_buffer(10)
    scope:close()
    for _, b in ipairs { buf, part, head, own } do b:release() end
  end },
  { "paranoid", function()
    local told = 0
    local before = bytepool.on_leak(function(leak) told = told + leak.count end)
    local p = new { leaks = "paranoid", region_size = 8 * 2 ^ 20 }
    local buf = p:get_buffer(10, "a tag")
    for i = 1, 4 do p:get_buffer(i) end
    collectgarbage()
    collectgarbage() -- a listener that ran out of memory ends a cycle of 5.3 early
    buf:retain():release()
    local part = buf:slice(1, 5)
    assert(p:get_pool_stats().pinned_bytes == 0)
    buf:release()
    assert(not pcall(buf.release, buf))
    local stats = p:get_pool_stats()
    assert(stats.in_use == 2 and stats.pinned_bytes <= 95 and #stats.leaks <= 8)
    assert(#p:leak_level "simple":leak_level "advanced":leaks() <= 8 and p:leak_level() == "advanced")
    bytepool.on_leak(before)
    part:release()
    p:close()
    assert(told <= 5)
  end },
  { "on_leak", function()
    local p = new { leaks = "paranoid", region_size = 8 * 2 ^ 20 }
    bytepool.on_leak(function(leak)
      local buf = p:get_buffer(#leak.site)
      if buf then buf:share() buf:release() end
      collectgarbage()
      p:leak_level(leak.kind == "collected" and "advanced" or "paranoid")
      error("nobody sees " .. #p:leaks())
    end)
    for i = 1, 4 do
      p:get_buffer(i)
      collectgarbage()
      local buf = p:get_buffer(1)
      buf:release()
      assert(not pcall(buf.release, buf))
    end
  end },
  { "pacing", function()
    bytepool.pacing { budget = 2 ^ 20 }
    for i = 1, 40 do pool:get_buffer(60000):slice(1, i) end
    assert(bytepool.pacing().held_bytes >= 65536)
    assert(bytepool.pacing { budget = false }.budget_bytes == 0)
  end },
  { "debug", function()
    local p = new { debug = true, region_size = 8 * 2 ^ 20 }
    for i = 1, 8 do
      local buf = p:get_buffer(i * 50):fill(i)
      buf:share():release()
      p:builder():put("x"):put(("y"):rep(5000)):release()
      if i % 2 == 0 then buf:release() end
    end
    collectgarbage()
    local stats = p:get_pool_stats()
    assert(stats.overruns == 0 and stats.late_writes == 0)
  end },
  { "expect_balanced", function()
    local kept
    bytepool.expect_balanced(function() pool:get_buffer(1):release() end)
    local ok, message = pcall(bytepool.expect_balanced, function() kept = pool:get_buffer(1) end)
    if not tostring(message):find "not released" then error(message, 0) end
    coroutine.resume(coroutine.create(function() bytepool.expect_balanced(coroutine.yield) end))
    kept:release()
    assert(not ok)
  end },
  { "load_config", late = { "config" }, function()
    local config, message = bytepool.load_config [[
      return { tiers = policy.merge({ 100 }, function() return { 200, "1KiB" } end), limits = { idle = "1MiB" },
        region_size = "8MiB",
        on_tick = function(stats, p) return p:add(stats.n, { 2 })[1] + #policy.sizes({ 1 }) end }]]
    -- The sandbox says that memory ran out by a message, a number of its own by an error.
    if not config then error(message, 0) end
    assert(#config.tiers == 3)
    local ok, sum = config.on_tick({ n = 1 }, { add = function(a, b) return { a + b[1] } end })
    if not ok then error(sum, 0) end
    assert(sum == 4)
    local faults = select(2, bytepool.load_config "return { tiers = { 2, 1 },\nlimit = 5 }")
    if not faults:find "tiers%[2%]: expected a size above 2" then error(faults, 0) end
    local p = bytepool.new_pools(config)
    watch(p)
    p:close()
  end },
  { "configure", every = 3, late = { "config", "policy" }, function()
    local p = new()
    local buf = p:get_buffer(4000)
    local plan = assert(p:configure({ 200, 5000 }, { dry_run = true }))
    assert(plan.text:find "200" and #p:settings().tiers == 3)
    assert(p:configure { tiers = { 200, 5000 }, limits = { idle = "1MiB", bytes = "64MiB", decay = "10s" } })
    local sizes_now, settings = p:get_available_sizes(), p:settings()
    assert(#sizes_now == 2 and #settings.tiers == 2 and settings.limits.decay == 10)
    assert(not pcall(p.configure, p, { tiers = { 2, 1 }, limit = 5 }))
    assert(p:rollback() and #p:get_available_sizes() == 3 and buf:capacity() == 4096)
    buf:release()
    p:close()
  end },
  { "tick", every = 3, late = { "config", "policy.adaptive" }, function()
    local calls = 0
    local p = bytepool.new_pools { tiers = sizes, region_size = 8 * 2 ^ 20, recent = { size = 20 },
      limits = { decay = "1s", pressure = function() return 1 end },
      adaptive = bytepool.policy.adaptive { tiers = 2, min_requests = 10, gain = 0.01 },
      on_tick = function(stats, self)
        calls = calls + 1
        assert(stats.in_use >= 0 and self:trim())
      end }
    watch(p)
    for i = 1, 12 do p:get_buffer(i * 100):release() end
    local done = p:tick()
    if done.fault then error(done.fault, 0) end -- what a user's function could not do is told, and not raised
    assert(calls == 1 and done.retuned and p:shrink(0))
    p:close()
  end },
  { "policies", every = 3, late = { "policy", "policy.fit" }, function()
    local policy = bytepool.policy
    local fit = policy.fit({ 10, 20, 20, 4000 }, 2)
    assert(#policy.sizes(fit) == 2)
    assert(#policy.sizes(policy.cap(policy.merge(policy.power_of_two { from = 64, to = 4096 },
      policy.geometric { from = 10, to = 1000, ratio = 2 }), 6)) == 6)
  end },
  { "reports", every = 13, late = { "report.delta", "report.exposition", "report.statsd" }, function()
    local report, before = bytepool.report, pool:get_pool_stats()
    pool:get_buffer(1):release()
    local now = pool:get_pool_stats()
    assert(#report.prometheus(now) > 1000 and #report.statsd(now, before) > 100)
    assert(report.delta(now, before).total_get == 1 and report.rates(now, before, 1))
  end },
  { "files", function()
    local file = assert(io.tmpfile())
    local buf = pool:builder(10):put "some bytes\n"
    assert(buf:write_to(file) == 11 and file:seek "set" == 0)
    assert(buf:reset():read_from(file, 100) == 11 and buf:equals "some bytes\n")
    file:close()
    buf:release()
  end },
  { "raw", function()
    if not raw then return end
    for i = 1, MANY do
      local pointer, capacity = raw.get(pool, i * 10)
      assert(capacity >= i * 10)
      raw.put(pool, pointer)
    end
  end },
}

local script = { names = {} }
for i, scene in ipairs(scenes) do script.names[i] = scene[1] end

-- LuaJIT itself does not survive running out while its ffi library opens, while it records
-- a trace, and in many releases not in a trace either: so the library is opened before, and
-- bytepool is loaded with the compiler on, for its FFI bodies, and used with it off. What was
-- compiled meanwhile goes too: the compiler, off or not, records what follows a trace's exit.
local jit = rawget(_G, "jit")

function script.prepare(i)
  pcall(require, "ffi")
  if i == 0 or scenes[i][1] == "require" then return end
  bytepool = require "bytepool"
  raw = try_raw()
  for _, name in ipairs(scenes[i].late or {}) do require("bytepool." .. name) end
  pool = new()
  objects = bytepool.new_pool(function() return {} end)
  if jit then
    jit.off()
    jit.flush()
  end
end

-- Buffers that may stay out for good. The box of a raw pointer is made when the pointer
-- is out; and 5.2 makes room for the call of a finalizer when it has forgotten the userdata.
local collects = { forgotten = true, paranoid = true, on_leak = true, pacing = true, debug = true }

-- In a listener that collects within a finalizer, 5.3 has no room for such a call either.
function script.may_lose(i)
  local name = scenes[i][1]
  if name == "on_leak" and _VERSION == "Lua 5.3" then return 1 end
  return (name == "raw" or collects[name] and _VERSION == "Lua 5.2") and 1 or 0
end

function script.every(i) return scenes[i].every or 1 end

function script.act(i) scenes[i][2]() end

-- A value is in the object pool once, or not at all.
local function objects_agree()
  local seen = {}
  for _ = 1, objects:stats().idle do
    local x = objects:get()
    assert(not seen[x], "a value is in the object pool twice")
    seen[x] = true
  end
  for x in pairs(seen) do objects:put(x) end
end

-- Memory is there again: everything works, and what the scene lost the collector finds.
function script.after(i)
  if bytepool then bytepool.on_leak(nil) end -- or each collection leaves what it gets
  collectgarbage()
  collectgarbage()
  if scenes[i][1] == "require" then
    for name in pairs(package.loaded) do
      if name:find "^bytepool" then package.loaded[name] = nil end -- 5.1 marks what failed
    end
    bytepool = require "bytepool"
    pool = new()
  else
    objects_agree()
  end
  local buf = pool:from_string "again"
  assert(buf:share():bytes():tostring() == "again")
  buf:release()
  local stats = pool:get_pool_stats()
  assert(stats.requests == stats.total_get + stats.discarded)
  buf, stats = unpack {}
  collectgarbage()
  collectgarbage()
  assert(buf == nil and stats == nil)
end

return script
