-- The operations of differential_spec.lua: each does one thing to the library's buffer and to
-- the model's, and compares what the library returned.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local M = dofile(here .. "/model.lua")
local bytepool = require "bytepool"

local MOST_BYTES = 6000
local live = M.live
local functions, tokens = {}, {}
local pool -- of the run

local function random(low, high) return M.random(low, high) end

local function pick(list) return list[random(1, #list)] end

-- Calls a method, which must raise exactly err where that is not nil. True and its results.
local function call(err, handle, name, ...)
  local ud = handle.ud
  local ok, a, b = pcall(ud[name], ud, ...)
  if err then
    err = name .. ": " .. err
    if ok then M.fail("%s did not raise: %s", name, err) end
    if a ~= err then M.fail("%s raised '%s' instead of '%s'", name, tostring(a), err) end
    return false
  end
  if not ok then M.fail("%s raised '%s'", name, tostring(a)) end
  return true, a, b
end

local function same(name, real, wanted)
  if real ~= wanted then M.fail("%s: %s instead of %s", name, tostring(real), tostring(wanted)) end
end

-- The same for what returns self.
local function call_self(err, handle, name, ...)
  local done, result = call(err, handle, name, ...)
  if done then same(name, result, handle.ud) end
  return done
end

-- ---- operands ------------------------------------------------------------------

local function text() return M.text(random) end

-- A string or a buffer: what to pass, and the bytes it stands for.
local function operand()
  if random(0, 1) == 0 then
    local other = pick(live)
    return other.ud, M.bytes(other)
  end
  local s = text()
  return s, s
end

local function position(length)
  if random(0, 9) == 0 then return pick { 0, 1e6, -1e6, 2 ^ 53, -2 ^ 53, math.huge, -math.huge } end
  return random(-length - 2, length + 2)
end

-- i and j from a valid range, negative now and then; and what they mean.
local function valid_range(length)
  local from = random(0, length)
  local count = random(0, length - from)
  local i, j = from + 1, from + count
  if i <= length and random(0, 2) == 0 then i = i - length - 1 end
  if j > 0 and random(0, 2) == 0 then j = j - length - 1 end
  return i, j, from, count
end

-- Where `count` bytes fit in the length, or nil.
local function valid_place(length, count)
  if count > length then return nil end
  local at = random(0, length - count)
  return at < length and random(0, 2) == 0 and at - length or at + 1, at
end

local function size()
  return random(0, 3) > 0 and random(0, 100) or random(0, 9) > 0 and random(0, 1500) or random(1501, 4000)
end

local function frozen(handle) return handle.block.frozen and "buffer is frozen" or nil end

-- ---- operations: each on a live handle -------------------------------------------

local ops, weights = {}, {}
local function op(name, weight, fn)
  ops[name] = fn
  for _ = 1, weight do weights[#weights + 1] = name end
end

op("get", 6, function()
  local n, name = size(), pick { "get", "get_buffer" }
  M.new(pool[name](pool, n), n)
end)
op("builder", 4, function()
  local hint = random(0, 2) == 0 and size() or 0
  M.builder(pool:builder(hint), hint)
end)
op("from_string", 6, function()
  local s = text()
  M.new(pool:from_string(s), #s, s)
end)

op("retain", 3, function(b)
  call_self(nil, b, "retain")
  M.own(b, 1)
end)
op("release", 8, function(b)
  local how = random(0, 2)
  if how == 0 then
    pool:release_buffer(b.ud)
  else
    call(nil, b, "release")
  end
  M.own(b, -1)
end)
op("put back", 3, function(b)
  local ok, err = pcall(pool.put, pool, b.ud)
  same("put", ok, b.block.refs == 1)
  if ok then return M.own(b, -1) end
  same("put", err, ("put: buffer is shared (ref_count %d)"):format(b.block.refs))
end)
op("finalize", 1, function(b)
  debug.getmetatable(b.ud)[pick { "__gc", "__close" }](b.ud)
  M.own(b, -b.owned)
end)
op("forget", 1, function(b)
  if b.block.refs == b.owned and not b.held then M.forget(b) end
end)
op("share", 5, function(b)
  local _, ud = call(nil, b, "share")
  M.view(b, ud)
end)
op("bytes", 3, function(b)
  local _, ud, release = call(nil, b, "bytes")
  local view = M.view(b, ud)
  view.held = true -- by the function: it can not be forgotten
  functions[random(1, 4)] = { release, view }
end)
op("release function", 3, function()
  local f = functions[random(1, 4)]
  if not f then return end
  local ok, err = pcall(f[1])
  same("release function", ok, not f.used and f[2].owned > 0)
  if ok then
    f.used = true
    return M.own(f[2], -1)
  end
  same("release function", err, f.used and "bytes: this release function was used already"
    or "bytes: buffer already released")
end)
op("slice", 8, function(b)
  local i, j, from, count = valid_range(b.length)
  local _, ud = call(nil, b, "slice", i, j)
  M.verify_closely(M.part(b, ud, from, count))
end)
op("split", 3, function(b)
  local n = random(0, b.length)
  local _, ud = call(nil, b, "split", n)
  local part = M.part(b, ud, 0, n)
  b.at, b.length, b.front, b.slice = b.at + n, b.length - n, 0, true
  M.verify(part)
end)
op("freeze", 1, function(b)
  call_self(nil, b, "freeze")
  b.block.frozen = true
end)
op("unshare", 4, function(b)
  if M.fixed(b) then M.move(b, b.length) end
  call_self(nil, b, "unshare")
end)
op("export", 2, function(b)
  local slot = random(1, 4)
  if tokens[slot] then return end
  local _, token = call(nil, b, "export")
  tokens[slot] = { token, block = b.block, at = b.at, length = b.length, slice = b.slice }
  M.count_refs(b.block, 1)
end)
op("import", 3, function()
  local slot = random(1, 4)
  local token = tokens[slot]
  if not token then return end
  tokens[slot] = nil
  M.verify_closely(M.import(bytepool.import(token[1]), token))
  same("import", (pcall(bytepool.import, token[1])), false)
end)

op("look", 6, function(b) M.verify_closely(b) end)
op("sub", 6, function(b)
  local i, j = position(b.length), position(b.length)
  local _, s = call(nil, b, "sub", i, j)
  same("sub", s, M.cut(M.bytes(b), M.range(b.length, i, j)))
end)
op("byte", 5, function(b)
  local i = position(b.length)
  local j = random(0, 1) == 0 and i or i + random(0, 8)
  local from, count = M.range(b.length, i, j)
  local real, wanted = { b.ud:byte(i, j) }, M.bytes(b)
  same("byte", #real, count)
  for k = 1, count do same("byte", real[k], (wanted:byte(from + k))) end
end)
op("compare", 5, function(b)
  local other, s = operand()
  local own = M.bytes(b)
  local _, order = call(nil, b, "compare", other)
  same("compare", order, own == s and 0 or own < s and -1 or 1)
  local _, equal = call(nil, b, "equals", other)
  same("equals", equal, own == s)
  if type(other) ~= "string" then
    same("<", b.ud < other, own < s)
    same("<=", b.ud <= other, own <= s)
  end
end)
op("ends", 4, function(b)
  local other, s = operand()
  local own = M.bytes(b)
  if random(0, 1) == 0 then
    s = M.cut(own, 0, random(0, 9))
    other = s
  end
  local _, starts = call(nil, b, "starts_with", other)
  same("starts_with", starts, M.cut(own, 0, #s) == s)
  local _, ends = call(nil, b, "ends_with", other)
  same("ends_with", ends, #s <= #own and M.cut(own, #own - #s, #s) == s)
end)
op("find", 5, function(b)
  local other, s = operand()
  local own, init = M.bytes(b), position(b.length)
  if random(0, 1) == 0 then
    s = M.cut(own, random(0, b.length), random(0, 3))
    other = s
  end
  local _, first, last = call(nil, b, "find", other, init)
  local from = M.range(b.length, init, -1)
  local wanted, wanted_last
  if from <= b.length then wanted, wanted_last = own:find(s, from + 1, true) end
  same("find", first, wanted)
  same("find", last, wanted_last)
end)
op("concat", 3, function(b)
  local other, s = operand()
  same("..", b.ud .. other, M.bytes(b) .. s)
  same("..", other .. b.ud, s .. M.bytes(b))
  same("..", 5 .. b.ud, "5" .. M.bytes(b))
end)

op("set_string", 6, function(b)
  local s = M.cut(text(), 0, b.length)
  local pos, at = valid_place(b.length, #s)
  if call_self(frozen(b), b, "set_string", pos, s) then M.write(b, at, s) end
end)
op("copy", 8, function(b)
  local other, s = operand()
  local i, j, from, count = valid_range(#s)
  local pos, at = valid_place(b.length, count)
  if pos and call_self(frozen(b), b, "copy", pos, other, i, j) then M.write(b, at, M.cut(s, from, count)) end
end)
op("fill", 4, function(b)
  local i, j, from, count = valid_range(b.length)
  local value = random(0, 255)
  if call_self(frozen(b), b, "fill", value, i, j) then M.write(b, from, string.char(value):rep(count)) end
end)

op("put", 14, function(b)
  local values, bytes, n = {}, "", random(0, 3)
  for i = 1, n do
    local s
    values[i], s = operand()
    if random(0, 4) == 0 then
      values[i] = random(0, 99999)
      s = ("%d"):format(values[i])
    elseif random(0, 9) == 0 then
      values[i], s = b.ud, M.bytes(b)
    end
    bytes = bytes .. s
  end
  if b.length + #bytes > MOST_BYTES then return ops.reset(b) end
  if call_self(M.fixed(b), b, "put", (table.unpack or unpack)(values, 1, n)) then
    M.grow(b, #bytes)
    M.write(b, b.length, bytes)
    b.length = b.length + #bytes
  end
end)
op("putf", 4, function(b)
  local n, s = random(0, 1e6), ("x"):rep(random(0, 9))
  if call_self(M.fixed(b), b, "putf", "%d<%s>", n, s) then
    local bytes = ("%d<%s>"):format(n, s)
    M.grow(b, #bytes)
    M.write(b, b.length, bytes)
    b.length = b.length + #bytes
  end
end)
op("set", 4, function(b)
  local other, s = operand()
  if not call_self(M.fixed(b), b, "set", other) or other == b.ud then return end
  b.length = 0
  M.grow(b, #s)
  M.write(b, 0, s)
  b.length = #s
end)
op("resize", 5, function(b)
  local n = random(0, 1) == 0 and random(0, b.length) or size()
  local grows = n > b.length
  if call_self(grows and M.fixed(b) or nil, b, "resize", n) then
    if grows then
      M.grow(b, n - b.length)
      M.write(b, b.length, ("\0"):rep(n - b.length))
    end
    b.length = n
  end
end)
op("reserve", 4, function(b)
  local n = size()
  local done, room = call(M.fixed(b), b, "reserve", n)
  if not done then return end
  M.grow(b, n)
  same("reserve", room, M.capacity(b) - b.length)
end)
op("commit", 4, function(b)
  local err, n, room = M.fixed(b), random(0, 80), M.capacity(b) - b.length
  if not err and n > room then err = ("%d bytes are more than the %d reserved"):format(n, room) end
  if call_self(err, b, "commit", n) then -- what lay there is not promised
    local at = b.length
    b.length = at + n
    M.write(b, at, b.ud:sub(at + 1))
  end
end)
op("reset", 4, function(b)
  call_self(nil, b, "reset")
  b.at, b.front, b.length = b.at - b.front, 0, 0
end)
op("free", 2, function(b)
  if call_self(M.fixed(b), b, "free") then
    b.length = 0
    M.move(b, 0)
  end
end)
op("skip", 4, function(b)
  local n = random(0, 60)
  call_self(nil, b, "skip", n)
  M.consume(b, n)
end)
op("take", 5, function(b)
  local n, m, own = random(0, 60), random(0, 5), M.bytes(b)
  local _, s, t = call(nil, b, "get", n, m)
  n = M.consume(b, n)
  same("get", s, M.cut(own, 0, n))
  same("get", t, M.cut(own, n, M.consume(b, m)))
  if random(0, 3) == 0 then
    _, s = call(nil, b, "get")
    same("get", s, M.bytes(b))
    M.consume(b, b.length)
  end
end)

op("using", 2, function(b)
  local n, s, fails = size(), text(), random(0, 1) == 0
  local ok, result = pcall(pool.using, pool, n, function(buf)
    if fails then error("on purpose", 0) end
    return buf:set(s):tostring() .. b.ud
  end)
  same("using", ok, not fails)
  same("using", result, fails and "on purpose" or s .. M.bytes(b))
  local twin = M.builder(nil, n) -- counts what the buffer took
  if ok then M.grow(twin, #s) end
  M.forget(twin)
end)
op("scope", 1, function(b)
  local scope = pool:scope()
  scope:add(b.ud:share())
  scope:get_buffer(size())
  scope:add(b.ud:slice()):release()
  M.requests = M.requests + 1
  scope:close()
end)

local O = { M = M, ops = ops, weights = weights, op = op, pick = pick, call = call, text = text, frozen = frozen }

function O.begin(of_run, random_of_seed)
  pool, M.random = of_run, random_of_seed
end

-- Gives all back.
function O.finish()
  for slot = 1, 4 do
    if tokens[slot] then bytepool.import(tokens[slot][1]):release() end
  end
  while live[1] do
    local handle = live[#live]
    handle.ud:release()
    M.own(handle, -1)
  end
end

return O
