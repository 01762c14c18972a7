#!/usr/bin/env bash
# 20 reloads (HUP) under load: no request fails, and memory does not grow from the third on.
# usage: reload.sh FOLDER [COUNT]
set -u
. "$(dirname "$0")/server.sh"
count=${2:-20}
trap 'kill $load 2>/dev/null; nginx_stop' EXIT
load=
nginx_start "$1" 2 "" || exit 1
. "$(dirname "$0")/assert.sh"

# New connections: an idle one may be closed by the old worker while a request is on its way.
wrk -t1 -c8 -d600s -H "Connection: close" -s "$(dirname "$0")/reload.lua" "http://127.0.0.1:$port" >"$dir/wrk.out" 2>&1 & load=$!

rss() { # of the master and its workers, KiB
  local pid sum=0 kib
  for pid in $nginx_pid $(nginx_workers); do
    kib=$(awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status") && sum=$((sum + kib))
  done
  echo $sum
}

bad=0 bodies=0
check_bodies() {
  local way
  for way in released slices mixed send; do
    bodies=$((bodies + 1))
    curl -sS --max-time 10 "http://127.0.0.1:$port/$way?n=200000" | cmp -s - "$dir/body-200000" || bad=$((bad + 1))
  done
}

list=()
for i in $(seq "$count"); do
  old=$(nginx_workers)
  kill -HUP $nginx_pid
  check_bodies
  for _ in $(seq 100); do
    new=0
    for pid in $(nginx_workers); do
      grep -qw "$pid" <<<"$old" || new=$((new + 1))
    done
    [ $new = 2 ] && [ "$(nginx_workers | wc -l)" = 2 ] && break
    sleep 0.05
  done
  check_bodies
  sleep 0.5
  list+=("$(rss)")
done
kill -INT $load
wait $load 2>/dev/null
load=
cat "$dir/wrk.out"
echo "RSS after each reload, KiB: ${list[*]}"
equal "bodies of $bodies that were wrong" $bad 0
equal "failed requests" "$(grep -E 'Non-2xx|Socket errors' "$dir/wrk.out")" ""
holds "there was a load" test "$(awk '/ requests in / { print $1 }' "$dir/wrk.out")" -gt 1000
middle() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
early=$(middle "${list[@]:2:5}") late=$(middle "${list[@]: -5}")
echo "from the third on: $early KiB, at the end: $late KiB"
holds "no growth" test $((late - early)) -lt 3072

first_workers=$(nginx_workers | sort)
equal "nobody died" "$(grep -c 'exited on signal' "$dir/error.log")" 0
all_given_back reloads
log_is_clean
report_checks
