-- The results as tables, summary and JSON.

local figures = require "figures"
local targets = require "targets"

local report = {}

-- 3.14, 31.4, 314
local function number(x)
    if not x then return "-" end
    local size = math.abs(x)
    return ((size < 9.995 and "%.2f") or (size < 99.95 and "%.1f") or "%.0f"):format(x)
end

local function line(cells, widths)
    local out = {}
    for i, cell in ipairs(cells) do
        table.insert(out, (i == 1 and "%-" .. widths[1] .. "s" or "%" .. widths[i] .. "s"):format(cell))
    end
    print((table.concat(out, "  "):gsub("%s+$", "")))
end

-- One row for each of `rows`, {label, case}: the pool, its variants, the peers, and the
-- ratio to each peer.
local function against_peers(r, title, rows, variants)
    local head, widths, peers = {"", "pool"}, {20, 8}, {}
    for _, name in ipairs(variants) do table.insert(head, name) end
    for _, peer in ipairs(figures.peers) do
        if r:of(rows[1][2], peer) then table.insert(peers, peer) end
    end
    for _, peer in ipairs(peers) do table.insert(head, peer) end
    for _, peer in ipairs(peers) do table.insert(head, "/" .. peer) end
    for i = #widths + 1, #head do widths[i] = math.max(8, #head[i]) end
    print()
    print(title)
    line(head, widths)
    for _, row in ipairs(rows) do
        local cells = {row[1], number(r:median(row[2], "pool"))}
        for _, name in ipairs(variants) do table.insert(cells, number(r:median(row[2], name))) end
        for _, peer in ipairs(peers) do table.insert(cells, number(r:median(row[2], peer))) end
        for _, peer in ipairs(peers) do
            local ratio = r:ratio(row[2], "pool", row[2], peer)
            table.insert(cells, ratio and ("%.2f"):format(ratio) or "-")
        end
        line(cells, widths)
    end
end

local function by_size(case, sizes)
    local rows = {}
    for _, n in ipairs(sizes or figures.sizes) do
        table.insert(rows, {targets.size_text(n), ("%s/%d"):format(case, n)})
    end
    return rows
end

local function print_c(r)
    local patterns = {}
    for _, k in ipairs {1, 8, 64} do
        for _, n in ipairs {128, 4096, 65536} do
            table.insert(patterns, {("%d of %s"):format(k, targets.size_text(n)), ("burst%d/%d"):format(k, n)})
        end
    end
    table.insert(patterns, {"1,000 live, mixed", "mixed"})
    local live = {}
    for _, n in ipairs {1000, 1000000} do
        for _, what in ipairs {"pair", "burst64", "replace"} do
            table.insert(live, {("%s, %d live"):format(what, n), ("live_%s/%d"):format(what, n)})
        end
    end
    against_peers(r, "C, one thread, a get and a release, ns (raw: raw_get and raw_put; static: linked in;"
        .. "\nbare: without counters and recent lengths)", by_size("pair"), {"raw", "static", "bare"})
    against_peers(r, "C, one thread, k gets then k releases, and a random live set, ns a pair", patterns, {"static"})
    against_peers(r, "C, one thread of a process that has had two, ns a pair", by_size("one"), {})
    against_peers(r, "C, two threads, ns a pair on each", by_size("two"), {})
    against_peers(r, "C, get on one thread, release on another, ns a buffer", by_size("handed"), {})
    against_peers(r, "C, the same, the first line written and read", by_size("handed_touched"), {})
    against_peers(r, "C, 128 B among live buffers, ns a pair (replace: a random one goes)", live, {})
    against_peers(r, "C, bytes kept beside the payload of each of 1 million blocks",
        by_size("block_bytes", {64, 128, 4096}), {})
end

-- The cases of one side that belong to it, in the order in which they were first measured.
local function print_single(r, title, side, belongs)
    print()
    print(title)
    for _, case in ipairs(r.order) do
        if belongs(case) then
            line({case:gsub("^lua_", ""):gsub("_", " "), number(r:median(case, side))}, {28, 8})
        end
    end
end

local function shown(v)
    if not v.value then return "-" end
    local formats = {x = "%.2f", ns = "%.2f ns", us = "%.1f us", B = "%.1f B", [""] = "%d"}
    return formats[v.unit]:format(v.value)
end

--- The line of the summary that a verdict is.
function report.verdict_line(v)
    local word = v.value and (v.met and "met" or "MISSED") or "none"
    local text = ("%-6s %s: %s"):format(word, v.name, v.value and shown(v) or "not measured")
    if v.note then text = text .. " " .. v.note end
    local limit = v.unit == "x" and v.limit == 1 and "1.0" or tostring(v.limit)
    text = text .. (", target %s%s"):format(v.strict and "below " or "", limit)
    if v.value and not v.met then
        text = text .. (v.value == v.limit and " (equal)" or (" (by %.2f)"):format(v.value - v.limit))
    end
    return text
end

local function print_summary(verdicts)
    local met, measured = 0, 0
    print()
    for _, v in ipairs(verdicts) do
        if v.value then measured = measured + 1 end
        if v.met then met = met + 1 end
        print(report.verdict_line(v))
    end
    print()
    print(("%d of %d targets met, %d not measured"):format(met, measured, #verdicts - measured))
end

function report.print(r, about, verdicts)
    local m = about.machine
    print(("machine: %s, %d processors, %s, %s, load %.2f"):format(m.processor, m.processors, m.system, m.libc, m.load))
    print(("bytepool %s, %s, %s; medians of %d rounds, ratios taken within a round"):format(about.version,
        m.compiler, m.luajit, about.rounds))
    if about.quick then print("QUICK: these figures mean nothing") end
    if m.load > 0.7 * m.processors + 1 then print("NOISY: the machine does other work, too") end
    for _, text in ipairs(about.skipped) do print("SKIPPED " .. text) end
    print_c(r)
    print_single(r, "C, what must not grow, ns", "pool", function(case)
        return not case:find("/") and not case:find("^lua_") and case ~= "mixed"
    end)
    print_single(r, "LuaJIT, 4096 bytes, ns", "luajit", function(case)
        return case:find("^lua_") and not case:find("_aborts$")
    end)
    print_summary(verdicts)
    for _, text in ipairs(about.failed) do print(text) end
end

--- All samples, medians and verdicts. Says so where there is no lua-cjson.
function report.write_json(path, r, about, verdicts)
    local found, cjson = pcall(require, "cjson")
    local file, message
    if found then file, message = io.open(path, "w") end
    if not file then
        print("no JSON: " .. (message or "lua-cjson is not installed"))
        return
    end
    local cases = {}
    for _, case in ipairs(r.order) do
        local entry = {case = case, fastest = r:fastest(case), median = {}, ratio = {}, samples = {}}
        for side, samples in pairs(r.samples[case]) do
            entry.median[side] = r:median(case, side)
            entry.samples[side] = {}
            for round = 1, about.rounds do entry.samples[side][round] = samples[round] or cjson.null end
        end
        for _, peer in ipairs(figures.peers) do entry.ratio[peer] = r:ratio(case, "pool", case, peer) end
        table.insert(cases, entry)
    end
    file:write(cjson.encode {about = about, cases = cases, targets = verdicts}, "\n")
    file:close()
end

return report
