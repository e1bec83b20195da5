#!/usr/bin/env bash
# Requests that share a prefix: the same digest with and without limits.prefix_cache for any layout and with
# little KV; what is reused and evicted is told in the summary and in the results.
. "$(dirname "$0")/lib.sh"
# Three prefixes of 150 to 200 tokens, none of a whole number of kv blocks, before 45 requests.
for i in 1 2 3; do
  shared=$(sed -n "${i}00,${i}03p" inputs/data/endings.jsonl | sed -E 's/.*"context": "(([^"\\]|\\.)*)".*/\1/' | tr '\n' ' ')
  sed -n "$((i * 15)),$((i * 15 + 14))p" inputs/data/endings.jsonl | awk -v shared="${shared//\\/\\\\}" '
    { at = index($0, "\"context\": \"") + 12; print substr($0, 1, at - 1) shared substr($0, at) }'
done >"$work/shared.jsonl"
job_file=$(job "$work/shared.jsonl" "$work/out")

expected=
check() {  # check RANKS REUSED EVICTED [--set ...]: REUSED and EVICTED are shell tests of the number, "-gt 0"
  local ranks=$1 reused=$2 evicted=$3 what="$1 ranks, ${*:4}"
  shift 3
  "$MPIRUN" default "$ranks" "$MOEBIUS" run "$job_file" --force-new "$@" >"$work/stdout" 2>"$work/stderr" || { fail "$what: $(cat "$work/stderr")"; return; }
  [ "$(value rows_failed <"$work/stdout")" = 0 ] || fail "$what: rows failed"
  expected=${expected:-$(value digest <"$work/stdout")}
  [ "$(value digest <"$work/stdout")" = "$expected" ] || fail "$what: other bits"
  test "$(value root_tokens_reused <"$work/stdout")" $reused || fail "$what: $(value root_tokens_reused <"$work/stdout") tokens reused"
  test "$(value kv_blocks_evicted <"$work/stdout")" $evicted || fail "$what: $(value kv_blocks_evicted <"$work/stdout") blocks evicted"
}
check 1 '-eq 0' '-eq 0' --set limits.prefix_cache=false
# 42 of 45 requests find at least 128 tokens there.
check 1 '-ge 5376' '-eq 0'
h5dump -d /ranks/prefix_cache/root_tokens_reused "$work/out/results.h5" | grep -q "(0): $(value root_tokens_reused <"$work/stdout")$" ||
  fail "the results do not say how many tokens were reused"
check 2 '-gt 2688' '-eq 0' --set layout.mode=colocated
check 3 '-gt 2688' '-eq 0' --set layout.attention_ranks=2
check 3 '-gt 0' '-gt 0' --set layout.attention_ranks=2 --set limits.kv_tokens=1280 --set limits.max_tokens_in_flight=50
check 2 '-gt 0' '-gt 0' --set limits.kv_tokens=1152 --set model.compute=fp32 --set limits.segment_tokens=7
finish
