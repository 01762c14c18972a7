#!/usr/bin/env bash
# A storm of requests that end in every way: answers, errors, exec, timeouts, resets at every stage.
# Afterwards nothing is held, no worker has died, and the log has only what was planted.
# usage: storm.sh FOLDER REQUESTS [plain|asan]
set -u
. "$(dirname "$0")/server.sh"
here=$(cd "$(dirname "$0")" && pwd)
total=$2 way=${3:-plain} seed=${SEED:-$RANDOM}
trap nginx_stop EXIT
wrapper=() directives=
if [ "$way" = asan ]; then
  # The module is built with the sanitizer, nginx is not: its writes to sockets are looked at too.
  export nginx_build=$nginx_root/build/asan BP_NGINX_DEBUG=1
  wrapper=(env "LD_PRELOAD=$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
    ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:abort_on_error=1:detect_odr_violation=0:handle_segv=1:log_path="$1/asan")
  directives="env BP_NGINX_DEBUG;"
fi
nginx_start "$1" 2 "$directives" "${wrapper[@]}" || exit 1
. "$here/assert.sh"
echo "seed $seed, $total requests"

clients=()
for i in 1 2 3 4; do
  luajit "$here/client.lua" resets "$port" $((total / 40)) $((seed + i)) & clients+=($!)
done
for i in 5 6; do
  luajit "$here/client.lua" resets2 $((port + 1)) $((total / 40)) $((seed + i)) & clients+=($!)
done
# Readers that never read, at a server that waits a second for them.
{ luajit "$here/client.lua" stalled "$port" /timeout/stall 20 0 < <(sleep 4; echo); } >"$dir/stalled" & clients+=($!)

done_by_wrk=0
while [ "$done_by_wrk" -lt $((total * 9 / 10)) ]; do
  wrk -t2 -c24 -d1s -s "$here/storm.lua" "http://127.0.0.1:$port" -- "$seed" >"$dir/wrk.out" 2>&1 ||
    { cat "$dir/wrk.out"; exit 1; }
  n=$(awk '/ requests in / { print $1 }' "$dir/wrk.out")
  done_by_wrk=$((done_by_wrk + ${n:-0})) seed=$((seed + 1))
  [ "${n:-0}" -gt 0 ] || { cat "$dir/wrk.out"; exit 1; }
done
curl -sS -k --http2 -o /dev/null -o /dev/null "https://127.0.0.1:$((port + 2))/stall" "https://127.0.0.1:$((port + 2))/mixed?n=1048576&step=20000"
for client in "${clients[@]}"; do wait "$client"; holds "a client" test $? = 0; done
echo "$done_by_wrk requests by wrk, $((total / 40 * 6)) by clients that reset"

all_given_back storm 40
log_is_clean
equal "sanitizer" "$(cat "$dir"/asan.* 2>/dev/null | head -n 40)" ""
report_checks
