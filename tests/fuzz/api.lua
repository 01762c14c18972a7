-- Operations that a program does with pools and references.

local core = require "bytepool.core"
local bytepool = require "bytepool"
local C = require "choices"
local M = require "model"

local byte, pick, attempt, must = M.byte, M.pick, M.attempt, M.must
local op, odd, ODD = C.op, C.odd, C.ODD
local take_pool, take_handle, call, pool_call = C.take_pool, C.take_handle, C.call, C.pool_call
local as_size = C.as_size
local pool_methods = core.pool_methods
if rawget(_G, "jit") then rawget(_G, "jit").off(true, true) end -- see model.lua

-- ---- pools ---------------------------------------------------------------------

local sizes_good = { { 64, 256, 4096 }, { 1 }, { 100, 5000000 }, core.size_power_of_two(), core.size_stream() }
local sizes_bad = {
  {}, { 0 }, { 3, 2 }, { 1.5 }, "x", { 64, x = 1 }, { 64, "128" }, { 0 / 0 }, { 2 ^ 41 }, { [2] = 5 }, print,
}

local levels = { "off", "simple", "advanced", "paranoid" }

local function new_pools(sizes, options)
  local pool, message = bytepool.new_pools(sizes, options)
  return pool, message
end

-- Open pools have names apart.
local named = 0
local function new_name(length)
  named = named + 1
  return ("%05d"):format(named):rep(60):sub(1, length)
end

op(0, "new_pools", function()
  local slot, how = byte() % 3 + 1, byte()
  local idle, recent = pick(odd, ODD), byte()
  local options = {
    max_idle = how % 4 == 0 and idle or 2 ^ (recent % 32), region_size = 2 ^ 24,
    name = how % 8 == 1 and new_name(5) or nil,
    recent = { size = recent, mode = recent % 2 == 0 and "exact" or "relaxed" },
  }
  if how % 8 == 2 then options.leaks = levels[recent % 4 + 1] end
  options.debug = how % 32 == 6 or nil
  if how % 16 == 3 then options.zero = how % 32 == 3 and "get" or "release" end
  if how % 32 == 7 then options.recent.mode = "x" end
  if how % 32 == 15 then options.other = 1 end
  if how % 32 == 23 then options.name = new_name(recent) .. (recent < 5 and "\0" or "") end
  local sizes = how < 240 and sizes_good[how % #sizes_good + 1] or sizes_bad[how % #sizes_bad + 1]
  local max_idle = options.max_idle
  local good = how < 240 and how % 32 ~= 7 and how % 32 ~= 15 and (how % 32 ~= 23 or recent >= 5 and recent < 64)
    and (max_idle == nil or type(max_idle) == "number" and as_size(max_idle) ~= nil)
  if M.pools[slot] then return end
  local ok, ud, message = attempt(good, "new_pools", new_pools, sizes, options)
  if not ok then return end
  must(ud, "no pool: %s", M.show(message))
  if M.pools[slot] then return end -- by a finalizer; ours is garbage
  M.add_pool(slot, ud, max_idle).zero = options.zero
end)

op(1, "get", function()
  local pool, b = take_pool(), byte()
  if not pool then return end
  local n = odd[byte() % ODD + 1]
  if b % 4 ~= 0 then n = math.max(0, pool.sizes[b % #pool.sizes + 1] + b % 5 - 2) end
  local size = as_size(n)
  local name = b % 2 == 0 and "get" or "get_buffer"
  local ok, ud, message = attempt(pool.open and size ~= nil, name, pool_call(name), pool.ud, n)
  if not ok then return end
  if ud then
    local bytes = M.bytes(M.add_block(pool, ud, size))
    must(not pool.zero or not bytes or bytes == ("\0"):rep(size), "get: not wiped")
  else
    must(message == "out of memory" and size >= 2 ^ 26, "get: %s", M.show(message))
  end
end)

op(2, "from_string", function()
  local pool, b = take_pool(), byte()
  local s = ("%c"):format(b):rep(b * 2)
  if b % 16 == 0 then s = odd[byte() % ODD + 1] end
  if not pool then return end
  local good = pool.open and type(s) == "string"
  local ok, ud = attempt(good, "from_string", pool_call "from_string", pool.ud, s)
  if not ok then return end
  local h = M.add_block(pool, ud, #s)
  must(#s > M.SMALL or M.bytes(h) == s, "from_string: other bytes")
end)

op(3, "prewarm", function()
  local pool, counts, good, bytes = take_pool(), {}, true, 0
  if not pool then return end
  for _ = 1, byte() % 3 do
    local b = byte()
    local size, count = pool.sizes[b % #pool.sizes + 1], b % 8
    if b % 8 == 7 then size = odd[byte() % #odd + 1] end
    if b % 8 == 6 then count = odd[byte() % #odd + 1] end
    local much = as_size(size) and as_size(count) and size * count > 2 ^ 26
    if much or type(size) == "number" and size > 70000 then count = 0 end -- it would touch all of that
    if size == size then
      counts[size] = count
    end
  end
  for size, count in pairs(counts) do
    local right = type(size) == "number" and as_size(size) and size <= pool.sizes[#pool.sizes]
      and type(count) == "number" and as_size(count)
    good = good and right
    if right then bytes = bytes + size * count end
  end
  local ok, ud = attempt(pool.open and good and true, "prewarm", pool_call "prewarm", pool.ud, counts)
  must(not ok or rawequal(ud, pool.ud) or ud == nil, "prewarm's result")
end)

op(4, "trim", function()
  local pool = take_pool()
  if pool then attempt(pool.open, "trim", pool_call "trim", pool.ud) end
end)

op(5, "close", function() -- close, by one of three names
  local pool, name = take_pool(), pick { "close", "__gc", "__close" }
  if not pool then return end
  local from = name == "close" and pool_methods or debug.getmetatable(pool.ud)
  if attempt(true, name, M.caller(from, name), pool.ud) then pool.open = false end
end)

-- Tiers and limits of a pool that runs, by a byte. What a finalizer changes meanwhile is seen behind it.
local function change(pool)
  local how = byte()
  local good, calls = pool.open, M.disturbed
  if how < 128 then -- configure
    local new = sizes_good[how % 5 + 1]
    if how % 16 == 15 then new, good = sizes_bad[how % #sizes_bad + 1], false end
    if how % 4 == 1 and good then
      new = { tiers = { { size = new[1], max_idle = 2 ^ (how % 24), max_waste = how / 128 } },
        limits = { idle = 2 ^ 26, waste = how % 8 / 8, decay = how % 3 / 1000, pressure = false } }
    end
    local done, report, message = attempt(good, "configure", M.caller(pool_methods, "configure"), pool.ud, new,
      { dry_run = how % 16 >= 8 })
    if done and report then
      must(report.dry_run == (how % 16 >= 8) and type(report.text) == "string", "configure: an odd report")
    elseif done then
      must(message == "too many tiers of earlier tables still have buffers", "configure: %s", M.show(message))
    end
  elseif how < 176 then
    local done, report, message = attempt(good, "rollback", M.caller(pool_methods, "rollback"), pool.ud)
    must(not done or report or type(message) == "string", "rollback: neither report nor message")
  elseif how < 224 then
    attempt(good, "tick", M.caller(pool_methods, "tick"), pool.ud)
  else
    local done, bytes = attempt(good, "shrink", M.caller(pool_methods, "shrink"), pool.ud, 2 ^ (how % 30))
    must(not done or type(bytes) == "number", "shrink's result")
  end
  if pool.open and M.disturbed == calls then attempt(true, "settings", pool_call "settings", pool.ud) end
  if pool.open then pool.sizes = pool_methods.get_available_sizes(pool.ud) end
end

op(6, "forget pool or change", function()
  local b = byte()
  local slot = b % 3 + 1
  if b >= 128 and M.pools[slot] then return change(M.pools[slot]) end
  M.pools[slot] = nil
end)

-- A listener runs an operation wherever something is told, as a bomb does (misuse.lua), and may raise.
local function listen(text, raises)
  return function(leak)
    if M.in_finalizer or M.closed then return end
    must(leak.count == 1 and type(leak.site) == "string" and leak.pool, "a listener's leak")
    M.in_finalizer, M.disturbed = true, M.disturbed + 1
    local ok, message = pcall(M.with_input, text, M.run_one)
    M.in_finalizer = false
    if not ok then M.failure = M.failure or M.show(message) end
    if raises then error "a listener's, which nobody sees" end
  end
end

-- Leak levels, listeners, budgets and what expect_balanced is made of, by the rest of a byte.
local expecting
local function watch(pool, k)
  local rest = math.floor(k / 4) % 16
  if k >= 192 then
    attempt(true, "on_leak", bytepool.on_leak, rest > 2 and listen(M.cut(6), rest % 2 == 0) or nil)
  elseif k >= 128 then
    attempt(pool.open, "leak_level", pool_call "leak_level", pool.ud, levels[rest % 4 + 1])
  elseif k >= 96 then
    attempt(true, "pacing", bytepool.pacing, { budget = rest % 4 ~= 0 and 2 ^ (20 + rest % 8) })
  elseif k >= 64 then
    local _, given = attempt(nil, "expect", core.expect, expecting)
    expecting = type(given) == "userdata" and given or nil
  end
end

op(7, "stats", function() -- what a pool tells
  local pool = take_pool()
  if not pool then return end
  attempt(true, "__tostring", tostring, pool.ud)
  local ok, s = attempt(pool.open, "get_pool_stats", pool_call "get_pool_stats", pool.ud)
  if ok then attempt(true, "text", bytepool.report.text, s) end
  attempt(pool.open, "get_available_sizes", pool_call "get_available_sizes", pool.ud)
  attempt(pool.open, "get_discarded_count", pool_call "get_discarded_count", pool.ud)
  local k = byte()
  attempt(nil, "expvar", pool_call "expvar", pool.ud, ({ "a", "b", "", 5 })[k % 4 + 1])
  attempt(true, "collect", bytepool.report.collect)
  local told, leaks = attempt(pool.open, "leaks", pool_call "leaks", pool.ud)
  must(not told or type(leaks) == "table", "leaks")
  watch(pool, k)
end)

-- ---- references ----------------------------------------------------------------

op(8, "release", function()
  local h = take_handle()
  if h and attempt(h.owned > 0, "release", call "release", h.ud) then M.own(h, -1) end
end)

op(9, "retain", function()
  local h = take_handle()
  if h and attempt(h.owned > 0, "retain", call "retain", h.ud) then M.own(h, 1) end
end)

op(10, "put", function() -- put, release_buffer
  local pool, h, name = take_pool(), take_handle(), pick { "put", "release_buffer" }
  if not pool or not h then return end
  local good = pool.open and h.owned > 0 and h.block.pool == pool
  if good and name == "put" then
    if h.block.slack > 0 then good = nil else good = h.block.refs == 1 end
  end
  if attempt(good, name, pool_call(name), pool.ud, h.ud) then M.own(h, -1) end
end)

op(11, "share", function()
  local h = take_handle()
  if not h then return end
  local ok, ud = attempt(h.owned > 0, "share", call "share", h.ud)
  if ok then M.add_handle(ud, h.block) end
end)

op(12, "bytes", function()
  local h = take_handle()
  if not h then return end
  local ok, ud, release = attempt(h.owned > 0, "bytes", call "bytes", h.ud)
  if not ok then return end
  local slot = byte() % 4 + 1
  local view = M.add_handle(ud, h.block)
  local old = M.functions[slot]
  if old then old.view.release = nil end
  M.functions[slot] = { call = release, view = view }
  view.release = slot
end)

op(13, "release function", function() -- a release function
  local f = M.functions[byte() % 4 + 1]
  if not f or rawequal(f.view.ud, M.forged) then return end
  local ok = attempt(not f.used and f.view.owned > 0, "bytes", function() f.call() end)
  if ok then
    f.used = true
    M.own(f.view, -1)
  end
end)

op(14, "__gc", function() -- __gc and __close by hand
  local h, name = take_handle(), pick { "__gc", "__close" }
  if not h then return end
  local mt = debug.getmetatable(h.ud)
  if mt[name] and attempt(true, name, M.caller(mt, name), h.ud) then M.own(h, -h.owned) end
end)

op(15, "forget", function()
  local h = take_handle()
  if h then M.forget(h) end
end)

-- ---- names and tokens ------------------------------------------------------------

op(40, "export", function()
  local h, slot = take_handle(), byte() % 4 + 1
  if not h or M.tokens[slot] then return end
  M.may_be_held(h)
  local ok, text = attempt(h.owned > 0, "export", call "export", h.ud)
  if not ok then return end
  must(type(text) == "string" and #text < 48, "export: no token")
  M.tokens[slot] = { text = text, block = h.block }
  h.block.refs = h.block.refs + 1
end)

-- A finalizer that ran before the import's check may have changed nothing here: only ops do.
op(41, "import", function()
  local slot = byte() % 4 + 1
  local token = M.tokens[slot]
  if not token then return end
  M.tokens[slot] = nil
  local ok, ud = attempt(true, "import", bytepool.import, token.text)
  if not ok then -- by a stranger's error, before the reference was taken over
    M.lost[#M.lost + 1] = token
    return
  end
  token.block.refs = token.block.refs - 1
  M.add_handle(ud, token.block)
  attempt(false, "import", bytepool.import, token.text)
end)

op(42, "forge", function()
  local token, b = M.tokens[byte() % 4 + 1], byte()
  local text = token and token.text or odd[b % ODD + 1]
  if token then
    local at = b % #text + 1
    text = text:sub(1, at - 1) .. string.char(byte() % 128 + 128) .. text:sub(at + 1)
  end
  attempt(false, "import", bytepool.import, text)
end)

op(43, "open", function()
  local pool = take_pool()
  if not pool then return end
  local name = pool.open and core.pool_methods.get_pool_stats(pool.ud).name or odd[byte() % ODD + 1]
  local ok, ud = attempt(type(name) == "string", "open", bytepool.open, name)
  if not ok then return end
  if pool.open and name ~= "" then must(ud, "open: no pool of that name") end
  if ud then attempt(true, "close", M.caller(pool_methods, "close"), ud) end
end)
