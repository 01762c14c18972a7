-- For the handlers of the tests' nginx: bodies and arguments.

local bp = require "resty.bytepool"

local common = {}
local bodies = {}

-- The file body-N of the run's folder in a buffer of this worker.
function common.body(n)
    n = n or ngx.var.arg_n or "65536"
    if not bodies[n] then
        local f = assert(io.open(BODIES .. "/body-" .. n, "rb"))
        bodies[n] = bp.pool("bodies"):from_string(f:read("*a"))
        f:close()
    end
    return bodies[n]
end

function common.number(name, default) return tonumber(ngx.var["arg_" .. name]) or default end

-- A client that has gone is no fault.
function common.sent(ok, message)
    if not ok and message ~= "nginx output filter error" and message ~= "header only" then error(message, 2) end
end

return common
