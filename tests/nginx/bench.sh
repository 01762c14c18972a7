#!/usr/bin/env bash
# What a shared body costs the worker, in µs of CPU a request, four ways in one run: bp.send of a buffer,
# ngx.print of a Lua string, lua_shared_dict and ngx.print, and a static file. The ways take turns; what is
# printed is the median of the rounds, and so is each ratio. Exits 1 where a target is missed.
# usage: bench.sh [FOLDER]     BENCH_ROUNDS=5 BENCH_SECONDS=1 BENCH_SIZES="4096 65536 1048576"
set -u
. "$(dirname "$0")/server.sh"
folder=${1:-$(mktemp -d)} rounds=${BENCH_ROUNDS:-5} seconds=${BENCH_SECONDS:-1}
why=$(nginx_missing) && { echo "$why"; exit 1; }
command -v wrk >/dev/null || { echo "no wrk"; exit 1; }
trap 'nginx_stop; [ -n "${1:-}" ] || rm -rf "$folder"' EXIT
nginx_start "$folder" 2 "" || exit 1

ticks() { # of all workers
  local pid sum=0 line
  for pid in $(nginx_workers); do
    line=$(sed 's/.*) //' "/proc/$pid/stat") && set -- $line && sum=$((sum + ${12} + ${13}))
  done
  echo $sum
}

run() { # path
  local before after
  before=$(ticks)
  wrk -t1 -c32 -d"${seconds}s" "http://127.0.0.1:$((port + 4))$1" >"$folder/wrk.out" 2>&1
  after=$(ticks)
  awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" '
    / requests in / { n = $1 } /Non-2xx|Socket errors/ { bad = 1 }
    END { if (bad || !n) exit 1; printf "%.2f\n", t / hz * 1e6 / n }' "$folder/wrk.out" ||
    { cat "$folder/wrk.out" >&2; echo nan; }
}

for size in ${BENCH_SIZES:-4096 65536 1048576}; do
  for way in send print dict file; do run "$(path_of() { [ "$way" = file ] && echo "/file/body-$size" || echo "/bench_$way?n=$size"; }; path_of)" >/dev/null; done
  for _ in $(seq "$rounds"); do
    for way in send print dict file; do
      path="/bench_$way?n=$size"
      [ $way = file ] && path="/file/body-$size"
      echo "$size $way $(run "$path")"
    done
  done
done >"$folder/figures"

luajit - "$folder/figures" <<'LUA'
local ways, sizes, of = {"send", "print", "dict", "file"}, {}, {}
for line in io.lines(arg[1]) do
  local size, way, value = line:match "(%d+) (%a+) (%S+)"
  if not of[size] then of[size] = {} sizes[#sizes + 1] = size end
  of[size][way] = of[size][way] or {}
  table.insert(of[size][way], assert(tonumber(value)))
end
local function median(list)
  local t = {unpack(list)}
  table.sort(t)
  return t[math.ceil(#t / 2)]
end
local function ratio(size, way)
  local t = {}
  for i, v in ipairs(of[size].send) do t[i] = v / of[size][way][i] end
  return median(t)
end
local targets = { -- of send to another way
  ["1048576"] = {print = 0.75, dict = 0.5}, ["65536"] = {print = 0.9}, ["4096"] = {print = 1.0},
}
print "worker CPU, µs a request (and bp.send's part of it)"
print(("%9s %9s %16s %16s %16s"):format("bytes", "bp.send", "ngx.print", "shared dict", "static file"))
local missed = 0
for _, size in ipairs(sizes) do
  local row = {("%9s %9.1f"):format(size, median(of[size].send))}
  for i = 2, #ways do
    row[#row + 1] = ("%9.1f (%.2f)"):format(median(of[size][ways[i]]), ratio(size, ways[i]))
  end
  print(table.concat(row, " "))
end
for _, size in ipairs(sizes) do
  for way, most in pairs(targets[size] or {}) do
    local is = ratio(size, way)
    -- What is to be no worse is judged with the noise of the ticks.
    local met = is <= most * (most == 1 and 1.03 or 1)
    if not met then missed = missed + 1 end
    print(("%s bp.send to %s at %s bytes: %.2f, target %.2f"):format(met and "met   " or "MISSED", way, size, is, most))
  end
end
os.exit(missed == 0 and 0 or 1)
LUA
