-- The debug library can change the metatables that the C functions hold; making a pool set
-- whatever was there as a metatable, and crashed on Lua 5.2 and later.
local h = dofile(debug.getinfo(1, "S").source:match("^@(.*)/[^/]*/[^/]*$") .. "/helper.lua")

describe("a constructor whose upvalues are no metatables", function()
  it("does not crash", function()
    assert.equal("done\n", h.script_ok [[
      local core = require "bytepool.core"
      local get = core.pool_methods.get
      for _, f in ipairs { core.open, core.new_pools, core.import, get, core.pool_methods.from_string } do
        for i = 1, 5 do debug.setupvalue(f, i, 42) end
        pcall(f, "x")
        pcall(f, { 64 })
      end
      print "done"
    ]])
  end)
end)
