#!/usr/bin/env bash
# The nginx.conf of README's OpenResty section runs, against an installed copy, and is ten lines.
set -u
. "$(dirname "$0")/server.sh"
dir=$(mktemp -d) || exit 1
nginx_pid=
trap '[ -z "$nginx_pid" ] || nginx_stop; rm -rf "$dir"' EXIT
port=$(free_ports) || exit 1
sed -n '/^## OpenResty/,/^## C$/p' "$nginx_root/README.md" | sed -n '/^```nginx$/,/^```$/p' | sed '1d;$d' >"$dir/conf"
[ "$(wc -l <"$dir/conf")" = 10 ] || { echo "not ten lines"; cat "$dir/conf"; exit 1; }
sed -e "s/127.0.0.1:8080/127.0.0.1:$port/" "$dir/conf" >"$dir/nginx.conf"
cmp -s "$dir/conf" "$dir/nginx.conf" && { echo "no port in it"; exit 1; }
# Where the module is no Debian's it is inside.
[ -f /usr/lib/nginx/modules/ngx_http_lua_module.so ] || sed -i /load_module/d "$dir/nginx.conf"
make -s -C "$nginx_root" install-lua LUA=luajit PREFIX="$dir/local" || exit 1
export LUA_PATH="$dir/local/share/lua/5.1/?.lua;$dir/local/share/lua/5.1/?/init.lua;;" LUA_CPATH="$dir/local/lib/lua/5.1/?.so;;"
"$nginx_bin" -p "$dir" -c nginx.conf -g 'daemon off; pid nginx.pid;' 2>"$dir/stderr.log" & nginx_pid=$!
for _ in $(seq 100); do
  said=$(curl -s --data-binary hello "http://127.0.0.1:$port/")
  [ "$said" = hello ] && echo "it says hello" && exit 0
  sleep 0.1
done
tail -n 20 "$dir/stderr.log"
echo "it said: $said"
exit 1
