-- Compares the figures on a page, as a browser's DOM has them, with the snapshots they are of.
-- usage: page.lua ROOT DUMP DOM
local readers = dofile(arg[1] .. "/spec/report_readers.lua")
local report = require "bytepool.report"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local snapshots = assert(report.load(read(arg[2])))
local pages = readers.html(read(arg[3]))
local compared = 0

local function compare(where, expected, shown)
  assert(shown == expected, ("%s is %s on the page, %s in the snapshot"):format(where, tostring(shown),
    tostring(expected)))
  compared = compared + 1
end

for name, snapshot in pairs(snapshots) do
  local page = assert(pages[name], "no such pool on the page: " .. name)
  for key, value in pairs(snapshot) do
    if type(value) == "number" then compare(key, value, page[key]) end
  end
  for key, value in pairs(snapshot.gc) do compare("gc." .. key, value, page["gc." .. key]) end
  for size, tier in pairs(snapshot.pools) do
    for key, value in pairs(tier) do compare(size .. "." .. key, value, page.tiers[size][key]) end
  end
end
print(compared .. " figures on the page are those of the snapshots")
