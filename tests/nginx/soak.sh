#!/usr/bin/env bash
# The tests around nginx that take long: fan-out for SECONDS, and the totals again and again as long.
# usage: soak.sh [SECONDS]
set -u
here=$(dirname "$0") seconds=${1:-60}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bash "$here/channel.sh" "$dir/channel" "$seconds" 500 || exit 1
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ]; do
  rm -rf "$dir/totals"
  bash "$here/totals.sh" "$dir/totals" || exit 1
done
