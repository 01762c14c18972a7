-- LuaJIT: which methods a hot loop compiles as a whole. Where one stays C, the compiler leaves
-- the trace for the call and goes on behind it ("stitch"); README has the same list.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local tracing = dofile(here .. "/tracing.lua")
require "bytepool"
local core = require "bytepool.core"
local jit = rawget(_G, "jit")

-- By reason. The lists are exact: one that compiles must not stand here.
local stays_c = {
  ["makes a userdata"] = { "share", "bytes", "split", "lines", "split_on", "from_string", "builder" },
  ["reads a format"] = { "pack", "unpack", "putf" },
  ["reads or writes files"] = { "read_from", "write_to" },
  ["makes a table or a token"] = { "get_pool_stats", "get_available_sizes", "leaks", "export", "settings" },
  ["sets an option"] = { "leak_level", "configure", "rollback" },
  ["sums or asks under a lock"] = { "get_discarded_count", "prewarm", "trim", "shrink", "tick", "close", "expvar" },
}

-- A loop for each method of a buffer: `buf` is "abcdefgh", `other` as long, `i` counts.
local of_buffers = {
  retain = "buf:retain() buf:release()",
  release = "buf:retain() buf:release()",
  share = "buf:share():release()",
  bytes = "local _, release = buf:bytes() release()",
  slice = "sum = sum + #buf:slice(2, 3)",
  split = "buf:split(0):release()",
  export = "local token = buf:export() bytepool.import(token):release()",
  ref_count = "sum = sum + buf:ref_count()",
  is_unique = "if buf:is_unique() then sum = sum + 1 end",
  freeze = "buf:freeze()",
  is_frozen = "if buf:is_frozen() then sum = sum + 1 end",
  unshare = "buf:unshare()",
  len = "sum = sum + buf:len()",
  capacity = "sum = sum + buf:capacity()",
  tostring = "sum = sum + #buf:tostring()",
  sub = "sum = sum + #buf:sub(i % 8 + 1, -1)",
  byte = "sum = sum + buf:byte(i % 8 + 1)",
  equals = "if buf:equals 'abcdefgh' then sum = sum + 1 end",
  compare = "sum = sum + buf:compare 'b'",
  starts_with = "if buf:starts_with 'abc' then sum = sum + 1 end",
  ends_with = "if buf:ends_with 'fgh' then sum = sum + 1 end",
  find = "sum = sum + buf:find('d', 2)",
  set_string = "buf:set_string(i % 8 + 1, 'z')",
  copy = "buf:copy(2, other, 1, 3):copy(1, 'xy')",
  fill = "buf:fill(i % 256, 2, -2)",
  put = "buf:put 'x'",
  putf = "buf:putf('%d', i)",
  set = "buf:set 'abc'",
  resize = "buf:resize(i % 100)",
  reserve = "sum = sum + buf:reserve(10)",
  commit = "buf:reserve(1) buf:commit(1)",
  skip = "buf:put 'x' buf:skip(1)",
  get = "buf:put 'xyz' sum = sum + #buf:get(2) + #buf:get()",
  reset = "buf:reset()",
  free = "buf:free()",
  ref = "local p, n = buf:ref() sum = sum + p[i % n]",
  pack = "buf:pack('<I4', i)",
  unpack = "sum = sum + buf:unpack '<I4'",
  read_from = "buf:read_from(file, 1)",
  write_to = "buf:write_to(file)",
  lines = "for line in buf:lines() do line:release() end",
  split_on = "for part in buf:split_on 'd' do part:release() end",
}
for _, kind in ipairs(core.internals.kinds) do
  of_buffers[kind.name] = ("if buf:%s(1) == 3 then sum = sum + 1 end"):format(kind.name)
  of_buffers["set_" .. kind.name] = ("buf:set_%s(1, i %% 100)"):format(kind.name)
end

local of_pools = {
  get = "pool:put(pool:get(100))",
  get_buffer = "pool:release_buffer(pool:get_buffer(100))",
  put = "pool:put(pool:get(100))",
  release_buffer = "pool:release_buffer(pool:get_buffer(100))",
  from_string = "pool:from_string 'abc':release()",
  builder = "pool:builder(10):release()",
  using = "sum = sum + pool:using(10, callback)",
  scope = "pool:scope():close()",
  prewarm = "pool:prewarm(counts)",
  trim = "pool:trim()",
  close = "closed:close()",
  get_pool_stats = "sum = sum + pool:get_pool_stats().in_use",
  get_available_sizes = "sum = sum + #pool:get_available_sizes()",
  get_discarded_count = "sum = sum + pool:get_discarded_count()",
  expvar = "pool:expvar 'traces'",
  leaks = "sum = sum + #pool:leaks()",
  leak_level = "pool:leak_level 'off'",
  shrink = "pool:shrink(0)",
  tick = "pool:tick()",
  settings = "sum = sum + #pool:settings().tiers",
  configure = "pool:configure(tiers)",
  rollback = "pool:rollback()",
}

-- What the loops use.
local setup = [[
  local pool = bytepool.new_pools({ 128, 4096 }, { region_size = 67108864 })
  local closed = bytepool.new_pools({ 128 }, { region_size = 67108864 })
  local buf, other = pool:from_string "abcdefgh", pool:from_string "12345678"
  local file, counts = assert(io.tmpfile()), { [128] = 1 }
  file:write(("."):rep(2000))
  file:seek("set", 0)
  local tiers = { 128, 4096 }
  local function callback(b) return b:len() end
  local _ = { closed, other, counts, tiers, callback }
]]

local reason_of = {}
for reason, names in pairs(stays_c) do
  for _, name in ipairs(names) do reason_of[name] = reason end
end

local function check(methods, loops)
  for name in pairs(methods) do
    it(name .. (reason_of[name] and " stays C" or " compiles"), function()
      assert.truthy(loops[name], "no loop for the method " .. name)
      if not reason_of[name] then
        tracing.compiles(setup, loops[name])
        return
      end
      local links, aborts = tracing.loop(setup, loops[name])
      assert.equal("", aborts)
      assert.is_nil(links:find "loop", "it compiles: take it from the list")
    end)
  end
  for name in pairs(loops) do assert(methods[name], name) end
end

describe("README", function()
  it("lists what stays C", function()
    local text = h.read(h.root .. "/README.md"):match "Stays C on LuaJIT.-\n\n(|.-)\n\n"
    local listed = {}
    for reason, row in text:gmatch "\n| ([^|]+) | ([^|]+) |" do
      for name in row:gmatch "`([%w_]+)`" do listed[name] = reason end
    end
    assert.same(reason_of, listed)
  end)
end)

if jit and jit.status() then
  describe("in a hot loop a buffer's", function() check(core.buffer_methods, of_buffers) end)
  describe("in a hot loop a pool's", function() check(core.pool_methods, of_pools) end)
end
