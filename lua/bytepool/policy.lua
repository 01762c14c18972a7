--- Which tiers a pool has, as a policy: a function that returns an array of sizes, or a table with a
--- function `sizes` that does so, called as `policy:sizes()`.
--
-- `bytepool.new_pools` takes one in place of the sizes, and runs it once, when the pool is made. A
-- function of your own is as good as the ready ones here, and so is a plain array wherever a policy
-- may stand. A size is a number of bytes or a string such as "64KiB".
--
--     local policy = require "bytepool.policy"
--     local pool = bytepool.new_pools(policy.merge(policy.stream(), {"2MiB"}))
--     local own = bytepool.new_pools(function() return {512, "4KiB", "64KiB"} end)
--
-- A wrong argument raises an error with the caller's line; so does a policy that can give no sizes.
--
-- Since 0.1.0.
-- @module bytepool.policy

local core = require "bytepool.core"
local options = require "bytepool.options"
local schemas = require "bytepool.policy.schemas"
local tiers = require "bytepool.tiers"

local policy = {}

-- Loaded at first use, for programs that have no need of them.
local function part(name) return require("bytepool.policy." .. name) end

local MAX_TIERS = core.max_tiers

---@alias bytepool.Size integer|string bytes, or a string such as "64KiB"
---@alias bytepool.Tiers (bytepool.Size|bytepool.Tier)[]|fun(): (bytepool.Size|bytepool.Tier)[]|bytepool.Policy
---@alias bytepool.Requests integer[]|table<integer, integer>|bytepool.Bucket[]|bytepool.Stats

--- A tier with limits of its own.
---@class bytepool.Tier
---@field size bytepool.Size
---@field max_idle? bytepool.Size bytes of its blocks kept for reuse
---@field max_bytes? bytepool.Size a quota on what its blocks take, in use and idle
---@field max_waste? number 0 to 1: a request that would leave a larger share of a block unused is served alone

--- A policy as a table.
---@class bytepool.Policy
---@field sizes fun(self: bytepool.Policy): (bytepool.Size|bytepool.Tier)[] the tiers, strictly rising
---@field name? string

local function made(name, sizes, limits)
    return {name = name, sizes = function() return tiers.join(sizes, limits or {}) end}
end

-- Whom the errors blame: the caller of the function of this file that calls it.
local function checked(name, given, schema)
    local values, message = options.check(name, given, schema)
    if not values then error(message, 3) end
    return values
end

local function by_series(name, given, schema)
    local values, message = options.check(name, given, schema)
    if not values then error(message, 3) end
    local sizes, fault = part("series")[name](values)
    if not sizes then error(("%s: %s"):format(name, fault), 3) end
    return made(name, sizes)
end

local function listed(name, given, argument)
    local sizes, limits = tiers.list(given, tiers.MOST, argument)
    if not sizes then error(("%s: %s"):format(name, limits), 3) end
    return sizes, limits
end

-- ---- ready ones --------------------------------------------------------------

--- Powers of two: 512, 1024, 2048, ...
---@param given? {from?: bytepool.Size, to?: bytepool.Size} powers of two; default 128 to "2MiB"
---@return bytepool.Policy
function policy.power_of_two(given)
    local made_of = by_series("power_of_two", given, schemas.power_of_two)
    return made_of
end

--- Powers of two and halfway between them, as Netty's size classes begin: 512, 768, 1024, 1536, ...
---@param given? {from?: bytepool.Size, to?: bytepool.Size} powers of two; default 128 to "2MiB"
---@return bytepool.Policy
function policy.power_of_two_plus(given)
    local made_of = by_series("power_of_two_plus", given, schemas.power_of_two_plus)
    return made_of
end

--- The tiers of a media stream, as `bytepool.size_stream`.
---@return bytepool.Policy
function policy.stream()
    return made("stream", core.size_stream())
end

--- Equal steps: from, from + step, and so on; the last is `to`, also where no step meets it.
---@param given {from: bytepool.Size, to: bytepool.Size, step: bytepool.Size}
---@return bytepool.Policy
function policy.linear(given)
    local made_of = by_series("linear", given, schemas.linear)
    return made_of
end

--- Equal ratios: from, from * ratio, and so on, each rounded to a whole number and up to a multiple of
-- `align`; the last is `to`. A request between two tiers wastes at most ratio - 1 of its length.
---@param given {from: bytepool.Size, to: bytepool.Size, ratio: number, align?: bytepool.Size} ratio: above 1;
--- align: default 1
---@return bytepool.Policy
function policy.geometric(given)
    local made_of = by_series("geometric", given, schemas.geometric)
    return made_of
end

--- Each multiple of the page from `from` to `to`, which are rounded up to such.
---@param given {to: bytepool.Size, from?: bytepool.Size, page?: bytepool.Size} from: default one page;
--- page: default 4096
---@return bytepool.Policy
function policy.page_multiples(given)
    local made_of = by_series("page_multiples", given, schemas.page_multiples)
    return made_of
end

-- ---- composing ---------------------------------------------------------------

--- All sizes of several policies. They run here. A tier that several have with limits gets those of the last.
---@param ... bytepool.Tiers at least one
---@return bytepool.Policy
function policy.merge(...)
    local arrays, limits = {}, {}
    if select("#", ...) == 0 then error("merge: takes at least one policy or array of sizes", 2) end
    for i = 1, select("#", ...) do
        local sizes, own = listed("merge", (select(i, ...)), tostring(i))
        arrays[i] = sizes
        for bytes, entry in pairs(own) do limits[bytes] = entry end
    end
    return made("merge", part("series").union(arrays), limits)
end

--- No more than so many tiers, no tier above a size, or both. Where there are too many tiers, those go whose
-- next larger one is nearest in proportion, and the largest stays. Where there are too large ones, the limit
-- takes their place. Tiers that stay keep their limits. The policy runs here.
---@param given_policy bytepool.Tiers of up to 4096 sizes
---@param limit integer|{tiers?: integer, to?: bytepool.Size} 1 to 64 tiers, or a table
---@return bytepool.Policy
function policy.cap(given_policy, limit)
    if limit == nil then error("cap: argument 'limit' must be a number of tiers or a table, got nil", 2) end
    local values = checked("cap", type(limit) == "table" and limit or {tiers = limit}, schemas.cap)
    local sizes, limits = listed("cap", given_policy, "policy")
    if values.to then sizes = part("series").below(sizes, values.to) end
    if values.tiers then sizes = part("series").thin(sizes, values.tiers) end
    return made("cap", sizes, limits)
end

--- The sizes that a policy gives, looked through as a pool does it.
---@param given bytepool.Tiers
---@return integer[] sizes a new table, 1 to 64
function policy.sizes(given)
    local sizes, fault = tiers.list(given)
    if not sizes then error("sizes: " .. fault, 2) end
    return sizes
end

-- ---- fitting -----------------------------------------------------------------

--- What tiers would make of requests. Ratios are from 0 to 1.
---@class bytepool.Prediction
---@field requests integer
---@field discarded integer requests above the largest tier; the fields below are without them
---@field asked_bytes integer
---@field waste_bytes integer size of the tier - size asked for, summed
---@field waste number = waste_bytes / asked_bytes
---@field hits number of the requests, gets served by a block that was used before, where each buffer goes
--- back before the next get: all but the first of each tier. With k buffers out at once up to k times as
--- many miss
---@field tiers {size: integer, requests: integer, asked_bytes: integer, waste_bytes: integer}[]

local function read_samples(name, given)
    local read, fault = part("samples").read(given)
    if not read then error(("%s: %s"):format(name, fault), 3) end
    return read
end

--- The tiers that waste least for these requests, of all there are: the sum of tier - size over all of them is
-- the least possible. The largest holds the largest request. Exact while requests * largest size stays below
-- 2^53. Time goes with distinct sizes * tiers, memory with distinct sizes.
---@param requests bytepool.Requests an array of sizes, a table size -> count, a snapshot's `histogram`, or the
--- snapshot; of a histogram, which does not tell sizes within a bucket, they are the buckets' bounds. A table with
--- the keys 1 to n is an array
---@param n integer how many tiers at most, 1 to 64
---@param given? {align?: bytepool.Size, max_waste?: number} align: tiers are multiples of it (default 1; 64 is a
--- cache line); max_waste: a ratio, as 0.02, for the fewest tiers that waste no more where n are enough for that
---@return integer[] sizes
---@return bytepool.Prediction
function policy.fit(requests, n, given)
    if not options.is_whole(n, 1, MAX_TIERS) then
        error(("fit: argument 'n' must be a whole number from 1 to %d, got %s"):format(MAX_TIERS,
            options.show(n)), 2)
    end
    local values = checked("fit", given, schemas.fit)
    local read = read_samples("fit", requests)
    local sizes = part("fit").best(read, n, values.align, values.max_waste)
    return sizes, part("predict")(read, sizes)
end

--- What tiers would make of requests.
---@param requests bytepool.Requests
---@param given bytepool.Tiers
---@return bytepool.Prediction
function policy.predict(requests, given)
    local read = read_samples("predict", requests)
    local sizes, fault = tiers.list(given)
    if not sizes then error("predict: " .. fault, 2) end
    return part("predict")(read, sizes)
end

--- The tiers of `policy.fit`.
---@param given {samples: bytepool.Requests, tiers: integer, align?: bytepool.Size, max_waste?: number}
---@return bytepool.Policy
function policy.fitted(given)
    local values = checked("fitted", given, schemas.fitted)
    local read = read_samples("fitted", values.samples)
    return made("fitted", part("fit").best(read, values.tiers, values.align, values.max_waste))
end

-- ---- adapting ----------------------------------------------------------------

--- A change of tiers that an adaptive policy proposed.
---@class bytepool.Retune
---@field time integer of the snapshot
---@field requests integer since the proposal before
---@field from integer[] tiers
---@field to integer[]
---@field waste_before number of these requests, in proportion to the bytes asked for
---@field predicted number what `to` would have wasted of them
---@field why string
---@field applied? boolean whether the pool had them at the next look
---@field measured? number what they wasted of what was asked for since then, as far as they were looked at

--- What policy.adaptive makes. One serves one pool.
---@class bytepool.Adaptive
---@field look fun(self: bytepool.Adaptive, stats: bytepool.Stats, given?: table): table|nil, string other tiers
--- for the pool of this snapshot or nil, and why; `given` are its tiers with limits, which those keep that stay
---@field due fun(self: bytepool.Adaptive, now: number): boolean whether `every` seconds passed since it last was
---@field log fun(self: bytepool.Adaptive): bytepool.Retune[] what it proposed, the last 32
---@field last fun(self: bytepool.Adaptive): table|nil time, requests, waste, predicted and why of the last look

--- Tiers that follow the traffic. From each snapshot it learns what was asked for since the one before, lengths
-- that were seen in recent_lengths exactly, and older requests count less and less. It proposes other tiers where
-- these would waste less by `gain`, and where the largest size ever asked for still has a tier. Traffic that stays
-- as it is sees one change, and a few more while the sample grows; where changes follow soon on each other, the
-- wait between them doubles each time.
--
-- It only looks and proposes: who owns the pool takes the snapshots and changes it.
---@param given? {tiers?: integer, max_waste?: number, gain?: number, every?: number, min_requests?: integer,
--- align?: bytepool.Size, forget?: integer, cap?: bytepool.Size} tiers: at most so many (16); gain: the least share
--- of the bytes asked for that a change must save (0.02); max_waste: a share that will do, with as few tiers as it
--- takes; min_requests: between changes (4000); every: seconds between looks (1); forget: after so many requests
--- earlier ones count half (8 * min_requests); align: tiers are multiples of it (1); cap: no tier above it
---@return bytepool.Adaptive
function policy.adaptive(given)
    local new, message = part("adaptive").new(given)
    if not new then error(message, 2) end
    return new
end

-- ---- simulating --------------------------------------------------------------

--- What a pool would count, after a trace: the fields that pool:get_pool_stats() has too mean the same. Ratios
-- are from 0 to 1.
---@class bytepool.Simulation
---@field requests integer = total_get + discarded
---@field total_get integer over all tiers
---@field total_put integer
---@field discarded integer requests that no tier served
---@field discarded_put integer
---@field discarded_bytes integer
---@field hit integer gets served by a block made before
---@field miss integer gets that made a block
---@field hits number = hit / requests
---@field asked_bytes integer over all tiers
---@field waste_bytes integer
---@field waste number = waste_bytes / asked_bytes
---@field in_use integer 0, as all goes back at the end of a trace
---@field in_use_bytes integer
---@field peak_in_use_bytes integer exact
---@field idle_bytes integer
---@field owned_bytes integer
---@field peak_owned_bytes integer
---@field trims integer lines `trim`
---@field trimmed_bytes integer given back to the system, summed
---@field decayed_bytes integer of these, by decay
---@field retired integer slabs given back
---@field over_quota integer gets refused
---@field pools table<integer, table> by tier size: get, put, hit, miss, in_use, peak_in_use, owned, peak_owned, idle,
--- cached, depot, asked_bytes, waste_bytes

local simulate_schema = {hold = {type = "integer", min = 0, max = 2 ^ 53, default = 0}}

--- Replays a trace through a model of the pool that one thread uses. Its figures are those of the real pool.
--
-- A trace is an array of sizes, in the order of the requests, and of lines as the command reads them: "64KiB 3" for
-- three buffers, "4096 @10" for one that stays out during the ten gets after it, "get a 4096" and "put a", "time 1.5"
-- for a pool:tick() at that second, "trim". What is out at the end goes back then.
--
--     local told = policy.simulate({tiers = policy.stream(), limits = {idle = "16MiB"}}, {512, 4096, "64KiB @2"})
--     print(told.hit, told.miss, told.peak_owned_bytes)
---@param given bytepool.Tiers|table sizes, a policy, or what a config file returns. Of its limits it heeds `idle`
--- (default 256 MiB), `bytes`, `waste`, `decay`, and those of tiers
---@param trace (integer|string)[]
---@param given_options? {hold?: integer} hold: during how many gets a buffer stays out where the trace does not say
--- it; default 0: it goes back before the next
---@return bytepool.Simulation
function policy.simulate(given, trace, given_options)
    local values = checked("simulate", given_options, simulate_schema)
    local config, fault = require("bytepool.simulate.config").read(given)
    if not config then error("simulate: " .. fault, 2) end
    local read, wrong = require("bytepool.simulate.lines").of_array(trace)
    if not read then error("simulate: " .. wrong, 2) end
    return require("bytepool.simulate.run")(config, read, values.hold)
end

return policy
