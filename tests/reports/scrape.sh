#!/usr/bin/env bash
# A Prometheus server scrapes two programs with live pools. usage: scrape.sh SECONDS FOLDER
# One program runs on LuaJIT and serves the text format, the other on Lua 5.4 and negotiates
# OpenMetrics. Everything listens on the loopback and is stopped by its pid.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
seconds=$1 folder=$2
pids=()
stop() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done; }
trap stop EXIT
trap 'exit 1' HUP INT TERM
cd "$folder" || exit 1
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

# Becomes the command: in a subshell of its own, whose pid is then the command's.
with_lua() { # lua command...
  eval "$(sh "$root/tests/env" "$root" build "$1")"
  shift
  exec "$@"
}

serve() { # name lua
  rm -f "$1.port"
  (with_lua "$2" "$2" "$root/tests/reports/server.lua" "$1.port" "$1.scrapes") >"$1.log" 2>&1 &
  pids+=($!)
  for _ in $(seq 100); do
    [ -s "$1.port" ] && return 0
    sleep 0.1
  done
  echo "server $1 does not listen"
  cat "$1.log"
  return 1
}

serve text luajit || exit 1
serve openmetrics lua5.4 || exit 1
cat >prometheus.yml <<END
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - {job_name: text, metrics_path: /metrics, static_configs: [{targets: ["127.0.0.1:$(cat text.port)"]}]}
  - {job_name: openmetrics, metrics_path: /negotiated, static_configs: [{targets: ["127.0.0.1:$(cat openmetrics.port)"]}]}
END
promtool check config prometheus.yml >promtool.log 2>&1 || { cat promtool.log; exit 1; }

port=$(with_lua luajit luajit "$root/tests/reports/free_port.lua") || exit 1
prometheus --config.file=prometheus.yml --storage.tsdb.path="$folder/tsdb" --web.listen-address="127.0.0.1:$port" \
  --log.level=warn >prometheus.log 2>&1 &
pids+=($!)

(with_lua luajit luajit "$root/tests/reports/prometheus.lua" "$port" "$seconds" text.scrapes openmetrics.scrapes) || {
  tail -n 20 prometheus.log ./*.log
  exit 1
}

# The same servers, asked by the command: a live expvar page, drawn twice.
for name in text openmetrics; do
  url=http://127.0.0.1:$(cat $name.port)/debug/vars
  (with_lua lua5.4 bytepool stats "$url" --watch 1 --count 2) >watch.out || { cat watch.out; exit 1; }
  for line in '^pool "live"$' '^requests = [0-9]*, [1-9][0-9.]*/s$'; do
    grep -q "$line" watch.out || { cat watch.out; exit 1; }
  done
done
echo "bytepool stats --watch shows both, with rates"
if (with_lua lua5.4 bytepool stats "${url%/debug/vars}/nothing") >watch.out 2>&1; then exit 1; fi
grep 'the server answered with status 404' watch.out
