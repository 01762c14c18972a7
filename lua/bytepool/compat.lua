-- What the Lua versions have under different names, or not at all. Private to bytepool.

return {
    -- A whole number as an integer, where Lua tells 3 from 3.0; else what it was, or nil.
    to_integer = rawget(math, "tointeger") or function(v) return v end,
    unpack = rawget(table, "unpack") or rawget(_G, "unpack"),
    pack = rawget(table, "pack") or function(...) return {n = select("#", ...), ...} end,
}
