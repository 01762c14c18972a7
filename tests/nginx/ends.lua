-- Handlers of the tests' nginx: every way in which a request with buffers ends, and what can be tied to one.

local bp = require "resty.bytepool"
local bytepool = require "bytepool"
local common = require "common"

local body, number, sent = common.body, common.number, common.sent

local handlers = {}
local late -- retained past its request

-- ---- ends of requests ----------------------------------------------------------

-- Some of everything that is to go with the request.
local function burden()
    for _ = 1, 3 do bp.request(5000):fill(1) end
    local kept = bp.keep(bp.pool():get_buffer(100))
    local passed = bp.request(70000)
    ngx.ctx.buf = kept
    return passed
end

function handlers.normal()
    local buf = burden()
    buf:fill(65)
    bp.send(buf)
end

function handlers.fail() burden() error "planted error" end
function handlers.fail_late() bp.send(burden()) error "planted error" end
function handlers.exit() burden() ngx.exit(503) end
function handlers.exec() burden() ngx.exec("/normal") end
function handlers.redirect() burden() ngx.redirect("/hello") end
function handlers.sleep() bp.send(burden()) ngx.flush(true) ngx.sleep(number("t", 0.05)) bp.send(burden()) end

-- More than a socket takes: the client may go while it waits.
function handlers.stall()
    bp.send(burden())
    for _ = 1, 4 do
        local buf = bp.request(1048576)
        bp.send(buf)
        if not ngx.flush(true) then return end
    end
end

function handlers.timer()
    burden()
    ngx.timer.at(0, function()
        local buf = burden()
        if #buf ~= 70000 then ngx.log(ngx.ERR, "timer") end
    end)
    ngx.print("timer")
end

function handlers.thread_error()
    burden()
    ngx.thread.spawn(function() burden() ngx.sleep(10) end)
    ngx.thread.spawn(function() burden() error "planted error" end)
    ngx.sleep(0.01)
    bp.send(burden())
    ngx.exit(200)
end

function handlers.on_abort()
    burden()
    ngx.on_abort(function() burden() ngx.exit(499) end)
    ngx.sleep(0.2)
    bp.send(burden())
end

-- One request's buffer is dead after it, and another's is not; whoever retained it goes on.
function handlers.retained()
    local buf = bp.request(100)
    buf:fill(82)
    if late then
        local first = late
        late = nil
        if #first ~= 100 or first:byte(1) ~= 82 then ngx.log(ngx.ERR, "retained") end
        first:release()
        if pcall(first.byte, first, 1) then ngx.log(ngx.ERR, "still alive") end
    else
        late = buf:retain()
    end
    ngx.print("ok")
end

local dead
function handlers.dead()
    if dead then
        local ok, message = pcall(dead.byte, dead, 1)
        if ok or not message:find("already released", 1, true) then ngx.log(ngx.ERR, "dead: ", tostring(message)) end
    end
    dead = bp.request(100)
    ngx.print("ok")
end

-- ---- ties, one by one -------------------------------------------------------------

local function refuses(text, fn, ...)
    local ok, message = pcall(fn, ...)
    if ok or not tostring(message):find(text, 1, true) then
        error(("wanted an error with '%s', got %s"):format(text, tostring(message)), 2)
    end
end

local tied_elsewhere

function handlers.ties()
    local pool = bp.pool()
    -- Twice is once; a release before the end is one; append moves the block, not the tie.
    local buf = pool:builder()
    bp.keep(bp.keep(buf)):put(("x"):rep(3000)):put(("y"):rep(100000))
    bp.keep(pool:get_buffer(10)):release()
    -- More references than the tie's: two go here, one by the tie.
    bp.keep(pool:get_buffer(10)):retain():retain():release()
    bp.request(10):retain():release()
    -- Other handles on the same bytes, each tied; and one that is not.
    local whole = bp.request(1000)
    bp.keep(whole:slice(1, 10))
    bp.keep(whole:share())
    local other = whole:share()
    whole:release()
    other:release()
    -- A handle whose finalizer is faster.
    for _ = 1, 100 do bp.request(100) end
    collectgarbage()
    collectgarbage()
    refuses("already released", bp.keep, other)
    refuses("must be a bytepool buffer", bp.keep, "x")
    refuses("must be a bytepool buffer", bp.send, "x")
    refuses("already released", bp.send, other)
    refuses("are not in length", bp.send, buf, 1, 103001)
    refuses("must be a whole number", bp.send, buf, 1.5)
    refuses("must be a bytepool buffer", bp.serve, nil)
    refuses("etag", bp.serve, buf, {etag = 'a"b'})
    refuses("unknown", bp.serve, buf, {tpye = "x"})
    if bytepool.type(tied_elsewhere) ~= "buffer" then -- or that request has gone
        tied_elsewhere = buf
        ngx.sleep(0.05)
        tied_elsewhere = nil
    else
        refuses("tied to another request", bp.keep, tied_elsewhere)
    end
    sent(bp.send(buf))
    refuses("frozen", buf.put, buf, "z")
    refuses("frozen", buf.set, buf, 1, 1)
    ngx.print ""
end

-- A coroutine of one request that another would resume: the Lua module refuses.
local astray
function handlers.astray()
    if astray then
        pcall(astray)
        astray = nil
    else
        astray = coroutine.wrap(function()
            coroutine.yield()
            bp.request(100)
        end)
        astray()
    end
    ngx.print "ok"
end

-- Collections in the middle of everything. What a finalizer saw that was wrong; it must not raise.
local astonished
function handlers.collect()
    local n = 0
    local function trap()
        n = n + 1
        local p = newproxy(true)
        getmetatable(p).__gc = function()
            bp.pool():get_buffer(50):release()
            local buf, why = bp.request(50)
            local kept, why_not = bp.keep(body("1048576"))
            if buf or kept or not (why .. why_not):find("request: not in a finalizer.*keep: not in a finalizer") then
                astonished = "a finalizer tied a buffer"
            end
            if n < 200 then trap() end
        end
    end
    trap()
    collectgarbage "setpause"
    for _ = 1, 20 do
        local buf = bp.request(20000)
        buf:fill(66)
        sent(bp.send(buf))
        collectgarbage "step"
    end
    if astonished then error(astonished) end
end

return {
    handlers = handlers,
    release_late = function() late = late and late:release() end,
}
