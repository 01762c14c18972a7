-- The command `bytepool check`.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")

if not pcall(require, "argparse") then
  pending("the command without argparse: see cli_spec")
  return
end

local function check(text, ...)
  local more = { ... }
  return h.with_file(text, function(path)
    local status, out, err = h.command("check", path, (table.unpack or _G.unpack)(more))
    return status, (out:gsub(path:gsub("%p", "%%%0"), "FILE")), err
  end)
end

describe("bytepool check", function()
  it("sums up a config that is right", function()
    assert.same({ 0, "FILE: ok: 1 tier of 512 B\n", "" }, { check "return { tiers = { 512 } }" })
    local status, out, err = check [[
      return { tiers = policy.power_of_two{from = 512}, on_tick = function() end,
        limits = { idle = "64MiB", bytes = 1000, waste = 0.125, decay = "500ms", pressure = "auto" } }]]
    assert.same({ 0, "FILE: ok: 13 tiers from 512 B to 2.0 MiB, idle 64.0 MiB, bytes 1000 B, waste 12.5 %, "
      .. "decay 0.5 s, pressure auto, on_tick\n", "" }, { status, out, err })
  end)

  it("lists all faults of one that is not", function()
    local status, out, err = check "return {\n  tiers = { 2, 1 },\n  leaks = 5,\n}"
    assert.equal(1, status)
    assert.equal('FILE:2: tiers[2]: expected a size above 2, got 1\n'
      .. 'FILE:3: leaks: expected "off" or "simple" or "advanced" or "paranoid", got 5\n', out)
    assert.equal("bytepool: 1 of 1 config files can not be used\n", err)
  end)

  it("takes several files, and says of each what it is", function()
    local status, out, err = check("return { tiers = { 1 } }", "/no/such/file", "/")
    assert.equal(1, status)
    assert.equal("FILE: ok: 1 tier of 1 B\n/no/such/file: No such file or directory\n/: is a directory\n", out)
    assert.equal("bytepool: 2 of 3 config files can not be used\n", err)
  end)

  it("shows no control characters of a config", function()
    local _, out = check "error('a\\27[2Jb', 0)"
    assert.equal("FILE: a\\027[2Jb\n", out)
  end)

  it("reads standard input", function()
    local file = h.root .. "/lua/bin/bytepool"
    local script = "echo 'return { tiers = { 8 }, x = 1 }' | bytepool check -"
    if h.exists(file) then script = script:gsub("bytepool", '"$1" "$2"') end
    local status, out = h.run("sh", "-c", script, "sh", h.interpreter, file)
    assert.equal(1, status)
    assert.equal("standard input:1: x: unknown key (known: adaptive, debug, leaks, limits, name, on_tick, recent, "
      .. "region_size, tiers, zero)\n", out)
  end)

  it("wants a file", function()
    local status, out, err = h.command "check"
    assert.equal(2, status)
    assert.equal("", out)
    assert.truthy(err:find("missing argument 'FILE'", 1, true))
  end)

  it("finds the example right", function()
    local example = h.root .. "/lua/examples/bodies.lua"
    if not h.exists(example) then return end -- not installed
    local status, out = h.command("check", example)
    assert.equal(0, status)
    local said = ": ok: 13 tiers from 512 B to 2.0 MiB, idle 64.0 MiB, bytes 512.0 MiB, decay 10 s, on_tick\n"
    assert.truthy(out:find(said, 1, true))
  end)
end)
