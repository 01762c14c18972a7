-- Policies: ready ones, a user's own, and what they are made of.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"
local policy = bytepool.policy
local size = require "bytepool.size"

local MiB = 2 ^ 20

describe("a size as a string", function()
  it("is digits and a unit", function()
    for text, bytes in pairs { ["0"] = 0, ["64"] = 64, ["007B"] = 7, ["64KiB"] = 65536, ["2MiB"] = 2 * MiB,
      ["3GiB"] = 3 * 2 ^ 30, ["1TiB"] = 2 ^ 40, ["999999999999999"] = 999999999999999, ["8192TiB"] = 2 ^ 53 } do
      assert.equal(bytes, size.parse(text))
    end
  end)

  it("is nothing else", function()
    for _, text in ipairs { "", "KiB", "64K", "64KB", "64kib", "64 KiB", " 64", "64 ", "1.5MiB", "-1", "+1", "0x10",
      "1e3", "64KiBs", "9007199254740993", "1000000000000000", "8193TiB", ("9"):rep(400), "٣" } do
      assert.is_nil(size.parse(text), text)
    end
  end)

  it("stands in a tier table", function()
    local pool = h.new(nil, { 512, "4KiB", "1MiB" })
    assert.same({ 512, 4096, MiB }, pool:get_available_sizes())
    local must = 'a number of bytes or a string with a unit, B, KiB, MiB, GiB or TiB, such as "64KiB"'
    h.raises(function() bytepool.new_pools { 512, "4KB" } end, "new_pools: sizes[2] must be " .. must .. ', got "4KB"')
    h.raises_like(function() bytepool.new_pools { "512" } end, "new_pools: sizes[1] must be ")
    h.raises(function() bytepool.new_pools { "4KiB", 4096 } end,
      "new_pools: sizes[2] is 4096, not above sizes[1], 4096")
    h.raises_like(function() bytepool.new_pools { "2TiB" } end, "new_pools: sizes[1] must be a whole number from 1 to ")
  end)
end)

describe("policy", function()
  local function gives(p, sizes)
    assert.same(sizes, policy.sizes(p))
    for _, n in ipairs(policy.sizes(p)) do assert.equal(n, math.floor(n)) end
  end

  it("power_of_two", function()
    gives(policy.power_of_two(), bytepool.size_power_of_two())
    gives(policy.power_of_two { from = 512, to = "4KiB" }, { 512, 1024, 2048, 4096 })
    gives(policy.power_of_two { from = 1, to = 1 }, { 1 })
    assert.equal(41, #policy.sizes(policy.power_of_two { from = 1, to = "1TiB" }))
  end)

  it("power_of_two_plus", function()
    gives(policy.power_of_two_plus { from = 512, to = 2048 }, { 512, 768, 1024, 1536, 2048 })
    gives(policy.power_of_two_plus { from = 1, to = 4 }, { 1, 2, 3, 4 })
  end)

  it("stream", function()
    gives(policy.stream(), bytepool.size_stream())
  end)

  it("linear", function()
    gives(policy.linear { from = 100, to = 400, step = 100 }, { 100, 200, 300, 400 })
    gives(policy.linear { from = 100, to = 350, step = 100 }, { 100, 200, 300, 350 })
    gives(policy.linear { from = "1KiB", to = "1KiB", step = 1 }, { 1024 })
  end)

  it("geometric", function()
    gives(policy.geometric { from = 100, to = 1000, ratio = 2 }, { 100, 200, 400, 800, 1000 })
    gives(policy.geometric { from = 100, to = 146, ratio = 1.1 }, { 100, 110, 121, 133, 146 })
    gives(policy.geometric { from = 100, to = 1000, ratio = 2, align = 64 }, { 128, 256, 448, 832, 1024 })
    gives(policy.geometric { from = 1, to = 4, ratio = 1.1 }, { 1, 2, 3, 4 }) -- no size twice
  end)

  it("page_multiples", function()
    gives(policy.page_multiples { to = "16KiB" }, { 4096, 8192, 12288, 16384 })
    gives(policy.page_multiples { from = 5000, to = 12289 }, { 8192, 12288, 16384 })
    gives(policy.page_multiples { to = "192KiB", page = "64KiB" }, { 65536, 131072, 196608 })
  end)

  it("fitted", function()
    gives(policy.fitted { samples = { 10, 10, 10, 20, 100 }, tiers = 2 }, { 20, 100 })
    gives(policy.fitted { samples = { [10] = 100, [20] = 1, [100] = 1 }, tiers = 2 }, { 10, 100 })
    gives(policy.fitted { samples = { 10, 20, 100 }, tiers = 8, align = 64 }, { 64, 128 })
  end)

  it("merge", function()
    local own = function() return { "1MiB" } end
    gives(policy.merge({ 512, 4096 }, policy.linear { from = 1024, to = 4096, step = 1024 }, own),
      { 512, 1024, 2048, 3072, 4096, MiB })
  end)

  it("cap", function()
    gives(policy.cap({ 100, 110, 200, 1000 }, 3), { 110, 200, 1000 })
    gives(policy.cap({ 100, 110, 200, 1000 }, 1), { 1000 })
    gives(policy.cap({ 100, 110 }, 64), { 100, 110 })
    gives(policy.cap({ 100, 1000, 2000 }, { to = 1500 }), { 100, 1000, 1500 })
    gives(policy.cap({ 100, 1000 }, { to = "1KiB" }), { 100, 1000 })
    gives(policy.cap({ 100, 1000 }, { to = 1000 }), { 100, 1000 })
    gives(policy.cap(policy.page_multiples { to = "4MiB" }, { to = "2MiB", tiers = 2 }), { MiB, 2 * MiB })
    -- 512 pages; the nearest in proportion are the largest
    assert.equal(64, #policy.sizes(policy.cap(policy.page_multiples { to = "2MiB" }, 64)))
  end)

  it("gives a new table each time", function()
    local p = policy.stream()
    policy.sizes(p)[1] = 5
    p:sizes()[1] = 5
    gives(p, bytepool.size_stream())
  end)

  it("refuses wrong options", function()
    h.raises(function() policy.linear() end, "linear: option 'from' is missing")
    h.raises(function() policy.linear { from = 1, to = 2 } end, "linear: option 'step' is missing")
    h.raises(function() policy.linear { from = 3, to = 2, step = 1 } end,
      "linear: option 'from' must not be above option 'to', 2, got 3")
    h.raises(function() policy.linear { from = 1, to = "1TiB", step = 1 } end,
      "linear: gives 1099511627776 sizes, more than 4096")
    h.raises_like(function() policy.linear { from = "1K", to = 2, step = 1 } end, "linear: option 'from' must be a ")
    h.raises_like(function() policy.linear { from = 0, to = 2, step = 1 } end,
      "linear: option 'from' must be a whole number from 1 to ")
    h.raises_like(function() policy.linear { from = 1, to = 2, step = 1, x = 1 } end, "linear: unknown option 'x'")
    h.raises(function() policy.power_of_two { from = 500 } end,
      "power_of_two: option 'from' must be a power of two, got 500")
    h.raises_like(function() policy.power_of_two_plus { to = 500 } end,
      "power_of_two_plus: option 'to' must be a power")
    h.raises(function() policy.geometric { from = 1, to = 2, ratio = 1 } end,
      "geometric: option 'ratio' must be above 1, got 1")
    h.raises_like(function() policy.geometric { from = 1, to = 2, ratio = 0 / 0 } end,
      "geometric: option 'ratio' must be a number from 1 to ")
    h.raises_like(function() policy.geometric { from = 1, to = "1TiB", ratio = 1.0001 } end, "geometric: gives ")
    h.raises_like(function() policy.page_multiples { to = "1TiB" } end, "page_multiples: gives ")
    h.raises(function() policy.page_multiples { from = 9000, to = 5000 } end,
      "page_multiples: option 'from' must not be above option 'to', 8192, got 12288")
    h.raises(function() policy.merge() end, "merge: takes at least one policy or array of sizes")
    h.raises(function() policy.merge({ 1 }, 5) end,
      "merge: argument '2' must be an array of 1 to 4096 sizes, got number")
    h.raises(function() policy.cap({ 1 }) end, "cap: argument 'limit' must be a number of tiers or a table, got nil")
    h.raises_like(function() policy.cap({ 1 }, 65) end, "cap: option 'tiers' must be a whole number from 1 to 64")
    h.raises(function() policy.cap({}, 2) end, "cap: argument 'policy' must be an array of 1 to 4096 sizes, got 0")
    h.raises(function() policy.fitted { tiers = 2 } end, "fitted: option 'samples' is missing")
    h.raises(function() policy.fitted { samples = { 1, -1 }, tiers = 2 } end,
      "fitted: samples[2] must be a whole number from 0 to 1099511627776, got -1")
    h.raises(function() policy.sizes(policy.page_multiples { to = "1MiB" }) end,
      "sizes: what the policy returned must be an array of 1 to 64 sizes, got 256")
  end)
end)

describe("new_pools", function()
  local function sizes_of(p) return h.new(nil, p):get_available_sizes() end

  it("takes a policy for the sizes", function()
    assert.same({ 512, 1024 }, sizes_of(policy.power_of_two { from = 512, to = 1024 }))
    assert.same({ 512, 4096 }, sizes_of(function() return { 512, "4KiB" } end))
    assert.same({ 77 }, sizes_of({ sizes = function(self) return { self.size } end, size = 77 }))
    local class = { sizes = function(self) return { self.size } end }
    assert.same({ 78 }, sizes_of(setmetatable({ size = 78 }, { __index = class })))
  end)

  it("of no length that an array can have is refused", function()
    for _, length in ipairs { -1, 0, 65, 1.5, 0 / 0, 1 / 0, 2 ^ 40, "x", {} } do
      local array = setmetatable({ 128 }, { __len = function() return length end })
      if #array ~= 1 then -- Lua 5.1 does not ask
        h.raises_like(function() bytepool.new_pools(array) end,
          "new_pools: argument 'sizes' must be an array of 1 to 64 sizes or a policy, got ")
        h.raises_like(function() bytepool.new_pools { tiers = array } end,
          "new_pools: tiers: expected an array of 1 to 64 sizes or a policy, got ")
      end
    end
  end)

  it("runs it once, and never on a get or a release", function()
    local runs = 0
    local pool = h.new(nil, function()
      runs = runs + 1
      return { 512 }
    end)
    for _ = 1, 100 do pool:get_buffer(100):release() end
    assert.equal(1, runs)
    h.all_back(pool)
  end)

  it("looks through what it returns", function()
    local must = "new_pools: what the policy returned must be an array of 1 to 64 sizes, got "
    h.raises(function() bytepool.new_pools(function() end) end, must .. "nil")
    h.raises(function() bytepool.new_pools(function() return {} end) end, must .. "0")
    h.raises(function() bytepool.new_pools(function() return print end) end, must .. "function")
    h.raises(function() bytepool.new_pools { sizes = function() return { 2, 1 } end } end,
      "new_pools: the policy's sizes[2] is 1, not above the policy's sizes[1], 2")
    h.raises_like(function() bytepool.new_pools(function() return { 1, "x" } end) end,
      "new_pools: the policy's sizes[2] must be ")
    h.raises(function() bytepool.new_pools { sizes = { 1, 2 } } end,
      "new_pools: argument 'sizes' must be an array of 1 to 64 sizes or a policy, got 0")
    h.raises(function() bytepool.new_pools { 64, sizes = function() return { 1 } end } end,
      "new_pools: argument 'sizes' must be an array, got the key sizes")
  end)

  it("lets through what it raises", function()
    local thrown = {}
    local ok, err = pcall(bytepool.new_pools, function() error(thrown) end)
    assert.is_false(ok)
    assert.equal(thrown, err)
  end)
end)
