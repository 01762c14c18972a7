-- The command `bytepool`, as a function and as a program.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local run = h.command

if not pcall(require, "argparse") then
  it("the command names the module that it misses", function()
    local status, out, err = run("--version")
    assert.equal(1, status)
    assert.equal("", out)
    assert.truthy(err:find("argparse", 1, true))
  end)
  return
end

describe("the command", function()
  it("--version", function()
    assert.same({ 0, "bytepool " .. bytepool._VERSION .. "\n", "" }, { run("--version") })
  end)

  it("info", function()
    local status, out, err = run("info")
    assert.equal("0 ", status .. " " .. err)
    assert.truthy(out:find("\nLua ", 1, true))
    assert.truthy(out:find(bytepool._VERSION, 1, true))
    assert.truthy(out:find("128 256 512", 1, true))
    assert.truthy(out:find(package.searchpath and package.searchpath("bytepool.core", package.cpath) or ".so", 1, true))
  end)

  it("tiers", function()
    local _, out = run("tiers")
    assert.equal(table.concat(bytepool.size_power_of_two(), "\n") .. "\n", out)
    local _, stream = run("tiers", "stream")
    assert.equal(table.concat(bytepool.size_stream(), "\n") .. "\n", stream)
    assert.equal(2, (run("tiers", "other")))
  end)

  it("--help", function()
    for _, flag in ipairs { "-h", "--help" } do
      local status, out, err = run(flag)
      assert.equal("0 ", status .. " " .. err)
      assert.truthy(out:find("Usage: bytepool", 1, true))
    end
    local _, out = run("tiers", "--help")
    assert.truthy(out:find("Usage: bytepool tiers", 1, true))
  end)

  it("refuses what it does not know", function()
    for _, words in ipairs { {}, { "nonsense" }, { "--nonsense" }, { "info", "extra" } } do
      local status, out, err = run((table.unpack or _G.unpack)(words))
      assert.equal(2, status)
      assert.equal("", out)
      assert.truthy(err:find("Usage: bytepool", 1, true))
    end
  end)

  -- In a checkout through this interpreter; beside an installed copy as a user runs it.
  local function program(word)
    local file = h.root .. "/lua/bin/bytepool"
    if h.exists(file) then return h.exec(file, word) end
    return h.run("bytepool", word)
  end

  it("as a program", function()
    local status, out, err = program("--version")
    assert.equal("0 bytepool " .. bytepool._VERSION .. "\n ", status .. " " .. out .. " " .. err)
    local bad_status, bad_out, bad_err = program("nonsense")
    assert.equal("2 ", bad_status .. " " .. bad_out)
    assert.truthy(bad_err:find("Usage: bytepool", 1, true))
  end)

  if h.exists "/dev/full" then
    it("says that what it wrote is lost", function()
      local text = "os.exit(require('bytepool.cli').main { 'tiers' })"
      h.with_file(text, function(path)
        local status, _, err = h.run("sh", "-c", ("exec %s '%s' >/dev/full"):format(h.interpreter, path))
        assert.equal("1 bytepool: standard output: No space left on device\n", status .. " " .. err)
      end)
    end)
  end
end)
