---@meta
-- Buffers, as pool.lua says at its head. numbers.lua has their methods for numbers.

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

-- Files and lines.

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
