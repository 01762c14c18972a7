-- Asks a Prometheus server what it scraped, and compares with what was served.
-- usage: prometheus.lua PORT SECONDS TEXT_LOG OPENMETRICS_LOG
-- The logs are those of server.lua. Waits SECONDS first, and for at least three scrapes of each job.
local cjson = require "cjson"
local http = require "socket.http"
local socket = require "socket"

local port, seconds, logs = tonumber(arg[1]), tonumber(arg[2]), { text = arg[3], openmetrics = arg[4] }
http.TIMEOUT = 10

local function escape(s)
  return (s:gsub("[^%w_.-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function ask(path)
  local body, status = http.request(("http://127.0.0.1:%d%s"):format(port, path))
  if status ~= 200 then return nil, ("%s: %s %s"):format(path, tostring(status), tostring(body)) end
  local answer = cjson.decode(body)
  assert(answer.status == "success", body)
  return answer.data
end

local function query(promql)
  return assert(ask("/api/v1/query?query=" .. escape(promql))).result
end

local function served(job)
  local values, formats = {}, {}
  for line in io.lines(logs[job]) do
    local format, value = line:match("^%S+ (%S+) (%d+)$")
    if value then values[#values + 1], formats[#formats + 1] = tonumber(value), format end
  end
  return values, formats
end

local function scraped(job)
  local result = query(('bytepool_in_use_bytes{job="%s",pool="live"}[2h]'):format(job))
  local values = {}
  for i, sample in ipairs(result[1] and result[1].values or {}) do values[i] = tonumber(sample[2]) end
  assert(#result <= 1, "more than one series of job " .. job)
  return values
end

local function wait()
  local deadline = socket.gettime() + 30
  while not ask("/api/v1/query?query=1") do
    assert(socket.gettime() < deadline, "Prometheus does not answer")
    socket.sleep(0.1)
  end
  socket.sleep(seconds)
  while #scraped("text") < 3 or #scraped("openmetrics") < 3 do
    assert(socket.gettime() < deadline + seconds, "no three scrapes")
    socket.sleep(0.2)
  end
end

-- Each value that is stored was served, in that order, and the load did change.
local function check_values(job, format)
  local stored = scraped(job)
  local sent, formats = served(job)
  local distinct, count = {}, 0
  for i, value in ipairs(stored) do
    assert(value == sent[i], ("%s: scrape %d is %.0f, served %s"):format(job, i, value, tostring(sent[i])))
    if not distinct[value] then distinct[value], count = true, count + 1 end
  end
  -- Scrapes that came while the question was asked are served and not in its answer.
  assert(#sent - #stored <= 2, ("%s: %d served, %d stored"):format(job, #sent, #stored))
  assert(count > 1, job .. ": the load did not change")
  for _, each in ipairs(formats) do assert(each == format, ("%s: served as %s"):format(job, each)) end
  print(("%s: %d scrapes as %s, %d different values of in_use_bytes, all as served"):format(job, #stored, format,
    count))
end

-- One scrape has one time, so the equations hold exactly in what is stored.
local EQUATIONS = {
  { "bytepool_requests_total", "sum by (job, pool) (bytepool_gets_total) + on (job, pool) bytepool_discarded_total",
    "job, pool", 4 },
  { "bytepool_in_use_blocks",
    "sum by (job, pool, tier) (bytepool_gets_total) - on (job, pool, tier) bytepool_puts_total",
    "job, pool, tier", 8 },
  { "bytepool_owned_blocks",
    "bytepool_in_use_blocks + on (job, pool, tier) sum by (job, pool, tier) (bytepool_idle_blocks)",
    "job, pool, tier", 8 },
  { "bytepool_owned_bytes", "bytepool_in_use_bytes + bytepool_idle_bytes", "job, pool", 4 },
}

local function check_equations()
  for _, equation in ipairs(EQUATIONS) do
    local left, right, on, series = equation[1], equation[2], equation[3], equation[4]
    local holds = #query(("%s == on (%s) (%s)"):format(left, on, right))
    assert(holds == series, ("%s = %s holds for %d of %d series"):format(left, right, holds, series))
    print(("%s = %s, %d series"):format(left, right, holds))
  end
end

-- A unit is known of what was parsed as OpenMetrics: to the other parser it is a comment.
local function check_units()
  local units = {}
  for _, job in ipairs { "text", "openmetrics" } do
    local metadata = assert(ask("/api/v1/targets/metadata?metric=bytepool_in_use_bytes&match_target="
      .. escape(('{job="%s"}'):format(job))))
    assert(#metadata == 1 and metadata[1].type == "gauge" and metadata[1].help ~= "")
    units[job] = metadata[1].unit
  end
  assert(units.openmetrics == "bytes" and units.text == "", cjson.encode(units))
  print("parsed as OpenMetrics in the job of that name: unit " .. units.openmetrics)
end

wait()
assert(#query("up == 0") == 0, "a target is down")
for _, target in ipairs(assert(ask("/api/v1/targets")).activeTargets) do
  assert(target.health == "up" and target.lastError == "", target.lastError)
end
check_values("text", "prometheus")
check_values("openmetrics", "openmetrics")
check_equations()
check_units()
-- The hostile name came through as it is.
assert(#query([[bytepool_requests_total{pool="quiet \"one\"\\\n"} == 1]]) == 2)
local rate = tonumber(query('rate(bytepool_requests_total{job="text",pool="live"}[1m])')[1].value[2])
assert(rate > 10, "the rate of requests is " .. rate)
print(("%.0f requests a second"):format(rate))
