-- What the nginx of the tests does. /NAME?... calls handlers of that name; bodies are the files
-- body-N of the run's folder, which each worker holds in buffers.

local bp = require "resty.bytepool"
local bytepool = require "bytepool"
local common = require "common"
local ends = require "ends"
local send = require "resty.bytepool.send"

local LEAST = send.LEAST

local body, number, sent = common.body, common.number, common.sent

local M, handlers = {}, {}
for name, handler in pairs(ends.handlers) do handlers[name] = handler end

-- Under a sanitizer idle blocks are poisoned: who sends one after its end is caught.
local function init(name)
    local debug = os.getenv "BP_NGINX_DEBUG" ~= nil
    if not bytepool.open(name) then
        assert(bytepool.new_pools({1024, 4096, 16384, 65536, 262144, 1048576, 2097152}, {name = name, debug = debug}))
    end
    assert(bp.init(nil, name))
end

function M.init_worker()
    init "default"
    ngx.log(ngx.NOTICE, "init_worker: ", M.elsewhere "init_worker")
end
function M.init()
    init "bodies" -- in the master: each worker has a copy
    ngx.log(ngx.NOTICE, "init: ", M.elsewhere "init")
end

function handlers.hello() ngx.print("hello") end

-- One body by one send; ?length=1 tells its length.
function handlers.send()
    local buf = body()
    if ngx.var.arg_length then ngx.header.content_length = #buf end
    sent(bp.send(buf, number("i"), number("j")))
end

function handlers.print()
    local s = body():tostring()
    if ngx.var.arg_length then ngx.header.content_length = #s end
    ngx.print(s)
end

-- The same whole in pieces of ?step bytes by turns: sent, printed, flushed.
function handlers.mixed()
    local buf, step = body(), number("step", 7000)
    for at = 1, #buf, 2 * step do
        sent(bp.send(buf, at, math.min(#buf, at + step - 1)))
        local rest = buf:sub(at + step, math.min(#buf, at + 2 * step - 1))
        if rest ~= "" then ngx.print(rest) end
        if ngx.var.arg_flush then bp.flush(ngx.var.arg_flush == "wait") end
    end
end

-- In random pieces, short and long, sent or printed, with every kind of flush between them.
function handlers.pieces()
    local buf, at, state = body(), 1, number("seed", 1)
    local function random(n)
        state = state * 16807 % 2147483647
        return state % n + 1
    end
    local flushes = {bp.flush, function() bp.flush(false) end, function() ngx.flush(false) end,
        function() ngx.flush(true) end}
    while at <= #buf do
        local stop = math.min(#buf, at - 1 + random(({30, 9000, 30000, 120000})[random(4)]))
        if random(2) == 1 then sent(bp.send(buf, at, stop)) else ngx.print(buf:sub(at, stop)) end
        at = stop + 1
        local flush = flushes[random(6)]
        if flush then flush() end
    end
end

-- From slices and a buffer of the request, released at once.
function handlers.slices()
    local whole = bp.request(#body())
    whole:copy(1, body())
    local half = math.floor(#whole / 2)
    for _, part in ipairs {whole:slice(1, half), whole:slice(half + 1, -1)} do
        sent(bp.send(bp.keep(part)))
    end
    whole:release()
end

-- Only the output holds these buffers; the memory of those that are out is used again meanwhile, or
-- with ?idle=1 left, and then a sanitizer has it poisoned.
function handlers.released()
    local whole = body()
    local step = math.max(1, math.ceil(#whole / 5))
    for at = 1, #whole, step do
        local part = bp.pool():get_buffer(math.min(step, #whole - at + 1))
        part:copy(1, whole, at, at + #part - 1)
        local ok, message = bp.send(part)
        local n = #part
        part:release()
        sent(ok, message)
        if not ngx.var.arg_idle then bp.request(n):fill(255) end
        if ngx.var.arg_flush then bp.flush(ngx.var.arg_flush == "wait") end
    end
    for _ = 1, ngx.var.arg_idle and 0 or 5 do bp.request(step):fill(254) end
end

function handlers.after_flush()
    ngx.print(body():sub(1, 10))
    ngx.flush(true)
    sent(bp.send(body(), 11))
end

-- What was only sent can be flushed without waiting.
function handlers.flush_only()
    sent(bp.send(body()))
    assert(ngx.flush())
end

function handlers.headers_first()
    ngx.header["X-Test"] = "1"
    ngx.send_headers()
    sent(bp.send(body()))
    assert(ngx.flush())
end

-- After eof it tells, and sends nothing.
function handlers.eof()
    sent(bp.send(body()))
    ngx.eof()
    local ok, message = bp.send(body())
    if ok or message ~= "seen eof" then ngx.log(ngx.ERR, "after eof: ", tostring(ok), " ", tostring(message)) end
end

function handlers.capture()
    local a = ngx.location.capture("/send?n=" .. ngx.var.arg_n)
    local b = ngx.location.capture("/mixed?n=" .. ngx.var.arg_n)
    if a.body ~= b.body then return ngx.exit(500) end
    ngx.print(a.body)
end

function handlers.multi()
    local uri = "/slices?n=" .. ngx.var.arg_n
    local a, b = ngx.location.capture_multi {{uri}, {uri}}
    if a.body ~= b.body then return ngx.exit(500) end
    sent(bp.send(body()))
end

function handlers.threads()
    local buf, list = body(), {}
    for k = 1, 4 do
        list[k] = ngx.thread.spawn(function()
            local mine = bp.request(1000)
            ngx.sleep(0.001 * k)
            mine:fill(k, 1, 1000)
            return mine
        end)
    end
    for k = 1, 4 do ngx.thread.wait(list[k]) end
    sent(bp.send(buf))
end

function handlers.serve()
    local etag, kind = ngx.var.arg_etag or true, "application/x-test"
    if etag == "none" then etag = nil end
    if ngx.var.arg_type == "default" then kind = nil end
    bp.serve(body(), {
        type = kind, etag = etag,
        last_modified = number("modified"), ranges = ngx.var.arg_ranges ~= "off",
    })
end

-- What of it a page gets that is put together of parts.
function handlers.part()
    local part = ngx.location.capture("/serve?n=" .. ngx.var.arg_n)
    ngx.print(part.status, " ", #part.body)
end

-- One handle with one version's bytes after another.
function handlers.versions()
    local page = bp.request(9)
    page:set_string(1, "version 1")
    for version = 1, 3 do
        page:unshare():set_string(9, tostring(version)):freeze()
        ngx.say(require("resty.bytepool.serve").etag_of(page))
    end
end

-- ---- ways to send one shared body, for the bench -------------------------------

local strings = {}

local function tell_length() ngx.header.content_length = ngx.var.arg_n end

function handlers.bench_send()
    tell_length()
    bp.send(body())
end

function handlers.bench_print()
    local n = ngx.var.arg_n
    strings[n] = strings[n] or body():tostring()
    tell_length()
    ngx.print(strings[n])
end

function handlers.bench_dict()
    local n = ngx.var.arg_n
    local s = ngx.shared.bodies:get(n)
    if not s then
        s = body():tostring()
        ngx.shared.bodies:set(n, s)
    end
    tell_length()
    ngx.print(s)
end

-- ---- phases ---------------------------------------------------------------------

local phases = {}
function M.phase(name)
    local buf = bp.request(300)
    if name == "content" then bp.send(buf) return end
    if name:find "filter" or name == "log" then
        local ok = pcall(bp.send, buf)
        if ok then ngx.log(ngx.ERR, "sent in ", name) end
    end
    phases[name] = buf
    if name == "log" then
        for phase, b in pairs(phases) do
            if bytepool.type(b) ~= "buffer" then ngx.log(ngx.ERR, "dead in log: ", phase) end
        end
        phases = {}
    end
end

-- Phases that run Lua beside a request's: a buffer of whatever request they have.
function M.elsewhere(name)
    local ok, message = pcall(bp.request, 100)
    if not ok and not message:find("there is no request in this phase", 1, true) then
        ngx.log(ngx.ERR, name, ": ", message)
    end
    local sends = pcall(bp.send, body("100"))
    if sends then ngx.log(ngx.ERR, "sent in ", name) end
    return ok and "tied" or "no request"
end

function M.body_filter()
    local buf = bp.request(2000)
    if ngx.arg[2] then buf:release() end
end

function M.upper_filter()
    if ngx.arg[1] then ngx.arg[1] = ngx.arg[1]:upper() end
end

-- A response of any length takes no more memory than what waits for the reader.
function handlers.stream()
    local chunk = body("16384")
    for _ = 1, number("count", 1000) do
        local ok = bp.send(chunk)
        if not ok or not bp.flush(true) then return end
    end
end

-- ---- what the tests ask ------------------------------------------------------------

-- One line for this worker.
function handlers.stats()
    ends.release_late()
    local s, n = bp.pool():get_pool_stats(), bp.send_stats()
    local probe = require("bytepool.core").nginx.probe()
    local shown = {
        {"pid", ngx.worker.pid()}, {"in_use", s.in_use}, {"kept_now", n.kept_now}, {"in_flight", n.in_flight},
        {"unkept", n.unkept}, {"sent", n.sent_bytes}, {"copied", n.copied_bytes}, {"early", n.early},
        {"collected", s.collected}, {"refs", body("1048576"):ref_count()}, {"ok", probe.ok}, {"why", probe.why},
    }
    for i, pair in ipairs(shown) do shown[i] = pair[1] .. "=" .. tostring(pair[2]) end
    ngx.print(table.concat(shown, " "), "\n")
end

function M.content()
    local name = ngx.var.uri:match "^/([%w_]+)"
    local handler = handlers[name or "hello"]
    if not handler then return ngx.exit(404) end
    send.LEAST = number("least", LEAST)
    return handler()
end

return M
