---@meta
-- Scopes, as pool.lua says at its head; lua/bytepool/scope.lua has the code.

--- Buffers that go back together, see Pool:scope. Since 0.1.0.
---@class bytepool.Scope
local Scope = {}

--- pool:get_buffer(n), for the scope to give back.
---@param n integer bytes
---@return bytepool.Buffer|nil buffer
---@return string? message
function Scope:get_buffer(n) end

--- Hands a buffer of any pool over to the scope.
---@param buf bytepool.Buffer
---@return bytepool.Buffer buf
function Scope:add(buf) end

--- Gives back all that its handles own, the last one first; who was released by hand is skipped.
-- A second call does nothing.
function Scope:close() end
