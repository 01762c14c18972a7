-- A program with a pool under a changing load, which serves its reports over HTTP until it is killed.
-- usage: server.lua PORT_FILE LOG
-- Writes its port to PORT_FILE, and to LOG a line for each scrape of a Prometheus server, before the
-- answer: path, format, in_use_bytes.
local socket = require "socket"
local bytepool = require "bytepool"
local report = bytepool.report

local port_file, log_file = arg[1], arg[2]

local pool = assert(bytepool.new_pools({ 256, 4096, 65536 }, { name = "live" })):expvar("live")
local other = assert(bytepool.new_pools({ 1024 }, { name = "quiet" })):expvar('quiet "one"\\\n')
other:get_buffer(1):release()

-- ---- load ----------------------------------------------------------------------

local state = 1
local function random(low, high) -- the same on every Lua
  state = state * 16807 % 2147483647
  return low + state % (high - low + 1)
end

-- A tide of buffers: up to 400 are out, then down to none; some requests are above the tiers.
local held, rising = {}, true
local function work()
  for _ = 1, 20 do
    if rising then held[#held + 1] = assert(pool:get_buffer(random(0, 80000))) else table.remove(held):release() end
    if #held >= 400 then rising = false elseif #held == 0 then rising = true end
    pool:get_buffer(random(1, 5000)):release()
  end
end

-- ---- HTTP ----------------------------------------------------------------------

local TYPES = {
  prometheus = "text/plain; version=0.0.4; charset=utf-8",
  openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8",
  expvar = "application/json; charset=utf-8",
  html = "text/html; charset=utf-8",
}

local function format_of(path, headers)
  if path == "/metrics" then return "prometheus" end
  if path == "/negotiated" then
    local wanted = (headers.accept or ""):find("application/openmetrics-text", 1, true)
    return wanted and "openmetrics" or "prometheus"
  end
  if path == "/debug/vars" then return "expvar" end
  if path == "/" then return "html" end
end

local function write_line(path, mode, line)
  local file = assert(io.open(path, mode))
  file:write(line, "\n")
  file:close()
end

local function answer(client)
  local path = (client:receive("*l") or ""):match("^GET (%S+) HTTP/1%.[01]$")
  local headers = {}
  for line in function() return client:receive("*l") end do
    if line == "" then break end
    local name, value = line:match("^([^:]+):%s*(.*)$")
    if name then headers[name:lower()] = value end
  end
  local format = path and format_of(path, headers)
  if not format then
    client:send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    return
  end
  local snapshots = report.collect()
  local body = format == "expvar" and report.expvar() or report.render(format, snapshots)
  if (headers["user-agent"] or ""):find("^Prometheus/") then
    write_line(log_file, "a", ("%s %s %.0f"):format(path, format, snapshots.live.in_use_bytes))
  end
  client:send(("HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"):format(
    TYPES[format], #body) .. body)
end

local listener = assert(socket.bind("127.0.0.1", 0))
listener:settimeout(0.05)
write_line(log_file, "w", "path format in_use_bytes")
-- Renamed into place, so that nobody reads half of it.
write_line(port_file .. ".new", "w", (select(2, listener:getsockname())))
assert(os.rename(port_file .. ".new", port_file))

while true do
  local client = listener:accept()
  if client then
    client:settimeout(5)
    answer(client)
    client:close()
  end
  work()
end
