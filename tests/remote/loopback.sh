#!/bin/sh
# Devices lent over the loopback interface: the same logits as here, nothing without the token, and the same training on two as
# on one.
# usage: sh tests/remote/loopback.sh SCGS DATASETS
# SCGS is a binary with the feature `remote`: cargo build --release -p scgs-cli --features remote
set -eu
scgs=$1
datasets=$2
work=$(mktemp -d)
servers=
# Whatever ends the script ends the servers too.
trap '[ -z "$servers" ] || kill $servers 2>/dev/null || true; rm -rf "$work"' EXIT INT TERM

# Starts a server, whose address is then in $address.
serve() {
  SCGS_REMOTE_TOKEN="the right token" "$scgs" serve --device flex --listen 127.0.0.1:0 >"$work/$1.log" 2>&1 &
  servers="$servers $!"
  address=
  for _ in $(seq 100); do
    address=$(sed -n 's/.*--device remote:ws:\/\///p' "$work/$1.log")
    [ -z "$address" ] || break
    kill -0 $! || { cat "$work/$1.log"; exit 1; }
    sleep 0.1
  done
  case $address in
    127.0.0.1:*) ;;
    *) echo "the server does not say where it listens:"; cat "$work/$1.log"; exit 1 ;;
  esac
}

predict() {
  "$scgs" predict --quiet --arch efficientnet-lite0 --weights "$datasets/weights/efficientnet_lite0.safetensors" \
    --images "$work/pictures" --device "$1" --out "$work/$2.safetensors" >"$work/$2.log" 2>&1
}

mkdir "$work/pictures"
for name in dolphin dam1 sea5; do cp "$datasets/habitat/bg/water/$name.jpg" "$work/pictures"; done

serve first
device=remote:ws://$address

predict flex local
SCGS_REMOTE_TOKEN="the right token" predict "$device" remote || { cat "$work/remote.log"; exit 1; }
echo "remote prediction: done"

for token in "another token" ""; do
  if SCGS_REMOTE_TOKEN=$token predict "$device" refused; then
    echo "FAILED: the token '$token' was taken"
    exit 1
  fi
  grep -q "refuses the token" "$work/refused.log" || { cat "$work/refused.log"; exit 1; }
  [ ! -e "$work/refused.safetensors" ]
done
echo "wrong token, no token: refused"
if grep -q "right token" "$work"/*.log; then
  echo "FAILED: the token stands in a log"
  exit 1
fi

if SCGS_REMOTE_TOKEN= "$scgs" serve --listen 127.0.0.1:0 >"$work/open.log" 2>&1; then
  echo "FAILED: a server without a token started"
  exit 1
fi
echo "a server without a token: refused"

# Three rows of 1000 logits end each file.
numbers() { tail -c 12000 "$1" | od -An -v -w4 -t f4; }
numbers "$work/local.safetensors" >"$work/local.txt"
numbers "$work/remote.safetensors" >"$work/remote.txt"
# The lent device has burn's own convolution, the one here another: the last bits differ.
paste "$work/local.txt" "$work/remote.txt" | awk '
  { difference = $1 > $2 ? $1 - $2 : $2 - $1; if (difference > largest) largest = difference
    size = $1 > 0 ? $1 : -$1; if (size > logit) logit = size }
  END { printf "%d logits up to %.3f, largest difference %.2e\n", NR, logit, largest
    exit !(NR == 3000 && logit > 1 && largest < 1e-3) }'

# A step of two batches: both on the first device, then one on each.
serve second
train() {
  runs=$1
  shift
  SCGS_REMOTE_TOKEN="the right token" "$scgs" run --quiet --dataset habitat --datasets "$datasets" --methods erm \
    --set habitat.size=48 --set habitat.train=96 --set habitat.val=8 --set habitat.test=8 \
    --set backbone.input_size=96 --set train.mode=full --set train.epochs=1 \
    --set train.batch=12 --set train.accumulate=2 --set train.learning_rate=1e-4 \
    --device "$device" --runs "$work/$runs" "$@" >"$work/$runs.log" 2>&1 || { cat "$work/$runs.log"; exit 1; }
  cat "$work/$runs"/habitat/*/seed-0/1-erm/metrics.jsonl | sed 's/.*"loss":\([^,}]*\).*/\1/' >"$work/$runs.losses"
}
train one
train two --data-parallel "remote:ws://$address"
# The parameters lie otherwise in memory on the second device: the last bits differ.
paste "$work/one.losses" "$work/two.losses" | awk '
  { difference = $1 > $2 ? $1 / $2 - 1 : $2 / $1 - 1; if (difference > largest) largest = difference }
  END { printf "trained on one lent device and on two: %d losses, largest relative difference %.2e\n", NR, largest
    exit !(NR == 2 && largest < 1e-5) }'
