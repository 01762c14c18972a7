-- read_from, write_to and writev on descriptors: of files, and of pipes that are full, have no
-- reader, or are interrupted.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")

-- Runs a script in a shell that first opens descriptors; `fifo` is a pipe's path there.
-- The script has bytepool, pool, errno(...) and what it prints comes back.
local PREFACE = [[
  local bytepool = require "bytepool"
  local pool = bytepool.new_pools({128, 65536, 1048576}, {region_size = 64 * 1024 * 1024})
  local function show(...)
    local t = {...}
    for i = 1, select("#", ...) do t[i] = tostring(t[i]):gsub("%.0$", "") end
    io.write(table.concat(t, " "), "\n")
  end
  local function nonblocking(fd) -- of the open file, which this process shares
    local status = os.execute("dd oflag=nonblock count=0 </dev/null >&" .. fd .. " 2>/dev/null")
    assert(status == 0 or status == true)
  end
]]
local function child(opens, script)
  return h.with_file(PREFACE .. script, function(path)
    local shell = [[d=$(mktemp -d) && mkfifo "$d/fifo" && fifo=$d/fifo || exit 9
      trap '' PIPE
      ]] .. opens .. [[

      "$@"; status=$?; rm -r "$d"; exit $status]]
    local status, out, err = h.run("sh", "-c", shell, "sh", h.interpreter, path)
    assert.equal("0 ", status .. " " .. err)
    return out
  end)
end

describe("descriptors", function()
  it("are read once a call, and written until all is out", function()
    h.with_file("", function(path)
      local out = child("exec 3<>\"$fifo\" 4>" .. path, [[
        local buf = pool:builder(65536)
        show(pool:from_string("hello"):write_to(3))
        show(buf:read_from(3), buf:tostring())
        show(bytepool.writev(3, {"ab", pool:from_string("cd"), "ef"}))
        show(buf:read_from(3, 4), buf:read_from(3, 100), buf:tostring())
        show(buf:write_to(4), buf:read_from(4), buf:write_to(99))
        show(bytepool.writev(99, {"x"}))
        show(bytepool.writev(99, {}))]])
      assert.equal("5\n5 hello\n6\n4 2 helloabcdef\n11 nil nil Bad file descriptor 9 0\n"
        .. "nil Bad file descriptor 9 0\n0\n", (out:gsub("(11 nil) Bad file descriptor 9 ", "%1 ")))
      assert.equal("helloabcdef", h.read(path))
    end)
  end)

  it("of a full pipe say EAGAIN and how much went in; nothing is lost", function()
    local out = child("exec 3<>\"$fifo\"", [[
      nonblocking(3)
      local back = pool:builder(1048576)
      local none, message, errno = back:read_from(3)
      show(none, message == "Resource temporarily unavailable", errno)
      local whole = {}
      for i = 1, 100000 do whole[i] = ("%06d,"):format(i) end
      whole = table.concat(whole)
      local buf = pool:from_string(whole)
      local rounds = 0
      while #buf > 0 do
        local n, _, code, written = buf:write_to(3)
        if not n then assert(code == errno and #buf > written) end
        buf:skip(n or written)
        while back:read_from(3) do end
        rounds = rounds + 1
      end
      show(rounds > 1, back:equals(whole))

      local list, done = {}, 0
      for i = 1, 3000 do
        local piece = whole:sub(i * 200 - 199, i * 200)
        list[i] = i % 2 == 0 and piece or pool:from_string(piece)
      end
      back:reset()
      rounds = 0
      while done < 600000 do
        local n, _, _, written = bytepool.writev(3, list, done)
        done = done + (n or written)
        while back:read_from(3) do end
        rounds = rounds + 1
      end
      show(rounds > 1, back:equals(whole:sub(1, 600000)))]])
    assert.equal("nil true 11\ntrue true\ntrue true\n", out)
  end)

  it("nobody reads from say EPIPE where SIGPIPE is ignored", function()
    local out = child("exec 3<>\"$fifo\" 4>\"$fifo\" 3>&-", [[
      show(pool:from_string("x"):write_to(4))
      show(bytepool.writev(4, {"x", "y"}))]])
    assert.equal("nil Broken pipe 32 0\nnil Broken pipe 32 0\n", out)
  end)

  it("report what went out before the reader left", function()
    local reader = "(head -c 1000 <&5 >/dev/null) & exec 5<&-"
    local out = child("exec 3<>\"$fifo\" 4>\"$fifo\" 5<\"$fifo\" 3>&-; " .. reader, [[
      local n, message, errno, written = pool:from_string(("x"):rep(1000000)):write_to(4)
      show(n, message, errno, written >= 1000 and written < 1000000)]])
    assert.equal("nil Broken pipe 32 true\n", out)
  end)

  it("that end give 0, and directories an error", function()
    local out = child("exec 3</dev/null 4</", [[
      local buf = pool:builder()
      show(buf:read_from(3))
      show(buf:read_from(4))]])
    assert.equal("0\nnil Is a directory 21\n", out)
  end)

  it("and files of one pipe do not mix up their bytes", function()
    local out = child(":", [[
      io.write("a")
      pool:from_string("b"):write_to(io.stdout)
      io.write("c")
      bytepool.writev(io.stdout, {"d", "e"})
      io.write("f\n")]])
    assert.equal("abcdef\n", out)
  end)

  it("in Lua files, where they do not block: what came before EAGAIN counts", function()
    local out = child("exec 3<>\"$fifo\" 0<&3", [[
      nonblocking(3)
      local buf, stdin = pool:builder(128), io.stdin
      pool:from_string("12345"):write_to(3)
      show(buf:read_from(stdin, 10), buf:tostring())
      show(select("#", buf:read_from(stdin, 10)), select(3, buf:read_from(stdin, 10)))
      pool:from_string("678"):write_to(3)
      show(buf:read_from(stdin, 2), buf:read_from(stdin, 2), buf:tostring())]])
    assert.equal("5 12345\n3 11\n2 1 12345678\n", out)
  end)
end)

-- Only by the FFI can a script have a signal handled without its calls being restarted.
if not h.is_luajit then return end

describe("a signal that interrupts", function()
  it("loses nothing", function()
    local out = child("exec 3<>\"$fifo\"", [[
      local ffi = require "ffi"
      ffi.cdef "void *signal(int, void *); int siginterrupt(int, int);"
      ffi.cdef "unsigned ualarm(unsigned, unsigned); int getpid(void);"
      local function ticks(every)
        ffi.C.signal(14, ffi.cast("void *", ffi.C.getpid)) -- a handler that does nothing
        assert(ffi.C.siginterrupt(14, 1) == 0)
        ffi.C.ualarm(every, every)
      end
      os.execute("(sleep 0.3; printf abc >&3) &")
      ticks(20000)
      local buf = pool:builder()
      show(buf:read_from(3), buf:tostring())
      local pipe = io.popen("printf 12; sleep 0.2; printf 34; sleep 0.2; printf 56")
      show(buf:read_from(pipe, 6), buf:tostring())
      ticks(0)
      pipe:close()
      buf:set(("x"):rep(1000000))
      os.execute("(sleep 0.2; head -c 500000; sleep 0.2; head -c 500000) <&3 >/dev/null &")
      ticks(20000)
      show(buf:write_to(3))
      ticks(0)]])
    assert.equal("3 abc\n6 abc123456\n1000000\n", out)
  end)
end)
