-- The demo, lua/examples/fanout.lua, run by this interpreter.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")

local demo = h.root .. "/lua/examples/fanout.lua"

-- Examples are not installed; beside an installed copy there may be none.
if not h.exists(demo) then
  pending("the demo: there is no lua/examples here")
  return
end

describe("the demo", function()
  local function run(content)
    return h.with_file(content, function(path) return h.exec(demo, path) end)
  end

  local function digest(s)
    local d = 0
    for i = 1, #s do d = (d * 257 + s:byte(i)) % 4294967291 end
    return ("%08x"):format(d)
  end

  local function check(content)
    local status, out, err = run(content)
    assert.equal("0 ", status .. " " .. err)
    local get, put = out:match("\ntotal_get = (%d+)"), out:match("\ntotal_put = (%d+)")
    assert.truthy(get)
    assert.equal(get, put)
    -- Our own digest, in the row of each consumer.
    local row = ("%%s+%d%%s+%s%%s+ok\n"):format(#content, digest(content))
    assert.equal(4, select(2, out:gsub(row, "")))
    assert.falsy(out:find("DIFFERS", 1, true))
    return tonumber(get)
  end

  it("hands every byte of a file to every consumer #random", function()
    h.seeded(function(random)
      assert.is_true(check(h.random_string(random, 300001)) > 4)
    end)
  end)

  it("works on a small and on an empty file", function()
    assert.equal(1, check("x"))
    assert.equal(0, check(""))
  end)

  it("says what is wrong when there is no such file", function()
    local status, out, err = h.exec(demo, h.root .. "/no/such/file")
    assert.is_true(status ~= 0 and status < 128)
    assert.equal("", out)
    assert.truthy(err:find("no/such/file", 1, true))
    assert.falsy(err:find("stack traceback", 1, true))
  end)
end)
