#!/usr/bin/env bash
# 200 readers that read nothing of one body of 1 MiB: what a worker's memory grows by while they wait, by
# bp.send and by ngx.print. Then they read on, and each gets the whole.
# usage: stalled.sh FOLDER
set -u
. "$(dirname "$0")/server.sh"
here=$(cd "$(dirname "$0")" && pwd)
trap nginx_stop EXIT
nginx_start "$1" 2 "" || exit 1
. "$here/assert.sh"

rss() { # of all workers, KiB
  local pid sum=0 kib
  for pid in $(nginx_workers); do
    kib=$(awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status") && sum=$((sum + kib))
  done
  echo $sum
}

rm -f "$dir/go"
mkfifo "$dir/go"
measure() { # path
  local before after whole client
  wrk -t1 -c16 -d1s "http://127.0.0.1:$port$1" >/dev/null # what a worker takes once
  before=$(rss)
  luajit "$here/client.lua" stalled "$port" "$1" 200 1048576 <"$dir/go" >"$dir/stalled" & client=$!
  exec 4>"$dir/go"
  until grep -q open "$dir/stalled"; do kill -0 $client || return 1; sleep 0.1; done
  sleep 1.5
  after=$(rss)
  refs=$(worker_stats | sed 's/.*refs=\([0-9]*\).*/\1/' | paste -sd' ')
  echo >&4
  exec 4>&-
  wait $client
  whole=$(tail -n 1 "$dir/stalled")
  grown=$((after - before))
  echo "$1: 200 stalled readers, $grown KiB of RSS more, references to the body $refs; $whole got it whole"
  equal "whole bodies" "$whole" 200
}

measure "/bench_send?n=1048576"
holds "less than 8 MiB" test $grown -lt 8192
holds "a reference for each" test "$(echo "$refs" | awk '{ print $1 + $2 }')" = 202
sent=$grown
measure "/bench_print?n=1048576"
holds "the readers do stall: ngx.print takes more" test $grown -gt $((sent + 100000))

# A response of 640 MiB in 40,000 chunks.
before=$(rss)
bytes=$(curl -sS "http://127.0.0.1:$port/stream?count=40000" -o >(wc -c >"$dir/count") ; while ! [ -s "$dir/count" ]; do sleep 0.1; done; cat "$dir/count")
equal "a long response" "$bytes" $((40000 * 16384))
grown=$(($(rss) - before))
echo "a response of 40000 sends: $grown KiB of RSS more"
holds "a long response takes no memory" test $grown -lt 2048

all_given_back stalled
log_is_clean
report_checks
