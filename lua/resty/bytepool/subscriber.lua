-- What a channel's subscribers do: take the next chunk, or send all that come to the client.
--
-- Private to resty.bytepool.

local options = require "bytepool.options"
local request = require "resty.bytepool.request"
local row = require "resty.bytepool.row"
local semaphore = require "ngx.semaphore"

local ngx = ngx

local LONG = 60 -- seconds of one wait where there is no limit to it: then it is looked whether to go on

--- What channel:subscribe() gives: {sub = what the channel holds, held = tells when it is garbage}.
---@class bytepool.Subscriber
local subscriber = {}
subscriber.__index = subscriber

local function check_self(method, self)
    if getmetatable(self) ~= subscriber then
        error(("%s: self must be a subscriber, got %s"):format(method, type(self)), 3)
    end
end

-- The next chunk that is there; nil.
local function look(sub)
    local c = sub.channel
    if sub.place < c.first then
        sub.dropped = sub.dropped + (c.first - sub.place)
        sub.place = c.first
    end
    return c.chunks[sub.place]
end

-- The chunk that look gave was taken.
local function pass(sub, chunk)
    local c = sub.channel
    sub.place = sub.place + 1
    chunk.waiting = chunk.waiting - 1
    c.counts.delivered = c.counts.delivered + 1
    c.counts.delivered_bytes = c.counts.delivered_bytes + chunk.size
    row.tidy(c)
end

-- A chunk, or nil and "timeout", "closed" or "dropped".
local function await(sub, seconds)
    local until_when = seconds and ngx.now() + seconds
    while true do
        local chunk = not sub.ended and look(sub)
        if chunk then return chunk end
        if sub.ended then return nil, sub.ended end
        if sub.channel.closed then
            row.leave(sub, "closed")
            return nil, "closed"
        end
        local left = LONG
        if until_when then
            ngx.update_time()
            left = until_when - ngx.now()
            if left <= 0 then return nil, "timeout" end
        end
        sub.waits = sub.waits + 1 -- threads of its request that wait
        local woken, why = sub.awake:wait(math.min(left, LONG))
        if not woken then
            sub.waits = math.max(sub.waits - 1, 0)
            if why ~= "timeout" then return nil, why end
        end
    end
end

local function check_seconds(method, name, seconds)
    if seconds ~= nil and not (type(seconds) == "number" and seconds >= 0 and seconds < math.huge) then
        error(("%s: argument '%s' must be a number of seconds, got %s"):format(method, name,
            options.show(seconds, true)), 3)
    end
end

--- The next chunk, a handle of the caller's own: release it when it is used; the end of the request does it else.
---@param timeout? number seconds; default: no limit
---@return bytepool.Buffer|nil buf frozen
---@return string? message "timeout"; "closed" of a channel that was closed and has no more for this one; "dropped" of
--- a subscriber that was too slow for its channel; in a finalizer, see `request`
function subscriber:next(timeout)
    check_self("next", self)
    check_seconds("next", "timeout", timeout)
    local chunk, why = await(self.sub, timeout)
    if not chunk then return nil, why end
    local buf, message = request.own("next", chunk.buf:share())
    if buf then pass(self.sub, chunk) end
    return buf, message
end

--- Sends chunks to the client as they come, each when the one before it is out: for a handler that does no more than
-- that. Header fields are the handler's, to be set before. Returns when the client has gone, the channel was closed,
-- this subscriber was dropped, or nothing came for so long.
---@param timeout? number seconds without a chunk after which it ends; default: no limit
---@return boolean|nil ok true where the channel was closed and all was sent
---@return string? message "timeout", "dropped", or why the client can not be sent to
function subscriber:stream(timeout)
    check_self("stream", self)
    check_seconds("stream", "timeout", timeout)
    local send = require "resty.bytepool.send"
    ngx.send_headers() -- before there is anything to say
    ngx.flush(true)
    while true do
        local chunk, why = await(self.sub, timeout)
        if not chunk then
            self:close()
            if why == "closed" then return true end
            return nil, why
        end
        local buf = chunk.buf
        local sent, fault = send.send(buf)
        pass(self.sub, chunk) -- what is on its way is held by the response
        if sent then sent, fault = send.flush(true) end
        if not sent then
            self:close()
            return nil, fault
        end
    end
end

--- How many chunks it missed for being slow.
---@return integer
function subscriber:missed()
    check_self("missed", self)
    return self.sub.dropped
end

--- Ends the subscription. Happens by itself when its request ends.
function subscriber:close()
    check_self("close", self)
    row.leave(self.sub, "closed")
end

-- The request that runs, as a subscriber of channel c, whose buffer `life` tells when the request has ended.
---@return bytepool.Subscriber|nil sub
---@return string? message
local function new(c, life)
    local awake, why = semaphore.new()
    if not awake then return nil, why end
    local tied
    tied, why = request.own("subscribe", life:share())
    if not tied then return nil, why end
    local sub = {channel = c, place = c.last + 1, awake = awake, waits = 0, dropped = 0, life = tied}
    c.subscribers[sub] = true
    c.count = c.count + 1
    local held = newproxy(true)
    getmetatable(held).__gc = function() sub.lost = true end
    return setmetatable({sub = sub, held = held}, subscriber)
end

return {class = subscriber, new = new}
