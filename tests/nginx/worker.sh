#!/usr/bin/env bash
# Pools of a worker in all phases, request bodies, sockets, reloads with other settings, and lua_code_cache off.
# usage: worker.sh FOLDER
set -u
. "$(dirname "$0")/server.sh"
trap nginx_stop EXIT
mkdir -p "$1"
export nginx_template=worker.conf.in

pool_file() { # tiers limits
  echo "return {tiers = {$1}, limits = {idle = '64MiB', decay = '2s'$2}, on_tick = function(stats, pool) end}" >"$dir/pool.lua"
}
dir=$1
pool_file "128, 1024, 4096, 16384, 65536, 262144, 1048576" ""
nginx_start "$1" 2 "" || exit 1
log_expects='buffered to a temporary file|signal process started'
. "$(dirname "$0")/assert.sh"

plain=http://127.0.0.1:$port h2c=http://127.0.0.1:$((port + 1))
get() { curl -sS --max-time 20 "$@" 2>&1; }
field() { sed -n "s/.*\b$1=\([0-9]*\).*/\1/p"; }
# Asks both workers; FIELD of each, sorted.
of_both() { nginx_worker_count=2 worker_stats | field "$1" | sort -n | tr '\n' ' '; }

# ---- phases ------------------------------------------------------------------------

equal "hello" "$(get "$plain/hello")" hello
for _ in 1 2 3 4; do equal "through all phases" "$(get "$plain/phases")" hello; done
sleep 0.3
for phase in init_worker set rewrite access balancer content header_filter body_filter log timer; do
  equal "a pool in $phase" "$(get "$plain/seen" | grep "^$phase ")" "$phase pool"
done
equal "made by init_by_lua" "$(get "$plain/preloaded")" "made by init_by_lua 1 elsewhere"

sleep 0.5
holds "ticks" test "$(get "$plain/ticks")" -ge 2

errors=$(get "$plain/errors")
equal "lines of errors" "$(wc -l <<<"$errors")" 22
for text in 'pool: no pool has the name "no such"' 'init: tiers\[2\]: expected a size above 5, got 4' "init: argument 'name' must be" \
  "init: unknown option 'intervall'" "body: option 'max' must be" "receive: argument 'sock' must be a cosocket" \
  "receive: argument 'size' must be a number of bytes or a pattern, got -1" "receive_into: argument 'buf' must be" \
  "channel: argument 'name'" "channel: option 'policy'" "publish: argument 'chunk' must be" "metrics: unknown option 'every'" \
  "pool: argument 'name' must be a non-empty string, got table" 'body: no pool has the name "none"' \
  "request: argument 'n' must be a whole number" "flush: argument 'wait' must be true or false" \
  "receive: the function must give a string or nil, got number" "receive_into: buffer is frozen" \
  "subscribe: self must be a channel, got nil" "next: self must be a subscriber, got table" \
  'no-such-file.lua: No such file' 'pool "default": zero: is fixed when a pool is made'; do
  equal "an error says $text" "$(grep -c "^$text" <<<"$errors")" 1
done

sites=$(get -d x "$plain/sites")
equal "sites of leaks" "$(grep -c . <<<"$sites")" 4
equal "sites of leaks in the handler" "$(grep -c "tests/nginx/worker.lua:[0-9]*$" <<<"$sites")" 4

stopped=$(get -d x "$plain/stopped")
for call in request body subscribe receive publish; do
  equal "$call while the collector is stopped" "$(grep -c "^$call [a-z]*: not in a finalizer" <<<"$stopped")" 1
done
equal "a publish that need not wait" "$(grep -c "^without a wait 1$" <<<"$stopped")" 1
equal "what it published" "$(grep "^the last" <<<"$stopped")" "the last one third"
equal "nothing stays out" "$(tail -n 1 <<<"$stopped")" "in_use 1" # of init_by_lua

# ---- bodies --------------------------------------------------------------------------

head -c 3000001 /dev/urandom >"$dir/body-3000001"
head -c 40000 /dev/urandom >"$dir/body-40000"
for size in 0 1 40000 65536 200000 1048576 3000001; do
  for how in "" "-H Transfer-Encoding:chunked" "-0"; do
    [ "$how $size" = "-H Transfer-Encoding:chunked 0" ] && continue
    for path in echo unchecked/echo uncached/echo infile/echo; do
      # shellcheck disable=SC2086
      sum=$(curl -sS --max-time 20 $how -H Expect: -D "$dir/head" --data-binary "@$dir/body-$size" "$plain/$path" | md5sum)
      equal "$path $how $size" "$sum $(grep -i '^x-length' "$dir/head" | tr -d '\r')" "$(md5sum <"$dir/body-$size") x-length: $size"
    done
  done
  sum=$(curl -sS --max-time 20 --http2-prior-knowledge --data-binary "@$dir/body-$size" "$h2c/echo" | md5sum)
  equal "h2c $size" "$sum" "$(md5sum <"$dir/body-$size")"
done
curl -sS -H Expect: -D "$dir/head" -o "$dir/out" --data-binary "@$dir/body-3000001" "$plain/echo"
equal "a large one was in a file" "$(grep -ic '^x-file: yes' "$dir/head")" 1
curl -sS -H Expect: -D "$dir/head" -o "$dir/out" --data-binary "@$dir/body-40000" "$plain/echo"
equal "a small one was not" "$(grep -ic '^x-file: no' "$dir/head")" 1
equal "no body" "$(get -o "$dir/out" -w '%{http_code} %{size_download}' "$plain/echo")" "200 0"
for how in "" "-H Transfer-Encoding:chunked"; do
  for size in 40000 3000001; do
    # shellcheck disable=SC2086
    equal "too large $how $size" "$(get $how -H Expect: -w ' %{http_code}' --data-binary "@$dir/body-$size" "$plain/echo?max=39999")" \
      "too large 413"
    # shellcheck disable=SC2086
    equal "just fits $how $size" "$(get $how -H Expect: -o "$dir/out" -w '%{http_code}' --data-binary "@$dir/body-$size" "$plain/echo?max=$size")" 200
  done
done

# ---- sockets -------------------------------------------------------------------------

bs() { head -c "$1" /dev/zero | tr '\0' B | md5sum; }
for size in 0 1 65536 300000 2000000; do
  equal "fetch all $size" "$(get "$plain/fetch?from=/bytes?n=$size" | md5sum)" "$(bs $size)"
  equal "fetch by length $size" "$(get "$plain/fetch?from=/bytes?n=$size&size=length" | md5sum)" "$(bs $size)"
  equal "fetch up to max $size" "$(get "$plain/fetch?from=/bytes?n=$size&max=$size" | md5sum)" "$(bs $size)"
done
equal "into another" "$(get "$plain/fetch?from=/bytes?n=300000&into=1" | tr -d '<>' | md5sum)" "$(bs 300000)"
equal "above max" "$(get "$plain/fetch?from=/bytes?n=300000&max=299999")" "error: too large"
equal "a line" "$(get "$plain/line")" "HTTP/1.1 200 OK"
equal "a line of max bytes" "$(get "$plain/line?max=15")" "HTTP/1.1 200 OK"
equal "a longer line" "$(get "$plain/line?max=14") $(get "$plain/line?max=0")" "too large too large"
equal "less than asked for" "$(get "$plain/fetch?from=/bytes?n=300000&size=300001")" "error: closed"

# ---- from request to request ---------------------------------------------------------

handed=0
for _ in $(seq 40); do
  read -r pid token <<<"$(get "$plain/export")"
  [ "$handed" -gt 5 ] && path=uncached/import || path=import
  for _ in $(seq 40); do
    said=$(get "$plain/$path?token=$token")
    [ "${said%% *}" = "$pid" ] && break
  done
  [ "$said" = "$pid handed over" ] && handed=$((handed + 1))
done
equal "handed over by a token" $handed 40

# ---- all given back ------------------------------------------------------------------

sleep 0.3
equal "in use: what init_by_lua made" "$(of_both in_use)" "1 1 "
equal "tied" "$(of_both kept_now)" "0 0 "
for _ in $(seq 20); do get "$plain/uncached/stats" >"$dir/out"; done
sleep 0.3
equal "and after Lua states of a request" "$(of_both in_use)" "1 1 "
equal "generation" "$(of_both generation)" "1 1 "

# ---- reloads with other settings -------------------------------------------------------

reload() {
  local old i new
  old=$(nginx_workers)
  kill -HUP "$nginx_pid"
  for i in $(seq 100); do
    new=$(nginx_workers | grep -cvwF "$old")
    [ "$new" = 2 ] && [ "$(nginx_workers | wc -l)" = 2 ] && return
    sleep 0.05
  done
}
pool_file "128, 1024, 4096" ", bytes = '10MiB'"
reload
equal "other tiers after a reload" "$(of_both tiers)" "3 3 "
equal "generation after it" "$(of_both generation)" "2 2 "
reload
equal "generation after a reload without a change" "$(of_both generation)" "2 2 "
equal "in use after reloads" "$(of_both in_use)" "1 1 "
workers=$(nginx_workers | sort)
echo "return {tiers = {128, 64}}" >"$dir/pool.lua"
kill -HUP "$nginx_pid"
sleep 0.5
equal "a wrong config is refused" "$(nginx_workers | sort)" "$workers"
equal "and told" "$(grep -c 'pool.lua:1: tiers\[2\]: expected a size above 128, got 64' "$dir/error.log")" 1
sed -i '/init_by_lua/,/in main chunk/d' "$dir/error.log"
pool_file "128, 1024, 4096, 16384" ""
reload
equal "back again" "$(of_both tiers)" "4 4 "
equal "the right to release what init_by_lua made" "$(get "$plain/forget_preloaded")" 0

first_workers=$(nginx_workers | sort)
equal "nobody died" "$(grep -c 'exited on signal' "$dir/error.log")" 0
log_is_clean
report_checks
