-- The programs of README.md print what it says they do.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")

local unpack = table.unpack or _G.unpack

local function words(s) return (s:gsub("[ \t]+", " "):gsub(" *\n", "\n")) end

-- What a program prints, as the file app.lua.
local function output_of(program)
  return h.script_ok(("assert((loadstring or load)(%q, '@app.lua'))()"):format(program))
end

local function section(title)
  return (h.read(h.root .. "/README.md"):match("\n## " .. title .. "\n(.-)\n## "))
end

describe("README", function()
  it("First program", function()
    local program = section "First program":match "```lua\n(.-)```"
    local said = {}
    for line in program:gmatch "%-%->%s*([^\n]+)" do said[#said + 1] = line end
    assert.equal(3, #said)
    local printed = words(output_of(program)):gsub("app%.lua:%d+: ", "")
    assert.equal(words(table.concat(said, "\n") .. "\n"), printed)
  end)

  it("Leaks", function()
    local program, printed = section "Leaks":match "```lua\n(.-)```\n\n```\n(.-)```"
    assert.equal(words(printed), words(output_of(program)))
  end)

  it("Configs", function()
    local text, printed = section "Configs":match "```lua\n(.-)```.-```\n(.-)```"
    local bytepool = require "bytepool"
    assert.equal(13, #assert(bytepool.load_config(text)).tiers)
    local example = h.root .. "/lua/examples/bodies.lua"
    if h.exists(example) then assert.equal(h.read(example):gsub("^%-%-[^\n]*\n", ""), text) end
    text = text:gsub("from = 512", "from = 500"):gsub("idle = ", "idel = ")
    local _, faults = bytepool.load_config { text = text, name = "bodies.lua" }
    assert.equal(printed, faults .. "\n")
  end)

  it("Tiers", function()
    if not pcall(require, "argparse") then return pending "the command without argparse" end
    local trace, command, printed = section "Tiers":match "```\n(# SIZE.-)```\n\n```\n%$ bytepool (.-)\n(.-)```"
    h.with_file(trace, function(path)
      local arguments = {}
      for word in command:gmatch "%S+" do arguments[#arguments + 1] = word == "day.txt" and path or word end
      assert.same({ 0, printed, "" }, { h.command(unpack(arguments)) })
    end)
  end)
end)
