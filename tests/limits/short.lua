-- The same for a Lua program: takes buffers until it gets nil, "out of memory", or has
-- `most` MiB, lets go of half, goes on, and lets go of the rest by the collector.
--
--     short.lua MOST LEAST      MiB
local bytepool = require "bytepool"

local most, least = tonumber((...)) * 2 ^ 20, tonumber((select(2, ...))) * 2 ^ 20
local lengths = { 100, 5000, 70000, 2 ^ 20, 2 ^ 21, 3 * 2 ^ 20, 9 * 2 ^ 20 }
local pool = assert(bytepool.new_pools(bytepool.size_power_of_two()))

local held, count = {}, 0
for i = 1, 4096 do held[i] = false end -- the table's memory is had before it gets short

local function take()
  local bytes = 0
  while bytes < most do
    local n = lengths[count % #lengths + 1]
    local buf, message = pool:get_buffer(n)
    if not buf then
      assert(message == "out of memory", message)
      return bytes, true
    end
    count, bytes = count + 1, bytes + n
    held[count] = buf:set_string(1, "first"):set_string(-4, "last")
  end
  return bytes, false
end

local function give(down_to)
  while count > down_to do
    local buf = held[count]
    assert(buf:sub(1, 5) == "first" and buf:sub(-4) == "last")
    if count % 2 == 0 then buf:release() end
    held[count], count = false, count - 1
  end
  collectgarbage()
  collectgarbage()
end

for _ = 1, 3 do
  local bytes, refused = take()
  print(("short.lua: %.0f MiB out, %s"):format(bytes / 2 ^ 20, refused and "then refused" or "all there were"))
  assert(bytes >= least, "too little could be had")
  give(math.floor(count / 2))
  local text = pool:from_string(("x"):rep(100000))
  assert(text:tostring() == ("x"):rep(100000))
  text:release()
  local before = count
  take()
  assert(count > before)
  local other = bytepool.new_pools { 100 } -- may find no room
  local buf = other and other:get_buffer(1)
  if buf then buf:release() end
  give(0)
  local stats = pool:get_pool_stats()
  assert(stats.in_use == 0 and stats.total_get == stats.total_put and stats.discarded == stats.discarded_put)
end
