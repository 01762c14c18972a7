-- Numbers of a sandbox's functions. To forget one in a collection of the host made a place in the sandbox's registry:
-- with its memory used up that raised, outside of every protected call. And functions that were written before the
-- fault in a result were never forgotten.
local h = dofile(debug.getinfo(1, "S").source:match("^@(.*)/[^/]*/[^/]*$") .. "/helper.lua")

describe("functions of a sandbox", function()
  for _, count in ipairs { 2, 3, 5, 17 } do
    it("are forgotten while its memory is used up: " .. count, function()
      assert.equal("survived\n", h.script_ok(([[
        local core, count = require "bytepool.core", %d
        local text = "local r = { fill = function() while true do x = { x } end end }\n"
          .. "for i = 2, " .. count .. " do r[i] = function() return i end end\nreturn r"
        local r = core.sandbox(text, {}, { memory = 1e6, instructions = 5e6, seconds = 1 }, "", "x")
        local ok, message = pcall(r.fill)
        assert(not ok and message:find "more than 976 KiB of memory", message)
        for i = 2, count do
          r[i] = nil
          collectgarbage()
          collectgarbage()
        end
        print "survived"
      ]]):format(count)))
    end)
  end

  it("do not stay behind a fault in what a call returns", function()
    assert.equal("200 faults\n", h.script_ok [[
      local core = require "bytepool.core"
      local text = "return { tick = function() local big = {} for i = 1, 2000 do big[i] = i end\n"
        .. "local t = {} t.t = t return { function() return big end, function() return big end, t } end }"
      local r = core.sandbox(text, {}, { memory = 1e6, instructions = 5e6, seconds = 1 }, "", "x")
      local faults = 0
      for _ = 1, 200 do
        local ok, message = pcall(r.tick)
        assert(not ok and message == "x: [3].t: contains itself", message)
        faults = faults + 1
      end
      print(faults .. " faults")
    ]])
  end)
end)
