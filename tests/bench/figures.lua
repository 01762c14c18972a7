-- The one table of results: samples by case, side and round. Tables, summary and JSON
-- are functions of it.
--
-- A case is "pair/4096", program's name and size; a side is "pool", "tcmalloc" and so
-- on. Ratios are taken round by round: what slows the machine slows both of a round.

local figures = {}
figures.__index = figures

figures.peers = {"glibc", "mimalloc", "jemalloc", "tcmalloc"}
figures.sizes = {128, 512, 4096, 65536, 262144, 1048576, 2097152}

function figures.new()
    return setmetatable({samples = {}, order = {}}, figures)
end

function figures:add(case, side, round, value)
    if not self.samples[case] then
        self.samples[case] = {}
        table.insert(self.order, case)
    end
    self.samples[case][side] = self.samples[case][side] or {}
    self.samples[case][side][round] = value
end

function figures:of(case, side)
    return self.samples[case] and self.samples[case][side]
end

local function median_of(values)
    local sorted = {}
    for _, v in pairs(values) do table.insert(sorted, v) end
    if #sorted == 0 then return nil end
    table.sort(sorted)
    local half = (#sorted + 1) / 2
    return (sorted[math.floor(half)] + sorted[math.ceil(half)]) / 2
end

--- The median of fn over the rounds in which all of the named samples are there, or nil.
-- Each of `names` is {case, side}.
function figures:over_rounds(names, fn)
    local columns, results = {}, {}
    for i, name in ipairs(names) do
        columns[i] = self:of(name[1], name[2])
        if not columns[i] then return nil end
    end
    for round in pairs(columns[1]) do
        local row = {}
        for i, column in ipairs(columns) do row[i] = column[round] end
        local value = #row == #columns and fn(row)
        -- A ratio to nothing is none.
        if value and value == value and math.abs(value) < math.huge then results[round] = value end
    end
    return median_of(results)
end

function figures:median(case, side)
    return self:over_rounds({{case, side}}, function(row) return row[1] end)
end

--- How many times the other figure the first one is.
function figures:ratio(case, side, other_case, other_side)
    return self:over_rounds({{case, side}, {other_case, other_side}}, function(row) return row[1] / row[2] end)
end

--- The peer with the least median, or nil where none was measured.
function figures:fastest(case)
    local best, name
    for _, peer in ipairs(figures.peers) do
        local ns = self:median(case, peer)
        if ns and (not best or ns < best) then best, name = ns, peer end
    end
    return name
end

return figures
