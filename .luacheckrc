-- What all five Luas have, and by name what only some have.
std = "min"
cache = false
max_line_length = 120
read_globals = {
  "jit",
  "unpack",
  "loadstring",
  "setfenv",
  "newproxy",
  table = { fields = { "unpack", "move" } },
  math = { fields = { "type", "tointeger", "maxinteger", "mininteger" } },
  package = { fields = { "searchpath", "searchers" } },
}
files["lua/resty"] = { std = "+ngx_lua" }
files["tests/nginx"] = { std = "+ngx_lua", read_globals = { "BODIES" } }
files["tests/nginx/worker.lua"] = { read_globals = { "PRELOADED", "PRELOADED_BY" } }
files["lua/examples/openresty"] = { std = "+ngx_lua" }
files["lua/examples/openresty/pool.lua"] = { read_globals = { "policy" } }
files["tests/nginx/storm.lua"] = { globals = { "setup", "init", "request" }, read_globals = { "wrk", "number" } } -- wrk's
files["tests/nginx/reload.lua"] = { globals = { "request" }, read_globals = { "wrk" } }
files["spec"] = { std = "+busted" }
files["tests/hosts/states.lua"] = { read_globals = { "post", "fetch", "meet" } } -- states.c gives them
files["lua/examples/bodies.lua"] = { read_globals = { "policy" } } -- the sandbox gives it
-- Declarations for editors: nobody uses what they name.
files["lua/bytepool/meta/*.lua"] = { ignore = { "212", "241" } }
