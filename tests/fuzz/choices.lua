-- The choices that operations take from the input, and the table of operations.

local core = require "bytepool.core"
local M = require "model"
local fuzz = require "fuzz"

local byte = M.byte
local methods, pool_methods = core.buffer_methods, core.pool_methods
local jit, newproxy = rawget(_G, "jit"), rawget(_G, "newproxy")

if jit then jit.off(true, true) end -- see model.lua

local C = { ops = {}, names = {} }

-- Registers an operation under a code from 0 to 63.
function C.op(code, name, fn)
  assert(not C.ops[code], name)
  C.ops[code], C.names[code] = fn, name
end

local nan, inf = 0 / 0, 1 / 0
C.odd = {
  0, 1, -1, -0.0, 0.5, nan, inf, -inf, 2 ^ 53, 9007199254740993, -2 ^ 63, 2 ^ 31, 2 ^ 40 + 1, 1e308,
  "10", " 7 ", "0x10", "1e1", "", "x", "nan", true, {}, print, 3, 250, 2 ^ 22, 2 ^ 40, 5e9,
}
C.ODD = #C.odd + 1 -- the last one is nil

-- What a size argument is taken for, or nil.
function C.as_size(v)
  local n = (type(v) == "number" or type(v) == "string") and tonumber(v)
  return n and n >= 0 and n <= M.MAX and n % 1 == 0 and n or nil
end

function C.as_position(v)
  local n = (type(v) == "number" or type(v) == "string") and tonumber(v)
  if not n or n ~= n or (n % 1 ~= 0 and n ~= inf and n ~= -inf) then return nil end
  return n
end

-- LuaJIT's string library takes 32 bits of a position.
function C.near(n) return n and math.max(-2 ^ 30, math.min(n, 2 ^ 30)) end

-- Around the start, or around the end of h.
function C.position(h)
  local b = byte()
  if b < 100 then return b % 20 - 10 end
  if b < 200 then return (h and h.length or 0) + b % 8 - 4 end
  return C.odd[b % C.ODD + 1]
end

-- What i and j mean in a length, where they must lie within it: how many bytes to leave out and
-- to take, or nil.
function C.range(length, i, j)
  local first, last = C.as_position(i), C.as_position(j)
  if i == nil then first = 1 end
  if j == nil then last = -1 end
  if not first or not last then return nil end
  if first < 0 then first = length + first + 1 end
  if last < 0 then last = length + last + 1 end
  if first < 1 or first > length + 1 or last < first - 1 or last > length then return nil end
  return first - 1, last - first + 1
end

-- How many bytes come before position pos, where count bytes fit; or nil.
function C.place(length, pos, count)
  local at = C.as_position(pos)
  if not at then return nil end
  if at < 0 then at = length + at + 1 end
  return at >= 1 and at - 1 + count <= length and at - 1 or nil
end

-- Some bytes: short ones, or a part of what h shows.
function C.text(h)
  local b, bytes = byte(), h and h.owned > 0 and M.bytes(h)
  if bytes and b % 4 == 0 then return M.part(bytes, b % 7, b % 32) end
  return (string.char(97 + b % 3) .. (b % 8 == 1 and "\n" or "b") .. string.char(b)):rep(b % 16):sub(1, b % 61)
end

-- A string, number or handle: what to pass, and the bytes it stands for; nil: not known. False:
-- it must be refused.
function C.operand(h)
  local b = byte()
  local other = M.handles[b % 12 + 1]
  if b >= 128 and other and not rawequal(other.ud, M.forged) then
    if other.length > 2 ^ 16 then return "", "" end
    if other.owned == 0 then return other.ud, false end
    return other.ud, M.bytes(other)
  end
  local s = C.text(h)
  return s, s
end

-- Whether h can become longer; nil: nobody knows.
function C.may_grow(h)
  if h.owned == 0 or h.block.frozen or h.slice or h.block.refs ~= h.owned then return false end
  if h.block.slack > 0 or not h.block.pool.open then return nil end
  return true
end

-- A length to ask for.
function C.size()
  local b = byte()
  if b < 200 then return b % 80 end
  return C.odd[b % C.ODD + 1]
end

-- The one at a place, or the next that there is and that bears its own metatable.
local function take(list, places)
  local at = byte()
  for i = 1, places do
    local found = list[(at + i) % places + 1]
    if found and not rawequal(found.ud, M.forged) then return found end
  end
end

function C.take_pool() return take(M.pools, 3) end
function C.take_handle() return take(M.handles, 12) end

function C.call(name) return M.caller(methods, name) end
function C.pool_call(name) return M.caller(pool_methods, name) end

-- Values that are no buffer; false stands for nil.
function C.stranger(k)
  local some = { false, 5, "x", true, {}, io.stdout, print, coroutine.create(function() end), fuzz.light() }
  if newproxy then some[#some + 1] = newproxy(true) end
  if jit then some[#some + 1] = require "ffi".new("uint64_t[8]") end
  return some[k % #some + 1] or nil
end

return C
