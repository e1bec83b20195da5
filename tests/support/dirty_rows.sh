# A dirty input of any size, judged; to be sourced behind tests/system/lib.sh by dirty_rows_test.sh (CI) and dirty_campaign.sh
# (by hand). Needs MOEBIUS, MPIRUN and DIRTY_ROWS (support/dirty_rows.cpp).

# judge_dirty_rows ROWS SEED RANKS: makes the input, runs it and its good rows alone, judges every row; leaves `dirty`, the digest
# `digest`, the number of bad rows `bad`, and prints figures.
judge_dirty_rows() {
  local rows=$1 seed=$2 ranks=$3 code=0 judged peak
  rm -rf "$work/dirty" "$work/clean"
  "$DIRTY_ROWS" make "$rows" "$seed" "$work/dirty.jsonl" "$work/clean.jsonl" "$work/expected"
  bad=$(wc -l <"$work/expected")
  dirty=$(job "$work/dirty.jsonl" "$work/dirty")
  "$MPIRUN" default "$ranks" "$MOEBIUS" run "$dirty" --set run.rows_per_block=8192 >"$work/stdout" 2>"$work/stderr" || code=$?
  [ $code -eq 0 ] || fail "a job with bad rows: exit code $code: $(tail -3 "$work/stderr")"
  [ "$(value rows_failed <"$work/stdout")" = "$bad" ] || fail "$(value rows_failed <"$work/stdout") rows failed, expected $bad"
  judged=$("$DIRTY_ROWS" check "$work/dirty" "$work/expected" 2>"$work/stderr") || fail "rows are not as expected: $(cat "$work/stderr") $judged"
  [ "$(echo "$judged" | value ways)" = "$(cut -f2- "$work/expected" | sort -u | wc -l)" ] || fail "not every way of being bad was judged: $judged"
  # /ranks/memory has a row for each rank.
  peak=$(h5dump -d /ranks/memory/peak_rss_bytes -s 0 -c 1 "$work/dirty/results.h5" | sed -nE 's/^ *\(0\): ([0-9]+)$/\1/p')
  "$MPIRUN" default "$ranks" "$MOEBIUS" run "$(job "$work/clean.jsonl" "$work/clean")" --set run.rows_per_block=8192 >"$work/stdout" 2>"$work/stderr" ||
    fail "the good rows alone: $(tail -3 "$work/stderr")"
  digest=$(value digest <"$work/stdout")
  [ "$(echo "$judged" | value digest)" = "$digest" ] || fail "good rows have other bits beside bad ones: $judged, alone $digest"
  rank0_peak=${peak:-0}
  echo "$rows rows, $bad bad: $judged; largest resident set of rank 0: $((rank0_peak / 1048576)) MiB; alone $(value tokens_per_s <"$work/stdout") tokens/s"
}
