--- Shared buffers for OpenResty and other nginx with the Lua module.
--
--     init_by_lua_block { assert(require("resty.bytepool").init()) }
--
--     local bp = require "resty.bytepool"
--     local buf = bp.request(4096)      -- goes back when the request ends
--     bp.send(buf:set_string(1, "hello"))
--
-- A worker is a process with pools of its own: nothing here reaches another worker, but for the figures
-- of `bp.totals` and the reports on it. A mistake in an argument raises an error with the line that made it; what fails
-- at run time returns `nil, message`.
--
-- Since 0.1.0.
-- @module resty.bytepool

local bytepool = require "bytepool"

---@class resty.bytepool
local bp = {}

--- Version of the library, such as "0.1.0".
bp._VERSION = bytepool._VERSION

-- Function -> the file in resty/bytepool that has it, loaded when it is first asked for.
local parts = {
    init = "worker", pool = "worker",
    request = "request", keep = "request",
    body = "body", receive = "body", receive_into = "body",
    send = "send", flush = "send", send_stats = "send",
    serve = "serve",
    channel = "channel",
    stats = "report", vars = "report", metrics = "report", html = "report",
    totals = "totals", publish = "totals",
}

return setmetatable(bp, {__parts = parts, __index = function(_, name)
    local part = parts[name]
    if not part then return nil end
    local fn = require("resty.bytepool." .. part)[name]
    rawset(bp, name, fn)
    return fn
end})
