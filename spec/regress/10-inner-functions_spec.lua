-- What the C functions call in protected mode is seen by hooks, and by a listener that looks down
-- the stack: called by hand, it read whatever it was given as a pointer of ours.
local h = dofile(debug.getinfo(1, "S").source:match("^@(.*)/[^/]*/[^/]*$") .. "/helper.lua")

describe("inner functions that a script got hold of", function()
  it("take anything, and nothing crashes", function()
    assert.equal("done\n", h.script_ok [[
      local bytepool = require "bytepool"
      local getinfo, seen, count = debug.getinfo, {}, 0
      bytepool.pacing { budget = 2 ^ 20 }
      local pool = bytepool.new_pools({ 64, 65536 }, { region_size = 2 ^ 26, leaks = "paranoid" })
      local function note(level)
        local info = getinfo(level + 1, "fS")
        if info and info.what == "C" and not seen[info.func] then
          seen[info.func], count = true, count + 1
        end
      end
      bytepool.on_leak(function()
        for level = 2, 5 do
          local info = getinfo(level, "S")
          if not info or info.what == "main" then return end -- below it, the interpreter would begin anew
          note(level)
        end
      end)
      pool:get_buffer(10)
      collectgarbage()
      collectgarbage()
      debug.sethook(function() note(2) end, "c")
      for _ = 1, 100 do pool:get_buffer(65536) end
      local buf = pool:get_buffer(64)
      local token = buf:export()
      debug.sethook()
      seen[debug.sethook] = nil
      assert(count >= 5)
      local anchor
      for i = 1, 10 do
        local _, value = debug.getupvalue(bytepool.on_leak, i)
        if type(value) == "userdata" then anchor = value end
      end
      for f in pairs(seen) do
        for _, x in ipairs { anchor, io.stdout, buf, pool, 5, {}, type, token } do pcall(f, x) end
        pcall(f)
      end
      print "done"
    ]])
  end)
end)

describe("a state that ends while something of it is told", function()
  for _, what in ipairs { "release", "overrun", "leaks" } do
    it("keeps its texts until then: " .. what, function()
      assert.equal("done\n", h.script_ok(([[
        local what = "%s"
        local bytepool = require "bytepool"
        local pool = bytepool.new_pools({ 64 }, { region_size = 2 ^ 22, leaks = "paranoid", debug = what == "overrun" })
        local anchor
        for i = 1, 10 do
          local _, value = debug.getupvalue(bytepool.on_leak, i)
          if type(value) == "userdata" then anchor = value end
        end
        local kept = { pool:get_buffer(1) }
        local function finish()
          debug.getmetatable(anchor).__gc(anchor)
          for _, buf in ipairs(kept) do pcall(buf.release, buf) end
          pool:close()
        end
        bytepool.on_leak(finish)
        local ok, message
        if what == "release" then
          local dead = pool:get_buffer(5)
          dead:release()
          ok, message = pcall(dead.release, dead)
          assert(message:find "already released %%(got at ")
        elseif what == "overrun" then
          local found, ffi = pcall(require, "ffi")
          if found then
            local buf = pool:get_buffer(5)
            local p = ffi.cast("uint8_t *", buf:ref())
            p[64] = 1
            ok, message = pcall(buf.release, buf)
            assert(message:find "overwritten %%(got at ")
          end
        else
          local newproxy = newproxy
          local function finalized(fn)
            if newproxy then getmetatable(newproxy(true)).__gc = fn else setmetatable({}, { __gc = fn }) end
          end
          local turn = 0
          local function again() turn = turn + 1 if turn == 40 then finish() else finalized(again) end end
          finalized(again)
          collectgarbage("setpause", 1)
          collectgarbage("setstepmul", 10000)
          for _ = 1, 20000 do if not pcall(pool.leaks, pool) then break end end
        end
        assert(not ok)
        print "done"
      ]]):format(what)))
    end)
  end
end)
