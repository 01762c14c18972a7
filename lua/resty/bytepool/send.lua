--- Buffers to clients, without a copy.
--
-- Private to resty.bytepool, whose functions these are.

local core = require "bytepool.core"
local request = require "resty.bytepool.request"

local ngx = ngx
local print, flush = ngx.print, ngx.flush
local send_by_core, pending = core.nginx.send, core.nginx.pending

---@class resty.bytepool
local send = {}

--- From so many bytes on a buffer is sent without a copy; shorter ones are printed. Where a copy
-- costs less than what has to be noted for a buffer on its way.
send.LEAST = 8192

--- Sends bytes i to j (all of them) to the client, in order with ngx.print and ngx.say. The buffer
-- itself goes on nginx's output chain and is held until its last byte is out, so releasing it at
-- once is fine. It is frozen from now on, for who wrote to it would write to what is on its way.
-- Never yields: after much output call `flush(true)`.
---@param buf bytepool.Buffer
---@param i? integer default 1
---@param j? integer default -1
---@return boolean|nil ok
---@return string? message as ngx.print's, "seen eof" or "header only", or where the client has gone
function send.send(buf, i, j)
    return send_by_core(buf, i, j, print, send.LEAST)
end

--- As ngx.flush, and lets go of the buffers that are out.
---@param wait? boolean until all is out
---@return integer|nil ok
---@return string? message
function send.flush(wait)
    if wait ~= nil and type(wait) ~= "boolean" then
        error("flush: argument 'wait' must be true or false, got " .. type(wait), 2)
    end
    local ok, message = flush(wait or false)
    pending()
    return ok, message
end

---@class bytepool.SendStats
---@field requests integer that ever kept or sent a buffer
---@field kept integer buffers tied to requests
---@field kept_now integer those that still are
---@field unkept integer that could not be tied
---@field sends integer without a copy
---@field sent_bytes integer
---@field copies integer through ngx.print: short, or an nginx that is not known
---@field copied_bytes integer
---@field in_flight integer buffers on output chains now
---@field in_flight_bytes integer
---@field early integer buffers let go before their request ended

--- Counts of this worker, since it started.
---@return bytepool.SendStats
function send.send_stats()
    local stats = core.nginx.stats()
    stats.unkept = request.unkept
    return stats
end

return send
