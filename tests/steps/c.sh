# shellcheck shell=bash disable=SC2154
# The C tests: libcheck programs and stress runs, plain and sanitised. Read by tests/run.

no_aslr=()
command -v setarch >/dev/null && setarch "$(uname -m)" -R true 2>/dev/null &&
  no_aslr=(setarch "$(uname -m)" -R) # TSan's memory map fails on kernels that randomise more bits

export ASAN_OPTIONS=halt_on_error=1:detect_stack_use_after_return=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:exitcode=66:die_after_fork=0

run_c() { # flavour program source
  local wrap=()
  [ "$1" = tsan ] && wrap=("${no_aslr[@]}")
  [ -x "$2" ] || { echo "$2 was not built"; return 1; }
  # A fork takes every pool's lock at once, and TSan's deadlock detector gives up at 64.
  grep -q 'fork()' "$3" && TSAN_OPTIONS=$TSAN_OPTIONS:detect_deadlocks=0
  limited 300 "${wrap[@]}" "$2"
}

c_tests() { # flavour build-folder timeout-multiplier stress-scale make-variables...
  local flavour=$1 build=$2 multiplier=$3 scale=$4 source name
  shift 4
  # A program that no longer builds must not pass as its older self.
  rm -rf "$build/test" "$build/stress"
  step count_one "c $flavour build" "$make" -k -j "$jobs" BUILD="$build" "$@" ctests
  export CK_VERBOSITY=normal CK_TIMEOUT_MULTIPLIER=$multiplier BP_STRESS_SCALE=$scale
  for source in tests/check_*.c tests/stress/*.c; do
    name=$(basename "$source" .c)
    if [ "$name" = check_memory ] && [ "$flavour" != plain ]; then
      skip "$name with $flavour" "a sanitizer's address space cannot be limited"
      continue
    fi
    if [ "$name" = check_fault ] && [ "$flavour" = tsan ]; then
      skip "$name with $flavour" "a process for each refusal takes minutes, and its threads never run at once"
      continue
    fi
    case $source in
      tests/check_*) step count_check "c $flavour $name" run_c "$flavour" "$build/test/$name" "$source" ;;
      *) step count_one "c $flavour stress $name" run_c "$flavour" "$build/stress/$name" "$source" ;;
    esac
  done
}
