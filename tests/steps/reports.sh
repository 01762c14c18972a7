# shellcheck shell=bash disable=SC2154
# Reports before the programs that are to read them (tests/reports). Read by tests/run.
# BP_REPORT_SECONDS: how long Prometheus scrapes.

# promtool's own rules: names, units, help texts. It must also refuse what is wrong.
promtool_check() {
  eval "$(sh tests/env "$root" build luajit)"
  local text=$tmp/metrics
  luajit lua/bin/bytepool report --format prometheus "$tmp/snapshots.json" >"$text" || return 1
  promtool check metrics <"$text" >"$tmp/promtool" 2>&1 || { cat "$tmp/promtool"; return 1; }
  [ ! -s "$tmp/promtool" ] || { cat "$tmp/promtool"; return 1; }
  grep -c '^bytepool_' "$text"
  if sed 's/\\"/"/g' "$text" | promtool check metrics; then echo "a label that is not escaped passes"; return 1; fi
  if sed 's/_total//' "$text" | promtool check metrics; then echo "a counter without _total passes"; return 1; fi
}

# The reference parsers of Prometheus's Python client: of OpenMetrics the strict one.
python_with_client() {
  local python
  for python in python3 /usr/bin/python3; do
    if $python -c 'import prometheus_client.openmetrics.parser' 2>/dev/null; then echo $python; return 0; fi
  done
  return 1
}

openmetrics() { # python
  eval "$(sh tests/env "$root" build lua5.4)"
  lua5.4 lua/bin/bytepool report --format prometheus "$tmp/snapshots.json" >"$tmp/prometheus" &&
    lua5.4 lua/bin/bytepool report --format openmetrics "$tmp/snapshots.json" >"$tmp/openmetrics" &&
    "$1" tests/reports/openmetrics.py "$tmp/prometheus" "$tmp/openmetrics" || return 1
  # The same without its end must not pass.
  sed '$d' "$tmp/openmetrics" >"$tmp/cut"
  ! "$1" tests/reports/openmetrics.py "$tmp/prometheus" "$tmp/cut"
}

snapshots() {
  eval "$(sh tests/env "$root" build luajit)"
  luajit tests/reports/snapshots.lua >"$tmp/snapshots.json"
}

browser() {
  eval "$(sh tests/env "$root" build luajit)"
  local folder=$root/build/reports
  mkdir -p "$folder" && rm -f "$folder"/*.png || return 1
  luajit lua/bin/bytepool report --format html "$tmp/snapshots.json" >"$folder/page.html" || return 1
  limited 300 bash tests/reports/browser.sh "$tmp/snapshots.json" "$folder/page.html" "$folder"
}

scrape() {
  mkdir -p "$tmp/scrape" || return 1
  local seconds=${BP_REPORT_SECONDS:-12}
  limited $((seconds + 120)) bash tests/reports/scrape.sh "$seconds" "$tmp/scrape"
}

report_lua_missing() { # modules; prints what the tests miss
  local lua name
  for lua in luajit lua5.4; do
    "$make" -s have-lua LUA=$lua || { echo "no $lua, or no headers of it"; return 0; }
    for name in "$@"; do
      $lua -e "require '$name'" 2>/dev/null || { echo "$lua finds no $name"; return 0; }
    done
  done
  return 1
}

report_steps() {
  local why python
  if why=$(report_lua_missing cjson argparse); then skip reports "$why"; return; fi
  step count_one "reports snapshots" snapshots
  if command -v promtool >/dev/null; then step count_one "reports promtool" promtool_check
  else skip "reports promtool" "no promtool"; fi
  if python=$(python_with_client); then step count_one "reports openmetrics" openmetrics "$python"
  else skip "reports openmetrics" "no Python with prometheus_client"; fi
  if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then skip "reports scrape" "no prometheus"
  elif why=$(report_lua_missing socket); then skip "reports scrape" "$why"
  else step count_one "reports scrape" scrape; fi
  if command -v chromium >/dev/null; then step count_one "reports browser" browser
  else skip "reports browser" "no chromium"; fi
}
