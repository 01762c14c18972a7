-- What a config file can not do: each attempt ends in a message, in under a second, with bounded memory.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"
local core = require "bytepool.core"

-- Name, text, and what the message has in it.
local function repeated(s, n, rest) return "return " .. s:rep(n) .. (rest or "") end
local ATTACKS = {
  { "string.dump", "return { tiers = string.dump(function() end) }", "call" },
  { "string.dump by a method", "return { tiers = ('x').dump(print) }", "call" },
  { "getmetatable", "getmetatable('').__index = nil", "call" },
  { "setmetatable", "return setmetatable({ tiers = { 1 } }, { __index = function() while true do end end })", "call" },
  { "metatable with __pairs", "return setmetatable({}, { __pairs = function() while true do end end })", "call" },
  { "metatable with __len", "return setmetatable({}, { __len = function() return 1e9 end })", "call" },
  { "metatable with __gc", "setmetatable({}, { __gc = function() while true do end end })", "call" },
  { "newproxy", "newproxy(true)", "call" },
  { "rawset", "rawset(string, 'format', nil)", "call" },
  { "load", "load('x = 1')()", "call" },
  { "loadstring", "loadstring('x = 1')()", "call" },
  { "loadfile", "loadfile('/etc/passwd')", "call" },
  { "dofile", "dofile('/etc/passwd')", "call" },
  { "require", "local os = require 'os'", "call" },
  { "package", "return package.loaded.os", "index" },
  { "debug", "debug.sethook()", "index" },
  { "debug.getregistry", "return debug.getregistry()", "index" },
  { "os", "os.execute('true')", "index" },
  { "io", "io.open('/etc/passwd')", "index" },
  { "ffi", "local ffi = require 'ffi'", "call" },
  { "jit", "jit.on()", "index" },
  { "collectgarbage", "collectgarbage('stop')", "call" },
  { "getfenv", "getfenv(0).x = 1", "call" },
  { "setfenv", "setfenv(1, {})", "call" },
  { "_G", "return _G.os", "index" },
  { "print", "print('x')", "call" },
  { "the arg of the program", "return arg[0]", "index" },
  { "coroutine.wrap", "coroutine.wrap(function() while true do end end)()", "index" },
  { "coroutine.create", "local co = coroutine.create(function() end)", "index" },
  { "pcall around a loop", "pcall(function() while true do end end)", "call" },
  { "xpcall whose handler loops", "xpcall(error, function() while true do end end)", "call" },
  { "a while without end", "while true do end", "too many instructions" },
  { "a for with an empty body", "for i = 1, 1e15 do end", "too many instructions" },
  { "a repeat without end", "repeat local x = 1 until false", "too many instructions" },
  { "a loop in a comparator", "table.sort({ 3, 2, 1 }, function() while true do end end)", "too many instructions" },
  { "a comparator without order", [[local t = {} for i = 1, 20000 do t[i] = i % 7 end
    for i = 1, 1000 do table.sort(t, function() return true end) end]], "too m" },
  { "sorting long strings", [[local s = 'x' for i = 1, 21 do s = s .. s end
    local t = {} for i = 1, 10000 do t[i] = s end
    while true do table.sort(t) end]], "too m" },
  { "a loop in tiers", "return { tiers = function() while true do end end }", "too many instructions" },
  { "loops in many tiers", "local function f() for i = 1, 4e5 do end return { 1 } end\nreturn { tiers = policy.merge("
    .. ("f, "):rep(199) .. "f) }", "too much" },
  { "mutual recursion without end", "local a, b function a() return b() end function b() return a() end a()", "too m" },
  { "deep recursion", "local function f(x) return 1 + f(x + 1) end f(1)", "" },
  { "a string that doubles", "local s = 'x' while true do s = s .. s end", "memory" },
  { "a string that grows", "local s = '' while true do s = s .. 'xxxxxxxxxxxxxxxx' end", "" },
  { "a table that doubles", "local t = { 1 } while true do for i = 1, #t do t[#t + 1] = i end end", "" },
  { "a table of tables", "local t = {} while true do t = { t, {} , {} } end", "" },
  { "string.rep", "return ('x'):rep(1e9)", "call" },
  { "string.rep of nothing", "return string.rep('', 1e9)", "call" },
  { "string.find that backtracks", "string.find(('a'), ('a?a?a?a?a?a?'))", "call" },
  { "string.gsub", "('x'):gsub('.', 'xx')", "call" },
  { "string.gmatch", "for x in ('x'):gmatch('.-b') do end", "call" },
  { "string.format with a giant width", "return string.format('%999999999d', 1)", "" },
  { "string.format with a long precision", "return ('%.999f'):format(1)", "" },
  { "string.byte of a long string", "local s = 'x' for i = 1, 22 do s = s .. s end return s:byte(1, -1)", "" },
  { "table.concat", "return table.concat({}, 'x', 1, 1e9)", "" },
  { "table.concat that explodes", [[local s = 'x' for i = 1, 20 do s = s .. s end
    local t = {} for i = 1, 10000 do t[i] = s end return table.concat(t)]], "memory" },
  { "table.insert in front", "local t = {} for i = 1, 1e9 do table.insert(t, 1, i) end", "" },
  { "table.unpack", "return table.unpack({}, 1, 1e8)", "call" },
  { "unpack", "return unpack({}, 1, 1e8)", "call" },
  { "select", "return select(-1)", "" },
  { "comparing long strings", [[local a = 'x' for i = 1, 21 do a = a .. a end local b, c = a .. 'b', a .. 'c'
    while true do local x = b < c end]], "too m" },
  { "concatenating long strings", "local a = 'x' for i = 1, 20 do a = a .. a end while true do local b = a .. 'b' end",
    "" },
  { "numbers out of long strings", [[local a = '1' for i = 1, 21 do a = a .. a end
    while true do local x = tonumber(a) end]], "too m" },
  { "an error that is a table", "error({})", "an error that is a table" },
  { "an error that is nil", "error()", "an error that is a nil" },
  { "an error that is a function", "error(function() end)", "an error that is a function" },
  { "an error without a position", "error('bare', 0)", "bare" },
  { "a long error", "local s = 'x' for i = 1, 20 do s = s .. s end error(s)", "xxx" },
  { "100,000 parentheses", repeated("(", 100000), "" },
  { "100,000 braces", repeated("{", 100000), "" },
  { "100,000 nots", repeated("not ", 100000, "1"), "" },
  { "100,000 concatenations", repeated("'x'..", 100000, "'x'"), "" },
  { "100,000 functions", repeated("function() return ", 50000), "" },
  { "300,000 numbers that differ", (function()
    local t = {}
    for i = 1, 60000 do t[i] = i .. ".5" end
    return "return {" .. table.concat(t, ",") .. "}"
  end)(), "" },
  { "130,000 keys that differ from none", "return {" .. ("a=1, "):rep(100000) .. "b=2}", "unknown key" },
  { "170,000 places", "local a = 1 return {" .. ("a; "):rep(160000) .. "b=2}", "" },
  { "quotes on quotes", "return {'" .. ("x\\'"):rep(170000) .. "', b = 2}", "unknown key" },
  { "a long key", "local s = 'x' for i = 1, 20 do s = s .. s end return { tiers = { 1 }, [s] = 1 }", "unknown key" },
  { "a forged policy", "return { tiers = { ['policy()'] = 'merge', n = 1e15 } }", "expected a policy" },
  { "calls within calls", "local function f(t) return t end return " .. ("f({"):rep(60) .. ("})"):rep(60), "" },
  { "tables within tables", "return { tiers = " .. ("{"):rep(150) .. ("}"):rep(150) .. "}", "" },
  { "a cycle", "local t = { tiers = { 1 } } t.limits = t return t", "contains itself" },
  { "a deep table", "local t = {} for i = 1, 1000 do t = { t } end return { tiers = t }", "too deep" },
  { "a graph that explodes", "local t = { 1 } for i = 1, 12 do t = { t, t, t, t, t, t, t, t } end return { tiers = t }",
    "too large" },
  { "a table as a key", "return { tiers = { 1 }, [{}] = 1 }", "it is a key" },
  { "a function as a key", "return { tiers = { 1 }, [function() end] = 1 }", "it is a key" },
  { "many unknown keys",
    "local t = { tiers = { 1 } } for i = 1, 60000 do t['k' .. i] = i end return t", "unknown key" },
  { "many places in tiers", "local t = {} for i = 1, 150000 do t[i] = i end return { tiers = t }", "1 to 64 sizes" },
  { "fitting without end", [[local s = {} for i = 1, 40000 do s[i] = i * 3 end
    return { tiers = policy.fitted{ samples = s, tiers = 64 } }]], "too much" },
  { "fitting again and again", [[local s = {} for i = 1, 1500 do s[i] = i * 3 end
    local p = policy.fitted{ samples = s, tiers = 64 }
    return { tiers = policy.merge(]] .. ("p, "):rep(90) .. "p) }", "too much" },
  { "policy.sizes again and again", [[local s = {} for i = 1, 1500 do s[i] = i * 3 end
    local p = policy.cap(policy.merge(policy.fitted{ samples = s, tiers = 64 }), 3)
    while true do policy.sizes(p) end]], "too much" },
  { "capping again and again", [[local p = policy.cap(policy.page_multiples{ to = '16MiB' }, 3)
    return { tiers = policy.merge(]] .. ("p, "):rep(90) .. "p) }", "too much" },
  { "a list that changes its methods", "string.format = nil string.len = error return ('x'):format()", "call" },
  { "nothing", "", "got nothing" },
  { "nil", "return nil", "got nil" },
  { "a function", "return function() end", "got function" },
  { "a number", "return 1", "got number" },
  { "several values", "return { tiers = { 1 } }, 2", "got 2 values" },
  { "a policy's own table", "return policy.stream()", "unknown key" },
  { "a syntax error", "return {", "config:1: " },
  { "bytecode", "\27LuaQ", "bytecode" },
  { "bytecode of this Lua", string.dump(function() return { tiers = { 1 } } end), "bytecode" },
  { "bytecode behind a mark", "\239\187\191" .. string.dump(function() return {} end), "bytecode" },
  { "bytecode behind a first line", "#!/usr/bin/lua\n" .. string.dump(function() return {} end), "" },
}

if h.has_close then
  ATTACKS[#ATTACKS + 1] = { "__close", "local x <close> = setmetatable({}, { __close = error })", "call" }
  ATTACKS[#ATTACKS + 1] = { "a table to close", "local x <close> = {}", "non-closable" }
end
if h.is_luajit or _VERSION ~= "Lua 5.1" then
  ATTACKS[#ATTACKS + 1] = { "goto without end", "::again:: goto again", "too many instructions" }
end
if h.is_luajit then
  ATTACKS[#ATTACKS + 1] = { "a cdata", "return { tiers = { 1LL } }", "must be plain data" }
  ATTACKS[#ATTACKS + 1] = { "indexing a cdata", "return (1LL).x", "" }
  ATTACKS[#ATTACKS + 1] = { "calling a cdata", "return (1LL)(1)", "" }
end

local function peak_kib()
  local f = io.open("/proc/self/status")
  if not f then return nil end
  local text = f:read "*a"
  f:close()
  return tonumber(text:match "VmHWM:%s*(%d+)")
end

-- Freed memory is kept for a while there.
local asan = (os.getenv "LD_PRELOAD" or ""):find("asan", 1, true)

describe("the sandbox", function()
  for _, attack in ipairs(ATTACKS) do
    it("refuses: " .. attack[1], function()
      local before = os.clock()
      local config, message = bytepool.load_config { text = attack[2] }
      local took = os.clock() - before
      assert.is_nil(config)
      assert.equal("string", type(message))
      assert.equal("config:", message:sub(1, 7))
      assert.truthy(message:find(attack[3], 1, true), message:sub(1, 200))
      assert.is_true(#message < 20000)
      assert.is_true(took < 1, took .. " s")
    end)
  end

  it("takes no more memory than its limit says", function()
    if not peak_kib() or asan then return end
    local names = {}
    for _, attack in ipairs(ATTACKS) do
      local quick = attack[3] == "call" or attack[3] == "index" or attack[3]:find("instructions", 1, true)
      if not quick and attack[2]:sub(1, 1) ~= "\27" then names[#names + 1] = ("%q"):format(attack[2]) end
    end
    local before, after = h.script_ok(([[
      local bytepool = require "bytepool"
      local function peak() return io.open("/proc/self/status"):read("*a"):match("VmHWM:%%s*(%%d+)") end
      local before = peak()
      for _, text in ipairs{%s} do assert(not bytepool.load_config{text = text}) end
      collectgarbage()
      print(before, peak())]]):format(table.concat(names, ", "))):match "(%d+)%s+(%d+)"
    assert.is_true(tonumber(after) - tonumber(before) < 96 * 1024, before .. " " .. after)
  end)

  it("refuses what is no file of reasonable length", function()
    local function refused(path, why)
      local before = os.clock()
      local config, message = bytepool.load_config { path = path }
      assert.is_nil(config)
      assert.equal(path .. ": " .. why, message)
      assert.is_true(os.clock() - before < 0.5)
    end
    refused("/", "is a directory")
    refused("/no/such/file", "No such file or directory")
    if h.exists "/dev/zero" then refused("/dev/zero", "is no regular file") end
    local path = os.tmpname()
    local file = io.open(path, "wb")
    file:seek("set", 100 * 2 ^ 20)
    file:write "x"
    file:close()
    refused(path, "is longer than 524288 bytes")
    os.remove(path)
    if h.run("mkfifo", path) == 0 then refused(path, "is no regular file") end
    os.remove(path)
    assert.same({ nil, "config: is longer than 524288 bytes" },
      { bytepool.load_config { text = "--" .. ("x"):rep(524288) } })
  end)

  it("leaves the program's own libraries alone", function()
    local format, sort = string.format, table.sort
    assert(bytepool.load_config [[
      string.format, table.sort, math.floor, policy.merge = nil, nil, nil, nil
      x = 1
      return { tiers = { 1 } }]])
    assert.equal(format, string.format)
    assert.equal(sort, table.sort)
    assert.is_nil(rawget(_G, "x"))
    assert.equal("x", ("x"):format())
    assert(bytepool.load_config "return { tiers = policy.merge({ math.floor(1.5) }) }")
  end)

  it("has none of the process's random numbers and locale", function()
    local config = assert(bytepool.load_config "return { name = tostring(math.random) .. 1.5, tiers = { 1 } }")
    assert.equal("nil1.5", config.name)
    local german = os.setlocale "de_DE.UTF-8"
    config = assert(bytepool.load_config "return { name = '' .. 1.5, tiers = { 1 } }")
    if german then os.setlocale "C" end
    assert.equal("1.5", config.name)
  end)

  it("sorts as table.sort does", function()
    h.seeded(function(random)
      for _ = 1, 50 do
        local list = {}
        for i = 1, random(0, 40) do list[i] = random(1, 30) end
        local text = "local t = {" .. table.concat(list, ",") .. "} table.sort(t%s) t[#t + 1] = 99 local s = ''"
          .. " for _, v in ipairs(t) do s = s .. v .. ' ' end return s, 1"
        local limits = { memory = 2 ^ 20, instructions = 1e6, seconds = 1 }
        local prelude = require "bytepool.config.prelude"
        local function sorted(how)
          return (core.sandbox(text:format(how), { policy = {}, policies = {} }, limits, prelude.text, "x"))
        end
        table.sort(list)
        list[#list + 1] = 99
        assert.equal(table.concat(list, " ") .. " ", sorted "")
        list[#list] = nil
        table.sort(list, function(a, b) return a > b end)
        list[#list + 1] = 99
        assert.equal(table.concat(list, " ") .. " ", sorted ", function(a, b) return a > b end")
      end
    end)
    local _, message = bytepool.load_config "local t = { 1, 'x' }\ntable.sort(t)"
    assert.equal("config:2: sort: without a function all values must be numbers, or all strings", message)
  end)
end)

describe("a sandbox", function()
  local LIMITS = { memory = 2 ^ 20, instructions = 1e6, seconds = 0.5 }

  local function run(text, env, limits)
    return core.sandbox(text, env or {}, limits or LIMITS, "", "x")
  end

  it("copies plain data both ways", function()
    local echo = run "return function(...) return ... end"
    local value = { 1, 1.5, "a\0b", true, false, { [3] = "x", [true] = 1, [1.5] = {} }, -2 ^ 53, 2 ^ 40 }
    assert.same({ value, "x", n = 2 }, h.pack(echo(value, "x")))
    assert.same({ nil, 1, nil, n = 3 }, h.pack(echo(nil, 1, nil)))
    assert.equal(0, h.pack(echo()).n)
    if math.type then
      assert.equal("integer", math.type(echo(3)))
      assert.equal("float", math.type(echo(3.0)))
      assert.equal(math.mininteger, echo(math.mininteger))
    end
    local copy = echo(value)
    assert.are_not.equal(value, copy)
    local nan = echo(0 / 0)
    assert.are_not.equal(nan, nan)
  end)

  it("refuses what can not be copied, and names it", function()
    local echo = run "return function(...) return ... end"
    local cycle = {}
    cycle.a = { b = cycle }
    h.raises(function() echo(cycle) end, "an argument of a config's function, a.b: contains itself")
    h.raises(function() echo { x = { io.stdout } } end,
      "an argument of a config's function, x[1]: must be plain data or a function")
    h.raises(function() echo { ("x"):rep(5 * 2 ^ 20) } end, "an argument of a config's function, [1]: is too large")
    assert.same({ 7 }, { echo(7) })
  end)

  it("keeps its variables between calls, and has fresh limits in each", function()
    local next_one = run "local n = 0 return function(loops) for i = 1, loops do end n = n + 1 return n end"
    for i = 1, 10 do assert.equal(i, next_one(500000)) end
    local ok, message = pcall(next_one, 1e7)
    assert.is_false(ok)
    assert.equal("x:1: too many instructions: is there a loop without end?", message)
    assert.equal(11, next_one(10))
    local grow = run "return function() local t = {} for i = 1, 1e6 do t[i] = {} end end"
    for _ = 1, 3 do assert.same({ false, "x: more than 1024 KiB of memory" }, { pcall(grow) }) end
    assert.equal(12, next_one(10))
  end)

  it("calls functions of the host among the arguments, until the call is over", function()
    local call = run [[local kept
      return function(f, ...)
        if not f then local x = kept(...) return x end
        kept = f
        local a, b = f(...)
        return b, a
      end]]
    assert.same({ 2, { 1 } }, { call(function(a, b) return a, b end, { 1 }, 2) })
    assert.same({ false, "x:3: this function is of use only during the call that it was given to" },
      { pcall(call, nil, 1) })
    assert.same({ false, "x:5: no" }, { pcall(call, function() error("no", 0) end) })
    assert.same({ false, "x:5: the host's function failed" }, { pcall(call, function() error {} end) })
    assert.same({ false, "x:5: what the host's function gave must be plain data or a function" },
      { pcall(call, function() return io.stdout end) })
    assert.same({ false, "x:5: what the host's function gave is a function" },
      { pcall(call, function() return print end) })
    -- A call from within a call, to some depth.
    local function down(n) return n == 0 and 0 or 1 + call(function(x) return 0, down(x) end, n - 1) end
    assert.equal(5, down(5))
    local ok, message = pcall(down, 50)
    assert.is_false(ok)
    assert.truthy(message:find("a config's functions call each other too deep", 1, true))
    -- Functions of the script reach the host's.
    local apply = run "return function(f) return f(function(x) return x * 2 end) end"
    assert.equal(14, apply(function(double) return double(7) end))
    -- A coroutine of the host does not yield across.
    local co = coroutine.wrap(function() return pcall(call, coroutine.yield) end)
    assert.is_false((co()))
  end)

  it("a limit that was met holds for the host's functions that call back", function()
    local call = run "return function(f) while true do f() end end"
    local calls = 0
    local spin = run "return function() while true do end end"
    local ok, message = pcall(call, function() calls = calls + 1 pcall(spin) end)
    assert.is_false(ok)
    assert.truthy(message:find("too m", 1, true))
    -- The other sandbox has limits of its own, but processor time goes on in this one.
    assert.is_true(calls > 0 and calls < 1000)
    local inner
    inner = run "return function(f) if f then f() end while true do end end"
    assert.is_false((pcall(inner, function() pcall(inner) end)))
  end)

  it("goes when its last function goes", function()
    local function resident()
      local f = io.open "/proc/self/statm"
      if not f then return 0 end
      local pages = f:read("*a"):match "^%d+ (%d+)"
      f:close()
      return tonumber(pages) * 4
    end
    local weak = setmetatable({}, { __mode = "v" })
    local function round(n)
      for i = 1, n do
        local fn = run "local t = {} for i = 1, 500 do t[i] = { i } end return function() return #t end"
        weak[1] = fn
        assert.equal(500, fn())
        pcall(run, "error 'x'")
        if i % 50 == 0 then h.collect() end
      end
      h.collect()
    end
    round(100)
    local before = resident()
    round(600)
    assert.is_nil(weak[1])
    -- A state is 60 KiB and more.
    if not asan then assert.is_true(resident() - before < 8 * 1024, resident() - before .. " KiB") end
  end)

  it("is closed by the end of its state, whatever is finalized first", function()
    h.script_ok [[
      local bytepool = require "bytepool"
      for i = 1, 20 do
        local c = assert(bytepool.load_config("return {tiers = {1}, on_tick = function(s, p) return p:f(s) end}"))
        keep = {keep, c}
        local function last() c.on_tick(1, {f = function(s) return s end}) end
        local proxy = newproxy and newproxy(true)
        if proxy then getmetatable(proxy).__gc = last else proxy = setmetatable({}, {__gc = last}) end
        keep = {keep, proxy}
        assert(c.on_tick(i, {f = function(s) return s end}))
      end
    ]]
  end)

  local TEXT = [[
    local t = {}
    for i = 1, 40 do t[i] = ("entry %d"):format(i) .. i * 1.5 end
    table.sort(t, function(a, b) return a > b end)
    return { t = t, n = hook(t[1]), f = function(x) return { x, hook(x) } end }]]

  local function whole(limits)
    local prelude = require "bytepool.config.prelude"
    local env = { policy = {}, policies = { a = true }, hook = function(x) return { x } end }
    local value = core.sandbox(TEXT, env, limits, prelude.text, "x")
    return value.n[1], value.f("y")[2][1]
  end

  local function until_through(key, step)
    local bytes, runs = step, 0
    repeat
      local ok, a, b = pcall(whole, { memory = 2 ^ 20, instructions = 1e6, seconds = 5, [key] = bytes })
      if ok then
        assert.same({ "entry 9", "y" }, { a:sub(1, 7), b })
      else
        assert.truthy(a:find("memory", 1, true), a)
      end
      bytes, runs = bytes + step, runs + 1
    until ok
    return runs
  end

  it("runs out of memory anywhere, and nothing else happens", function()
    local runs = until_through("memory", 96)
    assert.is_true(runs > 100, runs)
    -- LuaJIT itself does not survive it while it opens its ffi library.
    if not h.is_luajit then assert.is_true(until_through("own_memory", 128) > 100) end
    h.collect()
  end)
end)
