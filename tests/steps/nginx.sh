# shellcheck shell=bash disable=SC2154
# A real nginx with real clients (tests/nginx). Read by tests/run.

nginx_test() { # script arguments...
  local script=$1
  shift
  mkdir -p "$tmp/nginx"
  limited 150 bash "tests/nginx/$script.sh" "$tmp/nginx/$script" "$@"
}

nginx_steps() {
  local why
  # shellcheck source=/dev/null
  why=$(. tests/nginx/server.sh && nginx_missing) && { step count_one "nginx" eval "echo '$why'; false"; return; }
  step count_one "nginx build" "$make" -j "$jobs" LUA=luajit module build/nginx/fanout
  step count_checks "nginx worker" nginx_test worker
  step count_checks "nginx channel" nginx_test channel 6 500
  step count_checks "nginx totals" nginx_test totals
  step count_checks "nginx uncached" nginx_test uncached
  step count_one "nginx readme" bash tests/nginx/readme.sh
  step count_one "nginx demo" bash tests/nginx/demo.sh
  step count_checks "nginx bodies" nginx_test bodies
  step count_checks "nginx serve" nginx_test serve
  step count_checks "nginx storm" nginx_test storm 20000
  step count_checks "nginx stalled readers" nginx_test stalled
  step count_checks "nginx reload" nginx_test reload 20
  step count_one "nginx asan build" "$make" -j "$jobs" BUILD=build/asan "${asan_flags[@]}" LUA=luajit module
  step count_checks "nginx asan storm" nginx_test storm 2000 asan
}

# By the last line of report_checks.
count_checks() {
  sed -n 's/^\([0-9]*\) of \([0-9]*\) checks$/\1 \2/p' "$1" | tail -n 1 | awk '{ print $1, $2 - $1, 0 }'
}
