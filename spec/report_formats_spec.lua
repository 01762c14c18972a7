-- The formats of bytepool.report: what is read back out of their text.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local readers = dofile(here .. "/report_readers.lua")
local bytepool = require "bytepool"
local report = bytepool.report
local rich, check_equations = readers.rich, readers.check_equations

local FORMATS = { "text", "expvar", "prometheus", "openmetrics", "statsd", "html" }

-- A pool with hits, misses, oversize requests, and buffers still out: they are returned too.
local function busy(random, name)
  local pool = h.new({ name = name }, { 128, 1024, 4096 })
  local kept = {}
  for _ = 1, random(50, 400) do
    local buf = pool:get_buffer(random(0, 6000))
    if random(1, 4) == 1 then kept[#kept + 1] = buf else buf:release() end
  end
  return pool, kept
end

for _, format in ipairs(FORMATS) do
  describe("report." .. format, function()
    it("tells the figures of a live pool, and they obey the equations #random", function()
      h.seeded(function(random)
        for _ = 1, 5 do
          local pool, kept = busy(random, "live")
          local s = pool:get_pool_stats()
          local read = readers[format](report[format](s)).live
          check_equations(read)
          for _, key in ipairs { "requests", "discarded", "in_use_bytes", "idle_bytes", "owned_bytes" } do
            assert.equal(s[key], read[key])
          end
          for size, tier in pairs(s.pools) do
            for key, value in pairs(tier) do
              if read.tiers[size][key] ~= nil then assert.equal(value, read.tiers[size][key]) end
            end
            for _, key in ipairs { "get", "put", "hit", "miss", "in_use", "owned", "idle", "cached", "depot" } do
              assert.equal(tier[key], read.tiers[size][key])
            end
          end
          for _, buf in ipairs(kept) do buf:release() end
          pool:close()
        end
      end)
    end)

    it("tells several pools apart by their prefixes #random", function()
      h.seeded(function(random)
        local a, kept_a = busy(random, "same")
        local b, kept_b = busy(random, "")
        local both = { one = a:get_pool_stats(), two = b:get_pool_stats() }
        local read = readers[format](report[format](both))
        assert.equal(both.one.requests, read.one.requests)
        assert.equal(both.two.requests, read.two.requests)
        check_equations(read.one)
        check_equations(read.two)
        for _, list in ipairs { kept_a, kept_b } do for _, buf in ipairs(list) do buf:release() end end
        a:close()
        b:close()
      end)
    end)

    it("is a function of its argument alone, and changes nothing in it", function()
      local s, twin = rich(), rich()
      local first = report[format](s)
      assert.same(twin, s)
      if format ~= "expvar" then -- the order of an object's keys is no one's promise
        assert.equal(first, report[format](twin))
        assert.equal(first, report.render(format, s))
      end
    end)

    it("takes what has none of the optional figures, and no pools at all", function()
      local read = readers[format](report[format] { name = "bare", pools = {} })
      assert.same({}, read.bare and read.bare.tiers or {})
      assert.same({}, readers[format](report[format] {}))
    end)

    it("refuses what is no snapshot", function()
      local bad = { name = "x", pools = { [128] = { get = "many" } } }
      local nan = { pools = {}, requests = 0 / 0 }
      local f = report[format]
      if format ~= "expvar" then
        h.raises(function() f() end, format .. ": argument 'snapshot' must be a snapshot or a table of them, got nil")
      end
      h.raises(function() f(5) end, format .. ": argument 'snapshot' must be a snapshot or a table of them, got 5")
      h.raises(function() f { a = 1 } end, format
        .. ": argument 'snapshot' must be a snapshot or a table of them, got a table with the key \"a\"")
      h.raises(function() f(bad) end, format
        .. ": argument 'snapshot' is no snapshot: field 'pools[128].get' must be a finite number, got string")
      h.raises(function() f { p = bad } end, format .. ": argument 'snapshot' has no snapshot at \"p\": "
        .. "field 'pools[128].get' must be a finite number, got string")
      h.raises(function() f(nan) end, format
        .. ": argument 'snapshot' is no snapshot: field 'requests' must be a finite number, got nan")
      h.raises(function() f { pools = { a = {} } } end, format
        .. ": argument 'snapshot' is no snapshot: field 'pools' has a key that is no tier size: \"a\"")
    end)
  end)
end

describe("report.text", function()
  it("has the figures that come with leak detection and pacing", function()
    local text = "\n" .. report.text(rich()) .. "\n"
    for _, line in ipairs { "waste_bytes = 678", "peak_in_use_bytes = 6144 (6.0 KiB)", "double_releases = 4",
      "late_writes = 7", "uptime = 3723.50 s (1 h 2 min)", "time = 1785000000 (2026-07-25 17:20:00 UTC)",
      "leak_level = paranoid", "gc.seconds = 0.125", "    two",
      "max_bytes = 536870912 (512.0 MiB)", "max_waste = 0.5", "decay = 2.50 s", "generation = 3", "over_quota = 8",
      "decayed_bytes = 4096 (4.0 KiB)", "draining: 1024", "drained.tiers = 1", "drained.asked_bytes = 2000 (2.0 KiB)",
      "recent_lengths = 1, 100, 5000 (3 kept, newest last)" } do
      assert.truthy(text:find("\n" .. line .. "\n", 1, true), line)
    end
    assert.truthy(text:find("\n  out           app.lua:20  viewer      4   4096", 1, true), text)
    assert.truthy(text:find("\n  <= 1024  10\n", 1, true), text)
    assert.equal(538, readers.text(text).rich.tiers[1024].waste_bytes)
  end)

  it("shows one line for each power of two of the request sizes", function()
    local s = rich()
    s.histogram = { { le = 1, count = 1 }, { le = 3, count = 2 }, { le = 4, count = 3 }, { le = 5, count = 4 },
      { le = 8, count = 5 }, { le = 4607, count = 6 }, { le = 5000, count = 7 } }
    local text = report.text(s)
    local lines = "request sizes:\n     <= 1   1\n     <= 4   5\n     <= 8   9\n  <= 5000  13\n"
    assert.truthy(text:find(lines, 1, true), text)
    local html = report.html(s)
    assert.truthy(html:find('<th><data value="5000" data-key="le">5,000</data></th><td><data value="13"', 1, true))
    assert.truthy(html:find("&le;&nbsp;4607:&nbsp;6, &le;&nbsp;5000:&nbsp;7", 1, true))
  end)

  it("does not show what is not there", function()
    local pool = h.new { name = "today" }
    local s = pool:get_pool_stats()
    pool:close()
    for _, key in ipairs { "leaks", "gc", "histogram", "uptime", "collected", "waste_bytes" } do s[key] = nil end
    for _, tier in pairs(s.pools) do tier.waste_bytes = nil end
    local text = report.text(s)
    for _, word in ipairs { "leaks", "gc%.", "request sizes", "uptime", "\ncollected", "waste" } do
      assert.falsy(text:find(word), word)
    end
  end)
end)

describe("report.prometheus and report.openmetrics", function()
  local function find(samples, name, wanted)
    local found = {}
    for _, sample in ipairs(samples) do
      local fits = sample.name == name
      for key, value in pairs(wanted or {}) do fits = fits and sample.labels[key] == value end
      if fits then found[#found + 1] = sample.value end
    end
    return found
  end

  it("have the names and labels that dashboards ask for", function()
    local samples, comments = readers.samples(report.prometheus(rich()))
    assert.same({ 4 }, find(samples, "bytepool_gets_total", { pool = "rich", tier = "1024", result = "hit" }))
    assert.same({ 3 }, find(samples, "bytepool_puts_total", { tier = "128" }))
    assert.same({ 140 }, find(samples, "bytepool_waste_bytes_total", { tier = "128" }))
    assert.same({ 1, 2 }, find(samples, "bytepool_collected_total"))
    assert.same({ 3 }, find(samples, "bytepool_leaks_total", { site = "app.lua:12" })) -- two records, one site
    assert.same({ 4 }, find(samples, "bytepool_out_buffers", { site = "app.lua:20", tag = "viewer" }))
    assert.same({}, find(samples, "bytepool_leaks_total", { site = "app.lua:20" }))
    assert.same({ 0.125 }, find(samples, "bytepool_gc_seconds_total"))
    assert.same({ 536870912, 0.5, 2.5 }, { find(samples, "bytepool_max_bytes")[1],
      find(samples, "bytepool_max_waste_ratio")[1], find(samples, "bytepool_decay_seconds")[1] })
    assert.same({ 131072 }, find(samples, "bytepool_tier_max_bytes", { tier = "1024" }))
    assert.same({ 65536 }, find(samples, "bytepool_tier_max_idle_bytes"))
    assert.same({ 8, 3, 4096 }, { find(samples, "bytepool_over_quota_total")[1],
      find(samples, "bytepool_settings_generation")[1], find(samples, "bytepool_decayed_bytes_total")[1] })
    assert.same({ 15 }, find(samples, "bytepool_drained_gets_total", { result = "hit" }))
    assert.same({ 5 }, find(samples, "bytepool_drained_gets_total", { result = "miss" }))
    assert.same({ 20 }, find(samples, "bytepool_drained_puts_total"))
    assert.equal("counter", comments.TYPE.bytepool_gets_total)
    assert.equal("gauge", comments.TYPE.bytepool_in_use_bytes)
    for family in pairs(comments.TYPE) do assert.truthy(comments.HELP[family], family) end
    for _, sample in ipairs(samples) do
      local family = sample.name
      if family:find("^bytepool_request_size_bytes") then family = "bytepool_request_size_bytes" end
      local kind = comments.TYPE[family]
      assert.truthy(kind, family)
      assert.equal(kind == "counter", family:find("_total$") ~= nil, family)
    end
  end)

  it("make one figure of the pool where tiers do not have it", function()
    local s = rich()
    for _, tier in pairs(s.pools) do tier.waste_bytes = nil end
    assert.same({ 678 }, find(readers.samples(report.prometheus(s)), "bytepool_waste_bytes_total"))
  end)

  it("have a cumulative histogram with a bucket for each tier, hit or not", function()
    for format, les in pairs { prometheus = { "128", "1024", "+Inf" },
      openmetrics = { "128.0", "1024.0", "+Inf" } } do
      local samples = readers.samples(report[format](rich()))
      for i, count in ipairs { 5, 15, 17 } do
        assert.same({ count }, find(samples, "bytepool_request_size_bytes_bucket", { le = les[i] }))
      end
      assert.equal(3, #find(samples, "bytepool_request_size_bytes_bucket"))
      assert.same({ 12345 + 9999 }, find(samples, "bytepool_request_size_bytes_sum"))
      assert.same({ 17 }, find(samples, "bytepool_request_size_bytes_count"))
    end
    local s = rich()
    s.histogram, s.asked_bytes = { { le = 1000, count = 3 } }, nil
    local samples = readers.samples(report.prometheus(s))
    assert.same({ 0, 3, 3 }, find(samples, "bytepool_request_size_bytes_bucket"))
    assert.same({}, find(samples, "bytepool_request_size_bytes_count"))
  end)

  it("differ where OpenMetrics does: families without _total, units, the end", function()
    local text = report.openmetrics(rich())
    local samples, comments = readers.samples(text)
    assert.equal("counter", comments.TYPE.bytepool_gets)
    assert.is_nil(comments.TYPE.bytepool_gets_total)
    assert.equal("bytes", comments.UNIT.bytepool_waste_bytes)
    assert.equal("seconds", comments.UNIT.bytepool_gc_seconds)
    for family, unit in pairs(comments.UNIT) do assert.equal("_" .. unit, family:sub(-#unit - 1)) end
    assert.same({ 3 }, find(samples, "bytepool_puts_total", { tier = "128" }))
    assert.equal("# EOF\n", text:sub(-6))
    assert.falsy(report.prometheus(rich()):find("# EOF", 1, true))
    assert.falsy(report.prometheus(rich()):find("# UNIT", 1, true))
  end)

  it("keep a family together over several pools", function()
    local text = report.openmetrics { b = rich(), a = rich() }
    local ended, last = {}, nil
    for line in text:gmatch("[^\n]+") do
      local name = line:match("^(bytepool_[%a_]+)")
      name = name and name:gsub("^(bytepool_request_size_bytes)_%a+$", "%1")
      if name and name ~= last then
        assert.is_nil(ended[name], name)
        if last then ended[last] = true end
        last = name
      end
    end
    assert.is_true(ended.bytepool_gets_total)
  end)

  it("write numbers with a point in every locale, and large ones exactly", function()
    local s = { name = "n", pools = {}, requests = 2 ^ 53, uptime = 0.5 }
    local before = os.setlocale(nil, "numeric")
    for _, locale in ipairs { "C", "de_DE.UTF-8", "fr_FR.UTF-8" } do
      if os.setlocale(locale, "numeric") then
        local text = report.prometheus(s)
        os.setlocale(before, "numeric")
        assert.truthy(text:find("bytepool_requests_total{pool=\"n\"} 9007199254740992\n", 1, true))
        assert.truthy(text:find("bytepool_uptime_seconds{pool=\"n\"} 0.5\n", 1, true))
      end
    end
  end)
end)

describe("report.statsd", function()
  it("sends counters and gauges by their types, and nothing of a counter that stood still", function()
    local sent = {}
    for _, line in ipairs(readers.statsd_lines(report.statsd(rich()))) do
      assert.is_nil(sent[line.path])
      sent[line.path] = line.value .. line.kind
    end
    assert.equal("4c", sent["bytepool.rich.gets.1024.hit"])
    assert.equal("5120g", sent["bytepool.rich.in_use_bytes"])
    assert.equal("10c", sent["bytepool.rich.request_size_bytes.1024"])
    assert.equal("3c", sent["bytepool.rich.leaks.app_lua_12.collected"])
    local s = rich()
    s.trims = 0
    assert.falsy(report.statsd(s):find("trims", 1, true))
  end)

  it("sends what came since the snapshot before", function()
    local old, new = rich(), rich()
    new.pools[128].hit = new.pools[128].hit + 30
    new.histogram[2].count = new.histogram[2].count + 30
    local text = report.statsd(new, old)
    assert.truthy(text:find("bytepool.rich.gets.128.hit:30|c\n", 1, true))
    assert.truthy(text:find("bytepool.rich.request_size_bytes.1024:30|c\n", 1, true))
    assert.truthy(text:find("bytepool.rich.in_use_bytes:5120|g\n", 1, true))
    assert.falsy(text:find("requests:", 1, true))
    h.raises(function() report.statsd(new, 5) end,
      "statsd: argument 'before' must be a snapshot or a table of them, got 5")
  end)
end)

describe("report.html", function()
  local function page(s) return report.html(s, "t") end

  it("asks for nothing from elsewhere", function()
    local html = page(rich())
    for _, word in ipairs { "src=", "url(", "@import", "<script", "<link rel=\"stylesheet", "<iframe", "<img",
      "http:", "https:", "//" } do
      assert.falsy(html:find(word, 1, true), word)
    end
    assert.truthy(html:find("default-src 'none'", 1, true))
    -- The one link is the empty icon, so that a browser asks the server for none.
    assert.equal(1, select(2, html:gsub("href=", "")))
    assert.truthy(html:find('href="data:,"', 1, true))
  end)

  it("closes what it opens, in order", function()
    local void = { meta = true, link = true, ["!DOCTYPE"] = true }
    local stack = {}
    for slash, tag, rest in page(rich()):gsub("<style>.-</style>", ""):gmatch("<(/?)([!%w]+)([^>]*)>") do
      if slash == "/" then
        assert.equal(table.remove(stack), tag)
      elseif not void[tag] and rest:sub(-1) ~= "/" then
        stack[#stack + 1] = tag
      end
    end
    assert.same({}, stack)
  end)

  it("has figures, charts and leaks as text", function()
    local html = page(rich())
    for _, text in ipairs { "paranoid", "app.lua:12", "viewer", "one\ntwo", "1 100 5000", "<svg ",
      "2026-07-25 17:20:00 UTC",
      '<data value="17179869184" data-key="reserved_bytes">16.0 GiB</data> <small>17,179,869,184</small>' } do
      assert.truthy(html:find(text, 1, true), text)
    end
    assert.equal(3, readers.html(html).rich.collected)
    assert.equal(0.125, readers.html(html).rich["gc.seconds"])
  end)

  it("takes a title that is a string", function()
    assert.truthy(report.html(rich(), "<t>"):find("<title>&lt;t&gt;</title>", 1, true))
    h.raises(function() report.html(rich(), 5) end, "html: argument 'title' must be a string, got 5")
  end)
end)

describe("report.expvar", function()
  it("has the published pools, the process's memory and its command", function()
    local cjson = require "cjson"
    local pool = h.new({ name = "named" }):expvar("published")
    local buf = pool:get_buffer(1)
    local all = cjson.decode(report.expvar())
    assert.equal(1, all.published.pools["128"].in_use)
    assert.equal("named", all.published.name)
    assert.is_true(all.memstats.HeapInuse > 10000)
    assert.equal("table", type(all.cmdline))
    if h.exists("/proc/self/status") then
      assert.is_true(all.memstats.RSS > 500000 and all.memstats.Sys >= all.memstats.RSS)
      assert.is_true(#all.cmdline >= 1)
    end
    buf:release()
    pool:close()
    assert.is_nil(cjson.decode(report.expvar()).published)
  end)

  it("keeps the names of the process's figures", function()
    local pool = h.new()
    h.refused(pool, function() pool:expvar("memstats") end, 'expvar: prefix "memstats" is the process\'s own')
    h.refused(pool, function() pool:expvar("cmdline") end, 'expvar: prefix "cmdline" is the process\'s own')
  end)

  it("has arrays where there is nothing in them", function()
    local text = report.expvar { name = "e", pools = {}, recent_lengths = {}, leaks = {}, histogram = {} }
    for _, key in ipairs { "recent_lengths", "leaks", "histogram" } do
      assert.truthy(text:find('"' .. key .. '":[]', 1, true))
    end
  end)

  it("refuses an encoder that is no function", function()
    h.raises(function() report.expvar({}, 5) end, "expvar: argument 'encode' must be a function, got 5")
  end)
end)

describe("report.register and report.render", function()
  it("add a format of the user's own", function()
    local name = "spec " .. tostring({})
    report.register(name, function(snapshot, a, b) return snapshot.name .. a .. b end)
    assert.equal("richxy", report.render(name, rich(), "x", "y"))
    report.register(name, function() return "another" end)
    assert.equal("another", report.render(name, rich()))
    local found
    for _, known in ipairs(report.formats()) do found = found or known == name end
    assert.is_true(found)
  end)

  it("name the argument that is wrong", function()
    local fn = function() end
    h.raises(function() report.register("", fn) end, "register: argument 'name' must be a non-empty string, got \"\"")
    h.raises(function() report.register("html", fn) end,
      "register: argument 'name' is that of a built-in format: \"html\"")
    h.raises(function() report.register("own", 5) end, "register: argument 'fn' must be a function, got 5")
    h.raises_like(function() report.render("nonsense", {}) end,
      "render: argument 'name' must be a format (expvar, html, openmetrics, prometheus, ")
    h.raises(function() report.render("text") end,
      "render: argument 'snapshot' must be a snapshot or a table of them, got nil")
    h.raises(function() report.render("text", 5) end,
      "render: argument 'snapshot' must be a snapshot or a table of them, got 5")
  end)
end)
