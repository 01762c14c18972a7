-- What of the OpenResty side runs without nginx; the rest is tests/nginx.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")

local bytepool = require "bytepool"
local core = require "bytepool.core"
local ranges = require "resty.bytepool.ranges"

local function refuses(text, fn, ...)
    local ok, message = pcall(fn, ...)
    assert.is_false(ok)
    assert.is_truthy(message:find(text, 1, true), message)
end

describe("core.nginx outside nginx", function()
    local pool, buf

    before_each(function()
        pool = h.new(nil, {1024})
        buf = pool:from_string "0123456789"
    end)

    it("says that there is none", function()
        local probe = core.nginx.probe()
        assert.is_false(probe.ok)
        assert.is_true(probe.final)
        assert.matches("not inside an nginx", probe.why)
    end)

    it("ties nothing", function()
        local done, why = core.nginx.keep(buf)
        assert.is_false(done)
        assert.matches("not inside an nginx", why)
        assert.equal(1, buf:ref_count())
        assert.equal(0, core.nginx.stats().kept)
    end)

    it("prints what it should send, and freezes it", function()
        local printed = {}
        local function print(s)
            printed[#printed + 1] = s
            return 1
        end
        local before = core.nginx.stats()
        assert.is_true(core.nginx.send(buf, nil, nil, print, 1))
        assert.is_true(core.nginx.send(buf, 2, -2, print, 0))
        assert.is_true(core.nginx.send(buf, 1, 0, print, 0))
        assert.same({"0123456789", "12345678", ""}, printed)
        assert.is_true(buf:is_frozen())
        local after = core.nginx.stats()
        assert.equal(3, after.copies - before.copies)
        assert.equal(18, after.copied_bytes - before.copied_bytes)
        assert.equal(0, after.sends)
        assert.same({0, 0}, {core.nginx.pending()})
    end)

    it("passes on what print refuses", function()
        local ok, message = core.nginx.send(buf, nil, nil, function() return nil, "seen eof" end, 0)
        assert.is_nil(ok)
        assert.equal("seen eof", message)
        assert.has_error(function()
            core.nginx.send(buf, nil, nil, function() error("no", 0) end, 0)
        end, "no")
    end)

    it("refuses what is no live buffer or not in it", function()
        refuses("send: argument 'buf' must be a bytepool buffer, got nil", core.nginx.send)
        refuses("keep: argument 'buf' must be a bytepool buffer, got table", core.nginx.keep, {})
        refuses("positions 1 to 11 are not in length 10", core.nginx.send, buf, 1, 11, print, 0)
        assert.is_false(buf:is_frozen())
        buf:release()
        refuses("send: buffer already released", core.nginx.send, buf, 1, 2, print, 0)
        refuses("keep: buffer already released", core.nginx.keep, buf)
    end)

    it("survives a print that releases the buffer", function()
        assert.is_true(core.nginx.send(buf, nil, nil, function() buf:release() return 1 end, 0))
        assert.equal("released buffer", require("bytepool").type(buf))
    end)
end)

describe("ranges.parse", function()
    local function parse(header, length)
        local list = ranges.parse(header, length or 100)
        if not list then return nil end
        for i, part in ipairs(list) do list[i] = part[1] .. ":" .. part[2] end
        return table.concat(list, " ")
    end

    it("gives positions from 1", function()
        assert.equal("1:10", parse "bytes=0-9")
        assert.equal("100:100", parse "bytes=99-99")
        assert.equal("51:100", parse "bytes=50-")
        assert.equal("91:100", parse "bytes=-10")
        assert.equal("1:100", parse "bytes=-1000")
        assert.equal("1:100", parse "bytes=0-18446744073709551616")
        assert.equal("1:1 3:3 100:100", parse " Bytes = 0-0 , 2-2,,-1")
        assert.equal("21:30 1:10", parse "bytes=20-29,0-9")
    end)

    it("leaves out what does not exist", function()
        assert.equal("", parse "bytes=100-")
        assert.equal("", parse "bytes=-0")
        assert.equal("", parse("bytes=0-", 0))
        assert.equal("", parse("bytes=-5", 0))
        assert.equal("1:2", parse "bytes=200-300,0-1")
    end)

    it("ignores what it does not understand", function()
        for _, header in ipairs {
            "", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=a-", "bytes=1", "bytes=5-4", "bytes=1-2-3",
            "bytes=1-2;3-4", "lines=1-2", "bytes=0-1,x", "bytes=--1", "bytes=0x1-2", "bytes=1e1-20", "bytes=1.0-2",
        } do
            assert.is_nil(parse(header), header)
        end
        assert.is_nil(ranges.parse(nil, 100))
    end)

    it("ignores what asks for too much", function()
        assert.equal("1:50 51:100", parse "bytes=0-49,50-99")
        assert.is_nil(parse "bytes=0-50,50-99")
        assert.is_nil(parse("bytes=" .. ("0-0,"):rep(17)))
        assert.is_not_nil(parse("bytes=" .. ("0-0,"):rep(16)))
        assert.is_nil(parse("bytes=" .. ("500-,"):rep(100000)))
    end)
end)

describe("entity tags", function()
    it("are quoted", function()
        assert.equal('"a"', ranges.quoted "a")
        assert.equal('"a"', ranges.quoted '"a"')
        assert.equal('W/"a"', ranges.quoted 'W/"a"')
        assert.equal('"W/a"', ranges.quoted "W/a")
        for _, bad in ipairs {'a"b', '"a', 'W"a"', '/"a"', "a b", "a\r\nb", "\127"} do
            assert.is_nil(ranges.quoted(bad), bad)
        end
    end)

    it("are found in lists", function()
        assert.is_true(ranges.names("*", nil, true))
        assert.is_true(ranges.names('"x", "a"', '"a"', true))
        assert.is_false(ranges.names('"x", W/"a"', '"a"', true))
        assert.is_true(ranges.names('"x", W/"a"', '"a"', false))
        assert.is_true(ranges.names('"a"', 'W/"a"', false))
        assert.is_false(ranges.names('"a"', 'W/"a"', true))
        assert.is_false(ranges.names('"a"', nil, false))
        assert.is_false(ranges.names('"ab"', '"a"', false))
        assert.is_false(ranges.names("a", '"a"', false))
    end)
end)

-- What bp.init does with a pool that is there.
describe("adopting a config", function()
    local change = require "bytepool.change"
    local check = require "bytepool.config".check

    local function adopt(pool, config) return change.adopt(pool, assert(check("init", config))) end

    it("changes nothing where nothing differs", function()
        local pool = h.new({name = "adopted", max_bytes = "1MiB", pressure = false}, {128, 1024})
        local other = bytepool.open "adopted"
        local report = assert(adopt(other, {name = "adopted", tiers = {128, 1024}, limits = {bytes = "1MiB"}}))
        assert.same({}, report.added)
        assert.equal(1, pool:get_pool_stats().generation)
        assert.equal("auto", other:settings().limits.pressure)
        assert.is_false(pool:settings().limits.pressure)
        other:close()
    end)

    it("takes over on_tick, also of a userdata that had nothing to do", function()
        local pool, ticks = h.new({pressure = false, decay = 0}, {128}), 0
        pool:tick()
        assert.is_nil(pool:tick())
        assert(adopt(pool, {tiers = {128}, limits = {pressure = false, decay = 0},
            on_tick = function() ticks = ticks + 1 end}))
        assert.is_true(pool:tick().on_tick)
        assert.equal(1, ticks)
        assert.equal(1, pool:get_pool_stats().generation)
    end)

    it("changes what differs, and refuses what is fixed", function()
        local pool = h.new({pressure = false}, {128, 1024})
        assert.same({4096}, assert(adopt(pool, {tiers = {128, 1024, 4096}})).added)
        assert.same({128, 1024, 4096}, pool:get_available_sizes())
        assert.same({from = nil, to = 2 ^ 20}, assert(adopt(pool, {tiers = {128, 1024, 4096},
            limits = {bytes = 2 ^ 20}})).changed["limits.bytes"])
        assert.equal(3, pool:get_pool_stats().generation)
        local done, message = adopt(pool, {tiers = {128}, zero = "get"})
        assert.is_nil(done)
        assert.equal('zero: is fixed when a pool is made, and is false, not "get"', message)
        assert.equal(3, pool:get_pool_stats().generation)
    end)
end)

describe("the claim of a process", function()
    it("has one holder", function()
        assert.is_true(core.claim())
        assert.is_false(core.claim())
        core.claim(false)
        assert.is_true(core.claim())
        core.claim(false)
    end)
end)

describe("sums over workers", function()
    local sums = require "resty.bytepool.sums"

    local function record(pool, kept)
        return {stats = {p = pool:get_pool_stats()}, figures = {send = {sends = 5, kept_now = kept}, channels = {}}}
    end

    it("count what ended workers did, and have what the living ones hold", function()
        local first, second = h.new(nil, {128, 1024}), h.new(nil, {128, 4096})
        local held = {first:get_buffer(1000), second:get_buffer(100), second:get_buffer(4000)}
        first:get_buffer(50000):release()
        local sum = sums.new()
        sums.add(sum, record(first, 3), false)
        sums.add(sum, record(second, 4), true)
        local s = sum.stats.p
        assert.same({4, 3, 1, 2}, {s.requests, s.total_get, s.discarded, s.in_use})
        assert.same({1, 0}, {s.pools[1024].get, s.pools[1024].in_use})
        assert.same({1, 1}, {s.pools[4096].get, s.pools[4096].in_use})
        assert.equal(second:get_pool_stats().owned_bytes, s.owned_bytes)
        assert.same({10, 4}, {sum.figures.send.sends, sum.figures.send.kept_now})
        local count, last = 0, 0
        for _, bucket in ipairs(s.histogram) do
            assert.is_true(bucket.le > last)
            count, last = count + bucket.count, bucket.le
        end
        assert.equal(4, count)
        -- All formats take it as a snapshot, and it goes through a dump.
        local report = bytepool.report
        for _, name in ipairs {"text", "prometheus", "openmetrics", "statsd", "html"} do
            assert.is_string(report.render(name, sum.stats))
        end
        for _, buf in ipairs(held) do buf:release() end
    end)

    it("of a sum and of the rest are the sum of all", function()
        local pool = h.new(nil, {128})
        pool:get_buffer(10):release()
        local past, all = sums.new(), sums.new()
        sums.add(past, record(pool, 1), false)
        sums.add(past, record(pool, 1), false)
        sums.merge(all, past)
        sums.add(all, record(pool, 1), true)
        assert.equal(3, all.stats.p.requests)
        assert.equal(3, all.stats.p.pools[128].get)
        assert.equal(pool:get_pool_stats().idle_bytes, all.stats.p.idle_bytes)
        assert.equal(15, all.figures.send.sends)
    end)
end)
