-- What the nginx of worker.conf.in does: /NAME calls the handler of that name.

local bp = require "resty.bytepool"
local bytepool = require "bytepool"

local M, handlers = {}, {}

local function number(name) return tonumber(ngx.var["arg_" .. name]) end

-- Each phase gets a buffer of the one pool, writes it and ties it to the request where there is one.
local function use(phase)
    local pool = bp.pool()
    local buf = pool:get_buffer(1000)
    buf:fill(65)
    assert(#buf == 1000 and buf:byte(1000) == 65)
    buf:release()
    local kept = bp.request(2000)
    ngx.shared.seen:set(phase, tostring(pool))
    return kept
end

function M.init_worker()
    local pool = bp.pool()
    pool:get_buffer(1000):release()
    ngx.shared.seen:set("init_worker", tostring(pool))
    assert(bp.init({tiers = {1024, 4096}, on_tick = function(_, second)
        ngx.shared.seen:incr("ticks", second:get_pool_stats().name == "second" and 1 or 0, 0)
    end}, "second"))
end

-- The handles of a request's phases are alive to its end.
function M.phase(name)
    local held = ngx.ctx.held or {}
    ngx.ctx.held = held
    held[#held + 1] = use(name)
    if name == "access" then ngx.timer.at(0, function() use "timer" end) end
    if name == "log" then
        for i, buf in ipairs(held) do
            if bytepool.type(buf) ~= "buffer" then ngx.log(ngx.ERR, "dead before its request: ", i) end
        end
    end
    return "1"
end

function M.balancer(port)
    use "balancer"
    assert(require("ngx.balancer").set_current_peer("127.0.0.1", port))
end

function handlers.hello() use "content" ngx.print "hello" end

function handlers.seen()
    for _, phase in ipairs {"init_worker", "set", "rewrite", "access", "balancer", "content", "header_filter",
        "body_filter", "log", "timer"} do
        ngx.say(phase, " ", ngx.shared.seen:get(phase) and "pool" or "nothing")
    end
end

-- ---- bodies ----------------------------------------------------------------------

-- Back as it came; its length and where nginx had it in header fields.
function handlers.echo()
    local buf, message = bp.body {max = number "max"}
    if not buf then
        ngx.status = message == "too large" and 413 or 500
        return ngx.print(message)
    end
    ngx.header.x_length = #buf
    ngx.header.x_file = ngx.req.get_body_file() and "yes" or "no"
    ngx.header.content_length = #buf
    bp.send(buf)
end

-- From another server's answer, by a cosocket: /fetch?from=/PATH&size=N or all of it.
function handlers.fetch()
    local sock = ngx.socket.tcp()
    sock:settimeout(5000)
    assert(sock:connect("127.0.0.1", ngx.var.server_port))
    assert(sock:send("GET " .. ngx.unescape_uri(ngx.var.arg_from) .. " HTTP/1.0\r\nHost: x\r\n\r\n"))
    local length
    repeat
        local line = assert(bp.receive(sock, "*l"))
        length = length or tonumber(line:tostring():lower():match "^content%-length: (%d+)")
        local is_end = #line == 0
        line:release()
    until is_end
    local size = ngx.var.arg_size == "length" and length or number("size") or "*a"
    local buf, message = bp.receive(sock, size, {max = number "max"})
    if not buf then return ngx.print("error: " .. message) end
    if ngx.var.arg_into then
        local joined = bp.keep(bp.pool():from_string "<")
        local n, why, got = bp.receive_into(joined, function(most)
            return #buf > 0 and buf:get(math.min(most, #buf)) or nil
        end)
        joined:put ">"
        assert(n and not why and not got)
        buf = joined
    end
    bp.send(buf)
end

-- The first line of another server's answer, of ?max bytes.
function handlers.line()
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", ngx.var.server_port))
    assert(sock:send("GET /bytes?n=0 HTTP/1.1\r\nHost: x\r\n\r\n"))
    local buf, message = bp.receive(sock, "*l", {max = number "max"})
    ngx.print(buf and buf:tostring() or message)
    sock:close()
end

function handlers.bytes()
    local n = number "n"
    ngx.header.content_length = n
    bp.send(bp.request(n):fill(66))
end

-- ---- pools ------------------------------------------------------------------------

function handlers.preloaded()
    local s = PRELOADED:tostring()
    ngx.print(s, " ", PRELOADED:ref_count(), " ", PRELOADED_BY ~= ngx.worker.pid() and "elsewhere" or "here")
end

function handlers.forget_preloaded()
    if bytepool.type(PRELOADED) == "buffer" then PRELOADED:release() end
    ngx.print(bp.pool():get_pool_stats().in_use)
end

function handlers.work()
    for _ = 1, number "n" or 10 do bp.pool():get_buffer(4000):release() end
    ngx.print(ngx.worker.pid())
end

function handlers.stats()
    if ngx.var.arg_collect then collectgarbage() collectgarbage() end
    local pool = bp.pool(ngx.var.arg_pool)
    local s = pool:get_pool_stats()
    ngx.print(("pid=%d in_use=%d idle_bytes=%d tiers=%d generation=%d gets=%d kept_now=%d\n"):format(ngx.worker.pid(),
        s.in_use, s.idle_bytes, #pool:get_available_sizes(), s.generation, s.total_get, bp.send_stats().kept_now))
end

-- From one request to another of this worker, also to another Lua state of it.
function handlers.export()
    local buf = bp.request(11):set_string(1, "handed over")
    ngx.print(ngx.worker.pid(), " ", buf:export())
end

function handlers.import()
    local ran, buf = pcall(bytepool.import, ngx.var.arg_token)
    if not ran then return ngx.print(ngx.worker.pid(), " ", buf) end
    ngx.print(ngx.worker.pid(), " ", bp.keep(buf):tostring())
end

-- Where the library gets a buffer for a handler, the handler's line is told.
function handlers.sites()
    local pool = bp.pool()
    local before = pool:leak_level()
    pool:leak_level "paranoid"
    bp.request(100)
    bp.body()
    local sub = bp.channel("sites"):subscribe()
    bp.channel("sites"):publish "a chunk"
    for _, leak in ipairs(pool:leaks()) do ngx.say(leak.site) end
    pool:leak_level(before)
    sub:close()
    bp.channel("sites"):close()
end

function handlers.ticks() ngx.print(ngx.shared.seen:get "ticks" or 0) end

-- While the collector is stopped, which looks like a finalizer: nothing is tied, and nothing stays out.
function handlers.stopped()
    local full = bp.channel("full", {queue = 1, policy = "wait"})
    local sub = full:subscribe()
    full:publish "first"
    collectgarbage "stop"
    local calls = {
        request = bp.request, body = bp.body,
        subscribe = function() return bp.channel("stopped"):subscribe() end,
        receive = function() return bp.receive(function() return "x" end, 1) end,
        publish = function() return full:publish "second" end,
    }
    for _, name in ipairs {"request", "body", "subscribe", "receive", "publish"} do
        local got, message = calls[name](name == "request" and 5 or nil)
        ngx.say(name, " ", got and "something" or message)
    end
    bp.channel("full", {queue = 1}) -- drops the oldest, and waits for nobody
    ngx.say("without a wait ", tostring(full:publish "third"))
    collectgarbage "restart"
    local buf = sub:next(0)
    ngx.say("the last one ", buf:tostring())
    buf:release()
    sub:close()
    full:close()
    bp.channel("stopped"):close()
    ngx.say("in_use ", bp.pool():get_pool_stats().in_use)
end

function handlers.errors()
    local function try(fn, ...) local _, e = pcall(fn, ...) ngx.say(tostring(e)) end
    try(bp.pool, "no such")
    try(bp.init, {5, 4})
    try(bp.init, {1024}, 5)
    try(bp.pool, {})
    try(bp.body, {pool = "none"})
    try(bp.request, -1)
    try(bp.flush, 5)
    try(bp.receive, function() return 5 end, 10)
    try(bp.receive_into, bp.request(1):freeze(), function() end, 5)
    try(bp.channel("c").subscribe)
    try(bp.channel("c"):subscribe().next, {})
    try(bp.init, {1024}, "x", {intervall = 5})
    try(bp.body, {max = "x"})
    try(bp.receive, 5, 5)
    try(bp.receive, ngx.socket.tcp(), -1)
    try(bp.receive_into, 5)
    try(bp.channel, "")
    try(bp.channel, "c", {policy = "other"})
    try(bp.channel("c").publish, bp.channel "c", 5)
    try(bp.metrics, {every = true})
    bp.channel("c"):close()
    ngx.say(tostring(select(2, bp.init("no-such-file.lua"))))
    ngx.say(tostring(select(2, bp.init({tiers = {1024}, zero = "get"}))))
end

-- ---- channels ------------------------------------------------------------------------

function handlers.live()
    local channel = bp.channel("live")
    local sub = assert(channel:subscribe())
    ngx.header.content_type = "application/octet-stream"
    local ok, message = sub:stream(number "timeout")
    ngx.log(ngx.INFO, "stream ended: ", tostring(ok), " ", tostring(message))
end

function handlers.open()
    bp.channel("live", {queue = number "queue", policy = ngx.var.arg_policy, queue_bytes = number "bytes",
        timeout = number "timeout"})
end

local function figures()
    local s = bp.channel("live"):stats()
    local names = {}
    for name in pairs(s) do names[#names + 1] = name end
    table.sort(names)
    for i, name in ipairs(names) do names[i] = name .. "=" .. s[name] end
    local stats = bp.pool():get_pool_stats()
    return ("%s in_use=%d in_use_bytes=%d owned_bytes=%d\n"):format(table.concat(names, " "), stats.in_use,
        stats.in_use_bytes, stats.owned_bytes)
end

function handlers.publish()
    local buf = assert(bp.body())
    local n, message = bp.channel("live"):publish(buf)
    buf:release()
    if not n then
        ngx.status = 503
        return ngx.say(message)
    end
    ngx.print(figures())
end

function handlers.collect() collectgarbage() collectgarbage() end

function handlers.close() bp.channel("live"):close() end

-- Two light threads that wait for one subscriber's next chunk: each gets one as it comes.
function handlers.two()
    local channel = bp.channel "two"
    local sub = assert(channel:subscribe())
    local function take() return assert(sub:next(5)):tostring() end
    local threads, began = {ngx.thread.spawn(take), ngx.thread.spawn(take)}, ngx.now()
    for _, text in ipairs {"one", "two"} do
        ngx.sleep(0.05)
        channel:publish(text)
    end
    for _, thread in ipairs(threads) do
        local _, text = ngx.thread.wait(thread)
        ngx.say(text)
    end
    ngx.update_time()
    ngx.say(ngx.now() - began < 2 and "at once" or "late")
    channel:close()
end

-- Takes chunks one at a time, ?n= of them, ?nap= seconds apart.
function handlers.take()
    local request = require "resty.bytepool.request"
    local own = request.own
    -- As on an nginx that is not known.
    if ngx.var.arg_untied then request.own = function(_, buf) return buf end end
    local sub = assert(bp.channel("live"):subscribe())
    request.own = own
    ngx.print "ready\n"
    ngx.flush(true)
    for _ = 1, number "n" or math.huge do
        if number "nap" then ngx.sleep(number "nap") end
        local buf, message = sub:next(number "timeout")
        if not buf then ngx.say(message) break end
        ngx.say(buf:tostring())
        buf:release()
        if not ngx.flush(true) then return end
    end
    ngx.say("missed ", sub:missed())
end

function handlers.channel() ngx.print(figures()) end

function M.content()
    local handler = handlers[ngx.var.uri:match "^/([%w_]+)" or "hello"]
    if not handler then return ngx.exit(404) end
    return handler()
end

return M
