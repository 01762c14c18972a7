-- pack and unpack beside string.pack and string.unpack, where Lua has them: the same for random formats, values
-- and bytes.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")

local string_pack, string_unpack = rawget(string, "pack"), rawget(string, "unpack")
if not string_pack then
  assert(h.is_luajit or _VERSION < "Lua 5.3")
  return
end
local pool = h.new()

local function same(oracle, ours, what)
  assert.equal(oracle[1], ours[1], what)
  if not oracle[1] then
    assert.is_true(tostring(ours[2]):find("pack: ", 1, true) ~= nil, what)
    return
  end
  assert.equal(oracle.n, ours.n, what)
  for i = 2, oracle.n do
    local a, b = oracle[i], ours[i]
    assert.is_true(math.type(a) == math.type(b) and (a == b or a ~= a and b ~= b), what)
  end
end

-- An option of the format and a value for it, or nil.
local function option(random)
  local function integer()
    local size = random(1, 8)
    local v = string_unpack("<" .. (random(0, 1) == 0 and "i" or "I") .. size, h.random_string(random, size))
    return random(0, 4) == 0 and v % 4 or v
  end
  local function text(most) return (h.random_string(random, random(0, most))) end
  local kind = random(1, 24)
  if kind <= 10 then
    local i = random(1, 10)
    return ("bBhHlLjJTi"):sub(i, i), integer()
  elseif kind <= 13 then
    return (random(0, 1) == 0 and "i" or "I") .. random(1, 16), integer()
  elseif kind <= 15 then
    local i = random(1, 3)
    return ("fdn"):sub(i, i), ({ integer() + 0.0, 1 / integer(), 0.5, 1 / 0, 3 })[random(1, 5)]
  elseif kind == 16 then
    return "z", (text(20):gsub("%z", random(0, 9) > 0 and "0" or "%0"))
  elseif kind == 17 then
    return "s" .. random(1, 16), text(random(0, 20) == 0 and 300 or 20)
  elseif kind == 18 then
    local n = random(0, 20)
    return "c" .. n, text(random(0, 9) > 0 and n or 20)
  end
  return ({ "<", ">", "=", "!", "! ", "!" .. random(1, 16), "x", " ", "Xi" .. random(1, 16), "Xd" })[random(1, 10)]
end

local function random_format(random)
  local fmt, values = {}, {}
  for _ = 1, random(1, 8) do
    local o, v = option(random)
    fmt[#fmt + 1] = o
    if v ~= nil then values[#values + 1] = v end
  end
  return table.concat(fmt), values
end

describe("pack and unpack, beside string.pack:", function()
  after_each(function()
    h.collect()
    h.all_back(pool)
  end)

  it("random formats and values #random", function()
    h.seeded(function(random)
      local good = 0
      local buf = pool:builder(512)
      for _ = 1, 30000 do
        local fmt, values = random_format(random)
        local oracle = h.pack(pcall(string_pack, fmt, table.unpack(values)))
        local ours = h.pack(pcall(buf.pack, buf:reset(), fmt, table.unpack(values)))
        if ours[1] then ours[2] = buf:tostring() end
        same(oracle, ours, fmt)
        if oracle[1] then
          good = good + 1
          same(h.pack(pcall(string_unpack, fmt, oracle[2])), h.pack(pcall(buf.unpack, buf, fmt)), fmt)
        end
      end
      assert.is_true(good > 10000, good)
      buf:release()
    end)
  end)

  it("random formats over random bytes #random", function()
    h.seeded(function(random)
      for _ = 1, 10000 do
        local fmt = random_format(random)
        -- Lua 5.3 reads the zero behind its string where none is in it.
        if _VERSION == "Lua 5.3" then fmt = fmt:gsub("z", "b") end
        local s = h.random_string(random, random(0, 40)):gsub("[\32-\255]", random(0, 1) == 0 and "\0" or "%0")
        local buf = pool:from_string(s)
        local pos = random(1, #s + 2)
        if random(0, 3) == 0 and #s > 0 then pos = -random(1, #s) end
        same(h.pack(pcall(string_unpack, fmt, s, pos)), h.pack(pcall(buf.unpack, buf, fmt, pos)), fmt)
        buf:release()
      end
    end)
  end)

  it("malformed formats #random", function()
    h.seeded(function(random)
      local letters = "<>=! bBhHlLjJTiIfdnszxXcy0129"
      local buf = pool:builder(512)
      for _ = 1, 10000 do
        local fmt = {}
        for i = 1, random(1, 6) do
          local k = random(1, #letters)
          fmt[i] = letters:sub(k, k)
        end
        fmt = table.concat(fmt)
        local oracle = h.pack(pcall(string_pack, fmt, 1, 2, 3, 4, 5, 6))
        local ours = h.pack(pcall(buf.pack, buf:reset(), fmt, 1, 2, 3, 4, 5, 6))
        if ours[1] then ours[2] = buf:tostring() end
        same(oracle, ours, fmt)
      end
      buf:release()
    end)
  end)
end)
