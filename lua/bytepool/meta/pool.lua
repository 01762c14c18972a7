---@meta
-- The methods of the userdata, for editors (LuaLS) and the reference (LDoc). Never
-- loaded: lua/binding has the code. All since 0.1.0.
--
-- A wrong argument, a closed pool or a dead handle raises an error with the caller's
-- line, and leaves everything as it was. Only what returns `nil, message` can fail
-- otherwise.

--- Byte buffers from size tiers. Several Lua states and threads of a process may have
-- pools; one userdata belongs to one state.
---@class bytepool.Pool
local Pool = {}

--- A buffer of length n for any number of owners. Its bytes are not cleared.
---@param n integer bytes, 0 to 2^40; above the largest tier it is allocated alone
---@param tag? string for reports on leaks, beside the line of the call
---@return bytepool.Buffer|nil buffer
---@return string? message "out of memory", or "over quota: ..." with the figures and whose max_bytes it was
function Pool:get_buffer(n, tag) end

--- The same, for one owner who gives it back with put.
---@param n integer bytes
---@param tag? string
---@return bytepool.Buffer|nil buffer
---@return string? message
function Pool:get(n, tag) end

--- Gives a buffer back for its only owner. Raises when it is shared.
---@param buf bytepool.Buffer
function Pool:put(buf) end

--- buf:release(), after a check that the buffer is of this pool.
---@param buf bytepool.Buffer
function Pool:release_buffer(buf) end

--- A buffer that holds the bytes of s.
---@param s string
---@return bytepool.Buffer|nil buffer
---@return string? message
function Pool:from_string(s) end

--- An empty buffer to put to, with room for hint bytes. Keep the pool as long as it is to grow:
-- a pool whose last userdata the collector found is closed.
---@param hint? integer default 0
---@return bytepool.Buffer|nil buffer
---@return string? message
function Pool:builder(hint) end

--- Calls fn(buf, ...) with a buffer of length n and gives back all that its handle owns whether fn
-- returns or raises. An error passes through as it is; a traceback of it begins here. On Lua
-- 5.1 fn can not yield.
---@generic T
---@param n integer bytes
---@param fn fun(buf: bytepool.Buffer, ...): T...
---@param ... any
---@return T ... what fn returned; nil and a message where there was no memory
function Pool:using(n, fn, ...) end

--- A scope, whose buffers go back when it is closed; `local scope <close> = pool:scope()` on
-- Lua 5.4.
---@return bytepool.Scope
function Pool:scope() end

--- Makes blocks ready and touches their memory, so that as many gets meet no page fault.
---@param counts table<integer, integer> size in bytes -> how many blocks of its tier
---@return bytepool.Pool|nil pool
---@return string? message "prewarm: would exceed max_idle", "... max_bytes" or "prewarm: out of memory"; then as much
--- idles as before, to a slab
function Pool:prewarm(counts) end

--- Gives idle memory back to the system. Other threads follow at their next slow half.
---@return integer bytes
function Pool:trim() end

--- The same until no more than so many bytes idle behind the threads' caches.
---@param idle integer bytes
---@return integer bytes given back
function Pool:shrink(idle) end

--- What a tick did. Each field is there where that was done.
---@class bytepool.Tick
---@field decayed? integer bytes of idle blocks given back because nobody had needed them
---@field level? number of memory pressure, above 0 to 1
---@field why? string where it came from
---@field shrunk? integer bytes given back for it
---@field retuned? bytepool.Change what `adaptive` changed; with `why`
---@field on_tick? boolean whether it was called
---@field fault? string what the user's functions raised, with file:line; the other parts were done all the same

--- The work that is due: idle memory decays, memory pressure is heeded, `adaptive` looks at the traffic, `on_tick` is
-- called with a snapshot and the pool. For a timer of the program's, once a second. The system's pressure is read at
-- most once a second, for all pools of the Lua state. Functions of the user run in a coroutine of their own
-- and can not yield; a tick within one returns nil.
---@return bytepool.Tick|nil done nil where nothing was due
function Pool:tick() end

--- What pool:configure did, or would do.
---@class bytepool.Change
---@field generation integer of the settings that the pool now has
---@field dry_run boolean
---@field added integer[] sizes of tiers
---@field removed {size: integer, in_use: integer, idle_bytes: integer}[] these drain
---@field kept integer[] with their blocks and counters
---@field changed table<string, {from: any, to: any}> other values by their key in a config, such as "limits.bytes";
--- nil is none, and functions are told as "a function"
---@field text string all of it, to read

--- Gives a pool that runs other tiers and limits. Buffers that are out stay valid, tiers that vanish drain, counters
-- go on. A config is the whole: what it leaves out is the default again, but not what is fixed when a pool is made
-- (name, recent, zero, debug, region_size), which may be left out and not differ. Tiers alone leave all else as it is.
-- All or nothing. Tiers and limits are the pool's, of whatever Lua state; on_tick, adaptive, pressure and leaks are
-- those of this userdata and its state.
---@param new bytepool.Config|bytepool.Tiers
---@param options? {dry_run?: boolean} dry_run: only the checks and the report
---@return bytepool.Change|nil change
---@return string? message too many tiers of earlier tables have buffers out, or out of memory
function Pool:configure(new, options) end

--- Goes back to what the last change replaced, whoever made it; once more goes forth again. on_tick, adaptive,
-- pressure and leaks go back where this userdata made that change.
---@param options? {dry_run?: boolean}
---@return bytepool.Change|nil change
---@return string? message "there is nothing to roll back to"; or as of configure
function Pool:rollback(options) end

--- What the pool goes by, as a config that configure and new_pools take.
---@return bytepool.Config config a new table
function Pool:settings() end

---@alias bytepool.LeakLevel
---| "off" nothing is remembered, at no cost
---| "simple" of 1 handle in 128 which line got it
---| "advanced" of these also a traceback, and the last four lines that retained or released it
---| "paranoid" the same of every handle

--- Sets how closely handles of this pool are traced in this Lua state, from the next one on; without an
-- argument tells it. Those that are traced already stay so.
---@param level? bytepool.LeakLevel
---@return bytepool.Pool|bytepool.LeakLevel
function Pool:leak_level(level) end

---@class bytepool.Leak handles with one cause, folded
---@field kind "out"|"collected"|"over_release"|"overrun" still held; reclaimed by the collector;
--- released once too often; bytes behind its end were written
---@field site string "file:line" that got them
---@field tag? string
---@field count integer traced ones
---@field every? integer one in so many is traced, where not all are
---@field bytes integer of their blocks
---@field age number seconds since the first was got
---@field traceback? string innermost line first
---@field last? string[] of the oldest that is out: "retained at file:line", "released at file:line"
---@field released? string the line of the last release

--- What traced handles tell: faults so far, then all that is still out, by cause.
---@return bytepool.Leak[]
function Pool:leaks() end

--- Ends the pool. Buffers that are out stay valid; the memory goes with the last one.
-- A second call does nothing.
function Pool:close() end

--- What pool:get_pool_stats() says of a tier.
---@class bytepool.TierStats
---@field get integer = hit + miss
---@field put integer
---@field hit integer gets served by a block made before
---@field miss integer gets that made a block
---@field in_use integer = get - put
---@field owned integer = in_use + idle
---@field idle integer = cached + depot
---@field cached integer idle in thread caches
---@field depot integer idle behind them
---@field asked_bytes integer lengths of its gets, summed
---@field waste_bytes integer = size * get - asked_bytes
---@field peak_in_use integer sampled: the highest that snapshots and slow gets saw, never above the true peak
---@field peak_owned integer highest owned so far, exact
---@field collected integer handles that the collector gave back
---@field max_idle? integer its own limit
---@field max_bytes? integer its own limit
---@field draining? boolean true where the tier has left the table and waits for its last buffer

--- Requests of a length up to le and above the le before.
---@class bytepool.Bucket
---@field le integer bytes
---@field count integer at least 1

--- What pool:get_pool_stats() returns.
---@class bytepool.Stats
---@field name string
---@field pools table<integer, bytepool.TierStats> by tier size
---@field requests integer = total_get + discarded
---@field total_get integer over all tiers, drained ones too
---@field total_put integer
---@field discarded integer requests that no tier served: above the largest, or by max_waste
---@field discarded_put integer of those, given back
---@field discarded_bytes integer their lengths, summed
---@field in_use integer live buffers, oversize ones too
---@field in_use_bytes integer their blocks
---@field idle_bytes integer kept for reuse
---@field owned_bytes integer = in_use_bytes + idle_bytes
---@field peak_owned_bytes integer exact
---@field reserved_bytes integer address space
---@field trimmed_bytes integer given back to the system, summed
---@field exported integer tokens that nobody imported yet
---@field max_idle integer the option
---@field max_bytes? integer the option
---@field max_waste? number the option
---@field decay number the option, seconds
---@field generation integer of the settings: 1, and one more with each change
---@field over_quota integer gets that a max_bytes refused; a buffer that grows tries twice
---@field decayed_bytes integer of trimmed_bytes, by ticks
---@field drained {tiers: integer, get: integer, put: integer, hit: integer, miss: integer, asked_bytes: integer,
--- waste_bytes: integer, collected: integer} sums of tiers that left the table and have nothing out any more
---@field threads integer thread caches
---@field pinned_bytes integer of blocks that only slices of this Lua state hold, what these do not show
---@field overruns integer blocks written behind their end, of a pool with the option debug
---@field late_writes integer blocks written while they were idle, of such a pool
---@field leak_level bytepool.LeakLevel
---@field leaks bytepool.Leak[] of this Lua state
---@field gc bytepool.Pacing of this Lua state, over all its pools
---@field asked_bytes integer sum over the tiers
---@field waste_bytes integer sum over the tiers
---@field peak_in_use_bytes integer sampled, as a tier's peak_in_use
---@field resident_bytes integer an estimate: blocks owned and what describes them, as if written whole
---@field returned_bytes integer memory of blocks given back to the system, summed
---@field trims integer calls of trim
---@field collected integer sum over the tiers, and of oversize buffers
---@field double_releases integer releases of dead buffers and raw pointers that were refused
---@field uptime number seconds since the pool was made
---@field time integer unix time of the snapshot, seconds
---@field histogram bytepool.Bucket[] lengths of all requests, rising; a tier's size ends a bucket. Requests before
--- a change of the tiers are in plain buckets, 8 to a power of two
---@field recent_lengths integer[] lengths of the last requests, oldest first

--- A snapshot: a new plain table.
---@return bytepool.Stats
function Pool:get_pool_stats() end

--- How many requests were above the largest tier.
---@return integer
function Pool:get_discarded_count() end

--- The tier sizes, rising.
---@return integer[]
function Pool:get_available_sizes() end

--- Publishes the pool for bytepool.report.expvar(). Raises when another open pool has
-- the prefix.
---@param prefix string not empty
---@return bytepool.Pool self
function Pool:expvar(prefix) end
