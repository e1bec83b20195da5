#!/usr/bin/env bash
# Bad rows are data; bad jobs and bad checkpoints are one line on stderr, from one rank, and the
# documented exit code on all of them.
. "$(dirname "$0")/lib.sh"

# expect_error CODE PATTERN RANKS ARGS...: exit code, one line from moebius that matches.
expect_error() {
  local code=$1 pattern=$2 ranks=$3 got=0 lines
  shift 3
  "$MPIRUN" default "$ranks" "$MOEBIUS" "$@" >"$work/stdout" 2>"$work/stderr" || got=$?
  [ "$got" -eq "$code" ] || fail "$*: exit code $got, expected $code: $(cat "$work/stderr")"
  lines=$(grep -c '^moebius: ' "$work/stderr" || true)
  [ "$lines" -eq 1 ] || fail "$*: $lines message lines, expected 1: $(cat "$work/stderr")"
  grep '^moebius: ' "$work/stderr" | grep -qE "$pattern" || fail "$*: message lacks /$pattern/: $(cat "$work/stderr")"
}
good=$(job tests/data/mixed.jsonl "$work/out")

expect_error 2 'modle.*model' 3 run "$good" --set modle.path=x
sed 's/\[run\]/[runn]/' "$good" >"$work/unknown.toml"
expect_error 2 'runn.*run' 3 run "$work/unknown.toml"
expect_error 2 'no_such_job' 2 run "$work/no_such_job.toml"
expect_error 2 'defrag' 3 run "$good" --set schedule.scheduler=fastest
expect_error 2 'ranks' 3 run "$good" --set layout.attention_ranks=3 --set layout.expert_ranks=3
expect_error 2 'pipeline.*cannot run here.*split' 2 run "$good" --set schedule.execution=pipeline --set layout.mode=colocated
expect_error 2 'not a valid command line' 3 run "$good" --no-such-option
expect_error 2 'walltime soon' 3 run "$good" --walltime soon
expect_error 4 'nowhere' 3 run "$good" --set model.path="$work/nowhere"
expect_error 4 'nothing_here' 3 run "$good" --set input.path="$work/nothing_here.jsonl"
: >"$work/empty.jsonl"
expect_error 4 'empty.jsonl' 3 run "$good" --set input.path="$work/empty.jsonl"

# Checkpoints: truncated, corrupt header, one tensor missing, another family.
broken_model() { rm -rf "$work/model"; cp -r inputs/models/tiny "$work/model"; }
broken_model; truncate -s 1000000 "$work/model/model.safetensors"
expect_error 4 'model.safetensors' 3 run "$good" --set model.path="$work/model"
broken_model; printf '\xff\xff\xff\xff\xff\xff\xff\x7f' | dd of="$work/model/model.safetensors" conv=notrunc status=none
expect_error 4 'model.safetensors' 3 run "$good" --set model.path="$work/model"
broken_model; sed -i 's/model\.norm\.weight/model.nrom.weight/' "$work/model/model.safetensors"
expect_error 4 'model.norm.weight' 3 run "$good" --set model.path="$work/model"
broken_model; sed -i 's/"qwen3_moe"/"gpt2"/' "$work/model/config.json"
expect_error 4 'gpt2' 3 run "$good" --set model.path="$work/model"
broken_model; echo '{' >"$work/model/tokenizer.json"
expect_error 4 'tokenizer.json' 3 run "$good" --set model.path="$work/model"

# Results are not overwritten unasked.
"$MPIRUN" default 2 "$MOEBIUS" run "$good" >/dev/null 2>&1 || fail "the good job failed"
expect_error 2 'run.seed was 0 and is 7.*force-new' 2 run "$good" --set run.seed=7

# Rows: one line each, the job ends 0, or 3 under strict.
{
  echo '{"custom_id": "good", "kind": "loglikelihood", "context": "The sky is", "continuation": " blue"}'
  echo '{"custom_id": "cut", "kind": '
  printf '{"custom_id": "utf8", "kind": "loglikelihood_rolling", "text": "\xff\xfe"}\n'
  echo '{"custom_id": "type", "kind": "loglikelihood", "context": 7, "continuation": " x"}'
  echo '{"custom_id": "kind", "kind": "embed", "text": "x"}'
  echo '{"custom_id": "ids", "kind": "loglikelihood", "context": [4096], "continuation": " x"}'
  printf '{"custom_id": "long", "kind": "generate_until", "context": "x", "until": [], "max_gen_toks": 100000}\n'
  printf '{"custom_id": "cut-context", "kind": "loglikelihood", "context": "%s", "continuation": " x"}\n' "$(yes word | head -3000 | tr '\n' ' ')"
  echo '{"custom_id": "chat", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}}'
  echo '{"custom_id": "tools", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "Hi"}], "tools": [{}]}}'
} >"$work/rows.jsonl"
rows_job=$(job "$work/rows.jsonl" "$work/rows_out")
"$MPIRUN" default 3 "$MOEBIUS" run "$rows_job" >"$work/stdout" 2>"$work/stderr" || fail "bad rows ended the job: $(cat "$work/stderr")"
[ "$(value rows <"$work/stdout")" = 10 ] || fail "rows: $(cat "$work/stdout")"
[ "$(value rows_failed <"$work/stdout")" = 7 ] || fail "failed rows: $(cat "$work/stdout")"
"$MOEBIUS" show "$work/rows_out" --rows 10 >"$work/shown" || fail "show failed"
for status in bad_json bad_utf8 bad_field unknown_kind bad_token too_long truncated unsupported; do
  grep -q "$status" "$work/shown" || fail "no row with status $status: $(cat "$work/shown")"
done
got=0
"$MPIRUN" default 2 "$MOEBIUS" run "$rows_job" --force-new --strict >/dev/null 2>&1 || got=$?
[ "$got" -eq 3 ] || fail "--strict gave exit code $got, expected 3"
"$MOEBIUS" verify "$work/rows_out" >/dev/null 2>&1 || fail "verify refused good results"
block=$(ls "$work"/rows_out/blocks/*.h5 | head -1)
printf '\x55' | dd of="$block" bs=1 seek=3000 conv=notrunc status=none
got=0
"$MOEBIUS" verify "$work/rows_out" >/dev/null 2>"$work/stderr" || got=$?
[ "$got" -eq 4 ] || fail "verify of a damaged block gave exit code $got, expected 4: $(cat "$work/stderr")"
finish
