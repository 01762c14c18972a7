-- Clients that curl and wrk are not: they stall, trickle, and reset at every stage.
-- usage: luajit client.lua MODE PORT ...
--   resets COUNT SEED    requests that end by a reset somewhere, on HTTP/1.1
--   resets2 COUNT SEED   the same on HTTP/2 in the clear: of the stream, or of the connection
--   stalled PATH COUNT LENGTH  opens COUNT readers that read nothing, says "open", and waits for a line on
--                        stdin; then reads all to the end and prints how many had LENGTH bytes

local socket = require "socket"

local mode, port = arg[1], tonumber(arg[2])

local function connect(small)
    local s = assert(socket.tcp())
    if small then s:setoption("recv-buffer-size", 4096) end
    s:settimeout(10)
    assert(s:connect("127.0.0.1", port))
    return s
end

local function reset(s)
    s:setoption("linger", {on = true, timeout = 0})
    s:close()
end

local function request(path)
    return "GET " .. path .. " HTTP/1.1\r\nHost: localhost\r\n\r\n"
end

local function nap() socket.sleep(math.random() * 0.004) end

local paths = {
    "/released?n=1048576", "/released?n=1048576&idle=1&flush=wait", "/normal", "/send?n=1048576", "/stall", "/stall",
    "/sleep?t=0.01", "/exec", "/fail", "/fail_late",
    "/mixed?n=1048576&step=20000&flush=wait", "/threads", "/thread_error", "/on_abort", "/gzip/send?n=1048576",
    "/filter/stall", "/limited/send?n=1048576", "/slices?n=200000", "/noabort/stall", "/noabort/sleep",
    "/capture?n=65536", -- the last: there are no subrequests of HTTP/2
}

local stages = {
    function() end,
    function(s, path) s:send(request(path):sub(1, math.random(20))) nap() end,
    function(s, path) s:send(request(path)) end,
    function(s, path) s:send(request(path)) nap() end,
    function(s, path) s:send(request(path)) s:receive(1) end,
    function(s, path) s:send(request(path)) s:receive "*l" nap() end,
    function(s, path) s:send(request(path)) s:settimeout(0.05) s:receive(math.random(300000)) end,
    function(s, path) s:send(request(path):rep(3)) s:settimeout(0.02) s:receive(100000) end,
    function(s, path) s:send(request(path)) s:receive(1) s:shutdown "send" nap() end,
}

local modes = {}

function modes.resets(count, seed)
    math.randomseed(tonumber(seed))
    for _ = 1, tonumber(count) do
        local s = connect(math.random(2) == 1)
        stages[math.random(#stages)](s, paths[math.random(#paths)])
        if math.random(4) == 1 then s:close() else reset(s) end
    end
end

-- ---- HTTP/2, as little of it as a reset needs -----------------------------------

local char = string.char

local function frame(kind, flags, stream, payload)
    local n = #payload
    return char(math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256, kind, flags, 0, 0,
        math.floor(stream / 256), stream % 256) .. payload
end

local function headers(stream, path) -- HPACK: GET, http, a literal path and authority
    return frame(1, 5, stream, "\130\134\4" .. char(#path) .. path .. "\1" .. char(9) .. "localhost")
end

function modes.resets2(count, seed)
    math.randomseed(tonumber(seed))
    for _ = 1, tonumber(count) do
        local s = connect(math.random(2) == 1)
        s:send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" .. frame(4, 0, 0, ""))
        for stream = 1, 2 * math.random(4) - 1, 2 do
            s:send(headers(stream, paths[math.random(#paths - 1)]))
            if math.random(2) == 1 then
                s:settimeout(0.02)
                s:receive(math.random(60000))
            end
            if math.random(2) == 1 then s:send(frame(3, 0, stream, "\0\0\0\8")) end -- CANCEL
            if math.random(3) == 1 then s:send(frame(8, 0, 0, "\0\1\0\0")) end
        end
        nap()
        if math.random(4) == 1 then s:close() else reset(s) end
    end
end

-- ---- readers ----------------------------------------------------------------------

-- Length of what follows the header of a response that ends with the connection or tells its length.
local function read_all(s)
    s:settimeout(30)
    local length, ending
    local bytes = 0
    repeat
        local line = s:receive "*l"
        if not line then return 0 end
        length = tonumber(line:lower():match "^content%-length: (%d+)") or length
    until line == ""
    repeat
        local piece, message, partial = s:receive(math.min(65536, length and length - bytes or 65536))
        bytes = bytes + #(piece or partial or "")
        ending = message or bytes == length
    until ending
    return bytes
end

function modes.stalled(path, count, length)
    local list = {}
    for i = 1, tonumber(count) do
        list[i] = connect(true)
        list[i]:send(request(path))
    end
    io.stdout:write "open\n"
    io.stdout:flush()
    io.read "*l"
    local whole = 0
    for _, s in ipairs(list) do
        if read_all(s) == tonumber(length) then whole = whole + 1 end
        s:close()
    end
    print(whole)
end

modes[mode](unpack(arg, 3))
