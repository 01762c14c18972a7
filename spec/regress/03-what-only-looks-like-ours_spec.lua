-- Values that carry our metatable, or answer for a table, without being one of ours.
local h = dofile(debug.getinfo(1, "S").source:match("^@(.*)/[^/]*/[^/]*$") .. "/helper.lua")
local bytepool = require "bytepool"

describe("our metatable on a stranger", function()
  it("raises nothing when the collector finds it", function()
    assert.equal("done\n", h.script_ok [[
      local bytepool = require "bytepool"
      local pool = bytepool.new_pools({ 64 }, { region_size = 8388608 })
      local buf = pool:get_buffer(1)
      for _, mt in ipairs { debug.getmetatable(buf), debug.getmetatable(pool) } do
        setmetatable({}, mt)
        if rawget(_G, "newproxy") then debug.setmetatable(newproxy(true), mt) end
        collectgarbage()
        collectgarbage()
      end
      print "done"
    ]])
  end)

  -- The FFI takes a string.buffer for the address of its contents.
  local found, string_buffer = pcall(require, "string.buffer")
  if found then
    it("gives a script no way to bytes of its choice", function()
      local pool = h.new()
      local buf = pool:from_string("mine")
      local mt = debug.getmetatable(buf)
      for _, contents in ipairs { "", ("x"):rep(64), ("\1"):rep(64) } do
        local forged = string_buffer.new():put(contents)
        local own = debug.getmetatable(forged)
        debug.setmetatable(forged, mt)
        for _, name in ipairs { "tostring", "release", "retain", "len", "byte", "ref_count" } do
          local ok, message = pcall(buf[name], forged)
          assert.is_false(ok)
          assert.truthy(message:find("self must be a bytepool buffer, got userdata", 1, true))
        end
        debug.setmetatable(forged, own)
      end
      buf:release()
      h.all_back(pool)
    end)
  end
end)

describe("a tier table", function()
  it("that answers by metamethods is read once", function()
    local answers = { 64, 128, 256 }
    local proxy = setmetatable({}, { __index = answers, __len = function() return 3 end })
    if #proxy == 3 then -- Lua 5.1 and LuaJIT ask no table for its length
      local pool = bytepool.new_pools(proxy, { region_size = 8388608 })
      assert.same(answers, pool:get_available_sizes())
    else
      h.raises(function() bytepool.new_pools(proxy) end,
        "new_pools: argument 'sizes' must be an array of 1 to 64 sizes or a policy, got 0")
    end
  end)
end)

describe("a number", function()
  local pool = h.new()
  local buf = pool:get_buffer(10)

  it("is shown as it was given", function()
    h.raises(function() buf:set_string(math.huge, "a") end,
      "set_string: 1 bytes at position inf do not fit in length 10")
    if math.type then
      local big = load("return 9007199254740993")()
      h.raises(function() pool:get_buffer(big) end,
        "get_buffer: argument 'n' must be a whole number from 0 to 1099511627776, got 9007199254740993")
    end
  end)

  -- ffi.string takes 32 bits of a length: a buffer of 2^32 + 5 bytes came out as 5.
  it("of bytes that no string can hold is refused", function()
    if not h.is_luajit then return end
    local large = pool:get_buffer(2 ^ 32 + 5)
    if large then
      h.raises(function() large:tostring() end,
        "tostring: 4294967301 bytes are more than a Lua string can hold")
      large:release()
    end
  end)
end)
