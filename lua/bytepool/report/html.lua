--- Snapshots as one HTML page that asks for nothing from elsewhere.
--
-- Every figure stands in a <data value="..." data-key="..."> element with the exact number as its
-- value: within the row of a tier by the tier's names, elsewhere by the snapshot's.
--
-- Since 0.1.0.
-- @module bytepool.report.html

local style = require "bytepool.report.html_style"
local units = require "bytepool.report.units"

local ENTITIES = {["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;"}

local function escape(s)
    return (s:gsub("[&<>\"']", ENTITIES))
end

-- 1234567 as 1,234,567.
local function grouped(n)
    local text = units.count(n)
    local sign, digits, rest = text:match("^(%-?)(%d+)(.*)$")
    return sign .. digits:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", "") .. rest
end

local function data(key, value, text)
    return ('<data value="%s" data-key="%s">%s</data>'):format(units.number(value), key, text or grouped(value))
end

local function is_bytes(key)
    return key:find("bytes$") ~= nil or key == "max_idle" or key == "le"
end

-- Bytes: rounded, to be read in a row.
local function cell(key, value)
    if key == "seconds" or key == "max_waste" or key == "decay" then return data(key, value, units.number(value)) end
    return data(key, value, is_bytes(key) and units.rounded(value) or nil)
end

-- Bytes: rounded, and in full.
local function figure(key, value)
    local shown = cell(key, value)
    if not (is_bytes(key) and units.rounded(value)) then return shown end
    return ("%s <small>%s</small>"):format(shown, grouped(value))
end

local TOTALS = {
    "requests", "total_get", "total_put", "discarded", "discarded_put", "discarded_bytes",
    "in_use", "in_use_bytes", "idle_bytes", "owned_bytes", "peak_owned_bytes", "peak_in_use_bytes",
    "resident_bytes", "pinned_bytes", "reserved_bytes", "max_idle", "max_bytes", "max_waste", "decay",
    "generation", "over_quota", "asked_bytes", "waste_bytes", "trimmed_bytes", "decayed_bytes",
    "returned_bytes", "trims", "collected", "collected_bytes", "exported", "threads",
    "double_releases", "overruns", "late_writes",
}
local TIER_COLUMNS = {
    "get", "put", "hit", "miss", "in_use", "owned", "idle", "cached", "depot",
    "asked_bytes", "waste_bytes", "collected", "peak_in_use", "peak_owned", "max_idle", "max_bytes",
}
local DRAINED = {"tiers", "get", "put", "hit", "miss", "asked_bytes", "waste_bytes", "collected"}
local GC = {"held_bytes", "budget_bytes", "limit_bytes", "steps", "full", "cycles", "seconds"}
-- Figures that should be 0.
local FAULTS = {double_releases = true, overruns = true, late_writes = true}

local function words(name)
    return (name:gsub("_", " "))
end

local function definitions(from, keys, prefix, add)
    local any = false
    for _, key in ipairs(keys) do
        local value = from[key]
        if value then
            if not any then add("<dl>") end
            any = true
            local class = FAULTS[key] and value > 0 and ' class="bad"' or ""
            add(("<div><dt>%s</dt><dd%s>%s</dd></div>"):format(words(key), class,
                (figure(key, value):gsub('data%-key="', 'data-key="' .. prefix, 1))))
        end
    end
    if any then add("</dl>") end
end

local function span(class, part, whole)
    if part <= 0 or whole <= 0 then return "" end
    return ('<span class="%s" style="width:%s%%"></span>'):format(class,
        units.number(math.floor(part / whole * 1000) / 10))
end

-- A bar is as long as the bytes that the tier owns, beside the largest.
local function tier_table(tiers, add)
    local columns, sizes, most = units.columns(tiers, TIER_COLUMNS), units.sizes(tiers), 0
    for _, size in ipairs(sizes) do most = math.max(most, (tiers[size].owned or 0) * size) end
    add('<h3>Tiers</h3><p class="quiet">Bytes:<span class="key use"></span>in use'
        .. '<span class="key idle"></span>idle</p>')
    add('<div class="wide"><table class="folds tiers"><thead><tr><th>size</th>'
        .. '<th class="words">bytes owned</th><th></th>')
    for _, name in ipairs(columns) do add(("<th>%s</th>"):format(words(name))) end
    add("</tr></thead><tbody>")
    for _, size in ipairs(sizes) do
        local tier = tiers[size]
        local owned = (tier.owned or 0) * size
        local bar = span("use", (tier.in_use or 0) * size, most) .. span("idle", (tier.idle or 0) * size, most)
        add(('<tr data-tier="%s"><th data-name="size">%s%s</th><td class="bar words">%s</td>'):format(
            units.count(size), grouped(size), tier.draining and " <small>draining</small>" or "", bar))
        add(('<td data-name="bytes owned">%s</td>'):format(units.rounded(owned) or grouped(owned)))
        for _, name in ipairs(columns) do
            local value = tier[name]
            add(('<td data-name="%s">%s</td>'):format(words(name), value and cell(name, value) or "-"))
        end
        add("</tr>")
    end
    add("</tbody></table></div>")
end

-- A line for each length, on a logarithmic scale: 1 byte and 1 MiB are both to be seen.
local function recent_chart(lengths, add)
    if not lengths then return end
    add("<h3>Recent lengths</h3>")
    local n = #lengths
    if n == 0 then
        add('<p class="quiet">None.</p>')
        return
    end
    local least, most = math.huge, 0
    for _, length in ipairs(lengths) do least, most = math.min(least, length), math.max(most, length) end
    local scale = math.log(most + 2)
    local strokes, all = {}, {}
    for i, length in ipairs(lengths) do
        local height = math.floor(math.log(length + 2) / scale * 960) / 10
        strokes[i] = ("M%.1f 100V%.1f"):format((i - 0.5) * 1000 / n, 100 - height):gsub(",", ".")
        all[i] = units.count(length)
    end
    add(('<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="recent lengths">'
        .. '<path d="%s" style="stroke-width:%s"/></svg>'):format(table.concat(strokes),
            units.number(math.floor(8000 / n) / 10)))
    add(('<p class="quiet">%s lengths, oldest at the left, logarithmic: from %s to %s bytes.</p>'):format(
        grouped(n), data("recent_least", least), data("recent_most", most)))
    add(('<details><summary>all of them</summary><p class="recent">%s</p></details>'):format(
        table.concat(all, " ")))
end

local function histogram_table(histogram, add)
    if not histogram or #histogram == 0 then return end
    local octaves, most, all = units.octaves(histogram), 0, {}
    for _, bucket in ipairs(octaves) do most = math.max(most, bucket.count) end
    add('<h3>Request sizes</h3><div class="wide"><table class="histogram"><thead><tr><th>up to</th><th>requests</th>'
        .. '<th class="words"></th></tr></thead><tbody>')
    for _, bucket in ipairs(octaves) do
        add(('<tr><th>%s</th><td>%s</td><td class="bar words">%s</td></tr>'):format(data("le", bucket.le),
            data("count", bucket.count), span("use", bucket.count, most)))
    end
    for i, bucket in ipairs(histogram) do
        all[i] = ("&le;&nbsp;%s:&nbsp;%s"):format(units.count(bucket.le), units.count(bucket.count))
    end
    add(('</tbody></table></div><details><summary>in full</summary><p>%s</p></details>'):format(
        table.concat(all, ", ")))
end

local function leak_table(snapshot, add)
    local leaks = snapshot.leaks
    if not leaks then return end
    add("<h3>Leaks</h3>")
    if #leaks == 0 then
        add('<p class="quiet">None recorded.</p>')
        return
    end
    add('<table class="folds leaks"><thead><tr><th class="words">kind</th><th class="words">site</th>'
        .. '<th class="words">tag</th><th>count</th><th>bytes</th><th>age</th></tr></thead><tbody>')
    for _, leak in ipairs(leaks) do
        local trace = leak.detail and ("<details><summary>traceback</summary><pre>%s</pre></details>"):format(
            escape(table.concat(leak.detail, "\n"))) or ""
        add(('<tr><td class="words" data-name="kind">%s</td><td class="words" data-name="site">%s%s</td>'
            .. '<td class="words" data-name="tag">%s</td><td data-name="count">%s</td><td data-name="bytes">%s</td>'
            .. '<td data-name="age">%s</td></tr>'):format(escape(leak.kind), escape(leak.site), trace,
                escape(leak.tag or "-"), data("count", leak.count), leak.bytes and data("bytes", leak.bytes) or "-",
                leak.age and escape(units.seconds(leak.age)) or "-"))
    end
    add("</tbody></table>")
end

local function about(snapshot)
    local facts = {}
    local function add(text) facts[#facts + 1] = text end
    if snapshot.restarted then add("began anew") end
    if snapshot.seconds then add("over " .. data("seconds", snapshot.seconds, units.seconds(snapshot.seconds))) end
    if snapshot.time then add(data("time", snapshot.time, units.date(snapshot.time))) end
    if snapshot.uptime then add("up " .. data("uptime", snapshot.uptime, units.seconds(snapshot.uptime))) end
    if snapshot.leak_level then add("leak detection: " .. escape(snapshot.leak_level)) end
    return #facts > 0 and ('<p class="quiet">%s</p>'):format(table.concat(facts, " &middot; "))
end

local function pool_section(entry, add)
    local snapshot = entry.snapshot
    add(('<section data-pool="%s">'):format(escape(entry.pool)))
    add(("<h2>%s</h2>"):format(escape(entry.title or "a pool without a name")))
    local facts = about(snapshot)
    if facts then add(facts) end
    definitions(snapshot, TOTALS, "", add)
    tier_table(snapshot.pools, add)
    if snapshot.drained and snapshot.drained.tiers ~= 0 then
        add("<h3>Tiers that are gone</h3>")
        definitions(snapshot.drained, DRAINED, "drained.", add)
    end
    recent_chart(snapshot.recent_lengths, add)
    histogram_table(snapshot.histogram, add)
    leak_table(snapshot, add)
    if snapshot.gc then
        add("<h3>Pacing of the Lua collector</h3>")
        definitions(snapshot.gc, GC, "gc.", add)
    end
    add("</section>")
end

-- The policy has the browser refuse whatever the page would load, should a text ever get through.
local HEAD = [[
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>%s</title>
<style>
%s</style>
</head>
<body>
<h1>%s</h1>]]

---@param list bytepool.report.Entry[]
---@param title? string
---@return string html
return function(list, title)
    title = escape(units.clean(title or "bytepool"))
    local lines = {}
    local function add(text) lines[#lines + 1] = text end
    add(HEAD:format(title, style, title))
    if #list == 0 then add('<p class="quiet">No pools.</p>') end
    for _, entry in ipairs(list) do pool_section(entry, add) end
    add("</body>\n</html>\n")
    return table.concat(lines, "\n")
end
