#!/usr/bin/env bash
# A long run of the fuzzers under address and undefined-behaviour sanitizers, for people; CI runs a short one.
#   tests/fuzz/campaign.sh MINUTES [SEED]          default: 10 minutes, the seed from the clock
# Prints the number of inputs. A finding ends it with the options that repeat the input.
set -eu
cd "$(dirname "$0")/../.."
minutes=${1:-10}
seed=${2:-$(date +%s)}
cmake --preset sanitize >/dev/null
cmake --build --preset sanitize --target readers_fuzz >/dev/null
echo "seed $seed, $minutes minutes"
[ -d /dev/shm ] && export TMPDIR=/dev/shm   # an input is a few small files
ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
  build/sanitize/tests/fuzz/readers_fuzz --seconds $((minutes * 60)) --seed "$seed"
