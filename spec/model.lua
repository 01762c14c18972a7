-- What operations.lua compares buffers with: blocks are Lua strings that several handles
-- show parts of, so a write through one is seen by the others. Says what each call must
-- return or which error it must raise, before the call is made.
local bytepool = require "bytepool"

local M = {
  sizes = { 64, 256, 1024, 1500 },
  live = {},     -- handles
  dead = {},     -- the last few that died
  count = {},    -- blocks out, by tier size; 0: alone
  requests = 0,
  step = 0,
}

local char, floor, max, min = string.char, math.floor, math.max, math.min
local LARGEST = M.sizes[#M.sizes]

function M.fail(message, ...)
  error(("operation %d: "):format(M.step) .. message:format(...), 0)
end

-- ---- strings -------------------------------------------------------------------

-- count bytes behind the first `from`. Never an empty range: see helper.lua on LuaJIT.
local function cut(s, from, count)
  if count <= 0 then return "" end
  return s:sub(from + 1, from + count)
end
M.cut = cut

-- s with `piece` written over what stands behind the first `at` bytes.
local function patch(s, at, piece)
  if piece == "" then return s end
  local stop = at + #piece
  return cut(s, 0, at) .. piece .. cut(s, stop, #s - stop)
end

-- Clamped as the string library does: how many bytes to leave out, and how many to take.
function M.range(length, i, j)
  if i < 0 then i = max(length + i + 1, 1) elseif i == 0 then i = 1 end
  if j < 0 then j = length + j + 1 elseif j > length then j = length end
  return i - 1, max(j - i + 1, 0)
end

function M.text(random)
  local length = random(0, 3) > 0 and random(0, 20) or random(0, 9) > 0 and random(0, 200) or random(0, 2500)
  return (char(random(0, 255)) .. "ab" .. char(random(97, 100))):rep(floor(length / 4) + 1):sub(1, max(length, 1))
end

-- ---- blocks --------------------------------------------------------------------

local function tier(n)
  for _, size in ipairs(M.sizes) do if n <= size then return size end end
  return nil
end

local function new_block(n, bytes)
  local size = tier(n)
  M.requests = M.requests + 1
  M.count[size or 0] = (M.count[size or 0] or 0) + 1
  return { bytes = bytes, capacity = size or n, size = size or 0, refs = 0, frozen = false }
end

-- All counting goes through here. The last reference of a block takes it back.
local function count_refs(block, change)
  block.refs = block.refs + change
  if block.refs == 0 then M.count[block.size] = M.count[block.size] - 1 end
end
M.count_refs = count_refs

-- ---- handles -------------------------------------------------------------------

-- at: bytes of the block before the view; front: those that were consumed of it.
local function add(ud, block, at, length, slice, front)
  local handle = { ud = ud, block = block, at = at, length = length, slice = slice, front = front, owned = 1,
    place = #M.live + 1 }
  count_refs(block, 1)
  M.live[handle.place] = handle
  return handle
end

function M.view(handle, ud) -- the same as another
  return add(ud, handle.block, handle.at, handle.length, handle.slice, handle.front)
end

function M.part(handle, ud, from, length)
  return add(ud, handle.block, handle.at + from, length, true, 0)
end

function M.import(ud, token)
  local front = 0
  if not token.slice then front = token.at end
  local handle = add(ud, token.block, token.at, token.length, token.slice, front)
  count_refs(token.block, -1)
  return handle
end

-- A buffer as the library gave it: what is in it is not promised, so it is read.
function M.new(ud, n, bytes)
  return add(ud, new_block(n, bytes or ud:tostring()), 0, bytes and #bytes or n, false, 0)
end

function M.builder(ud, hint)
  return add(ud, new_block(hint, ""), 0, 0, false, 0)
end

local function remove(handle)
  local last = table.remove(M.live)
  if last ~= handle then
    last.place = handle.place
    M.live[last.place] = last
  end
end

function M.own(handle, change)
  handle.owned = handle.owned + change
  count_refs(handle.block, change)
  if handle.owned > 0 then return end
  remove(handle)
  table.insert(M.dead, handle.ud)
  if #M.dead > 8 then table.remove(M.dead, 1) end
end

-- Nobody can reach it any more: the collector gives back what it owns.
function M.forget(handle)
  remove(handle)
  count_refs(handle.block, -handle.owned)
  handle.ud = nil
end

function M.bytes(handle) return cut(handle.block.bytes, handle.at, handle.length) end

function M.write(handle, at, piece)
  local block = handle.block
  block.bytes = patch(block.bytes, handle.at + at, piece)
end

function M.consume(handle, n)
  n = min(n, handle.length)
  handle.at, handle.front, handle.length = handle.at + n, handle.front + n, handle.length - n
  return n
end

function M.capacity(handle)
  return handle.slice and handle.length or handle.block.capacity - handle.front
end

-- ---- growth --------------------------------------------------------------------

-- Why it may not grow, or nil.
function M.fixed(handle)
  local block = handle.block
  if block.frozen then return "buffer is frozen" end
  if handle.slice then return "a slice does not grow" end
  if block.refs ~= handle.owned then return ("buffer is shared (ref_count %d)"):format(block.refs) end
  return nil
end

function M.move(handle, n)
  local block, owned = new_block(n, M.bytes(handle)), handle.owned
  count_refs(block, owned)
  count_refs(handle.block, -owned)
  handle.block, handle.at, handle.front, handle.slice = block, 0, 0, false
end

function M.grow(handle, n)
  local block, need = handle.block, handle.length + n
  local all = block.capacity
  if need <= all - handle.front then return end
  if need <= all and (handle.front >= floor(all / 2) or handle.length == 0) then
    block.bytes = patch(block.bytes, 0, M.bytes(handle))
    handle.at, handle.front = 0, 0
    return
  end
  local twice = 2 * all
  if need <= LARGEST then twice = min(twice, LARGEST) end
  M.move(handle, max(need, twice))
end

-- ---- what the library says ------------------------------------------------------

-- The library's buffer shows what the model's does.
function M.verify(handle)
  local ud = handle.ud
  local real, wanted = ud:tostring(), M.bytes(handle)
  if real ~= wanted then
    M.fail("%d bytes %q instead of %d bytes %q", #real, real:sub(1, 99), #wanted, wanted:sub(1, 99))
  end
  if #ud ~= handle.length then M.fail("length %d instead of %d", #ud, handle.length) end
end

function M.verify_closely(handle)
  local ud, block = handle.ud, handle.block
  M.verify(handle)
  if ud:capacity() ~= M.capacity(handle) then
    M.fail("capacity %d instead of %d", ud:capacity(), M.capacity(handle))
  end
  if ud:ref_count() ~= block.refs then M.fail("ref_count %d instead of %d", ud:ref_count(), block.refs) end
  if ud:is_unique() ~= (block.refs == handle.owned) then M.fail("is_unique %s", tostring(ud:is_unique())) end
  if ud:is_frozen() ~= block.frozen then M.fail("is_frozen %s", tostring(ud:is_frozen())) end
  local shown = ("bytepool.buffer: %d/%d refs=%d"):format(handle.length, block.capacity, block.refs)
  if tostring(ud) ~= shown then M.fail("%s instead of %s", tostring(ud), shown) end
  if bytepool.type(ud) ~= "buffer" then M.fail("a %s", bytepool.type(ud)) end
end

-- After a full collection: nothing that was forgotten is out any more.
function M.verify_pool(stats)
  for size, t in pairs(stats.pools) do
    if t.in_use ~= (M.count[size] or 0) then
      M.fail("%d blocks of %d bytes out instead of %d", t.in_use, size, M.count[size] or 0)
    end
  end
  local alone = stats.discarded - stats.discarded_put
  if alone ~= (M.count[0] or 0) then M.fail("%d oversize blocks out instead of %d", alone, M.count[0] or 0) end
  if stats.requests ~= M.requests then M.fail("%d requests instead of %d", stats.requests, M.requests) end
end

return M
