-- Operations that make buffers longer or shorter, show parts of them, go through them piece by
-- piece, end with a piece of program, or talk to files.

local core = require "bytepool.core"
local bytepool = require "bytepool"
local B = require "bytes"
local C = require "choices"
local M = require "model"
local fuzz = require "fuzz"

local byte, pick, attempt, must = M.byte, M.pick, M.attempt, M.must
local op, odd, ODD = C.op, C.odd, C.ODD
local take_pool, take_handle, call, pool_call = C.take_pool, C.take_handle, C.call, C.pool_call
local as_size, position, may_grow = C.as_size, C.position, C.may_grow
local write, readable = B.write, B.readable
if rawget(_G, "jit") then rawget(_G, "jit").off(true, true) end -- see model.lua

local HUGE = 2 ^ 26 -- from there on memory may run out

-- Like B.write, of a method that may find no memory. n: the bytes asked for.
local function grow(h, good, wanted, n, name, ...)
  local before = M.disturbed
  local ok, self, message = attempt(good, name, call(name), h.ud, ...)
  if ok and self == nil then
    must(message == "out of memory" and (n >= HUGE or M.disturbed > before), "%s: %s", name, M.show(message))
  else
    must(not ok or name == "reserve" or rawequal(self, h.ud), "%s does not return self", name)
  end
  if M.disturbed > before then
    M.believe(h)
  elseif ok and self ~= nil then
    M.shows(h, wanted)
  end
  return ok and self
end

-- ---- parts and sharing -----------------------------------------------------------

op(30, "slice", function()
  local h, b = take_handle(), byte()
  local i, j = b % 4 > 0 and position(h) or nil, b % 8 > 3 and position(h) or nil
  if not h then return end
  local from, count = C.range(h.length, i, j)
  local ok, ud = attempt(h.owned > 0 and from ~= nil, "slice", call "slice", h.ud, i, j)
  if not ok then return end
  local part = M.add_handle(ud, h.block)
  must(part.slice and part.at == h.at + from and part.length == count, "slice: another part")
end)

op(31, "split", function()
  local h, n = take_handle(), C.size()
  if not h then return end
  local size, at, length = as_size(n), h.at, h.length
  local before = M.disturbed
  local ok, ud = attempt(h.owned > 0 and size ~= nil and size <= length, "split", call "split", h.ud, n)
  if M.disturbed > before then M.believe(h) end
  if not ok then return end
  local head = M.add_handle(ud, h.block)
  if M.disturbed > before then return end
  must(head.slice and head.at == at and head.length == size, "split: another head")
  M.believe(h)
  must(h.slice and h.at == at + size and h.length == length - size, "split: another rest")
end)

op(32, "freeze", function()
  local h = take_handle()
  if h and attempt(h.owned > 0, "freeze", call "freeze", h.ud) then h.block.frozen = true end
end)

op(33, "unshare", function()
  local h = readable()
  if not h then return end
  local good = h.owned > 0
  if good and not h.block.pool.open then good = nil end
  local fixed = h.slice or h.block.frozen or h.block.refs > h.owned
  local before = M.disturbed
  local old = h.block
  local done = grow(h, good, h.owned > 0 and M.bytes(h) or nil, 0, "unshare")
  if done and M.disturbed == before then
    must(not fixed or h.block ~= old, "unshare: did not move")
    must(not h.slice and not h.block.frozen, "unshare: still fixed")
  end
end)

-- ---- growing ---------------------------------------------------------------------

op(60, "builder", function()
  local pool, hint = take_pool(), C.size()
  if not pool then return end
  local size = hint == nil and 0 or as_size(hint)
  local ok, ud, message = attempt(pool.open and size ~= nil, "builder", pool_call "builder", pool.ud, hint)
  if not ok then return end
  if not ud then return must(message == "out of memory" and size >= HUGE, "builder: %s", M.show(message)) end
  local h = M.add_block(pool, ud, 0)
  must(h.length == 0 and not h.slice, "builder: not empty")
end)

local shown = setmetatable({}, { __tostring = function() return "shown" end })

-- A value to put, and its bytes as C.operand has them.
local function value_for(h)
  local b = byte()
  if b < 20 then return b, ("%d"):format(b) end -- numbers may bear a forged __tostring
  if b < 30 then return shown, "shown" end
  if b < 35 then return pick { {}, true, print, coroutine.create(print) }, false end
  return C.operand(h)
end

-- What h must show with these behind it, or nil; whether they can be put.
local function joined(h, ...)
  local bytes, good = h.owned > 0 and M.bytes(h) or nil, true
  for i = 1, select("#", ...) do
    local more = select(i, ...)
    if more == false then good = false end
    bytes = bytes and more and bytes .. more or nil
  end
  return bytes, good
end

local function refused_where(bad, good) if bad then return false end return good end

op(34, "put", function()
  local h, count = readable(), byte() % 4
  local a, a_bytes = value_for(h)
  local b, b_bytes = value_for(h)
  if not h then return end
  if count == 0 then
    grow(h, may_grow(h), h.owned > 0 and M.bytes(h) or nil, 0, "put")
  elseif count == 1 then
    local wanted, good = joined(h, a_bytes, b_bytes)
    grow(h, refused_where(not good, may_grow(h)), wanted, 0, "put", a, b)
  else
    local wanted, good = joined(h, a_bytes)
    grow(h, refused_where(not good, may_grow(h)), wanted, 0, "put", a)
  end
end)

op(35, "putf", function()
  local h, k = readable(), byte()
  if not h then return end
  local text = C.text(h)
  if k % 16 == 0 then return grow(h, false, nil, 0, "putf", "%d", "x") end
  local wanted = joined(h, ("%d<%s>%5.1f"):format(k, text, k / 4))
  grow(h, may_grow(h), wanted, 0, "putf", "%d<%s>%5.1f", k, text, k / 4)
end)

op(36, "set", function()
  local h = readable()
  local value, bytes = value_for(h)
  if not h then return end
  grow(h, refused_where(bytes == false, may_grow(h)), bytes or nil, 0, "set", value)
end)

op(37, "reserve, commit", function()
  local h, n, m = readable(), C.size(), C.size()
  if not h then return end
  local size = as_size(n)
  local room = grow(h, refused_where(not size, may_grow(h)), h.owned > 0 and M.bytes(h) or nil, size or 0, "reserve", n)
  if h.length > 2 ^ 20 then return end
  if room then must(room >= size, "reserve: %s", M.show(room)) end
  size = as_size(m)
  if size and size > 2 ^ 20 then return end
  local good = may_grow(h)
  if not size then
    good = false
  elseif good then
    good = size <= core.buffer_methods.capacity(h.ud) - h.length
  end
  local length = h.length
  local before = M.disturbed
  local ok = attempt(good, "commit", call "commit", h.ud, m)
  if h.owned > 0 then M.believe(h) end
  if ok and M.disturbed == before then must(h.length == length + size, "commit: length %d", h.length) end
end)

op(45, "resize", function()
  local h, n = readable(), C.size()
  if not h then return end
  local size, bytes = as_size(n), h.owned > 0 and M.bytes(h) or nil
  if size and size > 2 ^ 20 and h.owned > 0 and core.buffer_methods.capacity(h.ud) > size then return end
  local good = h.owned > 0 and size ~= nil
  if good and size > h.length then good = may_grow(h) end
  if bytes and size then
    bytes = size <= #bytes and M.part(bytes, 0, size) or size <= M.SMALL and bytes .. ("\0"):rep(size - #bytes) or nil
  end
  grow(h, good, bytes, size or 0, "resize", n)
end)

op(44, "reset, free", function()
  local h, name = take_handle(), pick { "reset", "free" }
  if not h then return end
  local good = h.owned > 0
  if name == "free" then good = may_grow(h) end
  grow(h, good, "", 0, name)
end)

-- ---- consuming -------------------------------------------------------------------

op(38, "skip", function()
  local h, n = take_handle(), C.size()
  if not h then return end
  local size, bytes = as_size(n), h.owned > 0 and M.bytes(h) or nil
  local wanted = size and bytes and M.part(bytes, size, #bytes - size)
  write(h, h.owned > 0 and size ~= nil, wanted, "skip", n)
end)

op(39, "consume", function()
  local h, n = readable(), C.size()
  if not h then return end
  local size = n == nil and h.length or as_size(n)
  local bytes, before = h.owned > 0 and M.bytes(h) or nil, M.disturbed
  M.may_be_held(h)
  local ok, s = attempt(h.owned > 0 and size ~= nil, "get", call "get", h.ud, n)
  if M.disturbed > before then return M.believe(h) end
  if not ok then return end
  must(not bytes or s == M.part(bytes, 0, math.min(size, #bytes)), "get: other bytes")
  M.shows(h, bytes and M.part(bytes, size, #bytes - size))
end)

-- ---- piece by piece ----------------------------------------------------------------

-- The pieces joined, with the delimiter where one ended them.
local function pieces(ud, name, delimiter, max)
  local iterate, list = core.buffer_methods[name], {}
  local function add(piece, ended)
    list[#list + 1] = piece:tostring() .. (ended and delimiter or "")
    piece:release()
  end
  if name == "lines" then
    for piece, ended in iterate(ud, max) do add(piece, ended) end
  else
    for piece, ended in iterate(ud, delimiter, max) do add(piece, ended) end
  end
  return table.concat(list), #list
end

-- Longest piece between delimiters.
local function longest(bytes, delimiter)
  local at, most = 1, 0
  while true do
    local a, b = bytes:find(delimiter, at, true)
    most = math.max(most, (a or #bytes + 1) - at)
    if not a then return most end
    at = b + 1
  end
end

op(54, "lines, split_on", function()
  local h, name, delimiter = readable(), pick { "lines", "split_on" }, pick { "\n", "b", "ab", false }
  local max = pick({ 3, 20, 1000, -1 }, 5)
  if not h or h.length > 1000 then return end
  local bytes, before = h.owned > 0 and M.bytes(h), M.disturbed
  if name == "lines" then delimiter = "\n" end
  if not delimiter then delimiter = bytes and #bytes > 2 and M.part(bytes, 1, 2) or "x" end
  local good = h.owned > 0 and (max == nil or max >= 0)
  if good and max then good = bytes and longest(bytes, delimiter) <= max or nil end
  h.block.slack = h.block.slack + 3 -- what the loop holds, a piece, and a copy's reference
  local ok, text, count = attempt(good, name, pieces, h.ud, name, delimiter, max)
  if not ok or not bytes or M.disturbed > before then return end
  must(text == bytes and (count > 0) == (#bytes > 0), "%s: other pieces", name)
end)

op(55, "left early", function() -- a loop that is left after a piece, which stays
  local h = readable()
  if not h then return end
  h.block.slack = h.block.slack + 2
  local ok, ud = attempt(h.owned > 0, "lines", function(buf)
    local next_piece = buf:lines()
    return (next_piece())
  end, h.ud)
  if ok and ud then M.add_handle(ud, h.block) end
end)

-- ---- pieces of program ---------------------------------------------------------------

op(56, "using", function()
  local pool, n, raises = take_pool(), byte(), byte() % 4 == 0
  if not pool or M.in_finalizer then return end
  local h
  local ok = attempt(pool.open and not raises, "using", function(ud)
    return ud:using(n, function(buf)
      M.collector "stop"
      h = M.add_block(pool, buf, n)
      M.run_one()
      M.run_one()
      if raises then error("using: on purpose", 0) end
      return buf
    end)
  end, pool.ud)
  must(not ok or not raises, "using: an error was lost")
  if h then M.own(h, -h.owned) end
end)

op(57, "scope", function()
  local pool, h, count = take_pool(), take_handle(), byte() % 4
  if not pool or M.in_finalizer then return end
  local ok, scope = attempt(pool.open, "scope", pool_call "scope", pool.ud)
  if not ok then return end
  local list = {}
  local function method(name) return function(...) return scope[name](scope, ...) end end
  for _ = 1, count do
    local got, ud = attempt(pool.open, "get_buffer", method "get_buffer", byte() % 64)
    if got then list[#list + 1] = M.add_block(pool, ud, 64) end
  end
  if h and attempt(h.owned > 0, "add", method "add", h.ud) then list[#list + 1] = h end
  M.run_one()
  if attempt(true, "close", method "close") then
    for _, held in ipairs(list) do M.own(held, -held.owned) end
    attempt(false, "get_buffer", method "get_buffer", 1)
  end
end)

-- ---- files -----------------------------------------------------------------------------

-- What is no file, for a call that must be refused; a finalizer may have closed the other.
local function no_file(h)
  local closed = assert(io.tmpfile())
  closed:close()
  return pick { "x", {}, true, closed, -1, 0.5, h.ud }
end

op(58, "read_from", function()
  local h, how = readable(), byte()
  local text = ("read%c"):format(how):rep(how % 40)
  local n = how % 2 == 1 and C.size() or nil
  if not h then return end
  if how > 250 then return grow(h, false, nil, 0, "read_from", no_file(h)) end
  local size = n == nil and #text or as_size(n)
  local good, bytes = refused_where(not size, may_grow(h)), h.owned > 0 and M.bytes(h) or nil
  local file, before = assert(io.tmpfile()), M.disturbed
  file:write(text)
  file:seek("set", 0)
  local ok, count, message = attempt(good, "read_from", call "read_from", h.ud, file, n)
  file:close()
  if M.disturbed > before then return M.believe(h) end
  if not ok then return end
  if count == nil then return must(message == "out of memory" and size >= HUGE, "read_from: %s", M.show(message)) end
  must(count == math.min(size, #text), "read_from: %s bytes", M.show(count))
  M.shows(h, bytes and bytes .. M.part(text, 0, count))
end)

op(59, "write_to", function()
  local h, how = readable(), byte()
  if not h then return end
  if how > 240 then return attempt(false, "write_to", call "write_to", h.ud, no_file(h)) end
  local bytes, length = h.owned > 0 and M.bytes(h), h.length
  local file, before = assert(io.tmpfile()), M.disturbed
  local ok, count = attempt(h.owned > 0, "write_to", call "write_to", h.ud, file)
  local calm = M.disturbed == before
  file:seek("set", 0)
  local text = file:read("*a")
  file:close()
  if not ok or not calm then return end
  must(count == length and #text == length and (not bytes or text == bytes), "write_to: other bytes")
end)

op(62, "writev", function()
  local h, g, from = readable(), readable(), byte() % 32
  if not h or not g then return end
  local a, b = h.owned > 0 and M.bytes(h), g.owned > 0 and M.bytes(g)
  local good = h.owned > 0 and g.owned > 0 and from <= h.length + g.length + 1
  local file, before = assert(io.tmpfile()), M.disturbed
  local ok, count = attempt(good, "writev", function(...) return (bytepool.writev(...)) end, file,
    { h.ud, "-", g.ud }, from)
  local calm = M.disturbed == before
  file:seek("set", 0)
  local text = file:read("*a")
  file:close()
  if not ok or not calm or not a or not b then return end
  local wanted = a .. "-" .. b
  must(count == #wanted - from and text == M.part(wanted, from, #wanted - from), "writev: other bytes")
end)

op(63, "odd", function() -- sizes that are none, and what only C says
  local h, v = take_handle(), odd[byte() % ODD + 1]
  if not h then return end
  local name = pick { "split", "resize", "reserve", "commit", "skip", "get" }
  if as_size(v) or name == "get" and v == nil then return end
  attempt(false, name, call(name), h.ud, v)
  must(h.owned == 0 or fuzz.owned(h.ud) == h.owned, "%s: other references", name)
end)
