# shellcheck shell=bash disable=SC2154
# The Busted specs on every Lua, and on an ASan build. Read by tests/run.

lua_missing() { # prints why the specs cannot run on this Lua
  command -v "$1" >/dev/null || { echo "no such interpreter"; return 0; }
  "$make" -s have-lua LUA="$1" || { echo "no headers"; return 0; }
  "$1" -e 'require "busted.runner"' 2>/dev/null || { echo "it finds no busted"; return 0; }
  return 1
}

# From an empty folder, so that only the paths given decide what is found.
run_busted() { # spec-folder command...
  local specs=$1 empty
  shift
  empty=$(mktemp -d "$tmp/cwd.XXXXXX") && cd "$empty" || return 1
  limited 300 "$@" "$root/tests/busted.lua" -o plainTerminal "$specs"
}

specs() { # build-folder lua options...
  local build=$1 lua=$2
  shift 2
  export BYTEPOOL_EXPECT_PREFIX=$root
  eval "$(sh tests/env "$root" "$build" "$lua")"
  run_busted "$root/spec" "${preload[@]}" "$lua" "$@"
}

# Beside the run with the compiler on: one without it, and without it for the FFI bodies alone or in place of them.
luajit_spec_steps() {
  beside count_busted "specs luajit -joff" specs build luajit -joff
  preload=(env BYTEPOOL_BODIES=interpreted)
  beside count_busted "specs luajit, FFI bodies interpreted" specs build luajit
  preload=(env BYTEPOOL_BODIES=c)
  beside count_busted "specs luajit, C methods" specs build luajit
  preload=()
}

spec_steps() {
  local lua why before=$((passed + failed))
  preload=()
  for lua in luajit lua5.1 lua5.2 lua5.3 lua5.4; do
    if why=$(lua_missing $lua); then skip $lua "$why"; continue; fi
    beside count_busted "specs $lua" specs build $lua
    [ $lua = luajit ] && luajit_spec_steps
  done
  settle
  [ $((passed + failed)) != $before ] || step count_busted "specs" echo "every Lua was skipped"
}

asan_spec_steps() {
  local lua why runtime
  runtime=$($san_cc -print-file-name=libasan.so 2>/dev/null)
  for lua in luajit lua5.4; do
    if why=$(lua_missing $lua); then skip "$lua with ASan" "$why"; continue; fi
    if [ ! -f "$runtime" ]; then skip "$lua with ASan" "$san_cc has no libasan.so"; continue; fi
    step count_one "specs asan build $lua" "$make" -j "$jobs" BUILD=build/asan "${asan_flags[@]}" LUA=$lua module
    # The interpreter's own leaks are not ours; those of the core show in the C tests.
    preload=(env LD_PRELOAD="$runtime" ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0")
    beside count_busted "specs asan $lua" specs build/asan $lua
  done
  settle
}
