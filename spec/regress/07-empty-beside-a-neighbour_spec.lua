-- A buffer consumed to the end of its block points where the next block begins: put and set took it
-- for the buffer that it was put to, and wrote more than they had made room for.
local h = dofile(debug.getinfo(1, "S").source:match("^@(.*)/[^/]*/[^/]*$") .. "/helper.lua")

describe("an empty buffer beside its neighbour", function()
  it("is put and set as what it is", function()
    local pool, list = h.new(nil, { 64 }), {}
    for i = 1, 16 do list[i] = pool:get_buffer(64) end
    for _, empty in ipairs(list) do
      empty:resize(64):skip(64)
      for _, buf in ipairs(list) do
        if buf ~= empty then
          buf:reset():put("abc")
          assert.equal("abcd", buf:put(empty, "d"):tostring())
          assert.equal("", buf:set(empty):tostring())
        end
      end
      empty:reset()
    end
    for _, buf in ipairs(list) do buf:release() end
    h.all_back(pool)
  end)
end)
