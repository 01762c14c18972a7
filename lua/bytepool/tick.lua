-- pool:tick(): the work that is due, in this order: idle memory decays, memory pressure, adaptive tiers, on_tick.
--
-- The system's pressure is read once a second for all pools of the Lua state, and a pool heeds each reading once.
-- A user's functions run in a coroutine of their own: what they raise is told and not raised, and they can
-- not yield out of a tick.
--
-- Private to bytepool, which puts it into the pools' methods.

local change = require "bytepool.change"
local core = require "bytepool.core"
local options = require "bytepool.options"

local methods = core.pool_methods
local step, press, kind_of, get_pool_stats = core.tick, core.press, core.type, methods.get_pool_stats
local create, resume, status = coroutine.create, coroutine.resume, coroutine.status
local close = rawget(coroutine, "close") or function() end
local debug = rawget(_G, "debug") or {}
local pack = require("bytepool.compat").pack

local EVERY = 1    -- seconds between readings of the system's pressure
local LONGEST = 60 -- seconds after which a tick that did not end was broken off, such as by a debug hook

local system = {next = -math.huge, serial = 0, level = 0}

-- ---- a user's functions ----------------------------------------------------------

-- "file:line: " of the innermost line of a coroutine that is Lua.
local function place_of(thread, fn)
    if not debug.getinfo then return "" end
    for level = 0, 20 do
        local info = debug.getinfo(thread, level, "Sl")
        if not info then break end
        if info.currentline > 0 then return ("%s:%d: "):format(info.short_src, info.currentline) end
    end
    local info = debug.getinfo(fn, "S")
    return info.linedefined > 0 and ("%s:%d: "):format(info.short_src, info.linedefined) or ""
end

local function add_fault(done, name, message)
    local text = name .. ": " .. message
    done.fault = done.fault and done.fault .. "\n" .. text or text
end

local function failed(done, name, thread, fn, message)
    if type(message) ~= "string" then
        message = ("raised a %s value"):format(type(message))
    end
    if not message:find("^[^\n]-:%d+: ") then message = place_of(thread, fn) .. message end
    add_fault(done, name, message)
end

-- Lua 5.1 makes none of a C function, such as a function of a loaded config.
local function thread_of(fn)
    local ok, thread = pcall(create, fn)
    return ok and thread or create(function(...) return fn(...) end)
end

-- Whether fn came to its end; its results.
local function call(done, name, fn, ...)
    local thread = thread_of(fn)
    local results = pack(resume(thread, ...))
    if not results[1] then
        failed(done, name, thread, fn, results[2])
    elseif status(thread) == "suspended" then
        failed(done, name, thread, fn, place_of(thread, fn) .. "must not yield")
        close(thread)
    else
        return true, results[2], results[3]
    end
end

-- ---- the parts -------------------------------------------------------------------

local function system_level(now)
    if now >= system.next or system.next - now > EVERY then
        system.next, system.serial = now + EVERY, system.serial + 1
        system.read = system.read or require("bytepool.pressure").auto()
        system.level, system.why = system.read()
    end
    return system.level, system.why
end

local function under_pressure(pool, source, now, own, done)
    local level, why
    if source == "auto" then
        level, why = system_level(now)
        if own.heeded == system.serial then return end
        own.heeded = system.serial
    else
        local ran
        ran, level, why = call(done, "pressure", source)
        if not ran or level == nil then return end
        if type(level) ~= "number" or not (level >= 0 and level <= 1) then
            return failed(done, "pressure", thread_of(source), source, "returned no number from 0 to 1")
        end
        why = type(why) == "string" and why or "a function of the user"
    end
    if level <= 0 or kind_of(pool) ~= "pool" then return end
    done.level, done.why, done.shrunk = level, why, press(pool, level)
end

local function adapt(pool, adaptive, now, done)
    if type(adaptive.due) == "function" then
        local ran, due = call(done, "adaptive", adaptive.due, adaptive, now)
        if not ran or not due then return end
    end
    if kind_of(pool) ~= "pool" then return end
    local ran, list, why = call(done, "adaptive", adaptive.look, adaptive, get_pool_stats(pool),
        methods.settings(pool).tiers)
    if not ran or list == nil or kind_of(pool) ~= "pool" then return end
    local report, message
    ran, report, message = call(done, "adaptive", change.retier, pool, list)
    if not ran then return end
    if not report then return add_fault(done, "adaptive", message) end
    report.why = why
    done.retuned = report
end

local function notify(pool, on_tick, done)
    if kind_of(pool) ~= "pool" then return end
    local ran, result, message = call(done, "on_tick", on_tick, get_pool_stats(pool), pool)
    done.on_tick = true
    if ran and result == nil and type(message) == "string" then add_fault(done, "on_tick", message) end
end

-- Until when there is nothing but decay to look at.
local function quiet_until(parts)
    if parts.on_tick or parts.adaptive or type(parts.pressure) == "function" then return nil end
    return parts.pressure == "auto" and system.next or math.huge
end

local function work(pool, decayed, now, own)
    own.ticking = now
    local parts, done = own.parts or change.DEFAULT, {}
    if parts.pressure then under_pressure(pool, parts.pressure, now, own, done) end
    if parts.adaptive then adapt(pool, parts.adaptive, now, done) end
    if parts.on_tick then notify(pool, parts.on_tick, done) end
    own.quiet_until = quiet_until(own.parts or change.DEFAULT)
    if decayed > 0 then done.decayed = decayed end
    return next(done) ~= nil and done or nil
end

function methods.tick(pool)
    local decayed, now, own = step(pool)
    if not decayed then
        options.check_pool("tick", pool)
    end
    if type(own) ~= "table" then own = {} end
    if decayed == 0 and (own.quiet_until or -1) > now then return nil end
    if own.ticking and now - own.ticking < LONGEST then -- called by on_tick
        return decayed > 0 and {decayed = decayed} or nil
    end
    local ran, done = pcall(work, pool, decayed, now, own)
    own.ticking = nil
    if not ran then error(done, 0) end -- no memory
    return done
end

return methods.tick
