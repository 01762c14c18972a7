--- What tiers would make of given requests.
--
-- Since 0.1.0.
-- @module bytepool.policy.predict

local to_integer = require("bytepool.compat").to_integer

local function whole(n) return to_integer(n) or n end

---@param samples bytepool.policy.Samples
---@param sizes integer[] rising
---@return bytepool.policy.Prediction
return function(samples, sizes)
    local requests, asked, tier = {}, {}, 1
    for i = 1, #sizes do requests[i], asked[i] = 0.0, 0.0 end
    local discarded = 0.0
    for i, size in ipairs(samples.sizes) do
        while sizes[tier] and sizes[tier] < size do tier = tier + 1 end
        local count = samples.counts[i]
        if sizes[tier] then
            requests[tier], asked[tier] = requests[tier] + count, asked[tier] + count * size
        else
            discarded = discarded + count
        end
    end

    local tiers, asked_bytes, waste_bytes, used = {}, 0.0, 0.0, 0
    for i, size in ipairs(sizes) do
        local waste = size * requests[i] - asked[i]
        tiers[i] = {size = size, requests = whole(requests[i]), asked_bytes = whole(asked[i]),
            waste_bytes = whole(waste)}
        asked_bytes, waste_bytes = asked_bytes + asked[i], waste_bytes + waste
        if requests[i] > 0 then used = used + 1 end
    end
    return {
        requests = whole(samples.requests),
        discarded = whole(discarded),
        asked_bytes = whole(asked_bytes),
        waste_bytes = whole(waste_bytes),
        waste = asked_bytes > 0 and waste_bytes / asked_bytes or 0.0,
        hits = (samples.requests - discarded - used) / samples.requests,
        tiers = tiers,
    }
end
