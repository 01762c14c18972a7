-- What stands between a config's sandbox and its host is seen by hooks and by the debug library: called
-- by hand or with other upvalues, it read whatever was there as a pointer of ours.
local h = dofile(debug.getinfo(1, "S").source:match("^@(.*)/[^/]*/[^/]*$") .. "/helper.lua")

local CONFIG = [=[
  local bytepool = require "bytepool"
  local function load()
    return assert(bytepool.load_config [[
      return { tiers = policy.sizes({ 100, 200 }), on_tick = function(stats, pool) return pool:add(stats.n) end }]])
  end
  local function run(config)
    return config.on_tick({ n = 1 }, { add = function(n) return n + 1 end })
  end
]=]

describe("a sandbox's inner functions", function()
  it("take anything, when a hook showed them", function()
    assert.equal("done\n", h.script_ok(CONFIG .. [[
      local seen, busy = {}, false
      local junk = { io.stdout, {}, 5, type, "text" }
      local function call_with_junk(f)
        for _, x in ipairs(junk) do pcall(f, x, x) pcall(f, x, x, x, x, x) end
        pcall(f)
      end
      debug.sethook(function()
        local info = debug.getinfo(2, "fS")
        if busy or not info or info.what ~= "C" or info.func == debug.sethook then return end
        seen[info.func], busy = true, true
        if info.func ~= pcall and info.func ~= error and info.func ~= require then call_with_junk(info.func) end
        busy = false
      end, "c")
      for _ = 1, 3 do pcall(function() run(load()) end) end
      debug.sethook()
      local count = 0
      for f in pairs(seen) do
        count = count + 1
        if f ~= debug.sethook and f ~= require then call_with_junk(f) end
      end
      assert(count > 10)
      local _, sum = run(load())
      assert(sum == 2)
      io.stdout:write "done\n"
    ]]))
  end)

  -- Lua 5.1 lets nobody at the upvalues of a C function.
  local closed = _VERSION == "Lua 5.1" and not rawget(_G, "jit")
  local test = closed and pending or it
  test("say so when their upvalues are others", function()
    assert.equal("done\n", h.script_ok(CONFIG .. [[
      local function inner(config)
        for i = 1, 10 do
          local name, value = debug.getupvalue(config.on_tick, i)
          if name == "fn" then return value end
        end
      end
      for i = 1, 3 do
        local fn = assert(inner(load()))
        assert(debug.setupvalue(fn, i, 42))
        local ok, message = pcall(fn, { n = 1 }, {})
        assert(not ok and message:find "no function of a config any more", message)
      end
      -- The host's side of a call, caught by a hook: metatables of holds and of functions by number.
      for i = 1, 2 do
        local config = load()
        debug.sethook(function()
          local info = debug.getinfo(2, "fSu")
          if info and info.what == "C" and info.nups == 2 then debug.setupvalue(info.func, i, 42) end
        end, "c")
        local ok, message = run(config)
        debug.sethook()
        assert(not ok and message:find "not to be called so", message)
      end
      print "done"
    ]]))
  end)
end)
