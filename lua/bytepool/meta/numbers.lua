---@meta
-- The buffers' methods for numbers; buffer.lua has the others, and pool.lua says at its head how they
-- are meant. lua/binding/number.c and pack.c have the code.

---@class bytepool.Buffer
local Buffer = {}

-- Numbers at a position: a byte, or 16, 32 and 64 bits with the low (le) or the high byte (be)
-- first. They need not be aligned. Where they do not fit in the length they raise. Integers of
-- 64 bits are Lua's own from 5.3 on (u64 wraps), int64_t and uint64_t on LuaJIT, and numbers
-- elsewhere, where a read beyond 2^53 raises. A write takes whole numbers in range, LuaJIT's
-- cdata too, and of 64 bits either sign's encoding; floats are rounded as C does.

--- The unsigned integer of 8 bits at pos. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u8(pos) end

--- Writes an unsigned integer of 8 bits at pos. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u8(pos, v) end

--- The signed integer of 8 bits at pos. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i8(pos) end

--- Writes a signed integer of 8 bits at pos. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i8(pos, v) end

--- The unsigned integer of 16 bits at pos, low byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u16le(pos) end

--- Writes an unsigned integer of 16 bits at pos, low byte first. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u16le(pos, v) end

--- The unsigned integer of 16 bits at pos, high byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u16be(pos) end

--- Writes an unsigned integer of 16 bits at pos, high byte first. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u16be(pos, v) end

--- The signed integer of 16 bits at pos, low byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i16le(pos) end

--- Writes a signed integer of 16 bits at pos, low byte first. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i16le(pos, v) end

--- The signed integer of 16 bits at pos, high byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i16be(pos) end

--- Writes a signed integer of 16 bits at pos, high byte first. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i16be(pos, v) end

--- The unsigned integer of 32 bits at pos, low byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u32le(pos) end

--- Writes an unsigned integer of 32 bits at pos, low byte first. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u32le(pos, v) end

--- The unsigned integer of 32 bits at pos, high byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u32be(pos) end

--- Writes an unsigned integer of 32 bits at pos, high byte first. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u32be(pos, v) end

--- The signed integer of 32 bits at pos, low byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i32le(pos) end

--- Writes a signed integer of 32 bits at pos, low byte first. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i32le(pos, v) end

--- The signed integer of 32 bits at pos, high byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i32be(pos) end

--- Writes a signed integer of 32 bits at pos, high byte first. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i32be(pos, v) end

--- The unsigned integer of 64 bits at pos, low byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u64le(pos) end

--- Writes an unsigned integer of 64 bits at pos, low byte first. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u64le(pos, v) end

--- The unsigned integer of 64 bits at pos, high byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:u64be(pos) end

--- Writes an unsigned integer of 64 bits at pos, high byte first. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_u64be(pos, v) end

--- The signed integer of 64 bits at pos, low byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i64le(pos) end

--- Writes a signed integer of 64 bits at pos, low byte first. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i64le(pos, v) end

--- The signed integer of 64 bits at pos, high byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return integer
function Buffer:i64be(pos) end

--- Writes a signed integer of 64 bits at pos, high byte first. Raises for a v out of range,
-- for a pos where it does not fit in the length, and for a frozen buffer.
---@param pos integer
---@param v integer
---@return bytepool.Buffer self
function Buffer:set_i64be(pos, v) end

--- The float of 32 bits at pos, low byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return number
function Buffer:f32le(pos) end

--- Writes a float of 32 bits at pos, low byte first. Raises for a pos where it does not fit
-- in the length, and for a frozen buffer.
---@param pos integer
---@param v number
---@return bytepool.Buffer self
function Buffer:set_f32le(pos, v) end

--- The float of 32 bits at pos, high byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return number
function Buffer:f32be(pos) end

--- Writes a float of 32 bits at pos, high byte first. Raises for a pos where it does not fit
-- in the length, and for a frozen buffer.
---@param pos integer
---@param v number
---@return bytepool.Buffer self
function Buffer:set_f32be(pos, v) end

--- The double at pos, low byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return number
function Buffer:f64le(pos) end

--- Writes a double at pos, low byte first. Raises for a pos where it does not fit
-- in the length, and for a frozen buffer.
---@param pos integer
---@param v number
---@return bytepool.Buffer self
function Buffer:set_f64le(pos, v) end

--- The double at pos, high byte first. Raises where it does not fit in the length.
---@param pos integer from 1, or negative from the end
---@return number
function Buffer:f64be(pos) end

--- Writes a double at pos, high byte first. Raises for a pos where it does not fit
-- in the length, and for a frozen buffer.
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
