-- Shared by the specs; each loads it with dofile, from its own folder, so that
-- the specs run from any working directory.
local assert = require "luassert"
local bytepool = require "bytepool"

local h = {}

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
h.root = here .. "/.."
h.is_luajit = type(rawget(_G, "jit")) == "table"
h.has_close = _VERSION == "Lua 5.4"
local unpack = table.unpack or _G.unpack

-- The lowest index is the interpreter itself, whatever options it was given.
do
  local argv, low = rawget(_G, "arg"), 0
  while argv and argv[low - 1] do low = low - 1 end
  h.interpreter = argv and argv[low]
end

-- Address space is dear under ASan and valgrind, so most pools reserve little.
function h.new(options, sizes)
  local o = { region_size = 64 * 1024 * 1024 }
  for k, v in pairs(options or {}) do o[k] = v end
  return bytepool.new_pools(sizes or bytepool.size_power_of_two(), o)
end

-- Twice: the first run calls finalizers, the second frees what they let go.
function h.collect()
  collectgarbage()
  collectgarbage()
end

-- Every figure of a pool under one flat name, but clocks, what the collector does, and the count of refusals.
function h.counters(pool)
  local flat = {}
  local function walk(t, prefix)
    for k, v in pairs(t) do
      local name = prefix .. tostring(k)
      if type(v) ~= "table" then flat[name] = v elseif name ~= "gc" then walk(v, name .. ".") end
    end
  end
  walk(pool:get_pool_stats(), "")
  flat.uptime, flat.time, flat.double_releases = nil, nil, nil
  return flat
end

-- A tier's size ends a bucket: so the buckets say each tier's gets, and what was discarded.
local function histogram_agrees(s)
  local sizes, i = { math.huge }, 1
  for size in pairs(s.pools) do sizes[#sizes + 1] = size end
  table.sort(sizes)
  for _, size in ipairs(sizes) do
    local sum = 0
    while s.histogram[i] and s.histogram[i].le <= size do
      assert.is_true(s.histogram[i].count > 0)
      assert.is_true(i == 1 or s.histogram[i].le > s.histogram[i - 1].le)
      sum, i = sum + s.histogram[i].count, i + 1
    end
    assert.equal(s.pools[size] and s.pools[size].get or s.discarded, sum)
  end
  assert.is_nil(s.histogram[i])
end

-- The equations of a quiet pool.
function h.balanced(pool)
  local s = pool:get_pool_stats()
  local get, put, in_use, idle_bytes = 0, 0, 0, 0
  local asked, waste, collected = 0, 0, 0
  for size, t in pairs(s.pools) do
    assert.equal(t.get, t.hit + t.miss)
    assert.equal(size * t.get - t.asked_bytes, t.waste_bytes)
    assert.is_true(t.waste_bytes >= 0)
    assert.is_true(t.in_use <= t.peak_in_use and t.peak_in_use <= t.peak_owned and t.owned <= t.peak_owned)
    asked, waste, collected = asked + t.asked_bytes, waste + t.waste_bytes, collected + t.collected
    assert.equal(t.in_use, t.get - t.put)
    assert.equal(t.owned, t.in_use + t.idle)
    assert.equal(t.idle, t.cached + t.depot)
    get, put, in_use = get + t.get, put + t.put, in_use + t.in_use
    idle_bytes = idle_bytes + t.idle * size
  end
  local gone = s.drained
  assert.equal(gone.get, gone.hit + gone.miss)
  assert.equal(gone.get, gone.put)
  asked, waste, collected = asked + gone.asked_bytes, waste + gone.waste_bytes, collected + gone.collected
  assert.equal(get + gone.get, s.total_get)
  assert.equal(put + gone.put, s.total_put)
  assert.equal(s.total_get + s.discarded, s.requests)
  assert.equal(in_use + s.discarded - s.discarded_put, s.in_use)
  assert.equal(s.in_use_bytes + s.idle_bytes, s.owned_bytes)
  assert.is_true(s.peak_owned_bytes >= s.owned_bytes)
  assert.is_true(s.peak_in_use_bytes >= s.in_use_bytes and s.peak_in_use_bytes <= s.peak_owned_bytes)
  assert.same({ asked, waste }, { s.asked_bytes, s.waste_bytes })
  assert.is_true(s.collected >= collected)
  assert.is_true(s.resident_bytes >= s.owned_bytes and s.returned_bytes >= s.trimmed_bytes)
  assert.is_true(s.uptime >= 0)
  local is_plain = s.generation == 1 and not s.max_waste -- else some buckets are not of the tier above them
  for _, tier in ipairs(pool:settings().tiers) do
    is_plain = is_plain and not (type(tier) == "table" and tier.max_waste)
  end
  if is_plain then histogram_agrees(s) end
  assert.is_true(s.idle_bytes >= idle_bytes)
  return s
end

-- Nothing is out any more, and the books agree.
function h.all_back(pool)
  local s = h.balanced(pool)
  assert.equal(0, s.in_use)
  assert.equal(0, s.in_use_bytes)
  assert.equal(s.total_get, s.total_put)
  assert.equal(s.discarded, s.discarded_put)
  return s
end

-- fn raises a string with its own position in front; blames the spec's line otherwise.
local function check(fn, msg, whole)
  local function complain(text) error(text, 4) end
  local ok, err = pcall(fn)
  if ok then complain("no error was raised; expected: " .. msg) end
  if type(err) ~= "string" then complain("the error is a " .. type(err)) end
  -- fn stands on one line, so the position that error(msg, 2) puts in front is known.
  local info = debug.getinfo(fn, "S")
  if info.linedefined ~= info.lastlinedefined then complain("write the function on one line") end
  local where = info.short_src .. ":" .. info.linedefined .. ": "
  if err:sub(1, #where) ~= where then complain("expected '" .. where .. "' in front of: " .. err) end
  local text = err:sub(#where + 1)
  if whole and text ~= msg then complain(("expected the error\n  %s\nbut got\n  %s"):format(msg, text)) end
  if text:sub(1, #msg) ~= msg then
    complain(("expected an error that begins\n  %s\nbut got\n  %s"):format(msg, text))
  end
end

-- Blocks in use, by size of tier; oversize ones under "alone".
function h.out(pool)
  local s, t = h.balanced(pool), {}
  for size, tier in pairs(s.pools) do if tier.in_use > 0 then t[size] = tier.in_use end end
  if s.discarded > s.discarded_put then t.alone = s.discarded - s.discarded_put end
  return t
end

-- Calls fn when the object it returns is collected: by __gc of a table where Lua has that, else of a proxy.
function h.on_collect(fn)
  local newproxy = rawget(_G, "newproxy")
  if not newproxy then return setmetatable({}, { __gc = fn }) end
  local proxy = newproxy(true)
  debug.getmetatable(proxy).__gc = fn
  return proxy
end

-- The bytes of hexadecimal digits; spaces are left out.
function h.bytes(hex)
  return (hex:gsub(" ", ""):gsub("%x%x", function(x) return string.char(tonumber(x, 16)) end))
end

-- The command `bytepool` within this program: status, output, complaints.
function h.command(...)
  local out, err = {}, {}
  local status = require("bytepool.cli").main({ ... }, function(s) out[#out + 1] = s end,
    function(s) err[#err + 1] = s end)
  return status, table.concat(out), table.concat(err)
end

-- All values of a call, nils too.
function h.pack(...) return { n = select("#", ...), ... } end

-- fn raises exactly msg, with its own file and line in front.
function h.raises(fn, msg)
  check(fn, msg, true)
end

-- The same for messages of which only the beginning is promised.
function h.raises_like(fn, beginning)
  check(fn, beginning, false)
end

-- fn is refused with msg and the pool does not notice.
function h.refused(pool, fn, msg)
  local before = h.counters(pool)
  check(fn, msg, true)
  assert.same(before, h.counters(pool))
end

function h.refused_like(pool, fn, beginning)
  local before = h.counters(pool)
  check(fn, beginning, false)
  assert.same(before, h.counters(pool))
end

-- string.sub and string.byte to compare with. Interpreted, because LuaJIT 2.1.0-beta3 compiles
-- some string.sub of an empty range into the whole string: ("x"):sub(0, -6) in a hot loop.
function h.sub(s, i, j)
  local result = s:sub(i, j or -1)
  return result
end

function h.byte(s, i, j)
  return string.byte(s, i, j)
end

if h.is_luajit then
  for _, fn in ipairs { h.sub, h.byte } do rawget(_G, "jit").off(fn) end
end

-- Runs fn(random, seed) with a seed that a failure names; BP_SEED repeats one. A spec that calls it has the tag
-- #random in its name, by which `make soak-specs` finds it.
-- The generator is our own, so that a seed means the same on every Lua.
function h.seeded(fn)
  local seed = tonumber(os.getenv("BP_SEED") or "") or os.time() % 1000000 + 1
  local state = seed % 2147483646 + 1
  local function random(low, high)
    state = state * 16807 % 2147483647
    return low + state % (high - low + 1)
  end
  local ok, err = xpcall(function() fn(random, seed) end, function(e)
    if type(e) == "table" and e.message then e = e.message end
    return tostring(e)
  end)
  if not ok then error("with BP_SEED=" .. seed .. ": " .. tostring(err), 2) end
end

function h.random_string(random, length)
  local t = {}
  for i = 1, length do t[i] = string.char(random(0, 255)) end
  return table.concat(t)
end

-- Values that are neither buffer nor pool, each with its type name.
function h.foreign_values()
  local list = {
    { nil, "nil" }, { 0, "number" }, { "x", "string" }, { true, "boolean" }, { {}, "table" },
    { print, "function" }, { function() end, "function" }, { io.stdout, "userdata" },
    { coroutine.create(function() end), "thread" },
  }
  local ok, cjson = pcall(require, "cjson")
  if ok then list[#list + 1] = { cjson.null, "userdata" } end
  local newproxy = rawget(_G, "newproxy")
  if newproxy then
    list[#list + 1] = { newproxy(), "userdata" }
    list[#list + 1] = { newproxy(true), "userdata" }
  end
  if h.is_luajit then
    local ffi = require "ffi"
    list[#list + 1] = { ffi.new("uint8_t[64]"), "cdata" }
    list[#list + 1] = { ffi.cast("void *", 0), "cdata" }
    list[#list + 1] = { ffi.new("uint64_t", 1), "cdata" }
  end
  return list
end

local function quote(s) return "'" .. tostring(s):gsub("'", "'\\''") .. "'" end

function h.read(path)
  local f = assert(io.open(path, "rb"))
  local s = f:read("*a")
  f:close()
  return s
end

-- The file that require reads for a Lua module: of an installed copy where one is under test.
function h.module_file(name)
  for template in package.path:gmatch "[^;]+" do
    local path = template:gsub("%?", (name:gsub("%.", "/")))
    local f = io.open(path, "rb")
    if f then
      f:close()
      return path
    end
  end
end

function h.exists(path)
  local f = io.open(path, "rb")
  if f then f:close() end
  return f ~= nil
end

function h.write(path, s)
  local f = assert(io.open(path, "wb"))
  f:write(s)
  f:close()
end

-- Calls fn(path) with a file that holds s and takes the file away again.
function h.with_file(s, fn)
  local path = os.tmpname()
  h.write(path, s)
  local results = { pcall(fn, path) }
  os.remove(path)
  if not results[1] then error(results[2], 0) end
  return unpack(results, 2)
end

-- Runs a command with the paths under which the specs found the module.
-- Returns exit status (128 + n for signal n), stdout, stderr.
function h.run(...)
  local words = { "env -u LUA_PATH_5_2 -u LUA_PATH_5_3 -u LUA_PATH_5_4",
    "-u LUA_CPATH_5_2 -u LUA_CPATH_5_3 -u LUA_CPATH_5_4 -u LUA_INIT",
    "LUA_PATH=" .. quote(package.path), "LUA_CPATH=" .. quote(package.cpath) }
  for i = 1, select("#", ...) do words[#words + 1] = quote((select(i, ...))) end
  local out, err = os.tmpname(), os.tmpname()
  local command = ("%s >%s 2>%s </dev/null; echo $?"):format(table.concat(words, " "), quote(out), quote(err))
  local pipe = assert(io.popen(command))
  local status = tonumber((pipe:read("*a")))
  pipe:close()
  local out_text, err_text = h.read(out), h.read(err)
  os.remove(out)
  os.remove(err)
  return status, out_text, err_text
end

-- Runs this interpreter on the words given.
function h.exec(...)
  return h.run(h.interpreter, ...)
end

-- The same on a script given as text; flags come before it.
function h.script(text, ...)
  local words = { ... }
  return h.with_file(text, function(path)
    words[#words + 1] = path
    return h.exec(unpack(words))
  end)
end

-- A script that must end well: returns what it printed.
function h.script_ok(text, ...)
  local status, out, err = h.script(text, ...)
  assert.equal("0 ", status .. " " .. err)
  return out
end

return h
