#!/usr/bin/env bash
# Runs the bench; `make bench` has built what it needs. Exits 0 whatever the figures say.
set -u
cd "$(dirname "$0")/../.." || exit 1
eval "$(sh tests/env "$PWD" build luajit)"
export LUA_PATH="$PWD/tests/bench/?.lua;$LUA_PATH" LUA_CPATH="$PWD/build/bench/?.so;$LUA_CPATH"
luajit tests/bench/run.lua
