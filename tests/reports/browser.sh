#!/usr/bin/env bash
# Opens the HTML report in headless Chromium. usage: browser.sh DUMP PAGE FOLDER
# The console stays empty, the figures of the DOM are those of the dump, and nothing is wider than
# the window. Leaves screenshots in FOLDER. Runs in the environment of the module's Lua, luajit.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
dump=$1 page=$2 folder=$3
profile=$(mktemp -d) || exit 1
trap 'rm -rf "$profile"' EXIT
flags=(--headless --disable-gpu --hide-scrollbars --no-first-run --disable-background-networking
  --user-data-dir="$profile" --enable-logging=stderr)
[ "$(id -u)" != 0 ] || flags+=(--no-sandbox)

browse() { timeout -k 5 90 chromium "${flags[@]}" "$@" 2>"$folder/browser.log"; }
complaints() { grep 'CONSOLE' "$folder/browser.log"; }

# That complaints are seen: a page under the same policy that asks for an image.
head -n 6 "$page" >"$folder/asks.html"
echo '<title>x</title><img src="http://127.0.0.1:9/x.png">' >>"$folder/asks.html"
browse --dump-dom "file://$folder/asks.html" >/dev/null
complaints | grep -q 'Content Security Policy' || { echo "a refused image is not seen"; exit 1; }

browse --dump-dom "file://$page" >"$folder/dom.html" || { cat "$folder/browser.log"; exit 1; }
if complaints; then exit 1; fi
grep -q '<section' "$folder/dom.html" || { echo "no pool in the DOM"; exit 1; }
luajit "$root/tests/reports/page.lua" "$root" "$dump" "$folder/dom.html" || exit 1

# The policy forbids scripts; a copy without it measures itself, in a frame: a window is not made
# narrower than 500 pixels but for a screenshot.
measure='<script>
  const wide = [...document.querySelectorAll("html, section, .wide")].filter(e => e.scrollWidth > e.clientWidth)
  parent.postMessage("window " + innerWidth + ", too wide: " + wide.map(e => e.className || e.tagName), "*")
</script>'
grep -v 'Content-Security-Policy' "$page" | sed '$d' | sed '$d' >"$folder/measured.html"
echo "$measure</body></html>" >>"$folder/measured.html"

for width in 1280 400; do
  cat >"$folder/frame.html" <<END
<!DOCTYPE html><title>nothing</title><script>addEventListener("message", e => { document.title = e.data })</script>
<iframe src="measured.html" style="border: 0; width: ${width}px; height: 900px"></iframe>
END
  browse --virtual-time-budget=5000 --dump-dom "file://$folder/frame.html" >"$folder/frame-dom.html"
  grep -q "<title>window $width, too wide: </title>" "$folder/frame-dom.html" || {
    echo "at $width pixels: $(grep -o '<title>.*</title>' "$folder/frame-dom.html")"
    exit 1
  }
  browse --window-size=$width,6000 --screenshot="$folder/$width.png" "file://$page" || exit 1
  [ -s "$folder/$width.png" ] || { echo "no screenshot"; exit 1; }
done
echo "nothing is wider than a window of 1280 and of 400 pixels; screenshots are in $folder"
