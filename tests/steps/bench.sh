# shellcheck shell=bash disable=SC2154
# The bench (tests/bench). Read by tests/run.

# That it runs and measures every case; how fast anything is, is not asked here.
bench_quick() {
  BENCH_QUICK=1 BENCH_JSON=$tmp/bench.json BENCH_ROUNDS=1 limited 120 bash tests/bench/bench.sh &&
    luajit tests/bench/check.lua "$tmp/bench.json"
}

bench_steps() {
  step count_one "bench build" "$make" -j "$jobs" LUA=luajit module libs bench-programs
  step count_one "bench quick run" bench_quick
}
