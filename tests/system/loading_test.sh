#!/usr/bin/env bash
# Loading: every byte of a tensor is read once on a node, experts only where they are hosted, results are the
# same however the attention weights are shared, and a job that does not fit is refused with numbers.
. "$(dirname "$0")/lib.sh"
job_file=$(job tests/data/mixed.jsonl "$work/out")
digest= bytes=

# load RANKS [ENV=VALUE...] -- ARGS: sets bytes, the sum over ranks of what was read of tensors.
load() {
  local ranks=$1 settings=() found
  shift
  while [ "$1" != -- ]; do settings+=("$1"); shift; done
  shift
  "$MPIRUN" default "$ranks" env "${settings[@]}" "$MOEBIUS" run "$job_file" --force-new "$@" >"$work/stdout" 2>"$work/stderr" \
    || { fail "$ranks ranks ${settings[*]} $*: $(tail -5 "$work/stderr")"; return; }
  bytes=$(value load_bytes <"$work/stdout")
  found=$(value digest <"$work/stdout")
  [ -z "$digest" ] && digest=$found
  [ "$found" = "$digest" ] || fail "$ranks ranks ${settings[*]} $*: digest $found, expected $digest"
}
expect_bytes() { [ "$bytes" -eq "$1" ] || fail "$2: $bytes bytes of tensors were read, expected $1"; }

# The tiny model is tied: its file is the header and every tensor once.
file=inputs/models/tiny/model.safetensors
header=$(od -An -t u8 -N 8 "$file" | tr -d ' ')
tensors=$(($(stat -c %s "$file") - 8 - header))
load 1 --
expect_bytes "$tensors" "one rank"
load 3 -- --set layout.mode=colocated
expect_bytes "$tensors" "three colocated ranks of a node"
load 4 -- --set layout.attention_ranks=3 --set layout.expert_ranks=1
expect_bytes "$tensors" "three attention ranks, one expert rank"
load 4 MOEBIUS_RANKS_PER_NODE=2 -- --set layout.mode=colocated
attention=$((bytes - tensors))
[ "$attention" -gt 1000000 ] && [ "$attention" -lt "$tensors" ] || fail "two nodes read $bytes bytes, one reads $tensors"
load 3 MOEBIUS_RANKS_PER_NODE=1 -- --set layout.mode=colocated
expect_bytes $((tensors + 2 * attention)) "three nodes"
load 2 MOEBIUS_SHARED_MEMORY=off -- --set layout.mode=colocated
expect_bytes $((tensors + attention)) "two ranks that share nothing"

# Refused before anything is read or written, with what needs how much; show makes the same plan.
rm -rf "$work/out"
code=0
"$MPIRUN" default 3 env MOEBIUS_MEMORY_LIMIT=200000000 "$MOEBIUS" run "$job_file" --set limits.kv_tokens=1000000 >"$work/stdout" 2>"$work/stderr" || code=$?
[ "$code" -eq 72 ] || fail "a job that does not fit: exit code $code: $(cat "$work/stderr")"
[ "$(grep -c '^moebius: ' "$work/stderr")" -eq 1 ] || fail "not one line: $(cat "$work/stderr")"
grep -q 'does not fit on node 0 (its 3 ranks need .* MiB: KV cache .* MiB,.* there are 190.7 MiB, MOEBIUS_MEMORY_LIMIT) lower limits.kv_tokens' "$work/stderr" \
  || fail "unclear: $(cat "$work/stderr")"
[ ! -e "$work/out" ] || fail "a refused job left results behind"
MOEBIUS_MEMORY_LIMIT=200000000 "$MOEBIUS" show "$job_file" --ranks 3 --set limits.kv_tokens=1000000 >"$work/shown"
grep -q 'memory of node 0 with 3 ranks: .* 190.7 MiB available (MOEBIUS_MEMORY_LIMIT): does not fit' "$work/shown" || fail "show: $(cat "$work/shown")"
needs_of_run=$(sed -nE 's/.*3 ranks need ([0-9.]+ MiB).*/\1/p' "$work/stderr")
grep -q "ranks: $needs_of_run needed" "$work/shown" || fail "run needs $needs_of_run, show says: $(grep needed "$work/shown")"
"$MOEBIUS" show "$job_file" --ranks 3 | grep -q ': fits' || fail "the tiny model does not fit on this machine"
finish
