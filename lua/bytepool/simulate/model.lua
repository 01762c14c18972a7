--- A pool that one thread uses, without its bytes: which get is a hit, what is owned, what goes back to the
--- system. It does as core/cache.c does, and counts as the pool counts.
--
-- A block is its slab, see simulate.depot; an oversize one is its length.
--
-- Since 0.1.0.
-- @module bytepool.simulate.model

local depot = require "bytepool.simulate.depot"
local plan = require "bytepool.simulate.plan"

local model = {}

local SLAB, PAGE, CANARY = plan.SLAB, 4096, 16
local own_bytes = depot.own_bytes

---@alias bytepool.simulate.Block bytepool.simulate.Slab|integer

---@class bytepool.simulate.Config
---@field sizes integer[]
---@field max_idle integer
---@field max_bytes? integer
---@field max_waste? number
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

local function flush(pool)
    for t, bin in ipairs(pool.bins) do
        if bin.held > 0 then depot.give(pool, pool.depots[t], bin, bin.held) end
        bin.held = 0
        drop_fresh(pool, pool.depots[t], bin)
    end
end

local function set_caps(pool, most)
    for _, bin in ipairs(pool.bins) do bin.cap = math.min(bin.planned, most) end
end

local function shut(pool)
    local few = plan.div(plan.div(plan.div(pool.max_idle, 4), SLAB), #pool.depots)
    flush(pool)
    depot.shrink(pool)
    set_caps(pool, few)
    pool.shut = true
end

local function over_own_bound(pool, d)
    local most = pool.limits[d.tier].max_idle
    return most and (d.free + pool.bins[d.tier].planned) * d.size > most
end

-- After each slow half of a release.
local function keep_bound(pool, d)
    repeat until not over_own_bound(pool, d) or not depot.retire(pool, d)
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

-- Whether so many bytes more are within the quota, where all that idles may go for them.
local function within_quota(pool, bytes, limit, owned)
    if limit and limit.max_bytes and owned + bytes > limit.max_bytes then return false end
    if not pool.max_bytes or pool.owned_bytes + bytes <= pool.max_bytes then return true end
    flush(pool)
    depot.trim(pool)
    return pool.owned_bytes + bytes <= pool.max_bytes
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
    if not within_quota(pool, d.size, pool.limits[t], d.owned * d.size) then return nil end
    if bin.fresh_left == 0 then bin.fresh, bin.fresh_left = depot.fresh(pool, d) end
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

-- Whether a request is served alone, as its tier's block would leave too much unused.
local function wastes(pool, t, n)
    local most, size = pool.limits[t].max_waste or pool.max_waste, pool.sizes[t]
    return most and size - n > most * size and math.max(plan.round_up(n, PAGE), PAGE) < size
end

local function count_in_use(pool, bytes)
    pool.in_use_bytes = pool.in_use_bytes + bytes
    if pool.in_use_bytes > pool.peak_in_use_bytes then pool.peak_in_use_bytes = pool.in_use_bytes end
end

local function get_alone(pool, n)
    if not within_quota(pool, n) then return nil end
    own_bytes(pool, n)
    pool.discarded, pool.discarded_bytes = pool.discarded + 1, pool.discarded_bytes + n
    count_in_use(pool, n)
    return n
end

local Model = {}
Model.__index = Model

--- A block for n bytes, or nil where it would pass the quota.
---@param n integer
---@return bytepool.simulate.Block|nil
function Model:get(n)
    if not self.bins[1] then attach(self) end
    local t = tier_of(self.sizes, n)
    local block
    if t > #self.sizes or wastes(self, t, n) then
        block = get_alone(self, n)
    else
        local bin, tier = self.bins[t], self.tiers[t]
        if bin.held > 0 then
            block = bin[bin.held]
            bin.held = bin.held - 1
        else
            block = refill(self, t, bin)
        end
        if block then
            tier.get, tier.asked_bytes = tier.get + 1, tier.asked_bytes + n
            tier.in_use = tier.in_use + 1
            if tier.in_use > tier.peak_in_use then tier.peak_in_use = tier.in_use end
            count_in_use(self, self.sizes[t])
        end
    end
    if not block then self.over_quota = self.over_quota + 1 end
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
    depot.trim(self)
end

-- ---- figures -------------------------------------------------------------------------

--- A snapshot, with the names of pool:get_pool_stats(). Peaks of what is in use are exact here.
---@return table
function Model:stats()
    local s = {pools = {}, total_get = 0, total_put = 0, asked_bytes = 0, waste_bytes = 0, idle_bytes = 0, in_use = 0,
        hit = 0, miss = 0}
    for _, key in ipairs {"discarded", "discarded_put", "discarded_bytes", "owned_bytes", "peak_owned_bytes",
        "in_use_bytes", "peak_in_use_bytes", "trimmed_bytes", "trims", "over_quota", "retired"} do
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
        max_waste = config.max_waste, depots = {}, bins = {}, tiers = {}, shut = false, lease = 0,
        depot_bytes = 0, empty_slabs = 0, owned_bytes = 0, peak_owned_bytes = 0, in_use_bytes = 0,
        peak_in_use_bytes = 0, trimmed_bytes = 0, trims = 0, retired = 0, over_quota = 0,
        discarded = 0, discarded_put = 0, discarded_bytes = 0,
    }, Model)
    for t, size in ipairs(config.sizes) do
        pool.limits[t] = config.limits and config.limits[t] or {}
        pool.depots[t] = depot.new(t, size, config.debug and CANARY or 0)
        pool.tiers[t] = {get = 0, put = 0, miss = 0, in_use = 0, peak_in_use = 0, asked_bytes = 0}
    end
    return pool
end

return model
