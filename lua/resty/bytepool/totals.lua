-- The figures of all workers, added up in a shared dict.
--
-- Each worker writes one record an interval, what its pools have done so far. Gauges are those of the workers that
-- live; counters are never to fall, so what an ended worker had last still counts. It goes by slots: a worker's id in
-- nginx, which the worker that follows it has again.
--
--   bytepool:slots          how many there ever were
--   bytepool:slot:ID        who has the slot now, who had it and may not have ended, the sums of those before
--   bytepool:of:ID:PID-T    a worker's record; PID and T, the time at which the process began
--
-- Only who has the slot writes it. A predecessor goes into its sums when its process has ended: first the slot is
-- written, then the record goes. A reader that misses a record looks at the slot again.
--
-- Private to resty.bytepool, whose functions these are.

local json = require "bytepool.report.json"
local report = require "bytepool.report"
local sums = require "resty.bytepool.sums"
local worker = require "resty.bytepool.worker"

local ngx = ngx

---@class resty.bytepool
local totals = {}

local STALE = 10 -- intervals after which a worker has ended where the system does not tell

local function slots_key() return "bytepool:slots" end
local function slot_key(id) return "bytepool:slot:" .. id end
local function record_key(id, who) return ("bytepool:of:%d:%s"):format(id, who) end

local function dict_of()
    local dict = ngx.shared[worker.dict]
    if dict then return dict end
    return nil, ("there is no lua_shared_dict %s"):format(worker.dict)
end

-- ---- who lives ---------------------------------------------------------------------

-- When a process began, as the system counts; nil where it has ended or the system does not tell.
local function began(pid)
    local file = io.open(("/proc/%s/stat"):format(pid), "rb")
    if not file then return nil end
    local fields = file:read("*a")
    file:close()
    local state, rest = (fields or ""):match("%) (%a) (.*)")
    if not state or state == "Z" or state == "X" then return nil end
    return select(19, rest:match(("(%S+) "):rep(19)))
end

local can_tell = began("self") ~= nil

local function lives(who, time)
    local pid, start = who:match("^(%d+)%-(%d*)$")
    if can_tell then return began(pid) == start end
    return ngx.time() - time <= STALE * worker.interval
end

local me

local function myself()
    local pid = ngx.worker.pid()
    if not me or me.pid ~= pid then
        me = {pid = pid, name = ("%d-%s"):format(pid, began(pid) or ngx.time())}
    end
    return me.name
end

-- ---- records -----------------------------------------------------------------------

local encode = json.encoder()

-- A record is {stats = snapshots by pool, figures = counts of channels and of sends, time =}: two lines of JSON.
local function pack(record)
    local head = encode {figures = record.figures, time = record.time}
    return head .. "\n" .. (next(record.stats) and report.dump(record.stats) or "")
end

local decode = encode and require("cjson").new().decode

local function unpack_record(text)
    local head, rest = text:match("^([^\n]*)\n(.*)$")
    local ran, record = pcall(decode, head or "")
    if not ran then return nil end
    record.stats = rest ~= "" and report.load(rest) or {}
    return record
end

local function read_slot(dict, id)
    local text = dict:get(slot_key(id))
    if not text then return nil end
    local names, sum = text:match("^([^\n]*)\n(.*)$")
    local slot = {past = unpack_record(sum) or sums.new(), before = {}}
    for name in names:gmatch("%S+") do
        if slot.owner then slot.before[#slot.before + 1] = name else slot.owner = name end
    end
    return slot
end

local function write_slot(dict, id, slot)
    local names = slot.owner .. " " .. table.concat(slot.before, " ")
    return dict:set(slot_key(id), names .. "\n" .. pack(slot.past))
end

-- Takes the slot over where it is another's, and folds predecessors that have ended.
local function keep_slot(dict, id)
    local who, slot = myself(), read_slot(dict, id)
    local taken, ended = false, {}
    if not slot then
        slot, taken = {owner = who, before = {}, past = sums.new()}, true
        local count = dict:get(slots_key()) or 0
        if id + 1 > count then dict:set(slots_key(), id + 1) end
    elseif slot.owner ~= who then
        for _, name in ipairs(slot.before) do
            if name == who then return true end -- a successor has come already
        end
        table.insert(slot.before, slot.owner)
        slot.owner, taken = who, true
    end
    for i = #slot.before, 1, -1 do
        local name = slot.before[i]
        local text = dict:get(record_key(id, name))
        local record = text and unpack_record(text)
        if not record or not lives(name, record.time) then
            if record then sums.add(slot.past, record, false) end
            table.remove(slot.before, i)
            ended[#ended + 1] = name
        end
    end
    if not taken and #ended == 0 then return true end
    local done, why = write_slot(dict, id, slot)
    if not done then return nil, why end
    for _, name in ipairs(ended) do dict:delete(record_key(id, name)) end
    return true
end

--- Writes this worker's figures for the others to see. The timer does it once an interval. In
-- `exit_worker_by_lua` it also has what the worker did while it shut down.
---@return boolean|nil ok
---@return string? message there is no such shared dict, it is too small, or lua-cjson is missing
function totals.publish()
    local dict, why = dict_of()
    if not dict then return nil, why end
    if not encode then return nil, json.MISSING end
    local id = ngx.worker.id()
    if not id then return nil, "this process is no worker" end
    local record = sums.own()
    record.time = ngx.time()
    local done, message, forced = dict:set(record_key(id, myself()), pack(record))
    if done then done, message = keep_slot(dict, id) end
    if not done or forced then
        return nil, ("lua_shared_dict %s: %s"):format(worker.dict, message or "too small, something was evicted")
    end
    return true
end

-- ---- reading -----------------------------------------------------------------------

-- Adds a slot's workers up; nil where one of its records has gone meanwhile.
local function add_slot(sum, dict, id)
    local slot = read_slot(dict, id)
    if not slot then return 0 end
    local part, count = sums.new(), 0
    sums.add(part, slot.past, false)
    table.insert(slot.before, slot.owner)
    for _, name in ipairs(slot.before) do
        local text = dict:get(record_key(id, name))
        local record = text and unpack_record(text)
        if not record then return nil end
        local alive = lives(name, record.time)
        sums.add(part, record, alive)
        if alive then count = count + 1 end
    end
    sums.merge(sum, part)
    return count
end

--- What all workers did: snapshots as of `bp.stats`, added up. Counters count what ended workers did, too; what is now
-- is that of the workers that live; peaks are sums of each worker's peak. As of each worker's last interval.
---@return table<string, bytepool.Stats>|nil stats by the pool's name
---@return string|table figures a message; or {workers = how many live, send = counts of sends, channels = by name}
function totals.totals()
    local dict, why = dict_of()
    if not dict then return nil, why end
    if not encode then return nil, json.MISSING end
    local id = ngx.worker.id()
    if id and not dict:get(record_key(id, myself())) then totals.publish() end
    local sum, workers = sums.new(), 0
    for slot = 0, (dict:get(slots_key()) or 0) - 1 do
        local count
        for _ = 1, 3 do
            count = add_slot(sum, dict, slot)
            if count then break end
        end
        workers = workers + (count or 0)
    end
    local figures = sum.figures
    figures.workers = workers
    return sum.stats, figures
end

return totals
