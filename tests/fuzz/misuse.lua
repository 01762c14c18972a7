-- Operations that a program had better not do, and what goes on around the others:
-- finalizers, coroutines, loops, the collector.

local core = require "bytepool.core"
local C = require "choices"
local M = require "model"
local fuzz = require "fuzz"

local byte, pick, attempt, must = M.byte, M.pick, M.attempt, M.must
local op, odd, ODD = C.op, C.odd, C.ODD
local take_pool, take_handle, call, pool_call = C.take_pool, C.take_handle, C.call, C.pool_call
local as_size, stranger = C.as_size, C.stranger
local methods, pool_methods = core.buffer_methods, core.pool_methods
local jit, newproxy = rawget(_G, "jit"), rawget(_G, "newproxy")
local raw = jit and require "bytepool.ffi"
if jit then jit.off(true, true) end -- see model.lua

-- ---- strangers -----------------------------------------------------------------

local names, pool_names = {}, {}
for name in pairs(methods) do names[#names + 1] = name end
for name in pairs(pool_methods) do pool_names[#pool_names + 1] = name end
table.sort(names)
table.sort(pool_names)

op(20, "wrong self", function() -- methods on what is not theirs
  local k, h, pool = byte(), take_handle(), take_pool()
  local self = stranger(k)
  if k > 200 and pool then self = pool.ud end
  local name = pick(names)
  attempt(false, name, call(name), self, 1, "x")
  self = stranger(k)
  if k > 200 and h then self = h.ud end
  name = pick(pool_names)
  attempt(false, name, pool_call(name), self, h and h.ud)
  attempt(false, "put", pool_call "put", pool and pool.ud, stranger(k))
end)

-- All values of some types have one metatable: what was there comes back at once. LuaJIT
-- refuses to change one in a finalizer.
op(21, "forged", function() -- our metatables on strangers
  local h, pool, k = take_handle(), take_pool(), byte()
  if jit and M.in_finalizer then return end
  local value, owner = stranger(k), k % 2 == 0 and h or pool
  if k > 200 then value = k % 2 == 0 and pool and pool.ud or h and h.ud end
  if not owner or rawequal(value, owner.ud) or type(value) == "string" or type(value) == "cdata" then return end
  local forged, own = debug.getmetatable(owner.ud), debug.getmetatable(value)
  local name, pool_name = pick(names), pick(pool_names)
  debug.setmetatable(value, forged)
  M.forged = value
  local ok, message = pcall(function()
    attempt(false, name, call(name), value, 1, "x")
    attempt(false, pool_name, pool_call(pool_name), value, value)
    if forged.__gc then attempt(true, "__gc", M.caller(forged, "__gc"), value) end
    if k <= 200 then must(core.type(value) == nil, "type of a stranger") end
  end)
  debug.setmetatable(value, own)
  M.forged = nil
  if not ok then error(message, 0) end
end)

-- A bomb: a finalizer that runs an operation, and may end in an error. Not where traces
-- run: LuaJIT 2.1 crashes when such an error comes out of the exit of one. Not on 5.2,
-- whose collector also runs between the calls under test.
local may_raise = _VERSION ~= "Lua 5.2"

op(22, "bomb", function()
  local text, raises = M.cut(6), byte() % 2 == 0 and may_raise and not (jit and jit.status())
  local function finalizer()
    if M.in_finalizer or M.closed then return end
    M.in_finalizer, M.disturbed = true, M.disturbed + 1
    local ok, message = pcall(M.with_input, text, M.run_one)
    M.in_finalizer = false
    if not ok then M.failure = M.failure or M.show(message) end
    if raises and not M.in_raw_get then error("stranger", 0) end
  end
  if newproxy then
    debug.getmetatable(newproxy(true)).__gc = finalizer
  else
    setmetatable({}, { __gc = finalizer })
  end
end)

-- ---- the program around ----------------------------------------------------------

op(23, "collect", function()
  if M.in_finalizer then return end
  local how = byte()
  local what = how % 3 == 0 and "collect" or "step"
  local before = M.disturbed
  local ok, message = pcall(collectgarbage, what, what == "step" and how or 0)
  M.collector "stop"
  must(ok or M.disturbed > before, "collectgarbage: %s", M.show(message))
end)

op(24, "coroutine", function() -- in a coroutine, which may stay where it is
  if M.in_finalizer then return end
  local stay = byte()
  local thread = coroutine.create(function()
    M.run_one()
    coroutine.yield()
    M.run_one()
  end)
  M.threads[stay % 4] = thread
  for _ = 1, stay % 3 + 1 do
    if coroutine.status(thread) == "dead" then break end
    local ok, message = coroutine.resume(thread)
    if not ok then error(message, 0) end
  end
end)

op(25, "again", function() -- the same again and again: under LuaJIT a trace
  if M.in_finalizer then return end
  local times, text = byte() % 16, M.cut(6)
  for _ = 1, times do M.with_input(text, M.run_one) end
end)

-- What a program does in a loop. A finalizer may run where a trace ends, and tear a pair.
local function hot_loop(buf, times)
  for i = 1, times do
    buf:retain()
    local _ = buf:ref_count() + #buf + (buf:byte(1) or 0)
    if i % 8 == 0 then buf:set_string(1, "") end
    buf:release()
  end
end
if jit then jit.on(hot_loop) end

op(29, "hot", function()
  local h, times = take_handle(), byte() % 32
  if not h then return end
  local before = M.disturbed
  local ok, message = pcall(hot_loop, h.ud, times)
  local refused = times > 0 and h.owned == 0 or times > 7 and h.block.frozen
  if M.disturbed > before or refused then
    must(not ok or M.disturbed > before, "hot loop: not refused")
    M.own(h, fuzz.owned(h.ud) - h.owned)
  else
    must(ok, "hot loop: %s", M.show(message))
  end
end)

local close_var = _VERSION == "Lua 5.4" and load [[
  local buf, raises = ...
  local held <close> = buf
  if raises then error("close: on purpose", 0) end
]]

op(26, "<close>", function()
  local h, raises = take_handle(), byte() % 2 == 0
  if not h or not close_var then return end
  attempt(not raises, "close", close_var, h.ud, raises)
  M.own(h, -h.owned)
end)

-- ---- raw pointers ----------------------------------------------------------------

local function raw_get(pool, n)
  local pointer, capacity = raw.get(pool, n)
  return pointer, capacity
end

local function raw_put(pool, pointer) raw.put(pool, pointer) end

local function address(pointer) return tonumber(require "ffi".cast("uintptr_t", pointer)) end

op(27, "raw get", function() -- raw.get
  local pool, slot, n = take_pool(), byte() % 4, byte() * 16
  if not raw or not pool or M.raws[slot] then return end
  if n == 255 * 16 then n = odd[byte() % ODD + 1] end
  local good = pool.open and type(n) == "number" and as_size(n) ~= nil
  -- Where a stranger raises within, the pointer is lost, as bytepool.ffi says.
  local around = M.in_raw_get -- a finalizer that runs within may come here too
  M.in_raw_get = true
  local ok, pointer, capacity = attempt(good, "get", raw_get, pool.ud, n)
  M.in_raw_get = around
  if not ok or pointer == nil then return end
  must(capacity >= n, "raw: capacity %s", M.show(capacity))
  pool.requests, pool.raws = pool.requests + 1, pool.raws + 1
  fuzz.note_raw(pool.ud, address(pointer))
  if M.raws[slot] then return end -- by a finalizer; ours stays out
  M.raws[slot] = { pointer = pointer, pool = pool }
end)

op(28, "raw put", function() -- raw.put, of what is out or is not
  local slot, how, pool = byte() % 4, byte(), take_pool()
  local r, h = M.raws[slot], take_handle()
  if not raw or not pool then return end
  local ffi = require "ffi"
  local bad = h and h.owned > 0 and fuzz.data(h.ud) or stranger(how)
  if type(bad) == "userdata" and h and h.owned > 0 then bad = ffi.cast("uint8_t *", bad) end
  if how % 8 == 0 then attempt(false, "put", raw_put, pool.ud, bad) end
  if how % 8 == 1 and r then attempt(false, "put", raw_put, pool.ud, r.pointer + 1) end
  if not r or how % 8 < 2 then return end
  if attempt(pool.open and r.pool == pool, "put", raw_put, pool.ud, r.pointer) then
    pool.raws = pool.raws - 1
    fuzz.note_put(address(r.pointer))
    M.raws[slot] = nil
    -- Its block may be another one's by now, where a finalizer ran.
    local before = M.disturbed
    if before == M.disturbed then attempt(false, "put", raw_put, pool.ud, r.pointer) end
  end
end)
