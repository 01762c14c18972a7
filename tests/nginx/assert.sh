# shellcheck shell=bash disable=SC2154
# What the tests around one nginx assert. Read by tests/nginx/*.sh after the start.

checks=0 wrong=0
first_workers=$(nginx_workers | sort)

equal() { # name is expected
  checks=$((checks + 1))
  [ "$2" = "$3" ] && return
  wrong=$((wrong + 1))
  [ $wrong -gt 20 ] || printf 'FAILED %s\n   is: %s\n want: %s\n' "$1" "$2" "$3"
}
holds() { # name command...
  local name=$1
  shift
  checks=$((checks + 1))
  "$@" && return
  wrong=$((wrong + 1))
  printf 'FAILED %s: %s\n' "$name" "$*"
}

# One line of counts for each worker.
worker_stats() {
  local i line
  declare -A seen=()
  for i in $(seq 400); do
    line=$(curl -s --max-time 20 "http://127.0.0.1:$port/stats") || continue
    [[ $line =~ pid=([0-9]+) ]] && seen[${BASH_REMATCH[1]}]=$line
    [ ${#seen[@]} -ge "${nginx_worker_count:-2}" ] && break
  done
  printf '%s\n' "${seen[@]}"
}

# Waits until no worker holds a buffer of a request, without a collection.
all_given_back() { # name [seconds]
  local i stats
  for i in $(seq $((${2:-10} * 2))); do
    stats=$(worker_stats)
    grep -qvE '\bin_use=0 kept_now=0 in_flight=0 ' <<<"$stats" || break
    sleep 0.5
  done
  echo "$1: $stats"
  equal "all given back after $1" "$(grep -cE '\bin_use=0 kept_now=0 in_flight=0 unkept=0 .* refs=1 ok=true' <<<"$stats")" \
    "${nginx_worker_count:-2}"
}

# No worker died, and nothing in the log that the tests did not plant.
log_is_clean() {
  equal "the workers" "$(nginx_workers | sort)" "$first_workers"
  grep -vE '\[(notice|info)\]|lua_code_cache is off|'"${log_expects:-planted error}"'|planted error|^stack traceback:|^coroutine [0-9]+:|^	' "$dir/error.log" >"$dir/unexpected"
  equal "the error log" "$(head -n 5 "$dir/unexpected" | cut -c 1-300)" ""
}

report_checks() {
  echo "$((checks - wrong)) of $checks checks"
  [ $wrong = 0 ] || exit 1
}
