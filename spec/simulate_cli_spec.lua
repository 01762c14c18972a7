-- The command `bytepool simulate`. BP_TRACE=FILE (sizes on lines) adds the trace cloudphysics-io-sizes.txt.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

if not pcall(require, "argparse") then
  pending("the command without argparse: see cli_spec")
  return
end

local unpack = table.unpack or _G.unpack

-- What simulate prints for a trace with that text; the trace's path reads TRACE in complaints.
local function simulate(text, ...)
  local words = { "simulate", ... }
  return h.with_file(text, function(path)
    words[#words + 1] = path
    local status, out, err = h.command(unpack(words))
    return status, out, (err:gsub(path:gsub("%p", "%%%0"), "TRACE"))
  end)
end

local function fails(status, message, text, ...)
  local got, out, err = simulate(text, ...)
  assert.same({ status, "" }, { got, out })
  assert.equal(message, (err:gsub("^Usage:.-\n\nError: ", "usage: ")))
end

-- The cells of the row that begins with a name.
local function row(out, name)
  for line in out:gmatch "[^\n]+" do
    local cells = line:match("^" .. name .. "  +(.*)$")
    if cells then return (cells:gsub("  +", "|")) end
  end
end

describe("bytepool simulate", function()
  it("prints what pools would count, side by side", function()
    local status, out, err = simulate("100 3\n2000\n5000 2 @1\n1MiB @5\n100\n", "--policy", "power_of_two", "--policy",
      "stream", "--policy", "fitted:2")
    assert.equal("0 ", status .. " " .. err)
    assert.equal([[
                       power_of_two             stream           fitted:2
tiers                            15                  6                  2
gets                              8                  8                  8
discarded                         0                  1                  0
hits                              3                  3                  5
misses                            5                  4                  3
hit rate                   37.500 %           37.500 %           62.500 %
waste bytes          6544 (6.4 KiB)   28560 (27.9 KiB)   22600 (22.1 KiB)
waste                       0.617 %          230.323 %            2.130 %
peak owned        1067136 (1.0 MiB)  1086464 (1.0 MiB)  1058576 (1.0 MiB)
peak in use       1056768 (1.0 MiB)  1064960 (1.0 MiB)  1053576 (1.0 MiB)
idle at the end   1067136 (1.0 MiB)   37888 (37.0 KiB)  1058576 (1.0 MiB)
given back                        0                  0                  0
slabs given back                  0                  0                  0
]], out)
  end)

  it("takes files of tiers and snapshots, and power_of_two where there is nothing else", function()
    local pool = h.new(nil, { 512, 8192 })
    local dumped = bytepool.report.dump(pool:get_pool_stats())
    pool:close()
    h.with_file("# two\n8KiB\n512\n", function(tiers)
      h.with_file(dumped, function(snapshot)
        local _, out = simulate("100\n5000\n9000\n", tiers, snapshot)
        assert.equal("2|2", row(out, "tiers"))
        assert.equal("1|1", row(out, "discarded"))
        assert.equal(tiers .. "|" .. snapshot, (out:match "^%s*([^\n]*)":gsub("  +", "|")))
      end)
    end)
    local _, out = simulate "100\n"
    assert.equal("15", row(out, "tiers"))
  end)

  it("takes what bytepool.load_config loads, where there is such", function()
    local before = rawget(bytepool, "load_config")
    local loaded = {}
    bytepool.load_config = function(source)
      loaded[#loaded + 1] = source.path
      if h.read(source.path):find "wrong" then return nil, source.path .. ":1: it is wrong" end
      return { tiers = { 512, 4096 }, limits = { bytes = 8192 } }
    end
    local ok, fault = pcall(h.with_file, "-- a config\nreturn {}\n", function(config)
      h.with_file("512\n", function(tiers)
        local _, out = simulate("4096 3\n", config, tiers, "--hold", "9")
        assert.equal("2|1", row(out, "tiers"))
        assert.equal("1|0", row(out, "over quota"))
        assert.same({ config }, loaded)
        h.write(config, "wrong")
        fails(1, ("bytepool: %s:1: it is wrong\n"):format(config), "1\n", config)
      end)
    end)
    bytepool.load_config = before
    if not ok then error(fault, 0) end
  end)

  it("holds buffers, and limits what has no limit of its own", function()
    local _, out = simulate("1MiB 100\n", "--hold", "50", "--policy", "power_of_two")
    assert.equal("51", row(out, "misses"))
    assert.equal("53477376 (51.0 MiB)", row(out, "peak in use"))
    assert.is_nil(row(out, "over quota"))
    _, out = simulate("1MiB 100\n", "--hold", "50", "--max-bytes", "20MiB", "--max-idle", "4MiB")
    assert.equal("20971520 (20.0 MiB)", row(out, "peak owned"))
    assert.truthy(tonumber(row(out, "over quota")) > 0)
    assert.truthy(tonumber(row(out, "slabs given back")) > 0)
  end)

  it("shows trims and decay where there are some", function()
    local _, out = simulate("get a 5\nput a\ntrim\n5\n", "--policy", "stream")
    assert.same({ "1", "2" }, { row(out, "trims"), row(out, "misses") })
    h.with_file("5\n", function(tiers)
      _, out = simulate("5\ntime 0\n", tiers)
      assert.is_nil(row(out, "of it by decay"))
    end)
  end)

  it("reads an nginx access log", function()
    local log = '203.0.113.9 - - [24/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 %d "-" "-"\n'
    local _, out = simulate(log:format(100) .. log:format(0) .. log:format(9000), "--format", "nginx")
    assert.equal("2", row(out, "gets"))
  end)

  it("reads standard input", function()
    local script = 'os.exit(require("bytepool.cli").main({"simulate", "-"}))'
    local command = "printf '5\\n@' | sed 's/@//' | \"$1\" -e '" .. script .. "'"
    local status, out = h.run("sh", "-c", command, "sh", h.interpreter)
    assert.equal(0, status)
    assert.equal("1", row(out, "gets"))
  end)

  it("says what is wrong", function()
    fails(1, "bytepool: TRACE:2: must be a size, or a size and a count, got \"x\"\n"
      .. "TRACE:3: \"a\" is not out\n", "5\nx\nput a\n")
    fails(1, "bytepool: TRACE: no request is in it\n", "# none\ntime 5\n")
    fails(1, "bytepool: TRACE: a snapshot does not tell the order of its requests\n", "{}")
    fails(1, "bytepool: /nonexistent/x: No such file or directory\n", "5\n", "/nonexistent/x")
    fails(2, "usage: --hold takes a whole number, got '-1'\n", "5\n", "--hold=-1")
    fails(2, "usage: --max-idle takes a size such as 64MiB, got '1MB'\n", "5\n", "--max-idle", "1MB")
    fails(2, "usage: --max-bytes takes a size such as 64MiB, got 'x'\n", "5\n", "--max-bytes", "x")
    fails(2, "usage: --max-bytes takes a size such as 64MiB, got '0'\n", "5\n", "--max-bytes", "0")
    for _, name in ipairs { "linear", "fitted:0", "fitted:65", "fitted:", "sizes" } do
      fails(2, ("usage: --policy takes power_of_two, power_of_two_plus, stream or fitted:N, got '%s'\n"):format(name),
        "5\n", "--policy", name)
    end
    local status, out, err = h.command "simulate"
    assert.same({ 2, "" }, { status, out })
    assert.truthy(err:find("Error: missing argument 'TRACE'", 1, true))
  end)

  it("is read by suggest too", function()
    local text = "get a 10\n10 2 @3\nput a\ntime 1\ntrim\n20 @1\n100\n"
    h.with_file(text, function(trace)
      h.with_file("10 3\n20\n100\n", function(sizes)
        local status, out = h.command("suggest", "--tiers", "2", trace)
        assert.equal(0, status)
        assert.same({ 0, out, "" }, { h.command("suggest", "--tiers", "2", sizes) })
      end)
    end)
  end)

  local trace = os.getenv "BP_TRACE"
  if trace then
    it("simulates the trace", function()
      local status, out = h.command("simulate", "--policy", "power_of_two", "--policy", "fitted:15", trace)
      assert.equal(0, status)
      assert.equal("113872|113872", row(out, "gets"))
      assert.equal("9|15", row(out, "misses"))
      assert.equal("18.667 %|0.349 %", row(out, "waste"))
    end)
  end
end)
