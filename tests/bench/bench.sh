#!/usr/bin/env bash
# Prints the bench tables; `make bench` has built what they need. Exits 0 whatever they say.
set -u
cd "$(dirname "$0")/../.." || exit 1
model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
echo "machine: ${model:-unknown processor}, $(getconf _NPROCESSORS_ONLN) processors, $(uname -sm), $(getconf GNU_LIBC_VERSION 2>/dev/null || echo 'another libc')"
echo
build/bench/pairs
echo
eval "$(sh tests/env "$PWD" build luajit)"
LUA_CPATH="$PWD/build/bench/?.so;$LUA_CPATH" luajit tests/bench/pairs.lua
