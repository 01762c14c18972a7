--- What a Range header asks for, and entity tags. Knows nothing of nginx.
--
-- Private to resty.bytepool.

local ranges = {}

-- More than this asks for work and not for bytes: then the whole is sent, as RFC 9110 allows.
local MOST = 16

-- One range-spec as first and last position from 1, or false where nothing of it exists; nil: no syntax.
local function one(spec, length)
    local first, last = spec:match "^(%d*)%-(%d*)$"
    if not first or first == "" and last == "" then return nil end
    first, last = tonumber(first), tonumber(last)
    if not first then -- the last so many
        if last == 0 or length == 0 then return false end
        return math.max(1, length - last + 1), length
    end
    if last and last < first then return nil end
    if first >= length then return false end
    return first + 1, math.min(last or length, length - 1) + 1
end

--- The parts of a body that a Range header asks for, in its order, positions from 1; an empty list
-- where none exists (416); nil where the header is to be ignored: other units, bad syntax, more than
-- 16 ranges, or more bytes than the whole has.
---@param header string|nil
---@param length integer of the body
---@return {[1]: integer, [2]: integer}[]|nil
function ranges.parse(header, length)
    local set = header and header:match "^%s*[bB][yY][tT][eE][sS]%s*=(.*)$"
    if not set or set:find "^[%s,]*$" then return nil end
    local list, specs, sum = {}, 0, 0
    for spec in set:gmatch "[^,]+" do
        spec = spec:match "^%s*(.-)%s*$"
        if spec ~= "" then
            local first, last = one(spec, length)
            specs = specs + 1
            if first == nil or specs > MOST then return nil end
            if first then
                list[#list + 1] = {first, last}
                sum = sum + last - first + 1
            end
        end
    end
    if sum > length then return nil end
    return list
end

--- An entity tag as it stands in headers: quoted where it was not. Nil for what can be none.
---@param tag string
---@return string|nil
function ranges.quoted(tag)
    local weak, inner = tag:match '^(W?/?)"(.*)"$'
    if not inner then weak, inner = "", tag end
    if weak ~= "" and weak ~= "W/" or inner:find '[%c"\127 ]' then return nil end
    return weak .. '"' .. inner .. '"'
end

--- Whether a list of entity tags, as If-Match and If-None-Match have it, names this one.
---@param header string
---@param etag string|nil the body's; nil: it has none
---@param strong boolean whether weak ones are no match
---@return boolean
function ranges.names(header, etag, strong)
    if header:match "^%s*%*%s*$" then return true end
    if not etag or strong and etag:sub(1, 2) == "W/" then return false end
    local opaque = etag:gsub("^W/", "")
    for weak, tag in header:gmatch '(W?/?)("[^"]*")' do
        if tag == opaque and not (strong and weak ~= "") then return true end
    end
    return false
end

return ranges
