#!/usr/bin/env bash
# Models with a router skew: the loads of a run are as uneven as asked, for every top-k and both kinds of routers, and outputs say so.
. "$(dirname "$0")/lib.sh"
awk 'BEGIN { srand(5); for (i = 0; i < 32; i++) { printf("{\"custom_id\":\"%d\",\"kind\":\"loglikelihood_rolling\",\"text\":[", i)
  for (j = 0; j < 32; j++) printf("%s%d", j ? "," : "", 1 + int(rand() * 600)); print "]}" } }' >"$work/input.jsonl"

# busiest FAMILY TOP_K [ARGS of make-model]: share of rows of the 4 busiest of 32 experts, in percent, mean of layers
busiest() {
  local family=$1 k=$2
  shift 2
  "$MOEBIUS" make-model "$work/model" --force-new --family "$family" --hidden 64 --layers 3 --heads 4 --kv-heads 2 --head-dim 16 \
    --experts 32 --top-k "$k" --width 16 --vocab 640 --context 256 "$@" 2>"$work/stderr" || { cat "$work/stderr" >&2; return; }
  "$MPIRUN" default 1 "$MOEBIUS" run "$(job "$work/input.jsonl" "$work/out")" --force-new --set "model.path=$work/model" \
    >"$work/stdout" 2>"$work/stderr" || { cat "$work/stderr" >&2; return; }
  h5dump -y -w 1 -d /experts/load "$work/out/results.h5" | sed '1,/DATA {/d;/}/q' | grep -oE '[0-9]+' | awk '
    { load[int((NR - 1) / 32), (NR - 1) % 32] = $1; sum[int((NR - 1) / 32)] += $1 }
    END {
      for (layer = 0; layer < NR / 32; layer++) if (sum[layer] > 0) {
        for (pick = 0; pick < 4; pick++) {
          best = 0
          for (e = 1; e < 32; e++) if (load[layer, e] > load[layer, best]) best = e
          top[layer] += load[layer, best] / sum[layer]; load[layer, best] = -1
        }
        share += top[layer]; layers++
      }
      printf "%.0f\n", 100 * share / layers
    }'
}
within() { [ -n "$3" ] && [ "$3" -ge "$1" ] && [ "$3" -le "$2" ] || fail "$4: the 4 busiest of 32 experts have $3 % of rows, not $1 to $2"; }

# 4 of 32 are 12.5 % of an even load; Zipf's law with exponent 1 gives the first choice of 51 %, and further choices less.
even=$(busiest qwen3_moe 4 --router-skew 0) && within 12 22 "$even" "skew 0"
[ "$(h5dump -a router_skew "$work/out/results.h5" | sed -n 's/.*(0): //p')" = '"Zipf exponent 0 (made by make-model)"' ] || fail "the results do not name the skew"
grep -q '"moebius_router_skew": 0' "$work/model/config.json" || fail "config.json does not name the skew"
skewed=$(busiest qwen3_moe 1 --router-skew 1) && within 44 62 "$skewed" "skew 1, top-1"
skewed=$(busiest qwen3_moe 2 --router-skew 1) && within 36 54 "$skewed" "skew 1, top-2"
skewed=$(busiest qwen3_moe 4 --router-skew 1) && within 28 46 "$skewed" "skew 1, top-4"
skewed=$(busiest qwen3_moe 8 --router-skew 1) && within 22 36 "$skewed" "skew 1, top-8"
skewed=$(busiest deepseek_v3 4 --router-skew 1) && within 26 46 "$skewed" "sigmoid router, skew 1, top-4"
plain=$(busiest qwen3_moe 4) && within 14 40 "$plain" "no skew asked"
[ "$(h5dump -a router_skew "$work/out/results.h5" | sed -n 's/.*(0): //p')" = '"none given"' ] || fail "the results name a skew that was not asked for"

# Requests that generate have times between their tokens.
grep generate_until tests/data/mixed.jsonl | head -n 3 >"$work/generate.jsonl"
"$MPIRUN" default 2 "$MOEBIUS" run "$(job "$work/generate.jsonl" "$work/latency")" >"$work/stdout" 2>"$work/stderr" || fail "generate: $(tail -5 "$work/stderr")"
counted=$(value inter_token_count <"$work/stdout") made=$(value tokens_out <"$work/stdout")
rows=$(value rows <"$work/stdout")
[ "$counted" -eq $((made - rows)) ] || fail "$made tokens in $rows rows, but $counted times between tokens"
awk -v a="$(value inter_token_p50_s <"$work/stdout")" -v b="$(value inter_token_p99_s <"$work/stdout")" -v loop="$(value loop_s <"$work/stdout")" \
  'BEGIN { exit !(0 < a && a <= b && b <= loop * 1.01 + 0.001) }' || fail "times between tokens: $(cat "$work/stdout")"
stored=$(h5dump -y -w 1 -d /ranks/latency/inter_token_count "$work/latency/results.h5" | sed '1,/DATA {/d;/}/q' | grep -oE '[0-9]+' | awk '{ s += $1 } END { print s }')
[ "$stored" = "$counted" ] || fail "results.h5 counts $stored times between tokens, the summary $counted"
echo "busiest 4 of 32: even $even %, plain $plain %"
finish
