-- Operations on what a buffer shows: reading, comparing, writing in place, numbers.

local core = require "bytepool.core"
local C = require "choices"
local M = require "model"

local byte, pick, attempt, must = M.byte, M.pick, M.attempt, M.must
local op, odd, ODD = C.op, C.odd, C.ODD
local take_handle, call = C.take_handle, C.call
local as_size, as_position, near, position = C.as_size, C.as_position, C.near, C.position
local kinds = core.internals.kinds
local unpack = table.unpack or _G.unpack
local spack, sunpack = rawget(string, "pack"), rawget(string, "unpack")
if rawget(_G, "jit") then rawget(_G, "jit").off(true, true) end -- see model.lua

local READABLE = 2 ^ 20 -- longer ones take too long, and memory that was never touched

-- A handle whose bytes may be looked at.
local function readable()
  local h = take_handle()
  return h and h.length <= READABLE and h or nil
end

-- As attempt, of a method that makes strings: under another reference on some Luas. A finalizer that ran meanwhile
-- may have changed the bytes, before the copy or after it: then there is nothing to compare.
local function copy(h, good, name, ...)
  M.may_be_held(h)
  local before = M.disturbed
  local ok, a, b = attempt(good, name, call(name), h.ud, ...)
  return ok and M.disturbed == before, a, b
end

-- Calls a method that writes to h. Then it shows `wanted`, unless a finalizer ran.
local function write(h, good, wanted, name, ...)
  local before = M.disturbed
  local ok, self = attempt(good, name, call(name), h.ud, ...)
  must(not ok or rawequal(self, h.ud), "%s does not return self", name)
  if M.disturbed > before then
    M.believe(h)
  elseif ok then
    M.shows(h, wanted)
  end
end

local function may_write(h)
  return h.owned > 0 and not h.block.frozen
end

-- ---- reading -------------------------------------------------------------------

op(16, "tostring", function()
  local h = readable()
  if not h then return end
  local ok, s = copy(h, h.owned > 0, "tostring")
  must(not ok or #s == h.length and (not M.bytes(h) or s == M.bytes(h)), "tostring: other bytes")
end)

op(17, "sub", function()
  local h = readable()
  local i, j = position(h), position(h)
  if not h then return end
  local from, to = as_position(i), as_position(j)
  if j == nil then to = -1 end
  local ok, s = copy(h, h.owned > 0 and from ~= nil and to ~= nil, "sub", i, j)
  if ok and M.bytes(h) then must(s == M.bytes(h):sub(near(from), near(to)), "sub(%s, %s)", M.show(i), M.show(j)) end
end)

op(18, "byte", function()
  local h = take_handle()
  local i, j = position(h), position(h)
  if not h then return end
  local from, to = as_position(i), as_position(j)
  if i == nil then from = 1 end
  if j == nil then to = from end
  local good = h.owned > 0 and from ~= nil and to ~= nil
  if good and not M.bytes(h) then good = nil end
  local before = M.disturbed
  local ok, s, t = attempt(good, "byte", call "byte", h.ud, i, j)
  if ok and M.disturbed == before and M.bytes(h) then
    local a, b = M.bytes(h):byte(near(from), near(to))
    must(s == a and t == b, "byte(%s, %s)", M.show(i), M.show(j))
  end
end)

local function tail(s, count) return M.part(s, #s - count, count) end

local function order(a, b) return a < b and -1 or a > b and 1 or 0 end

local questions = {
  equals = function(s, t) return s == t end,
  compare = order,
  starts_with = function(s, t) return #t <= #s and M.part(s, 0, #t) == t end,
  ends_with = function(s, t) return #t <= #s and tail(s, #t) == t end,
}

op(53, "compare", function()
  local h, name = readable(), pick { "equals", "compare", "starts_with", "ends_with" }
  local value, bytes = C.operand(h)
  if not h then return end
  if byte() % 16 == 0 then value, bytes = C.stranger(byte()), false end
  if type(value) == "string" then bytes = value end
  local own = h.owned > 0 and M.bytes(h)
  local before = M.disturbed
  local ok, answer = attempt(h.owned > 0 and bytes ~= false, name, call(name), h.ud, value)
  if not ok or M.disturbed > before or not own or not bytes then return end
  must(answer == questions[name](own, bytes), "%s: %s", name, M.show(answer))
end)

op(61, "less, concat", function()
  local h, g = readable(), readable()
  if not h or not g then return end
  local a, b = h.owned > 0 and M.bytes(h), g.owned > 0 and M.bytes(g)
  local good = h.owned > 0 and g.owned > 0
  M.may_be_held(h)
  M.may_be_held(g)
  local before = M.disturbed
  local less_ok, less = attempt(good, "<", function(x, y) return x < y end, h.ud, g.ud)
  local join_ok, joined = attempt(good, "..", function(x, y) return x .. y end, h.ud, g.ud)
  if M.disturbed > before or not a or not b then return end
  must(not less_ok or less == (a < b), "<: %s", M.show(less))
  must(not join_ok or joined == a .. b, "..: %s", M.show(joined))
end)

op(52, "find", function()
  local h = readable()
  local value, bytes = C.operand(h)
  local init = position(h)
  if not h then return end
  local at = as_position(init)
  if init == nil then at = 1 end
  local own = h.owned > 0 and M.bytes(h)
  local before = M.disturbed
  local ok, first, last = attempt(h.owned > 0 and bytes ~= false and at ~= nil, "find", call "find", h.ud, value, init)
  if not ok or M.disturbed > before or not own or not bytes then return end
  at = near(at) < 0 and #own + near(at) + 1 or near(at)
  at = math.max(at, 1)
  local a, b
  if at <= #own + 1 then a, b = own:find(bytes, at, true) end
  must(first == a and last == b, "find: %s to %s", M.show(first), M.show(last))
end)

-- ---- writing in place ------------------------------------------------------------

local function patched(h, at, bytes)
  local old = M.bytes(h)
  return old and at and M.part(old, 0, at) .. bytes .. M.part(old, at + #bytes, #old - at - #bytes)
end

op(19, "set_string", function()
  local h = take_handle()
  local pos, b = position(h), byte()
  local s = ("%c"):format(b):rep(b % 16)
  if b > 250 then s = odd[byte() % ODD + 1] end
  if not h then return end
  local at = type(s) == "string" and C.place(h.length, pos, #s)
  write(h, may_write(h) and at and true or false, at and patched(h, at, s), "set_string", pos, s)
end)

op(50, "copy", function()
  local h, b = take_handle(), byte()
  local value, bytes = C.operand(h)
  local pos, i, j = position(h), b % 4 > 0 and position() or nil, b % 8 > 3 and position() or nil
  if not h then return end
  local length = type(value) == "string" and #value or 0
  for _, other in pairs(M.handles) do
    if rawequal(other.ud, value) then length = other.length end
  end
  local from, count = C.range(length, i, j)
  local at = from and C.place(h.length, pos, count)
  local wanted = at and bytes and patched(h, at, M.part(bytes, from, count))
  write(h, may_write(h) and bytes ~= false and at and true or false, wanted, "copy", pos, value, i, j)
end)

op(51, "fill", function()
  local h, value, b = readable(), byte(), byte()
  local i, j = b % 4 > 0 and position(h) or nil, b % 8 > 3 and position(h) or nil
  if b > 250 then value = odd[byte() % ODD + 1] end
  if not h then return end
  local v = as_position(value)
  local from, count = C.range(h.length, i, j)
  local good = may_write(h) and from ~= nil and v ~= nil and v >= 0 and v <= 255
  write(h, good, good and patched(h, from, string.char(v):rep(count)) or nil, "fill", value, i, j)
end)

-- ---- numbers -----------------------------------------------------------------------

local ffi = rawget(_G, "jit") and require "ffi"
local box = ffi and ffi.new("uint8_t[8]")
local ctypes = ffi and {
  u1 = "uint8_t", i1 = "int8_t", u2 = "uint16_t", i2 = "int16_t", u4 = "uint32_t", i4 = "int32_t",
  u8 = "uint64_t", i8 = "int64_t", f4 = "float", f8 = "double",
}

-- What the Lua itself makes of the bytes of a number, and the other way round; nil where it
-- has no means.
local function format_of(kind)
  local letter = kind.type == "f" and (kind.size == 4 and "f" or "d") or (kind.type == "u" and "I" or "i") .. kind.size
  return (kind.big and ">" or "<") .. letter
end

local function decode(kind, bytes)
  if sunpack then return (sunpack(format_of(kind), bytes)) end
  if not ffi then return nil end
  ffi.copy(box, kind.big and bytes:reverse() or bytes, kind.size)
  return ffi.cast(ctypes[kind.type .. kind.size] .. " *", box)[0]
end

local function encode(kind, v)
  if spack then return spack(format_of(kind), v) end
  if not ffi then return nil end
  ffi.cast(ctypes[kind.type .. kind.size] .. " *", box)[0] = v
  local bytes = ffi.string(box, kind.size)
  return kind.big and bytes:reverse() or bytes
end

op(46, "number", function()
  local h, kind = take_handle(), pick(kinds)
  local pos = position(h)
  if not h then return end
  local at = C.place(h.length, pos, kind.size)
  local own = h.owned > 0 and M.bytes(h)
  local plain = sunpack or ffi or kind.size < 8 or kind.type == "f" -- else beyond 2^53 it raises
  local before = M.disturbed
  local good = h.owned > 0 and at ~= nil
  local ok, v = attempt((plain or not good) and good or nil, kind.name, call(kind.name), h.ud, pos)
  if not ok or M.disturbed > before or not own then return end
  local wanted = decode(kind, M.part(own, at, kind.size))
  must(wanted == nil or v == wanted or v ~= v and wanted ~= wanted, "%s: %s, expected %s", kind.name, M.show(v),
    M.show(wanted))
end)

op(47, "set number", function()
  local h, kind = take_handle(), pick(kinds)
  local pos, b = position(h), byte()
  if not h then return end
  local name, v = "set_" .. kind.name, b % 128
  local at = C.place(h.length, pos, kind.size)
  local good = may_write(h) and at ~= nil
  local wanted
  if b < 128 then
    if kind.type ~= "u" and byte() % 2 == 1 then v = -v end
    local bytes = at and encode(kind, v)
    wanted = bytes and patched(h, at, bytes)
  else
    v = odd[byte() % ODD + 1]
    good = good and nil -- which of these fit, number_spec.lua says
  end
  write(h, good, wanted, name, pos, v)
end)

local formats = {
  { "<I2", 513 }, { ">i4", -2 }, { "<d", 0.5 }, { ">f", -1.5 }, { "z", "ab" }, { "s1", "xyz" }, { "<s2", "" },
  { "Bxb", 200, -3 }, { "!4 b<I4", 1, 70000 }, { ">!8 bXi8i8", 1, -1 }, { "c5", "ab" }, { "<I3>I3", 1, 2 },
  { "<j", 77 }, { "=n", 2.5 }, { "i17", 1 }, { "c2", "abc" }, { "B", 256 }, { "q", 1 }, { "<i1", "x" }, { "z", "a\0" },
}
local BAD = 14 -- those from there on must be refused

op(48, "pack", function()
  local h, k = readable(), byte() % #formats + 1
  if not h then return end
  local f = formats[k]
  local good = C.may_grow(h)
  if k > BAD then good = false end
  local own = h.owned > 0 and M.bytes(h)
  local wanted
  if own and k <= BAD and spack then wanted = own .. spack(unpack(f)) end
  write(h, good, wanted, "pack", unpack(f))
end)

-- All results in a table, or an error.
local function unpack_all(ud, fmt, pos)
  local t = { core.buffer_methods.unpack(ud, fmt, pos) }
  return t
end

op(49, "unpack", function()
  local h, f, pos = readable(), pick(formats), position()
  if not h then return end
  local own = h.owned > 0 and M.bytes(h)
  local before = M.disturbed
  M.may_be_held(h)
  local good = h.owned > 0 and as_position(pos or 1) ~= nil
  local ok, t = attempt(not good and false or nil, "unpack", unpack_all, h.ud, f[1], pos)
  -- Position 0 is an error in Lua 5.3, and 1 in 5.4.
  local comparable = type(pos or 1) == "number" and as_size(pos or 1) and pos ~= 0
  if M.disturbed > before or not own or not sunpack or not comparable then return end
  local wanted = { pcall(sunpack, f[1], own, pos) }
  must(ok == wanted[1], "unpack(%s, %s): %s", f[1], M.show(pos), ok and "no error" or M.show(t))
  for i = 2, ok and #wanted or 0 do
    must(t[i - 1] == wanted[i] or wanted[i] ~= wanted[i], "unpack(%s): %s", f[1], M.show(t[i - 1]))
  end
end)

return { write = write, copy = copy, readable = readable }
