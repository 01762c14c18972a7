--- Fan-out: one reader, four consumers of different speeds, no copies between them.
--
--     fanout.lua [FILE]
--
-- The reader takes a file chunk by chunk into buffers from a pool and hands every
-- chunk to every consumer. Nobody knows who will be the last to need a chunk, and
-- nobody has to: each consumer owns a handle, releases it when done, and the pool
-- takes the memory back with the last release.
--
-- At the end each consumer's digest is compared with one of the file itself, and
-- the pool's counters must balance. Exit status: 0, or 1 when something is wrong.

local bytepool = require "bytepool"

local KIB = 1024
local CHUNK_SIZES = {1 * KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 3000, 50000} -- in turn
local QUEUE_LIMIT = 8   -- chunks that wait for one consumer; then the reader waits
local WINDOW = 4        -- chunks that the "replay" consumer keeps
local DEFAULT_FILES = {"/usr/bin/perl", "/bin/bash", "/usr/bin/make"}

local function fail(message)
    io.stderr:write("fanout: ", message, "\n")
    os.exit(1)
end

-- ---- the digest: every byte counts, and so does its place -------------------

-- h stays below 2^32, so h * 257 + byte stays below 2^41: exact in a double.
-- Strings and buffers both answer :byte(i), so this serves both.
local function digest(h, bytes)
    for i = 1, #bytes do
        h = (h * 257 + bytes:byte(i)) % 4294967291
    end
    return h
end

-- Where method calls compile to machine code a buffer is read in place. Other
-- Luas pay for each call, and are quicker with a copy of a piece as a string.
local function digest_buffer(h, buffer)
    if bytepool.ffi_bodies then return digest(h, buffer) end
    for i = 1, #buffer, 4 * KIB do
        h = digest(h, buffer:sub(i, i + 4 * KIB - 1))
    end
    return h
end

-- ---- consumers: three ways to own a chunk -----------------------------------

-- The plain way: look, then let go.
local function look(consumer, chunk)
    consumer:see(chunk)
    chunk:release()
end

-- Two references on one handle: one for the work now, one for a window of the
-- last chunks, kept for listeners who come late.
local function look_and_keep(consumer, chunk)
    chunk:retain()
    consumer:see(chunk)
    chunk:release()
    table.insert(consumer.window, chunk)
    if #consumer.window > WINDOW then table.remove(consumer.window, 1):release() end
end

-- bytes() gives a handle and the function that lets go of it, in the form that
-- code with a completion callback wants.
local function send(consumer, chunk)
    local view, on_sent = chunk:bytes()
    chunk:release() -- the view has a reference of its own
    coroutine.yield() -- the network is slow
    consumer:see(view)
    on_sent()
end

local Consumer = {}
Consumer.__index = Consumer

-- `pause`: rounds of rest after each chunk; this is what makes a consumer slow.
local function new_consumer(name, pause, handle)
    local consumer = setmetatable({
        name = name, pause = pause, handle = handle,
        queue = {}, window = {}, chunks = 0, bytes = 0, digest = 0,
    }, Consumer)
    consumer.step = coroutine.wrap(function() consumer:run() end)
    return consumer
end

function Consumer:see(buffer)
    self.digest = digest_buffer(self.digest, buffer)
    self.bytes = self.bytes + #buffer
end

-- Runs as a coroutine: one step a round, until the reader has ended and the
-- queue is empty.
function Consumer:run()
    while #self.queue > 0 or not self.input_ended do
        local chunk = table.remove(self.queue, 1)
        if chunk then
            self:handle(chunk)
            self.chunks = self.chunks + 1
            for _ = 1, self.pause do coroutine.yield() end
        end
        coroutine.yield()
    end
    for _, chunk in ipairs(self.window) do chunk:release() end
    self.finished = true
end

-- ---- the reader -------------------------------------------------------------

local function any_queue_full(consumers)
    for _, consumer in ipairs(consumers) do
        if #consumer.queue >= QUEUE_LIMIT then return true end
    end
    return false
end

-- Reads the next chunk and hands it to everybody. False at the end of the file.
local function read_and_share(pool, file, size, consumers)
    local data, problem = file:read(size)
    if not data then
        if problem then fail("cannot read the file: " .. problem) end
        return false
    end
    local chunk, message = pool:from_string(data)
    if not chunk then fail(message) end
    for _, consumer in ipairs(consumers) do
        table.insert(consumer.queue, chunk:share()) -- a handle of its own for each
    end
    chunk:release() -- the reader is done with it; the consumers are not
    return true
end

-- ---- progress ---------------------------------------------------------------

local function is_terminal()
    local status = os.execute("test -t 1")
    return status == true or status == 0 -- Lua 5.1 gives the number
end

-- Returns a function that shows how far the slowest consumer has come: on a
-- terminal in place, elsewhere a line every 10 %.
local function new_progress(pool, consumers, file_size)
    local terminal = is_terminal()
    local step, shown = terminal and 1 or 10, -1
    return function(chunks_read)
        local bytes, chunks = math.huge, math.huge
        for _, consumer in ipairs(consumers) do
            bytes = math.min(bytes, consumer.bytes)
            chunks = math.min(chunks, consumer.chunks)
        end
        local percent = file_size > 0 and math.min(100, math.floor(100 * bytes / file_size)) or 100
        percent = percent - percent % step
        if percent == shown then return end
        shown = percent
        io.write(("%s%3d %%  %4d chunks read, %2d in flight, pool in_use = %2d%s"):format(
            terminal and "\r" or "", percent, chunks_read, chunks_read - chunks,
            pool:get_pool_stats().in_use, terminal and "  " or "\n"))
        if terminal and percent == 100 then io.write("\n") end
        io.flush()
    end
end

-- ---- the whole run ----------------------------------------------------------

local function choose_file(wanted)
    if wanted then return wanted end
    for _, path in ipairs(DEFAULT_FILES) do
        local file = io.open(path, "rb")
        if file then
            file:close()
            return path
        end
    end
    return arg[0]
end

local function open(path)
    local file, problem = io.open(path, "rb")
    if not file then fail("cannot open " .. problem) end
    -- A directory opens like a file, and fails at the first read.
    local _, unreadable = file:read(0)
    if unreadable then fail(("cannot read %s: %s"):format(path, unreadable)) end
    return file
end

-- The truth to compare with: the same file once more, without any pool.
local function digest_of_file(path)
    local file, h, bytes = open(path), 0, 0
    while true do
        local data = file:read(64 * KIB)
        if not data then break end
        h, bytes = digest(h, data), bytes + #data
    end
    file:close()
    return h, bytes
end

local function fan_out(pool, file, file_size, consumers)
    local progress = new_progress(pool, consumers, file_size)
    local chunks_read, reading, working = 0, true, true
    while working do
        if reading and not any_queue_full(consumers) then
            local size = CHUNK_SIZES[chunks_read % #CHUNK_SIZES + 1]
            reading = read_and_share(pool, file, size, consumers)
            if reading then chunks_read = chunks_read + 1 end
        end
        working = false
        for _, consumer in ipairs(consumers) do
            consumer.input_ended = not reading
            if not consumer.finished then
                consumer.step()
                working = true
            end
        end
        progress(chunks_read)
    end
end

-- Prints the table of consumers; returns how many saw something else than the file.
local function compare(consumers, path)
    local true_digest, true_bytes = digest_of_file(path)
    local wrong = 0
    local row = "%-10s %12s  %-8s  %s\n"
    io.write("\n", row:format("consumer", "bytes", "digest", ""))
    for _, consumer in ipairs(consumers) do
        local same = consumer.digest == true_digest and consumer.bytes == true_bytes
        if not same then wrong = wrong + 1 end
        io.write(row:format(consumer.name, ("%.0f"):format(consumer.bytes),
            ("%08x"):format(consumer.digest), same and "ok" or "DIFFERS"))
    end
    io.write(row:format("the file", ("%.0f"):format(true_bytes), ("%08x"):format(true_digest), ""), "\n")
    return wrong
end

local function main(wanted)
    local path = choose_file(wanted)
    local file = open(path)
    local file_size = file:seek("end")
    if not file_size then fail(path .. " is no regular file (it is read twice)") end
    file:seek("set", 0)

    local pool = bytepool.new_pools(bytepool.size_power_of_two(), {name = "fanout"})
    local consumers = {
        new_consumer("player", 0, look),
        new_consumer("recorder", 1, look),
        new_consumer("replay", 2, look_and_keep),
        new_consumer("sender", 3, send),
    }
    io.write(("%s: %.0f bytes to %d consumers\n"):format(path, file_size, #consumers))
    fan_out(pool, file, file_size, consumers)
    file:close()

    local wrong = compare(consumers, path)
    local stats = pool:get_pool_stats()
    io.write(bytepool.report.text(stats), "\n\n")
    io.flush()
    if wrong > 0 then
        fail(("%d of %d consumers saw other bytes than the file has"):format(wrong, #consumers))
    end
    local counts = ("total_get = %.0f, total_put = %.0f"):format(stats.total_get, stats.total_put)
    if stats.total_get ~= stats.total_put or stats.in_use ~= 0 then
        fail(("buffers were not given back: %s, in_use = %.0f"):format(counts, stats.in_use))
    end
    print("ok: every consumer saw every byte; " .. counts)
end

main(arg[1])
