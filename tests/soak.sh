#!/usr/bin/env bash
# The specs that draw random numbers, with one seed after another for SECONDS; ends at one that fails.
# usage: soak.sh SECONDS LUA        (BP_SEED in the environment: the first seed)
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD seconds=$1 lua=$2 first=${BP_SEED:-$(date +%s)}
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
eval "$(sh tests/env "$root" build "$lua")"
export BYTEPOOL_EXPECT_PREFIX=$root BP_SEED=$first

SECONDS=0
while [ $SECONDS -lt "$seconds" ]; do
  if ! "$lua" tests/busted.lua -o plainTerminal --tags=random spec >"$log" 2>&1; then
    tail -n 40 "$log"
    echo "soak: repeat it: BP_SEED=$BP_SEED make soak-specs SECONDS=1 LUA=$lua"
    exit 1
  fi
  BP_SEED=$((BP_SEED + 1))
done
echo "soak: $(sed -n 's/ successes.*//p' "$log" | tail -n 1) specs on $lua with $((BP_SEED - first)) seeds from BP_SEED=$first"
