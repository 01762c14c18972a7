--- Reference-counted byte buffers from size tiers.
--
--     local bytepool = require "bytepool"
--     local pool = bytepool.new_pools(bytepool.size_power_of_two())
--     local buf = pool:get_buffer(4096)
--     buf:set_string(1, "hello")
--     buf:release()
--
-- A mistake in an argument raises an error with the line that made it; running out
-- of memory returns `nil, message`. The methods are those of the classes bytepool.Pool,
-- bytepool.Buffer and bytepool.Scope, described in bytepool/meta.
--
-- Since 0.1.0.
-- @module bytepool

local change = require "bytepool.change"
local core = require "bytepool.core"
local options = require "bytepool.options"
local schema = require "bytepool.config.schema"
local report = require "bytepool.report"
local settings = require "bytepool.settings"
local tiers = require "bytepool.tiers"

local bytepool = {}

local MAX_SIZE = core.max_size
local unpack = require("bytepool.compat").unpack
local pack = require("bytepool.compat").pack

--- Version of the module, such as "0.1.0".
bytepool._VERSION = core._VERSION

--- Whether the hot methods run as FFI bodies (LuaJIT with its compiler on) rather
-- than as C methods. They do the same.
---@type boolean
bytepool.ffi_bodies = require "bytepool.methods"
require "bytepool.scope"
require "bytepool.tick"

--- Reports on pools, see bytepool.report.
bytepool.report = report

--- Ready policies, and tiers fitted to requests, see bytepool.policy.
bytepool.policy = require "bytepool.policy"

--- A pool of any Lua values, see bytepool.object_pool.
bytepool.new_pool = require "bytepool.object_pool"

--- The tiers 128, 256, ... 2097152 bytes.
---@return integer[] sizes a new table
bytepool.size_power_of_two = core.size_power_of_two

--- The tiers of a media stream: 1024, 4096, 16384, 32768, 65536, 131072 bytes.
---@return integer[] sizes a new table
bytepool.size_stream = core.size_stream

--- What bytepool makes of a value. Needs no live pool and raises nothing.
---@param x any
---@return "buffer"|"released buffer"|"pool"|"closed pool"|nil
bytepool.type = core.type

--- Options of new_pools.
---@class bytepool.Options
---@field name? string for `bytepool.open` and reports, at most 63 bytes; no other open pool may have it
---@field max_idle? bytepool.Size bytes kept for reuse; default the lesser of 256 MiB and an eighth of the memory
---@field max_bytes? bytepool.Size a quota on what the pool owns, in use and idle: a get over it returns nil and
--- "over quota: ..."
---@field max_waste? number 0 to 1: a request that would leave a larger share of its block unused is served alone, as
--- one above the largest tier is, where that takes less
---@field decay? number|string seconds, or "500ms", "10s", "2min" (default 10); 0 for never: pool:tick() gives back
--- idle memory that nobody needed for so long
---@field pressure? "auto"|false|fun(): number where pool:tick() learns how scarce memory is: from the system (the
--- default), not at all, or from a function that returns 0 to 1
---@field recent? {size?: integer, mode?: "relaxed"|"exact"} lengths kept, 0 to 65536 (256), and
--- whether all threads share one order ("exact") or none waits for another ("relaxed", the default)
---@field region_size? bytepool.Size bytes of address space reserved at once; 0 chooses
---@field zero? "get"|"release"|false whether a block is wiped when it is handed out, or when its
--- last reference goes; either then costs some 20 ns more and the time to write the block
---@field debug? boolean finds bytes written behind a block's capacity, when its last reference goes, and to
--- released blocks, when they are handed out again: the first raises with the line that got the buffer, both are
--- counted (`overruns`, `late_writes`). Takes the time to look through each block, and traces all handles
---@field leaks? bytepool.LeakLevel default "off"; see `pool:leak_level`

--- A new pool of byte buffers.
---@param sizes bytepool.Tiers|bytepool.Config 1 to 64 tier sizes, strictly rising, or a policy that gives them; it
--- runs here, and what it raises passes through. Or a config, which has the options, too
---@param given? bytepool.Options
---@return bytepool.Pool|nil pool nil where memory or address space ran out, or the name is taken
---@return string? message
function bytepool.new_pools(sizes, given)
    local flat
    if type(sizes) == "table" and rawget(sizes, "tiers") ~= nil then
        if given ~= nil then error("new_pools: a config has all options, and none may stand beside it", 2) end
        local checked, fault = require("bytepool.config").check("new_pools", sizes)
        if not checked then error(fault, 2) end
        flat = settings.of_config(checked)
    else
        local list, limits = tiers.list(sizes)
        if not list then error("new_pools: " .. limits, 2) end
        local values, message = options.check("new_pools", given, schema.options)
        if not values then error(message, 2) end
        flat = settings.of_options(tiers.join(list, limits), values)
    end
    local parts = change.parts(nil, flat)
    local pool, why = core.new_pools(flat)
    if not pool then return nil, why end
    return change.begin(pool, flat, parts)
end

--- What a config file returns, and `new_pools` takes. Sizes may be strings such as "64MiB" and times such as
-- "10s" where a program writes it; load_config gives numbers.
---@class bytepool.Config
---@field tiers bytepool.Tiers sizes, or tables {size, max_idle, max_bytes, max_waste} in their place, or a policy
---@field name? string
---@field limits? {idle?: bytepool.Size, bytes?: bytepool.Size, waste?: number, decay?: number|string, pressure?: any}
--- idle: bytes kept for reuse; bytes: a quota; waste: from 0 to 1; decay: seconds, or a string such as "10s";
--- pressure: "auto", false or a function
---@field leaks? bytepool.LeakLevel
---@field recent? {size?: integer, mode?: "relaxed"|"exact"}
---@field zero? "get"|"release"|false
---@field debug? boolean
---@field region_size? bytepool.Size
---@field on_tick? fun(stats: bytepool.Stats, pool: any): boolean|nil, any takes a snapshot, and the pool or a table of
--- functions that stand for its methods. Of a loaded config it returns true and a value; nil and a message where it
--- failed
---@field adaptive? table what `policy.adaptive` gives

--- Runs a config file and checks what it returns. The file is Lua without anything that reaches outside:
-- tables, math, a part of the string library, and `policy`, as bytepool.policy. Memory, instructions and time are
-- bounded, and a file that goes beyond is refused. Its functions run under the same limits when they are called, each
-- time anew, and get and give plain data; a policy of its own is one.
--
--     return {
--         name = "bodies",
--         tiers = policy.power_of_two{from = 512, to = "2MiB"},
--         limits = {idle = "64MiB", decay = "10s"},
--     }
--
-- A string is a text where it has more than one line or begins with `return` or `--`, else a path.
---@param source string|{text: string, name?: string}|{path: string} name: what messages call it, by default "config"
---@return bytepool.Config|nil config with bytes and seconds as numbers and the list of tiers that a policy gave
---@return string? message each fault on a line, as `bodies.lua:3: limits.idle: expected a number of bytes ..., got "x"`
function bytepool.load_config(source)
    local loaded, fault = require("bytepool.config").load(source)
    return loaded, fault
end

--- The pool of that name, which this or another Lua state of the process made with
-- `{name = name}`. It ends when all that made or opened it have closed it, or their
-- states have ended. Lua versions have a copy of the library each, and share no pools.
--
--     local pool = bytepool.open(name) or bytepool.new_pools(sizes, {name = name})
--         or bytepool.open(name) -- another thread was faster
---@param name string
---@return bytepool.Pool|nil pool nil where no open pool has that name
---@return string? message
bytepool.open = core.open

--- The buffer behind a token that `buf:export()` gave, in any Lua state of the process.
-- Takes over the token's reference, once: raises for one that was used, made up, or given
-- by another loaded copy of the library.
---@param token string
---@return bytepool.Buffer buffer
bytepool.import = core.import

--- Writes strings and buffers in order, as one system call where it can be one: all of them
-- are looked at before the first byte goes out. What was not written after an error is
-- written by the same call with `written` added to `from`.
--
--     local sent = 0
--     repeat
--         local n, message, errno, written = bytepool.writev(fd, list, sent)
--         sent = sent + (n or written)
--         if not n then wait_until_writable(fd, message, errno) end
--     until n
--
-- A Lua file is flushed first and then written past its own buffer. SIGPIPE is the program's
-- business: one that does not ignore it ends when a pipe's reader has gone.
---@param file file*|integer a Lua file or a descriptor
---@param list (string|bytepool.Buffer)[] a plain table
---@param from? integer bytes of the list to leave out at its beginning; default 0
---@return integer|nil written all that was to be written
---@return string? message
---@return integer? errno
---@return integer? written before the error
bytepool.writev = core.writev

local pacing_schema = {budget = {type = "integer", min = 1024 * 1024, max = MAX_SIZE, off = true}}

---@class bytepool.Pacing
---@field budget_bytes integer default 32 MiB; 0 where pacing is off
---@field limit_bytes integer from here on a whole collection is due
---@field held_bytes integer the blocks of all live handles, a block counted for each
---@field steps integer asked for so far
---@field full integer whole collections
---@field cycles integer of the collector, seen since there was something to watch
---@field seconds number in steps and collections

--- How the collector of this Lua state is kept to its work. It sees a handle and not the block
-- behind it, so making a handle asks it for a step where much is held: handles that nobody
-- released hold at most 5/4 of the budget, or what the program itself holds once more. Who
-- releases pays nothing. On Lua 5.1 such a step restarts a collector that was stopped.
---@param given? {budget?: integer|false} bytes, at least 1 MiB; false switches pacing off
---@return bytepool.Pacing
function bytepool.pacing(given)
    local values, message = options.check("pacing", given, pacing_schema)
    if not values then error(message, 2) end
    return core.pacing(values.budget == false and 0 or values.budget)
end

--- Sets the function that is told of each fault of a traced handle: one that the collector had to
-- reclaim, one release too many, bytes written behind the end. It gets a bytepool.Leak with a count
-- of 1 and the pool's name as `pool`. It may run within a finalizer, so it should be quick; what it raises
-- is dropped, and faults that happen while it runs are only counted.
---@param fn fun(leak: bytepool.Leak)|nil
---@return function|nil previous
bytepool.on_leak = core.on_leak

local function left_text(left)
    local lines = {}
    for i, leak in ipairs(left) do
        lines[i] = ("\n  %s%s: %d handle%s, %d bytes%s"):format(leak.site, leak.tag and " (" .. leak.tag .. ")" or "",
            leak.count, leak.count > 1 and "s" or "", leak.bytes,
            leak.last and "; " .. table.concat(leak.last, ", ") or "")
    end
    table.sort(lines)
    return "expect_balanced: not released:" .. table.concat(lines)
end

--- Calls fn(...) and raises where handles that it made, of whatever pool, are still alive when it
-- returns, also those that are garbage already: the exact check for a test. While fn runs every
-- handle is traced.
---@generic T
---@param fn fun(...): T...
---@return T ... what fn returned; an error of fn comes out as it is
function bytepool.expect_balanced(fn, ...)
    if type(fn) ~= "function" then
        error("expect_balanced: argument 'fn' must be a function, got " .. type(fn), 2)
    end
    local mark = core.expect()
    local results = pack(pcall(fn, ...))
    local left = core.expect(mark)
    if not results[1] then error(results[2], 0) end -- as it is
    if #left > 0 then error(left_text(left), 2) end
    return unpack(results, 2, results.n)
end

local default

--- One ready pool with power-of-two tiers, the same at each call and in all Lua states of
-- the process, for programs that want no choice: whoever closes it closes it for all of
-- its state, and the next call gives a new one. It is the pool of the name "default".
---@return bytepool.Pool|nil pool
---@return string? message
function bytepool.default()
    if core.type(default) == "pool" then return default end
    local message
    repeat -- other threads may make it and close it meanwhile
        default = core.open("default")
        if not default then
            default, message = bytepool.new_pools(core.size_power_of_two(), {name = "default"})
        end
    until default or message ~= core.name_taken
    if default then return default end
    return nil, message
end

-- The one pool method that needs no C: publishing is the report's business.
function core.pool_methods.expvar(pool, prefix)
    options.check_pool("expvar", pool)
    report.publish(prefix, pool)
    return pool
end

return bytepool
