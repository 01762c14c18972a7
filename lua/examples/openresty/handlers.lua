-- The handlers of nginx.conf. No buffer is released here: each goes back when its request ends, and what a
-- channel or a response still needs holds a reference of its own.

local bp = require "resty.bytepool"

local handlers = {}

-- The body as it came, not copied on its way out.
function handlers.echo()
    local buf, message = bp.body {max = "16MiB"}
    if not buf then
        ngx.status = message == "too large" and 413 or 503
        return ngx.say(message)
    end
    ngx.header.content_length = #buf
    bp.send(buf)
end

local function stream()
    return bp.channel("live", {queue = 64, policy = "drop_oldest"})
end

-- A chunk of the stream: curl --data-binary @chunk http://127.0.0.1:8080/publish
function handlers.publish()
    local buf, message = bp.body {max = "1MiB"}
    local viewers
    if buf then viewers, message = stream():publish(buf) end
    if not viewers then
        ngx.status = 503
        return ngx.say(message)
    end
    ngx.say(viewers, " viewers")
end

-- All chunks from now on: curl -N http://127.0.0.1:8080/live
function handlers.live()
    local viewer = assert(stream():subscribe())
    ngx.header.content_type = "application/octet-stream"
    viewer:stream()
end

function handlers.stop()
    stream():close()
    ngx.say "stopped"
end

return handlers
