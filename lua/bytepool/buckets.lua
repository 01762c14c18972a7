--- Buckets of lengths: so many of equal width to each power of two.
--
-- Since 0.1.0.
-- @module bytepool.buckets

local buckets = {}

--- The upper end of the bucket that holds n.
---@param n number
---@param count? integer buckets to a power of two, itself one; default 8, the pool's plain buckets
---@return number
function buckets.upper(n, count)
    if n <= 1 then return 1 end
    count = count or 8
    local below = count + 0.0 -- no integer of Lua 5.3: that would wrap to 0
    while below * 2 < n do below = below * 2 end
    local step = below / count
    return math.ceil(math.ceil(n / step) * step)
end

return buckets
