#!/usr/bin/env bash
# README's OpenResty part: its config answers as it says, from the checkout's paths.
# usage: readme.sh FOLDER
set -u
. "$(dirname "$0")/server.sh"
trap nginx_stop EXIT
nginx_write_conf() { # the README's config in place of the tests'
  {
    nginx_modules
    [ "$(id -u)" = 0 ] && echo "user root;"
    echo "daemon off; pid $dir/nginx.pid; error_log $dir/error.log notice; events {}"
    sed -n '/^## OpenResty$/,/^## Figures$/{/^```nginx$/,/^```$/{/^```/!p}}' "$nginx_root/README.md" |
      sed -e "s/listen 8080/listen 127.0.0.1:$port/" \
        -e "s,^http {,http { access_log off; lua_package_path '$nginx_root/lua/?.lua;$nginx_root/lua/?/init.lua;;'; lua_package_cpath '$nginx_build/luajit/?.so;;';,"
  } >"$dir/nginx.conf"
}
nginx_start "$1" 1 "" || exit 1
. "$(dirname "$0")/assert.sh"
equal "lines of config" "$(sed -n '/^## OpenResty$/,/^## Figures$/{/^```nginx$/,/^```$/{/^```/!p}}' "$nginx_root/README.md" | grep -c lua_block)" 2
for _ in 1 2 3; do equal "the answer" "$(curl -sS "http://127.0.0.1:$port/")" hello; done
log_is_clean
report_checks
