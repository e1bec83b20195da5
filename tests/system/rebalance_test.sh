#!/usr/bin/env bash
# Experts move while the job runs: the digest stays that of a run in which they stay, also where the job was killed.
. "$(dirname "$0")/lib.sh"
. tests/support/kills.sh
job_file=$(job tests/data/mixed.jsonl "$work/out")
force=(--set rebalance.interval_s=0.002 --set rebalance.force=true)
prefix=()

run() {  # run RANKS [--set ...]: leaves the summary in $work/stdout
  local ranks=$1
  shift
  "$MPIRUN" default "$ranks" "${prefix[@]}" "$MOEBIUS" run "$job_file" --force-new "$@" >"$work/stdout" 2>"$work/stderr" || fail "$*: $(tail -5 "$work/stderr")"
  [ "$(value conserved <"$work/stdout")" = true ] || fail "$*: rows sent, computed and received differ"
}
moved() {  # moved RANKS [--set ...]: same bits, and experts did move
  run "$@" "${force[@]}"
  [ "$(value digest <"$work/stdout")" = "$expected" ] || fail "$*: digest $(value digest <"$work/stdout"), expected $expected"
  changes=$((changes + $(value generations <"$work/stdout")))
  [ "$(value generations <"$work/stdout")" -gt 0 ] || fail "$*: nothing moved"
}

run 1
expected=$(value digest <"$work/stdout")
changes=0
for seed_ranks in 2 3 4 5; do moved $seed_ranks --set layout.mode=colocated; done
moved 3 --set layout.attention_ranks=1
moved 4 --set layout.attention_ranks=2 --set rebalance.spare_places=1
moved 5 --set layout.attention_ranks=2 --set replicas.ratio=1.5
moved 3 --set layout.mode=colocated --set placement.emulated_slowdown=[1,1,20]
prefix=(env MOEBIUS_SHARED_MEMORY=off)
moved 3 --set layout.mode=colocated
moved 4
prefix=(env MOEBIUS_RANKS_PER_NODE=2)
moved 4 --set layout.mode=colocated
prefix=()
echo "$changes changes of the placement, all digests are $expected"

# What the results tell of it.
moved 3 --set layout.mode=colocated
generations=$(value generations <"$work/stdout")
h5dump -H -d /experts/placement "$work/out/results.h5" | grep -q "SIMPLE { ( $((generations + 1)), " || fail "/experts/placement has not $((generations + 1)) generations"
h5dump -H -d /rebalance/moves "$work/out/results.h5" | grep -q "SIMPLE { ( $generations )" || fail "/rebalance has not $generations changes"
[ "$("$MOEBIUS" show "$work/out" | grep -c '^placement [0-9]*: after .* experts moved')" -eq "$generations" ] || fail "moebius show does not list $generations changes"
grep -q "placement: $generations changes" "$work/stderr" || fail "the summary does not tell: $(cat "$work/stderr")"

# By their timelines, no rank spends longer on it at a time than an expert call takes. Other programs may take the core away within
# either.
short_stalls() {  # short_stalls RANKS [--set ...]
  local attempt
  for attempt in 1 2 3 4; do
    run "$@" --set layout.mode=colocated --set run.timeline=true
    [ "$(value generations <"$work/stdout")" -gt 0 ] || fail "$*: nothing moved"
    "$RECORDING_CHECK" "$work/out" moving >"$work/found" && break
    [ $attempt -lt 4 ] || fail "$*: $(cat "$work/found")"
  done
  cat "$work/found"
}
short_stalls 3 "${force[@]}"

# Killed while experts move, then resumed by other ranks.
kills=0
for operation in 4 7 12 17 22; do
  code=0
  "$MPIRUN" default 3 env LD_PRELOAD="$IO_FAULTS" MOEBIUS_FAULT="job@$operation" MOEBIUS_FAULT_RANK=$((operation % 3)) MOEBIUS_FAULT_DIR="$work/killed" \
    MOEBIUS_FAULT_LOG="$work/log" "$MOEBIUS" run "$job_file" --set output.path="$work/killed" --set layout.mode=colocated --set run.rows_per_block=4 "${force[@]}" \
    --set rebalance.interval_s=0.0005 >"$work/stdout" 2>"$work/stderr" || code=$?
  [ $code -eq 0 ] || kills=$((kills + 1))
  end_survivors "$work/log"
  "$MPIRUN" default $((operation % 2 * 2 + 2)) "$MOEBIUS" run "$job_file" --set output.path="$work/killed" --set layout.mode=colocated "${force[@]}" \
    >"$work/stdout" 2>"$work/stderr" || fail "resume after operation $operation: $(tail -5 "$work/stderr")"
  [ "$(value digest <"$work/stdout")" = "$expected" ] || fail "killed at operation $operation: other bits"
  rm -rf "$work/killed"
done
[ $kills -ge 2 ] || fail "only $kills runs were killed"  # a rank that got few lines has few operations

# Whether anything moves at all is decided by loads, in slow motion, where the speed of ranks is given: where the placement was planned for these loads and
# ranks are alike, nothing does; where one takes twice as long, experts leave it.
decided=(--set layout.mode=colocated --set placement.planner=trace_lpt --set placement.trace="$work/trace" --set placement.trace_steps=1000
  --set rebalance.interval_s=0.02 --set rebalance.spare_places=4 --set emulation.device=custom --set emulation.flops=1.5e12 --set emulation.bytes_per_s=1e15
  --set emulation.expert_overhead_us=1 --set emulation.attention_overhead_us=1 --set emulation.link_latency_us=4 --set emulation.link_bytes_per_s=2e10
  --set emulation.dilation=100)
mixed_job=$job_file mixed_digest=$expected
. jobs/random_requests.sh
requests 400 40 '"kind":"loglikelihood_rolling","text":' '' >"$work/random.jsonl"
job_file=$(job "$work/random.jsonl" "$work/out")
short_stalls 3 --set rebalance.interval_s=0.002 --set placement.emulated_slowdown=[1,1,3]  # decided, so that a rank plans too
run 2 --set layout.mode=colocated --set placement.record_trace=true --set output.path="$work/trace"
expected=$(value digest <"$work/stdout")
run 2 "${decided[@]}"
[ "$(value generations <"$work/stdout")" = 0 ] || fail "a balanced system moved: $("$MOEBIUS" show "$work/out" | grep '^placement')"
run 2 "${decided[@]}" --set placement.emulated_slowdown=[1,2]
[ "$(value digest <"$work/stdout")" = "$expected" ] || fail "one slow rank: other bits"
[ "$(value generations <"$work/stdout")" -gt 0 ] || fail "no expert left the slow rank"
# An expert of 3 x 256 x 64 numbers of 4 bytes takes 100 x (4 us + 9.83 us) over the link.
column() { h5dump -y -w 1 -d "/rebalance/$1" "$work/out/results.h5" | sed '1,/DATA {/d' | sed -nE 's/^ *([-a-z0-9][-a-z_0-9.e+]*),?$/\1/p'; }
paste <(column moves) <(column bytes) <(column staging) <(column rank_seconds) |
  awk -v copy=1.3830e-3 '{ wanted = $1 * copy; if ($2 != $1 * 196608 || $3 < wanted / 2) bad = 1
         if ($4 !~ /nan/) { n += 1; if ($4 < 0.999 * wanted || $4 > 1.001 * wanted) bad = 1 } if (bad) { print "a change with: " $0; exit 1 } }
       END { exit bad || n == 0 }' || fail "changes do not cost what the link says"
job_file=$mixed_job expected=$mixed_digest

# A single expert rank has nobody to give experts to.
run 2 "${force[@]}"
[ "$(value digest <"$work/stdout")" = "$expected" ] || fail "one expert rank: other bits"
[ "$(value generations <"$work/stdout")" = 0 ] || fail "one expert rank: something moved"

refused() {  # refused WORDS --set ...
  local words=$1 code=0
  shift
  "$MPIRUN" default 2 "$MOEBIUS" run "$job_file" --force-new "$@" "${force[@]}" >/dev/null 2>"$work/stderr" || code=$?
  [ $code -eq 2 ] && [ "$(grep -c "$words" "$work/stderr")" -eq 1 ] || fail "$*: exit code $code: $(cat "$work/stderr")"
}
refused 'rebalance.interval_s cannot be used with schedule.execution = lockstep' --set schedule.execution=lockstep
refused 'rebalance.interval_s cannot be used with capacity.method' --set capacity.method=drop
finish
