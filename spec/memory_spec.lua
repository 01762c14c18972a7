-- Memory: a burst of a GiB goes back to the system, and what Lua is told when there is none.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local mib = 1024 * 1024

-- The bytes that are resident, or nil and why nobody can tell.
local function resident()
  local f = io.open("/proc/self/statm", "r")
  if not f then return nil, "no /proc/self/statm here" end
  local _, pages = f:read("*n", "*n")
  f:close()
  -- A sanitizer keeps memory for itself, as valgrind does.
  local preload = os.getenv "LD_PRELOAD" or ""
  if preload:find "asan" or preload:find "vgpreload" then return nil, "nothing tells under a sanitizer" end
  return pages * 4096
end

describe("a burst of a GiB", function()
  local sizes = bytepool.size_power_of_two()

  -- Whole cycles over all tiers, each buffer touched in every page.
  local function burst(pool)
    local held, bytes = {}, 0
    while bytes < 1024 * mib do
      for _, size in ipairs(sizes) do
        local buf = pool:get_buffer(size)
        for at = 1, size, 4096 do buf:set_string(at, "x") end
        held[#held + 1], bytes = buf, bytes + size
      end
    end
    return held, bytes
  end

  local function goes_back(options)
    local before, why = resident()
    if not before then
      pending(why)
      return
    end
    h.collect()
    before = resident()
    local pool = h.new(options, sizes)
    local held, bytes = burst(pool)
    assert.is_true(resident() > before + bytes - 16 * mib)
    for i, buf in ipairs(held) do
      buf:release()
      held[i] = nil
    end
    local idle = pool:get_pool_stats().idle_bytes
    local given = pool:trim()
    assert.equal(idle, given)
    h.collect() -- the handles are Lua's
    local after = resident()
    assert.is_true(after < before + 16 * mib, ("%.0f MiB more than before"):format((after - before) / mib))
    h.all_back(pool)
    pool:close()
    return idle, bytes
  end

  it("is idle as a whole, and a trim gives it back", function()
    local idle, bytes = goes_back { max_idle = 2048 * mib }
    assert.equal(bytes, idle)
  end)

  it("is mostly given back at the default bound, and by a trim wholly", function()
    local idle = goes_back()
    assert.is_true(not idle or idle <= 256 * mib)
  end)
end)
