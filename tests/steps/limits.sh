# shellcheck shell=bash disable=SC2154
# Little address space, strict overcommit, valgrind (tests/limits). Read by tests/run.

lua_script() { # lua script arguments...: with the paths of its build
  local lua=$1
  shift
  eval "$(sh tests/env "$root" build "$lua")"
  limited 120 "${before[@]}" "$lua" "$@"
}

short_of_space() { # 300 MiB of address space for command...
  # shellcheck disable=SC3045
  ulimit -v 307200 && "$@"
}

# The whole machine is strict for as long as two programs run: a second.
strict_overcommit() {
  local file=/proc/sys/vm/overcommit_memory was
  was=$(cat $file) || return 1
  # shellcheck disable=SC2064
  trap "echo $was >$file" EXIT # not when it runs: then this function and its names are gone
  trap 'exit 1' HUP INT TERM
  echo 2 >$file || return 1
  limited 10 build/limits/short 200 200 && limited 10 "$1" tests/limits/short.lua 200 200
}

overcommit_is() { [ "$(cat /proc/sys/vm/overcommit_memory)" = "$1" ]; }

overcommit_step() {
  local left was
  left=$(awk '/^CommitLimit:/ { l = $2 } /^Committed_AS:/ { print int((l - $2) / 1024) }' /proc/meminfo 2>/dev/null)
  # A machine that is somebody's own is left as it is; check_commit counts as the kernel would.
  if [ "${CI:-}" != true ] && [ -z "${BP_SYSCTL:-}" ]; then
    skip "limits overcommit" "sets vm.overcommit_memory for a second: BP_SYSCTL=1 allows it"
  elif [ "$(id -u)" != 0 ] || ! [ -w /proc/sys/vm/overcommit_memory ]; then
    skip "limits overcommit" "vm.overcommit_memory cannot be set here; check_commit counts as the kernel would"
  elif [ "${left:-0}" -lt 2048 ]; then
    skip "limits overcommit" "too little would be left for what runs beside"
  else
    eval "$(sh tests/env "$root" build "$1")"
    was=$(cat /proc/sys/vm/overcommit_memory)
    step count_one "limits overcommit" strict_overcommit "$1"
    step count_one "limits overcommit restored" overcommit_is "$was"
  fi
}

limit_steps() {
  local lua luas='' before=()
  step count_one "limits build" "$make" -j "$jobs" build/limits/short
  for lua in luajit lua5.1 lua5.2 lua5.3 lua5.4; do "$make" -s have-lua LUA=$lua && luas="$luas $lua"; done
  step count_one "limits 300 MiB c" short_of_space build/limits/short 2000 150
  for lua in $luas; do
    step count_one "limits 300 MiB $lua" short_of_space lua_script $lua tests/limits/short.lua 2000 150
    step count_one "limits 300 MiB $lua demo" short_of_space lua_script $lua lua/examples/fanout.lua
  done
  overcommit_step "${luas##* }"
  command -v valgrind >/dev/null || { skip "limits valgrind" "no valgrind"; return; }
  before=(valgrind -q --error-exitcode=9)
  step count_one "limits valgrind c" limited 120 "${before[@]}" --leak-check=full build/limits/short 64 64
  # LuaJIT's own code is not made for memcheck.
  case $luas in
    *lua5.4*) step count_one "limits valgrind lua5.4" lua_script lua5.4 tests/limits/short.lua 64 64 ;;
    *) skip "limits valgrind lua5.4" "no lua5.4" ;;
  esac
}
