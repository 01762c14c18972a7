-- The command `bytepool suggest`.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"
local unpack = table.unpack or _G.unpack

if not pcall(require, "argparse") then
  pending("the command without argparse: see cli_spec")
  return
end

local function run(...)
  local out, err = {}, {}
  local status = require("bytepool.cli").main({ ... }, function(s) out[#out + 1] = s end,
    function(s) err[#err + 1] = s end)
  return status, table.concat(out), table.concat(err)
end

-- What suggest prints for a file with that text.
local function suggest(text, ...)
  local words = { "suggest", ... }
  return h.with_file(text, function(path)
    words[#words + 1] = path
    local status, out, err = run(unpack(words))
    return status, out, (err:gsub(path:gsub("%p", "%%%0"), "FILE"))
  end)
end

local function tiers_of(out) return out:match "\nbytepool%.new_pools{([^}]*)}\n$" end

-- The cells of the row that begins with a name.
local function row(out, name)
  for line in out:gmatch "[^\n]+" do
    if line:sub(1, #name + 1) == name .. " " then return (line:gsub(" +", " ")) end
  end
end

local SIZES = "10\n10\n10\n20\n100\n"

local function log_line(bytes, request, agent)
  return ('203.0.113.9 - bob [24/Nov/2026:10:00:00 +0000] "%s" 200 %s "https://example.org/" "%s"'):format(
    request or "GET / HTTP/1.1", bytes, agent or "curl/8.0")
end

describe("bytepool suggest", function()
  it("prints the best tiers beside the default ones", function()
    local status, out, err = suggest(SIZES, "--tiers", "2")
    assert.equal("0 ", status .. " " .. err)
    assert.equal([[
5 requests, 3 sizes from 10 to 100, 150 bytes asked for

              tiers      waste  waste bytes      hits  above the largest
power_of_two     15  326.667 %          490  80.000 %                  0
suggested         2   20.000 %           30  60.000 %                  0

The suggested tiers

size  requests     share  waste bytes     waste
20           4  80.000 %           30  60.000 %
100          1  20.000 %            0   0.000 %

hits: where each buffer goes back before the next get, all but the first of each tier
bytepool.new_pools{20, 100}
]], out)
  end)

  it("reads sizes with counts, units, blanks and comments", function()
    local _, plain = suggest(SIZES, "--tiers", "2")
    local _, counted = suggest("\239\187\191# sizes\n10 3\r\n\n  20\t1  \n100B\r\n", "--tiers", "2")
    assert.equal(plain, counted)
    local status, _, err = suggest("512\0x\n1024\n", "--tiers", "2")
    assert.equal('1 bytepool: FILE:1: must be a size, or a size and a count, got "512\\000x"\n', status .. " " .. err)
    local _, units = suggest("64KiB\n1MiB 2", "--tiers", "4")
    assert.equal("65536, 1048576", tiers_of(units))
  end)

  it("finds the fewest tiers for a waste", function()
    for waste, tiers in pairs { ["20"] = "20, 100", ["20%"] = "20, 100", ["19.9"] = "10, 20, 100",
      ["0"] = "10, 20, 100", ["500"] = "100" } do
      local status, out = suggest(SIZES, "--tiers", "8", "--max-waste", waste)
      assert.equal(0, status)
      assert.equal(tiers, tiers_of(out))
    end
    assert.same({ 1, "", "bytepool: the best 2 tiers waste 20.000 %, more than 19.000 %\n" },
      { suggest(SIZES, "--tiers", "2", "--max-waste", "19") })
  end)

  it("aligns tiers", function()
    local _, out = suggest(SIZES, "--tiers", "8", "--align", "64")
    assert.equal("64, 128", tiers_of(out))
  end)

  it("reads an nginx access log", function()
    local log = table.concat({ log_line(10), log_line(10, "GET /a%20b?x=[1] HTTP/1.1", "a [b] (c)"), log_line(20),
      log_line(0), log_line(10, ""), (log_line(100):gsub(' "[^"]*" "[^"]*"$', "")) }, "\n")
    local _, plain = suggest(SIZES, "--tiers", "2")
    assert.same({ 0, plain, "" }, { suggest(log, "--tiers", "2", "--format", "nginx") })
    assert.same({ 0, plain, "" }, { suggest(log .. "\n", "--tiers", "2", "--format", "nginx") })
  end)

  it("reads a snapshot, and compares with its pool", function()
    local pool = h.new({ name = "suggest" }, { 512, 4096 })
    for _ = 1, 8 do pool:get_buffer(512):release() end
    pool:get_buffer(9000):release()
    local report, s = bytepool.report, pool:get_pool_stats()
    pool:close()
    local status, out, err = suggest(report.dump(s), "--tiers", "2")
    assert.equal("0 ", status .. " " .. err)
    assert.truthy(out:find("bounds of a histogram's buckets", 1, true))
    assert.truthy(row(out, "present"):find("^present 2 .* 1$"), out)
    assert.equal("512, ", tiers_of(out):sub(1, 5))
    local both = report.expvar { a = s, b = s }
    local _, of_both = suggest(both, "--tiers", "2")
    assert.truthy(of_both:find("^18 requests"))
    assert.truthy(row(of_both, "power_of_two"))
  end)

  it("compares with the tiers of files", function()
    local pool = h.new(nil, { 32, 100 })
    local dumped = bytepool.report.dump(pool:get_pool_stats())
    pool:close()
    h.with_file("100\n50\n", function(sizes)
      h.with_file(dumped, function(snapshot)
        local status, out, err = suggest(SIZES, "--tiers", "2", "--tiers-of", sizes, "--tiers-of", snapshot)
        assert.equal("0 ", status .. " " .. err)
        assert.equal(sizes .. " 2 100.000 % 150 60.000 % 0", row(out, sizes))
        assert.equal(snapshot .. " 2 52.000 % 78 60.000 % 0", row(out, snapshot))
        assert.is_nil(row(out, "power_of_two"))
      end)
    end)
    for _, bad in ipairs { "0\n", "", "x\n" } do
      h.with_file(bad, function(path)
        local status, out, err = suggest(SIZES, "--tiers", "2", "--tiers-of", path)
        assert.same({ 1, "" }, { status, out })
        assert.truthy(err:find("bytepool: " .. path .. ":", 1, true), err)
      end)
    end
  end)

  it("names the lines that it can not read", function()
    local count = "the count must be a whole number of at least 1, got "
    local what = "must be a size, or a size and a count, got "
    assert.same({ 1, "",
      "bytepool: FILE:2: " .. what .. '"x"\nFILE:3: ' .. what .. '"-1"\nFILE:5: ' .. what .. '"1.5"\n'
      .. "FILE:6: " .. what .. '"1 2 3"\nFILE:7: ' .. count .. '"0"\nFILE:8: ' .. count .. '"x"\n'
      .. "FILE:9: " .. what .. '"2TiB"\n' },
      { suggest("1\nx\n-1\n\n1.5\n1 2 3\n1 0\n1 x\n2TiB\n", "--tiers", "2") })
    local _, _, many = suggest(("x\n"):rep(25), "--tiers", "2")
    assert.truthy(many:find('\nFILE:10: [^\n]*\nand 15 more lines\n$'), many)
    local log = log_line(5) .. "\n" .. log_line("x") .. "\n" .. log_line("7x") .. "\nnonsense\n"
    local status, out, err = suggest(log, "--tiers", "2", "--format", "nginx")
    assert.same({ 1, "" }, { status, out })
    for line = 2, 4 do assert.truthy(err:find(("FILE:%d: is not in nginx's combined"):format(line), 1, true), err) end
    assert.is_nil(err:find("FILE:1:", 1, true))
  end)

  it("says what is wrong with a file", function()
    for _, text in ipairs { "", "\n\n", "# nothing\n" } do
      assert.same({ 1, "", "bytepool: FILE: no request is in it\n" }, { suggest(text, "--tiers", "2") })
    end
    assert.same({ 1, "", "bytepool: FILE: no pool's snapshot is in it\n" }, { suggest("{}", "--tiers", "2") })
    for _, path in ipairs { "/no/such/file", h.root } do
      local status, out, err = run("suggest", "--tiers", "2", path)
      assert.same({ 1, "" }, { status, out })
      assert.truthy(err:find("bytepool: " .. path .. ": ", 1, true), err)
    end
    local status, _, err = suggest(SIZES, "--tiers", "2", "--svg", "/no/such/file.svg")
    assert.equal(1, status)
    assert.truthy(err:find("bytepool: /no/such/file.svg: ", 1, true), err)
  end)

  it("refuses arguments that make no sense", function()
    for _, words in ipairs { { "a" }, { "--tiers", "2" }, { "--tiers", "0", "a" }, { "--tiers", "65", "a" },
      { "--tiers", "x", "a" }, { "--tiers", "2", "--max-waste", "x", "a" },
      { "--tiers", "2", "--max-waste", "nan", "a" },
      { "--tiers", "2", "--max-waste=-1", "a" }, { "--tiers", "2", "--align", "0", "a" },
      { "--tiers", "2", "--align", "64K", "a" }, { "--tiers", "2", "--format", "x", "a" } } do
      local status, out, err = run("suggest", unpack(words))
      assert.same({ 2, "" }, { status, out })
      assert.truthy(err:find("Usage: bytepool", 1, true), err)
    end
    local _, help = run("suggest", "--help")
    assert.truthy(help:find("Usage: bytepool suggest", 1, true))
  end)

  it("reads standard input as a program", function()
    local file = h.root .. "/lua/bin/bytepool"
    local command = h.exists(file) and ('exec "$1" "%s" suggest --tiers 2 - <"$2"'):format(file)
      or 'exec bytepool suggest --tiers 2 - <"$2"'
    local _, expected = suggest(SIZES, "--tiers", "2")
    h.with_file(SIZES, function(path)
      assert.same({ 0, expected, "" }, { h.run("sh", "-c", command, "sh", h.interpreter, path) })
    end)
    h.with_file("x\n", function(path)
      local status, out, err = h.run("sh", "-c", command, "sh", h.interpreter, path)
      assert.same({ 1, "" }, { status, out })
      assert.truthy(err:find("bytepool: standard input:1: must be a size", 1, true), err)
    end)
  end)

  local trace = os.getenv("BP_TRACE")
  if trace then
    it("finds the best tiers of the trace", function()
      for n, waste in pairs { [4] = "7.001", [6] = "2.851", [8] = "1.518", [15] = "0.349" } do
        local status, out = run("suggest", "--tiers", tostring(n), trace)
        assert.equal(0, status)
        assert.truthy(row(out, "suggested"):find(("suggested %d %s %%"):format(n, waste), 1, true), out)
        assert.truthy(row(out, "power_of_two"):find(" 18.667 % ", 1, true), out)
      end
    end)
  end
end)

describe("its picture", function()
  local function picture(text, ...)
    local words = { ... }
    return h.with_file("", function(path)
      local status, _, err = suggest(text, "--tiers", "8", "--svg", path, unpack(words))
      assert.equal("0 ", status .. " " .. err)
      return h.read(path)
    end)
  end

  -- Tags that are opened are closed, in order; attributes are quoted.
  local function is_xml(svg)
    local open = {}
    for slash, name, rest in svg:gmatch "<(/?)(%w+)([^>]*)>" do
      if slash == "/" then
        assert.equal(name, table.remove(open))
      elseif rest:sub(-1) ~= "/" then
        open[#open + 1] = name
      end
      assert.truthy(rest:gsub('[%w:-]+="[^"<&]*"', ""):find "^[ /]*$", rest)
    end
    assert.same({}, open)
    assert.is_nil(svg:gsub("<[^>]*>", ""):find "[<>]")
    assert.is_nil(svg:find("nan", 1, true) or svg:find("inf[^o]"))
  end

  it("draws each tier, and all requests", function()
    local svg = picture(SIZES)
    is_xml(svg)
    assert.equal(3, select(2, svg:gsub('class="tier"', "")))
    local requests = 0
    for count in svg:gmatch "bytes: (%d+) requests</title>" do requests = requests + tonumber(count) end
    assert.equal(5, requests)
    assert.truthy(svg:find("suggested: 3 tiers, waste 0.000 %", 1, true))
    assert.truthy(svg:find("power_of_two: 15 tiers, waste 326.667 %", 1, true))
    -- Nothing is loaded from elsewhere.
    assert.equal(1, select(2, svg:gsub("%a+://", "")))
  end)

  it("is one also of odd traces", function()
    local many = {}
    for i = 1, 300 do many[i] = i * i end
    for _, text in ipairs { "0", "1", "0 5\n1TiB 2", "4096 1000000", table.concat(many, "\n") } do
      is_xml(picture(text))
    end
    h.with_file("16\n100\n", function(path)
      local odd = path .. "<&'\">"
      assert(os.rename(path, odd))
      local svg = picture(SIZES, "--tiers-of", odd)
      os.rename(odd, path)
      is_xml(svg)
      assert.truthy(svg:find("&lt;&amp;'&quot;&gt;: 2 tiers", 1, true))
    end)
  end)
end)
