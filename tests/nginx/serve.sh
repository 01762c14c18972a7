#!/usr/bin/env bash
# bp.serve: conditions, ranges, HEAD, as RFC 9110 has them.
# usage: serve.sh FOLDER
set -u
. "$(dirname "$0")/server.sh"
trap nginx_stop EXIT
nginx_start "$1" 2 "" || exit 1
. "$(dirname "$0")/assert.sh"

# answer WANT QUERY curl-arguments...: status, length of the body by its header, and its part of the file
answer() {
  local name="$2 ${*:3}" want=$1 status from count md5
  : >"$dir/out"
  curl -sS -k --max-time 10 -D "$dir/head" -o "$dir/out" "${base:-http://127.0.0.1:$port}/serve?$2" "${@:3}" 2>"$dir/curl.err"
  status=$(sed -n '1s/^HTTP[^ ]* \([0-9]*\).*/\1/p' "$dir/head")
  md5=$(md5sum <"$dir/out")
  case $want in
    *:*) # status:first-last of the file
      from=${want#*:} count=${from#*-} from=${from%-*}
      count=$((count - from + 1))
      equal "$name" "$status $md5 $(field content-length)" "${want%:*} $(tail -c +$((from + 1)) "$file" | head -c $count | md5sum) $count"
      [ "${want%:*}" = 206 ] && equal "$name" "$(field content-range)" "bytes ${want#*:}/$(stat -c %s "$file")"
      ;;
    *) equal "$name" "$status $(stat -c %s "$dir/out")" "$want 0" ;;
  esac
}
field() { grep -i "^$1:" "$dir/head" | tail -n 1 | tr -d '\r' | sed 's/^[^:]*: //'; }

file=$dir/body-65536 etag="\"$(md5sum <"$dir/body-65536" | cut -d' ' -f1)\"" last=65535
modified=1700000000 date="Tue, 14 Nov 2023 22:13:20 GMT" before="Tue, 14 Nov 2023 22:13:19 GMT" after="Tue, 14 Nov 2023 22:13:21 GMT"
both() { # the same over HTTP/1.1, HTTP/1.0 and HTTP/2
  base= answer "$@"
  base= answer "$@" -0
  base=https://127.0.0.1:$((port + 2)) answer "$@" --http2
}
q="n=65536&modified=$modified"

both "200:0-$last" "$q"
equal "headers" "$(field etag) $(field last-modified) $(field accept-ranges) $(field content-type)" "$etag $date bytes application/x-test"
base= answer "200:0-$last" "$q&etag=none"
equal "no etag" "$(field etag)" ""
base= answer "200:0-$last" "$q&etag=abc"
equal "given etag" "$(field etag)" '"abc"'
curl -sS -I "http://127.0.0.1:$port/serve?$q" | tr -d '\r' >"$dir/head"
equal "HEAD" "$(head -n 1 "$dir/head") $(field content-length) $(field etag)" "HTTP/1.1 200 OK 65536 $etag"
curl -sS -I -H "Range: bytes=0-9" "http://127.0.0.1:$port/serve?$q" | tr -d '\r' >"$dir/head"
equal "HEAD knows no ranges" "$(head -n 1 "$dir/head") $(field content-length)" "HTTP/1.1 200 OK 65536"

# conditions
both 304 "$q" -H "If-None-Match: $etag"
equal "304" "$(field etag) $(field content-length)" "$etag "
both 304 "$q" -H "If-None-Match: \"x\", W/$etag"
both 304 "$q" -H "If-None-Match: *"
both "200:0-$last" "$q" -H 'If-None-Match: "x"'
both "200:0-$last" "$q" -H 'If-None-Match: "x"' -H "If-Modified-Since: $after"
both 304 "$q" -H "If-Modified-Since: $date"
both 304 "$q" -H "If-Modified-Since: $after"
both "200:0-$last" "$q" -H "If-Modified-Since: $before"
both "200:0-$last" "$q" -H "If-Modified-Since: yesterday"
both "200:0-$last" "$q" -H "If-Match: $etag"
both "200:0-$last" "$q" -H "If-Match: *"
both 412 "$q" -H 'If-Match: "x"'
both 412 "$q" -H "If-Match: W/$etag"
both 412 "$q" -H "If-Unmodified-Since: $before"
both "200:0-$last" "$q" -H "If-Unmodified-Since: $date"
both 412 "$q" -X POST -H "If-None-Match: $etag"
both "200:0-$last" "$q" -X POST -H "Range: bytes=0-9"

# ranges
both "206:0-0" "$q" -H "Range: bytes=0-0"
both "206:100-20099" "$q" -H "Range: bytes=100-20099"
both "206:100-$last" "$q" -H "Range: bytes=100-"
both "206:65436-$last" "$q" -H "Range: bytes=-100"
both "206:0-$last" "$q" -H "Range: bytes=-100000"
both "206:65535-$last" "$q" -H "Range: bytes=65535-70000"
both 416 "$q" -H "Range: bytes=65536-"
equal "416" "$(field content-range)" "bytes */65536"
both 416 "$q" -H "Range: bytes=-0"
for bad in "bytes=5-4" "bytes=" "bytes=-" "bytes=a-b" "lines=1-2" "bytes=1" "bytes=0-1,x" "bytes=1-2-3" "bytes=0-60000,1-60000" \
  "bytes=$(seq -s, 0 16 | sed 's/\([0-9]*\)/\1-\1/g')"; do
  both "200:0-$last" "$q" -H "Range: $bad"
done
both "200:0-$last" "$q&ranges=off" -H "Range: bytes=0-9"
both "206:7-7" "$q" -H "Range: bytes=70000-80000, 7-7,"
both "206:5-9" "$q" -H "Range: bytes=5-9" -H "If-Range: $etag"
both "206:5-9" "$q" -H "Range: bytes=5-9" -H "If-Range: $date"
both "200:0-$last" "$q" -H "Range: bytes=5-9" -H 'If-Range: "x"'
both "200:0-$last" "$q" -H "Range: bytes=5-9" -H "If-Range: W/$etag"
both "200:0-$last" "$q" -H "Range: bytes=5-9" -H "If-Range: $before"
both 304 "$q" -H "Range: bytes=5-9" -H "If-None-Match: $etag"

answer "200:0-$last" "$q" -H "Range: bytes=5-9" -H "If-Range: \"other\", $etag"

# A part of a page that is put together is none of what the client asks for.
for header in "Range: bytes=0-9" "If-None-Match: $etag"; do
  equal "subrequest, $header" "$(curl -sS -H "$header" "http://127.0.0.1:$port/part?n=65536")" "200 65536"
done
equal "versions" "$(curl -sS "http://127.0.0.1:$port/versions")" \
  "$(for n in 1 2 3; do echo "\"$(printf 'version %d' $n | md5sum | cut -d' ' -f1)\""; done)"

# An empty body.
file=$dir/body-0
curl -sS -D "$dir/head" "http://127.0.0.1:$port/serve?n=0" >"$dir/out"
equal "empty" "$(head -n 1 "$dir/head" | tr -d '\r') $(field content-length) $(stat -c %s "$dir/out")" "HTTP/1.1 200 OK 0 0"
both 416 "n=0" -H "Range: bytes=0-"

# Several parts, put together again.
for parts in "0-9 20000-49999 -5" "0-0 65535-65535" "100-16000 16001-40000"; do
  curl -sS -D "$dir/head" -H "Range: bytes=$(echo "$parts" | tr ' ' ,)" "http://127.0.0.1:$port/serve?$q" >"$dir/out"
  equal "parts $parts" "$(luajit - "$dir/out" "$dir/body-65536" "$dir/head" $parts <<'LUA'
    local function all(path) return io.open(path, "rb"):read "*a" end
    local out, whole, head = all(arg[1]), all(arg[2]), all(arg[3])
    local boundary = head:match "multipart/byteranges; boundary=(%w+)"
    local want = {}
    for i = 4, #arg do
      local a, b = arg[i]:match "^(%d*)%-(%d+)$"
      if a == "" then a, b = 65536 - b, 65535 end
      want[#want + 1] = ("\r\n--%s\r\nContent-Type: application/x-test\r\nContent-Range: bytes %d-%d/65536\r\n\r\n%s"):format(
        boundary, a, b, whole:sub(a + 1, b + 1))
    end
    want[#want + 1] = "\r\n--" .. boundary .. "--\r\n"
    print(out == table.concat(want) and head:match "^HTTP/1.1 (%d+)" == "206" and tonumber(head:match "Content%-Length: (%d+)") == #out)
LUA
  )" true
done

curl -sS -H "Range: bytes=0-9,20-29" "http://127.0.0.1:$port/serve?$q&type=default" >"$dir/out"
equal "type of the location" "$(grep -ac "^Content-Type: application/x-default" "$dir/out")" 2

all_given_back serve
log_is_clean
report_checks
