#!/usr/bin/env bash
# A job in three shards, each with another rank count, one killed and run again, joined by `moebius merge`: the rows and
# the digest of the run that was never divided. What is no whole set of shards is refused, and the message names what lacks.
. "$(dirname "$0")/lib.sh"
cat tests/data/mixed.jsonl >"$work/input.jsonl"
sed -n 1,12p inputs/data/endings.jsonl >>"$work/input.jsonl"
job_file=$(job "$work/input.jsonl" "$work/out")

# run CODE RANKS ARGS...: the job; leaves stdout and stderr in $work.
run() {
  local code=$1 ranks=$2 got=0
  shift 2
  "$MPIRUN" default "$ranks" "$MOEBIUS" run "$job_file" --set run.rows_per_block=4 "$@" >"$work/stdout" 2>"$work/stderr" || got=$?
  [ "$got" -eq "$code" ] || fail "$ranks ranks, $*: exit code $got, expected $code: $(cat "$work/stderr")"
}
merge() {  # merge CODE ARGS...
  local code=$1 got=0
  shift
  "$MOEBIUS" merge "$@" >"$work/stdout" 2>"$work/stderr" || got=$?
  [ "$got" -eq "$code" ] || fail "merge $*: exit code $got, expected $code: $(cat "$work/stderr")"
}
says() { grep -qE "$1" "$work/stderr" || fail "not said: /$1/ in: $(cat "$work/stderr")"; }
counts() { [ "$(value "$1" <"$work/stdout")" = "$2" ] || fail "$1 is $(value "$1" <"$work/stdout"), expected $2"; }

run 0 2 --set output.path="$work/laptop"
digest=$(value digest <"$work/stdout")
rows=$(value rows <"$work/stdout")

run 0 1 --shard 0/3
run 0 3 --shard 2/3 --set schedule.scheduler=mtfs
merge 2 "$work/out"
says 'missing: 1/3'

# Shard 1 is killed in the middle of its blocks, then goes on with other ranks.
LD_PRELOAD=$IO_FAULTS MOEBIUS_FAULT=kill@50 MOEBIUS_FAULT_DIR=$work/out/shard-1-of-3 "$MOEBIUS" run "$job_file" --shard 1/3 \
  --set run.rows_per_block=4 >"$work/stdout" 2>"$work/stderr" && fail "the run of shard 1 was not killed"
grep -q '"kind":"block"' "$work/out/shard-1-of-3/journal" || fail "shard 1 was killed before it had committed anything"
merge 2 "$work/out"
says 'shard 1/3 in .*/out/shard-1-of-3 is not finished .*--shard 1/3'
run 0 2 --shard 1/3 --set layout.mode=colocated
[ "$(value rows_before <"$work/stdout")" -gt 0 ] || fail "shard 1 did not go on with what it had"
[ "$(value restart_count <"$work/stdout")" = 1 ] || fail "shard 1 was not resumed"

merge 0 "$work/out"
counts digest "$digest"
counts rows "$rows"
counts blocks_copied 0
"$MOEBIUS" verify "$work/out" >"$work/verified" || fail "verify: $(cat "$work/verified")"
"$MOEBIUS" compare "$work/laptop" "$work/out" >"$work/compared" 2>&1 || fail "compare: $(cat "$work/compared")"
grep -q '"logprob_absolute_difference":0,' "$work/compared" || fail "other log-probs: $(cat "$work/compared")"
for folder in laptop out; do
  h5dump -d /rows/input_line -d /rows/custom_id -d /tokens/id "$work/$folder/results.h5" | tail -n +2 >"$work/$folder.dump"
done
cmp -s "$work/laptop.dump" "$work/out.dump" || fail "the merged rows are in another order"

# To the job without shards the merged folder is its own finished one, and it is whole without the folders of the shards.
merge 0 "$work/out"
says 'nothing to do'
run 0 2
says 'is finished: all'
merge 0 "$work/elsewhere" "$work"/out/shard-2-of-3 "$work"/out/shard-0-of-3 "$work"/out/shard-1-of-3
counts digest "$digest"
# A sample of a shard computed again is compared with the rows of that shard.
"$MPIRUN" default 2 "$MOEBIUS" verify "$work/out/shard-1-of-3" --reshuffle --requests 4 >"$work/verified" 2>&1 || fail "reshuffle: $(cat "$work/verified")"
grep -qE '^[1-9][0-9]* rows computed again .* 0 differ' "$work/verified" || fail "reshuffle: $(cat "$work/verified")"

# A shard of another job, a shard resumed as another one, no shard at all.
run 2 1 --shard 0/3 --set run.seed=5
run 2 1 --set output.path="$work/out/shard-0-of-3"
says 'the shard was 0/3 and is not there'
run 0 1 --shard 2/4 --set run.seed=5
merge 2 "$work/none" "$work"/out/shard-*-of-*
says 'divided in two ways'
run 2 1 --shard 3/3
says 'shard 3/3 cannot be used'
merge 2 "$work/none" "$work/laptop"
says 'undivided run'
rm -r "$work"/out/shard-*
"$MOEBIUS" verify "$work/out" >"$work/verified" || fail "verify without the shards: $(cat "$work/verified")"
finish
