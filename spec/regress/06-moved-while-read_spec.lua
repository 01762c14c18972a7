-- Where an FFI body is interpreted, a finalizer can run between its loads; one that moved the
-- very buffer to another block had it read the old one, which somebody else may hold by then.
local h = dofile(debug.getinfo(1, "S").source:match("^@(.*)/[^/]*/[^/]*$") .. "/helper.lua")

describe("a buffer that a finalizer moves while it is read", function()
  it("shows its bytes", function()
    if not h.is_luajit then return end
    assert.equal("done\n", h.script_ok [[
      require("jit").off(true, true)
      local bytepool = require "bytepool"
      local pool = bytepool.new_pools({ 64, 128 }, { region_size = 67108864 })
      local want = ("\1"):rep(64)
      local buf, armed, moves

      local function arm()
        local proxy = newproxy(true)
        getmetatable(proxy).__gc = function()
          if not armed then return end
          arm()
          moves = moves + 1
          buf:unshare():free()
          buf:put(want)
          local others = {}
          for i = 1, 8 do others[i] = pool:get_buffer(64):fill(255) end
          for i = 1, 8 do others[i]:release() end
        end
      end

      collectgarbage("setpause", 1)
      collectgarbage("setstepmul", 400)
      for _, name in ipairs { "byte", "sub", "u32be", "u64le", "f64be" } do
        local read = require("bytepool.core").buffer_methods[name]
        if read then
          require("jit").off(read, true)
          buf, armed, moves = pool:builder():put(want), true, 0
          local first = read(buf, 3)
          collectgarbage() -- so that the next cycle begins soon
          for _ = 1, 20 do arm() end
          for _ = 1, 3000 do assert(read(buf, 3) == first, name) end
          armed = false
          assert(moves > 100, moves)
          buf:release()
        end
      end
      print "done"
    ]])
  end)
end)
