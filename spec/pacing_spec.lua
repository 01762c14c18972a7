-- Programs that forget to release: the collector is paced by the bytes that handles hold.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local mib = 1024 * 1024

-- Forgets `n` buffers in another process, beside a live Lua heap of 20 MiB, by `body`, the text of
-- a function of n. Returns the peak of what was resident and owned, in MiB more than at the start.
local function forgetful(n, body, prelude)
  local out = h.script_ok(([[
    local bytepool = require "bytepool"
    local unpack = table.unpack or unpack
    local live = {}
    for i = 1, 210000 do live[i] = { i } end
    collectgarbage() collectgarbage()
    %s
    local function resident()
      local f = io.open("/proc/self/statm", "r")
      if not f then return 0 end
      local _, pages = f:read("*n", "*n")
      f:close()
      return pages * 4096
    end
    local pool = bytepool.new_pools(bytepool.size_power_of_two(), { region_size = 256 * 2 ^ 20 })
    local start, peak = resident(), 0
    local function forget(n) %s end
    for _ = 1, 20 do
      forget(%d)
      peak = math.max(peak, resident() - start)
    end
    local s = pool:get_pool_stats()
    print(("%%.1f %%.1f %%d %%d"):format(peak / 2 ^ 20, s.peak_owned_bytes / 2 ^ 20, s.gc.cycles, #live))
  ]]):format(prelude or "", body, n / 20))
  local resident, owned, cycles = out:match("^(%S+) (%S+) (%d+)")
  return tonumber(resident), tonumber(owned), tonumber(cycles)
end

local sanitized = (os.getenv "LD_PRELOAD" or ""):find "asan"
local forgotten = tonumber(os.getenv "BP_FORGET" or "") or 20000
local modes = { { "", "" } }
if h.has_close then modes[2] = { " in generational mode", 'collectgarbage "generational"' } end

local ways = {
  ["plain handles"] = 'for i = 1, n do pool:get_buffer(65536):fill(1, i %% 60000 + 1, -1) end',
  ["handles of bytes()"] = 'for i = 1, n do local b = pool:get_buffer(65536) b:bytes() b:release() end',
  ["slices"] = 'for i = 1, n do local b = pool:get_buffer(65536) b:slice(1, 10) b:release() end',
  ["coroutines that die"] = [[
    for i = 1, n / 10 do
      local co = coroutine.create(function()
        while true do coroutine.yield(pool:get_buffer(65536)) end
      end)
      for j = 1, 10 do coroutine.resume(co) end
    end]],
  ["from_string"] = 'local s = ("x"):rep(65536) for i = 1, n do pool:from_string(s) end',
  ["builders that grow"] = 'local s = ("x"):rep(40000) for i = 1, n do pool:builder():put(s) end',
}

describe("a program that forgets to release", function()
  for _, mode in ipairs(modes) do
    for name, body in pairs(ways) do
      it("keeps within 64 MiB: " .. name .. mode[1], function()
        local resident, owned, cycles = forgetful(forgotten, body:gsub("%%%%", "%%"), mode[2])
        if not sanitized then assert.is_true(resident <= 64, ("%.1f MiB resident"):format(resident)) end
        assert.is_true(owned <= 64, ("%.1f MiB owned"):format(owned))
        assert.is_true(cycles > 5)
      end)
    end
  end

  it("grows by all it forgot without pacing", function()
    local _, owned = forgetful(4000, "for i = 1, n do pool:get_buffer(65536) end",
      'collectgarbage "stop" bytepool.pacing { budget = false }')
    assert.equal(250, owned)
  end)

  it("keeps to the budget that it was given", function()
    local _, owned = forgetful(20000, "for i = 1, n do pool:get_buffer(65536) end",
      "bytepool.pacing { budget = 4 * 2 ^ 20 }")
    assert.is_true(owned <= 5.5, ("%.1f MiB owned"):format(owned))
  end)
end)

describe("a program that has released what it held for long", function()
  it("is bounded by the budget again", function()
    local before, after = h.script_ok [[
      local bytepool = require "bytepool"
      bytepool.pacing { budget = 2 * 2 ^ 20 }
      local pool = bytepool.new_pools({ 65536 }, { region_size = 2 ^ 28 })
      local list = {}
      for i = 1, 2000 do list[i] = pool:get_buffer(65536) end
      local limit = bytepool.pacing().limit_bytes
      for i = 1, 2000 do list[i]:release() end
      list = nil
      local most = 0
      for i = 1, 50000 do
        pool:get_buffer(65536)
        if i > 40000 then most = math.max(most, bytepool.pacing().held_bytes) end
      end
      print(limit / 2 ^ 20, most / 2 ^ 20)
    ]]:match "(%S+)%s+(%S+)"
    assert.is_true(tonumber(before) > 60, before)
    assert.is_true(tonumber(after) < 3, after)
  end)
end)

describe("pacing", function()
  local before
  before_each(function() before = bytepool.pacing().budget_bytes end)
  after_each(function() bytepool.pacing { budget = before } end)

  it("tells what it did", function()
    local pool = h.new()
    h.collect()
    local held = bytepool.pacing().held_bytes
    local buf = pool:get_buffer(5000)
    local view = buf:slice(1, 2)
    assert.equal(held + 2 * 8192, bytepool.pacing().held_bytes)
    assert.equal(held + 2 * 8192, pool:get_pool_stats().gc.held_bytes)
    buf:release()
    view:unshare()
    assert.equal(held + 128, bytepool.pacing().held_bytes)
    view:put(("x"):rep(300))
    assert.equal(held + 512, bytepool.pacing().held_bytes)
    view:release()
    assert.equal(held, bytepool.pacing().held_bytes)
    pool:close()
  end)

  it("counts steps, collections and their time", function()
    local pool = h.new()
    h.collect()
    bytepool.pacing { budget = mib }
    local was = bytepool.pacing()
    for _ = 1, 2000 do pool:get_buffer(65536) end
    local is = bytepool.pacing()
    assert.is_true(is.steps + is.full > was.steps + was.full)
    assert.is_true(is.seconds > was.seconds)
    assert.is_true(is.held_bytes <= is.limit_bytes + 65536)
    h.collect()
    h.all_back(pool)
  end)

  it("is not the pool's: the same over all pools of a state", function()
    local a, b = h.new(), h.new()
    local held = bytepool.pacing().held_bytes
    local x, y = a:get_buffer(128), b:get_buffer(256)
    assert.equal(held + 384, bytepool.pacing().held_bytes)
    x:release()
    a:close()
    b:close()
    y:release()
    assert.equal(held, bytepool.pacing().held_bytes)
  end)

  it("refuses a budget that is none", function()
    h.raises(function() bytepool.pacing { budget = 5 } end,
      "pacing: option 'budget' must be a whole number from 1048576 to 1099511627776, or false, got 5")
    h.raises(function() bytepool.pacing { budget = "1" } end,
      "pacing: option 'budget' must be a whole number from 1048576 to 1099511627776, or false, got string")
    h.raises(function() bytepool.pacing { size = 5 } end, "pacing: unknown option 'size' (known: budget)")
    h.raises(function() bytepool.pacing(5) end, "pacing: argument 'options' must be a table, got 5")
    assert.equal(before, bytepool.pacing().budget_bytes)
  end)

  -- Up to Lua 5.3 an error in a finalizer comes out of whatever allocation the collector stood in,
  -- and one of ours is no exception. From 5.2 on a stopped collector works in our steps alone, and
  -- of these nothing may come out. LuaJIT itself crashes where a finalizer raises under a trace.
  it("survives a finalizer that gets, and one that raises", function()
    local out = h.script_ok([[
      local bytepool = require "bytepool"
      local pool = bytepool.new_pools({ 65536 }, { region_size = 2 ^ 28 })
      local newproxy, only_ours = newproxy, _VERSION ~= "Lua 5.1"
      local function finalized(fn)
        if newproxy then
          getmetatable(newproxy(true)).__gc = fn
        else
          setmetatable({}, { __gc = fn })
        end
      end
      local ran, raised, out = 0, 0, 0
      local function get()
        local ok, message = pcall(pool.get_buffer, pool, 65536)
        if ok then return end
        out = out + 1
        if only_ours or not tostring(message):find "mine" then error(message, 0) end
      end
      local function gets() ran = ran + 1; pool:get_buffer(65536); pool:get_buffer(1):release() end
      local quiet = false
      local function raises()
        raised = raised + 1
        if not quiet then error "mine" end
      end
      local function round(i)
        if i % 50 == 0 then
          finalized(gets)
          finalized(raises)
        end
        get()
        if i % 3 == 0 then coroutine.wrap(get)() end
      end
      if only_ours then collectgarbage "stop" end
      for i = 1, 20000 do
        if only_ours then round(i) else pcall(round, i) end
      end
      quiet = true
      assert(ran > 100 and raised > 100)
      assert(out == 0 or not only_ours)
      assert(pool:get_pool_stats().peak_owned_bytes <= 64 * 2 ^ 20)
      collectgarbage "restart"
      collectgarbage()
      collectgarbage()
      assert(pool:get_pool_stats().in_use == 0)
      print "done"
    ]], h.is_luajit and "-joff" or nil)
    assert.equal("done\n", out)
  end)
end)

describe("a collector that the program stopped", function()
  if not pcall(collectgarbage, "isrunning") then return end -- Lua 5.1, where a step restarts it

  it("stays so after our steps", function()
    h.script_ok [[
      local bytepool = require "bytepool"
      local pool = bytepool.new_pools { 65536 }
      collectgarbage "stop"
      local function steps() return bytepool.pacing().steps + bytepool.pacing().full end
      local before, stopped = steps(), 0
      for _ = 1, 2000 do
        pool:get_buffer(65536)
        if steps() > before then
          assert(not collectgarbage "isrunning")
          before, stopped = steps(), stopped + 1
        end
        collectgarbage "stop" -- once in some thousand gets LuaJIT's goes on without a step
      end
      assert(stopped > 0)
    ]]
  end)
end)

describe("a program that releases", function()
  local pairs_done = tonumber(os.getenv "BP_PAIRS" or "") or 2000000

  -- LuaJIT and 5.1 keep to twice what lives by themselves, and a step of ours would cost more than
  -- the garbage: they are left alone, and touch 50 MiB before a cycle is through.
  it("keeps its Lua heap under 48 MiB over 20 that live", function()
    local peak, left = h.script_ok(([[
      local bytepool = require "bytepool"
      local live = {}
      collectgarbage "stop"
      while collectgarbage "count" < 20 * 1024 do live[#live + 1] = { #live } end
      collectgarbage "restart"
      collectgarbage()
      collectgarbage()
      local pool, peak = bytepool.new_pools(bytepool.size_power_of_two()), 0
      for _ = 1, 100 do
        for _ = 1, %d do pool:get_buffer(4096):release() end
        peak = math.max(peak, collectgarbage "count" / 1024)
      end
      print(peak, collectgarbage "count" / 1024, #live)
    ]]):format(pairs_done / 100)):match "(%S+)%s+(%S+)"
    assert.is_true(tonumber(peak) < (_VERSION == "Lua 5.1" and 56 or 48), peak .. " MiB")
    assert.is_true(tonumber(left) < 48, left .. " MiB")
  end)
end)
