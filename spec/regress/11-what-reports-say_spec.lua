-- A report called handles of a debug pool, or of another level, one of 128; named bytepool's own file
-- as a site in a checkout whose folder is called bytepool, as a clone's is; and a coroutine that was
-- dropped within expect_balanced left every handle traced for good.
local h = dofile(debug.getinfo(1, "S").source:match("^@(.*)/[^/]*/[^/]*$") .. "/helper.lua")
local bytepool = require "bytepool"

describe("a report's `every`", function()
  it("is of the handles, not of the level by now", function()
    local kept = {}
    local function every(pool)
      for i = 1, 10 do kept[i] = pool:get_buffer(1) end
      pool:leak_level "simple"
      for _, leak in ipairs(pool:leaks()) do assert.is_nil(leak.every) end
      assert.equal(10, pool:leaks()[1].count)
      for i = 1, 10 do kept[i]:release() end
    end
    every(h.new { debug = true, leaks = "simple" })
    every(h.new { leaks = "paranoid" })
    local pool = h.new { leaks = "simple" }
    for i = 1, 1000 do kept[i] = pool:get_buffer(1) end
    pool:leak_level "paranoid"
    assert.equal(128, pool:leaks()[1].every)
    for i = 1, 1000 do kept[i]:release() end
  end)
end)

describe("a site", function()
  it("is the program's line in a folder called bytepool too", function()
    local text = h.read(h.module_file "bytepool.scope")
    assert.equal("nil\tmine\n", h.script_ok(([[
      package.preload["bytepool.scope"] = assert((loadstring or load)(%q, "@/src/bytepool/lua/bytepool/scope.lua"))
      local pool = require "bytepool".new_pools({ 64 }, { leaks = "paranoid", region_size = 2 ^ 22 })
      local scope = pool:scope()
      scope:get_buffer(1)
      local site = pool:leaks()[1].site
      print((site:find "scope.lua"), (site:find ":%%d+$") and "mine")
    ]]):format(text)))
  end)
end)

describe("expect_balanced in a coroutine that is dropped", function()
  it("has handles traced no longer", function()
    local pool = h.new()
    coroutine.resume(coroutine.create(function() bytepool.expect_balanced(coroutine.yield) end))
    h.collect()
    local buf = pool:get_buffer(1)
    assert.same({}, pool:leaks())
    buf:release()
    h.raises_like(function() require "bytepool.core".expect(5) end, "expect: argument 'anchor' must be")
  end)
end)
