--- The tiers that waste least for given requests.
--
-- Distinct sizes (rounded up to `align`) are points 1 to n: place[j] is the size, below[j] how many
-- requests are of points up to j. A tier at point j that serves points i + 1 to j takes
--
--     place[j] * (below[j] - below[i])    bytes,
--
-- and the best k tiers over points up to j are
--
--     best[k][j] = minimum over i < j of  best[k - 1][i] + place[j] * (below[j] - below[i]).
--
-- For a row k, each i is a line over place[j] with the slope -below[i]. Slopes fall as i grows, so that a
-- later line that has come below an earlier one stays there: the lowest lines are a queue that is added to
-- behind and left in front, and a row takes time in proportion to n. Where two lines cross is computed as a
-- whole number, so that the result is exact while requests * largest size stays below 2^53.
--
-- Rows are not kept. A row carries the point at which the middle tier ends on the best way to j; with that
-- the problem falls into two of half the tiers, which again takes as long as the first pass in sum, and
-- memory for a few rows only.
--
-- Since 0.1.0.
-- @module bytepool.policy.fit

local ceil, floor = math.ceil, math.floor
local MAX_SIZE = require("bytepool.core").max_size

local fit = {}

local to_integer = require("bytepool.compat").to_integer

-- ---- rows --------------------------------------------------------------------

local new_numbers, new_points -- arrays from 0 to n

local has_ffi, ffi = pcall(require, "ffi")
if has_ffi and rawget(_G, "jit") then
    local numbers, points = ffi.typeof("double[?]"), ffi.typeof("int32_t[?]")
    function new_numbers(n) return numbers(n + 1) end
    function new_points(n) return points(n + 1) end
else
    function new_numbers() return {[0] = 0.0} end
    function new_points() return {[0] = 0} end
end

local function new_problem(samples, align)
    local sizes, counts = samples.sizes, samples.counts
    local place, below = new_numbers(#sizes), new_numbers(#sizes)
    local n, requests = 0, 0.0
    local last
    for i = 1, #sizes do
        local point = ceil(sizes[i] / align) * align
        if point < align then point = align end -- a request of 0 bytes takes a block too
        if point > MAX_SIZE then point = MAX_SIZE end
        if point ~= last then n, last = n + 1, point end
        requests = requests + counts[i]
        place[n], below[n] = point + 0.0, requests
    end
    return {
        n = n, place = place, below = below,
        best = new_numbers(n), before = new_numbers(n), -- rows k and k - 1
        middle = new_points(n), middle_before = new_points(n),
        queue = new_points(n), from = new_numbers(n),
    }
end

-- The least whole number from which the line with `rise` more at 0 and `fall` more downwards is not above.
local function crossing(rise, fall)
    local x = ceil(rise / fall)
    if (x - 1) * fall >= rise then return x - 1 end -- what the division rounded off
    if x * fall < rise then return x + 1 end
    return x
end

-- Row k, points first to last, out of row k - 1 from point first - 1 on.
local function fill_row(p, first, last)
    local place, below, queue, from = p.place, p.below, p.queue, p.from
    local best, before, middle, middle_before = p.best, p.before, p.middle, p.middle_before
    local largest = place[last]
    local head, tail = 0, 0 -- the queue is head to tail; from[t]: where its line t comes below line t - 1
    queue[0] = first - 1
    for j = first, last do
        local line = j - 1
        if line > queue[tail] then
            local old = queue[tail]
            local x = crossing(before[line] - before[old], below[line] - below[old])
            while tail > head and x <= from[tail] do
                tail = tail - 1
                old = queue[tail]
                x = crossing(before[line] - before[old], below[line] - below[old])
            end
            if x <= largest then
                tail = tail + 1
                queue[tail], from[tail] = line, x
            end
        end
        local at = place[j]
        while head < tail and from[head + 1] <= at do head = head + 1 end
        local i = queue[head]
        best[j] = before[i] + at * (below[j] - below[i])
        middle[j] = middle_before[i]
    end
end

local function swap(p)
    p.best, p.before = p.before, p.best
    p.middle, p.middle_before = p.middle_before, p.middle
end

local function first_row(p, low, high)
    local place, below, best = p.place, p.below, p.best
    for j = low + 1, high do best[j] = place[j] * (below[j] - below[low]) end
end

-- The point at which tier `half` of the best `count` over low + 1 to high ends.
local function split(p, low, high, count, half)
    first_row(p, low, high - count + 1)
    for k = 1, count do
        if k > 1 then fill_row(p, low + k, high - count + k) end
        if k == half then
            local middle = p.middle
            for j = low + k, high - count + k do middle[j] = j end
        end
        swap(p)
    end
    return p.middle_before[high]
end

-- Appends the points of the best `count` tiers over low + 1 to high.
local function solve(p, low, high, count, points)
    if high - low <= count then
        for j = low + 1, high do points[#points + 1] = j end
    elseif count == 1 then
        points[#points + 1] = high
    else
        local half = floor(count / 2)
        local at = split(p, low, high, count, half)
        solve(p, low, at, half, points)
        solve(p, at, high, count - half, points)
    end
end

-- How many tiers it takes, up to `most`, for as little waste.
local function fewest(p, most, asked_bytes, max_waste)
    first_row(p, 0, p.n)
    for k = 1, most do
        if k > 1 then fill_row(p, k, p.n) end
        if p.best[p.n] - asked_bytes <= asked_bytes * max_waste then return k end
        swap(p)
    end
    return most
end

--- The best tiers; the last holds the largest size.
---@param samples bytepool.policy.Samples
---@param most integer how many at most; fewer where there are fewer sizes, and as far as max_waste allows
---@param align integer all are multiples of it
---@param max_waste? number waste in proportion to the bytes asked for that will do
---@return integer[] sizes
function fit.best(samples, most, align, max_waste)
    local p = new_problem(samples, align)
    local count = most < p.n and most or p.n
    if max_waste then count = fewest(p, count, samples.asked_bytes, max_waste) end
    local points, sizes = {}, {}
    solve(p, 0, p.n, count, points)
    for i, point in ipairs(points) do sizes[i] = to_integer(p.place[point]) end
    return sizes
end

return fit
