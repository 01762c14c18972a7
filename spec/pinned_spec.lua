-- pinned_bytes: what small slices keep of blocks that nobody else holds.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")

describe("pinned_bytes", function()
  local pool
  before_each(function() pool = h.new() end)
  after_each(function() pool:close() end)

  local function pinned() return pool:get_pool_stats().pinned_bytes end

  it("is what a slice does not show of its block once it is alone", function()
    local buf = pool:get_buffer(5000)
    local part = buf:slice(11, 20)
    assert.equal(0, pinned())
    buf:release()
    assert.equal(8192 - 10, pinned())
    part:release()
    assert.equal(0, pinned())
  end)

  it("counts what several slices show once", function()
    local buf = pool:get_buffer(4096)
    local parts = { buf:slice(1, 100), buf:slice(51, 150), buf:slice(60, 70), buf:slice(1000, 1009), buf:slice(5, 4) }
    local inner = parts[1]:slice(1, 10)
    buf:release()
    assert.equal(4096 - 160, pinned())
    parts[4]:release()
    assert.equal(4096 - 150, pinned())
    inner:release()
    parts[3]:retain()
    assert.equal(4096 - 150, pinned())
    local whole = pool:get_buffer(10)
    local view = parts[2]:share()
    assert.equal(4096 - 150, pinned())
    view:unshare()
    assert.equal(4096 - 150, pinned())
    for i = 1, 5 do if i ~= 4 then parts[i]:release() end end
    assert.equal(4096 - 11, pinned())
    parts[3]:release()
    assert.equal(0, pinned())
    view:release()
    whole:release()
    h.all_back(pool)
  end)

  it("knows what consuming, splitting and exporting do", function()
    local buf = pool:get_buffer(1000)
    local head = buf:split(100)
    assert.equal(24, pinned())
    head:skip(50)
    assert.equal(74, pinned())
    local token = buf:export()
    buf:release()
    assert.equal(0, pinned()) -- a token holds it too
    buf = require "bytepool".import(token)
    assert.equal(74, pinned())
    head:release()
    assert.equal(124, pinned())
    buf:release()
    assert.equal(0, pinned())
  end)

  it("agrees with a count by hand #random", function()
    h.seeded(function(random)
      local blocks, slices = {}, {}
      for _ = 1, 400 do
        local what = random(1, 4)
        if what == 1 then
          local size = 2 ^ random(7, 12)
          blocks[#blocks + 1] = { buf = pool:get_buffer(size), size = size, refs = 1, shown = {} }
        elseif what == 2 and #blocks > 0 then
          local b = blocks[random(1, #blocks)]
          if b.buf then
            local i = random(1, b.size)
            local s = { of = b, i = i, j = random(i, b.size) }
            s.handle = b.buf:slice(s.i, s.j)
            slices[#slices + 1] = s
          end
        elseif what == 3 and #blocks > 0 then
          local b = blocks[random(1, #blocks)]
          if b.buf then b.buf = b.buf:release() end
        elseif #slices > 0 then
          local s = table.remove(slices, random(1, #slices))
          s.handle:release()
        end
        local expected, seen = 0, {}
        for _, s in ipairs(slices) do
          local b = s.of
          if not b.buf then
            if not seen[b] then
              seen[b] = {}
              expected = expected + b.size
            end
            for at = s.i, s.j do
              if not seen[b][at] then
                seen[b][at] = true
                expected = expected - 1
              end
            end
          end
        end
        assert.equal(expected, pinned())
      end
      for _, s in ipairs(slices) do s.handle:release() end
      for _, b in ipairs(blocks) do if b.buf then b.buf:release() end end
      assert.equal(0, pinned())
      h.all_back(pool)
    end)
  end)
end)
