-- Runs busted in the interpreter that runs this file, whichever one busted's own command would take.
-- BYTEPOOL_EXPECT_PREFIX: the only folder from which bytepool may come, so that the specs of one build
-- never pass on another one's module.
-- BYTEPOOL_BODIES, on LuaJIT with its compiler on: "interpreted" turns it off once the FFI bodies are
-- in place; "c" has the library take its C methods, and leaves the compiler on for all the rest.

local function find(name, path)
  name = name:gsub("%.", "/")
  for template in path:gmatch("[^;]+") do
    local file = template:gsub("%?", name)
    local f = io.open(file, "rb")
    if f then
      f:close()
      return file
    end
  end
end

local prefix = os.getenv "BYTEPOOL_EXPECT_PREFIX"

local function check(name, path)
  local file = find(name, path) or "none"
  if file:sub(1, #prefix + 1) ~= prefix .. "/" then
    error(name .. " must come from under " .. prefix .. ", found: " .. file)
  end
  print("under test: " .. file)
end

if prefix then
  check("bytepool", package.path)
  check("bytepool.core", package.cpath)
end

local bodies, jit = os.getenv "BYTEPOOL_BODIES", rawget(_G, "jit")
if bodies == "interpreted" then
  assert(jit.status() and require "bytepool".ffi_bodies)
  jit.off()
elseif bodies == "c" then
  assert(jit.status())
  jit.off()
  assert(not require "bytepool".ffi_bodies)
  jit.on()
end

require "busted.runner" { standalone = false }
