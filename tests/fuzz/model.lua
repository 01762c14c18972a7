-- What ops.lua compares bytepool with: which references each handle owns, which part of a
-- block it shows, what each block and pool must say, and how a call may fail.
--
-- The collector runs inside the calls under test and nowhere else. A finalizer that runs
-- there (a bomb of misuse.lua) calls operations of its own: then what the outer call was expected to
-- do is open, but the sums are not.

local core = require "bytepool.core"
local fuzz = require "fuzz" -- by lua.c

local M = {
  pools = {}, handles = {}, functions = {}, threads = {}, raws = {},
  tokens = {}, lost = {}, -- lost: an import was cut short by a stranger's error
  disturbed = 0,       -- how often a stranger's finalizer ran
  in_finalizer = false,
  forged = nil,        -- what bears another's metatable just now
  failure = nil,       -- the first thing that was wrong
}

-- LuaJIT finishes a cycle at each exit of a trace, also where its collector is stopped: so
-- nothing here is compiled, and what calls the library's traces outside of attempt must
-- bear a finalizer.
if rawget(_G, "jit") then rawget(_G, "jit").off(true, true) end

local collectgarbage, pcall, type = collectgarbage, pcall, type
M.MAX = core.max_size
M.SMALL = 256          -- lengths up to which the bytes are modelled

function M.fail(message)
  M.failure = M.failure or message
  error("fuzz: " .. message, 0)
end

-- Also while all numbers carry one of our metatables, which misuse.lua gives them.
function M.show(v)
  local ok, text = pcall(tostring, v)
  return ok and text or type(v)
end

local function must(holds, message, ...)
  if not holds then M.fail(message:format(...)) end
end
M.must = must

-- ---- the input ---------------------------------------------------------------

local data, at = "", 1

function M.byte()
  local b = data:byte(at) or 0
  at = at + 1
  return b
end

function M.left() return at <= #data end

-- The next count bytes, for later.
function M.cut(count)
  local piece = data:sub(at, at + count - 1)
  at = at + count
  return piece
end

-- Runs fn on an input of its own.
function M.with_input(text, fn)
  local old_data, old_at = data, at
  data, at = text, 1
  local ok, message = pcall(fn)
  data, at = old_data, old_at
  if not ok then error(message, 0) end
end

-- An element of a list; nil is one too where n says so.
function M.pick(list, n) return list[M.byte() % (n or #list) + 1] end

-- ---- calls ---------------------------------------------------------------------

-- "stop" or "restart". A collector that runs can raise a finalizer's error even here.
function M.collector(what)
  if M.in_finalizer then return end
  repeat until pcall(collectgarbage, what)
end

local function guarded(f, ...)
  M.collector "restart"
  local ok, a, b, c = pcall(f, ...)
  M.collector "stop"
  return ok, a, b, c
end

-- Calls f: it must succeed or fail as expected (nil: either), and its message must begin
-- with the method's name, behind a position or not. True and results, or false.
function M.attempt(expected, method, f, ...)
  local before = M.disturbed
  local ok, a, b = guarded(f, ...)
  if M.closing then return false end
  if M.failure then error(M.failure, 0) end
  local calm = M.disturbed == before
  if ok then
    must(expected ~= false or not calm, "%s was not refused", method)
    return true, a, b
  end
  must(type(a) == "string", "%s: the error is a %s", method, type(a))
  if a:find("stranger", 1, true) then
    must(not calm, "%s: nobody's error", method)
    return false, "stranger"
  end
  local text = a:match("^[^:]*%.lua:%d+: (.*)$") or a
  must(text:sub(1, #method + 2) == method .. ": ", "%s: odd message: %s", method, a)
  must(expected ~= true or not calm, "%s was refused: %s", method, a)
  return false, a
end

-- A Lua caller, so that messages have a position to name.
function M.caller(methods, name)
  return function(self, ...)
    local x, y = methods[name](self, ...)
    return x, y
  end
end

-- ---- pools, blocks, handles ------------------------------------------------------

function M.add_pool(slot, ud, max_idle)
  local pool = {ud = ud, open = true, requests = 0, blocks = {}, max_idle = max_idle, raws = 0}
  pool.sizes = core.pool_methods.get_available_sizes(ud)
  M.pools[slot] = pool
  fuzz.note_pool(ud)
  return pool
end

-- Count bytes behind the first `from`. Never an empty range: LuaJIT 2.1.0-beta3 compiles some
-- of those into the whole string.
function M.part(text, from, count)
  if count <= 0 then return "" end
  return text:sub(from + 1, from + count)
end

-- A handle on a block, which shows what lua.c says: `at` of its bytes come before the view.
function M.add_handle(ud, block)
  local slot
  for i = 1, 12 do slot = slot or not M.handles[i] and i end
  local h = {ud = ud, owned = 1, block = block}
  local address
  address, h.at, h.length, h.slice = fuzz.view(ud)
  block.address = block.address or address
  must(address == block.address, "a handle on another block")
  block.refs = block.refs + 1
  if slot then M.handles[slot] = h else M.forget(h) end
  if block.bytes and #block.bytes < h.at + h.length then M.believe(h) end -- others were cut shorter
  return h
end

function M.add_block(pool, ud, length)
  local block = {pool = pool, refs = 0, slack = 0, frozen = false}
  pool.blocks[block] = true
  pool.requests = pool.requests + 1
  if length <= M.SMALL then block.bytes = fuzz.bytes(ud) end
  return M.add_handle(ud, block)
end

local function settle(block)
  if block.refs + block.slack == 0 then block.pool.blocks[block] = nil end
end

-- h took `count` references more, or gave some back.
function M.own(h, count)
  local block = h.block
  h.owned = h.owned + count
  if h.forgotten then -- but a release function holds it
    block.slack = math.max(block.slack + count, 0)
  else
    block.refs = block.refs + count
  end
  settle(block)
end

-- What h owns comes back some time; who reads the block's count may see it or not.
function M.forget(h)
  local block = h.block
  block.refs = block.refs - h.owned
  block.slack = block.slack + h.owned
  h.forgotten = true
  for i = 1, 12 do
    if M.handles[i] == h then M.handles[i] = nil end
  end
  if h.release then M.functions[h.release] = nil end
  settle(block)
end

-- ---- bytes -----------------------------------------------------------------------

-- What h shows, or nil where its block is too large to be modelled.
function M.bytes(h)
  return h.block.bytes and M.part(h.block.bytes, h.at, h.length)
end

-- h may have moved to a block of its own by now.
local function follow(h)
  local address, before, length, slice = fuzz.view(h.ud)
  local old = h.block
  if address ~= old.address then
    local new = {pool = old.pool, address = address, refs = 0, slack = 0, frozen = false}
    local count = h.forgotten and "slack" or "refs"
    old[count], new[count] = old[count] - h.owned, h.owned
    new.pool.blocks[new], new.pool.requests = true, new.pool.requests + 1
    h.block = new
    settle(old)
  end
  h.at, h.length, h.slice = before, length, slice
end

-- What is in h's block is taken as it is: nobody can say what it should be.
function M.believe(h)
  if h.owned == 0 then return end
  follow(h)
  local longest = fuzz.contents(h.ud, M.SMALL)
  for _, other in pairs(M.handles) do
    if other.block == h.block and other.owned > 0 and longest then
      local bytes = fuzz.contents(other.ud, M.SMALL)
      if not bytes or #bytes > #longest then longest = bytes end
    end
  end
  h.block.bytes = longest
end

-- From now on h shows these bytes; nil: not known.
function M.shows(h, bytes)
  if not bytes or #bytes > M.SMALL then return M.believe(h) end
  local old = h.block
  follow(h)
  must(h.length == #bytes, "a length of %d, expected %d", h.length, #bytes)
  local all = old == h.block and old.bytes or old ~= h.block and ""
  if not all or #all < h.at or h.at + #bytes > M.SMALL then return M.believe(h) end
  local stop = h.at + #bytes
  h.block.bytes = M.part(all, 0, h.at) .. bytes .. M.part(all, stop, #all - stop)
end

-- A copy is made under a reference more, which a finalizer sees.
function M.may_be_held(h) h.block.slack = h.block.slack + 1 end

-- ---- comparing -------------------------------------------------------------------

local disturbed_at = 0 -- M.disturbed when comparing began

local function same(holds, message, ...)
  if not holds and M.disturbed == disturbed_at then M.fail(message:format(...)) end
end

local function compare_handle(h)
  local m, block = core.buffer_methods, h.block
  same(fuzz.owned(h.ud) == h.owned, "a handle owns %d, expected %d", fuzz.owned(h.ud), h.owned)
  same(core.type(h.ud) == (h.owned > 0 and "buffer" or "released buffer"), "type of a handle")
  if h.owned == 0 then return end
  local refs = m.ref_count(h.ud)
  same(refs >= block.refs and refs <= block.refs + block.slack, "ref_count %d, expected %d to %d",
    refs, block.refs, block.refs + block.slack)
  block.slack = refs - block.refs
  same(#h.ud == h.length and m.len(h.ud) == h.length, "a length")
  same(m.capacity(h.ud) >= h.length, "a capacity")
  same(m.is_frozen(h.ud) == block.frozen, "frozen or not")
  same(m.is_unique(h.ud) == (refs == h.owned), "unique or not")
  if block.bytes then same(m.tostring(h.ud) == M.bytes(h), "bytes of a buffer") end
end

local function compare_tiers(s)
  local get, put, in_use = 0, 0, 0
  for _, t in pairs(s.pools) do
    same(t.get == t.hit + t.miss and t.in_use == t.get - t.put, "in_use = get - put")
    same(t.owned == t.in_use + t.idle and t.idle == t.cached + t.depot, "owned = in_use + idle")
    get, put, in_use = get + t.get, put + t.put, in_use + t.in_use
  end
  local gone = s.drained -- tiers that a change took away
  same(gone.get == gone.put and gone.get == gone.hit + gone.miss, "drained tiers")
  same(get + gone.get == s.total_get and put + gone.put == s.total_put, "totals")
  same(in_use + s.discarded - s.discarded_put == s.in_use, "in_use of a pool")
end

local function compare_pool(pool, deep)
  local live, ghosts = pool.raws, 0
  for block in pairs(pool.blocks) do
    if block.refs > 0 then live = live + 1 else ghosts = ghosts + 1 end
  end
  local s = core.pool_methods.get_pool_stats(pool.ud)
  compare_tiers(s)
  same(s.requests == pool.requests, "%d requests, expected %d", s.requests, pool.requests)
  same(s.in_use >= live and s.in_use <= live + ghosts, "in_use %d, expected %d to %d", s.in_use,
    live, live + ghosts)
  if s.in_use == live then
    for block in pairs(pool.blocks) do
      if block.refs == 0 then pool.blocks[block] = nil end
    end
  end
  local broken = deep and fuzz.check(pool.ud)
  same(not broken, "%s", broken or "")
end

local function compare(deep)
  for _, h in pairs(M.handles) do compare_handle(h) end
  for _, pool in pairs(M.pools) do
    same(core.type(pool.ud) == (pool.open and "pool" or "closed pool"), "type of a pool")
    if pool.open then compare_pool(pool, deep) end
  end
end

-- Once more where a finalizer ran meanwhile. deep: bp_pool_check too.
function M.compare(deep)
  repeat
    disturbed_at = M.disturbed
    local ok, message = pcall(compare, deep)
    if M.failure then error(M.failure, 0) end
    must(ok or M.disturbed > disturbed_at, "comparing: %s", M.show(message))
  until M.disturbed == disturbed_at
end

-- Tokens outlive their state.
function M.take_tokens()
  for _, list in ipairs { M.tokens, M.lost } do
    for slot, token in pairs(list) do
      core.import(token.text):release()
      token.block.refs = token.block.refs - 1
      settle(token.block)
      list[slot] = nil
    end
  end
end

-- Lets everything go; lua.c collects then, and calls M.finish.
function M.drop()
  M.closed = true
  for _, h in pairs(M.handles) do M.forget(h) end
  M.handles, M.functions, M.threads = {}, {}, {}
  M.take_tokens()
end

function M.finish()
  M.compare(true)
  for _, pool in pairs(M.pools) do
    if pool.open then
      local s = core.pool_methods.get_pool_stats(pool.ud)
      must(s.in_use == pool.raws, "%d buffers were lost", s.in_use - pool.raws)
    end
  end
end

return M
