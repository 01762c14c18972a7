-- What a config file can not do: each attempt ends in a message, in under a second, with bounded memory.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"
local core = require "bytepool.core"

-- Name, text, and what the message has in it.
local function repeated(s, n, rest) return "return " .. s:rep(n) .. (rest or "") end
-- Of which #t is 2^29 on most Luas.
local SPARSE = "local t = {"
for i = 0, 29 do SPARSE = ("%s[%d] = 1, "):format(SPARSE, 2 ^ i) end
SPARSE = SPARSE .. "}\n"
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
  { "a place far before the first", "local t = {} table.insert(t, -2^31, 1)", "must be a place" },
  { "a place far behind the last", "local t = { 1 } table.insert(t, 1e15, 1)", "must be a place" },
  { "a table that seems endless: insert", SPARSE .. "table.insert(t, 1, 1)", "" },
  { "a table that seems endless: remove", SPARSE .. "table.remove(t, 1)", "" },
  { "a table that seems endless: sort", SPARSE .. "table.sort(t, function() return true end)", "" },
  { "a table that seems endless: concat", SPARSE .. "table.concat(t)", "" },
  { "a chain of 100,000 ors", repeated("a or ", 100000, "1"), "too much time" },
  { "a chain of 36,000 elseifs", "if x then " .. ("elseif x then "):rep(36000) .. " end", "" },
  { "39,000 breaks", "while x do " .. ("do break end "):rep(39000) .. " end", "" },
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
  { "100,000 times a table that was emptied", [[local t = {} for i = 1, 2^18 do t[i] = true end
    for i = 1, 2^18 do t[i] = nil end
    local all = {} for i = 1, 1e5 do all[i] = t end
    return { tiers = { 1 }, x = all }]], "too much time to copy" },
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

local function run(text)
  local limits = { memory = 2 ^ 20, instructions = 1e6, seconds = 1 }
  return core.sandbox(text, { policy = {}, policies = {} }, limits, require "bytepool.config.prelude".text, "x")
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

  it("inserts and removes as the table library does #random", function()
    h.seeded(function(random)
      for _ = 1, 20 do
        local list, text = {}, "local t = {} local s = ''\n"
        for i = 1, 60 do
          local what, at = random(1, 4), random(1, #list + 1)
          if what == 1 then
            table.insert(list, i)
            text = ("%s table.insert(t, %d)"):format(text, i)
          elseif what == 2 then
            table.insert(list, at, i)
            text = ("%s table.insert(t, %d, %d)"):format(text, at, i)
          else
            local place = what == 3 and "" or ", " .. math.min(at, #list)
            local gone = table.remove(list, what == 4 and math.min(at, #list) or nil)
            text = ("%s s = s .. tostring(table.remove(t%s)) .. '=%s '"):format(text, place, tostring(gone))
          end
        end
        text = text .. "\nreturn s, t"
        local said, left = run(text)
        assert.same(list, left)
        for got, expected in said:gmatch "(%w+)=(%w+) " do assert.equal(got, expected) end
      end
    end)
    local _, message = bytepool.load_config "local t = {}\ntable.insert(t, 3, 1)"
    assert.equal("config:2: insert: argument 'at' must be a place from 1 to 1", message)
    _, message = bytepool.load_config "local t = {}\ntable.insert(t)"
    assert.equal("config:2: insert: takes 2 or 3 arguments, got 1", message)
    _, message = bytepool.load_config "local t = { 1, 2 }\ntable.remove(t, 5)"
    assert.equal("config:2: remove: argument 'at' must be a place from 1 to 2", message)
    _, message = bytepool.load_config "\ntable.remove 'x'"
    assert.equal("config:2: remove: argument 't' must be a table, got string", message)
  end)

  it("blames the script's line for what its library does", function()
    local _, message = bytepool.load_config "local t = { 2, 1 }\ntable.sort(t, function() while true do end end)"
    assert.equal("config:2: too many instructions: is there a loop without end?", message)
    _, message = bytepool.load_config
      "local t = {} for i = 1, 1e5 do t[i] = i % 7 end\ntable.sort(t, nil)\nfor _ = 1, 1e9 do table.sort(t) end"
    assert.truthy(message:find("^config:[23]: too m"), message)
  end)

  it("sorts as table.sort does #random", function()
    h.seeded(function(random)
      for _ = 1, 50 do
        local list = {}
        for i = 1, random(0, 40) do list[i] = random(1, 30) end
        local text = "local t = {" .. table.concat(list, ",") .. "} table.sort(t%s) t[#t + 1] = 99 local s = ''"
          .. " for _, v in ipairs(t) do s = s .. v .. ' ' end return s, 1"
        local function sorted(how) return (run(text:format(how))) end
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
