-- read_from, write_to and writev, on Lua's files and on descriptors.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local bytepool = require "bytepool"

local pool = h.new()
local FILE = " must be a Lua file or a descriptor, got "

after_each(function()
  h.collect()
  h.all_back(pool)
end)

-- A text with no period, so that a lost or doubled piece shows.
local function text(bytes)
  local t, x = {}, 1
  for i = 1, math.ceil(bytes / 8) do
    x = x * 16807 % 2147483647
    t[i] = ("%08x"):format(x)
  end
  return table.concat(t):sub(1, bytes)
end

local function with_open(content, mode, fn)
  return h.with_file(content, function(path)
    local file = assert(io.open(path, mode))
    fn(file, path)
    if io.type(file) == "file" then file:close() end
  end)
end

describe("read_from a file", function()
  it("appends up to n bytes, and says 0 at the end", function()
    local content = text(10000)
    with_open(content, "rb", function(file)
      local buf = pool:builder()
      buf:put("head:")
      assert.equal(3000, buf:read_from(file, 3000))
      assert.equal("head:" .. content:sub(1, 3000), buf:tostring())
      assert.equal(7000, buf:read_from(file, 1000000))
      assert.equal("head:" .. content, buf:tostring())
      assert.equal(0, buf:read_from(file, 10))
      assert.equal(0, buf:read_from(file, 0))
      assert.equal("head:" .. content, buf:tostring())
      buf:release()
    end)
  end)

  it("fills the room there is without n, at least 4096", function()
    with_open(text(100000), "rb", function(file)
      local buf = pool:builder(128)
      assert.equal(4096, buf:read_from(file))
      assert.equal(4096, buf:capacity())
      assert.equal(4096, buf:read_from(file))
      assert.equal(8192, #buf)
      buf:release()
      buf = pool:builder(32768)
      assert.equal(32768, buf:read_from(file))
      assert.equal(text(100000):sub(8193, 8192 + 32768), buf:tostring())
      buf:release()
    end)
  end)

  it("goes on after what the file was read by Lua, and the other way round", function()
    with_open("first\nsecond\nthird", "rb", function(file)
      assert.equal("first", file:read())
      local buf = pool:builder()
      assert.equal(6, buf:read_from(file, 6))
      assert.equal("second", buf:tostring())
      assert.equal("\nthird", file:read("*a"))
      buf:release()
    end)
  end)

  it("reads on in a file that grew", function()
    with_open("ab", "rb", function(file, path)
      local buf = pool:builder()
      assert.equal(2, buf:read_from(file))
      assert.equal(0, buf:read_from(file))
      local more = assert(io.open(path, "ab"))
      more:write("cd")
      more:close()
      assert.equal(2, buf:read_from(file))
      assert.equal("abcd", buf:tostring())
      buf:release()
    end)
  end)

  it("of size 0 gives 0", function()
    with_open("", "rb", function(file)
      local buf = pool:get_buffer(0)
      assert.equal(0, buf:read_from(file))
      assert.equal(0, #buf)
      buf:release()
    end)
  end)

  it("waits for all n bytes of a pipe", function()
    local pipe = io.popen("printf abc; sleep 0.1; printf def; sleep 0.1; printf ghi", "r")
    local buf = pool:builder()
    assert.equal(5, buf:read_from(pipe, 5))
    assert.equal(4, buf:read_from(pipe, 5))
    assert.equal("abcdefghi", buf:tostring())
    pipe:close()
    buf:release()
  end)

  it("keeps the buffer as it was on an error, and says what Lua says", function()
    local dir = assert(io.open("/"))
    local expected = { dir:read(1) }
    local buf = pool:from_string("kept")
    local nothing, message, errno = buf:read_from(dir)
    assert.is_nil(nothing)
    assert.equal("Is a directory", message)
    assert.equal(21, errno)
    if expected[2] then assert.equal(expected[2], message) end
    dir:close()
    with_open("x", "ab", function(file)
      assert.same({ nil, "Bad file descriptor", 9, n = 3 },
        h.pack(buf:read_from(file)))
    end)
    assert.equal("kept", buf:tostring())
    buf:release()
  end)

  it("holds all of a big one, moved as it grows", function()
    local content = text(5000000)
    with_open(content, "rb", function(file)
      local buf, reads = pool:builder(), 0
      repeat
        local n = assert(buf:read_from(file))
        reads = reads + 1
      until n == 0
      assert.is_true(reads < 20)
      assert.is_true(buf:equals(content))
      buf:release()
    end)
  end)
end)

describe("read_from refuses", function()
  it("what does not grow, and reads nothing then", function()
    with_open("content", "rb", function(file)
      local frozen, shared = pool:get_buffer(3):freeze(), pool:get_buffer(3)
      local other, slice = shared:share(), frozen:slice(1, 2)
      h.refused(pool, function() frozen:read_from(file) end, "read_from: buffer is frozen")
      h.refused(pool, function() shared:read_from(file) end, "read_from: buffer is shared (ref_count 2)")
      h.refused(pool, function() slice:read_from(file, 1) end, "read_from: buffer is frozen")
      slice:unshare()
      assert.equal(7, slice:read_from(file))
      slice:release()
      slice = other:slice(1, 1)
      h.refused(pool, function() slice:read_from(file, 1) end, "read_from: a slice does not grow")
      for _, buf in ipairs { frozen, shared, other, slice } do buf:release() end
      h.refused(pool, function() slice:read_from(file, 1) end, "read_from: buffer already released")
    end)
  end)

  it("a closed file, what is no file, and sizes that are none", function()
    local buf, file = pool:get_buffer(0), assert(io.tmpfile())
    file:close()
    h.refused(pool, function() buf:read_from(file) end, "read_from: file is closed")
    for _, case in ipairs(h.foreign_values()) do
      local value, name = case[1], case[2]
      if name ~= "number" and value ~= io.stdout then
        h.refused(pool, function() buf:read_from(value) end, "read_from: argument 'file'" .. FILE .. name)
      end
    end
    h.refused(pool, function() buf:read_from(buf) end, "read_from: argument 'file'" .. FILE .. "userdata")
    h.refused(pool, function() buf:read_from(pool) end, "read_from: argument 'file'" .. FILE .. "userdata")
    h.refused(pool, function() buf:read_from(-1) end, "read_from: argument 'file'" .. FILE .. "-1")
    h.refused(pool, function() buf:read_from(0.5) end, "read_from: argument 'file'" .. FILE .. "0.5")
    h.refused(pool, function() buf:read_from(0/0) end, "read_from: argument 'file'" .. FILE .. "nan")
    h.refused(pool, function() buf:read_from(2^31) end, "read_from: argument 'file'" .. FILE .. "2147483648")
    h.refused_like(pool, function() buf:read_from(0, -1) end, "read_from: argument 'n' must be a whole number")
    h.refused_like(pool, function() buf.read_from(5, 0) end, "read_from: self must be a bytepool buffer")
    buf:release()
  end)

  it("more than a buffer can hold", function()
    local buf = pool:get_buffer(1)
    assert.same({ nil, "out of memory" }, { buf:read_from(0, 2 ^ 40) })
    buf:release()
  end)
end)

describe("write_to a file", function()
  it("writes all behind what Lua wrote, and keeps the contents", function()
    with_open("", "wb", function(file, path)
      local content = text(300000)
      local buf = pool:from_string(content)
      file:write("before ")
      assert.equal(300000, buf:write_to(file))
      file:write(" after")
      assert.equal(300013, file:seek("cur"))
      file:close()
      assert.is_true("before " .. content .. " after" == h.read(path))
      assert.equal(300000, #buf)
      buf:release()
    end)
  end)

  it("writes where the file stands", function()
    for _, mode in ipairs { "r+b", "w+b", "a+b", "wb", "ab" } do
      with_open("0123456789", mode, function(file, path)
        local buf = pool:from_string("abc")
        file:write("0123456789")
        file:seek("set", 2)
        assert.equal(3, buf:write_to(file))
        local append = mode:find("a", 1, true)
        assert.equal(append and 23 or 5, file:seek("cur"))
        file:seek("cur", -1)
        file:write("X")
        assert.equal(2, bytepool.writev(file, { "Y", "Z" }))
        file:close()
        assert.equal(append and "01234567890123456789abcXYZ" or "01abXYZ789", h.read(path))
        buf:release()
      end)
    end
  end)

  it("writes behind what was read", function()
    with_open("one\ntwo\nthree", "r+b", function(file, path)
      assert.equal("one", file:read())
      local buf = pool:from_string("TWO")
      assert.equal(3, buf:write_to(file))
      assert.equal("\nthree", file:read("*a"))
      file:close()
      assert.equal("one\nTWO\nthree", h.read(path))
      buf:release()
    end)
  end)

  it("takes frozen, shared, sliced and empty buffers", function()
    with_open("", "wb", function(file, path)
      local buf = pool:from_string("0123456789"):freeze()
      local slice = buf:slice(3, 5)
      assert.equal(10, buf:write_to(file))
      assert.equal(3, slice:write_to(file))
      local empty = pool:get_buffer(0)
      assert.equal(0, empty:write_to(file))
      file:close()
      assert.equal("0123456789234", h.read(path))
      for _, b in ipairs { buf, slice, empty } do b:release() end
    end)
  end)

  it("says what Lua says on an error, and how much was written", function()
    with_open("content", "rb", function(file)
      local buf = pool:from_string("x")
      assert.same({ nil, "Bad file descriptor", 9, 0 }, { n = nil, buf:write_to(file) })
      assert.same({ nil, "Bad file descriptor", 9, 0 }, { n = nil, bytepool.writev(file, { "x" }) })
      local full = io.open("/dev/full", "wb")
      if full then
        assert.same({ nil, "No space left on device", 28, 0 }, { n = nil, buf:write_to(full) })
        full:close()
      end
      file:close()
      h.refused(pool, function() buf:write_to(file) end, "write_to: file is closed")
      h.refused(pool, function() buf:write_to("out") end, "write_to: argument 'file'" .. FILE .. "string")
      buf:release()
      h.refused(pool, function() buf:write_to(io.stdout) end, "write_to: buffer already released")
    end)
  end)

  it("through a pipe gives the reader everything", function()
    h.with_file("", function(path)
      local content = text(1000000)
      local buf = pool:from_string(content)
      local pipe = io.popen("sleep 0.1; cat >" .. path, "w")
      assert.equal(1000000, buf:write_to(pipe))
      pipe:close()
      assert.is_true(buf:equals(h.read(path)))
      buf:release()
    end)
  end)
end)

describe("writev", function()
  it("writes strings and buffers in order, more than one call takes", function()
    for _, count in ipairs { 0, 1, 2, 1023, 1024, 1025, 1034, 3000 } do
      with_open("", "wb", function(file, path)
        local list, strings = {}, {}
        for i = 1, count do
          strings[i] = i % 7 == 0 and "" or ("<%d>"):format(i)
          list[i] = i % 3 == 0 and pool:from_string(strings[i]) or strings[i]
        end
        local whole = table.concat(strings)
        file:write("=")
        assert.equal(#whole, bytepool.writev(file, list))
        file:close()
        assert.equal("=" .. whole, h.read(path))
        for i = 3, count, 3 do list[i]:release() end
      end)
    end
  end)

  it("goes on where an earlier call was stopped", function()
    local list = { "ab", pool:from_string("cde"), "", "f", pool:from_string("gh") }
    for from = 0, 8 do
      with_open("", "wb", function(file, path)
        assert.equal(8 - from, bytepool.writev(file, list, from))
        file:close()
        assert.equal(("abcdefgh"):sub(from + 1), h.read(path))
      end)
    end
    h.refused(pool, function() bytepool.writev(io.stdout, list, 9) end,
      "writev: argument 'from' is 9, but the list has 8 bytes")
    list[2]:release()
    list[5]:release()
  end)

  it("looks at the whole list before it writes", function()
    with_open("", "wb", function(file, path)
      local writev, dead = bytepool.writev, pool:get_buffer(1)
      dead:release()
      local beginning = " must be a string or a bytepool buffer, got "
      h.refused(pool, function() writev(file, { "a", 5 }) end, "writev: list[2]" .. beginning .. "number")
      h.refused(pool, function() writev(file, { "a", "b", {} }) end, "writev: list[3]" .. beginning .. "table")
      h.refused(pool, function() writev(file, { "a", dead }) end, "writev: list[2] is a released buffer")
      h.refused(pool, function() writev(file, "a") end, "writev: argument 'list' must be a table, got string")
      h.refused(pool, function() writev(file) end, "writev: argument 'list' must be a table, got nil")
      h.refused(pool, function() writev(nil, {}) end, "writev: argument 'file'" .. FILE .. "nil")
      h.refused_like(pool, function() writev(file, {}, -1) end, "writev: argument 'from' must be a whole number")
      file:close()
      h.refused(pool, function() writev(file, { "a" }) end, "writev: file is closed")
      assert.equal("", h.read(path))
    end)
  end)
end)
