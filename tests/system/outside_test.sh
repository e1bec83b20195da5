#!/usr/bin/env bash
# A job changes files in its own folder only, whatever its input and its model are named or ask for: ids that look like paths,
# a checkpoint whose index names a file elsewhere, fields of the model that name files, a template that includes one.
. "$(dirname "$0")/lib.sh"
mkdir "$work/home" "$work/tmp" "$work/secrets"
echo 'nobody may see this text' >"$work/secrets/secret"
cp -r inputs/models/tiny "$work/model"
sed -i "s,^{,{\"_name_or_path\": \"$work/secrets/secret\"\, \"auto_map\": {\"AutoConfig\": \"$work/secrets/secret\"}\, ," "$work/model/config.json"
cat >"$work/model/tokenizer_config.json" <<END
{"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "vocab_file": "$work/secrets/secret", "chat_template": "{% include '$work/secrets/secret' %}"}
END
{
  echo '{"custom_id": "../../evil", "kind": "loglikelihood", "context": "The sky is", "continuation": " blue"}'
  echo "{\"custom_id\": \"$work/evil\", \"kind\": \"generate_until\", \"context\": \"The\", \"until\": [], \"max_gen_toks\": 2}"
  echo '{"custom_id": "$(touch evil) `touch evil`; touch evil", "kind": "loglikelihood_rolling", "text": "| touch evil"}'
  echo '{"custom_id": "chat", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}}'
} >"$work/input.jsonl"
job_file=$(job "$work/input.jsonl" "$work/out")

# run CODE ARGS: one rank, every change of a file anywhere is logged, MPI's own files lie in $work/tmp.
run() {
  local code=$1 got=0
  shift
  : >"$work/log"
  TMPDIR="$work/tmp" "$MPIRUN" default 1 env HOME="$work/home" LD_PRELOAD="$IO_FAULTS" MOEBIUS_FAULT=watch@1 MOEBIUS_FAULT_DIR=/ MOEBIUS_FAULT_LOG="$work/log" \
    "$MOEBIUS" "$@" >"$work/stdout" 2>"$work/stderr" || got=$?
  [ "$got" -eq "$code" ] || fail "$*: exit code $got, expected $code: $(cat "$work/stderr")"
  local outside= file
  while read -r file; do
    case $work/ in "$file"/*) continue ;; esac   # MPI makes sure that the folders above its own are there
    case $file in "$work"/out/* | "$work"/out | "$work"/tmp | "$work"/tmp/* | /dev/shm/* | /proc/self/*) ;; *) outside+=" $file" ;; esac
  done < <(sed -n 's/^change [a-z]* //p' "$work/log")
  [ -z "$outside" ] || fail "$*: changes outside of the job's folder: $outside"
  ! grep -rqs 'nobody may see' "$work/stdout" "$work/stderr" "$work/out" || fail "$*: the secret was read"
}
run 0 run "$job_file" --set model.path="$work/model"
grep -q "^change rename $work/out/results.h5" "$work/log" || fail "the log misses results.h5: $(cat "$work/log")"
run 0 show "$work/out"
grep -q 'evil' "$work/stdout" || fail "the ids are not shown: $(cat "$work/stdout")"
h5dump -d /rows/status "$work/out/results.h5" | grep -q unsupported || fail "a template that includes a file is not refused"
[ -z "$(find "$work" . -maxdepth 1 -name '*evil*')" ] || fail "a file was made from an id"

printf '{"weight_map": {"model.norm.weight": "../secrets/secret"}}' >"$work/model/model.safetensors.index.json"
rm "$work/model/model.safetensors"
run 4 run "$job_file" --set model.path="$work/model" --set output.path="$work/out/2"
grep -q 'not the name of a file in the same folder' "$work/stderr" || fail "not said: $(cat "$work/stderr")"
finish
