-- FFI bodies for the hot methods, under LuaJIT with its compiler on: a C
-- function is never compiled into a trace, these are. Returns whether they are in use.
--
-- A body handles the plain case of a live buffer and valid arguments. All else it
-- leaves to the C method of the same name by a tail call: there stand the errors,
-- once. What exists is the C methods' table; a body can only replace an entry of it.
--
-- Where a body is interpreted, each pointer or 64-bit number that it reads is a new
-- cdata, whose allocation can run a stranger's finalizer, which can release this very
-- buffer, or move it to another block. So a body reads all it needs first, then looks
-- whether the handle lives and has not moved, plain numbers, and uses what it read at once.
-- What changes a count or a byte is one C call. Only a debug hook that runs between these
-- instructions and releases the very buffer sees byte and tostring read what is no longer its own.

local core = require "bytepool.core"

local clib = require "bytepool.clib"
if not clib then return false end

local C, is, LIVE = clib.C, clib.is, clib.live
local floor, type = math.floor, type

local methods, pool_methods = core.buffer_methods, core.pool_methods

local function replace(name, make, of)
    of = of or methods
    of[name] = make(assert(of[name], name))
end

-- The one body that has no C method behind it: with the compiler off too.
local contents = require "bytepool.contents"
replace("ref", contents.ref)
if not rawget(_G, "jit").status() then return false end

-- Getting. Only C makes userdata, and leaving a trace for a C function costs 10 ns: so C makes
-- BATCH blanks at once, and a get fills one by an FFI call. A blank is filled once: were this
-- interrupted by a hook that gets too, or finalized with its state, the fill is refused and C
-- makes a userdata. So it is where the collector is due, and the blank is put back.
local POOL, MAX_SIZE, trace_new = clib.pool, core.max_size, clib.trace_new
local BATCH, NO_MEMORY, QUOTA, DUE, TRACE = 64, -2, -12, -101, 1
local blanks, left = {}, 0

-- One, or false; while C makes more, the caller leaves its work to the C method.
local function next_blank()
    local at = left
    if at == 0 then
        clib.make_blanks(blanks, BATCH)
        left = BATCH
        return false
    end
    local blank = blanks[at]
    blanks[at], left = false, at - 1
    return blank
end

local function put_back(blank)
    local at = left + 1
    blanks[at], left = blank, at
end

local function get_by_blank(c_get)
    return function(pool, n, tag)
        if type(n) == "number" and n >= 0 and n <= MAX_SIZE and n == floor(n) and is(pool, POOL)
            and (tag == nil or type(tag) == "string") then
            local blank = next_blank()
            local status = blank and C.bytepool_handle_fill(blank, pool, n)
            if status == 0 then return blank end
            if status == TRACE then return trace_new(blank, tag) end
            if status == NO_MEMORY then return nil, "out of memory" end
            if status == QUOTA then return nil, clib.quota_text(pool, n) end
            if status == DUE then put_back(blank) end
        end
        return c_get(pool, n, tag)
    end
end

replace("get", get_by_blank, pool_methods)
replace("get_buffer", get_by_blank, pool_methods)

-- With the last reference C stores the metatable without __gc where LuaJIT keeps it, so
-- that no finalizer runs at the userdata's sweep. Later loads of the metatable in the
-- same trace still see the old one, so nothing may tell life from it. Where its place is
-- not known, the C method sets it.
local DEAD, PLACE = clib.dead_address, clib.metatable_place

if PLACE ~= 0 then
    replace("release", function(c_release)
        return function(buf)
            if is(buf, LIVE) and C.bytepool_handle_release(buf, DEAD, PLACE) == 0 then return end
            return c_release(buf)
        end
    end)

    local function put_body(sole)
        return function(c_put)
            return function(pool, buf)
                if is(buf, LIVE) and is(pool, POOL) and C.bytepool_handle_put(buf, pool, DEAD, PLACE, sole) == 0 then
                    return
                end
                return c_put(pool, buf)
            end
        end
    end
    replace("put", put_body(1), pool_methods)
    replace("release_buffer", put_body(0), pool_methods)
end

replace("retain", function(c_retain)
    return function(buf)
        if is(buf, LIVE) and C.bytepool_handle_retain(buf) == 0 then return buf end
        return c_retain(buf)
    end
end)

replace("ref_count", function(c_ref_count)
    return function(buf)
        local count = is(buf, LIVE) and C.bytepool_handle_ref_count(buf) or 0
        if count > 0 then return count end
        return c_ref_count(buf)
    end
end)

replace("type", function(c_type)
    return function(x)
        if is(x, LIVE) and C.bytepool_handle_ref_count(x) > 0 then return "buffer" end
        if is(x, POOL) and C.bytepool_pool_is_open(x) == 1 then return "pool" end
        return c_type(x)
    end
end, core)

-- For using and scopes: elsewhere than on Lua 5.4 nobody else calls it.
replace("__close", function(c_close)
    return function(buf)
        if is(buf, LIVE) and C.bytepool_handle_close(buf) == 0 then return end
        return c_close(buf)
    end
end, LIVE)

contents.install(replace, next_blank, put_back)
require "bytepool.numbers" (replace)

return true
