--- A buffer as a whole response: conditions, ranges, HEAD.
--
-- Private to resty.bytepool, whose function this is.

local core = require "bytepool.core"
local ffi = require "ffi"
local options = require "bytepool.options"
local ranges = require "resty.bytepool.ranges"
local request = require "resty.bytepool.request"
local send = require "resty.bytepool.send"
local get_request = require("resty.core.base").get_request
require "resty.core.hash" -- declares ngx_http_lua_ffi_md5

local ngx = ngx
local C = ffi.C
local moves = core.internals.moves
ffi.cdef "intptr_t ngx_http_set_content_type(void *r);"

---@class resty.bytepool
local serve = {}

local schema = {
    type = {type = "string"},
    etag = {type = "string"}, -- or true, which is looked at before
    last_modified = {type = "number", min = 0, max = 253402300799}, -- the year 9999
    ranges = {type = "boolean", default = true},
}

-- ---- entity tags --------------------------------------------------------------

-- What was reckoned before: a frozen buffer's bytes stay until it has another block, only its ends can come closer.
local known = setmetatable({}, {__mode = "k"})
local digest = ffi.new "unsigned char[32]" -- in hexadecimal

--- The strong entity tag of a frozen buffer's bytes. For tests.
function serve.etag_of(buf)
    local of = known[buf]
    if not of or of.length ~= #buf or of.moves ~= moves(buf) then
        local data, length = buf:ref()
        C.ngx_http_lua_ffi_md5(data, length, digest)
        of = {length = #buf, moves = moves(buf), etag = '"' .. ffi.string(digest, 32) .. '"'}
        known[buf] = of
    end
    return of.etag
end

local function check(buf, given)
    local computed = type(given) == "table" and given.etag == true
    if computed then
        local rest = {}
        for k, v in pairs(given) do if k ~= "etag" then rest[k] = v end end
        given = rest
    end
    local values, message = options.check("serve", given, schema)
    if not values then error(message, 3) end
    local etag = values.etag and ranges.quoted(values.etag)
    if values.etag and not etag then
        error(("serve: option 'etag' can not be an entity tag: %s"):format(options.quote(values.etag)), 3)
    end
    buf:freeze()
    return values, computed and serve.etag_of(buf) or etag
end

-- ---- conditions ------------------------------------------------------------------

local function date_of(header) return header and ngx.parse_http_time(header) end

-- 304 or 412 where the request's conditions say so, in the order of RFC 9110, 13.2.2.
local function failed_condition(headers, etag, modified, reads)
    local match, none = headers["if-match"], headers["if-none-match"]
    if match then
        if not ranges.names(match, etag, true) then return 412 end
    elseif modified then
        local since = date_of(headers["if-unmodified-since"])
        if since and modified > since then return 412 end
    end
    if none then
        if ranges.names(none, etag, false) then return reads and 304 or 412 end
    elseif modified and reads then
        local since = date_of(headers["if-modified-since"])
        if since and modified <= since then return 304 end
    end
    return nil
end

-- Whether the client's earlier part is of this very body.
local function same_as_before(if_range, etag, modified)
    if not if_range then return true end
    if if_range:find '"' then return etag ~= nil and etag:sub(1, 2) ~= "W/" and if_range == etag end
    return modified ~= nil and date_of(if_range) == modified
end

local looked_at = {"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"}

-- A header of several lines comes as a table. A subrequest has the headers of its main request, which ask for
-- something else.
local function request_headers()
    if ngx.is_subrequest then return {} end
    local headers = ngx.req.get_headers(0)
    local list = {}
    for _, name in ipairs(looked_at) do
        local value = headers[name]
        list[name] = type(value) == "table" and table.concat(value, ", ") or value
    end
    return list
end

-- ---- answers -------------------------------------------------------------------------

local function without_body(status, length)
    ngx.status = status
    if length then ngx.header["Content-Length"] = length end
    local ok, message = ngx.send_headers()
    if not ok then return nil, message end
    return true, status
end

local function send_part(buf, i, j, status)
    local ok, message = send.send(buf, i, j)
    if not ok then return nil, message end
    return true, status
end

local function content_range(i, j, length) return ("bytes %d-%d/%d"):format(i - 1, j - 1, length) end

-- Each part's bytes are the buffer's own; what stands between them is printed.
local function multipart(buf, list, kind)
    local boundary = ("%08x%08x%08x"):format(math.random(0, 2 ^ 31), math.random(0, 2 ^ 31), ngx.now() * 1000 % 2 ^ 31)
    local last = "\r\n--" .. boundary .. "--\r\n"
    local heads, sum = {}, #last
    for k, part in ipairs(list) do
        heads[k] = ("\r\n--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n"):format(
            boundary, kind, content_range(part[1], part[2], #buf))
        sum = sum + #heads[k] + part[2] - part[1] + 1
    end
    ngx.status = 206
    ngx.header["Content-Type"] = "multipart/byteranges; boundary=" .. boundary
    ngx.header["Content-Length"] = sum
    for k, part in ipairs(list) do
        local ok, message = ngx.print(heads[k])
        if ok then ok, message = send.send(buf, part[1], part[2]) end
        if not ok then return nil, message end
    end
    local ok, message = ngx.print(last)
    if not ok then return nil, message end
    return true, 206
end

-- What the location says, which nginx looks up as it sends the headers.
local function own_type()
    if not ngx.header["Content-Type"] then pcall(function() return C.ngx_http_set_content_type(get_request()) end) end
    return ngx.header["Content-Type"] or "application/octet-stream"
end

local function whole(buf)
    ngx.header["Content-Length"] = #buf
    if ngx.req.get_method() == "HEAD" or #buf == 0 then return without_body(ngx.status, #buf) end
    return send_part(buf, 1, -1, ngx.status)
end

---@class bytepool.ServeOptions
---@field type? string Content-Type; default: what the location says
---@field etag? string|true an entity tag, quoted or not; true: a strong one is reckoned from the bytes, once for
--- a buffer that several requests serve
---@field last_modified? number seconds since 1970, as ngx.time()
---@field ranges? boolean whether parts can be asked for; default true

--- Answers with a buffer: 200, 206 (one range, or up to 16 as multipart/byteranges), 304, 412 or 416 as the
-- request's conditions want, with Content-Length, ETag, Last-Modified and Accept-Ranges; HEAD gets the
-- headers. The bytes go as `send` sends them. Other headers are to be set before; with another status
-- than 200 set before, and in a subrequest, conditions and ranges are not looked at.
---@param buf bytepool.Buffer
---@param given? bytepool.ServeOptions
---@return boolean|nil ok
---@return integer|string status or, after nil, a message: headers were sent already, or the client has gone
function serve.serve(buf, given)
    request.check("serve", buf)
    local values, etag = check(buf, given)
    if ngx.headers_sent then return nil, "headers were sent already" end
    local modified = values.last_modified and math.floor(values.last_modified)
    if values.type then ngx.header["Content-Type"] = values.type end
    if etag then ngx.header["ETag"] = etag end
    if modified then ngx.header["Last-Modified"] = ngx.http_time(modified) end
    ngx.header["Accept-Ranges"] = values.ranges and "bytes" or "none"
    if ngx.status ~= 0 and ngx.status ~= 200 then return whole(buf) end
    ngx.status = 200

    local method, headers = ngx.req.get_method(), request_headers()
    local status = failed_condition(headers, etag, modified, method == "GET" or method == "HEAD")
    if status then return without_body(status, status == 412 and 0) end
    if method ~= "GET" or not values.ranges or not same_as_before(headers["if-range"], etag, modified) then
        return whole(buf)
    end
    local list = ranges.parse(headers.range, #buf)
    if not list then return whole(buf) end
    if #list == 0 then
        ngx.header["Content-Range"] = "bytes */" .. #buf
        return without_body(416, 0)
    end
    if #list > 1 then
        return multipart(buf, list, values.type or own_type())
    end
    local i, j = list[1][1], list[1][2]
    ngx.status = 206
    ngx.header["Content-Range"] = content_range(i, j, #buf)
    ngx.header["Content-Length"] = j - i + 1
    return send_part(buf, i, j, 206)
end

return serve
