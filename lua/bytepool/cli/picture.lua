--- The distribution of sizes with tiers drawn over it, as SVG that asks for nothing from elsewhere.
--
-- Since 0.1.0.
-- @module bytepool.cli.picture

local units = require "bytepool.report.units"

local WIDTH, LEFT, RIGHT = 960, 60, 50
local TOP, PLOT = 120, 260    -- above and of the plot; names of tiers stand above it
local ROW = 34                -- of the marks of other tiers, below it
local BINS = 120
local NEAREST = 18            -- names of tiers nearer than so many pixels are left out

local STYLE = [[
  .page { fill: #ffffff } text { font: 12px system-ui, sans-serif; fill: #1b1f24 } .quiet { fill: #59636e }
  .bar { fill: #9cc3ee } .tier { stroke: #b3261e; stroke-width: 1.5 } .name { fill: #b3261e; font-size: 11px }
  .axis { stroke: #59636e } .grid { stroke: #d9dee4 } .other { stroke: #0b62c4; stroke-width: 1.5 }
  .title { font-size: 15px; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #181c22 } text { fill: #e8ebef } .quiet { fill: #9aa5b1 } .bar { fill: #274b73 }
    .tier { stroke: #ff8a80 } .name { fill: #ff8a80 } .axis { stroke: #9aa5b1 } .grid { stroke: #2e353d }
    .other { stroke: #58a6ff }
  }]]

local ENTITIES = {["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;"}

local function escape(text) return (units.one_line(units.clean(text)):gsub("[&<>\"]", ENTITIES)) end

local function number(n) return (("%.2f"):format(n):gsub(",", "."):gsub("%.?0+$", "")) end

local function short(bytes)
    local rounded = units.rounded(bytes)
    return rounded and (rounded:gsub("%.0 ", " ")) or units.count(bytes)
end

local function log2(n) return math.log(math.max(n, 1)) / math.log(2) end

-- Sizes from low to high, which are at least an octave, over the plot's width.
local function new_scale(samples, list)
    local low, high = math.max(samples.sizes[1], 1), samples.sizes[#samples.sizes]
    for _, tier in ipairs(list[#list].tiers) do high = math.max(high, tier) end
    local from, to = log2(low), log2(math.max(high, 1))
    if to - from < 1 then from, to = math.max(from - 0.5, 0), to + 0.5 end
    return {from = from, to = to, at = function(size)
        return LEFT + (log2(size) - from) / (to - from) * (WIDTH - LEFT - RIGHT)
    end}
end

-- Requests by bins of equal ratio; a bin with its smallest and largest size.
local function bins_of(samples, scale)
    local bins, most = {}, 0
    for i, size in ipairs(samples.sizes) do
        local place = (log2(size) - scale.from) / (scale.to - scale.from)
        local at = math.min(math.max(math.floor(place * BINS), 0), BINS - 1)
        local bin = bins[at] or {count = 0, low = size}
        bin.count, bin.high = bin.count + samples.counts[i], size
        bins[at], most = bin, math.max(most, bin.count)
    end
    return bins, most
end

local function draw_bars(add, samples, scale)
    local bins, most = bins_of(samples, scale)
    local width = (WIDTH - LEFT - RIGHT) / BINS
    for step = 1, 4 do
        local y = TOP + PLOT - PLOT * step / 4
        add('<line class="grid" x1="%d" x2="%d" y1="%s" y2="%s"/>', LEFT, WIDTH - RIGHT, number(y), number(y))
        add('<text class="quiet" x="%d" y="%s" text-anchor="end">%s %%</text>', LEFT - 6, number(y + 4),
            number(most * step / 4 / samples.requests * 100))
    end
    for at = 0, BINS - 1 do
        local bin = bins[at]
        if bin then
            local height = math.max(bin.count / most * PLOT, 1)
            add('<rect class="bar" x="%s" y="%s" width="%s" height="%s"><title>%s to %s bytes: %s requests</title>'
                .. '</rect>', number(LEFT + at * width), number(TOP + PLOT - height), number(math.max(width - 1, 1)),
                number(height), units.count(bin.low), units.count(bin.high), units.count(bin.count))
        end
    end
end

local function draw_axis(add, scale)
    local y = TOP + PLOT
    add('<line class="axis" x1="%d" x2="%d" y1="%d" y2="%d"/>', LEFT, WIDTH - RIGHT, y, y)
    local every = math.ceil((scale.to - scale.from) / 12)
    for power = math.ceil(scale.from), math.floor(scale.to) do
        if power % every == 0 then
            local x = number(scale.at(2 ^ power))
            add('<line class="axis" x1="%s" x2="%s" y1="%d" y2="%d"/>', x, x, y, y + 5)
            add('<text class="quiet" x="%s" y="%d" text-anchor="middle">%s</text>', x, y + 19, short(2 ^ power))
        end
    end
end

-- The suggested tiers, from the largest, whose name is always there.
local function draw_tiers(add, tiers, scale)
    local named
    for i = #tiers, 1, -1 do
        local x = scale.at(tiers[i])
        add('<line class="tier" x1="%s" x2="%s" y1="%d" y2="%d"><title>tier of %s bytes</title></line>', number(x),
            number(x), TOP - 6, TOP + PLOT, units.count(tiers[i]))
        if not named or named - x >= NEAREST then
            named = x
            add('<text class="name" transform="translate(%s %d) rotate(-60)">%s</text>', number(x + 3), TOP - 10,
                units.count(tiers[i]))
        end
    end
end

-- A row of marks; tiers beyond the plot are left out.
local function draw_other(add, entry, row, scale)
    local y = TOP + PLOT + 34 + row * ROW
    for _, tier in ipairs(entry.tiers) do
        local x = scale.at(tier)
        if x >= LEFT - 0.5 and x <= WIDTH - RIGHT + 0.5 then
            add('<line class="other" x1="%s" x2="%s" y1="%d" y2="%d"><title>tier of %s bytes</title></line>', number(x),
                number(x), y, y + 8, units.count(tier))
        end
    end
    add('<text class="quiet" x="%d" y="%d">%s: %d tiers, waste %s</text>', LEFT, y + 20, escape(entry.name),
        #entry.tiers, units.percent(entry.prediction.waste))
end

--- The picture of a trace.
---@param samples bytepool.policy.Samples
---@param list {name: string, tiers: integer[], prediction: bytepool.Prediction}[] the last is drawn over the
--- sizes, the others below
---@return string svg
return function(samples, list)
    local parts = {}
    local function add(format, ...) parts[#parts + 1] = format:format(...) end
    local suggested, scale = list[#list], new_scale(samples, list)
    local height = TOP + PLOT + 34 + (#list - 1) * ROW + 12
    add('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">', WIDTH, height,
        WIDTH, height)
    add("<title>Sizes of requests and %d tiers</title><style>%s</style>", #suggested.tiers,
        (STYLE:gsub("%%", "%%%%")))
    add('<rect class="page" width="%d" height="%d"/>', WIDTH, height)
    add('<text class="title" x="%d" y="26">%s: %d tiers, waste %s</text>', LEFT, escape(suggested.name),
        #suggested.tiers, units.percent(suggested.prediction.waste))
    add('<text class="quiet" x="%d" y="44">Share of %s requests by size in bytes</text>', LEFT,
        units.count(samples.requests))
    draw_bars(add, samples, scale)
    draw_axis(add, scale)
    draw_tiers(add, suggested.tiers, scale)
    for row = 1, #list - 1 do draw_other(add, list[row], row - 1, scale) end
    parts[#parts + 1] = "</svg>\n"
    return table.concat(parts, "\n")
end
