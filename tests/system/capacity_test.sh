#!/usr/bin/env bash
# Capacity from the command line: what is dropped is not computed, outputs name it, and a capacity that nothing reaches changes no bit.
. "$(dirname "$0")/lib.sh"
job_file=$(job tests/data/mixed.jsonl "$work/out")

run() {  # run RANKS [--set ...]: leaves the summary in $work/stdout
  local ranks=$1
  shift
  "$MPIRUN" default "$ranks" "$MOEBIUS" run "$job_file" --force-new --set layout.mode=colocated "$@" >"$work/stdout" 2>"$work/stderr" ||
    fail "$*: $(tail -5 "$work/stderr")"
  [ "$(value conserved <"$work/stdout")" = true ] || fail "$*: rows sent, computed and received differ"
}
run 1
expected=$(value digest <"$work/stdout")
run 2 --set capacity.method=drop --set capacity.gamma=100
[ "$(value digest <"$work/stdout")" = "$expected" ] || fail "a capacity that nothing reaches changes the digest"
[ "$(value pairs_dropped <"$work/stdout")" = 0 ] || fail "a capacity that nothing reaches drops pairs"
for method in drop expanded_drop one_shot reroute; do
  run 2 --set capacity.method=$method --set capacity.gamma=0.5 --set capacity.min_mean_load=1
  [ "$(value pairs_dropped <"$work/stdout")" -gt 0 ] || fail "$method drops nothing"
  grep -q "capacity $method: .* outputs depend on micro-batches" "$work/stderr" || fail "$method: people are not told"
  h5dump -a capacity "$work/out/results.h5" | grep -q "$method, gamma 0.5, metric score" || fail "$method: the results do not say so"
  h5dump -d /experts/capacity/dropped "$work/out/results.h5" | grep -q '(0): [1-9]' || fail "$method: the results do not count dropped pairs"
done
[ "$(value pairs_added <"$work/stdout")" -gt 0 ] || fail "reroute finds no other expert"
run 2 --set schedule.execution=lockstep --set capacity.method=expanded_drop --set capacity.gamma=0.5 --set capacity.min_mean_load=1
[ "$(value pairs_added <"$work/stdout")" -gt 0 ] || fail "in lock-step no rows are added to local experts"

# Two runs compared: with itself nothing differs; with a capped run it does, in log-probs, KL and agreement.
for i in $(seq 1 12); do
  printf '{"custom_id": "e%d", "url": "/v1/completions", "body": {"prompt": "the cat sat on the mat and %d dogs ran over a red hill", "echo": true, "max_tokens": 0, "logprobs": 5, "temperature": 0}}\n' "$i" "$i"
done >"$work/echo.jsonl"
job_file=$(job "$work/echo.jsonl" "$work/echo")
run 1 --set limits.prefix_cache=false
run 1 --set limits.prefix_cache=false --set output.path="$work/capped" --set capacity.method=drop --set capacity.gamma=0.5 --set capacity.min_mean_load=0
"$MOEBIUS" compare "$work/echo" "$work/echo" >"$work/stdout"
[ "$(value kl <"$work/stdout") $(value top1_agreement <"$work/stdout") $(value rows <"$work/stdout")" = "0 1.000000 12" ] || fail "a run differs from itself: $(cat "$work/stdout")"
"$MOEBIUS" compare "$work/echo" "$work/capped" >"$work/stdout"
awk -v kl="$(value kl <"$work/stdout")" -v top="$(value top1_agreement <"$work/stdout")" 'BEGIN { exit !(kl > 0.001 && top < 1) }' ||
  fail "a capped run is like the others: $(cat "$work/stdout")"
finish
