-- report.dump and report.load: a snapshot that is read in another process, on another Lua.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")
local cjson = require "cjson"
local report = require "bytepool".report

local function sample()
  local pool = h.new({ name = 'na"me\n' }, { 128, 1024, 4096 })
  local kept = {}
  for i = 1, 300 do
    local buf = pool:get_buffer(i * 37 % 5000)
    if i % 9 == 0 then kept[#kept + 1] = buf else buf:release() end
  end
  local s = pool:get_pool_stats()
  for _, buf in ipairs(kept) do buf:release() end
  pool:close()
  s.time, s.uptime, s.asked_bytes = 1785000000.123456, 12.345, 2 ^ 53
  s.histogram = { { le = 128, count = 2 ^ 53 - 1 } }
  s.leaks = { { kind = "out", site = "a.lua:1", tag = "caf\195\169\255", count = 1, traceback = "one\n\ttwo" } }
  s.gc = { seconds = 0.1 }
  return s
end

local function all_texts(snapshot)
  local texts = {}
  for _, format in ipairs { "text", "prometheus", "openmetrics", "statsd", "html" } do
    texts[#texts + 1] = report[format](snapshot)
  end
  return table.concat(texts, "\n====\n")
end

describe("report.dump and report.load", function()
  it("bring back what a live pool said", function()
    local pool = h.new(nil, { 128, 1024 })
    for i = 1, 20 do pool:get_buffer(i * 100):release() end
    local s = pool:get_pool_stats()
    local loaded = assert(report.load(report.dump(s)))
    for key, value in pairs(s) do if type(value) ~= "table" then assert.equal(value, loaded[key], key) end end
    assert.same(s.recent_lengths, loaded.recent_lengths)
    for size, tier in pairs(s.pools) do assert.same(tier, loaded.pools[size]) end
  end)

  it("keep whole numbers exact up to 2^53, as integers where Lua has them", function()
    for _, n in ipairs { 0, 1, 2 ^ 31, 2 ^ 32 + 1, 2 ^ 40 + 1, 10 ^ 14 + 1, 2 ^ 53 - 1, 2 ^ 53 } do
      local loaded = report.load(report.dump { name = "", requests = n, pools = { [128] = { get = n } } })
      assert.is_true(loaded.requests == n)
      assert.is_true(loaded.pools[128].get == n)
      if rawget(math, "type") then
        assert.equal("integer", math.type(loaded.requests))
        assert.equal("integer", math.type((next(loaded.pools))))
      end
    end
  end)

  it("bring back several by prefix, also one that is called pools", function()
    local a, b = sample(), sample()
    local loaded = assert(report.load(report.dump { pools = a, other = b }))
    assert.equal(a.requests, loaded.pools.requests)
    assert.equal(all_texts { pools = a, other = b }, all_texts(loaded))
  end)

  it("read an expvar page, and leave out what is not of a pool", function()
    local pool = h.new():expvar("dump_spec")
    pool:get_buffer(1):release()
    local loaded = assert(report.load(report.expvar()))
    assert.equal(1, loaded.dump_spec.requests)
    assert.is_nil(loaded.memstats)
    pool:close()
  end)

  it("render to the same text", function()
    local s = sample()
    assert.equal(all_texts(s), all_texts(assert(report.load(report.dump(s)))))
    -- A dump of what was loaded says the same again.
    assert.same(cjson.decode(report.dump(s)), cjson.decode(report.dump(report.load(report.dump(s)))))
  end)

  local RENDER = [[
    local report = require "bytepool".report
    local file = assert(io.open(arg[1], "rb"))
    local snapshot = assert(report.load(file:read("*a")))
    local texts = {}
    for _, format in ipairs { "text", "prometheus", "openmetrics", "statsd", "html" } do
      texts[#texts + 1] = report[format](snapshot)
    end
    io.write(table.concat(texts, "\n====\n"))
  ]]

  it("render to the same text in another process", function()
    local s = sample()
    h.with_file(report.dump(s), function(path)
      h.with_file(RENDER, function(script)
        local status, out, err = h.exec(script, path)
        assert.equal("0 ", status .. " " .. err)
        assert.equal(all_texts(s), out)
      end)
    end)
  end)

  -- In a checkout with modules of other Luas.
  local others = {}
  for _, lua in ipairs { "luajit", "lua5.1", "lua5.2", "lua5.3", "lua5.4" } do
    if h.exists(("%s/build/%s/bytepool/core.so"):format(h.root, lua)) then others[#others + 1] = lua end
  end
  for _, lua in ipairs(others) do
    it("render to the same text on " .. lua, function()
      local s = sample()
      h.with_file(report.dump(s), function(path)
        h.with_file(RENDER, function(script)
          local status, out, err = h.run("env", "-u", "LUA_PATH", "-u", "LUA_CPATH", "sh", "-c",
            'eval "$(sh "$1/tests/env" "$1" build "$2")"; exec "$2" "$3" "$4"', "sh", h.root, lua, script, path)
          assert.equal("0 ", status .. " " .. err)
          assert.equal(all_texts(s), out)
        end)
      end)
    end)
  end

  it("say what is wrong with a text, and raise for what is none", function()
    local cases = {
      { "", "not JSON: " }, { "x", "not JSON: " }, { "{\"pools\":", "not JSON: " }, { "5", "the JSON is no object" },
      { "[]", "no pool's snapshot is in it" }, { "{}", "no pool's snapshot is in it" },
      { '{"memstats":{"Sys":1}}', "no pool's snapshot is in it" },
      { '{"pools":{"128":5}}', "the JSON is no snapshot: field 'pools[128]' must be a table, got 5" },
      { '{"pools":{"a":{}}}', "the JSON is no snapshot: field 'pools' has a key that is no tier size: \"a\"" },
      { '{"pools":{},"requests":"1"}',
        "the JSON is no snapshot: field 'requests' must be a finite number, got string" },
      { '{"p":{"pools":{},"leaks":[{"kind":"out"}]}}',
        "the JSON has no snapshot at \"p\": field 'leaks[1].site' must be there" },
      { '{"pools":{},"histogram":[{"le":2,"count":1},{"le":1,"count":1}]}',
        "the JSON is no snapshot: field 'histogram[2].le' must be above the one before it" },
      { '{"pools":{},"requests":NaN}', "not JSON: " },
    }
    for _, case in ipairs(cases) do
      local loaded, message = report.load(case[1])
      assert.is_nil(loaded, case[1])
      assert.equal(case[2], message:sub(1, #case[2]))
    end
    h.raises(function() report.load(5) end, "load: argument 'text' must be a string, got 5")
    h.raises(function() report.dump(5) end, "dump: argument 'snapshot' must be a snapshot or a table of them, got 5")
  end)

  it("end for bounds beyond all integers", function()
    local text = '{"pools":{"128":{"get":1,"put":1}},"generation":%d,"requests":5,'
      .. '"histogram":[{"le":1,"count":1},{"le":1e19,"count":1},{"le":1e300,"count":2}]}'
    local old, new = assert(report.load(text:format(1))), assert(report.load(text:format(2)))
    all_texts(new)
    all_texts(report.delta(new, old))
    assert.is_nil((require("bytepool.policy").adaptive { tiers = 3 }:look(new)))
  end)

  it("never raise for a text that was damaged, and what they take renders in every format #random", function()
    h.seeded(function(random)
      local whole = report.dump(sample())
      local taken = 0
      for _ = 1, 400 do
        local text = whole
        for _ = 1, random(1, 3) do
          local at = random(1, #text)
          local pieces = { "", "0", "-", "9", '"', "{}", "[]", "null", "true", "1e9", "1e999", ",",
            string.char(random(0, 255)) }
          text = text:sub(1, at - 1) .. pieces[random(1, #pieces)] .. text:sub(at + random(0, 2))
        end
        local loaded, message = report.load(text)
        if loaded then
          taken = taken + 1
          all_texts(loaded)
          report.expvar(loaded)
          assert(report.load(report.dump(loaded)))
          all_texts(report.delta(loaded, loaded))
        else
          assert.equal("string", type(message))
        end
      end
      assert.is_true(taken > 0 and taken < 400)
    end)
  end)

  it("take null for what is not there", function()
    local loaded = assert(report.load('{"name":"n","pools":{"128":{"get":null,"put":1}},"leaks":null,"uptime":null}'))
    assert.same({ name = "n", pools = { [128] = { put = 1 } } }, loaded)
  end)

  it("do not depend on what the host set lua-cjson to", function()
    local s = sample()
    local before = { cjson.encode_number_precision(), cjson.encode_sparse_array() }
    cjson.encode_number_precision(3)
    cjson.encode_sparse_array(true)
    local dumped = report.dump(s)
    assert.equal(3, cjson.encode_number_precision())
    cjson.encode_number_precision(before[1])
    cjson.encode_sparse_array(before[2])
    assert.is_true(assert(report.load(dumped)).asked_bytes == 2 ^ 53)
  end)
end)
