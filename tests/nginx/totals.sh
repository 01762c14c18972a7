#!/usr/bin/env bash
# Figures of all workers, added up in a shared dict: they are the sum, and no counter falls when workers die, are
# replaced by a reload, or become fewer.
# usage: totals.sh FOLDER
set -u
. "$(dirname "$0")/server.sh"
load=
trap '[ -z "$load" ] || kill $load 2>/dev/null; nginx_stop' EXIT
mkdir -p "$1"
dir=$1
export nginx_template=worker.conf.in
echo "return {tiers = {128, 1024, 4096, 65536}}" >"$dir/pool.lua"
nginx_start "$1" 2 "" || exit 1
log_expects='exited on signal 9'
. "$(dirname "$0")/assert.sh"

plain=http://127.0.0.1:$port
get() { curl -sS --max-time 20 "$@" 2>&1; }
total() { get "$plain/metrics" | sed -n "s/^$1 //p"; }
until_total() { # name sample value
  local i
  for i in $(seq 60); do
    [ "$(total "$2")" = "$3" ] && break
    sleep 0.1
  done
  equal "$1" "$(total "$2")" "$3"
}
requests='bytepool_requests_total{pool="default"}'

# How many buffers each worker's requests got, by its pid.
declare -A done_by=()
work() { # requests
  local i pid
  for i in $(seq "$1"); do
    pid=$(get "$plain/work?n=7")
    done_by[$pid]=$((${done_by[$pid]:-0} + 7))
  done
}
sum_done() { local sum=0 n; for n in "${done_by[@]}"; do sum=$((sum + n)); done; echo $sum; }

until_total "two workers" bytepool_nginx_workers 2
sleep 0.5
begun=$(total "$requests")
work 40
equal "both worked" "${#done_by[@]}" 2
until_total "the sum of both" "$requests" $((begun + $(sum_done)))
until_total "in use" 'bytepool_in_use_buffers{pool="default"}' 2

victim=$(nginx_workers | head -n 1)
kill -9 "$victim"
for _ in $(seq 50); do
  [ "$(nginx_workers | grep -cvw "$victim")" = 2 ] && break
  sleep 0.1
done
until_total "two workers again" bytepool_nginx_workers 2
# What the new one did when it began: as each did.
sleep 0.5
after_death=$(total "$requests")
holds "what a dead worker counted still counts" test "$after_death" -ge $((begun + $(sum_done)))
holds "and once" test "$after_death" -le $((begun + $(sum_done) + begun))
until_total "in use is of the living" 'bytepool_in_use_buffers{pool="default"}' 2
work 20
until_total "and goes on" "$requests" $((after_death + 140))

# Under load, with reloads and deaths: whoever asks, no counter falls.
wrk -t1 -c4 -d60s -H "Connection: close" "$plain/work?n=3" >"$dir/wrk.out" 2>&1 &
load=$!
fell=$(luajit - "$nginx_pid" "$plain" <<'LUA'
local master, plain = arg[1], arg[2]
local function sh(command) local p = io.popen(command) local s = p:read "*a" p:close() return s end
local counters, fell, seen = {}, 0, 0
for round = 1, 60 do
  local page = sh("curl -s --max-time 20 " .. plain .. "/metrics")
  for name, value in page:gmatch "(bytepool_[%w_]+_total[^ \n]*) (%d+)" do
    local now = tonumber(value)
    seen = seen + 1
    if now < (counters[name] or 0) then
      fell = fell + 1
      io.stderr:write(("%s fell from %d to %d in round %d\n"):format(name, counters[name], now, round))
    end
    counters[name] = math.max(now, counters[name] or 0)
  end
  for le, value in page:gmatch 'bytepool_request_size_bytes_bucket{pool="default",le="([^"]+)"} (%d+)' do
    if tonumber(value) < (counters[le] or 0) then fell = fell + 1 end
    counters[le] = tonumber(value)
  end
  if round % 15 == 5 then os.execute("kill -HUP " .. master) end
  if round % 15 == 10 then sh("kill -9 $(pgrep -P " .. master .. " | head -n 1)") end
  os.execute "sleep 0.1"
end
print(seen > 1000 and fell or "nothing was seen")
LUA
)
kill -INT $load
wait $load 2>/dev/null
load=
grep "requests in" "$dir/wrk.out"
equal "counters that fell" "$fell" 0

# One worker after two: what the second counted stays.
sleep 1
before=$(total "$requests")
sed -i 's/^worker_processes 2;/worker_processes 1;/' "$dir/nginx.conf"
kill -HUP "$nginx_pid"
for _ in $(seq 50); do
  [ "$(nginx_workers | wc -l)" = 1 ] && break
  sleep 0.1
done
until_total "one worker" bytepool_nginx_workers 1
sleep 0.5
holds "nothing is lost with the second" test "$(total "$requests")" -ge "$before"
until_total "in use" 'bytepool_in_use_buffers{pool="default"}' 1

equal "vars" "$(get "$plain/vars" | luajit -e 'local v = require "cjson".decode(io.read "*a")
  print(v.nginx.workers, type(v.default.total_get), v.memstats.RSS > 0, #v.cmdline >= 1)')" "1	number	true	true"
equal "html" "$(get "$plain/html" | grep -c '<title>bytepool, 1 worker</title>')" 1
holds "one worker's own" test "$(get "$plain/metrics/this" | grep -c '^bytepool_nginx_workers')" = 0
if command -v promtool >/dev/null; then
  equal "promtool" "$(get "$plain/metrics" | promtool check metrics 2>&1)" ""
fi
first_workers=$(nginx_workers | sort)
log_is_clean
report_checks
