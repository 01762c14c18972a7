-- The commands `bytepool stats` and `bytepool report`.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local report = require "bytepool".report
local unpack = table.unpack or _G.unpack

if not pcall(require, "argparse") then
  pending("the command without argparse: see cli_spec")
  return
end

local run = h.command

local function sample()
  local pool = h.new({ name = "cli" }, { 128, 1024 })
  pool:get_buffer(100):release()
  local s = pool:get_pool_stats()
  pool:close()
  return s
end

describe("bytepool stats", function()
  it("shows a dump as report.text does", function()
    local s = sample()
    h.with_file(report.dump(s), function(path)
      assert.same({ 0, report.text(s) .. "\n", "" }, { run("stats", path) })
    end)
  end)

  it("shows all pools of an expvar page", function()
    local s = sample()
    h.with_file(report.expvar { a = s, b = s }, function(path)
      assert.same({ 0, report.text { a = s, b = s } .. "\n", "" }, { run("stats", path) })
    end)
  end)

  it("shows it again and again, with rates", function()
    local s = sample()
    h.with_file(report.dump(s), function(path)
      local status, out, err = run("stats", path, "--watch", "0.01", "--count", "3")
      assert.equal("0 ", status .. " " .. err)
      assert.equal(3, select(2, out:gsub('pool "cli"', "")))
      assert.equal(3, select(2, out:gsub("\nrequests = 1", "")))
    end)
  end)

  -- A file that another process replaces between two drawings.
  it("tells rates of what changed meanwhile", function()
    local s = sample()
    local later = sample()
    s.uptime, later.uptime = 10, 12
    later.requests = s.requests + 60
    h.with_file(report.dump(s), function(path)
      local drawn, seen = 0, {}
      local status = require("bytepool.cli").main({ "stats", path, "--watch", "0.01", "--count", "2" },
        function(text)
          seen[#seen + 1] = text
          drawn = drawn + 1
          h.write(path, report.dump(later))
        end)
      assert.equal(0, status)
      assert.truthy(table.concat(seen):find("\nrequests = 61, 30/s\n", 1, true))
    end)
  end)

  it("says what is wrong with a source", function()
    h.with_file("{}", function(path)
      assert.same({ 1, "", ("bytepool: %s: no pool's snapshot is in it\n"):format(path) }, { run("stats", path) })
      assert.same({ 1, "", ("bytepool: %s: no pool's snapshot is in it\n"):format(path) },
        { run("stats", path, "--watch") })
    end)
    h.with_file("nonsense", function(path)
      local status, out, err = run("stats", path)
      assert.same({ 1, "" }, { status, out })
      assert.equal(("bytepool: %s: not JSON: "):format(path), err:sub(1, #path + 22))
    end)
    for _, case in ipairs { { "/no/such/file", "No such file" }, { h.root, "" },
      { "https://localhost/", "only http://" },
      { "ftp://localhost/", "only http://" } } do
      local status, out, err = run("stats", case[1])
      assert.same({ 1, "" }, { status, out })
      assert.truthy(err:find("bytepool: " .. case[1], 1, true), err)
      assert.truthy(err:find(case[2], 1, true), err)
    end
  end)

  it("names the module that a URL needs, or who did not answer", function()
    local status, out, err = run("stats", "http://127.0.0.1:1/")
    assert.same({ 1, "" }, { status, out })
    local expected = pcall(require, "socket.http") and "connection refused" or "needs the Lua module socket"
    assert.truthy(err:find("bytepool: http://127.0.0.1:1/: " .. expected, 1, true), err)
    -- As it is where the module is not there.
    local loaded, preload = package.loaded["socket.http"], package.preload["socket.http"]
    package.loaded["socket.http"] = nil
    package.preload["socket.http"] = function() error("not here") end
    local _, _, without = run("stats", "http://127.0.0.1:1/")
    package.loaded["socket.http"], package.preload["socket.http"] = loaded, preload
    assert.truthy(without:find("needs the Lua module socket", 1, true), without)
  end)

  it("refuses arguments that make no sense", function()
    for _, words in ipairs { { "stats" }, { "stats", "a", "--watch", "x" }, { "stats", "a", "--watch", "0" },
      { "stats", "a", "--watch", "-1" }, { "stats", "a", "--watch", "1", "--count", "0.5" },
      { "stats", "a", "--count", "1" }, { "stats", "-", "--watch" }, { "report" },
      { "report", "a", "--format", "x" } } do
      local status, out, err = run(unpack(words))
      assert.same({ 2, "" }, { status, out })
      assert.truthy(err:find("Usage: bytepool", 1, true), err)
    end
  end)

  it("has help", function()
    for _, command in ipairs { "stats", "report" } do
      local status, out, err = run(command, "--help")
      assert.equal("0 ", status .. " " .. err)
      assert.truthy(out:find("Usage: bytepool " .. command, 1, true))
    end
  end)
end)

describe("bytepool report", function()
  it("writes each format", function()
    local s = sample()
    h.with_file(report.dump(s), function(path)
      assert.same({ 0, report.text(s) .. "\n", "" }, { run("report", path) })
      for _, format in ipairs { "text", "prometheus", "openmetrics", "statsd", "html" } do
        local status, out, err = run("report", "--format", format, path)
        assert.equal("0 ", status .. " " .. err)
        assert.equal((report[format](s):gsub("\n$", "")), (out:gsub("\n$", "")))
        assert.equal("\n", out:sub(-1))
      end
      local _, out = run("report", "--format", "expvar", path)
      assert.same(report.load(report.expvar(s)), report.load(out))
    end)
  end)

  it("says what is wrong with a file", function()
    h.with_file("[1]", function(path)
      assert.same({ 1, "", ("bytepool: %s: no pool's snapshot is in it\n"):format(path) },
        { run("report", "--format", "html", path) })
    end)
  end)

  it("reads standard input as a program", function()
    local s = sample()
    local file = h.root .. "/lua/bin/bytepool"
    local command = h.exists(file) and ('exec "$1" "%s" report --format "$2" -'):format(file)
      or 'exec bytepool report --format "$2" -'
    h.with_file(report.dump(s), function(path)
      local status, out, err = h.run("sh", "-c", command .. ' <"$3"', "sh", h.interpreter, "prometheus", path)
      assert.equal("0 ", status .. " " .. err)
      assert.equal(report.prometheus(s), out)
    end)
    local status, out, err = h.run("sh", "-c", command, "sh", h.interpreter, "text")
    assert.same({ 1, "" }, { status, out })
    assert.truthy(err:find("bytepool: standard input: not JSON", 1, true), err)
  end)
end)
