--- Buffers that go back when the request ends.
--
-- Private to resty.bytepool, whose functions these are.

local bytepool = require "bytepool"
local core = require "bytepool.core"

local keep_in_core = core.nginx.keep

local request = {}

--- Buffers that could not be tied to a request, for this nginx is not known: the collector gives
-- them back.
request.unkept = 0

local function tie(buf, method)
    local done, why = keep_in_core(buf)
    if done then return buf end
    if why == "no request" then
        error(("%s: there is no request in this phase"):format(method), 3)
    end
    request.unkept = request.unkept + 1
    return buf
end

--- Ties a buffer to the request that runs: when that ends, whatever way, the handle loses one
-- reference. Who wants it for longer retains it, or shares it. Before that it may be released as
-- any other. A buffer that is tied already stays so; one of another request raises.
---@param buf bytepool.Buffer
---@return bytepool.Buffer buf
function request.keep(buf)
    if bytepool.type(buf) ~= "buffer" then
        error(("keep: argument 'buf' must be a bytepool buffer, got %s"):format(bytepool.type(buf) or type(buf)), 2)
    end
    return tie(buf, "keep")
end

--- A buffer of length n from the worker's default pool, which goes back when the request ends: the
-- main request, also from its subrequests and user threads, or the timer that runs. After that the
-- handle is dead, but for references that somebody retained.
---@param n integer bytes
---@param tag? string for reports on leaks
---@return bytepool.Buffer|nil buf
---@return string? message where the pool is at its quota or memory ran out
function request.request(n, tag)
    local buf, message = require "resty.bytepool".pool():get_buffer(n, tag)
    if not buf then return nil, message end
    return tie(buf, "request")
end

return request
