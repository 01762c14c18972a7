# shellcheck shell=bash disable=SC2154
# C programs around each Lua (tests/hosts). Read by tests/run.

host() { # build lua program arguments...
  local dir=$root/$1/$2 lua=$2 program=$3
  eval "$(sh tests/env "$root" "$1" "$lua")"
  shift 3
  limited 300 "$dir/hosts/$program" "$dir/bytepool/core.so" "$@"
}

# What runs out of memory goes on beside the next ones: `settle` after all.
host_steps() { # build name luas rounds stride make-variables...
  local build=$1 name=$2 luas=$3 rounds=$4 stride=$5 lua
  shift 5
  for lua in $luas; do
    "$make" -s have-lua LUA=$lua || { skip "$name $lua" "no interpreter or no headers"; continue; }
    step count_one "$name $lua build" "$make" -j "$jobs" BUILD="$build" "$@" LUA=$lua hosts
    step count_one "$name $lua states" host "$build" $lua states tests/hosts/states.lua
    step count_one "$name $lua exit" host "$build" $lua exit "$rounds"
    if "$build/$lua/hosts/nomem" --probe; then
      beside count_one "$name $lua nomem" host "$build" $lua nomem tests/hosts/nomem.lua "$stride"
    else
      skip "$name $lua nomem" "this Lua takes no allocator of ours"
    fi
  done
}

# What four threads do in states of their own: TSan sees the module and the host, not the interpreter.
tsan_states() { # lua
  export TSAN_OPTIONS=$TSAN_OPTIONS:detect_deadlocks=0 BP_STRESS_SCALE=0.2
  eval "$(sh tests/env "$root" build/tsan "$1")"
  limited 300 "${no_aslr[@]}" "build/tsan/$1/hosts/states" "build/tsan/$1/bytepool/core.so" tests/hosts/states.lua
}

tsan_host_steps() {
  local lua
  for lua in luajit lua5.4; do
    "$make" -s have-lua LUA=$lua || { skip "hosts tsan $lua" "no interpreter or no headers"; continue; }
    step count_one "hosts tsan $lua build" "$make" -j "$jobs" BUILD=build/tsan "${tsan_flags[@]}" LUA=$lua hosts
    step count_one "hosts tsan $lua states" tsan_states $lua
  done
}
