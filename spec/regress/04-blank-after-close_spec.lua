-- On LuaJIT a get fills a userdata made ahead. When a state closes, these are finalized
-- with all else; a stranger's finalizer that got a buffer afterwards filled one, and nobody
-- ever gave that buffer back.
local h = dofile(debug.getinfo(1, "S").source:match("^@(.*)/[^/]*/[^/]*$") .. "/helper.lua")
local bytepool = require "bytepool"
local found, uv = pcall(require, "luv")

describe("a buffer got by a finalizer of a state that closes", function()
  if not h.is_luajit then return end -- elsewhere such a userdata is never finalized: see README
  if not found then
    pending("lua-luv is not installed")
    return
  end

  it("goes back with the state", function()
    local pool = bytepool.default()
    for _ = 1, 5 do
      uv.new_thread(function(path, cpath)
        package.path, package.cpath = path, cpath
        local theirs = require("bytepool").default()
        local last = newproxy(true)
        getmetatable(last).__gc = function() theirs:get_buffer(100) end
        _G.last = last
        theirs:get_buffer(10):release() -- makes the others
      end, package.path, package.cpath):join()
    end
    h.all_back(pool)
  end)
end)
