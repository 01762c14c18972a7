-- Names, sites and tags that try to be more than names.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local readers = dofile(here .. "/report_readers.lua")
local report = require "bytepool".report
local rich, check_equations = readers.rich, readers.check_equations

describe("hostile names, sites and tags", function()
  local names = { '"} 1\nevil_metric 2\n#', "\\", "\\n", 'a"b\\"c', "<script>alert(1)</script>", "'\" onload='x",
    "a:1|c\nb:2|c", "..", "", " ", "memstats", "\r\n", "ok\1\127", "caf\195\169 \226\130\172", "&amp;", "]]>", "-->" }

  local function hostile(name)
    local s = rich()
    s.name = name
    s.leaks = { { kind = "out", site = name, tag = name, traceback = name, count = 1 },
      { kind = name, site = name, tag = name, count = 2 } }
    return s
  end

  -- What the formats make of bytes that not all of them can carry.
  local function carried(name)
    return (name:gsub("[%z\1-\8\11-\31\127]", function(c) return ("\\x%02x"):format(c:byte()) end))
  end

  it("stay labels and strings in every format", function()
    for _, name in ipairs(names) do
      local all = { [name] = hostile(name) }
      for _, format in ipairs { "expvar", "prometheus", "openmetrics", "html" } do
        local read = readers[format](report[format](all))
        local key, pool = next(read)
        assert.equal(carried(name), key)
        assert.is_nil(next(read, key))
        assert.equal(17, pool.requests)
        check_equations(pool)
      end
      for _, line in ipairs(readers.statsd_lines(report.statsd(all))) do
        assert.truthy(line.path:find("^bytepool%.[%w_-]+%."))
      end
      local samples = readers.samples(report.prometheus(all))
      for _, sample in ipairs(samples) do
        assert.truthy(sample.name:find("^bytepool_"))
        if sample.name == "bytepool_out_buffers" then assert.equal(carried(name), sample.labels.site) end
      end
    end
  end)

  it("do not break out of a page", function()
    for _, name in ipairs(names) do
      local html = report.html({ [name] = hostile(name) }, name)
      assert.falsy(html:find("<script", 1, true))
      assert.falsy(html:find("<data[^>]*onload"))
      assert.equal(1, select(2, html:gsub("<section ", "")))
    end
  end)

  it("can not add lines to the text for people", function()
    local _, lines = report.text({ plain = hostile("plain") }):gsub("\n", "")
    local _, same = report.text({ x = hostile("two\nlines\rof it") }):gsub("\n", "")
    assert.equal(lines + 1, same) -- a traceback may have lines of its own
  end)

  it("are UTF-8 in the end, whatever bytes they were", function()
    local cases = { ["\255"] = "\\xff", ["a\192\128b"] = "a\\xc0\\x80b", ["\237\160\128"] = "\\xed\\xa0\\x80",
      ["\244\144\128\128"] = "\\xf4\\x90\\x80\\x80", ["\226\130"] = "\\xe2\\x82", ["\195\169\0"] = "\195\169\\x00",
      ["\240\159\152\128"] = "\240\159\152\128" }
    for name, expected in pairs(cases) do
      assert.equal(expected, (next(readers.prometheus(report.prometheus { [name] = rich() }))))
      assert.equal(expected, (next(readers.expvar(report.expvar { [name] = rich() }))))
    end
  end)
end)
