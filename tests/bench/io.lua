-- A file in the page cache to /dev/null through a buffer, beside io.read and io.write with
-- strings of the same size: time, and the most memory the process held more than before.
-- usage: io.lua [MIB [ROUNDS]]        for each Lua: eval "$(make -s env LUA=lua5.4)"
-- Each side runs in turn within a round; the figures are the medians of the rounds.
local bytepool = require "bytepool"

local PIECE = 64 * 1024
local mib, rounds = tonumber(arg[1]) or 64, tonumber(arg[2]) or 15

-- No piece like another: Lua's short way with a string that it has already would be no copy.
local function make_file()
  local path = os.tmpname()
  local from, out = assert(io.open("/dev/urandom", "rb")), assert(io.open(path, "wb"))
  for _ = 1, mib do assert(out:write(from:read(1024 * 1024))) end
  from:close()
  out:close()
  return path
end

-- KiB resident, and at most since the last reset. Linux alone tells; 0 elsewhere.
local function resident()
  local status = io.open("/proc/self/status")
  if not status then return 0, 0 end
  local text = status:read("*a")
  status:close()
  return tonumber(text:match("VmRSS:%s*(%d+)")), tonumber(text:match("VmHWM:%s*(%d+)"))
end

local function reset_peak()
  local refs = io.open("/proc/self/clear_refs", "w")
  if refs then
    refs:write("5")
    refs:close()
  end
end

local pool = bytepool.new_pools(bytepool.size_power_of_two())

local function by_buffer(from, to)
  local buf = pool:builder(PIECE)
  local total = 0
  while true do
    local n = assert(buf:read_from(from, PIECE))
    if n == 0 then break end
    total = total + assert(buf:write_to(to))
    buf:reset()
  end
  buf:release()
  return total
end

local function by_strings(from, to)
  local total = 0
  while true do
    local s = from:read(PIECE)
    if not s then break end
    assert(to:write(s))
    total = total + #s
  end
  return total
end

local function run(copy, path)
  collectgarbage()
  collectgarbage()
  local from, to = assert(io.open(path, "rb")), assert(io.open("/dev/null", "wb"))
  reset_peak()
  local before = resident()
  local began = os.clock()
  assert(copy(from, to) == mib * 1024 * 1024)
  local seconds = os.clock() - began
  local _, peak = resident()
  from:close()
  to:close()
  return seconds, peak - before
end

local function median(list)
  table.sort(list)
  return list[math.floor((#list + 1) / 2)]
end

local path = make_file()
local sides = {{"read_from, write_to", by_buffer}, {"io.read, io.write", by_strings}}
local times, peaks = {{}, {}}, {0, 0}
for round = 0, rounds do -- the first one warms up
  for side, of in ipairs(sides) do
    local seconds, peak = run(of[2], path)
    if round > 0 then
      times[side][round] = seconds
      peaks[side] = math.max(peaks[side], peak)
    end
  end
end
os.remove(path)

print(("%s, %d MiB in pieces of 64 KiB, median of %d"):format(
  jit and jit.version or _VERSION, mib, rounds))
for side, of in ipairs(sides) do
  print(("%-20s %8.2f ms  +%d KiB at most"):format(of[1], median(times[side]) * 1000, peaks[side]))
end
local ratio = median(times[1]) / median(times[2])
print(("ratio %.2f, target 0.75: %s"):format(ratio, ratio <= 0.75 and "met" or "MISSED"))
