-- Runs the operations of the Lua target: lua.c calls run(data) in a state of its own. The
-- first byte of data says how the state is set up, then each operation is a byte that names
-- it and its choices. A code that is free does nothing, so a new operation takes one and
-- what the corpus means stays. They stand in api.lua, bytes.lua, views.lua and misuse.lua.

local jit = rawget(_G, "jit")
-- Bit 0 of data: without the compiler. Bit 1: the state is closed with all things out.
if jit then
  if rawget(_G, "FUZZ_NO_JIT") then jit.off() else jit.opt.start("hotloop=3", "hotexit=3") end
  -- The module is linked into this program: what clib.lua looks for is there already.
  local ffi = require "ffi"
  rawset(package, "searchpath", function() return "this program" end)
  rawset(ffi, "load", function() return ffi.C end)
  jit.off(true, true) -- see model.lua
end

local C = require "choices"
local M = require "model"
local fuzz = require "fuzz"
require "api"
require "bytes"
require "views"
require "misuse"

local step = 0

function M.run_one()
  local code = M.byte() % 64
  if not C.ops[code] then return end
  fuzz.trace(step, C.names[code])
  C.ops[code]()
end

local function run(data)
  M.with_input(data, function()
    local mode = M.byte()
    collectgarbage "stop"
    if jit and mode % 32 >= 16 then jit.off() end -- FFI bodies, interpreted
    if mode % 8 >= 4 then
      collectgarbage("setpause", 0)
      collectgarbage("setstepmul", 2000)
    end
    if mode % 16 >= 8 and _VERSION == "Lua 5.4" then collectgarbage "generational" end
    while M.left() and step < 200 do
      step = step + 1
      M.run_one()
      if M.failure then error(M.failure, 0) end
      M.compare(step % 8 == 0)
    end
  end)
end

local function closing()
  M.closed = true -- a state that closes runs no more bombs
  M.take_tokens()
  if M.failure then error(M.failure, 0) end
end

-- An error is a stranger's, out of a bomb.
local function collect()
  pcall(collectgarbage)
  M.collector "stop"
end

return { run = run, drop = M.drop, finish = M.finish, closing = closing, collect = collect }
