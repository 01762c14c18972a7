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
---@return bytepool.Buffer|nil buffer
---@return string? message "out of memory"
function Pool:get_buffer(n) end

--- The same, for one owner who gives it back with put.
---@param n integer bytes
---@return bytepool.Buffer|nil buffer
---@return string? message
function Pool:get(n) end

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

--- Makes blocks ready and touches their memory, so that as many gets meet no page fault.
---@param counts table<integer, integer> size in bytes -> how many blocks of its tier
---@return bytepool.Pool|nil pool
---@return string? message "prewarm: would exceed max_idle", or out of memory
function Pool:prewarm(counts) end

--- Gives idle memory back to the system. Other threads follow at their next slow half.
---@return integer bytes
function Pool:trim() end

--- Ends the pool. Buffers that are out stay valid; the memory goes with the last one.
-- A second call does nothing.
function Pool:close() end

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

--- Bytes of the block, at least the length.
---@return integer
function Buffer:capacity() end

--- The bytes as a Lua string: a copy.
---@return string
function Buffer:tostring() end

--- Bytes i to j as a Lua string, positions as string.sub has them.
---@param i integer
---@param j? integer default -1
---@return string
function Buffer:sub(i, j) end

--- The values of bytes i to j, as string.byte.
---@param i? integer default 1
---@param j? integer default i
---@return integer ...
function Buffer:byte(i, j) end

--- Writes s over the bytes from pos on. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@param s string
---@return bytepool.Buffer self
function Buffer:set_string(pos, s) end

-- Numbers at a position: a byte, or 16, 32 and 64 bits with the low (le) or the high byte (be)
-- first. They need not be aligned. Where they do not fit in the length they raise. Integers of
-- 64 bits are Lua's own from 5.3 on (u64 wraps), int64_t and uint64_t on LuaJIT, and numbers
-- elsewhere, where a read beyond 2^53 raises. A write takes whole numbers in range, LuaJIT's
-- cdata too, and of 64 bits either sign's encoding; floats are rounded as C does.

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u8(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u8(pos, v) end

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i8(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i8(pos, v) end

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u16le(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u16le(pos, v) end

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u16be(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u16be(pos, v) end

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i16le(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i16le(pos, v) end

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i16be(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i16be(pos, v) end

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u32le(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u32le(pos, v) end

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u32be(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u32be(pos, v) end

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i32le(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i32le(pos, v) end

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i32be(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i32be(pos, v) end

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u64le(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u64le(pos, v) end

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u64be(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u64be(pos, v) end

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i64le(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i64le(pos, v) end

---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i64be(pos) end

---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i64be(pos, v) end

---@param pos integer from 1, or negative from the end
---@return number
function Buffer:f32le(pos) end

---@param pos integer
---@param v number
---@return bytepool.Buffer self
function Buffer:set_f32le(pos, v) end

---@param pos integer from 1, or negative from the end
---@return number
function Buffer:f32be(pos) end

---@param pos integer
---@param v number
---@return bytepool.Buffer self
function Buffer:set_f32be(pos, v) end

---@param pos integer from 1, or negative from the end
---@return number
function Buffer:f64le(pos) end

---@param pos integer
---@param v number
---@return bytepool.Buffer self
function Buffer:set_f64le(pos, v) end

---@param pos integer from 1, or negative from the end
---@return number
function Buffer:f64be(pos) end

---@param pos integer
---@param v number
---@return bytepool.Buffer self
function Buffer:set_f64be(pos, v) end

--- Appends values as string.pack of Lua 5.3 lays them out (alignment counts from the first of
-- them), by the rules of put. For z, s and c a value may be a buffer.
---@param fmt string
---@param ... integer|number|string|bytepool.Buffer
---@return bytepool.Buffer|nil self
---@return string? message
function Buffer:pack(fmt, ...) end

--- Values as string.unpack of Lua 5.3 reads them, and the position behind them; alignment
-- counts from the beginning of the buffer. Integers of 7 bytes and more are what u64le gives.
---@param fmt string
---@param pos? integer default 1
---@return any ...
function Buffer:unpack(fmt, pos) end

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
