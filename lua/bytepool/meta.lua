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
---@return string? message "out of memory"
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
---@return string? message "prewarm: would exceed max_idle", or out of memory
function Pool:prewarm(counts) end

--- Gives idle memory back to the system. Other threads follow at their next slow half.
---@return integer bytes
function Pool:trim() end

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

--- Requests of a length up to le and above the le before.
---@class bytepool.Bucket
---@field le integer bytes
---@field count integer at least 1

--- What pool:get_pool_stats() returns.
---@class bytepool.Stats
---@field name string
---@field pools table<integer, bytepool.TierStats> by tier size
---@field requests integer = total_get + discarded
---@field total_get integer over all tiers
---@field total_put integer
---@field discarded integer requests above the largest tier
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
---@field histogram bytepool.Bucket[] lengths of all requests, rising; a tier's size ends a bucket
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

--- A handle on a block of bytes. It owns a number of the block's references: retain
-- adds one, release takes one; without any the handle is dead. The collector gives
-- back what a forgotten handle owns.
---@class bytepool.Buffer
---@operator len: integer
---@operator concat(string|number|bytepool.Buffer): string
local Buffer = {}

--- One more reference for this handle.
---@return bytepool.Buffer self
function Buffer:retain() end

--- One reference less. Raises when the handle has none left.
function Buffer:release() end

--- Another handle on the same bytes, with one reference of its own, for another owner.
---@return bytepool.Buffer
function Buffer:share() end

--- A short printable token that owns a reference of its own, for another Lua state of the
-- process: `bytepool.import(token)` takes that over, once. A token that nobody imports
-- keeps its block for good; the pool's stats count them as `exported`.
---@return string|nil token nil where memory ran out
---@return string? message
function Buffer:export() end

--- The same, and a function that releases that handle. It works once.
---@return bytepool.Buffer view
---@return fun() release
function Buffer:bytes() end

--- References to the block, over all handles.
---@return integer
function Buffer:ref_count() end

--- Length in bytes, as `#buf`.
---@return integer
function Buffer:len() end

--- Bytes from the first one on that the buffer holds without growing, at least the length.
---@return integer
function Buffer:capacity() end

--- The bytes as a Lua string: a copy.
---@return string
function Buffer:tostring() end

--- Bytes i to j as a Lua string, positions as string.sub has them: clamped.
---@param i integer
---@param j? integer default -1
---@return string
function Buffer:sub(i, j) end

--- The values of bytes i to j, as string.byte.
---@param i? integer default 1
---@param j? integer default i
---@return integer ...
function Buffer:byte(i, j) end

--- Whether it holds these bytes and no others.
---@param other string|bytepool.Buffer
---@return boolean
function Buffer:equals(other) end

--- Order by bytes without sign, then by length, as `<` and `<=` have it. These take a string
-- on one side from Lua 5.2 on; before, and on LuaJIT, two buffers only.
---@param other string|bytepool.Buffer
---@return -1|0|1
function Buffer:compare(other) end

--- Whether it begins with these bytes.
---@param prefix string|bytepool.Buffer
---@return boolean
function Buffer:starts_with(prefix) end

--- Whether it ends with these bytes.
---@param suffix string|bytepool.Buffer
---@return boolean
function Buffer:ends_with(suffix) end

--- Where needle begins and ends, as string.find with plain set: from init on, clamped; nil
-- where it is not there.
---@param needle string|bytepool.Buffer
---@param init? integer default 1
---@return integer|nil first
---@return integer? last
function Buffer:find(needle, init) end

--- Writes s over the bytes from pos on. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@param s string
---@return bytepool.Buffer self
function Buffer:set_string(pos, s) end

--- Writes bytes i to j of a string or buffer over those from pos on; the two may overlap.
-- Raises where positions are not in the one's length, or the bytes do not fit in the other's.
---@param pos integer from 1, or negative from the end
---@param from string|bytepool.Buffer
---@param i? integer default 1
---@param j? integer default -1
---@return bytepool.Buffer self
function Buffer:copy(pos, from, i, j) end

--- Sets bytes i to j. Raises where the positions are not in the length.
---@param value integer 0 to 255
---@param i? integer default 1
---@param j? integer default -1
---@return bytepool.Buffer self
function Buffer:fill(value, i, j) end

-- Several handles on one block. Only who owns all of its references may let it grow; all may
-- write to it, unless it is frozen.

--- A handle on bytes i to j of the same block, with a reference of its own. It does not grow.
-- Raises where the positions are not in the length.
---@param i? integer default 1
---@param j? integer default -1
---@return bytepool.Buffer
function Buffer:slice(i, j) end

--- The first n bytes as a slice; self becomes a slice of the rest.
---@param n integer at most the length
---@return bytepool.Buffer head
function Buffer:split(n) end

--- Whether all references to the block are this handle's.
---@return boolean
function Buffer:is_unique() end

--- From now on no handle can write to the block or grow. There is no way back but unshare.
---@return bytepool.Buffer self
function Buffer:freeze() end

--- Whether freeze was called for the block.
---@return boolean
function Buffer:is_frozen() end

--- Moves the bytes to a block of this handle alone where the block is shared, frozen, or self
-- a slice of it.
---@return bytepool.Buffer|nil self
---@return string? message "out of memory"
function Buffer:unshare() end

-- Building, by the names of LuaJIT's string.buffer. What grows raises for a buffer that is shared,
-- frozen or a slice, or whose pool was closed when it needs a larger block, and returns
-- `nil, message` where memory ran out. A growing buffer moves to a block of twice the size
-- or the tier that fits, and its old block goes back.

--- Sets the length. New bytes are zero.
---@param n integer
---@return bytepool.Buffer|nil self
---@return string? message
function Buffer:resize(n) end

--- Appends. Numbers, and values with a __tostring, as tostring shows them.
---@param ... string|number|bytepool.Buffer
---@return bytepool.Buffer|nil self
---@return string? message
function Buffer:put(...) end

--- Appends string.format(format, ...).
---@param format string
---@param ... any
---@return bytepool.Buffer|nil self
---@return string? message
function Buffer:putf(format, ...) end

--- Replaces all bytes.
---@param value string|number|bytepool.Buffer
---@return bytepool.Buffer|nil self
---@return string? message
function Buffer:set(value) end

--- Makes room for n bytes behind the last one. Their values are not defined.
---@param n integer
---@return integer|nil room at least n
---@return string? message
function Buffer:reserve(n) end

--- Lengthens the buffer by n bytes of that room.
---@param n integer
---@return bytepool.Buffer self
function Buffer:commit(n) end

--- Consumes n bytes at the front, or all where it has less.
---@param n integer
---@return bytepool.Buffer self
function Buffer:skip(n) end

--- Consumes bytes and returns them: n of each, less where no more are left; without n, or for
-- nil, all.
---@param ... integer|nil
---@return string ...
function Buffer:get(...) end

--- Length 0; the block stays, with what was consumed of it.
---@return bytepool.Buffer self
function Buffer:reset() end

--- Length 0; the block goes back for one of the smallest tier.
---@return bytepool.Buffer|nil self
---@return string? message
function Buffer:free() end

--- LuaJIT only: the address of the first byte, and the length. Valid while the handle is alive
-- and not changed: keep the handle, and ask again after put, set, resize, reserve, commit, skip,
-- get, reset, free, split, unshare. Elsewhere it raises.
---@return ffi.cdata* pointer uint8_t *
---@return integer length
function Buffer:ref() end

--- Buffers that go back together, see Pool:scope. Since 0.1.0.
---@class bytepool.Scope
local Scope = {}

--- pool:get_buffer(n), for the scope to give back.
---@param n integer bytes
---@return bytepool.Buffer|nil buffer
---@return string? message
function Scope:get_buffer(n) end

--- Hands a buffer of any pool over to the scope.
---@param buf bytepool.Buffer
---@return bytepool.Buffer buf
function Scope:add(buf) end

--- Gives back all that its handles own, the last one first; who was released by hand is skipped.
-- A second call does nothing.
function Scope:close() end

--- Reads from a Lua file or a descriptor to the end of the buffer, which grows as by put.
-- A file gives n bytes if it has them; a descriptor is asked once (again where a signal
-- interrupted), and gives what is there. Bytes that came before an error are a success, and
-- the next call tells the error.
---@param file file*|integer
---@param n? integer at most; room for them is made first. Default: the room there is, or
--- 4096 where there is less
---@return integer|nil count 0 at the end; nil where nothing could be read (EAGAIN too)
---@return string? message
---@return integer? errno none where memory ran out
function Buffer:read_from(file, n) end

--- Writes all of the contents to a Lua file or a descriptor, and consumes nothing: after an
-- error `buf:skip(written)` leaves what is still to be written. A Lua file is flushed first
-- and then written past its own buffer, so that `written` is what the system took; for many
-- small pieces see bytepool.writev, and also for SIGPIPE.
---@param file file*|integer
---@return integer|nil written the length
---@return string? message
---@return integer? errno
---@return integer? written before the error
function Buffer:write_to(file) end

--- For a loop over the lines, without their "\n", as slices for the caller to release; the
-- second value is false for a last one that nothing ended. `buf` may be released meanwhile;
-- until the end of the loop it is shared. A loop that is left early lets go of its own
-- reference at once on Lua 5.4, elsewhere when the collector finds it.
---@param max? integer a longer line raises an error, after which the loop is over
---@return fun(): bytepool.Buffer?, boolean?
function Buffer:lines(max) end

--- The same with another delimiter. Nothing follows a delimiter at the very end.
---@param delimiter string not empty
---@param max? integer
---@return fun(): bytepool.Buffer?, boolean?
function Buffer:split_on(delimiter, max) end
