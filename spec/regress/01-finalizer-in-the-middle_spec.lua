-- Lua allocates in the middle of a method, the collector runs a stranger's finalizer, and
-- that releases the buffer or closes the pool which the method was working on.
local h = dofile(debug.getinfo(1, "S").source:match("^@(.*)/[^/]*/[^/]*$") .. "/helper.lua")

-- Calls CALL until a finalizer has run in it, many times over. Uncompiled, because there
-- each step can allocate.
local text = [[
  local bytepool = require "bytepool"
  if rawget(_G, "jit") then jit.off() end
  if _VERSION == "Lua 5.4" then
    collectgarbage("incremental", 10, 1000)
  else
    collectgarbage("setpause", 1)
    collectgarbage("setstepmul", 100000)
  end
  local function on_collect(fn)
    if rawget(_G, "newproxy") then
      getmetatable(newproxy(true)).__gc = fn
    else
      setmetatable({}, { __gc = fn })
    end
  end
  local refused = 0
  for round = 1, 60 do
    local pool, done = bytepool.new_pools({ 64 }, { region_size = 8388608 })
    local buf = BUFFER
    on_collect(function()
      done = true
      while bytepool.type(buf) == "buffer" do buf:release() end
      pool:close()
    end)
    local padding = ("q"):rep(round * 17)
    for _ = 1, 20000 do
      local ok, result = pcall(function() return CALL end)
      if not ok then
        assert(result:find "the pool is closed" or result:find "already released", result)
        refused = refused + 1
      elseif result ~= buf and bytepool.type(result) == "buffer" then
        result:release()
      elseif type(result) == "string" then
        assert(result == "hello", result)
      end
      if done then break end
    end
    assert(#padding > 0)
  end
  print(refused)
]]

local with_pool = { "pool:get_buffer(64)", "pool:get(64)", "pool:from_string('hello')", "pool:get_pool_stats()",
  "pool:get_available_sizes()", "tostring(pool) and nil", "pool:prewarm{[64] = 1}",
  "pool:builder(5)" }
local with_buffer = { "buf:share()", "(buf:bytes())", "buf:tostring()", "buf:sub(1, 5)", "buf:byte(1)",
  "buf:set_string(1, 'hello')", "buf:retain()", "buf:ref_count()", "buf:len()", "tostring(buf) and nil",
  "buf:slice(1, 5)", "buf:split(0)", "buf:put(1.5, 'x'):resize(5)", "buf:putf('%d', 1e9):resize(5)",
  "buf:set('hello')", "buf .. ''", "'' .. buf", "buf:get(2) and buf:get(0, nil) and buf:reset():put('hello')",
  "buf:unshare()", "buf:copy(1, buf)", "bytepool.import(buf:export())", "buf:find('llo') and nil" }

local function survives(call, buffer)
  it(call, function()
    local script = text:gsub("CALL", function() return call end):gsub("BUFFER", function() return buffer end)
    h.script_ok(script)
  end)
end

describe("a finalizer that closes the pool in the middle of", function()
  for _, call in ipairs(with_pool) do survives(call, "nil") end
end)

describe("a finalizer that releases the buffer in the middle of", function()
  for _, call in ipairs(with_buffer) do survives(call, "pool:from_string('hello')") end
end)
