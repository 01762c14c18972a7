--- The assertion `assert.is_balanced(fn)` for Busted, or whatever else has luassert.
--
--     require "bytepool.busted"
--     it("gives all back", function()
--         assert.is_balanced(function() handler(pool) end)
--     end)
--
-- It passes where every handle that fn made is released when it returns, and else shows the
-- lines that got them, as bytepool.expect_balanced does. An error of fn comes out.
--
-- Since 0.1.0.
-- @module bytepool.busted

local assert = require "luassert"
local say = require "say"
local bytepool = require "bytepool"

local FAULT = "expect_balanced: not released:"

local function is_balanced(state, arguments)
    local fn = arguments[1]
    if type(fn) ~= "function" then
        error("is_balanced: argument 'fn' must be a function, got " .. type(fn), (arguments.level or 1) + 1)
    end
    local ok, message = pcall(bytepool.expect_balanced, fn)
    if ok then return true end
    local at = type(message) == "string" and message:find(FAULT, 1, true)
    if not at then error(message, 0) end
    state.failure_message = message:sub(at)
    return false
end

say:set("assertion.balanced.positive", "Expected everything to be released in:\n%s")
say:set("assertion.balanced.negative", "Expected something to be left out in:\n%s")
assert:register("assertion", "balanced", is_balanced, "assertion.balanced.positive",
    "assertion.balanced.negative")

return is_balanced
