# shellcheck shell=bash disable=SC2154
# The fuzzers for a short while, and their corpus without libFuzzer (tests/fuzz). Read by tests/run.

fuzz_cc=${FUZZ_CC:-clang}

fuzz_missing() { # prints why there is no libFuzzer
  command -v "$fuzz_cc" >/dev/null || { echo "no $fuzz_cc"; return 0; }
  echo 'int LLVMFuzzerTestOneInput(const char *p, long n); int LLVMFuzzerTestOneInput(const char *p, long n) { return !p + !n; }' |
    "$fuzz_cc" -x c -fsanitize=fuzzer,address,undefined -o "$tmp/fuzzer" - >/dev/null 2>&1 && return 1
  echo "$fuzz_cc can not link with -fsanitize=fuzzer"
}

fuzz_target() { # target corpus runs: all files of the corpus, then what grows from them
  mkdir -p "$tmp/fuzz/$1" build/fuzz/found
  ASAN_OPTIONS=$ASAN_OPTIONS:detect_stack_use_after_return=0 \
    limited 300 "build/libfuzzer/fuzz/$1" -seed=1 -runs="$3" -max_total_time=15 -max_len=300 -timeout=60 \
    -artifact_prefix="build/fuzz/found/$1-" "$tmp/fuzz/$1" "tests/fuzz/corpus/$2"
}

fuzz_steps() {
  local lua why no_fuzzer
  no_fuzzer=$(fuzz_missing) && skip "libFuzzer" "$no_fuzzer"
  step count_one "fuzz replay core build" "$make" -j "$jobs" build/fuzz/core
  step count_one "fuzz replay core" limited 300 build/fuzz/core tests/fuzz/corpus/core/*
  if [ -z "$no_fuzzer" ]; then
    step count_one "fuzz core build" "$make" -j "$jobs" FUZZ_CC="$fuzz_cc" fuzzers
    step count_one "fuzz core" fuzz_target core core 3000
  fi
  for lua in luajit lua5.4; do
    if ! "$make" -s have-lua LUA=$lua; then skip "fuzz $lua" "no headers"; continue; fi
    step count_one "fuzz replay $lua build" "$make" -j "$jobs" LUA=$lua "build/fuzz/$lua"
    step count_one "fuzz replay $lua" limited 300 "build/fuzz/$lua" tests/fuzz/corpus/lua/*
    [ -z "$no_fuzzer" ] || continue
    step count_one "fuzz $lua build" "$make" -j "$jobs" FUZZ_CC="$fuzz_cc" LUA=$lua fuzzers
    step count_one "fuzz $lua" fuzz_target $lua lua 1500
  done
}
