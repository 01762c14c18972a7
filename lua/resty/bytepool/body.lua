-- Request bodies, and what sockets read, in pooled buffers.
--
-- Private to resty.bytepool, whose functions these are.

local core = require "bytepool.core"
local options = require "bytepool.options"
local request = require "resty.bytepool.request"
local worker = require "resty.bytepool.worker"

local ngx = ngx
local kind_of = core.type

---@class resty.bytepool
local body = {}

local TOO_LARGE = "too large"
local PIECE = 65536      -- bytes that a socket is asked for at once: strings of the Lua heap
local TURN = 1024 * 1024 -- bytes read from a file before other requests have their turn

local READS = {rewrite = true, access = true, content = true} -- phases in which a body can be waited for
local YIELDS = {rewrite = true, access = true, content = true, timer = true}

local schema = {
    max = {type = "size", min = 0, max = core.max_size},
    pool = {type = "any"},
}

-- The checked limit, and the pool or nil and a message; raises with the line of the caller's caller.
local function check(method, given)
    local values, fault = options.check(method, given, schema)
    if not values then error(fault, 3) end
    local pool, message = values.pool, nil
    if pool == nil or type(pool) == "string" then
        pool, message = worker.pool_for(method, pool)
    elseif kind_of(pool) ~= "pool" then
        error(("%s: pool: expected a pool or its name, got %s"):format(method, kind_of(pool) or type(pool)), 3)
    end
    return values.max or math.huge, pool, message
end

-- What holds a part of something that failed goes back at once.
local function failed(buf, message)
    buf:release()
    return nil, message
end

-- ---- request bodies ----------------------------------------------------------------

-- In turns: a read of a file blocks the whole worker.
local function from_file(path, most, pool)
    local file, message = io.open(path, "rb")
    if not file then return nil, message end
    local size = file:seek("end")
    if not size or size > most then
        file:close()
        return nil, size and TOO_LARGE or "the body's file has no length"
    end
    file:seek("set")
    local buf
    buf, message = request.own("body", pool:builder(size)) -- the request may end while others have their turn
    if not buf then
        file:close()
        return nil, message
    end
    local yields = YIELDS[ngx.get_phase()]
    while #buf < size do
        local got, why = buf:read_from(file, math.min(size - #buf, TURN))
        if not got or got == 0 then
            file:close()
            return failed(buf, why or "the body's file is cut short")
        end
        if yields and #buf < size then ngx.sleep(0.001) end
    end
    file:close()
    return buf
end

--- The request's body in a buffer of the worker's pool, that goes back when the request ends: who wants it for longer
-- retains or shares it. A body that nginx put into a file is read in turns of 1 MiB, between which other requests run.
-- In rewrite, access and content it waits for the body; in other phases it gives what has been read. Without a body
-- the buffer is empty. What its Content-Length says to be above `max` is not read; without one the directive
-- client_max_body_size is what bounds the reading.
---@param given? {max?: bytepool.Size, pool?: bytepool.Pool|string} max: bytes; pool: one, or its name
---@return bytepool.Buffer|nil buf
---@return string? message "too large", the pool has no memory, or in a finalizer, see `request`
function body.body(given)
    local most, pool, fault = check("body", given)
    if not pool then return nil, fault end
    local told = tonumber(ngx.var.http_content_length)
    if told and told > most then return nil, TOO_LARGE end
    if READS[ngx.get_phase()] then ngx.req.read_body() end
    local data = ngx.req.get_body_data()
    local path = not data and ngx.req.get_body_file()
    if path then
        local buf, message = from_file(path, most, pool)
        return buf, message
    end
    if data and #data > most then return nil, TOO_LARGE end
    return request.own("body", pool:from_string(data or ""))
end

-- ---- sockets -----------------------------------------------------------------------

-- Puts strings that next_piece gives until it gives none; what it says then. Raises with the line of the caller's
-- caller.
local function fill(method, buf, next_piece, room)
    local before = #buf
    while #buf - before < room do
        local data, why, partial = next_piece(math.min(PIECE, room - (#buf - before)))
        local piece = data or partial
        if piece and type(piece) ~= "string" then
            error(("%s: the function must give a string or nil, got %s"):format(method, type(piece)), 3)
        end
        if piece and #piece > 0 then
            if #piece > room - (#buf - before) then return TOO_LARGE end
            local put, message = buf:put(piece)
            if not put then return message end
        end
        if not data then return why or "closed" end
    end
end

-- A function that gives a string of at most n bytes; nil and why.
local function reader_of(method, source)
    if type(source) == "function" then
        return function(n) return source(n) end
    end
    local kind = type(source)
    local receive = (kind == "table" or kind == "userdata") and source.receiveany or nil
    if type(receive) ~= "function" then
        error(("%s: argument 'sock' must be a cosocket or a function that reads, got %s"):format(method, kind), 3)
    end
    return function(n) return receive(source, n) end
end

local function check_size(method, n)
    if n ~= nil and not options.is_whole(n, 0, core.max_size) then
        error(("%s: argument 'n' must be a whole number from 0 to %s, got %s"):format(method,
            options.show(core.max_size), options.show(n, true)), 3)
    end
end

local function is_end(message) return message == nil or message == "closed" end

--- Puts what a socket gives to the end of a buffer, without a string of the whole: n bytes, or all until the other side
-- closes. Also takes a function of a number of bytes that gives strings, as the `body_reader` of lua-resty-http.
---@param buf bytepool.Buffer it grows as by `put`
---@param sock table|fun(n: integer): string|nil, string|nil a connected cosocket
---@param n? integer bytes
---@return integer|nil read
---@return string? message what failed before n bytes were read, such as "timeout" or "closed"
---@return integer? read before it failed; these bytes are in the buffer
function body.receive_into(buf, sock, n)
    request.check("receive_into", buf)
    check_size("receive_into", n)
    local read, before = reader_of("receive_into", sock), #buf
    local ran, fault = pcall(buf.reserve, buf, n or 0)
    if not ran then error((tostring(fault):gsub("^reserve", "receive_into")), 2) end
    local why = fill("receive_into", buf, read, n or math.huge)
    local got = #buf - before
    if why and not (n == nil and is_end(why)) then return nil, why, got end
    return got
end

-- A line of at most so many bytes: a longer one is not read to its end.
local function receive_line(sock, most, pool)
    local read = sock:receiveuntil "\n"
    local buf, message = request.own("receive", pool:builder(0))
    if not buf then return nil, message end
    while true do
        local piece, why = read(math.min(PIECE, most + 2 - #buf))
        if not piece and why then return failed(buf, why) end
        if not piece then break end
        local put, fault = buf:put(piece)
        if not put then return failed(buf, fault) end
        if #buf > most + 1 then return failed(buf, TOO_LARGE) end
    end
    if #buf > 0 and buf:byte(-1) == 13 then buf:resize(#buf - 1) end
    if #buf > most then return failed(buf, TOO_LARGE) end
    return buf
end

-- What a pattern of the cosocket gives.
local function receive_pattern(sock, pattern, most, pool)
    local is_line = pattern == "*l" or pattern == "l"
    if is_line and most < math.huge and type(sock.receiveuntil) == "function" then
        return receive_line(sock, most, pool)
    end
    local data, why = sock:receive(pattern)
    if not data then return nil, why end
    if #data > most then return nil, TOO_LARGE end
    return request.own("receive", pool:from_string(data))
end

--- What a socket gives, in a buffer that goes back when the request ends: so many bytes, a line ("*l"), or all until
-- the other side closes ("*a"). Takes a function in the socket's place as receive_into does, of which "*a" is the rest.
---@param sock table|fun(n: integer): string|nil, string|nil a connected cosocket
---@param size integer|string bytes, or a pattern
---@param given? {max?: bytepool.Size, pool?: bytepool.Pool|string} max: bytes
---@return bytepool.Buffer|nil buf
---@return string? message "too large", the socket's ("timeout", "closed"), the pool has no memory, or in a finalizer
function body.receive(sock, size, given)
    local most, pool, fault = check("receive", given)
    if not pool then return nil, fault end
    local all = size == "*a" or size == "a"
    if type(size) == "string" and not all then
        reader_of("receive", sock)
        if type(sock) == "function" then error("receive: a function is read by bytes or \"*a\"", 2) end
        return receive_pattern(sock, size, most, pool)
    end
    if not all and not options.is_whole(size, 0, core.max_size) then
        error(("receive: argument 'size' must be a number of bytes or a pattern, got %s"):format(
            options.show(size, true)), 2)
    end
    local read = reader_of("receive", sock)
    if not all and size > most then return nil, TOO_LARGE end
    local buf, message = request.own("receive", pool:builder(all and 0 or size))
    if not buf then return nil, message end
    local why
    if all then
        -- One byte more than may come tells that there is more.
        why = fill("receive", buf, read, most + 1)
        if #buf > most then return failed(buf, TOO_LARGE) end
    else
        why = fill("receive", buf, read, size)
    end
    if why and not (all and is_end(why)) then return failed(buf, why) end
    return buf
end

return body
