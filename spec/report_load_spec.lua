-- Reports on a pool that 8 threads work on: what is read back out of the rendered text obeys the
-- inequalities meanwhile, never falls, and obeys the equations afterwards.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local readers = dofile(here .. "/report_readers.lua")
local report = require "bytepool.report"
local found, uv = pcall(require, "luv")

local FORMATS = { "text", "expvar", "prometheus", "openmetrics", "statsd", "html" }
local THREADS = 8
local jit = rawget(_G, "jit")
local jit_off = jit and not jit.status() or false

-- In each thread's own Lua state, on the same pool by its name.
local function work(path, cpath, off, name, number, rounds)
  package.path, package.cpath = path, cpath
  if off then _G.jit.off() end
  local bytepool = require "bytepool"
  local pool = assert(bytepool.open(name))
  local kept, state = {}, number
  for _ = 1, rounds do
    state = state * 16807 % 2147483647
    local buf = pool:get_buffer(state % 6000)
    local place = state % 50 + 1
    if kept[place] then kept[place]:release() end
    kept[place] = buf
  end
  for _, buf in pairs(kept) do buf:release() end
  pool:close()
end

-- In a snapshot under load in_use may be counted high and owned with it, but nothing is negative,
-- and what is a sum of the same counters is that sum.
local function check_inequalities(pool)
  local total = 0
  for size, tier in pairs(pool.tiers) do
    for name, value in pairs(tier) do assert.is_true(value >= 0, ("%s of %d: %s"):format(name, size, value)) end
    assert.equal(tier.get, tier.hit + tier.miss)
    assert.is_true(tier.put <= tier.get)
    assert.equal(tier.in_use, tier.get - tier.put)
    assert.equal(tier.idle, tier.cached + tier.depot)
    total = total + tier.get
  end
  assert.equal(total, pool.total_get)
  assert.is_true(pool.in_use_bytes >= 0 and pool.idle_bytes >= 0)
  assert.equal(pool.owned_bytes, pool.in_use_bytes + pool.idle_bytes)
end

local function check_rising(before, now)
  for size, tier in pairs(now.tiers) do
    for _, name in ipairs { "get", "put", "hit", "miss" } do
      assert.is_true(tier[name] >= before.tiers[size][name], name .. " fell")
    end
  end
  assert.is_true(now.requests >= before.requests and now.discarded >= before.discarded)
end

describe("a pool that 8 threads work on", function()
  if not found then
    pending("lua-luv is not installed for this Lua")
    return
  end

  it("is told rightly in every format", function()
    local name = "load"
    local pool = h.new({ name = name }, { 128, 1024, 4096 })
    local threads, rounds, taken = {}, 150000, 0
    for i = 1, THREADS do
      threads[i] = uv.new_thread(work, package.path, package.cpath, jit_off, name, i, rounds)
    end
    local before = {}
    repeat
      for _, format in ipairs(FORMATS) do
        local read = readers[format](report[format](pool:get_pool_stats()))[name]
        check_inequalities(read)
        if before[format] then check_rising(before[format], read) end
        before[format] = read
        taken = taken + 1
      end
    until before.html.requests == THREADS * rounds or taken > 100000
    for i = 1, THREADS do threads[i]:join() end
    assert.is_true(taken >= 2 * #FORMATS, taken .. " reports") -- how many a loaded machine manages
    local s = h.all_back(pool)
    assert.equal(THREADS * rounds, s.requests)
    for _, format in ipairs(FORMATS) do
      local read = readers[format](report[format](s))[name]
      readers.check_equations(read)
      assert.equal(s.requests, read.requests)
    end
    pool:close()
  end)
end)
