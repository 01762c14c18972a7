-- Channels: one buffer for all who are to get it.
--
-- A channel keeps one row of chunks (row.lua), and a subscriber is a place in it (subscriber.lua).
--
-- Private to resty.bytepool.

local core = require "bytepool.core"
local options = require "bytepool.options"
local request = require "resty.bytepool.request"
local row = require "resty.bytepool.row"
local semaphore = require "ngx.semaphore"
local subscriber = require "resty.bytepool.subscriber"
local worker = require "resty.bytepool.worker"

local ngx = ngx
local kind_of = core.type

local channels = {} -- by name

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

--- What bp.channel gives.
---@class bytepool.Channel
local channel = {}
channel.__index = channel

local function check_self(method, self)
    if getmetatable(self) ~= channel then
        error(("%s: self must be a channel, got %s"):format(method, kind_of(self) or type(self)), 3)
    end
end

-- The publisher waits, in turns: of a subscriber that has gone nobody may tell. Another policy ends it as room does.
local function await_room(c, size)
    ngx.update_time()
    local began = ngx.now()
    while c.policy == "wait" and not row.has_room(c, size) and not c.closed do
        local left = began + c.timeout - ngx.now()
        if left <= 0 then
            c.counts.timeouts = c.counts.timeouts + 1
            return nil, "timeout"
        end
        c.writers = c.writers + 1
        local woken, why = c.room:wait(math.min(left, 1))
        if not woken then
            c.writers = math.max(c.writers - 1, 0)
            if why ~= "timeout" then return nil, why end
            row.sweep(c)
        end
        ngx.update_time()
    end
    return not c.closed, "closed"
end

-- In the worker's default pool.
local function from_string(s)
    local pool, message = worker.pool()
    if not pool then return nil, message end
    return pool:from_string(s)
end

-- Those for whom the oldest chunk waits.
local function drop_slowest(c)
    local first = c.first
    for sub in pairs(c.subscribers) do
        if sub.place <= first then
            c.counts.dropped_subscribers = c.counts.dropped_subscribers + 1
            row.leave(sub, "dropped")
        end
    end
end

-- Meanwhile the publisher's request may be ended, so the buffer is the request's.
local function wait_for_room(c, buf, size)
    local tied, message = request.own("publish", buf)
    if not tied then return nil, message end
    local room
    room, message = await_room(c, size)
    local own = room and buf:share() or nil
    buf:release()
    return own, message
end

-- Makes room for a buffer by the channel's policy, and gives it back; nil and a message, and the buffer released, where
-- there is none in time.
local function make_room(c, buf, size)
    if c.policy == "wait" then
        local message
        buf, message = wait_for_room(c, buf, size)
        if not buf then return nil, message end
    end
    local drop = c.policy == "drop_subscriber" and drop_slowest or row.drop_first
    while not row.has_room(c, size) do drop(c) end
    return buf
end

--- Gives a chunk to all who are subscribed now. The channel takes a reference of its own and freezes the buffer, the
-- caller's stays the caller's.
---@param chunk bytepool.Buffer|string a string is copied to a buffer of the worker's default pool
---@return integer|nil subscribers
---@return string? message "closed"; of the policy "wait" "timeout", or why it can not wait; no memory for the string
function channel:publish(chunk)
    check_self("publish", self)
    local buf, message
    if type(chunk) == "string" then
        buf, message = from_string(chunk)
        if not buf then return nil, message end
    elseif kind_of(chunk) == "buffer" then
        buf = chunk:share()
    else
        error(("publish: argument 'chunk' must be a bytepool buffer or a string, got %s"):format(
            kind_of(chunk) or type(chunk)), 2)
    end
    buf:freeze()
    if self.closed then
        buf:release()
        return nil, "closed"
    end
    row.sweep(self)
    local counts, size = self.counts, #buf
    if not row.has_room(self, size) then
        buf, message = make_room(self, buf, size)
        if not buf then return nil, message end
    end
    counts.published, counts.published_bytes = counts.published + 1, counts.published_bytes + size
    if self.count == 0 then
        buf:release()
        return 0
    end
    self.last = self.last + 1
    self.chunks[self.last] = {buf = buf, size = size, waiting = self.count}
    self.bytes = self.bytes + size
    for sub in pairs(self.subscribers) do row.wake(sub) end
    return self.count
end

--- Subscribes the request that runs: it gets what is published from now on.
---@return bytepool.Subscriber|nil sub
---@return string? message "closed", no memory, or in a finalizer, see `request`
function channel:subscribe()
    check_self("subscribe", self)
    if self.closed then return nil, "closed" end
    if not self.life then
        local life, message = from_string ""
        if not life then return nil, message end
        self.life = life
    end
    return subscriber.new(self, self.life)
end

--- Ends the channel: subscribers get what they have not got yet, and then "closed". The name is free again.
function channel:close()
    check_self("close", self)
    if self.closed then return end
    self.closed = true
    if channels[self.name] == self then channels[self.name] = nil end
    if self.count > 0 then row.closing[self] = true end
    for sub in pairs(self.subscribers) do row.wake(sub) end
    if self.life then self.life:release() end
    self.life = nil
    row.wake_writers(self)
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
    check_self("stats", self)
    row.sweep(self)
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
local module = {classes = {Channel = channel, Subscriber = subscriber.class}}

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
            name = name, chunks = {}, first = 1, last = 0, bytes = 0, subscribers = {}, count = 0, writers = 0,
            room = assert(semaphore.new()),
            counts = counts_of(name),
        }, channel)
        channels[name] = c
    end
    c.queue, c.queue_bytes = values.queue, values.queue_bytes or math.huge
    c.policy, c.timeout = values.policy, values.timeout
    row.tidy(c)
    row.wake_writers(c) -- who waits by what was before
    return c
end

-- Ends subscribers whose request has ended; the timer calls it.
function module.sweep()
    for _, c in pairs(channels) do row.sweep(c) end
    for c in pairs(row.closing) do row.sweep(c) end
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
    for _, list in ipairs {channels, row.closing} do
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
