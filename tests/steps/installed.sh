# shellcheck shell=bash disable=SC2154
# Copies that LuaRocks and make install made. Read by tests/run.

rock_install() { # lua version tree
  local incdir
  incdir=$("$make" -s print-incdir LUA="$1") || return 1
  cat >"$tmp/luarocks.lua" <<EOF
lua_interpreter = "$1"
variables = { LUA_BINDIR = "$(dirname "$(command -v "$1")")", LUA_INCDIR = "$incdir" }
EOF
  HOME=$tmp LUAROCKS_CONFIG=$tmp/luarocks.lua limited 300 luarocks --lua-version="$2" --tree="$3" \
    make --deps-mode=none rockspec/bytepool-scm-1.rockspec
}

rock_paths() { # version tree
  export LUA_PATH="$2/share/lua/$1/?.lua;$2/share/lua/$1/?/init.lua;;"
  export LUA_CPATH="$2/lib/lua/$1/?.so;;" PATH="$2/bin:$PATH"
  unset LUA_PATH_5_2 LUA_PATH_5_3 LUA_PATH_5_4 LUA_CPATH_5_2 LUA_CPATH_5_3 LUA_CPATH_5_4
}

rock_specs() { # lua version tree
  rock_paths "$2" "$3"
  # The specs stand in a copy of the checkout without the module.
  mkdir -p "$3.checkout/lua" && cp -r core spec tests rockspec Makefile README.md CHANGELOG.md "$3.checkout" &&
    cp -r lua/examples "$3.checkout/lua" || return 1
  export BYTEPOOL_EXPECT_PREFIX=$3
  run_busted "$3.checkout/spec" "$1"
}

rock_command() { # version tree
  rock_paths "$1" "$2"
  [ -f "$2/share/lua/$1/resty/bytepool.lua" ] && [ -f "$2/share/lua/$1/resty/bytepool/channel.lua" ] || return 1
  cd "$tmp" || return 1
  local said
  said=$(bytepool --version) || return 1
  echo "$said"
  case $said in *"$(sed -n 's/^.define BP_VERSION "\(.*\)"/\1/p' "$root/core/bytepool.h")"*) ;; *) return 1 ;; esac
}

rock_steps() {
  local lua version why
  for lua in luajit lua5.4; do
    if why=$(lua_missing $lua); then skip "rock $lua" "$why"; continue; fi
    version=$($lua -e 'io.write((_VERSION:gsub("Lua ", "")))')
    step count_one "rock $lua install" rock_install $lua "$version" "$tmp/rock-$lua"
    step count_one "rock $lua command" rock_command "$version" "$tmp/rock-$lua"
    beside count_busted "rock $lua specs" rock_specs $lua "$version" "$tmp/rock-$lua"
  done
  settle
}

consumer() { # how: a C program that is no part of the checkout
  local dir=$tmp/consumer-$1
  mkdir -p "$dir" && cp tests/install/consumer.c "$dir" && cd "$dir" || return 1
  export PKG_CONFIG_PATH=$tmp/prefix/lib/pkgconfig
  local cc=${CC:-cc} libs
  if [ "$1" = shared ]; then
    libs="$(pkg-config --libs bytepool) -Wl,-rpath,$tmp/prefix/lib"
  else
    libs="-Wl,-Bstatic $(pkg-config --libs bytepool) -Wl,-Bdynamic $(pkg-config --static --libs-only-other --libs-only-l bytepool | sed 's/-lbytepool//')"
  fi
  # shellcheck disable=SC2046,SC2086
  $cc -Wall -Wextra -Werror -o consumer consumer.c $(pkg-config --cflags bytepool) $libs || return 1
  case $1,$(ldd consumer) in shared,*libbytepool.so*) ;; static,*libbytepool*) return 1 ;; shared,*) return 1 ;; esac
  ./consumer
}

symbols() {
  local file=$tmp/prefix/lib/libbytepool.so odd
  nm -D --defined-only "$file" | grep ' bp_version$' || return 1
  odd=$(nm -D --defined-only "$file" | awk '{ print $NF }' | grep -Ev '^bp_[a-z0-9]' )
  [ -z "$odd" ] || { echo "exported, and should not be: $odd"; return 1; }
}

install_steps() {
  step count_one "install" "$make" install PREFIX="$tmp/prefix"
  step count_one "install shared program" consumer shared
  step count_one "install static program" consumer static
  step count_one "install symbols" symbols
}
