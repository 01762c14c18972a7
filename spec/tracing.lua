-- What LuaJIT makes of a hot loop, tried in a process of its own.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local assert = require "luassert"

local tracing = {}

-- Prints how the traces that begin with the loop end, and why any of these, or of those that
-- hang on them, was given up. That a body is tried alone now and then is not looked at.
local script = [[
  local bytepool = require "bytepool"
  SETUP
  local info, reasons = require "jit.util".traceinfo, require "jit.vmdef".traceerr
  local loop, roots, ours, links, aborts = nil, {}, {}, {}, {}
  local function on_trace(what, number, func, _, code, about)
    if what == "start" then
      roots[number] = func == loop and not code
      ours[number] = roots[number] or ours[code]
    elseif what == "stop" and roots[number] then
      links[#links + 1] = info(number).linktype
    elseif what == "abort" and ours[number] then
      local why = tostring(reasons[code] or code)
      aborts[#aborts + 1] = why:find "%%" and why:format(type(about) == "function" and 0 or about) or why
    end
  end
  collectgarbage() -- a finalizer that runs while a trace is recorded would abort it
  collectgarbage "stop"
  local sum = 0
  function loop()
    for i = 1, 1000 do
      BODY
    end
  end
  jit.attach(on_trace, "trace")
  loop()
  jit.attach(on_trace)
  io.write(table.concat(links, " "), "\t", table.concat(aborts, ";"), "\t", table.concat({ RESULTS }, " "), "\n")
]]

-- What the compiler tries again by itself. It shares its counters of hot code by address, so
-- now and then it begins in a strange place.
local again = { ["leaving loop in root trace"] = true, ["inner loop in root trace"] = true,
  ["down-recursion, restarting"] = true, ["retry recording"] = true }

--- Runs a loop of 1000 turns.
-- @tparam string setup statements before it; `bytepool` is there
-- @tparam string body the turn; `i` counts, and `sum` is for what must not be optimised away
-- @tparam[opt=""] string results expressions to print after it
-- @param ... flags for LuaJIT
-- @treturn string what its traces link to, with a blank between
-- @treturn string why any was given up, with a `;` between
-- @treturn string the results, with a blank between
function tracing.loop(setup, body, results, ...)
  local parts = { SETUP = setup, BODY = body, RESULTS = results or "" }
  local links, aborts, printed = h.script_ok(script:gsub("%u+", parts), ...):match "^([^\t]*)\t([^\t]*)\t(.-)\n$"
  local real = {}
  for why in aborts:gmatch "[^;]+" do
    if not again[why] then real[#real + 1] = why end
  end
  return links, table.concat(real, ";"), printed
end

--- Runs a loop that must compile.
-- The compiler may begin more than once, and what it makes of the loop is the same each time. But one
-- process in 300 has its counters shared in such a way that it begins elsewhere; so it has five.
-- @treturn string the results, as of `loop`
function tracing.compiles(setup, body, results)
  local links, aborts, printed
  for _ = 1, 5 do
    links, aborts, printed = tracing.loop(setup, body, results)
    if aborts == "" and links:gsub(" loop", "") == "loop" then break end
  end
  assert.equal("", aborts)
  assert.equal("loop", (links:gsub(" loop", "")))
  return printed
end

return tracing
