-- The option debug: bytes written behind a buffer or into a released one are found, with the line
-- that got it. What no method can do is done here through the FFI.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"
local has_raw, raw = pcall(require, "bytepool.ffi")
local sanitized = (os.getenv "LD_PRELOAD" or ""):find "asan"
local me = debug.getinfo(1, "S").short_src

describe("the option debug", function()
  local pool
  before_each(function() pool = h.new { debug = true } end)
  after_each(function()
    h.collect()
    pool:close()
  end)

  it("changes nothing for who keeps within a buffer", function()
    for _, n in ipairs { 0, 1, 127, 128, 4096, 2097152, 3000000 } do
      local buf = pool:get_buffer(n)
      buf:fill(1)
      buf:share():release()
      buf:release()
      local b = pool:builder()
      b:put(("x"):rep(n)):reserve(b:capacity() - b:len())
      b:commit(b:capacity() - b:len())
      b:fill(2)
      b:slice():release()
      b:release()
    end
    local s = h.all_back(pool)
    assert.equal(0, s.overruns + s.late_writes)
  end)

  it("traces every handle, so that a fault has its line", function()
    local buf = pool:get_buffer(10); local line = debug.getinfo(1, "l").currentline
    assert.equal("off", pool:leak_level())
    local leaks = pool:leaks()
    assert.equal(1, #leaks)
    assert.equal(me .. ":" .. line, leaks[1].site)
    buf:release()
    assert.same({}, pool:leaks())
  end)

  it("refuses what is neither true nor false", function()
    h.raises(function() bytepool.new_pools({ 64 }, { debug = 1 }) end,
      "new_pools: option 'debug' must be true or false, got 1")
  end)

  if not has_raw then
    assert.is_false(h.is_luajit)
    return
  end
  local ffi = require "ffi"

  it("fills what was released with a pattern, seen through the raw path", function()
    local p, capacity = raw.get(pool, 1000)
    ffi.fill(p, capacity, 0xaa)
    raw.put(pool, p)
    if not sanitized then
      for i = 0, tonumber(capacity) - 1 do assert.equal(0xdb, p[i]) end
    end
    local buf = pool:get_buffer(1024)
    assert.equal(ffi.cast("uint8_t *", p), (buf:ref()))
    buf:release()
    assert.equal(0, pool:get_pool_stats().late_writes)
  end)

  -- Writes where AddressSanitizer would see it: there it ends the program itself.
  if sanitized then return end

  local function overrun(buf)
    local p = buf:ref()
    p[buf:capacity()] = 1
    return buf
  end

  it("raises at the release, with the line of the get", function()
    local told = {}
    local before = bytepool.on_leak(function(leak) told[#told + 1] = leak end)
    local ways = {
      release = function(buf) buf:release() end,
      put = function(buf) pool:put(buf) end,
      release_buffer = function(buf) pool:release_buffer(buf) end,
    }
    local n = 0
    for name, way in pairs(ways) do
      local buf = pool:get_buffer(100, "mine"); local line = debug.getinfo(1, "l").currentline
      local ok, message = pcall(way, overrun(buf))
      assert.is_false(ok)
      assert.equal(("%s: bytes behind the end of the buffer were overwritten (got at %s:%d)"):format(name, me, line),
        (message:gsub("^.-:%d+: ", "", 1)))
      assert.equal("released buffer", bytepool.type(buf))
      n = n + 1
      assert.equal(n, pool:get_pool_stats().overruns)
      assert.equal(n, #told)
      assert.equal("overrun", told[n].kind)
      assert.equal("mine", told[n].tag)
    end
    bytepool.on_leak(before)
    local leaks = pool:leaks()
    assert.equal(1, #leaks)
    assert.equal(3, leaks[1].count)
    h.all_back(pool)
  end)

  it("raises only when the last reference goes", function()
    local buf = overrun(pool:get_buffer(100))
    local other = buf:share()
    buf:retain()
    buf:release()
    buf:release()
    assert.is_false((pcall(other.release, other)))
    h.all_back(pool)
  end)

  it("tells the listener what the collector or a scope finds", function()
    local told = {}
    local before = bytepool.on_leak(function(leak) told[leak.kind] = (told[leak.kind] or 0) + 1 end)
    local function forget() overrun(pool:get_buffer(100)) end
    forget()
    forget()
    h.collect()
    assert.same({ collected = 2, overrun = 2 }, told)
    pool:using(100, overrun)
    assert.same({ collected = 2, overrun = 3 }, told)
    bytepool.on_leak(before)
    h.all_back(pool)
  end)

  it("blames the line that got a buffer whose block is left behind as it grows", function()
    local b = pool:builder(100); local line = debug.getinfo(1, "l").currentline
    b:put("x")
    overrun(b):put(("y"):rep(5000))
    assert.equal(1, pool:get_pool_stats().overruns)
    local kinds = {}
    for _, leak in ipairs(pool:leaks()) do kinds[leak.kind] = leak.site end
    assert.equal(me .. ":" .. line, kinds.overrun)
    b:release()
    h.all_back(pool)
  end)

  it("counts a write to a released buffer when it is handed out again", function()
    local buf = pool:get_buffer(100)
    local p = buf:ref()
    buf:release()
    p[5] = 1
    assert.equal(0, pool:get_pool_stats().late_writes)
    buf = pool:get_buffer(100)
    assert.equal(1, pool:get_pool_stats().late_writes)
    buf:release()
  end)
end)
