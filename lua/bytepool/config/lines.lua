--- Which line of a config each key stands on. Lua's values do not know, so its text is looked through: table
--- constructors, what is assigned to fields of a local table, and tables among the arguments of a call.
--
-- The text has been compiled already: it is well formed.
--
-- Since 0.1.0.
-- @module bytepool.config.lines

local options = require "bytepool.options"

local lines = {}

-- ---- tokens ------------------------------------------------------------------

-- The place behind a long bracket that begins at `at`, or nil.
local function behind_long(text, at)
    local level = text:match("^%[(=*)%[", at)
    if not level then return nil end
    local _, stop = text:find("]" .. level .. "]", at, true)
    return (stop or #text) + 1
end

local function behind_quoted(text, at)
    local quote = text:sub(at, at)
    local next_one = at + 1
    while true do
        local found = text:find('[\\"\'\n]', next_one)
        if not found then return #text + 1 end
        local c = text:sub(found, found)
        if c == quote then return found + 1 end
        next_one = found + (c == "\\" and 2 or 1)
    end
end

local function behind_comment(text, at)
    local long = behind_long(text, at + 2)
    return long or text:find("\n", at, true) or #text + 1
end

local function behind_number(text, at)
    local stop = select(2, text:find("^[%w_%.]+", at))
    while text:find("^[eEpP]", stop) and text:find("^[+-]%d", stop + 1) do
        stop = select(2, text:find("^[+-][%w_%.]+", stop + 1))
    end
    return stop + 1
end

local NAME, DIGIT = {}, {} -- bytes that such a token begins with
for byte = 0, 255 do
    local c = string.char(byte)
    NAME[byte], DIGIT[byte] = c:find("[%a_]") ~= nil, c:find("%d") ~= nil
end
local QUOTE, APOSTROPHE, DASH, BRACKET, DOT = ("\"'-[."):byte(1, 5)
local DOUBLE = {}
for c in ("=~<>"):gmatch(".") do DOUBLE[c:byte()] = true end

-- Kind of the token at `at`, place behind it, and whether it may have several lines.
local function token_at(text, at)
    local byte, following = text:byte(at, at + 1)
    if NAME[byte] then return "name", text:match("^[%w_]+()", at), false end
    if DIGIT[byte] or byte == DOT and DIGIT[following] then return "number", behind_number(text, at), false end
    if byte == QUOTE or byte == APOSTROPHE then return "string", behind_quoted(text, at), true end
    if byte == DASH and following == DASH then return "comment", behind_comment(text, at), true end
    local long = byte == BRACKET and behind_long(text, at)
    if long then return "string", long, true end
    return "symbol", DOUBLE[byte] and following == 61 and at + 2 or at + 1, false
end

local function count_lines(text, from, to)
    return select(2, text:sub(from, to - 1):gsub("\n", ""))
end

-- What is behind so many tokens has the line of the `return`: to look through all of the longest text there may
-- be, where it is all short ones, would take seconds.
local MOST_TOKENS = 80000

local function tokens_of(text)
    local kinds, texts, line_of, n = {}, {}, {}, 0
    local line, at = 1, 1
    while n < MOST_TOKENS do
        local start = text:find("%S", at)
        if not start then break end
        if start > at then line = line + count_lines(text, at, start) end
        local kind, stop, long = token_at(text, start)
        if kind ~= "comment" then
            n = n + 1
            kinds[n], texts[n], line_of[n] = kind, text:sub(start, stop - 1), line
        end
        if long then line = line + count_lines(text, start, stop) end
        at = stop
    end
    return {kind = kinds, text = texts, line = line_of, n = n}
end

-- ---- keys --------------------------------------------------------------------

local OPENERS = {["("] = 1, ["["] = 1, ["{"] = 1, ["function"] = 1, ["if"] = 1, ["do"] = 1, ["repeat"] = 1,
    [")"] = -1, ["]"] = -1, ["}"] = -1, ["end"] = -1, ["until"] = -1}
local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then
    true until while]]):gmatch("%a+") do KEYWORDS[word] = true end

-- What a table constructor's key is worth, or nil.
local function constant(tokens, i)
    local kind, text = tokens.kind[i], tokens.text[i]
    if kind == "number" then return tonumber(text) end
    if kind == "string" then return text:match("^[\"'](.*)[\"']$") end
    return text == "true" or nil
end

local scanner = {}

-- A path is kept whole. So deeper ones, and ones beyond so many that are long, are not known, and a fault there has
-- the line of what is around it: of long strings some Luas hash a few bytes, and look through all that are alike.
local MOST_PATH, LONG_PATH, MOST_LONG = 256, 31, 2000

-- The path of a key, or nil.
local function join(map, path, key)
    if not path then return nil end
    local bytes = #path + (type(key) == "string" and #key + 1 or 8)
    if bytes > MOST_PATH then return nil end
    if bytes > LONG_PATH then
        if map.long == MOST_LONG then return nil end
        map.long = map.long + 1
    end
    return options.join(path, key)
end

function scanner.note(map, path, line)
    if path and not map.line[path] then map.line[path] = line end
end

-- To the first token behind the expression from i on: a comma, a semicolon, a closing bracket, or in
-- statements (which see) simply what follows the first operand.
function scanner.skip(map, i)
    local tokens, depth = map.tokens, 0
    while i <= tokens.n do
        local text = tokens.kind[i] ~= "string" and tokens.text[i]
        local change = text and OPENERS[text]
        if depth == 0 and (text == "," or text == ";" or change == -1) then return i end
        if change then depth = depth + change end
        i = i + 1
    end
    return i
end

-- From "{" on; gives the place behind "}".
function scanner.table(map, i, path)
    local tokens, count = map.tokens, 0
    i = i + 1
    while i <= tokens.n and tokens.text[i] ~= "}" do
        local line, key = tokens.line[i]
        if tokens.kind[i] == "name" and tokens.text[i + 1] == "=" then
            key, i = tokens.text[i], i + 2
        elseif tokens.text[i] == "[" and tokens.kind[i] == "symbol" then
            key = tokens.text[i + 2] == "]" and constant(map.tokens, i + 1)
            i = scanner.skip(map, i + 1) + 2
        else
            count = count + 1
            key = count
        end
        local full = path
        if key then full = join(map, path, key) end
        scanner.note(map, full, line)
        i = scanner.skip(map, key and scanner.value(map, i, full) or i)
        if tokens.text[i] ~= "}" then i = i + 1 end
    end
    return i + 1
end

-- The arguments of a call from "(" on: [1], [2].
function scanner.arguments(map, i, path)
    local tokens, count = map.tokens, 0
    if path then map.call[path] = true end
    i = i + 1
    while i <= tokens.n and tokens.text[i] ~= ")" do
        count = count + 1
        local full = join(map, path, count)
        scanner.note(map, full, tokens.line[i])
        i = scanner.skip(map, scanner.value(map, i, full))
        if tokens.text[i] ~= ")" then i = i + 1 end
    end
    return i + 1
end

-- The beginning of a value: a constructor, or a call by name. Gives the place behind what it has read.
function scanner.value(map, i, path)
    local tokens = map.tokens
    if tokens.kind[i] == "string" then return i end
    if tokens.text[i] == "{" then return scanner.table(map, i, path) end
    if tokens.kind[i] ~= "name" or KEYWORDS[tokens.text[i]] then return i end
    local first = i
    while tokens.kind[i + 1] == "symbol" and (tokens.text[i + 1] == "." or tokens.text[i + 1] == ":")
        and tokens.kind[i + 2] == "name" do i = i + 2 end
    local after = tokens.kind[i + 1] == "symbol" and tokens.text[i + 1]
    if after == "{" then return scanner.table(map, i + 1, path) end
    if after == "(" then return scanner.arguments(map, i + 1, path) end
    if path and i == first then map.alias[path] = "$" .. tokens.text[i] end
    return i + 1
end

-- `name.key.key = value`, with or without `local`: the place behind what was read, or nil.
function scanner.assignment(map, i)
    local tokens = map.tokens
    local before = tokens.text[i - 1]
    if tokens.kind[i] ~= "name" or KEYWORDS[tokens.text[i]] or before == "." or before == ":" then return nil end
    local path, at = "$" .. tokens.text[i], i + 1
    while tokens.text[at] == "." and tokens.kind[at + 1] == "name" do
        path, at = join(map, path, tokens.text[at + 1]), at + 2
    end
    if tokens.text[at] ~= "=" or tokens.kind[at] ~= "symbol" then return nil end
    if path then map.line[path] = tokens.line[i] end -- the last one counts
    return scanner.value(map, at + 1, path)
end

--- Looks through a text.
---@param text string
---@return table map for lines.find
function lines.scan(text)
    local map = {tokens = tokens_of(text), line = {}, alias = {}, call = {}, root = 1, long = 0}
    local tokens, i = map.tokens, 1
    local open, functions = {}, 0 -- what is not closed yet; how many of these are functions
    while i <= tokens.n do
        local word = tokens.kind[i] ~= "string" and tokens.text[i]
        local change = word and OPENERS[word]
        if word == "return" and functions == 0 then
            map.root = tokens.line[i]
            i = scanner.value(map, i + 1, "")
        else
            if change == 1 then
                open[#open + 1] = word
            elseif change then
                word = table.remove(open)
            end
            if change and word == "function" then functions = functions + change end
            i = scanner.assignment(map, i) or i + 1
        end
    end
    return map
end

-- The path of the table around a key.
local function around(path)
    return path:match("^(.*)%[[^%[%]]*%]$") or path:match("^(.*)%.[^%.]*$") or ""
end

-- A name may stand for another table, and f({key = 1}) for f{key = 1}.
local function resolve(map, path)
    for _ = 1, 8 do
        if map.line[path] then return map.line[path] end
        local from, rest = path, ""
        while not (map.alias[from] or map.call[from] and rest:sub(1, 1) == ".") and from ~= "" do
            from = around(from)
            rest = path:sub(#from + 1)
        end
        local to = map.alias[from] or map.call[from] and options.join(from, 1)
        if not to then return nil end
        if from == "" and rest ~= "" and rest:sub(1, 1) ~= "[" then rest = "." .. rest end
        path = to .. rest
    end
end

--- The line of a key; of the nearest around it where it has none of its own; else of the `return`.
---@param map table
---@param path string
---@return integer
function lines.find(map, path)
    while path ~= "" do
        local line = resolve(map, path)
        if line then return line end
        path = around(path)
    end
    return map.root
end

return lines
