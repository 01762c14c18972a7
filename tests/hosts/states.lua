-- What each state of states.c runs; id 0 is the one in main. Returns what a round does.
local id, threads, seed, steps = ...
local bytepool = require "bytepool"

local NAME = "states"
local sizes = {64, 1024, 4096, 65536}

-- Park and Miller's generator: math.random is shared by the states of some Luas.
local state = seed % 2147483646 + 1
local function random(n)
    state = state * 16807 % 2147483647
    return state % n + 1
end

local pool = assert(bytepool.open(NAME) or bytepool.new_pools(sizes, {name = NAME, max_idle = 64 * 1024 * 1024})
    or bytepool.open(NAME))

if id == 0 then
    return function()
        local s = pool:get_pool_stats()
        assert(s.in_use == 0, "buffers stayed out")
        assert(s.exported == 0, "tokens stayed out")
        assert(s.total_get + s.discarded == s.requests and s.total_get == s.total_put
            and s.discarded == s.discarded_put, "the books do not balance")
        assert(s.requests >= threads * steps / 4, "too little was done")
        for _, t in pairs(s.pools) do
            assert(t.get == t.hit + t.miss and t.owned == t.in_use + t.idle and t.idle == t.cached + t.depot)
        end
        assert(not bytepool.open("another"))
    end
end

-- The text says its own length and ends in what it begins with.
local function message()
    local n = random(random(10) == 1 and 70000 or 3000) + 40
    local head = ("%d from %d:"):format(n, id)
    return head .. ("x"):rep(n - 2 * #head) .. head
end

local function check(text)
    local head = text:match("^%d+ from %d+:")
    assert(head and #text == tonumber(head:match("^%d+")) and text:sub(-#head) == head, "not what was sent")
end

local last_token

local function take(token)
    local buf = bytepool.import(token)
    check(buf:tostring())
    if random(4) > 1 then buf:release() end -- the others are left to the collector
    last_token = token
end

-- What no box has room for is taken back by its sender.
local function send()
    local buf = assert(pool:from_string(message()))
    local to = random(threads)
    local token = assert(buf:export())
    if random(3) == 1 then buf:release() end
    if not post(to, token) then take(token) end
end

local function misuse()
    for _, token in ipairs {last_token or "x", "bp1-00000000-00000000-0000000000000000", "bp1-", ""} do
        local ok, err = pcall(bytepool.import, token)
        assert(not ok and tostring(err):find("import: ", 1, true), "a bad token was taken")
    end
end

return function()
    for _ = 1, steps do
        local what = random(20)
        if what <= 10 then send() elseif what == 11 then misuse() else
            local token = fetch(id)
            if token then take(token) end
        end
    end
    meet()
    for token in function() return fetch(id) end do take(token) end
    collectgarbage()
    collectgarbage()
    pool:close()
end
