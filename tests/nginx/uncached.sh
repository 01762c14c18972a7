#!/usr/bin/env bash
# lua_code_cache off: each request has a Lua state of its own, and runs init_by_lua; the pool is the worker's all the same.
# usage: uncached.sh FOLDER
set -u
. "$(dirname "$0")/server.sh"
trap nginx_stop EXIT
mkdir -p "$1"
dir=$1
export nginx_template=uncached.conf.in nginx_worker_count=1
echo "return {128, 1024, 65536}" >"$dir/tiers.lua"
nginx_start "$1" 1 "" || exit 1
. "$(dirname "$0")/assert.sh"

plain=http://127.0.0.1:$port
work() { curl -sS --max-time 20 "$plain/work" | head -n 1; }
figure() { work | sed -n "s/.*\b$1=\([0-9]*\).*/\1/p"; }
rss() { awk '/^VmRSS:/ { print $2 }' "/proc/$(nginx_workers)/status"; }

equal "the first" "$(work | sed 's/ idle.*//')" "in_use=2 gets=2"
for _ in $(seq 50); do work >"$dir/out"; done
early=$(rss)
for _ in $(seq 150); do work >"$dir/out"; done
echo "RSS after 50 requests $early KiB, after 200 $(rss) KiB; $(work)"
holds "the pool is the same" test "$(figure gets)" -ge 400
holds "states end with their requests" test $(($(rss) - early)) -lt 4096
# The handle that a request forgot goes with its state, at the latest.
equal "in use" "$(figure in_use)" 2
equal "nothing changed" "$(figure generation)" 1
ticks=$(figure ticks)
sleep 1
ticks=$(($(figure ticks) - ticks))
echo "$ticks ticks a second"
holds "one timer ticks" test $ticks -ge 5
holds "and only one" test $ticks -le 15
echo "return {128, 65536}" >"$dir/tiers.lua"
equal "other tiers are there with the next request" "$(work | sed 's/.*\(tiers=[0-9]* generation=[0-9]*\).*/\1/')" "tiers=2 generation=2"
equal "totals" "$(curl -sS "$plain/metrics" | grep -c '^bytepool_nginx_workers 1$')" 1
log_is_clean
report_checks
