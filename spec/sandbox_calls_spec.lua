-- How a host and a sandbox call each other, what crosses between them, and when a sandbox goes.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local core = require "bytepool.core"

-- Freed memory is kept for a while there.
local asan = (os.getenv "LD_PRELOAD" or ""):find("asan", 1, true)

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
    if not h.is_luajit then assert.is_true(until_through("own_memory", 64) > 100) end
    h.collect()
  end)
end)
