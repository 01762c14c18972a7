-- The row of a channel: its chunks, `first` to `last`, and the places of its subscribers in it.
--
-- A chunk goes when all that were subscribed when it came have passed it. So a publish costs the same for any number
-- of subscribers that are busy, and all queues together are as long as the longest, which the limits bound.
--
-- Private to resty.bytepool.

local kind_of = require("bytepool.core").type

local row = {}

row.closing = {} -- channels that were closed, while they have subscribers

-- The oldest chunk goes, for those too that have not seen it.
function row.drop_first(c)
    local chunk = c.chunks[c.first]
    c.chunks[c.first] = nil
    c.first = c.first + 1
    c.bytes = c.bytes - chunk.size
    c.counts.dropped = c.counts.dropped + chunk.waiting
    chunk.buf:release()
end

function row.has_room(c, size)
    local queued = c.last - c.first + 1
    return queued == 0 or queued < c.queue and c.bytes + size <= c.queue_bytes
end

function row.wake_writers(c)
    if c.writers > 0 then c.room:post(c.writers) end
    c.writers = 0
end

function row.wake(sub)
    if sub.waits > 0 then sub.awake:post(sub.waits) end
    sub.waits = 0
end

-- What nobody waits for goes.
function row.tidy(c)
    local first = c.first
    while c.first <= c.last and c.chunks[c.first].waiting == 0 do row.drop_first(c) end
    if c.first > first then row.wake_writers(c) end
end

-- From its place on nothing waits for this subscriber any more.
function row.leave(sub, why)
    if sub.ended then return end
    local c = sub.channel
    sub.ended = why
    for at = math.max(sub.place, c.first), c.last do
        local chunk = c.chunks[at]
        chunk.waiting = chunk.waiting - 1
    end
    c.subscribers[sub] = nil
    c.count = c.count - 1
    if c.count == 0 then row.closing[c] = nil end
    if kind_of(sub.life) == "buffer" then sub.life:release() end
    row.wake(sub)
    row.tidy(c)
end

-- The request may have ended without another word of its Lua code. Then a buffer that is tied to it was released; where
-- that can not be done, the collector found what the handler held.
local function is_gone(sub) return sub.lost or kind_of(sub.life) ~= "buffer" end

function row.sweep(c)
    for sub in pairs(c.subscribers) do
        if is_gone(sub) then row.leave(sub, "closed") end
    end
end

return row
