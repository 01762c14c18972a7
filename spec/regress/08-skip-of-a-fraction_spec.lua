-- The FFI body of skip took a fraction that was not less than the length: all is skipped then,
-- whatever n is. The C method refused it.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/../helper.lua")

it("skip refuses a fraction beyond the length too", function()
  local pool = h.new()
  local buf = pool:from_string("abc")
  for _, n in ipairs { 3.5, 100.25, 2 ^ 40 - 0.5 } do
    h.raises_like(function() buf:skip(n) end, "skip: argument 'n' must be a whole number from 0 to 1099511627776, got ")
    assert.equal("abc", buf:tostring())
  end
  buf:release()
  h.all_back(pool)
end)
