--- A pool that one thread uses, without its bytes: which get is a hit, what is owned, what goes back to the
--- system. It does as core/cache.c does, and counts as the pool counts.
--
-- A block is its slab, see simulate.depot; an oversize one is its length.
--
-- Since 0.1.0.
-- @module bytepool.simulate.model

local core = require "bytepool.core"
local depot = require "bytepool.simulate.depot"
local plan = require "bytepool.simulate.plan"

local model = {}

local SLAB, PAGE, CANARY = plan.SLAB, core.page_size, 16
local own_bytes = depot.own_bytes

---@alias bytepool.simulate.Block bytepool.simulate.Slab|integer

---@class bytepool.simulate.Config
---@field sizes integer[]
---@field max_idle integer
---@field max_bytes? integer
---@field max_waste? number
---@field decay? number seconds; nil or 0: nothing decays
---@field limits? table<integer, {max_idle?: integer, max_bytes?: integer, max_waste?: number}> by tier
---@field debug? boolean

-- Three quarters, as the core trades them.
local function trade_of(blocks) return blocks - plan.div(blocks, 4) end

-- ---- giving up -------------------------------------------------------------------

local function drop_fresh(pool, d, bin)
    if bin.fresh_left == 0 then return end
    depot.unfresh(pool, d, bin.fresh, bin.fresh_left)
    bin.fresh_left = 0
end

-- Whether it is over its own bound all the same.
local function bound(pool, d)
    return depot.bound(pool, d, pool.limits[d.tier].max_idle, pool.bins[d.tier].planned)
end

local function flush_bin(pool, t)
    local d, bin = pool.depots[t], pool.bins[t]
    if bin.held > 0 then depot.give(pool, d, bin, bin.held) end
    bin.held = 0
    drop_fresh(pool, d, bin)
    bound(pool, d)
end

local function flush(pool)
    for t in ipairs(pool.bins) do flush_bin(pool, t) end
end

local function set_caps(pool, most)
    for _, bin in ipairs(pool.bins) do bin.cap = math.min(bin.planned, most) end
end

local function shut(pool)
    local few = plan.div(plan.div(plan.div(pool.max_idle, 4), SLAB), #pool.sizes)
    flush(pool)
    depot.shrink(pool)
    set_caps(pool, few)
    pool.shut = true
end

-- After a release that found its bin full.
local function keep_bound(pool, d)
    if bound(pool, d) then flush_bin(pool, d.tier) end
    if not depot.idle_over(pool) then return end
    for t, bin in ipairs(pool.bins) do drop_fresh(pool, pool.depots[t], bin) end
    depot.shrink(pool)
    if not pool.shut and depot.idle_over(pool) then shut(pool) end
end

-- ---- get ---------------------------------------------------------------------------

-- At the first get: the thread's cache.
local function attach(pool)
    local bounds = {}
    for t, limit in ipairs(pool.limits) do bounds[t] = limit.max_idle end
    local counts, lease = plan.cache(pool.sizes, pool.max_idle, bounds)
    for t in ipairs(pool.sizes) do
        pool.bins[t] = {held = 0, planned = counts[t], cap = counts[t], fresh = false, fresh_left = 0}
    end
    pool.lease = lease
    depot.shrink(pool)
end

local function tier_room(pool, d)
    local most = pool.limits[d.tier].max_bytes
    return most and math.max(plan.div(most, d.size) - d.carved, 0) or math.huge
end

-- Fresh blocks for a bin, as many as it takes at once; where a quota has no room for these, half as many, and so on.
local function reserve(pool, d, bin)
    local most, whole = d.cut.take, pool.max_bytes or math.huge
    if most == 2 and (pool.max_bytes or pool.limits[d.tier].max_bytes) then most = 1 end
    while most > 0 and (most > tier_room(pool, d) or pool.charged + most * d.size > whole) do
        most = plan.div(most, 2)
    end
    if most > 0 then bin.fresh, bin.fresh_left = depot.fresh(pool, d, most) end
end

local function reserved_bytes(pool)
    local bytes = 0
    for t, bin in ipairs(pool.bins) do bytes = bytes + bin.fresh_left * pool.sizes[t] end
    return bytes
end

-- After a get that met a quota: what idles in other tiers, and what the bins reserved, gives way as far as is needed.
-- Not for one that is beyond all of it, or over its tier's own quota.
local function make_room(pool, n, d)
    local size, most = d and d.size or n, pool.max_bytes or math.huge
    local function lacking() return pool.charged + size - most end
    if d and tier_room(pool, d) == 0 or size > most
        or lacking() > pool.depot_bytes + pool.lease + reserved_bytes(pool) then
        return false
    end
    flush(pool)
    local lacks = lacking()
    if lacks > 0 then depot.trim(pool, math.max(pool.depot_bytes - lacks, 0)) end
    return true
end

-- A block that the bin has not got.
local function refill(pool, t, bin)
    local d = pool.depots[t]
    if pool.shut and not depot.idle_over(pool) then
        set_caps(pool, math.huge)
        pool.shut = false
    end
    if d.free > 0 then
        local got = depot.take(pool, d, bin, bin.cap > 0 and trade_of(bin.cap) or 1)
        bin.held = got - 1
        return bin[got]
    end
    if bin.fresh_left == 0 then
        reserve(pool, d, bin)
        if bin.fresh_left == 0 then return nil end
    end
    bin.fresh_left = bin.fresh_left - 1
    depot.own(pool, d)
    pool.tiers[t].miss = pool.tiers[t].miss + 1
    return bin.fresh
end

local function tier_of(sizes, n)
    local from, to = 1, #sizes + 1
    while from < to do
        local mid = plan.div(from + to, 2)
        if sizes[mid] < n then from = mid + 1 else to = mid end
    end
    return from
end

-- The longest request that a tier's block would leave too much unused for, and that takes less memory alone.
local function alone_below(size, max_waste)
    local least = size * (1 - max_waste)
    local below = math.floor(least)
    if below > 0 and below == least then below = below - 1 end
    return math.min(below, plan.div(size - 1, PAGE) * PAGE)
end

local function count_in_use(pool, bytes)
    pool.in_use_bytes = pool.in_use_bytes + bytes
    if pool.in_use_bytes > pool.peak_in_use_bytes then pool.peak_in_use_bytes = pool.in_use_bytes end
end

local function get_alone(pool, n)
    if pool.max_bytes and pool.charged + n > pool.max_bytes then return nil end
    own_bytes(pool, n)
    pool.charged = pool.charged + n
    return n
end

local function get_tier(pool, t)
    local bin = pool.bins[t]
    if bin.held == 0 then return refill(pool, t, bin) end
    bin.held = bin.held - 1
    return bin[bin.held + 1]
end

local Model = {}
Model.__index = Model

--- A block for n bytes, or nil where it would pass a quota.
---@param n integer
---@return bytepool.simulate.Block|nil
function Model:get(n)
    if not self.bins[1] then attach(self) end
    local t = tier_of(self.sizes, n)
    local alone = self.alone[t]
    local get, what = get_tier, t
    if not alone or alone > 0 and n <= alone then get, what, t = get_alone, n, nil end
    local block = get(self, what)
    if block == nil and make_room(self, n, self.depots[t]) then block = get(self, what) end
    if block == nil then
        self.over_quota = self.over_quota + 1
    elseif t then
        local tier = self.tiers[t]
        tier.get, tier.asked_bytes, tier.in_use = tier.get + 1, tier.asked_bytes + n, tier.in_use + 1
        if tier.in_use > tier.peak_in_use then tier.peak_in_use = tier.in_use end
        count_in_use(self, self.sizes[t])
    else
        self.discarded, self.discarded_bytes = self.discarded + 1, self.discarded_bytes + n
        count_in_use(self, n)
    end
    return block
end

-- ---- put ---------------------------------------------------------------------------

local function store_slow(pool, d, bin, block)
    if bin.cap == 0 then
        depot.give(pool, d, {block}, 1)
    else
        local held = bin.held
        local older = trade_of(held)
        depot.give(pool, d, bin, older)
        for i = older + 1, held do bin[i - older] = bin[i] end
        bin.held = held - older + 1
        bin[bin.held] = block
    end
    keep_bound(pool, d)
end

--- Takes back what get returned.
---@param block bytepool.simulate.Block
function Model:put(block)
    if type(block) == "number" then
        self.discarded_put = self.discarded_put + 1
        self.owned_bytes, self.in_use_bytes = self.owned_bytes - block, self.in_use_bytes - block
        self.charged = self.charged - block
        return
    end
    local d = block.depot
    local bin, tier = self.bins[d.tier], self.tiers[d.tier]
    tier.put, tier.in_use = tier.put + 1, tier.in_use - 1
    self.in_use_bytes = self.in_use_bytes - d.size
    if bin.held < bin.cap then
        bin.held = bin.held + 1
        bin[bin.held] = block
    else
        store_slow(self, d, bin, block)
    end
end

--- Gives all back that no buffer out shares a slab with.
function Model:trim()
    self.trims = self.trims + 1
    flush(self)
    depot.trim(self, 0)
end

local function window_after(now, seconds) return now + math.floor((seconds or 0) * 500) + 1 end

-- Gives back what idled behind the caches all through this window and the one before. Of a tier that was used
-- meanwhile, the last slab with idle blocks stays.
local function decay(pool, d, hot)
    local surplus, before, gone = math.min(d.low, d.low_before), d.low, 0
    while d.tail and not (hot and d.head == d.tail) do
        local blocks = d.tail.free
        if gone + blocks > surplus or not depot.retire(pool, d) then break end
        gone = gone + blocks
    end
    d.low, d.low_before = d.free, math.max(before - gone, 0)
    pool.decayed_bytes = pool.decayed_bytes + gone * d.size
end

--- What pool:tick() does at that time.
---@param seconds number since the pool was made
function Model:tick(seconds)
    local now = math.floor(seconds * 1000)
    if not self.decay or self.decay == 0 or now < self.next_window then return end
    self.next_window = window_after(now, self.decay)
    for t, d in ipairs(self.depots) do
        local used = self.tiers[t].get + self.tiers[t].put
        local hot = used ~= d.used_before
        d.used_before = used
        if not hot and self.bins[t] then flush_bin(self, t) end
        decay(self, d, hot)
    end
end

-- ---- figures -------------------------------------------------------------------------

--- A snapshot, with the names of pool:get_pool_stats(). Peaks of what is in use are exact here.
---@return table
function Model:stats()
    local s = {pools = {}, total_get = 0, total_put = 0, asked_bytes = 0, waste_bytes = 0, idle_bytes = 0, in_use = 0,
        hit = 0, miss = 0}
    for _, key in ipairs {"discarded", "discarded_put", "discarded_bytes", "owned_bytes", "peak_owned_bytes",
        "in_use_bytes", "peak_in_use_bytes", "trimmed_bytes", "trims", "over_quota",
        "decayed_bytes", "retired"} do
        s[key] = self[key]
    end
    for t, tier in ipairs(self.tiers) do
        local d, size = self.depots[t], self.sizes[t]
        local cached = self.bins[t] and self.bins[t].held or 0
        s.pools[size] = {get = tier.get, put = tier.put, hit = tier.get - tier.miss, miss = tier.miss,
            in_use = tier.in_use, peak_in_use = tier.peak_in_use, owned = d.owned, peak_owned = d.peak_owned,
            cached = cached, depot = d.free, idle = cached + d.free, asked_bytes = tier.asked_bytes,
            waste_bytes = tier.get * size - tier.asked_bytes}
        for sum, key in pairs {total_get = "get", total_put = "put", hit = "hit", miss = "miss", in_use = "in_use",
            asked_bytes = "asked_bytes", waste_bytes = "waste_bytes"} do
            s[sum] = s[sum] + s.pools[size][key]
        end
        s.idle_bytes = s.idle_bytes + s.pools[size].idle * size
    end
    s.in_use = s.in_use + s.discarded - s.discarded_put
    s.requests = s.total_get + s.discarded
    return s
end

--- A new pool.
---@param config bytepool.simulate.Config
function model.new(config)
    local pool = setmetatable({
        sizes = config.sizes, limits = {}, max_idle = config.max_idle, max_bytes = config.max_bytes,
        decay = config.decay, depots = {}, bins = {}, tiers = {}, alone = {}, shut = false, lease = 0,
        depot_bytes = 0, empty_slabs = 0, charged = 0, decayed_bytes = 0, next_window = window_after(0, config.decay),
        owned_bytes = 0, peak_owned_bytes = 0, in_use_bytes = 0,
        peak_in_use_bytes = 0, trimmed_bytes = 0, trims = 0, retired = 0, over_quota = 0,
        discarded = 0, discarded_put = 0, discarded_bytes = 0,
    }, Model)
    for t, size in ipairs(config.sizes) do
        local limit = config.limits and config.limits[t] or {}
        pool.limits[t] = limit
        pool.alone[t] = alone_below(size, math.min(limit.max_waste or 1, config.max_waste or 1))
        pool.depots[t] = depot.new(t, size, config.debug and CANARY or 0)
        pool.tiers[t] = {get = 0, put = 0, miss = 0, in_use = 0, peak_in_use = 0, asked_bytes = 0}
    end
    return pool
end

return model
