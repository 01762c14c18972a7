-- Memory pressure, out of trees of files that look like proc and sys, and of this system's own.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local pressure = require "bytepool.pressure"

local GiB = 2 ^ 30
local root

-- Files by path, written under the root; nil takes one away.
local function write(files)
  for path, text in pairs(files) do
    os.execute(("mkdir -p '%s'"):format((root .. path):match "^(.*)/"))
    h.write(root .. path, type(text) == "number" and ("%.0f\n"):format(text) or text)
  end
end

local function psi(some, full)
  return ("some avg10=%.2f avg60=0.10 avg300=0.00 total=894759\nfull avg10=%.2f avg60=0.00 avg300=0.00 total=6\n")
    :format(some, full)
end

local function v2(path, current, high, max, stat)
  local at = "/sys/fs/cgroup" .. path
  write { [at .. "/memory.current"] = current, [at .. "/memory.high"] = high, [at .. "/memory.max"] = max,
    [at .. "/memory.stat"] = ("anon 5\nfile 4\nactive_file 77\ninactive_file %.0f\n"):format(stat or 0) }
end

local function v1(path, usage, limit, stat)
  local at = "/sys/fs/cgroup/memory" .. path
  write { [at .. "/memory.usage_in_bytes"] = usage, [at .. "/memory.limit_in_bytes"] = limit,
    [at .. "/memory.stat"] = ("cache 5\ninactive_file 1\ntotal_inactive_file %.0f\n"):format(stat or 0) }
end

local function near(expected, level)
  assert.is_true(math.abs(expected - level) < 1e-6, ("expected %s, got %s"):format(expected, level))
end

before_each(function()
  root = os.tmpname()
  os.remove(root)
  assert(os.execute("mkdir -p '" .. root .. "'"))
end)

after_each(function() os.execute("rm -rf '" .. root .. "'") end)

describe("a gauge", function()
  it("rises at once, falls by a tenth or more, and to 0 only below its last border", function()
    local gauge = pressure.gauge(10, 60, 5)
    for _, step in ipairs { { 0, 0 }, { 9.9, 0 }, { 10, 0 }, { 35, 0.5 }, { 34, 0.5 }, { 31, 0.5 }, { 29, 0.38 },
      { 36, 0.52 }, { 100, 1 }, { 58, 1 }, { 9, 0.1 }, { 10, 0.1 }, { 12, 0.1 }, { 16, 0.12 }, { 5, 0.1 }, { 4.9, 0 },
      { 9.9, 0 }, { 11, 0.02 }, { 6, 0.02 }, { 4, 0 } } do
      near(step[2], gauge(step[1]))
    end
  end)

  it("does not follow a figure that wavers around a border #random", function()
    h.seeded(function(random)
      for _, middle in ipairs { 5, 10, 20, 35, 60 } do
        local gauge, level, turns, up = pressure.gauge(10, 60, 5), nil, 0, nil
        for _ = 1, 1000 do
          local now = gauge(middle + random(-200, 200) / 100)
          assert.is_true(now >= 0 and now <= 1)
          if level and now ~= level then
            if up ~= nil and (now > level) ~= up then turns = turns + 1 end
            up = now > level
          end
          level = now
        end
        assert.is_true(turns == 0, ("%d turns around %d"):format(turns, middle))
      end
    end)
  end)
end)

describe("PSI", function()
  it("gives a level and why", function()
    write { ["/proc/pressure/memory"] = psi(0, 0) }
    local read = assert(pressure.psi { root = root })
    assert.same({ 0, "PSI memory some 0.0 %", n = 2 }, h.pack(read()))
    write { ["/proc/pressure/memory"] = psi(35, 2) }
    local level, why = read()
    near(0.5, level)
    assert.equal("PSI memory some 35.0 %", why)
    write { ["/proc/pressure/memory"] = psi(40, 29) }
    level, why = read()
    near(0.96, level)
    assert.equal("PSI memory full 29.0 %", why)
  end)

  it("is missed without it", function()
    assert.same({ nil, "no PSI for memory", n = 2 }, h.pack(pressure.psi { root = root }))
    for _, text in ipairs { "", "\n", "some\n", "some avg10=\n", "awesome avg10=50.00\n", "some avg10=-5\n",
      "some avg10=nan\n", "some avg10=" .. ("9"):rep(400) .. "\n", "\0\255some avg10=99", "full avg60=1.00\n" } do
      write { ["/proc/pressure/memory"] = text }
      assert.is_nil((pressure.psi { root = root }))
    end
  end)

  it("may go away, or lack its second line", function()
    write { ["/proc/pressure/memory"] = "some avg10=60.00\n" }
    local read = assert(pressure.psi { root = root })
    assert.equal(1, (read()))
    os.remove(root .. "/proc/pressure/memory")
    assert.same({ 0, "PSI for memory can not be read", n = 2 }, h.pack(read()))
    write { ["/proc/pressure/memory/folder"] = "" }
    assert.equal(0, (read()))
  end)
end)

describe("a cgroup's memory", function()
  it("counts against the least limit, v2", function()
    write { ["/proc/self/cgroup"] = "0::/app.slice/it\n" }
    v2("/app.slice/it", 0.5 * GiB, GiB, 2 * GiB)
    local read = assert(pressure.cgroup { root = root })
    assert.same({ 0, "cgroup memory 50 % of memory.high", n = 2 }, h.pack(read()))
    v2("/app.slice/it", 0.91 * GiB, GiB, 2 * GiB)
    local level, why = read()
    near(0.5, level)
    assert.equal("cgroup memory 91 % of memory.high", why)
    v2("/app.slice/it", 0.97 * GiB, "max\n", GiB)
    level, why = read()
    near(1, level)
    assert.equal("cgroup memory 97 % of memory.max", why)
    v2("/app.slice/it", 0.83 * GiB, "max\n", GiB) -- not yet below 80 %
    near(0.1, (read()))
    v2("/app.slice/it", 0.79 * GiB, "max\n", GiB)
    assert.equal(0, (read()))
  end)

  it("does not count files that were not used lately", function()
    write { ["/proc/self/cgroup"] = "0::/it\n" }
    v2("/it", GiB, "max\n", GiB, 0.5 * GiB)
    local read = assert(pressure.cgroup { root = root })
    assert.same({ 0, "cgroup memory 50 % of memory.max", n = 2 }, h.pack(read()))
    v2("/it", GiB, "max\n", GiB, 0.09 * GiB)
    near(0.5, (read()))
    v2("/it", GiB, "max\n", GiB, 9 * GiB)
    assert.equal(0, (read()))
  end)

  it("is also that of the cgroups around it", function()
    write { ["/proc/self/cgroup"] = "0::/a/b/c\n" }
    v2("/a/b/c", 0.1 * GiB, "max\n", "max\n")
    v2("/a/b", 0.3 * GiB, "max\n", GiB)
    v2("/a", 0.91 * GiB, "max\n", GiB)
    local level, why = assert(pressure.cgroup { root = root })()
    near(0.5, level)
    assert.equal("cgroup memory 91 % of memory.max", why)
  end)

  it("is found where the cgroup is mounted as the root, and where a path leads out", function()
    for _, path in ipairs { "/", "/../../outside", "/kubepods/pod1/abc" } do
      write { ["/proc/self/cgroup"] = "0::" .. path .. "\n" }
      v2("", 0.91 * GiB, "max\n", GiB)
      near(0.5, (assert(pressure.cgroup { root = root })()))
    end
  end)

  it("v1, beside a v2 tree without memory, too", function()
    write { ["/proc/self/cgroup"] = "9:name=systemd:/\n4:cpu,memory:/docker/0a\n0::/\n",
      ["/sys/fs/cgroup/unified/cgroup.procs"] = "1\n" }
    v1("/docker/0a", 0.91 * GiB, GiB)
    v1("", 9 * GiB, 9223372036854771712)
    local read = assert(pressure.cgroup { root = root })
    local level, why = read()
    near(0.5, level)
    assert.equal("cgroup memory 91 % of memory.limit_in_bytes", why)
    v1("/docker/0a", GiB, GiB, 0.3 * GiB)
    assert.equal(0, (read()))
    v1("/docker/0a", GiB, 9223372036854771712)
    assert.same({ 0, "cgroup memory has no limit", n = 2 }, h.pack(read()))
  end)

  it("v2 of a machine that has both is in a folder of its own", function()
    write { ["/proc/self/cgroup"] = "1:cpu:/\n0::/it\n" }
    v2("/unified/it", 0.91 * GiB, "max\n", GiB)
    near(0.5, (assert(pressure.cgroup { root = root })()))
  end)

  it("has a PSI of its own in v2", function()
    write { ["/proc/self/cgroup"] = "0::/it\n", ["/sys/fs/cgroup/it/memory.pressure"] = psi(35, 0) }
    v2("/it", 0.1 * GiB, "max\n", "max\n")
    local read = assert(pressure.cgroup { root = root })
    local level, why = read()
    near(0.5, level)
    assert.equal("PSI memory some 35.0 % of the cgroup", why)
    v2("/it", 0.95 * GiB, "max\n", GiB)
    near(0.5, (read())) -- the limit is new
    for _ = 1, 64 do level, why = read() end
    near((0.95 - 0.85) / 0.12, level)
    assert.equal("cgroup memory 95 % of memory.max", why)
  end)

  it("is full where the limit is 0, and takes no number that no kernel writes", function()
    write { ["/proc/self/cgroup"] = "0::/it\n" }
    v2("/it", 0, "max\n", 0)
    assert.same({ 1, "cgroup memory 100 % of memory.max", n = 2 }, h.pack(assert(pressure.cgroup { root = root })()))
    v2("/it", GiB, ("9"):rep(400), 2 * GiB)
    assert.equal("cgroup memory 50 % of memory.max", select(2, assert(pressure.cgroup { root = root })()))
  end)

  it("is looked for again: the process may move", function()
    write { ["/proc/self/cgroup"] = "0::/a\n", ["/sys/fs/cgroup/a/memory.pressure"] = psi(0, 0),
      ["/sys/fs/cgroup/b/memory.pressure"] = psi(35, 0) }
    v2("/a", 0.91 * GiB, "max\n", GiB)
    v2("/b", 0.10 * GiB, "max\n", GiB)
    local read = assert(pressure.cgroup { root = root })
    read()
    write { ["/proc/self/cgroup"] = "0::/b\n" }
    local why
    for _ = 1, 64 do why = select(2, read()) end
    assert.equal("PSI memory some 35.0 % of the cgroup", why)
  end)

  it("is missed where there is none", function()
    local none = { nil, "no cgroup for memory", n = 2 }
    assert.same(none, h.pack(pressure.cgroup { root = root }))
    for _, text in ipairs { "", "\n", "0::\n", "0:/\n", "x", "4:memory:relative\n", "0::/it\n" } do
      write { ["/proc/self/cgroup"] = text }
      assert.same(none, h.pack(pressure.cgroup { root = root }))
    end
  end)

  it("may be taken away", function()
    write { ["/proc/self/cgroup"] = "0::/it\n" }
    v2("/it", GiB, "max\n", GiB)
    local read = assert(pressure.cgroup { root = root })
    assert.equal(1, (read()))
    os.execute("rm -rf '" .. root .. "/sys'")
    for _ = 1, 70 do assert.same({ 0, "cgroup memory has no limit", n = 2 }, h.pack(read())) end
  end)
end)

describe("pressure.auto", function()
  it("takes the higher of what there is", function()
    assert.same({ 0, "neither PSI nor a cgroup for memory on this system", n = 2 },
      h.pack(pressure.auto { root = root }()))
    write { ["/proc/pressure/memory"] = psi(20, 0) }
    assert.equal("PSI memory some 20.0 %", select(2, pressure.auto { root = root }()))
    write { ["/proc/self/cgroup"] = "0::/it\n" }
    v2("/it", 0.91 * GiB, "max\n", GiB)
    local read = pressure.auto { root = root }
    local level, why = read()
    near(0.5, level)
    assert.equal("cgroup memory 91 % of memory.max", why)
    write { ["/proc/pressure/memory"] = psi(50, 0) }
    level, why = read()
    near(0.8, level)
    assert.equal("PSI memory some 50.0 %", why)
    os.remove(root .. "/proc/pressure/memory")
    assert.equal("cgroup memory 91 % of memory.max", select(2, pressure.auto { root = root }()))
  end)

  it("reads few files", function()
    write { ["/proc/pressure/memory"] = psi(20, 0), ["/proc/self/cgroup"] = "0::/a/b/c/d\n",
      ["/sys/fs/cgroup/a/b/c/d/memory.pressure"] = psi(0, 0) }
    for _, path in ipairs { "/a", "/a/b", "/a/b/c", "/a/b/c/d" } do v2(path, GiB, GiB, GiB) end
    local read = pressure.auto { root = root }
    local open, opened = io.open, 0
    rawset(io, "open", function(...)
      opened = opened + 1
      return open(...)
    end)
    read()
    rawset(io, "open", open)
    assert.is_true(opened >= 8 and opened <= 10, opened .. " files")
  end)

  it("raises for nothing that is in the files #random", function()
    h.seeded(function(random)
      local words = { "max", "0", "-1", "18446744073709551615", "9" .. ("9"):rep(400), "nan", "some avg10=", "99.99",
        "full avg10=1.2.3", "0::/", "4:memory:/", "\n", " ", "\0", "..", "/", "it", "inactive_file ", "1e400", "%s%d" }
      local files = { "/proc/pressure/memory", "/proc/self/cgroup" }
      for _, place in ipairs { "", "/it", "/memory", "/memory/it", "/unified" } do
        for _, name in ipairs { "current", "high", "max", "stat", "pressure", "usage_in_bytes", "limit_in_bytes" } do
          files[#files + 1] = "/sys/fs/cgroup" .. place .. "/memory." .. name
        end
      end
      write { ["/proc/self/cgroup"] = "" }
      for _, path in ipairs(files) do write { [path] = "" } end
      local sane = { ["/proc/pressure/memory"] = psi(20, 1), ["/proc/self/cgroup"] = "4:memory:/it\n0::/it\n" }
      for _ = 1, 100 do
        local read = pressure.auto { root = root }
        for i = 1, 3 do
          for _ = 1, 10 do
            local path, text = files[random(1, #files)], {}
            for j = 1, random(0, 5) do text[j] = words[random(1, #words)] end
            h.write(root .. path, sane[path] and random(1, 2) == 1 and sane[path] or table.concat(text))
          end
          local level, why = read()
          assert.is_true(level >= 0 and level <= 1, i .. ": " .. tostring(level))
          assert.equal("string", type(why))
        end
      end
    end)
  end)

  it("refuses wrong arguments", function()
    h.raises(function() pressure.auto { root = 5 } end, "auto: option 'root' must be a string, got 5")
    h.raises(function() pressure.psi { path = "" } end, "psi: unknown option 'path' (known: root)")
    h.raises(function() pressure.cgroup(5) end, "cgroup: argument 'options' must be a table, got 5")
  end)
end)

describe("this system", function()
  local function is_level(read)
    for _ = 1, 100 do
      local level, why = read()
      assert.is_true(level >= 0 and level <= 1)
      assert.matches("^%a[%w %.%%_]+$", why)
    end
  end

  it("has some pressure or none", function() is_level(pressure.auto()) end)

  if h.exists "/proc/pressure/memory" and pcall(h.read, "/proc/pressure/memory") then
    it("has PSI", function()
      local read = assert(pressure.psi())
      is_level(read)
      assert.matches("^PSI memory %a+ [%d.]+ %%$", select(2, read()))
    end)
  else
    pending("has no PSI: /proc/pressure/memory is not there")
  end

  local own = h.exists "/proc/self/cgroup" and h.read "/proc/self/cgroup" or ""
  local v1_path, v2_path = own:match ":memory:([^\n]*)", own:match "0::([^\n]*)"
  local place = v1_path and "/sys/fs/cgroup/memory" .. v1_path .. "/memory.usage_in_bytes"
    or "/sys/fs/cgroup" .. (v2_path or "") .. "/memory.current"
  if h.exists(place) then
    it("has a cgroup with memory in it", function()
      local read = assert(pressure.cgroup())
      is_level(read)
      assert.is_true(select(2, read()):find "^cgroup memory " ~= nil or select(2, read()):find "^PSI " ~= nil)
    end)
  else
    pending("has no cgroup for memory at " .. place)
  end
end)

describe("pressure.of", function()
  it("reads a function", function()
    local level, why = nil, nil
    local read = pressure.of(function() return level, why end)
    assert.same({ 0, "a function of the user", n = 2 }, h.pack(read()))
    level, why = 0.25, "the host says so"
    assert.same({ 0.25, "the host says so", n = 2 }, h.pack(read()))
    level, why = 1, 5
    assert.same({ 1, "a function of the user", n = 2 }, h.pack(read()))
  end)

  it("refuses what is no level, and lets pass what the function raises", function()
    local level
    local function source() return level end
    local read = pressure.of(source)
    local info = debug.getinfo(source, "S")
    for _, case in ipairs { { 1.5, "1.5" }, { -0.1, "-0.1" }, { 0 / 0, "nan" }, { math.huge, "inf" }, { "1", '"1"' },
      { true, "boolean" }, { {}, "table" } } do
      level = case[1]
      local said = ("pressure: the function at %s:%d must return a number from 0 to 1 or nil, got %s")
      h.raises(function() read() end, said:format(info.short_src, info.linedefined, case[2]))
    end
    local own = {}
    local ok, err = pcall(pressure.of(function() error(own) end))
    assert.is_true(not ok and err == own)
    h.raises(function() pressure.of(function() error("no sensor", 1) end)() end, "no sensor")
    h.raises(function() pressure.of(5) end, "of: argument 'source' must be a function, got 5")
  end)
end)
