#!/usr/bin/env bash
# Whole jobs with a model of every family: rows are scored and generated, and have the same bits on one rank,
# split over four and colocated on two. And a checkpoint without tokenizer.json.
. "$(dirname "$0")/lib.sh"
# Two of the lines are bad on purpose.
{ head -n 12 tests/data/mixed.jsonl; grep generate_until tests/data/mixed.jsonl | head -n 3; } >"$work/input.jsonl"

digest_of() {  # digest_of FAMILY COMPUTE RANKS [--set ...]: runs the job, prints its digest
  local family=$1 compute=$2 ranks=$3
  shift 3
  "$MPIRUN" default "$ranks" "$MOEBIUS" run "$(job "$work/input.jsonl" "$work/out-$family")" --force-new \
    --set "model.path=$work/$family" --set "model.compute=$compute" "$@" >"$work/stdout" 2>"$work/stderr" \
    || { echo "failed: $(tail -5 "$work/stderr")"; return; }
  [ "$(value rows_failed <"$work/stdout")" = 2 ] || { echo "rows failed: $(tail -5 "$work/stderr")"; return; }
  value digest <"$work/stdout"
}

for family in mixtral qwen2_moe qwen3_moe olmoe deepseek_v2 deepseek_v3; do
  compute=$([ $family = deepseek_v2 ] || [ $family = mixtral ] && echo fp32 || echo bf16)
  "$MOEBIUS" make-model "$work/$family" --family $family --hidden 64 --layers 3 --heads 4 --kv-heads 2 --head-dim 16 --experts 12 \
    --top-k 3 --width 48 --vocab 700 --context 2048 2>"$work/stderr" || { fail "make-model $family: $(cat "$work/stderr")"; continue; }
  expected=$(digest_of $family "$compute" 1)
  [ ${#expected} -eq 32 ] || { fail "$family: $expected"; continue; }
  for digest in "$(digest_of $family "$compute" 4 --set layout.mode=split)" "$(digest_of $family "$compute" 2 --set layout.mode=colocated)"; do
    [ "$digest" = "$expected" ] || fail "$family in $compute: $digest, on one rank $expected"
  done
  echo "$family in $compute: $expected"
done

# Requests of token ids do without a tokenizer; a text or a stop string is a row that says what is missing.
rm "$work/deepseek_v3/tokenizer.json"
{
  echo '{"custom_id": "ids", "kind": "loglikelihood", "context": [5, 6, 7], "continuation": [8, 9]}'
  echo '{"custom_id": "rolling", "kind": "loglikelihood_rolling", "text": [5, 6, 7]}'
  echo '{"custom_id": "generate", "kind": "generate_until", "context": [5, 6], "until": [], "max_gen_toks": 4}'
  echo '{"custom_id": "text", "kind": "loglikelihood", "context": "The sky", "continuation": [8]}'
  echo '{"custom_id": "stop", "kind": "generate_until", "context": [5, 6], "until": ["x"], "max_gen_toks": 4}'
} >"$work/ids.jsonl"
"$MPIRUN" default 2 "$MOEBIUS" run "$(job "$work/ids.jsonl" "$work/out-ids")" --set "model.path=$work/deepseek_v3" \
  >"$work/stdout" 2>"$work/stderr" || fail "no tokenizer: $(tail -5 "$work/stderr")"
[ "$(value rows_failed <"$work/stdout")" = 2 ] || fail "no tokenizer: $(cat "$work/stdout")"
"$MOEBIUS" show "$work/out-ids" >"$work/shown" || fail "show: $(cat "$work/shown")"
[ "$(grep -c 'no tokenizer.json' "$work/shown")" -ge 1 ] || fail "no tokenizer, no message: $(cat "$work/shown")"
grep -q 'bits per byte unknown' "$work/shown" || fail "bits of no bytes: $(cat "$work/shown")"
finish
