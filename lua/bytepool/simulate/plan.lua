--- How a pool cuts its memory and what a thread's cache may hold: the arithmetic of core/tier.c,
--- core/block.c and core/cache.c.
--
-- Since 0.1.0.
-- @module bytepool.simulate.plan

local plan = {}

local SLAB, LINE, GROUP = 4194304, 64, 8
local ALIAS, SPREAD_UP_TO = 4096, 65536
local CACHE_BYTES, CACHE_BLOCKS, CELL_MOST, FLOOR = 1048576, 256, 2 ^ 28, 32768

plan.SLAB = SLAB

local floor, min = math.floor, math.min

-- Exact below 2^53, where floor(a / b) need not be.
local function div(a, b) return floor((a - a % b) / b) end

local function round_up(n, align) return div(n + align - 1, align) * align end

plan.div, plan.round_up = div, round_up

---@class bytepool.simulate.Cut
---@field run integer slabs that a block takes
---@field blocks integer of such a run
---@field take integer fresh blocks that a bin reserves at once

---@param size integer of the tier
---@param canary integer bytes behind a block
---@return bytepool.simulate.Cut
function plan.cut(size, canary)
    local stride = round_up(size + canary, LINE)
    if stride % ALIAS == 0 and stride <= SPREAD_UP_TO then stride = stride + LINE end
    local take = div(65536, stride)
    take = take < 2 and 2 or take > 16 and 16 or take - take % 2
    if stride > SLAB then return {run = div(stride + SLAB - 1, SLAB), blocks = 1, take = take} end
    local group = stride * GROUP + LINE
    local groups = div(SLAB, group)
    local rest = div(SLAB - groups * group, stride)
    return {run = 1, blocks = groups * GROUP + min(rest, GROUP), take = take}
end

-- What the first cache of a pool may fill of a bound on idle memory.
local function share_of(max_idle) return div(div(max_idle, 2), 8) end

-- The most blocks of a size that a cache with that share holds, and that the tier's own bound has room for.
local function most_of(size, share, bound)
    if size > div(share, 8) or size > CELL_MOST then return 0 end
    local most = min(math.max(div(CACHE_BYTES, size), 1), CACHE_BLOCKS)
    return bound and min(most, div(share_of(bound), size)) or most
end

--- How many blocks of each tier the first cache of a pool may hold, and their bytes.
---@param sizes integer[]
---@param max_idle integer
---@param bounds table<integer, integer> max_idle of tiers that have one of their own
---@return integer[] counts
---@return integer lease
function plan.cache(sizes, max_idle, bounds)
    local share = share_of(max_idle)
    local bottom = min(div(share, #sizes), FLOOR)
    local counts, lease, want = {}, 0, 0
    for t, size in ipairs(sizes) do
        local most = most_of(size, share, bounds[t])
        counts[t] = min(div(bottom, size), most)
        lease = lease + counts[t] * size
        want = want + (most - counts[t]) * size
    end
    local part = want == 0 and 0 or (share - lease) / want
    for t, size in ipairs(sizes) do
        local more = most_of(size, share, bounds[t]) - counts[t]
        if part < 1 then more = floor(part * more) end
        counts[t] = counts[t] + more
        lease = lease + more * size
    end
    return counts, lease
end

return plan
