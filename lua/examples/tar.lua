--- Tar: lists an archive and copies it entry by entry, without a string of its contents.
--
--     tar.lua IN [OUT]
--
-- Prints the names as `tar tf` does, and checks every header's checksum on the way. With
-- OUT it writes the archive anew from the slices that it read: a header and what belongs
-- to it go out in one writev, and only what is looked at, names and sizes, becomes strings.
--
-- Understands ustar, the GNU format (long names, sparse files) and pax. Exit status: 0, or
-- 1 when the archive is damaged or cannot be read or written.

local bytepool = require "bytepool"

local BLOCK = 512
local WINDOW = 256 * 1024     -- read at once; a longer entry goes through in pieces
local RECORD = 20 * BLOCK     -- tar pads its output to whole records
local MAX_NAME = 1024 * 1024  -- of a long name or a pax header

local function fail(format, ...)
    io.stdout:flush()
    io.stderr:write("tar: ", format:format(...), "\n")
    os.exit(1)
end

-- ---- reading: slices of a window over the file ------------------------------

local Reader = {}
Reader.__index = Reader

local function new_reader(pool, path)
    local file, problem = io.open(path, "rb")
    if not file then fail("cannot open %s", problem) end
    return setmetatable({pool = pool, path = path, file = file, at = 0, window = pool:builder(WINDOW)}, Reader)
end

-- At least n bytes in the window, or what is left of the file. Slices of the old window may
-- be out, so it does not move: the rest of it is copied into a new one. The old one goes
-- back to the pool with the last of its slices.
function Reader:fill(n)
    if #self.window >= n then return end
    local window, message = self.pool:builder(WINDOW)
    if not window then fail("%s", message) end
    window:put(self.window)
    self.window:release()
    self.window = window
    local count, problem = window:read_from(self.file, WINDOW - #window)
    if not count then fail("cannot read %s: %s", self.path, problem) end
end

-- The next n bytes, at most a window, as a slice; nil at the end of the file.
function Reader:take(n)
    self:fill(n)
    if #self.window == 0 then return nil end
    if #self.window < n then fail("%s ends within an entry, at byte %.0f", self.path, self.at + #self.window) end
    local slice = self.window:slice(1, n)
    self.window:skip(n)
    self.at = self.at + n
    return slice
end

function Reader:close()
    self.window:release()
    self.file:close()
end

-- ---- writing ------------------------------------------------------------------

local Writer = {}
Writer.__index = Writer

local function new_writer(path)
    if not path then return nil end
    local file, problem = io.open(path, "wb")
    if not file then fail("cannot open %s", problem) end
    return setmetatable({file = file, path = path, bytes = 0}, Writer)
end

function Writer:check(count, problem)
    if not count then fail("cannot write %s: %s", self.path, problem) end
    self.bytes = self.bytes + count
end

function Writer:put_all(list) self:check(bytepool.writev(self.file, list)) end

function Writer:put(slice) self:check(slice:write_to(self.file)) end

-- Two blocks of zeros, and more up to a whole record. One buffer serves as all of them.
function Writer:finish(pool)
    local zeros, list = pool:get_buffer(BLOCK):fill(0), {}
    local bytes = self.bytes + 2 * BLOCK
    bytes = bytes + (RECORD - bytes % RECORD) % RECORD
    for i = 1, (bytes - self.bytes) / BLOCK do list[i] = zeros end
    self:put_all(list)
    zeros:release()
    local closed, problem = self.file:close()
    if not closed then fail("cannot write %s: %s", self.path, problem) end
end

-- ---- headers --------------------------------------------------------------------

-- A field up to its first zero byte.
local function text(header, from, to) return (header:sub(from, to):gsub("%z.*", "")) end

-- Octal digits; or, where the first bit is set, 255 to the left of it in base 256.
local function number(header, from, to, what, at)
    local first = header:byte(from)
    if first >= 128 then
        local value = first % 128
        for i = from + 1, to do value = value * 256 + header:byte(i) end
        return value
    end
    local digits = header:sub(from, to):match("^ *([0-7]*)[ %z]*$")
    if not digits then fail("the header at byte %.0f has no number as its %s", at, what) end
    return tonumber(digits, 8) or 0
end

local function sum(buffer, from, to)
    local total = 0
    for i = from, to, 64 do
        local bytes = {buffer:byte(i, math.min(i + 63, to))}
        for k = 1, #bytes do total = total + bytes[k] end
    end
    return total
end

-- The sum of the header's bytes, with spaces in the place where it stands.
local function check_sum(header, at)
    local wanted = number(header, 149, 156, "checksum", at)
    local got = sum(header, 1, 148) + 8 * 32 + sum(header, 157, BLOCK)
    if got ~= wanted then
        fail("wrong checksum in the header at byte %.0f: %.0f, not %.0f", at, got, wanted)
    end
end

local function is_zero(block) return block:byte(1) == 0 and sum(block, 1, BLOCK) == 0 end

local function full_name(header)
    local name = text(header, 1, 100)
    local prefix = header:sub(258, 263) == "ustar\0" and text(header, 346, 500) or ""
    return prefix ~= "" and prefix .. "/" .. name or name
end

-- "length key=value\n", again and again; the length counts itself.
local function read_pax(content, into)
    local at = 1
    while at <= #content do
        local length, key = content:match("^(%d+) ([^=]+)=", at)
        if not length then break end
        into[key] = content:sub(at + #length + #key + 2, at + tonumber(length) - 2)
        at = at + tonumber(length)
    end
end

-- ---- entries --------------------------------------------------------------------

local function padded(size) return size + (BLOCK - size % BLOCK) % BLOCK end

-- The content of an entry that describes the next one, as a string and as the slice.
local function take_description(reader, size, at)
    if size > MAX_NAME or padded(size) > WINDOW then fail("the name at byte %.0f has %.0f bytes", at, size) end
    local slice = reader:take(padded(size))
    if not slice then fail("%s ends within an entry, at byte %.0f", reader.path, reader.at) end
    return slice:sub(1, size), slice
end

-- All that comes before the content of the next entry: {parts = slices, name, size}, or nil
-- at the end. Long names and pax headers are entries of their own.
local function next_entry(reader)
    local parts, pax, long_name = {}, {}, nil
    while true do
        local at = reader.at
        local header = reader:take(BLOCK)
        if not header or is_zero(header) then
            if header then header:release() end
            if #parts > 0 then fail("%s ends within an entry, at byte %.0f", reader.path, at) end
            return nil
        end
        parts[#parts + 1] = header
        check_sum(header, at)
        local size, kind = number(header, 125, 136, "size", at), header:sub(157, 157)
        if kind == "L" or kind == "K" or kind == "x" or kind == "g" then
            local content
            content, parts[#parts + 1] = take_description(reader, size, at)
            if kind == "L" then long_name = content:gsub("%z.*", "") end
            if kind == "x" then read_pax(content, pax) end
        else
            local more = kind == "S" and header:byte(483) ~= 0 -- a sparse file's map goes on
            while more do
                parts[#parts + 1] = reader:take(BLOCK) or fail("%s ends within an entry", reader.path)
                more = parts[#parts]:byte(505) ~= 0
            end
            local name = pax["GNU.sparse.name"] or pax.path or long_name or full_name(header)
            return {parts = parts, name = name, size = tonumber(pax.size) or size}
        end
    end
end

-- Takes the content piece by piece. The first one goes out with all before it.
local function pass_on(reader, writer, entry)
    local left, parts = padded(entry.size), entry.parts
    repeat
        local piece = left > 0 and (reader:take(math.min(left, WINDOW))
            or fail("%s ends within an entry, at byte %.0f", reader.path, reader.at))
        if parts then
            parts[#parts + 1] = piece or nil
            if writer then writer:put_all(parts) end
            for _, part in ipairs(parts) do part:release() end
        else
            if writer then writer:put(piece) end
            piece:release()
        end
        parts = nil
        left = left - math.min(left, WINDOW)
    until left == 0
end

local function main(from, to)
    if not from then fail("usage: tar.lua IN [OUT]") end
    local pool = bytepool.new_pools(bytepool.size_power_of_two(), {name = "tar"})
    local reader, writer = new_reader(pool, from), new_writer(to)
    local entries, bytes = 0, 0
    for entry in next_entry, reader do
        io.write(entry.name, "\n")
        pass_on(reader, writer, entry)
        entries, bytes = entries + 1, bytes + entry.size
    end
    reader:close()
    if writer then writer:finish(pool) end
    local stats = pool:get_pool_stats()
    if stats.in_use ~= 0 then fail("%.0f buffers were not given back", stats.in_use) end
    io.stdout:flush()
    io.stderr:write(("ok: %.0f entries, %.0f bytes; at most %.0f KiB of memory\n"):format(
        entries, bytes, stats.peak_owned_bytes / 1024))
end

main(arg[1], arg[2])
