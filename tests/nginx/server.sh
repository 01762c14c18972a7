# shellcheck shell=bash
# An nginx of the tests: a folder of its own, free ports on the loopback, stopped by its pid.
# Read by tests/nginx/*.sh. Sets: dir, port (plain), and the next four: h2c, h2 over TLS, TLS,
# and one with the system's socket buffers.

nginx_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
nginx_build=${nginx_build:-$nginx_root/build}
nginx_bin=${BP_NGINX:-$(command -v nginx || echo /usr/sbin/nginx)}

# Debian names its dynamic modules in these files; a build that has them inside needs none.
nginx_modules() {
  local dir=/usr/share/nginx/modules-available name
  for name in ndk lua; do
    [ -f "$dir/mod-http-$name.conf" ] && sed 's,modules/,/usr/lib/nginx/modules/,' "$dir/mod-http-$name.conf"
  done
}

nginx_missing() { # prints why there is nothing to test with
  [ -x "$nginx_bin" ] || { echo "no nginx"; return 0; }
  [ -f /usr/lib/nginx/modules/ngx_http_lua_module.so ] ||
    "$nginx_bin" -V 2>&1 | grep -q lua-nginx-module || { echo "nginx has no Lua module"; return 0; }
  return 1
}

# Five ports in a row that nobody listens on.
free_ports() {
  local base i
  for base in $(seq $((20000 + $$ % 1000 * 10)) 10 32000); do
    for i in 0 1 2 3 4; do
      (exec 3<>"/dev/tcp/127.0.0.1/$((base + i))") 2>/dev/null && continue 2
    done
    echo "$base"
    return
  done
  return 1
}

# The bodies that are sent: any bytes, lines of text for filters, the same in each run.
nginx_bodies() {
  luajit - "$1" <<'EOF'
local x = 42
local function bytes(n)
  local t = {}
  for i = 1, n do x = (x * 1103515245 + 12345) % 2147483648; t[i] = string.char(math.floor(x / 65536) % 256) end
  return table.concat(t)
end
local function write(name, s) local f = assert(io.open(arg[1] .. "/" .. name, "wb")); f:write(s); f:close() end
for _, n in ipairs {0, 1, 100, 4096, 16384, 65536, 200000, 1048576} do write("body-" .. n, bytes(n)) end
local text = {}
for i = 1, 3000 do text[i] = ("line %d of text, \193\194\215\199\196\n"):format(i) end
write("text", table.concat(text))
write("body-text", table.concat(text))
EOF
}

nginx_write_conf() { # workers directives
  local user=
  [ "$(id -u)" = 0 ] && user="user root;"
  printf '%s\n' "$(nginx_modules)" "$user" "$2" >"$dir/main.conf"
  sed -e "s,@DIR@,$dir,g; s,@ROOT@,$nginx_root,g; s,@BUILD@,$nginx_build,g; s,@PORT@,$port,g; s,@WORKERS@,$1,g" \
    -e "s,@PORT1@,$((port + 1)),; s,@PORT2@,$((port + 2)),; s,@PORT3@,$((port + 3)),; s,@PORT4@,$((port + 4))," \
    -e "/@DIRECTIVES@/{r $dir/main.conf" -e 'd}' "$nginx_root/tests/nginx/${nginx_template:-nginx.conf.in}" >"$dir/nginx.conf"
}

nginx_start() { # folder workers directives wrapper...
  dir=$1
  local workers=$2 directives=$3 i
  shift 3
  mkdir -p "$dir" && rm -f "$dir"/*.log "$dir"/asan.*
  port=$(free_ports) || return 1
  nginx_bodies "$dir"
  [ -f "$dir/cert.pem" ] ||
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null
  nginx_write_conf "$workers" "$directives"
  "$@" "$nginx_bin" -p "$dir" -e "$dir/error.log" -c "$dir/nginx.conf" 2>"$dir/stderr.log" &
  nginx_pid=$!
  for i in $(seq 300); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
    kill -0 $nginx_pid 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$dir/error.log" "$dir/stderr.log"
  return 1
}

nginx_stop() {
  local i
  kill -QUIT "$nginx_pid" 2>/dev/null
  for i in $(seq 100); do
    kill -0 "$nginx_pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -TERM "$nginx_pid" 2>/dev/null
  wait "$nginx_pid" 2>/dev/null
}

nginx_workers() { pgrep -P "$nginx_pid"; }
