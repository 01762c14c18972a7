-- Lua states in threads: pools by name, references as tokens; the threads are lua-luv's.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"
local found, uv = pcall(require, "luv")

local names = 0
local function new_name()
  names = names + 1
  return "states spec " .. names
end

describe("bytepool.open", function()
  it("finds the pool of a name", function()
    local name = new_name()
    local pool = h.new({ name = name })
    local same = bytepool.open(name)
    assert.equal("pool", bytepool.type(same))
    local buf = same:get_buffer(100)
    pool:put(buf) -- one pool, two userdata
    assert.same(h.counters(pool), h.counters(same))
    same:close()
    pool:close()
  end)

  it("ends the pool with the last close", function()
    local name = new_name()
    local pool = h.new({ name = name })
    local same = bytepool.open(name)
    pool:close()
    assert.equal("closed pool", bytepool.type(pool))
    same:get_buffer(100):release()
    h.all_back(same)
    same:close()
    local none, message = bytepool.open(name)
    assert.is_nil(none)
    assert.equal("no open pool has that name", message)
  end)

  it("ends it when the collector finds the last userdata", function()
    local name = new_name()
    h.new({ name = name })
    h.collect()
    assert.is_nil(bytepool.open(name))
  end)

  it("finds no pool without a name", function()
    local pool = h.new()
    assert.is_nil(bytepool.open(""))
    assert.is_nil(bytepool.open("no\0name"))
    pool:close()
  end)

  it("names a wrong argument", function()
    h.raises(function() bytepool.open(5) end, "open: argument 'name' must be a string, got number")
    h.raises(function() bytepool.open() end, "open: argument 'name' must be a string, got nil")
  end)

  it("leaves a taken name to its pool", function()
    local name = new_name()
    local pool = h.new({ name = name })
    local other, message = h.new({ name = name })
    assert.is_nil(other)
    assert.equal("an open pool has that name", message)
    pool:close()
    h.new({ name = name }):close()
  end)

  it("finds a pool that expvar knows already", function()
    local name = new_name()
    local pool = h.new({ name = name }):expvar(name)
    local same = bytepool.open(name):expvar(name)
    local other = h.new()
    assert.is_false(pcall(other.expvar, other, name))
    other:close()
    same:close()
    pool:close()
  end)

  it("finds the default pool", function()
    local default = bytepool.default()
    local same = bytepool.open("default")
    default:release_buffer(same:get_buffer(10))
    same:close()
  end)
end)

describe("a token", function()
  local pool = h.new()
  after_each(function()
    h.collect()
    h.all_back(pool)
    assert.equal(0, pool:get_pool_stats().exported)
  end)

  it("owns a reference that import takes over", function()
    local buf = pool:from_string("hello")
    local token = buf:export()
    assert.equal("string", type(token))
    assert.is_true(#token < 48 and not token:find("[^%w%-]"))
    assert.equal(2, buf:ref_count())
    assert.equal(1, pool:get_pool_stats().exported)
    buf:release()
    local taken = bytepool.import(token)
    assert.equal("hello", taken:tostring())
    assert.equal(1, taken:ref_count())
    taken:release()
  end)

  it("works once", function()
    local buf = pool:get_buffer(10)
    local token = buf:export()
    bytepool.import(token):release()
    h.refused(pool, function() bytepool.import(token) end, "import: no such token, or it was used already")
    buf:release()
  end)

  it("cannot be made up", function()
    local buf = pool:get_buffer(10)
    local token = buf:export()
    local last = token:sub(-1) == "0" and "1" or "0"
    for _, bad in ipairs { "", "bp1-", token .. "0", token:sub(1, -2), token:sub(1, -2) .. last, token .. "\0",
      token:upper() .. "g" } do
      h.refused(pool, function() bytepool.import(bad) end, "import: no such token, or it was used already")
    end
    local foreign = token:gsub("^bp1%-%x+", "bp1-00000000")
    h.refused(pool, function() bytepool.import(foreign) end, "import: token of another loaded copy of bytepool")
    h.raises(function() bytepool.import(12) end, "import: argument 'token' must be a string, got number")
    bytepool.import(token):release()
    buf:release()
  end)

  it("is refused to a dead handle", function()
    local buf = pool:get_buffer(10)
    buf:release()
    h.refused(pool, function() buf:export() end, "export: buffer already released")
    h.refused(pool, function() buf.export(pool) end, "export: self must be a bytepool buffer, got userdata")
  end)

  it("outlives its pool", function()
    local short = h.new()
    local buf = short:from_string("still here")
    local token = buf:export()
    buf:release()
    short:close()
    local taken = bytepool.import(token)
    assert.equal("still here", taken:tostring())
    taken:release()
  end)
end)

-- What a thread is given goes by value; it finds the module where this state did, and its
-- compiler is off where this state's is.
local jit = rawget(_G, "jit")
local jit_off = jit and not jit.status() or false
local function in_thread(fn, ...)
  local thread = uv.new_thread(fn, package.path, package.cpath, jit_off, ...)
  assert(thread:join())
end

describe("states in threads of lua-luv", function()
  if not found then
    pending("lua-luv is not installed for this Lua")
    return
  end

  it("share a pool by name and pass buffers as tokens", function()
    local name = new_name()
    local pool = h.new({ name = name })
    local request = pool:from_string("ping")
    local box = os.tmpname()
    in_thread(function(path, cpath, off, pool_name, token, file)
      package.path, package.cpath = path, cpath
      if off then _G.jit.off() end
      local bp = require "bytepool"
      local theirs = assert(bp.open(pool_name))
      local got = bp.import(token)
      local answer = theirs:from_string(got:tostring() .. " pong")
      got:release()
      local f = assert(io.open(file, "w"))
      f:write(answer:export())
      f:close()
      answer:release()
      theirs:get_buffer(1000) -- forgotten: it comes back with the state
    end, name, request:export(), box)
    assert.equal(1, request:ref_count())
    request:release()
    local f = assert(io.open(box))
    local answer = bytepool.import(f:read("*a"))
    f:close()
    os.remove(box)
    assert.equal("ping pong", answer:tostring())
    answer:release()
    h.all_back(pool)
    pool:close()
  end)

  it("may come, use the default pool and go, many times", function()
    local pool = bytepool.default()
    for _ = 1, 30 do
      in_thread(function(path, cpath, off)
        package.path, package.cpath = path, cpath
        if off then _G.jit.off() end
        local theirs = require("bytepool").default()
        for n = 1, 100 do
          local b = theirs:get_buffer(n * 50)
          if n % 3 > 0 then b:release() end
        end
      end)
    end
    h.all_back(pool)
  end)

  it("race for the default pool, and always get one and no message", function()
    for _ = 1, 3 do
      local threads = {}
      for i = 1, 4 do
        threads[i] = uv.new_thread(function(path, cpath, off)
          package.path, package.cpath = path, cpath
          if off then _G.jit.off() end
          local bp = require "bytepool"
          for _ = 1, 500 do
            local pool, message = bp.default()
            if not pool or message then
              io.stderr:write("default: ", tostring(pool), " ", tostring(message), "\n")
              os.exit(1)
            end
            pool:close()
          end
        end, package.path, package.cpath, jit_off)
      end
      for i = 1, 4 do threads[i]:join() end
    end
    assert.equal("pool", bytepool.type(bytepool.default()))
  end)

  it("get a buffer's bytes back from a worker of the thread pool", function()
    local name = new_name()
    local pool = h.new({ name = name })
    local sum, expected = 0, 0
    local work = uv.new_work(function(path, cpath, off, token)
      package.path, package.cpath = path, cpath
      if off then _G.jit.off() end
      local buf = require("bytepool").import(token)
      local n = #buf:tostring()
      buf:release()
      return n
    end, function(n) sum = sum + n end)
    for i = 1, 50 do
      local buf = pool:from_string(("x"):rep(i * 100))
      work:queue(package.path, package.cpath, jit_off, buf:export())
      buf:release()
      expected = expected + i * 100
    end
    uv.run()
    assert.equal(expected, sum)
    h.all_back(pool)
    pool:close()
  end)
end)
