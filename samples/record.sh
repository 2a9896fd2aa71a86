#!/usr/bin/env bash
# Records samples/spans.ndjson (or the file given as $1) again.
# Needs Node >= 20.6, npm and redis-server; everything else is fetched into a temporary directory and removed again.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
output="$(realpath -m "${1:-"$here/spans.ndjson"}")"
work="$(mktemp -d)"
redis_pid=''
recorder_pid=''

cleanup() {
  for pid in $recorder_pid $redis_pid; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir "$work/redis"
cp -R "$here/recorder" "$work/recorder"
cd "$work/recorder"
npm install --no-package-lock --no-audit --no-fund

port="$(node -e "
  const server = require('node:net').createServer();
  server.listen(0, '127.0.0.1', () => { console.log(server.address().port); server.close(); });
")"
redis-server --port "$port" --bind 127.0.0.1 --dir "$work/redis" --save '' --appendonly no >"$work/redis.log" &
redis_pid=$!
# By its process id: should another server have taken the port in between, it is not ours to write to.
for _ in {1..100}; do
  if [[ "$(redis-cli -p "$port" info server 2>/dev/null || true)" == *"process_id:$redis_pid"$'\r'* ]]; then
    ready=1
    break
  fi
  sleep 0.1
done
if [[ -z "${ready:-}" ]]; then
  cat "$work/redis.log" >&2
  exit 1
fi

node record.js "redis://127.0.0.1:$port" "$output" &
recorder_pid=$!
status=0
wait "$recorder_pid" || status=$?
recorder_pid=''
exit "$status"
