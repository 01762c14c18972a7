--- The idle blocks of a tier behind the cache, slab by slab, as core/depot.c keeps them.
--
-- Blocks of one slab are alike: what a pool counts depends on which slab a block is of, never on its
-- place in there. So a block is its slab, and a slab a few counts.
--
-- Since 0.1.0.
-- @module bytepool.simulate.depot

local plan = require "bytepool.simulate.plan"

local depot = {}

local SLAB = plan.SLAB
local UNLISTED, PARTIAL, EMPTY = 0, 1, 2

---@class bytepool.simulate.Slab
---@field depot bytepool.simulate.Depot
---@field carved integer blocks made known
---@field free integer of these, idle here
---@field place integer UNLISTED, PARTIAL or EMPTY
---@field prev bytepool.simulate.Slab|false of the depot's list: partial slabs, then empty ones
---@field next bytepool.simulate.Slab|false

---@class bytepool.simulate.Depot
---@field tier integer
---@field size integer
---@field cut bytepool.simulate.Cut
---@field head bytepool.simulate.Slab|false
---@field tail bytepool.simulate.Slab|false
---@field carving bytepool.simulate.Slab|false the slab that has blocks to carve
---@field free integer idle blocks
---@field owned integer
---@field peak_owned integer
---@field carved integer blocks of all its slabs: owned, and fresh ones that the bin reserved
---@field low integer least `free` since the window of decay began
---@field low_before integer and in the window before
---@field used_before integer gets and puts of the tier, up to then

---@return bytepool.simulate.Depot
function depot.new(tier, size, canary)
    return {tier = tier, size = size, cut = plan.cut(size, canary), head = false, tail = false, carving = false,
        free = 0, owned = 0, peak_owned = 0, carved = 0, low = 0, low_before = 0,
        used_before = 0}
end

-- ---- the list of slabs ---------------------------------------------------------

local function unlink(pool, d, slab)
    local before, after = slab.prev, slab.next
    if before then before.next = after else d.head = after end
    if after then after.prev = before else d.tail = before end
    slab.prev, slab.next = false, false
    if slab.place == EMPTY then pool.empty_slabs = pool.empty_slabs - d.cut.run end
end

local function link(pool, d, slab)
    local before, after = d.tail, false
    if slab.place == PARTIAL then before, after = false, d.head end
    slab.prev, slab.next = before, after
    if before then before.next = slab else d.head = slab end
    if after then after.prev = slab else d.tail = slab end
    if slab.place == EMPTY then pool.empty_slabs = pool.empty_slabs + d.cut.run end
end

-- Puts a slab where its counts say.
local function settle(pool, d, slab)
    local place = slab.free == 0 and UNLISTED or slab.free < slab.carved and PARTIAL or EMPTY
    if place == slab.place then return end
    if slab.place ~= UNLISTED then unlink(pool, d, slab) end
    slab.place = place
    if place ~= UNLISTED then link(pool, d, slab) end
end

-- ---- blocks --------------------------------------------------------------------

local function idle_changed(pool, d, blocks)
    d.free = d.free + blocks
    if d.free < d.low then d.low = d.free end
    pool.depot_bytes = pool.depot_bytes + blocks * d.size
end

--- Counts bytes that the pool has from now on.
function depot.own_bytes(pool, bytes)
    pool.owned_bytes = pool.owned_bytes + bytes
    if pool.owned_bytes > pool.peak_owned_bytes then pool.peak_owned_bytes = pool.owned_bytes end
end

--- The same of a block that was made.
function depot.own(pool, d)
    d.owned = d.owned + 1
    if d.owned > d.peak_owned then d.peak_owned = d.owned end
    depot.own_bytes(pool, d.size)
end

--- Moves up to n idle blocks into out, from out[1] on; returns how many.
---@param out bytepool.simulate.Slab[]
---@return integer
function depot.take(pool, d, out, n)
    local got = 0
    while got < n and d.head do
        local slab = d.head
        local most = math.min(slab.free, n - got)
        for i = got + 1, got + most do out[i] = slab end
        got, slab.free = got + most, slab.free - most
        settle(pool, d, slab)
    end
    if got > 0 then idle_changed(pool, d, -got) end
    return got
end

--- Takes back the blocks blocks[1] to blocks[n]. Neighbours of one slab are settled together.
function depot.give(pool, d, blocks, n)
    local i = 1
    while i <= n do
        local slab, first = blocks[i], i
        repeat i = i + 1 until i > n or blocks[i] ~= slab
        slab.free = slab.free + (i - first)
        settle(pool, d, slab)
    end
    idle_changed(pool, d, n)
end

-- What is carved counts against quotas.
local function carve(pool, d, slab, blocks)
    slab.carved, d.carved = slab.carved + blocks, d.carved + blocks
    pool.charged = pool.charged + blocks * d.size
end

--- Reserves fresh blocks, as many as a bin takes or `most`; returns their slab and how many.
---@return bytepool.simulate.Slab
---@return integer
function depot.fresh(pool, d, most)
    local slab = d.carving
    if not slab then
        slab = {depot = d, carved = 0, free = 0, place = UNLISTED, prev = false, next = false}
    end
    local got = math.min(d.cut.blocks - slab.carved, d.cut.take, most)
    carve(pool, d, slab, got)
    settle(pool, d, slab)
    d.carving = slab.carved < d.cut.blocks and slab
    return slab, got
end

--- Takes back what was reserved and not used. One cache reserves at a time, so these are the last carved.
function depot.unfresh(pool, d, slab, n)
    carve(pool, d, slab, -n)
    d.carving = slab.carved > 0 and slab
    settle(pool, d, slab)
end

-- ---- giving memory back ----------------------------------------------------------

--- Gives the last slab of the list back, where it is empty.
---@return boolean
function depot.retire(pool, d)
    local slab = d.tail
    if not slab or slab.place ~= EMPTY then return false end
    unlink(pool, d, slab)
    if d.carving == slab then d.carving = false end
    local blocks = slab.free
    idle_changed(pool, d, -blocks)
    carve(pool, d, slab, -blocks)
    d.owned = d.owned - blocks
    pool.owned_bytes = pool.owned_bytes - blocks * d.size
    pool.trimmed_bytes = pool.trimmed_bytes + blocks * d.size
    pool.retired = pool.retired + 1
    return true
end

--- Whether more is idle than max_idle, all that the cache may hold counted as held.
---@return boolean
function depot.idle_over(pool)
    return pool.depot_bytes + pool.lease > pool.max_idle
end

-- Whether empty slabs have enough of a part in that.
local function worth_shrinking(pool)
    if pool.depot_bytes + pool.lease <= pool.max_idle then return false end
    local empty = pool.empty_slabs * SLAB
    return empty > SLAB and empty > plan.div(pool.max_idle, 4) or empty + pool.lease > pool.max_idle
end

--- Gives empty slabs of any tier back, as long as the pool is over its bound because of them.
function depot.shrink(pool)
    for _, d in ipairs(pool.depots) do
        if not worth_shrinking(pool) then return end
        repeat until not worth_shrinking(pool) or not depot.retire(pool, d)
    end
end

--- Gives empty slabs back, of the largest blocks first, until no more than so many bytes idle behind the cache.
function depot.trim(pool, idle)
    for t = #pool.depots, 1, -1 do
        repeat until pool.depot_bytes <= idle or not depot.retire(pool, pool.depots[t])
    end
end

--- Gives empty slabs of a tier back, as long as it is over a bound of its own; true where it stays so.
function depot.bound(pool, d, most, cached)
    if not most then return false end
    repeat until (d.free + cached) * d.size <= most or not depot.retire(pool, d)
    return (d.free + cached) * d.size > most
end

return depot
