-- Random operations from the whole vocabulary against a model of Lua strings. BP_SEED repeats a
-- run, ROUNDS sets how many operations it has.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local O = dofile(here .. "/operations.lua")

local M, ops, weights, op, pick, call, frozen = O.M, O.ops, O.weights, O.op, O.pick, O.call, O.frozen
local live, dead = M.live, M.dead
local rounds = tonumber(os.getenv "ROUNDS" or "") or 400000
local MOST_HANDLES = 40
local pool -- of the run

-- ---- mistakes --------------------------------------------------------------------

local WHOLE = "argument 'n' must be a whole number from 0 to 1099511627776, got "
local SPAN = "must be a string or a bytepool buffer, got "
local PUT = "argument 'value' must be a string, a number or a bytepool buffer, got "

-- On a handle of length n.
local mistakes = {
  function(n) return "slice", ("positions 0 to %d are not in length %d"):format(n, n), 0, n end,
  function(n) return "slice", ("positions %d to -1 are not in length %d"):format(n + 2, n), n + 2 end,
  function(n) return "slice", ("positions 1 to %d are not in length %d"):format(n + 1, n), 1, n + 1 end,
  function(n) return "split", ("%d bytes are more than the length %d"):format(n + 1, n), n + 1 end,
  function() return "resize", WHOLE .. "-1", -1 end,
  function() return "reserve", WHOLE .. "1.5", 1.5 end,
  function() return "commit", WHOLE .. "table", {} end,
  function() return "skip", WHOLE .. "string", "x" end,
  function() return "get", WHOLE .. "boolean", 0, true end,
  function() return "sub", "argument 'i' must be a whole number, got nil" end,
  function() return "byte", "argument 'j' must be a whole number, got 0.5", 1, 0.5 end,
  function() return "find", "argument 'needle' " .. SPAN .. "nil" end,
  function() return "find", "argument 'init' must be a whole number, got function", "a", print end,
  function() return "compare", "argument 'other' " .. SPAN .. "number", 5 end,
  function() return "put", PUT .. "table", "a", {} end,
  function() return "set", PUT .. "nil" end,
  function() return "put", "argument 'value' is a released buffer", dead[1] end,
  function() return "equals", "argument 'other' is a released buffer", dead[1] end,
  function() return "copy", "argument 'from' " .. SPAN .. "boolean", 1, false end,
  function() return "set_string", "argument 's' must be a string, got table", 1, {} end,
}
local writes = {
  function(n) return "set_string", ("1 bytes at position %d do not fit in length %d"):format(n + 1, n), n + 1, "x" end,
  function(n) return "copy", ("2 bytes at position %d do not fit in length %d"):format(n, n), n, "xy" end,
  function() return "fill", "argument 'value' must be from 0 to 255, got 256", 256 end,
  function(n) return "fill", ("positions %d to -1 are not in length %d"):format(-n - 1, n), 0, -n - 1 end,
}

op("mistake", 8, function(b)
  if not dead[1] then return end
  local name, err, x, y = pick(mistakes)(b.length)
  call(err, b, name, x, y)
  name, err, x, y = pick(writes)(b.length)
  call(frozen(b) or err, b, name, x, y)
end)

local names = {}
for name in pairs(require "bytepool.core".buffer_methods) do names[#names + 1] = name end
table.sort(names)
op("dead", 3, function()
  if dead[1] then call("buffer already released", { ud = pick(dead) }, pick(names), M.random(-1, 9), O.text()) end
end)

-- ---- the run ---------------------------------------------------------------------

local function check_pool()
  h.collect()
  M.verify_pool(h.balanced(pool))
  for _, handle in ipairs(live) do M.verify_closely(handle) end
end

local function verify_both(handle, other)
  if handle.owned > 0 and handle.ud then M.verify(handle) end
  if other then M.verify(other) end
end

local function run(random)
  for step = 1, rounds do
    M.step = step
    if not live[1] then ops.from_string() end
    local name = #live > MOST_HANDLES and "release" or pick(weights)
    local handle = pick(live)
    local ok, err = pcall(ops[name], handle)
    if not ok then error(name .. ", " .. tostring(err), 0) end
    local other = live[1] and pick(live)
    ok, err = pcall(verify_both, handle, other)
    if not ok then error("after " .. name .. ", " .. tostring(err), 0) end
    if random(0, 49) == 0 then collectgarbage("step", random(0, 200)) end
    if step % 4000 == 0 then check_pool() end
  end
end

describe("any sequence of operations", function()
  it("does what the model says #random", function()
    h.seeded(function(random, seed)
      pool = h.new({ max_idle = 4 * 1024 * 1024 }, M.sizes)
      O.begin(pool, random)
      local began = os.clock()
      run(random)
      check_pool()
      O.finish()
      h.collect()
      h.all_back(pool)
      print(("%d operations in %.1f s, BP_SEED=%d"):format(rounds, os.clock() - began, seed))
    end)
  end)
end)
