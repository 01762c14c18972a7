-- What a program reads back out of the text of a report: one reader for each format, all to the
-- same shape, { pool name -> { requests, total_get, discarded, ..., tiers = { [size] = { get, ... } } } }.
-- Readers are strict: a line that the format does not allow fails.
local assert = require "luassert"
local cjson = require "cjson"

local readers = {}

-- All that a snapshot may have one day, with figures that are told apart.
function readers.rich()
  return {
    name = "rich", requests = 17, total_get = 15, total_put = 9, discarded = 2, discarded_put = 1,
    discarded_bytes = 9999, in_use = 7, in_use_bytes = 5120, idle_bytes = 3072, owned_bytes = 8192,
    peak_owned_bytes = 9216, peak_in_use_bytes = 6144, reserved_bytes = 2 ^ 34, trimmed_bytes = 4194304,
    exported = 1, max_idle = 2 ^ 28, threads = 2, time = 1785000000, uptime = 3723.5,
    asked_bytes = 12345, waste_bytes = 678, collected = 3, collected_bytes = 3072, double_releases = 4,
    trims = 5, returned_bytes = 4194305, resident_bytes = 20480, pinned_bytes = 1111, overruns = 6, late_writes = 7,
    max_bytes = 2 ^ 29, max_waste = 0.5, decay = 2.5, generation = 3, over_quota = 8, decayed_bytes = 4096,
    drained = { tiers = 1, get = 20, put = 20, hit = 15, miss = 5, asked_bytes = 2000, waste_bytes = 48,
      collected = 2 },
    leak_level = "paranoid", recent_lengths = { 1, 100, 5000 },
    pools = {
      [128] = { get = 5, put = 3, hit = 2, miss = 3, in_use = 2, owned = 3, idle = 1, cached = 1, depot = 0,
        asked_bytes = 500, waste_bytes = 140, collected = 1, peak_in_use = 3, peak_owned = 3 },
      [1024] = { get = 10, put = 6, hit = 4, miss = 6, in_use = 4, owned = 7, idle = 3, cached = 1, depot = 2,
        asked_bytes = 1846, waste_bytes = 538, collected = 2, peak_in_use = 5, peak_owned = 7,
        max_idle = 65536, max_bytes = 131072, draining = true },
    },
    histogram = { { le = 128, count = 5 }, { le = 1024, count = 10 }, { le = 8192, count = 2 } },
    leaks = {
      { kind = "collected", site = "app.lua:12", count = 2, bytes = 2048, age = 60, traceback = "one\ntwo" },
      { kind = "collected", site = "app.lua:12", count = 1, bytes = 1024, traceback = "another way there" },
      { kind = "out", site = "app.lua:20", tag = "viewer", count = 4, bytes = 4096, every = 128,
        last = { "retained at app.lua:21", "released at app.lua:22" }, released = "app.lua:22" },
      { kind = "over_release", site = "app.lua:30", count = 4, bytes = 0, released = "app.lua:31" },
    },
    gc = { held_bytes = 1000, budget_bytes = 33554432, limit_bytes = 41943040, steps = 8, full = 1,
      cycles = 9, seconds = 0.125 },
  }
end

-- The equations of a quiet pool, of what was read.
function readers.check_equations(pool)
  local total = 0
  for _, tier in pairs(pool.tiers) do
    assert.equal(tier.get, tier.hit + tier.miss)
    assert.equal(tier.in_use, tier.get - tier.put)
    assert.equal(tier.owned, tier.in_use + tier.idle)
    assert.equal(tier.idle, tier.cached + tier.depot)
    total = total + tier.get
  end
  assert.equal(total, pool.total_get)
  assert.equal(pool.requests, pool.total_get + pool.discarded)
  assert.equal(pool.owned_bytes, pool.in_use_bytes + pool.idle_bytes)
end

local function fresh(pools, name)
  pools[name] = pools[name] or { tiers = {} }
  return pools[name]
end

local function tier_of(pool, size)
  size = assert(tonumber(size))
  pool.tiers[size] = pool.tiers[size] or {}
  return pool.tiers[size]
end

-- "pool" lines begin a pool; a head of columns begins its tiers.
function readers.text(text)
  local pools, pool, columns = {}, nil, nil
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    local name = line:match('^pool "(.*)"$')
    if name then
      pool, columns = fresh(pools, name), nil
    elseif line:find("^ *size ") then
      columns = {}
      for word in line:gmatch("%S+") do columns[#columns + 1] = word end
    elseif line:find("^ *%d+ ") then
      local tier, i = tier_of(pool, line:match("%d+")), 0
      for word in line:gmatch("%S+") do
        i = i + 1
        tier[columns[i]] = word ~= "-" and assert(tonumber(word)) or nil
      end
    elseif line:find("^[%a_]+ = %d") and not line:find("^recent_lengths") then
      local key, value = line:match("^([%a_]+) = ([%d.]+)")
      pool[key] = assert(tonumber(value))
    end
  end
  return pools
end

function readers.expvar(text)
  local pools = {}
  for name, stats in pairs(cjson.decode(text)) do
    if type(stats) == "table" and stats.pools then
      local pool = fresh(pools, name)
      for key, value in pairs(stats) do if type(value) == "number" then pool[key] = value end end
      for size, tier in pairs(stats.pools) do
        for key, value in pairs(tier) do tier_of(pool, size)[key] = value end
      end
    end
  end
  return pools
end

local UNESCAPED = { ["\\\\"] = "\\", ["\\n"] = "\n", ['\\"'] = '"' }

local function labels_of(text, line)
  local labels, at = {}, 1
  while at <= #text do
    local name, from = text:match('^([%a_][%w_]*)="()', at)
    assert(name, "bad label in: " .. line)
    local i = from
    while text:sub(i, i) ~= '"' do
      assert(i <= #text, "unfinished label in: " .. line)
      i = i + (text:sub(i, i) == "\\" and 2 or 1)
    end
    assert(labels[name] == nil, "a label twice in: " .. line)
    labels[name] = text:sub(from, i - 1):gsub("\\.", function(pair) return assert(UNESCAPED[pair], line) end)
    at = i + 1
    if text:sub(at, at) == "," then at = at + 1 else assert(at > #text, line) end
  end
  return labels
end

-- The samples as a list of { name, labels, value }, and the comments by word and family.
function readers.samples(text)
  local samples, comments, seen = {}, { HELP = {}, TYPE = {}, UNIT = {} }, {}
  assert(text == "" or text:sub(-1) == "\n")
  for line in text:gmatch("([^\n]*)\n") do
    local word, family, rest = line:match("^# (%u+) ([%a_:][%w_:]*) (.+)$")
    if word then
      assert(comments[word] and comments[word][family] == nil, line)
      comments[word][family] = rest
    elseif line ~= "# EOF" then
      local name, inside, value = line:match("^([%a_:][%w_:]*){(.*)} (%S+)$")
      assert(name and tonumber(value), "no sample: " .. line)
      local key = name .. "{" .. inside
      assert(not seen[key], "twice: " .. line)
      seen[key] = true
      samples[#samples + 1] = { name = name, labels = labels_of(inside, line), value = tonumber(value) }
    end
  end
  return samples, comments
end

-- A family of the tiers -> the snapshot's word.
local OF_TIER = { bytepool_puts_total = "put", bytepool_in_use_blocks = "in_use", bytepool_owned_blocks = "owned" }
local BY_LABEL = { bytepool_gets_total = "result", bytepool_idle_blocks = "place" }
local OF_POOL = { bytepool_requests_total = "requests", bytepool_discarded_total = "discarded",
  bytepool_in_use_bytes = "in_use_bytes", bytepool_idle_bytes = "idle_bytes", bytepool_owned_bytes = "owned_bytes" }

-- Sums are not told twice: a get is a hit or a miss, idle is cached or in the depot.
local function with_sums(pools)
  for _, pool in pairs(pools) do
    pool.total_get = 0
    for _, tier in pairs(pool.tiers) do
      tier.get, tier.idle = tier.hit + tier.miss, tier.cached + tier.depot
      pool.total_get = pool.total_get + tier.get
    end
  end
  return pools
end

local function from_samples(samples)
  local pools = {}
  for _, sample in ipairs(samples) do
    local name, labels = sample.name, sample.labels
    local pool = fresh(pools, labels.pool)
    if OF_TIER[name] then
      tier_of(pool, labels.tier)[OF_TIER[name]] = sample.value
    elseif BY_LABEL[name] then
      tier_of(pool, labels.tier)[labels[BY_LABEL[name]]] = sample.value
    elseif OF_POOL[name] then
      pool[OF_POOL[name]] = sample.value
    end
  end
  return with_sums(pools)
end

function readers.prometheus(text)
  return from_samples((readers.samples(text)))
end

function readers.openmetrics(text)
  assert(("\n" .. text):find("\n# EOF\n$"))
  return from_samples((readers.samples(text)))
end

-- Lines as { path, value, type }; a counter that stood still is not sent.
function readers.statsd_lines(text)
  local lines = {}
  for line in text:gmatch("([^\n]*)\n") do
    local path, value, kind = line:match("^([%w_.-]+):(%d[%d.e+-]*)|([cg])$")
    assert(path, "no line of statsd: " .. line)
    lines[#lines + 1] = { path = path, value = assert(tonumber(value)), kind = kind }
  end
  return lines
end

function readers.statsd(text)
  local pools = {}
  local STATSD = { requests = "requests", discarded = "discarded", in_use_bytes = "in_use_bytes",
    idle_bytes = "idle_bytes", owned_bytes = "owned_bytes" }
  local TIER = { puts = "put", in_use_blocks = "in_use", owned_blocks = "owned" }
  for _, line in ipairs(readers.statsd_lines(text)) do
    local name, family, rest = line.path:match("^bytepool%.([^.]+)%.([^.]+)%.?(.*)$")
    local pool = fresh(pools, name)
    if STATSD[family] then
      pool[STATSD[family]] = line.value
    elseif TIER[family] then
      tier_of(pool, rest)[TIER[family]] = line.value
    elseif family == "gets" or family == "idle_blocks" then
      local size, word = rest:match("^(%d+)%.(%a+)$")
      tier_of(pool, size)[word] = line.value
    end
  end
  for _, pool in pairs(pools) do
    for _, key in ipairs { "requests", "discarded" } do pool[key] = pool[key] or 0 end
    for _, tier in pairs(pool.tiers) do
      for _, key in ipairs { "hit", "miss", "put" } do tier[key] = tier[key] or 0 end
    end
  end
  return with_sums(pools)
end

local TEXT_OF = { ["&amp;"] = "&", ["&lt;"] = "<", ["&gt;"] = ">", ["&quot;"] = '"', ["&#39;"] = "'" }

function readers.unescape(s)
  return (s:gsub("&#?%w+;", function(entity) return assert(TEXT_OF[entity], entity) end))
end

-- The figures that are read, not those of the attributes: these are compared with them.
local function figures(html, fn)
  for value, key, shown in html:gmatch('<data value="([^"]*)" data%-key="([^"]*)">([^<]*)</data>') do
    local number = assert(tonumber(value))
    if shown:find("^[%d,]+$") then assert(tonumber((shown:gsub(",", ""))) == number, shown) end
    fn(key, number)
  end
end

function readers.html(html)
  local pools = {}
  for name, section in html:gmatch('<section data%-pool="([^"]*)">(.-)</section>') do
    local pool = fresh(pools, readers.unescape(name))
    local rest = section:gsub('<tr data%-tier="(%d+)">(.-)</tr>', function(size, row)
      figures(row, function(key, number) tier_of(pool, size)[key] = number end)
      return ""
    end)
    figures(rest:gsub('<table class="histogram">.-</table>', ""), function(key, number) pool[key] = number end)
  end
  return pools
end

return readers
