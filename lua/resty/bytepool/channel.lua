-- Channels: one buffer for all who are to get it.
--
-- A channel keeps one row of chunks, `first` to `last`, and a subscriber is a place in it. A chunk goes when all that
-- were subscribed when it came have passed it. So a publish costs the same for any number of subscribers that are
-- busy, and all queues together are as long as the longest, which the limits bound.
--
-- Private to resty.bytepool.

local core = require "bytepool.core"
local options = require "bytepool.options"
local request = require "resty.bytepool.request"
local semaphore = require "ngx.semaphore"
local worker = require "resty.bytepool.worker"

local ngx = ngx
local kind_of = core.type

local LONG = 60 -- seconds of one wait where there is no limit to it: then it is looked whether to go on

local channels = {} -- by name
local closing = {}  -- those that were closed, while they have subscribers

-- What channels of a name counted, also those that were closed: a counter does not fall.
local counted, counted_names = {}, 0
local MOST_NAMES, OTHERS = 1000, "(others)"

local function counts_of(name)
    if not counted[name] and counted_names >= MOST_NAMES then name = OTHERS end
    if not counted[name] then
        counted_names = counted_names + 1
        counted[name] = {published = 0, published_bytes = 0, delivered = 0, delivered_bytes = 0, dropped = 0,
            dropped_subscribers = 0, timeouts = 0}
    end
    return counted[name]
end

-- ---- the row -----------------------------------------------------------------------

-- The oldest chunk goes, for those too that have not seen it.
local function drop_first(c)
    local chunk = c.row[c.first]
    c.row[c.first] = nil
    c.first = c.first + 1
    c.bytes = c.bytes - chunk.size
    c.counts.dropped = c.counts.dropped + chunk.waiting
    chunk.buf:release()
end

local function has_room(c, size)
    local queued = c.last - c.first + 1
    return queued == 0 or queued < c.queue and c.bytes + size <= c.queue_bytes
end

local function wake_writers(c)
    if c.writers > 0 then c.room:post(c.writers) end
    c.writers = 0
end

local function wake(sub)
    if sub.waits then sub.awake:post(1) end
    sub.waits = false
end

-- What nobody waits for goes.
local function tidy(c)
    local first = c.first
    while c.first <= c.last and c.row[c.first].waiting == 0 do drop_first(c) end
    if c.first > first then wake_writers(c) end
end

-- From its place on nothing waits for this subscriber any more.
local function leave(sub, why)
    if sub.ended then return end
    local c = sub.channel
    sub.ended = why
    for at = math.max(sub.place, c.first), c.last do
        local chunk = c.row[at]
        chunk.waiting = chunk.waiting - 1
    end
    c.subscribers[sub] = nil
    c.count = c.count - 1
    if c.count == 0 then closing[c] = nil end
    if kind_of(sub.life) == "buffer" then sub.life:release() end
    wake(sub)
    tidy(c)
end

-- The request may have ended without another word of its Lua code. Then a buffer that is tied to it was released; where
-- that can not be done, the collector found what the handler held.
local function is_gone(sub) return sub.lost or kind_of(sub.life) ~= "buffer" end

local function sweep(c)
    for sub in pairs(c.subscribers) do
        if is_gone(sub) then leave(sub, "closed") end
    end
end

-- ---- subscribers -------------------------------------------------------------------

--- What channel:subscribe() gives: {sub = what the channel holds, held = tells when it is garbage}.
---@class bytepool.Subscriber
local subscriber = {}
subscriber.__index = subscriber

-- The next chunk that is there; nil.
local function look(sub)
    local c = sub.channel
    if sub.place < c.first then
        sub.dropped = sub.dropped + (c.first - sub.place)
        sub.place = c.first
    end
    return c.row[sub.place]
end

-- The chunk that look gave was taken.
local function pass(sub, chunk)
    local c = sub.channel
    sub.place = sub.place + 1
    chunk.waiting = chunk.waiting - 1
    c.counts.delivered = c.counts.delivered + 1
    c.counts.delivered_bytes = c.counts.delivered_bytes + chunk.size
    tidy(c)
end

-- A chunk, or nil and "timeout", "closed" or "dropped".
local function await(sub, seconds)
    local until_when = seconds and ngx.now() + seconds
    while true do
        local chunk = not sub.ended and look(sub)
        if chunk then return chunk end
        if sub.ended then return nil, sub.ended end
        if sub.channel.closed then
            leave(sub, "closed")
            return nil, "closed"
        end
        local left = LONG
        if until_when then
            ngx.update_time()
            left = until_when - ngx.now()
            if left <= 0 then return nil, "timeout" end
        end
        sub.waits = true
        local woken, why = sub.awake:wait(math.min(left, LONG))
        sub.waits = false
        if not woken and why ~= "timeout" then return nil, why end
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
--- a subscriber that was too slow for its channel
function subscriber:next(timeout)
    check_seconds("next", "timeout", timeout)
    local chunk, why = await(self.sub, timeout)
    if not chunk then return nil, why end
    local buf = request.keep(chunk.buf:share())
    pass(self.sub, chunk)
    return buf
end

--- Sends chunks to the client as they come, each when the one before it is out: for a handler that does no more than
-- that. Header fields are the handler's, to be set before. Returns when the client has gone, the channel was closed,
-- this subscriber was dropped, or nothing came for so long.
---@param timeout? number seconds without a chunk after which it ends; default: no limit
---@return boolean|nil ok true where the channel was closed and all was sent
---@return string? message "timeout", "dropped", or why the client can not be sent to
function subscriber:stream(timeout)
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
function subscriber:missed() return self.sub.dropped end

--- Ends the subscription. Happens by itself when its request ends.
function subscriber:close() leave(self.sub, "closed") end

-- ---- channels ----------------------------------------------------------------------

--- What bp.channel gives.
---@class bytepool.Channel
local channel = {}
channel.__index = channel

-- The publisher waits, in turns: of a subscriber that has gone nobody may tell.
local function wait_for_room(c, size)
    ngx.update_time()
    local until_when = ngx.now() + c.timeout
    while not has_room(c, size) and not c.closed do
        local left = until_when - ngx.now()
        if left <= 0 then
            c.counts.timeouts = c.counts.timeouts + 1
            return nil, "timeout"
        end
        c.writers = c.writers + 1
        local woken, why = c.room:wait(math.min(left, 1))
        if not woken then
            c.writers = math.max(c.writers - 1, 0)
            if why ~= "timeout" then return nil, why end
            sweep(c)
        end
        ngx.update_time()
    end
    return not c.closed, "closed"
end

-- Those for whom the oldest chunk waits.
local function drop_slowest(c)
    local first = c.first
    for sub in pairs(c.subscribers) do
        if sub.place <= first then
            c.counts.dropped_subscribers = c.counts.dropped_subscribers + 1
            leave(sub, "dropped")
        end
    end
end

-- Makes room by the channel's policy; false and a message where there is none in time.
local function make_room(c, size)
    if has_room(c, size) then return true end
    sweep(c)
    if c.policy == "wait" then return wait_for_room(c, size) end
    local drop = c.policy == "drop_subscriber" and drop_slowest or drop_first
    while not has_room(c, size) do drop(c) end
    return true
end

--- Gives a chunk to all who are subscribed now. The channel takes a reference of its own and freezes the buffer, the
-- caller's stays the caller's.
---@param chunk bytepool.Buffer|string a string is copied to a buffer of the worker's default pool
---@return integer|nil subscribers
---@return string? message "closed"; of the policy "wait" "timeout"; no memory for the string
function channel:publish(chunk)
    local buf, message
    if type(chunk) == "string" then
        local pool = worker.pool()
        buf, message = pool:from_string(chunk)
        if not buf then return nil, message end
    elseif kind_of(chunk) == "buffer" then
        buf = chunk:share()
    else
        error(("publish: argument 'chunk' must be a bytepool buffer or a string, got %s"):format(
            kind_of(chunk) or type(chunk)), 2)
    end
    buf:freeze()
    local counts, size, room = self.counts, #buf, not self.closed
    message = "closed"
    if room and not has_room(self, size) then
        request.keep(buf) -- while the publisher waits it may be ended
        room, message = make_room(self, size)
        local own = buf:share()
        buf:release()
        buf = own
    end
    if not room then
        buf:release()
        return nil, message
    end
    counts.published, counts.published_bytes = counts.published + 1, counts.published_bytes + size
    if self.count == 0 then
        buf:release()
        return 0
    end
    self.last = self.last + 1
    self.row[self.last] = {buf = buf, size = size, waiting = self.count}
    self.bytes = self.bytes + size
    for sub in pairs(self.subscribers) do wake(sub) end
    return self.count
end

--- Subscribes the request that runs: it gets what is published from now on.
---@return bytepool.Subscriber|nil sub
---@return string? message "closed"
function channel:subscribe()
    if self.closed then return nil, "closed" end
    local awake, why = semaphore.new()
    if not awake then return nil, why end
    local sub = {channel = self, place = self.last + 1, awake = awake, waits = false, dropped = 0}
    self.life = self.life or worker.pool():from_string ""
    sub.life = request.keep(self.life:share())
    self.subscribers[sub] = true
    self.count = self.count + 1
    local held = newproxy(true)
    getmetatable(held).__gc = function() sub.lost = true end
    return setmetatable({sub = sub, held = held}, subscriber)
end

--- Ends the channel: subscribers get what they have not got yet, and then "closed". The name is free again.
function channel:close()
    if self.closed then return end
    self.closed = true
    if channels[self.name] == self then channels[self.name] = nil end
    if self.count > 0 then closing[self] = true end
    for sub in pairs(self.subscribers) do wake(sub) end
    if self.life then self.life:release() end
    self.life = nil
    wake_writers(self)
end

--- What Channel:stats() says: counts of all channels of its name that the worker had, and what is now.
---@class bytepool.ChannelStats
---@field published integer chunks
---@field published_bytes integer
---@field delivered integer chunks, by subscriber
---@field delivered_bytes integer
---@field dropped integer chunks that a slow subscriber missed, by subscriber
---@field dropped_subscribers integer
---@field timeouts integer publishes that found no room in time
---@field subscribers integer now
---@field queued integer chunks that somebody waits for
---@field queued_bytes integer

--- Counts of the name, also before this channel was made anew, and what is now.
---@return bytepool.ChannelStats
function channel:stats()
    sweep(self)
    local stats = {}
    for name, count in pairs(self.counts) do stats[name] = count end
    stats.subscribers, stats.queued, stats.queued_bytes = self.count, self.last - self.first + 1, self.bytes
    return stats
end

-- ---- what the module has -------------------------------------------------------------

local schema = {
    queue = {type = "integer", min = 1, max = 1000000, default = 64},
    queue_bytes = {type = "size", min = 1, max = core.max_size},
    policy = {type = "enum", values = {"drop_oldest", "drop_subscriber", "wait"}, default = "drop_oldest"},
    timeout = {type = "duration", max = 86400, default = 10},
}

---@class resty.bytepool
local module = {classes = {Channel = channel, Subscriber = subscriber}}

--- The worker's channel of a name, made where there is none. A publisher gives it chunks, and every subscriber gets
-- all of them from when it subscribed, the same buffer all. Publisher and subscribers meet in one worker only: with
-- several, all of a channel's requests must come to the same. With lua_code_cache off they do not meet.
--
-- A subscriber that is slow has at most `queue` chunks waiting, or fewer where they are `queue_bytes` together. Then,
-- by `policy`, it misses the oldest ("drop_oldest"), its subscription ends ("drop_subscriber"), or the
-- publisher waits for it, at most `timeout` seconds ("wait"; in phases that can wait). So the memory of
-- a channel is that of one queue, and for each subscriber the chunk that is on its way.
---@param name string
---@param given? {queue?: integer, queue_bytes?: bytepool.Size, policy?: string, timeout?: number|string} for a channel
--- that is there, they replace what it had: default 64 chunks, no limit of bytes, "drop_oldest", 10 seconds
---@return bytepool.Channel
function module.channel(name, given)
    if type(name) ~= "string" or name == "" then
        error("channel: argument 'name' must be a non-empty string, got " .. options.show(name, true), 2)
    end
    local c = channels[name]
    if c and given == nil then return c end
    local values, fault = options.check("channel", given, schema)
    if not values then error(fault, 2) end
    if not c then
        c = setmetatable({
            name = name, row = {}, first = 1, last = 0, bytes = 0, subscribers = {}, count = 0, writers = 0,
            room = assert(semaphore.new()),
            counts = counts_of(name),
        }, channel)
        channels[name] = c
    end
    c.queue, c.queue_bytes = values.queue, values.queue_bytes or math.huge
    c.policy, c.timeout = values.policy, values.timeout
    tidy(c)
    return c
end

-- Ends subscribers whose request has ended; the timer calls it.
function module.sweep()
    for _, c in pairs(channels) do sweep(c) end
    for c in pairs(closing) do sweep(c) end
end

-- For a worker that shuts down: who subscribes again comes to another, where the publishers are.
function module.close_all()
    for _, c in pairs(channels) do c:close() end
end

-- What all channels of this Lua state counted and have now, by name; beyond so many names in one sum.
function module.channel_stats()
    local all = {}
    for name, counts in pairs(counted) do
        local stats = {subscribers = 0, queued = 0, queued_bytes = 0}
        for key, count in pairs(counts) do stats[key] = count end
        all[name] = stats
    end
    for _, list in ipairs {channels, closing} do
        for key, value in pairs(list) do
            local c = value == true and key or value
            local stats, now = all[counted[c.name] and c.name or OTHERS], c:stats()
            stats.subscribers = stats.subscribers + now.subscribers
            stats.queued, stats.queued_bytes = stats.queued + now.queued, stats.queued_bytes + now.queued_bytes
        end
    end
    return all
end

return module
