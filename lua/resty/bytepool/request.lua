--- Buffers that go back when the request ends.
--
-- Private to resty.bytepool, whose functions these are.

local bytepool = require "bytepool"
local core = require "bytepool.core"

local keep_in_core, get_buffer = core.nginx.keep, core.pool_methods.get_buffer

---@class resty.bytepool
local request = {}

--- Buffers that could not be tied to a request, for this nginx is not known: the collector gives
-- them back.
request.unkept = 0

local COLLECTING = "in a finalizer" -- BPL_NGX_COLLECTING

-- What to raise where it can not be, or nil; and true where it must not be raised: an error in a
-- finalizer that runs under a trace, caught or not, crashes LuaJIT.
local function refusal(buf, method)
    local done, why = keep_in_core(buf)
    if done then return nil end
    if why == COLLECTING then
        return method .. ": not in a finalizer, nor while the collector is stopped: the request may be gone", true
    end
    if why == "no request" then return method .. ": there is no request in this phase" end
    if why == "tied to another request" then
        return method .. ": the buffer is tied to another request: share() it first"
    end
    request.unkept = request.unkept + 1
    return nil
end

--- Raises where that is no live buffer, with the line of the caller's caller. For the other parts.
---@param method string
---@param buf any
function request.check(method, buf)
    local kind = bytepool.type(buf)
    if kind == "buffer" then return end
    if kind == "released buffer" then error(method .. ": buffer already released", 3) end
    error(("%s: argument 'buf' must be a bytepool buffer, got %s"):format(method, kind or type(buf)), 3)
end

--- Ties a buffer to the request that runs: when that ends, whatever way, the handle loses one
-- reference. Who wants it for longer retains it, or shares it. Before that it may be released as
-- any other. A buffer that is tied already stays so; one of another request raises. Not for finalizers,
-- as `request`.
---@param buf bytepool.Buffer
---@return bytepool.Buffer|nil buf
---@return string? message in a finalizer
function request.keep(buf)
    request.check("keep", buf)
    local message, silent = refusal(buf, "keep")
    if silent then return nil, message end
    if message then error(message, 2) end
    return buf
end

-- keep, of what `method` of another part made for the request: released where it can not be tied. Raises nothing;
-- where there was nothing made, its message goes through.
---@param method string
---@param buf bytepool.Buffer|nil
---@param message? string
---@return bytepool.Buffer|nil buf
---@return string? message
function request.own(method, buf, message)
    if not buf then return nil, message end
    message = refusal(buf, method)
    if not message then return buf end
    buf:release()
    return nil, message
end

--- A buffer of length n from the worker's default pool, which goes back when the request ends: the
-- main request, also from its subrequests and user threads, or the timer that runs. After that the
-- handle is dead, but for references that somebody retained.
-- In a finalizer, which may run when the request that the Lua module knows is gone, and while the
-- collector is stopped, which looks alike, it gives none.
---@param n integer bytes
---@param tag? string for reports on leaks
---@return bytepool.Buffer|nil buf
---@return string? message where the pool is at its quota, memory ran out, or in a finalizer
function request.request(n, tag)
    local pool, message = require "resty.bytepool".pool()
    if not pool then return nil, message end
    local ran, buf, silent
    ran, buf, message = pcall(get_buffer, pool, n, tag)
    if not ran then error((tostring(buf):gsub("^get_buffer", "request")), 2) end
    if not buf then return nil, message end
    message, silent = refusal(buf, "request")
    if message then
        buf:release()
        if silent then return nil, message end
        error(message, 2)
    end
    return buf
end

return request
