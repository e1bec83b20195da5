#!/usr/bin/env bash
# A study of a few cells: its table, its file, and that it is not run again. Needs STUDY (moebius_study).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; exit 1; }
run() { "$STUDY" async --quick --work "$work/studies" --out "$work/study.h5" "$@" >"$work/stdout" 2>"$work/stderr" || fail "$(cat "$work/stderr")"; }

run --markdown "$work/study.md"
cmp "$work/stdout" "$work/study.md" || fail "the Markdown file is not the table"
grep -q '^| tiny model decode, 2 ranks colocated ' "$work/stdout" || fail "no row for the cell: $(cat "$work/stdout")"
num_runs=$(sed -nE 's/^([0-9]+) runs in .* 0 were .*/\1/p' "$work/stderr")
[ "$num_runs" -ge 2 ] || fail "not all were run: $(cat "$work/stderr")"
column() { h5dump -y -w 1 -d "/runs/$1" "$work/study.h5" | sed '1,/DATA {/d;/}/q' | sed -nE 's/\\000//g; s/^ *"?([^",}]+)"?,?$/\1/p' | grep '[^ ]'; }
[ "$(column variant | sort | uniq -c | awk '{ print $2, $1 }' | tr '\n' ' ')" = "async $((num_runs / 2)) lockstep $((num_runs / 2)) " ] || fail "variants: $(column variant)"
grep -q '^| mixtral-8x7b prefill, 2 ranks ' "$work/stdout" && grep -q '(emulated)' "$work/stdout" || fail "no cell in slow motion: $(cat "$work/stdout")"
column tokens_per_s | awk '$1 <= 0 { bad = 1 } END { exit bad || NR == 0 }' || fail "rates: $(column tokens_per_s)"
column idle_max | awk '$1 < 0 || $1 > 1 { bad = 1 } END { exit bad || NR == 0 }' || fail "idle shares: $(column idle_max)"
column inter_token_p50_s | awk '$1 > 0 { some = 1 } END { exit !some }' || fail "latencies: $(column inter_token_p50_s)"
[ "$(column digest | sort -u | wc -l)" -le $((num_runs / 2)) ] || fail "bits differ between variants"

cp "$work/stdout" "$work/first"
run
cmp "$work/stdout" "$work/first" || fail "the table of a study that had ended is another one"
grep -q "^0 runs in .* $num_runs were " "$work/stderr" || fail "runs were repeated: $(cat "$work/stderr")"

# The study of pipelines: plans, runs in each way, the same bits (else it fails).
"$STUDY" pipeline --quick --only "tiny model" --work "$work/studies" --out "$work/pipeline.h5" >"$work/stdout" 2>"$work/stderr" || fail "$(cat "$work/stderr")"
grep -qE '^\| tiny model, 128 tokens, 2 ranks \| +1:1, [0-9]+, [0-9]+, a[as]+ \|( +[0-9]+ \|){4}' "$work/stdout" || fail "no row for the cell: $(cat "$work/stdout")"
echo "all checks passed"
