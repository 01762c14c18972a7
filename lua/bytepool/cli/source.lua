--- Where the command gets a snapshot from: a file, standard input, or an http:// URL.
--
-- Since 0.1.0.
-- @module bytepool.cli.source

local source = {}

local TIMEOUT = 10 -- seconds for a server to answer

local function read_file(name)
    local file, message
    if name == "-" then
        file = io.stdin
    else
        file, message = io.open(name, "rb")
        -- The system's message begins with the name.
        if not file then return nil, message end
    end
    local text, fault = file:read("*a")
    if name ~= "-" then file:close() end
    if not text then return nil, ("%s: %s"):format(name, fault or "can not be read") end
    return text
end

local function read_url(url)
    local found, http = pcall(require, "socket.http")
    if not found then
        return nil, url .. ": needs the Lua module socket (LuaRocks: luasocket, Debian: lua-socket)"
    end
    local before = http.TIMEOUT
    http.TIMEOUT = TIMEOUT
    local called, body, status = pcall(http.request, url)
    http.TIMEOUT = before
    if not called then return nil, ("%s: %s"):format(url, tostring(body)) end
    if not body then return nil, ("%s: %s"):format(url, tostring(status)) end
    if status ~= 200 then return nil, ("%s: the server answered with status %s"):format(url, tostring(status)) end
    return body
end

--- The snapshot at a place, or several by prefix.
---@param report table bytepool.report
---@param place string
---@return bytepool.Snapshots|nil snapshot
---@return string? message with the place's name in front
function source.load(report, place)
    local scheme = place:match("^(%a[%w+.-]*)://")
    if scheme and scheme:lower() ~= "http" then
        return nil, ("%s: only http:// URLs can be read"):format(place)
    end
    local read = scheme and read_url or read_file
    local text, message = read(place)
    if not text then return nil, message end
    local snapshot
    snapshot, message = report.load(text)
    if not snapshot then
        return nil, ("%s: %s"):format(place == "-" and "standard input" or place, message)
    end
    return snapshot
end

return source
