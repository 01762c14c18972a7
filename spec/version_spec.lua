-- One version constant: core/bytepool.h has it, the module and the rockspec repeat it.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local header = h.read(h.root .. "/core/bytepool.h")
local version = header:match('#define%s+BP_VERSION%s+"([^"]+)"')

describe("the version", function()
  it("is in the header", function()
    assert.truthy(version and version:match("^%d+%.%d+%.%d+$"))
  end)

  it("is the module's", function()
    assert.equal(version, bytepool._VERSION)
  end)

  it("is the rockspec's", function()
    -- A rockspec is a Lua chunk of assignments.
    local text, env = h.read(h.root .. "/rockspec/bytepool-scm-1.rockspec"), {}
    local chunk
    local setfenv = rawget(_G, "setfenv")
    if setfenv then
      chunk = setfenv(assert(rawget(_G, "loadstring")(text, "=rockspec")), env)
    else
      chunk = assert(load(text, "=rockspec", "t", env))
    end
    chunk()
    assert.equal("bytepool", env.package)
    assert.equal("scm-1", env.version)
    assert.equal("make", env.build.type)
    assert.equal(version, env.build.build_variables.BP_ROCK_VERSION)
  end)

  -- A copy of the specs beside an installed module has neither lua/ nor the change log.
  local in_checkout = h.exists(h.root .. "/lua/bytepool/init.lua")
  local check = in_checkout and it or pending
  check("has an unreleased head in the change log", function()
    local first = h.read(h.root .. "/CHANGELOG.md"):match("\n##%s+([^\n]+)")
    assert.truthy(first and first:find("Unreleased", 1, true))
  end)
end)
