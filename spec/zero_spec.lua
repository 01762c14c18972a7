-- The option zero: what a block holds when it is handed out, and what is left in memory when
-- it went back, read through the raw path.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"
local has_raw, raw = pcall(require, "bytepool.ffi")

local function first_bytes(pool)
  local buf = pool:get_buffer(100)
  local text = buf:tostring()
  buf:release()
  return text
end

local function used(zero)
  local pool = h.new({ zero = zero })
  local buf = pool:get_buffer(128)
  buf:set_string(1, ("s"):rep(128))
  buf:release()
  return pool
end

describe("the option zero", function()
  it("is off by default: another's bytes are there", function()
    for _, zero in ipairs { 0, false } do
      local pool = used(zero ~= 0 and zero or nil)
      assert.equal(("s"):rep(100), first_bytes(pool))
      pool:close()
    end
  end)

  it("hands out zeroes", function()
    for _, zero in ipairs { "get", "release" } do
      local pool = used(zero)
      assert.equal(("\0"):rep(100), first_bytes(pool))
      h.all_back(pool)
      pool:close()
    end
  end)

  it("is refused when it is something else", function()
    h.raises(function() bytepool.new_pools({ 64 }, { zero = "put" }) end,
      'new_pools: option \'zero\' must be "get" or "release" or false, got "put"')
    h.raises(function() bytepool.new_pools({ 64 }, { zero = true }) end,
      'new_pools: option \'zero\' must be "get" or "release" or false, got boolean')
  end)

  if not has_raw then return end
  local ffi = require "ffi"

  it("leaves nothing in idle memory, or leaves it until the next get", function()
    for zero, left in pairs { get = true, release = false } do
      local pool = h.new({ zero = zero })
      local pointer, capacity = raw.get(pool, 1000)
      ffi.fill(pointer, capacity, 0x73)
      raw.put(pool, pointer)
      local count = 0
      for i = 0, capacity - 1 do if pointer[i] ~= 0 then count = count + 1 end end
      assert.equal(left and capacity or 0, count)
      pool:close()
    end
  end)
end)
