-- Writes what LDoc reads: the public modules and the classes of meta/*.lua, with the editors'
-- annotations (---@param, ---@return, ---@class) as LDoc's tags, and no other code than heads of functions.
-- usage: lua tests/doc/source.lua ROOT OUT

local root, out = ...

-- File, and what LDoc calls it. A class is what stands under its ---@class line and in its methods.
local MODULES = { "init", "report", "object_pool", "policy", "pressure", "ffi" }
local CLASS_FILES = { "meta/pool", "meta/buffer", "meta/numbers", "meta/scope" }

local function lines_of(path)
  local list = {}
  for line in io.lines(path) do list[#list + 1] = line end
  list[#list + 1] = ""
  return list
end

-- ---- annotations -----------------------------------------------------------------

-- Takes a type from the front: up to a space outside of brackets, strings and after ":", "," or "|".
local function split_type(s)
  local depth, at = 0, 1
  while at <= #s do
    local c = s:sub(at, at)
    if c == '"' then
      at = s:find('"', at + 1, true) or #s
    elseif c:find "[%(%[{<]" then
      depth = depth + 1
    elseif c:find "[%)%]}>]" then
      depth = depth - 1
    elseif c == " " and depth == 0 and not s:sub(1, at - 1):find "[:,|]$" then
      break
    end
    at = at + 1
  end
  return s:sub(1, at - 1), (s:sub(at + 1):gsub("^ +", ""))
end

local function html(text) return (text:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;")) end

-- Descriptions as LDoc's plain format wants them: in HTML, indented lines being code.
local function to_html(text)
  local out_lines, code = {}, nil
  for line in (html(text) .. "\n"):gmatch "(.-)\n" do
    if line:find "^    " or code and line == "" then
      out_lines[#out_lines + 1] = (code and "" or "<pre>") .. line
      code = true
    else
      if code then out_lines[#out_lines] = out_lines[#out_lines] .. "</pre>" end
      code = nil
      out_lines[#out_lines + 1] = line == "" and #out_lines > 0 and "<p>" or line:gsub("`([^`]*)`", "<code>%1</code>")
    end
  end
  if code then out_lines[#out_lines] = out_lines[#out_lines] .. "</pre>" end
  return table.concat(out_lines, "\n")
end

-- What LDoc can show of a type, and all of it for the description where that is less.
local function type_and_about(s)
  local kind, about = split_type(s)
  local bare = kind:gsub("%b()", ""):gsub("%b{}", ""):gsub("%b<>", "")
  about = to_html(about):gsub("<p>", "")
  if kind == bare and not kind:find '"' then
    if kind:find "^[%w%.]+%?$" then kind = "?" .. kind:sub(1, -2) end
    return kind, about
  end
  local short = kind:find "^fun" and "function" or kind:find '"' and "string" or "table"
  return short, "<code>" .. html(kind) .. "</code> " .. about
end

-- The comment lines of a block: text, and tags with their lines joined.
local function read_block(comments)
  local block = { text = {}, tags = {} }
  local tag
  for _, line in ipairs(comments) do
    local name, rest = line:match "^%-%-%-@(%a+)%s*(.*)"
    if name then
      tag = { name = name, value = rest }
      block.tags[#block.tags + 1] = tag
    elseif tag and line:find "^%-%-%- ?" then
      tag.value = tag.value .. " " .. line:gsub("^%-%-%-?%s*", "")
    else
      local text = line:gsub("^%-%-%-?%s?", "")
      block.text[#block.text + 1] = text
    end
  end
  return block
end

-- "Raises ..." sentences are what LDoc calls errors.
local function split_raises(text)
  local joined, raises = table.concat(text, "\n"), {}
  joined = ("\n" .. joined .. "\n"):gsub("([%.\n]%s*)(Raises .-)%.(%s)", function(before, sentence, after)
    raises[#raises + 1] = (sentence:gsub("%s+", " "):gsub("^Raises ", ""))
    return before .. after
  end)
  return joined:gsub("^%s*\n", ""):gsub("%s+$", ""), raises
end

local function emit_text(o, text)
  local first = true
  for line in (to_html(text) .. "\n"):gmatch "(.-)\n" do
    o[#o + 1] = (first and "--- " or "-- ") .. line
    first = false
  end
end

local function optional(name) return name:match "^(.-)%?$" end

-- Tags of a function or table as LDoc has them.
local function emit_tags(o, block)
  for _, tag in ipairs(block.tags) do
    if tag.name == "param" then
      local name, rest = tag.value:match "^(%S+)%s+(.*)"
      local kind, about = type_and_about(rest)
      local may_lack = optional(name)
      o[#o + 1] = ("-- @tparam%s %s %s %s"):format(may_lack and "[opt]" or "", kind, may_lack or name, about)
    elseif tag.name == "return" then
      local kind, about = type_and_about(tag.value)
      o[#o + 1] = ("-- @treturn %s %s"):format(kind, about)
    elseif tag.name == "field" and not tag.value:find "^private " then
      local name, rest = tag.value:match "^(%S+)%s+(.*)"
      local kind, about = type_and_about(rest)
      local may_lack = optional(name)
      o[#o + 1] = ("-- @tfield%s %s %s %s"):format(may_lack and "[opt]" or "", kind, may_lack or name, about)
    end
  end
end

local function emit_function(o, block, head, explicit)
  local text, raises = split_raises(block.text)
  emit_text(o, text)
  emit_tags(o, block)
  if #raises > 0 then o[#o + 1] = "-- @raise " .. to_html(table.concat(raises, "; ")) end
  if explicit then o[#o + 1] = "-- @function " .. explicit end
  o[#o + 1] = head or ""
  o[#o + 1] = ""
end

local function has_tag(block, name)
  for _, tag in ipairs(block.tags) do
    if tag.name == name then return tag end
  end
end

local function emit_table(o, block, name)
  emit_text(o, #block.text > 0 and table.concat(block.text, "\n") or "Fields.")
  emit_tags(o, block)
  o[#o + 1] = "-- @table " .. name
  o[#o + 1] = ""
end

-- ---- files ---------------------------------------------------------------------------

-- Calls fn(block, code) for each block of comments that begins with three dashes, and the line behind it;
-- plain(comments) for other blocks.
local function blocks(path, fn, plain)
  local comments, documented = {}, false
  for _, line in ipairs(lines_of(path)) do
    if line:find "^%-%-" then
      if #comments == 0 then documented = line:find "^%-%-%-" ~= nil end
      comments[#comments + 1] = line
    elseif #comments > 0 then
      if documented then
        fn(read_block(comments), line, comments)
      elseif plain then
        plain(comments)
      end
      comments = {}
    end
  end
end

local function write(name, o)
  local file = assert(io.open(out .. "/" .. name .. ".lua", "w"))
  file:write(table.concat(o, "\n"), "\n")
  assert(file:close())
end

local function plain_text(comments)
  local text = {}
  for _, line in ipairs(comments) do text[#text + 1] = (line:gsub("^%-%-%-?%s?", "")) end
  return text
end

-- Sections of a class are what a comment between its methods says of those behind it.
local function read_classes(classes, order)
  local common
  for _, name in ipairs(CLASS_FILES) do
    local preamble = true
    blocks(root .. "/lua/bytepool/" .. name .. ".lua", function(block, code, comments)
      local class, head = has_tag(block, "class"), code:match "^function (%w+):.+ end$"
      if comments[1] == "---@meta" then
        table.remove(comments, 1)
        common = common or table.concat(plain_text(comments), "\n"):match "\n\n(.*)"
        preamble = false
      elseif class and code:find "^local " then
        local short = code:match "^local (%w+)"
        if not classes[short] then
          classes[short] = { text = block.text, items = {} }
          order[#order + 1] = short
        end
      elseif class then
        local short = class.value:match "bytepool%.(%w+)"
        local owner = classes[order[#order]]
        owner.items[#owner.items + 1] = { block = block, table = short }
      elseif head then
        local items = classes[head].items
        items[#items + 1] = { block = block, head = code }
      end
    end, function(comments)
      if preamble then return end
      local items = classes[order[#order]].items
      items[#items + 1] = { note = plain_text(comments) }
    end)
  end
  return common
end

local function class_files()
  local classes, order = {}, {}
  local common = read_classes(classes, order)
  for _, short in ipairs(order) do
    local class, o = classes[short], {}
    emit_text(o, table.concat(class.text, "\n") .. "\n\n" .. common)
    o[#o + 1] = "-- @classmod bytepool." .. short
    o[#o + 1] = "local " .. short .. " = {}\n"
    local section = 0
    for _, item in ipairs(class.items) do
      if item.note then
        section = section + 1
        local title, rest = table.concat(item.note, "\n"):match "^(.-%.)%s*(.*)$"
        emit_text(o, title:gsub("\n", " ") .. "\n" .. rest)
        o[#o + 1] = "-- @section s" .. section .. "\n"
      elseif item.table then
        emit_table(o, item.block, item.table)
      else
        emit_function(o, item.block, item.head)
      end
    end
    o[#o + 1] = "return " .. short
    write("class_" .. short, o)
  end
end

local function module_file(name)
  local o, begun = {}, nil
  local object_methods = {}
  blocks(root .. "/lua/bytepool/" .. name .. ".lua", function(block, code, comments)
    local class = has_tag(block, "class")
    local receiver, method, arguments = code:match "^function (%w+)([.:][%w_]+)(%b())"
    local field = code:match "^%w+%.([%w_]+) = "
    if not begun then
      emit_text(o, (table.concat(plain_text(comments), "\n"):gsub("\n@module.*", "")))
      o[#o + 1] = "-- @module " .. table.concat(comments, "\n"):match "@module ([%w%._]+)"
      begun = true
      o[#o + 1] = "local " .. (code:match "^local (%w+)" or "_") .. "\n"
    elseif class and code:find "^local methods" then
      object_methods.text = block.text
    elseif class then
      emit_table(o, block, class.value:match "bytepool%.(%w+)")
    elseif receiver == "methods" then
      local head = "function ObjectPool" .. method .. arguments .. " end"
      object_methods[#object_methods + 1] = { block = block, head = head }
    elseif receiver then
      emit_function(o, block, ("function %s%s%s end"):format(receiver, method, arguments))
    elseif field and (has_tag(block, "param") or has_tag(block, "return")) then
      emit_function(o, block, nil, field)
    elseif field then
      local kind = has_tag(block, "type")
      emit_text(o, table.concat(block.text, "\n"))
      o[#o + 1] = ("-- @tfield %s %s"):format(kind and kind.value or "any", field)
      o[#o + 1] = ""
    elseif code:find "^local function new_pool" then
      emit_function(o, block, nil, "new_pool")
    end
  end)
  write("module_" .. name, o)
  if #object_methods == 0 then return end
  o = {}
  emit_text(o, "A pool of any Lua values, made by bytepool.new_pool.")
  o[#o + 1] = "-- @classmod bytepool.ObjectPool\nlocal ObjectPool = {}\n"
  for _, item in ipairs(object_methods) do emit_function(o, item.block, item.head) end
  write("class_ObjectPool", o)
end

-- resty.bytepool: its face, and the functions that stand in its parts; their classes are pages of their own.
local RESTY = { "worker", "request", "body", "send", "serve", "channel", "subscriber", "report", "totals" }
local RESTY_CLASSES = { channel = "Channel", subscriber = "Subscriber" }

local function resty_file()
  local face, o, classes = assert(io.open(root .. "/lua/resty/bytepool.lua")):read "*a", {}, {}
  local intro = face:match "^(.-)\n%-%- @module"
  emit_text(o, (intro:gsub("^%-%-%-%s?", ""):gsub("\n%-%-%s?", "\n")))
  o[#o + 1] = "-- @module resty.bytepool\nlocal bp = {}\n"
  o[#o + 1] = "--- Version of the library.\n-- @tfield string _VERSION\n"
  for _, part in ipairs(RESTY) do
    blocks(root .. "/lua/resty/bytepool/" .. part .. ".lua", function(block, code)
      local receiver, dot, name, arguments = code:match "^function (%w+)([.:])([%w_]+)(%b())"
      local class = has_tag(block, "class")
      if receiver and RESTY_CLASSES[receiver] and dot == ":" then
        local short = RESTY_CLASSES[receiver]
        local page = classes[short] or { "" }
        classes[short] = page
        emit_function(page, block, ("function %s:%s%s end"):format(short, name, arguments))
      elseif receiver and face:find('%f[%w_]' .. name .. ' = "' .. part .. '"') then
        emit_function(o, block, ("function bp.%s%s end"):format(name, arguments))
      elseif class and (class.value:find "Stats$" or class.value:find "Options$") then
        emit_table(o, block, class.value:match "bytepool%.(%w+)")
      elseif class and RESTY_CLASSES[code:match "^local (%w+) = {}"] then
        local short = RESTY_CLASSES[code:match "^local (%w+)"]
        local page = classes[short] or { "" }
        classes[short] = page
        local head = {}
        emit_text(head, table.concat(block.text, "\n"))
        head[#head + 1] = ("-- @classmod bytepool.%s\nlocal %s = {}\n"):format(short, short)
        page[1] = table.concat(head, "\n")
      end
    end)
  end
  write("resty", o)
  for short, page in pairs(classes) do write("class_" .. short, page) end
end

for _, name in ipairs(MODULES) do module_file(name) end
class_files()
resty_file()
