#!/usr/bin/env bash
# Kills at seeded points, each followed by a run with other ranks: no row is lost and none is there twice, and no process is
# left over. Use: kill_test.sh [KILLS [SEED]]
. "$(dirname "$0")/lib.sh"
. tests/support/kills.sh
num_kills=${1:-200} seed=${2:-1}

"$MOEBIUS" run "$(kills_job "$work/undisturbed")" --set run.rows_per_block=1 >"$work/stdout" 2>"$work/stderr" || { cat "$work/stderr"; exit 1; }
digest=$(value digest <"$work/stdout")
# Two chains run beside each other.
lanes=()
for lane in 0 1; do
  kill_chains $((seed * 2 + lane)) $((num_kills / 2)) "$digest" "$work/report-$lane" >"$work/lane-$lane" 2>&1 &
  lanes+=($!)
done
for lane in 0 1; do wait "${lanes[lane]}" || fail "$(cat "$work/lane-$lane")"; done
kills=$(cat "$work"/report-* | wc -l)
[ "$kills" -ge "$num_kills" ] || fail "only $kills runs were killed, $num_kills were wanted"
echo "$kills runs killed, all digests are $digest; at: $(cat "$work"/report-* | awk '{ n[$2]++ } END { for (k in n) printf "%s %d  ", k, n[k] }')"
finish
