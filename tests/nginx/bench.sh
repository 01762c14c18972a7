#!/usr/bin/env bash
# What a shared body costs the worker, in µs of CPU a request, four ways in one run: bp.send of a buffer,
# ngx.print of a Lua string, lua_shared_dict and ngx.print, and a static file. The ways take turns; what is
# printed is the median of the rounds, and so is each ratio. Once with `sndbuf=64k`, where most of a large
# body waits in nginx as it does for a slow reader: the targets are for that; and once with the system's
# buffers, where a fast reader's kernel takes 1 MiB at once. Exits 1 where a target is missed.
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

run() { # listener path
  local before after
  before=$(ticks)
  wrk -t1 -c32 -d"${seconds}s" "http://127.0.0.1:$1$2" >"$folder/wrk.out" 2>&1
  after=$(ticks)
  awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" '
    / requests in / { n = $1 } /Non-2xx|Socket errors/ { bad = 1 }
    END { if (bad || !n) exit 1; printf "%.2f\n", t / hz * 1e6 / n }' "$folder/wrk.out" ||
    { cat "$folder/wrk.out" >&2; echo nan; }
}

path_of() { # way size
  if [ "$1" = file ]; then echo "/file/body-$2"; else echo "/bench_$1?n=$2"; fi
}

for size in ${BENCH_SIZES:-4096 65536 1048576}; do
  for listener in "$port" $((port + 4)); do
    for way in send print dict file; do run "$listener" "$(path_of $way "$size")" >/dev/null; done
    for _ in $(seq "$rounds"); do
      for way in send print dict file; do
        echo "$((listener - port)) $size $way $(run "$listener" "$(path_of $way "$size")")"
      done
    done
  done
done >"$folder/figures"

luajit - "$folder/figures" <<'LUA'
local ways, of = {"send", "print", "dict", "file"}, {["0"] = {}, ["4"] = {}}
local sizes = {}
for line in io.lines(arg[1]) do
  local listener, size, way, value = line:match "(%d+) (%d+) (%a+) (%S+)"
  local all = of[listener]
  if not of["0"][size] then sizes[#sizes + 1] = size end
  all[size] = all[size] or {}
  all[size][way] = all[size][way] or {}
  table.insert(all[size][way], assert(tonumber(value)))
end
local function median(list)
  local t = {unpack(list)}
  table.sort(t)
  return t[math.ceil(#t / 2)]
end
local function ratio(figures, way)
  local t = {}
  for i, v in ipairs(figures.send) do t[i] = v / figures[way][i] end
  return median(t)
end
print "worker CPU, µs a request (and bp.send's part of it)"
for _, listener in ipairs {"0", "4"} do
  print(("%-16s %9s %16s %16s %16s"):format(listener == "0" and "sndbuf=64k" or "system's buffers",
    "bp.send", "ngx.print", "shared dict", "static file"))
  for _, size in ipairs(sizes) do
    local figures = of[listener][size]
    local row = {("%16s %9.1f"):format(size, median(figures.send))}
    for i = 2, #ways do
      row[i] = ("%9.1f (%.2f)"):format(median(figures[ways[i]]), ratio(figures, ways[i]))
    end
    print(table.concat(row, " "))
  end
end
local targets = { -- of send to another way; to be no worse allows for the noise
  {"4096", "print", 1.03}, {"65536", "print", 0.9}, {"1048576", "print", 0.75}, {"1048576", "dict", 0.5},
}
local missed = 0
for _, target in ipairs(targets) do
  local size, way, most = unpack(target)
  if of["0"][size] then
    local is = ratio(of["0"][size], way)
    if is > most then missed = missed + 1 end
    print(("%s %s bytes, bp.send to %s: %.2f, at most %.2f"):format(is <= most and "met   " or "MISSED", size, way, is, most))
  end
end
os.exit(missed == 0 and 0 or 1)
LUA
