-- The FFI release did its work in several steps: an error between them lost the reference
-- for good, and a hook between them could release the same buffer twice.
local h = dofile(debug.getinfo(1, "S").source:match("^@(.*)/[^/]*/[^/]*$") .. "/helper.lua")

describe("a release", function()
  -- A watchdog: an error from a hook after each number of instructions.
  it("cut short by an error at any instruction loses nothing", function()
    local out = h.script_ok [[
      local bytepool = require "bytepool"
      if rawget(_G, "jit") then jit.off() end
      local pool = bytepool.new_pools({ 64 }, { region_size = 8388608 })
      for _, method in ipairs { "release", "retain" } do
        for n = 1, 80 do
          local buf = pool:get_buffer(64)
          pcall(function()
            debug.sethook(function() debug.sethook() error("watchdog") end, "", n)
            buf[method](buf)
            debug.sethook()
          end)
          while bytepool.type(buf) == "buffer" do buf:release() end
          buf = nil
          collectgarbage()
          collectgarbage()
        end
      end
      print(pool:get_pool_stats().in_use)
    ]]
    assert.equal("0\n", out)
  end)

  it("with another release of the same buffer inside is refused", function()
    local out = h.script_ok [[
      local bytepool = require "bytepool"
      if rawget(_G, "jit") then jit.off() end
      local pool = bytepool.new_pools({ 64 }, { region_size = 8388608 })
      for n = 1, 80 do
        local buf, other, count = pool:get_buffer(64), nil, 0
        debug.sethook(function()
          count = count + 1
          if count == n and bytepool.type(buf) == "buffer" then
            debug.sethook()
            buf:release()
            other = pool:get_buffer(64)
          end
        end, "", 1)
        local ok = pcall(buf.release, buf)
        debug.sethook()
        assert(not (ok and other), "released twice")
        if other then
          assert(other:ref_count() == 1)
          other:release()
        end
      end
      print(pool:get_pool_stats().in_use)
    ]]
    assert.equal("0\n", out)
  end)
end)
