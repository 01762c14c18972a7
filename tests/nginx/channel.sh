#!/usr/bin/env bash
# Fan-out: many subscribers of one publisher, some of them slow, and what the policies do.
# usage: channel.sh FOLDER [SECONDS [SUBSCRIBERS]]
set -u
. "$(dirname "$0")/server.sh"
seconds=${2:-6} subscribers=${3:-500}
clients=()
trap 'for c in "${clients[@]}"; do kill $c 2>/dev/null; done; nginx_stop' EXIT
mkdir -p "$1"
dir=$1
ulimit -Sn 4096
export nginx_template=worker.conf.in nginx_worker_count=1
echo "return {tiers = {128, 1024, 65536, 262144}, limits = {idle = '8MiB'}}" >"$dir/pool.lua"
nginx_start "$1" 1 "" || exit 1
. "$(dirname "$0")/assert.sh"

plain=http://127.0.0.1:$port
get() { curl -sS --max-time 20 "$@" 2>&1; }
figure() { get "$plain/channel" | sed -n "s/.*\b$1=\([0-9]*\).*/\1/p"; }
until_is() { # name figure value
  local i
  for i in $(seq 100); do
    [ "$(figure "$2")" = "$3" ] && break
    sleep 0.05
  done
  equal "$1" "$(figure "$2")" "$3"
}
rss() { awk '/^VmRSS:/ { print $2 }' "/proc/$(nginx_workers)/status"; }
publish() { get -d "$1" "$plain/publish" >>"$dir/published"; }
take() { # name query: a subscriber that writes what it gets to a file
  rm -f "$dir/$1"
  curl -sN --max-time 60 -o "$dir/$1" "$plain/take?$2" 2>/dev/null &
  clients+=($!)
  local i
  for i in $(seq 100); do
    grep -q ready "$dir/$1" 2>/dev/null && return
    sleep 0.05
  done
  echo "no subscriber $1"
}
lines() { sed 1d "$dir/$1" | tr '\n' ' '; }
finish() {
  get "$plain/close"
  for c in "${clients[@]}"; do wait "$c" 2>/dev/null; done
  clients=()
  until_is "nothing queued" queued 0
  until_is "in use" in_use 1
}

# ---- many, of whom a tenth is slow ---------------------------------------------------

slow=$((subscribers / 10)) chunk=65536 queue=32
get "$plain/open?queue=$queue"
before=$(rss)
result=$(timeout $((seconds + 90)) "$nginx_root/build/nginx/fanout" "$port" "$subscribers" $slow $chunk "$seconds" 20)
echo "$subscribers subscribers, $slow slow: $result"
number_of() { sed -n "s/.*\b$1=\([0-9]*\).*/\1/p" <<<"$result"; }
holds "fan-out" test -n "$(number_of published)"
holds "slow ones missed some" test "$(number_of missed)" -gt 0
holds "chunks were published" test "$(number_of published)" -gt $((queue + 16))
holds "the queue is bounded" test "$(number_of peak_queued)" -le $queue
# The queue, what is on its way to each slow one, the chunk that comes in.
bound=$(((queue + slow + 18) * chunk))
echo "in use at most $(number_of peak_in_use_bytes) bytes, bound $bound; RSS from $before to $(rss) KiB"
holds "memory is bounded" test "$(number_of peak_in_use_bytes)" -le $bound
holds "RSS is bounded" test $(($(rss) - before)) -le $((bound / 1024 + subscribers * 24 + 4096))
until_is "all given back" in_use 1

# ---- policies ----------------------------------------------------------------------

get "$plain/open?queue=3"
take a "n=4"
take b "nap=0.5&n=3"
for i in 1 2 3 4; do publish "$i"; sleep 0.02; done
publish 5
publish 6
sleep 1.8
equal "drop_oldest: who keeps up" "$(lines a)" "1 2 3 4 missed 0 "
equal "drop_oldest: in order" "$(lines b)" "4 5 6 missed 3 "
finish

get "$plain/open?queue=3&policy=drop_subscriber"
take a ""
take b "nap=0.6"
for i in 1 2 3 4 5; do publish "$i"; sleep 0.02; done
until_is "drop_subscriber: one is left" subscribers 1
equal "drop_subscriber: told" "$(figure dropped_subscribers)" 1
holds "counts go on after a close" test "$(figure published)" -gt 11
finish
equal "drop_subscriber: who keeps up" "$(lines a)" "1 2 3 4 5 closed missed 0 "
equal "drop_subscriber: who is slow" "$(lines b)" "dropped missed 0 "

refused=$(figure timeouts)
get "$plain/open?queue=2&policy=wait&timeout=5"
take a ""
take b "nap=0.1"
for i in 1 2 3 4 5 6; do publish "$i"; done
equal "wait: no publish was refused" "$(figure timeouts)" "$refused"
finish
equal "wait: who keeps up" "$(lines a)" "1 2 3 4 5 6 closed missed 0 "
equal "wait: who is slow misses nothing" "$(lines b)" "1 2 3 4 5 6 closed missed 0 "

get "$plain/open?queue=2&policy=wait&timeout=0.2"
take b "nap=3&n=1"
for i in 1 2; do publish "$i"; done
curl -s --max-time 0.1 -d gone "$plain/publish" >"$dir/out"
equal "wait: no room in time" "$(get -d 3 "$plain/publish" -w '%{http_code}')" "timeout
503"
finish

get "$plain/open?queue=1&policy=wait&timeout=20"
take b "nap=4&n=1"
for i in 1 2; do publish "$i"; done
curl -s --max-time 10 -o "$dir/out" -w '%{http_code} %{time_total}' -d 3 "$plain/publish" >"$dir/third" & third=$!
sleep 0.5
get "$plain/open?queue=1"
wait $third
holds "wait: another policy ends it" awk '{ exit !($1 == 200 && $2 < 2) }' "$dir/third"
finish

get "$plain/open?queue=100&bytes=2500"
take a "nap=0.3&n=2"
for i in 1 2 3 4; do publish "$(printf '%01000d' $i)"; done
equal "queue_bytes" "$(figure queued) $(figure queued_bytes)" "2 2000"
finish
equal "queue_bytes: the newest are left" "$(lines a | sed 's/0*\([0-9]\)/\1/g')" "3 4 missed 2 "

equal "two threads of one subscriber" "$(get "$plain/two" | sort | tr '\n' ' ')" "at once one two "

# ---- subscribers that die --------------------------------------------------------------

for path in take "unchecked/take"; do
  refused=$(figure timeouts)
  get "$plain/open?queue=3&policy=wait&timeout=4"
  curl -sN --max-time 60 "$plain/$path" >"$dir/dead" & dead=$!
  until_is "$path is there" subscribers 1
  kill -9 $dead
  wait $dead 2>/dev/null
  for i in 1 2 3 4 5; do publish "$i"; done
  until_is "$path is gone" subscribers 0
  equal "$path: no publish waited in vain" "$(figure timeouts)" "$refused"
  finish
done
get "$plain/open?queue=3"
curl -sN --max-time 60 "$plain/take?untied=1" >"$dir/dead" & dead=$!
until_is "one that can not be tied is there" subscribers 1
kill -9 $dead
wait $dead 2>/dev/null
publish 1
sleep 0.1
get "$plain/collect"
until_is "until the collector has found it" subscribers 0
finish
get "$plain/open?queue=3"
take idle "timeout=0.2"
until_is "a timeout ends it" subscribers 0
equal "and is told" "$(lines idle)" "timeout missed 0 "
finish

# ---- a worker that shuts down -----------------------------------------------------------

get "$plain/open?queue=3"
take a ""
publish last
old=$(nginx_workers)
kill -HUP "$nginx_pid"
for i in $(seq 100); do
  [ "$(nginx_workers | wc -l)" = 1 ] && [ "$(nginx_workers)" != "$old" ] && break
  sleep 0.05
done
for c in "${clients[@]}"; do wait "$c" 2>/dev/null; done
equal "streams end with their worker" "$(lines a)" "last closed missed 0 "
holds "another worker" test "$(nginx_workers)" != "$old"
first_workers=$(nginx_workers)
equal "nobody died" "$(grep -c 'exited on signal' "$dir/error.log")" 0
log_is_clean
report_checks
