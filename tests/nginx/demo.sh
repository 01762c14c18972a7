#!/usr/bin/env bash
# Runs lua/examples/openresty in an nginx on a free port, with a client; KEEP=1 leaves it running.
set -u
. "$(dirname "$0")/server.sh"
why=$(nginx_missing) && { echo "demo-nginx: $why"; exit 1; }
dir=$(mktemp -d) || exit 1
viewers=()
stop() {
  for v in "${viewers[@]}"; do kill "$v" 2>/dev/null; done
  nginx_stop
  rm -rf "$dir"
}
fail() { echo "demo-nginx: $1"; tail -n 5 "$dir/error.log"; stop; exit 1; }

port=$(free_ports) || exit 1
cp "$nginx_root"/lua/examples/openresty/*.lua "$dir"
{
  nginx_modules
  [ "$(id -u)" != 0 ] || echo "user root;"
  sed "s/127.0.0.1:8080/127.0.0.1:$port/" "$nginx_root/lua/examples/openresty/nginx.conf"
} >"$dir/nginx.conf"
eval "$(sh "$nginx_root/tests/env" "$nginx_root" build luajit)"
"$nginx_bin" -p "$dir" -e "$dir/error.log" -c "$dir/nginx.conf" -g "daemon off;" >"$dir/stderr.log" 2>&1 &
nginx_pid=$!
trap 'stop; exit 1' HUP INT TERM
url=http://127.0.0.1:$port
for _ in $(seq 100); do
  curl -s -o /dev/null "$url/metrics" && break
  kill -0 $nginx_pid 2>/dev/null || fail "nginx did not start: $(cat "$dir/stderr.log")"
  sleep 0.1
done
echo "nginx runs on $url"

head -c 3000000 /dev/urandom >"$dir/body"
sum=$(curl -s -H Expect: --data-binary "@$dir/body" "$url/echo" | md5sum)
[ "$sum" = "$(md5sum <"$dir/body")" ] || fail "/echo gave another body"
echo "/echo      3000000 bytes there and back, md5 ${sum%% *}"

: >"$dir/sent"
for i in 1 2 3 4 5; do
  curl -sN --max-time 60 "$url/live" >"$dir/viewer$i" &
  viewers+=($!)
done
for _ in $(seq 100); do
  curl -s "$url/metrics" | grep -q 'channel_subscribers{channel="live"} 5' && break
  sleep 0.1
done
for _ in $(seq 20); do
  head -c 65536 /dev/urandom >"$dir/chunk"
  cat "$dir/chunk" >>"$dir/sent"
  told=$(curl -s --data-binary "@$dir/chunk" "$url/publish")
  [ "$told" = "5 viewers" ] || fail "/publish said: $told"
done
curl -s -o /dev/null "$url/stop"
for v in "${viewers[@]}"; do wait "$v"; done
viewers=()
for i in 1 2 3 4 5; do cmp "$dir/sent" "$dir/viewer$i" || fail "a viewer got something else"; done
echo "/live      20 chunks of 64 KiB to 5 viewers, each chunk one buffer: all have md5 $(md5sum <"$dir/sent" | cut -d' ' -f1)"

sleep 1.2 # an interval
echo "/metrics   of these:"
curl -s "$url/metrics" | grep -E '^bytepool_(requests_total|in_use_bytes|idle_bytes|nginx_(sent|copied)_bytes_total|channel_(published|delivered)_total)' |
  sed 's/^/           /'
curl -s "$url/metrics" | grep -q '^bytepool_in_use_buffers{pool="default"} 0$' || fail "something is in use"

if [ "${KEEP:-}" = 1 ]; then
  echo
  echo "In a browser:   $url/   the pool as a page"
  echo "                $url/metrics and $url/debug/vars   for programs"
  echo "A live stream:  curl -N $url/live   and elsewhere   curl --data-binary @FILE $url/publish"
  echo "It goes on running, pid $nginx_pid, in $dir; to stop it: kill $nginx_pid"
  disown $nginx_pid
  exit 0
fi
echo "KEEP=1 leaves it running: then $url/ shows the pool in a browser, $url/metrics and $url/debug/vars the figures"
stop
