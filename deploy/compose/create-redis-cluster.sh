#!/bin/sh
# Makes one Redis Cluster of empty nodes, all of them masters: create-redis-cluster.sh HOST:PORT ... (three or more).
# Run again, it introduces the nodes to each other once more, which mends a cluster whose nodes came back with other addresses.
set -eu

SLOTS=16384
WAIT_SECONDS=60

# ask HOST:PORT COMMAND ...
ask() {
  node=$1
  shift
  redis-cli -h "${node%:*}" -p "${node##*:}" -e "$@"
}

# Port on which a node talks to the others, as it says itself.
bus_port() {
  ask "$1" CLUSTER NODES | sed -n '/myself/s/.*@\([0-9]*\).*/\1/p'
}

# Whether each node sees all of them, and all slots served.
is_ok() {
  for node in "$@"; do
    ask "$node" CLUSTER INFO | grep -q cluster_state:ok || return 1
    [ "$(ask "$node" CLUSTER NODES | grep -c ' connected')" -ge "$#" ] || return 1
  done
}

index=0
for node in "$@"; do
  case $(ask "$node" CLUSTER INFO) in
    *cluster_slots_assigned:0*)
      ask "$node" CLUSTER SET-CONFIG-EPOCH $((index + 1))
      ask "$node" CLUSTER ADDSLOTSRANGE $((SLOTS * index / $#)) $((SLOTS * (index + 1) / $# - 1))
      ;;
  esac
  index=$((index + 1))
done

for node in "$@"; do
  # CLUSTER MEET takes addresses, not names.
  address=$(getent ahostsv4 "${node%:*}" | sed -n '1s/ .*//p')
  ask "$1" CLUSTER MEET "$address" "${node##*:}" "$(bus_port "$node")"
done

waited=0
until is_ok "$@"; do
  [ "$waited" -lt "$WAIT_SECONDS" ] || { echo "no cluster after $WAIT_SECONDS s" >&2; exit 1; }
  sleep 1
  waited=$((waited + 1))
done
echo "cluster of $# nodes is up"
