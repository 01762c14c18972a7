#!/usr/bin/env bash
# Every way a body can go out: what each client gets is compared with the file by its md5.
# usage: bodies.sh FOLDER
set -u
. "$(dirname "$0")/server.sh"
trap nginx_stop EXIT
nginx_start "$1" 2 "" || exit 1
. "$(dirname "$0")/assert.sh"

plain=http://127.0.0.1:$port h2c=http://127.0.0.1:$((port + 1)) h2=https://127.0.0.1:$((port + 2)) tls=https://127.0.0.1:$((port + 3))

# same NAME SIZE curl-arguments...: the body is body-SIZE
same() {
  local name=$1 size=$2
  shift 2
  curl -sS -k --max-time 20 -D "$dir/head" -o "$dir/out" "$@" 2>"$dir/curl.err"
  equal "$name" "$? $(md5sum <"$dir/out") $(cat "$dir/curl.err")" "0 $(md5sum <"$dir/body-$size") "
}
header() { grep -i "^$1:" "$dir/head" | tail -n 1 | tr -d '\r' | sed 's/^[^:]*: //'; } # of the last answer

for size in 0 1 100 4096 16384 65536 200000 1048576; do
  for least in 0 1000000000 ""; do
    q="n=$size${least:+&least=$least}"
    same "chunked $q" $size "$plain/send?$q"
    same "content-length $q" $size "$plain/send?$q&length=1"
    equal "its length" "$(header content-length)" $size
    same "flushed $q" $size "$plain/mixed?$q&step=20000&flush=wait"
  done
  same "http/1.0 $size" $size -0 "$plain/send?n=$size"
  [ $size = 0 ] || equal "its length" "$(header content-length)" $size
  same "http/1.0 unbuffered $size" $size -0 "$plain/unbuffered10/send?n=$size"
  same "h2c $size" $size --http2-prior-knowledge "$h2c/send?n=$size"
  same "h2 $size" $size --http2 "$h2/send?n=$size"
  same "tls $size" $size "$tls/send?n=$size"
  same "gzip $size" $size --compressed "$plain/gzip/send?n=$size"
  same "gzip over h2 $size" $size --http2 --compressed "$h2/gzip/send?n=$size"
  same "body filter $size" $size "$plain/filter/send?n=$size"
  same "proxied $size" $size "$plain/proxy/send?n=$size"
  curl -sS -I --max-time 5 -D "$dir/head" -o "$dir/out" "$plain/send?n=$size&length=1"
  equal "HEAD $size" "$(head -n 1 "$dir/head" | tr -d '\r') $(header content-length)" "HTTP/1.1 200 OK $size"
done
same "gzip is gzip" 65536 --compressed "$plain/gzip/send?n=65536"
equal "its encoding" "$(header content-encoding)" gzip

for size in 16384 65536 200000 1048576; do
  for step in 1000 7000 20000; do
    same "mixed $size by $step" $size "$plain/mixed?n=$size&step=$step"
    same "mixed and flushed $size by $step" $size "$plain/mixed?n=$size&step=$step&flush=1"
    same "mixed without copies $size by $step" $size "$plain/mixed?n=$size&step=$step&flush=wait&least=0"
    same "mixed over h2 $size by $step" $size --http2 "$h2/mixed?n=$size&step=$step"
    same "mixed http/1.0 $size by $step" $size -0 "$plain/mixed?n=$size&step=$step"
    same "mixed gzip $size by $step" $size --compressed "$plain/gzip/mixed?n=$size&step=$step&flush=1"
  done
  for way in slices released after_flush flush_only headers_first eof capture multi threads; do
    same "$way $size" $size "$plain/$way?n=$size"
    same "$way flushed $size" $size "$plain/$way?n=$size&flush=wait"
    same "$way slowly $size" $size --limit-rate 5m "$plain/$way?n=$size"
    case $way in # the Lua module makes no subrequests of HTTP/2
      capture | multi) ;;
      *) same "$way over h2 $size" $size --http2 "$h2/$way?n=$size" ;;
    esac
    same "$way filtered $size" $size "$plain/filter/$way?n=$size"
  done
done

# The Lua module's own buffers behind ours: the client reads on only when the socket is full.
seed=${BP_SEED:-$(date +%s)}
for at in {1..20}; do
  pieces="pieces?n=1048576&seed=$((seed + at))"
  same "pieces BP_SEED=$seed+$at" 1048576 "$plain/$pieces"
  same "pieces slowly BP_SEED=$seed+$at" 1048576 --limit-rate 8m "$plain/$pieces"
  same "pieces over h2 BP_SEED=$seed+$at" 1048576 --http2 "$h2/$pieces"
done

same "limit_rate" 1048576 "$plain/limited/send?n=1048576"
same "limit_rate mixed" 1048576 "$plain/limited/mixed?n=1048576&step=20000&flush=wait"
same "slow reader" 1048576 --limit-rate 4m "$plain/send?n=1048576"
same "slow reader over h2" 1048576 --limit-rate 4m --http2 "$h2/mixed?n=1048576&step=50000"

# Filters that look into the bytes or change them must not change the buffer.
tr a-z A-Z <"$dir/body-65536" >"$dir/upper"
curl -sS "$plain/upper/send?n=65536" >"$dir/out"
equal "upper" "$(LC_ALL=C tr a-z A-Z <"$dir/body-65536" | md5sum)" "$(md5sum <"$dir/out")"
sed 's/$/\r/' "$dir/text" >"$dir/crlf"
curl -sS "$plain/sub_filter/send?n=text" >"$dir/out"
equal "sub_filter" "$(md5sum <"$dir/out")" "$(md5sum <"$dir/crlf")"
iconv -f KOI8-R -t UTF-8 "$dir/text" >"$dir/utf8"
curl -sS "$plain/charset/send?n=text" >"$dir/out"
equal "charset" "$(md5sum <"$dir/out")" "$(md5sum <"$dir/utf8")"
same "unchanged by it" text "$plain/send?n=text"
same "unchanged by all" 65536 "$plain/send?n=65536"

# One connection, bodies one after the other.
urls=() want=
for size in 65536 1 1048576 200000 0 16384; do urls+=("$plain/send?n=$size"); done
for size in 65536 1 1048576 200000 0 16384; do cat "$dir/body-$size"; done >"$dir/want"
connects=$(curl -sS "${urls[@]}" -w '%{stderr}%{num_connects}\n' 2>&1 >"$dir/out" | awk '{ n += $1 } END { print n }')
equal "keepalive" "$(md5sum <"$dir/out") $connects" "$(md5sum <"$dir/want") 1"

# Bytes i to j.
for range in "1 10" "2 65535" "-100 -1" "65537 -1" "1 0" "1000 60000"; do
  set -- $range
  for least in 0 100000; do
    curl -sS "$plain/send?n=65536&i=$1&j=$2&least=$least" >"$dir/out"
    equal "bytes $range" "$(md5sum <"$dir/out")" \
      "$(luajit - "$dir/body-65536" "$1" "$2" <<<'io.write((io.open(arg[1], "rb"):read "*a"):sub(arg[2], arg[3]))' | md5sum)"
  done
done

# Many streams at once on few connections.
equal "h2load" "$(h2load -n 300 -c 4 -m 20 "$h2c/send?n=200000" 2>&1 | grep -o '300 succeeded')" "300 succeeded"

# Every phase, and what ties are.
same "elsewhere" 65536 "$plain/elsewhere/send?n=65536"
same "elsewhere over tls" 65536 "$tls/elsewhere/released?n=65536"
for way in phases/ retained retained dead dead timer astray astray collect ties; do
  equal "$way" "$(curl -sS -o "$dir/out" -w '%{http_code}' "$plain/$way")" 200
done
curl -sS -Z -o "$dir/out" "$plain/ties" -o "$dir/out2" "$plain/ties" -o "$dir/out3" "$plain/ties" -o "$dir/out4" "$plain/ties" 2>"$dir/curl.err"
equal "ties" "$(for i in 1 2 3 4; do curl -sS "$plain/ties" | wc -c; done | sort -u)" 103000
equal "uncached" "$(for i in 1 2 3 4 5; do curl -sS "$plain/uncached/slices?n=200000" | md5sum; done | sort | uniq -c | sed 's/ -//')" \
  "      5 $(md5sum <"$dir/body-200000" | sed 's/ -//')"
all_given_back bodies
log_is_clean
report_checks
