-- Whether the reference has an entry, with a description, for each public function of the running
-- library, and none for what does not exist.
-- usage: lua tests/doc/check.lua HTML

local html = ...
local bytepool = require "bytepool"
local core = require "bytepool.core"

-- Name -> text of its entry, out of a page of LDoc's.
local function entries(page)
  local file = assert(io.open(html .. "/" .. page .. ".html", "rb"))
  local text = file:read "*a"
  file:close()
  local found = {}
  text = text .. '<a name = "'
  for at, name in text:gmatch '()<a name = "([^"]+)"></a>' do
    local stop = text:find('<a name = "', at + 1, true)
    found[name] = text:sub(at, stop - 1)
  end
  return found
end

local failed, checked = 0, 0
local function complain(...)
  failed = failed + 1
  io.stderr:write(string.format(...), "\n")
end

-- fields: names of entries that are no functions.
local function compare(page, prefix, functions, fields)
  local found = entries(page)
  for name, value in pairs(functions) do
    if type(value) == "function" and not name:find "^__" then
      checked = checked + 1
      local entry = found[prefix .. name]
      local text = entry and entry:match "<dd>(.-)<h3>" or entry and entry:match "<dd>(.*)</dd>"
      if not entry then
        complain("%s: no entry for %s%s", page, prefix, name)
      elseif not text or not text:gsub("<[^>]*>", ""):find "%w" then
        complain("%s: no description of %s%s", page, prefix, name)
      end
    end
  end
  for name in pairs(found) do
    local short = name:sub(1, #prefix) == prefix and name:sub(#prefix + 1) or name
    if type(functions[short]) ~= "function" and not (fields and fields[short]) then
      complain("%s: %s is documented and does not exist", page, name)
    end
  end
end

local object_pool = bytepool.new_pool(function() return {} end)
local tables = {}
for _, name in ipairs { "TierStats", "Stats", "Leak", "Bucket", "Tick", "Change" } do
  tables["bytepool.Pool." .. name] = true
end

local modules = { _VERSION = true, ffi_bodies = true, report = true, policy = true, Options = true, Pacing = true,
  Config = true }
compare("modules/bytepool", "", bytepool, modules)
compare("modules/bytepool.report", "", bytepool.report)
compare("modules/bytepool.policy", "", bytepool.policy,
  { Policy = true, Tier = true, Prediction = true, Simulation = true, Retune = true, Adaptive = true })
compare("modules/bytepool.pressure", "", require "bytepool.pressure")
compare("modules/bytepool.object_pool", "", { new_pool = bytepool.new_pool })
compare("classes/bytepool.Pool", "bytepool.Pool:", core.pool_methods, tables)
compare("classes/bytepool.Buffer", "bytepool.Buffer:", core.buffer_methods)
compare("classes/bytepool.Scope", "bytepool.Scope:", require "bytepool.scope")
compare("classes/bytepool.ObjectPool", "bytepool.ObjectPool:", debug.getmetatable(object_pool).__index)
if rawget(_G, "jit") then compare("modules/bytepool.ffi", "raw.", require "bytepool.ffi") end

-- Its parts are loaded as they are in nginx, of which they only take functions; nothing is called.
local function resty()
  local function stub() return setmetatable({}, { __index = function() return stub end }) end
  rawset(_G, "ngx", setmetatable({}, { __index = function() return stub() end }))
  package.loaded["ngx.semaphore"] = {}
  package.loaded["resty.core.base"] = package.loaded["resty.core.base"] or stub()
  local bp, functions = require "resty.bytepool", {}
  for name in pairs(debug.getmetatable(bp).__parts) do functions[name] = bp[name] end
  compare("modules/resty.bytepool", "bp.", functions,
    { _VERSION = true, SendStats = true, ChannelStats = true, ServeOptions = true })
  for short, methods in pairs(require "resty.bytepool.channel".classes) do
    compare("classes/bytepool." .. short, "bytepool." .. short .. ":", methods)
  end
end
if rawget(_G, "jit") then resty() end

print(("reference: %d functions, %d faults"):format(checked, failed))
os.exit(failed == 0 and checked > 100)
