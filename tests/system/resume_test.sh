#!/usr/bin/env bash
# Running a job again: a finished one has nothing to do, a stopped one goes on with what is missing, a changed one is
# refused with what differs, and of two jobs on one folder the second is told who writes there.
. "$(dirname "$0")/lib.sh"
sed -n 1,20p inputs/data/endings.jsonl >"$work/input.jsonl"
job_file=$(job "$work/input.jsonl" "$work/out")
expected=

# run CODE RANKS ARGS...: the job; leaves stdout and stderr in $work.
run() {
  local code=$1 ranks=$2 got=0
  shift 2
  "$MPIRUN" default "$ranks" "$MOEBIUS" run "$job_file" --set run.rows_per_block=4 "$@" >"$work/stdout" 2>"$work/stderr" || got=$?
  [ "$got" -eq "$code" ] || fail "$ranks ranks, $*: exit code $got, expected $code: $(cat "$work/stderr")"
  [ "$code" -ne 0 ] || [ "$(value digest <"$work/stdout")" = "${expected:=$(value digest <"$work/stdout")}" ] || fail "$ranks ranks, $*: other bits"
}
says() { grep -qE "$1" "$work/stderr" || fail "not said: /$1/ in: $(cat "$work/stderr")"; }
counts() { [ "$(value "$1" <"$work/stdout")" = "$2" ] || fail "$1 is $(value "$1" <"$work/stdout"), expected $2"; }

run 0 2
[ ! -e "$work/out/lock" ] || fail "a finished job keeps its lock"
run 0 3 --set layout.mode=colocated
says 'is finished: all 80 rows were committed'
counts requests 0
[ "$(grep -c '"kind":"start"' "$work/out/journal")" = 1 ] || fail "a finished folder was written to"

# Blocks, master and the last record lost: only their rows are computed again, on other ranks.
rm "$(ls "$work"/out/blocks/*.h5 | head -1)" "$work/out/results.h5"
: >"$(ls "$work"/out/blocks/*.h5 | tail -1)"
head -c -3 "$work/out/journal" >"$work/journal" && cp "$work/journal" "$work/out/journal"
printf 'half' >"$work/out/blocks/r7-0-0.h5.tmp"
run 0 3 --set schedule.scheduler=mtfs --set limits.max_tokens_in_flight=50
says 'resume: .*is missing; its 4 rows are computed again'
says 'resume: .*differ.*; its 4 rows are computed again'
says 'resume: .* were a record that had not been committed'
says 'resume: 72 rows of .* are committed; 2 requests are left \(restart 1\)'
counts rows_before 72
counts restart_count 1
counts conserved true
"$MOEBIUS" verify "$work/out" >"$work/verified" || fail "verify: $(cat "$work/verified")"
h5dump -a restart_count "$work/out/results.h5" | grep -q '(0): 1$' || fail "the results do not say how often the job was resumed"

# Another job, another input, nothing is touched; what does not matter for bits may differ.
before=$(cat "$work"/out/journal "$work"/out/blocks/*.h5 | cksum)
run 2 2 --set model.compute=bf16 --set run.seed=3 --set limits.kv_tokens=4096
says 'model.compute was "fp32" and is "bf16"; run.seed was 0 and is 3\) .*--force-new'
echo >>"$work/input.jsonl"
run 2 2
says 'the input was [0-9a-f]{16} \([0-9]+ bytes\) and is [0-9a-f]{16} \([0-9]+ bytes\)'
cp -r inputs/models/tiny "$work/model"
printf ' ' >>"$work/model/tokenizer.json"
sed -n 1,20p inputs/data/endings.jsonl >"$work/input.jsonl"
run 2 2 --set model.path="$work/model"
says 'tokenizer.json was [0-9a-f]{16} and is'
[ "$(cat "$work"/out/journal "$work"/out/blocks/*.h5 | cksum)" = "$before" ] || fail "a refused job changed the folder"
run 0 1 --force-new
counts rows_before 0

# Two jobs at once: the first one is stopped in the middle by SIGSTOP, so that it is certainly there.
sed -E 's/"custom_id": "/&again-/' "$work/input.jsonl" >"$work/more.jsonl"
sed -n 1,25p inputs/data/heldout_text.jsonl >>"$work/more.jsonl"
slow_job=$(job "$work/more.jsonl" "$work/slow")
"$MOEBIUS" run "$slow_job" --set run.rows_per_block=1 >"$work/slow_stdout" 2>"$work/slow_stderr" &
slow=$!
for _ in $(seq 400); do grep -q '"kind":"block"' "$work/slow/journal" 2>/dev/null && break; read -r -t 0.02 <> <(:) || true; done
kill -STOP "$slow"
job_file=$slow_job run 2 2
says "cannot use $work/slow as output.path \(another job writes there: host $(hostname), pid $slow, since"
kill -CONT "$slow"
wait "$slow" || fail "the first of two jobs did not end well: $(cat "$work/slow_stderr")"

# A job whose rank 0 is dead makes room, and says so.
rm -rf "$work/slow"
"$MOEBIUS" run "$slow_job" --set run.rows_per_block=1 >/dev/null 2>&1 &
slow=$!
for _ in $(seq 400); do grep -q '"kind":"block"' "$work/slow/journal" 2>/dev/null && break; read -r -t 0.02 <> <(:) || true; done
kill -KILL "$slow"
wait "$slow" 2>/dev/null || true
whole=$(value digest <"$work/slow_stdout")
expected=$whole job_file=$slow_job run 0 2
says "did not come to its end \(host $(hostname), pid $slow"

run 2 2 --set output.path=/proc/moebius
says '/proc/moebius'
finish
