-- The place of a slice in its ledger was a pointer to its userdata: a script that took the metatable
-- away, and so the finalizer, left it dangling, and the next statistics crashed.
local h = dofile(debug.getinfo(1, "S").source:match("^@(.*)/[^/]*/[^/]*$") .. "/helper.lua")

describe("slices that vanish without a finalizer", function()
  it("still count as pinned, and crash nothing", function()
    assert.equal("409100 409100\n", h.script_ok [[
      local pool = require "bytepool".new_pools({ 64, 4096 }, { region_size = 2 ^ 24 })
      for _ = 1, 100 do
        local buf = pool:get_buffer(4096)
        debug.setmetatable(buf:slice(1, 5), nil)
        buf:release()
      end
      collectgarbage()
      collectgarbage()
      local others = {}
      for i = 1, 5000 do others[i] = ("x"):rep(i % 70 + 20) .. i end
      local before = pool:get_pool_stats().pinned_bytes
      local kept = {}
      for i = 1, 50 do -- the places of those that live are used again
        local buf = pool:get_buffer(64)
        kept[i] = buf:slice(1, 64)
        buf:release()
      end
      for i = 1, 50 do kept[i]:release() end
      print(("%d %d"):format(before, pool:get_pool_stats().pinned_bytes))
    ]])
  end)
end)
