#!/usr/bin/env bash
# The three jobs on the tiny model against transformers' float32 results: fp32 has to agree (summed
# log-probs within 1e-3, accuracy and perplexity to the printed digits, greedy tokens), bf16 is printed
# beside it.
. "$(dirname "$0")/lib.sh"

for compute in fp32 bf16; do
  [ $compute = fp32 ] && tolerance=1e-3 || tolerance=report
  for pair in score:endings perplexity:heldout_text generate:prompts; do
    name=${pair%%:*} part=${pair##*:}
    echo "$name in $compute"
    "$MPIRUN" default 2 "$MOEBIUS" run "inputs/$name.toml" --set "output.path=$work/$name-$compute" --set "model.compute=$compute" \
      --set layout.mode=colocated --set run.progress=off >"$work/stdout" 2>"$work/stderr" || { fail "$name: $(cat "$work/stderr")"; continue; }
    [ "$(value rows_failed <"$work/stdout")" = 0 ] || fail "$name: rows failed"
    "$REFERENCE_CHECK" "$part" "$work/$name-$compute" "$tolerance" || fail "$name in $compute is not what the reference says"
  done
done
# The check itself must be able to fail: the wrong tolerance is noticed.
if "$REFERENCE_CHECK" endings "$work/score-bf16" 1e-6 >/dev/null; then fail "the check accepts bf16 as exact"; fi
"$MOEBIUS" verify "$work/score-fp32" >/dev/null || fail "verify refused good results"
"$MPIRUN" default 3 "$MOEBIUS" verify "$work/score-fp32" --reshuffle --requests 20 --seed 3 || fail "--reshuffle found other bits"
finish
