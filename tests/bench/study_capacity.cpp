// SPDX-License-Identifier: Apache-2.0
// What a capacity of experts is worth in speed: predicted from rows, and measured, with one and with several experts a rank.
#include <fmt/format.h>

#include <algorithm>

#include "tests/bench/study.hpp"

namespace moebius::bench {
namespace {

constexpr double dilation_per_rank = 6, skew = 0.5;

struct Variant {
  std::string method, gamma;
  [[nodiscard]] std::string name() const { return method == "off" ? method : method + ", gamma " + gamma; }
};

std::vector<Variant> variants_of(bool quick) {
  if (quick) return {{"off", "1"}, {"drop", "1"}};
  std::vector<Variant> variants{{"off", "1"}};
  for (const std::string method : {"drop", "expanded_drop"}) {
    for (const std::string gamma : {"2", "1.5", "1.25", "1", "0.75"}) variants.push_back({method, gamma});
  }
  return variants;
}

}  // namespace

std::string capacity_study(const StudyOptions& options, bool quick) {
  const StudyModel model = mixtral_8x7b(skew);
  const std::vector<Variant> variants = variants_of(quick);
  StudyStore store(options.file);
  std::string text = "## What a capacity of experts is worth in speed (emulated)\n\n" + machine_line() +
                     fmt::format(". H100s in slow motion, Mixtral-8x7B, router skew Zipf {}, lock-step, texts of 128 tokens, metric score. Predicted: most rows "
                                 "of a rank in a micro-batch without capacity over those with it. A capacity changes outputs.\n",
                                 skew);
  for (const int num_ranks : quick ? std::vector<int>{2} : std::vector<int>{8, 2}) {
    const double dilation = std::max(24.0, dilation_per_rank * num_ranks);
    std::vector<StudyRun> runs;
    for (const Variant& variant : variants) {
      runs.push_back({fmt::format("capacity, {} ranks", num_ranks), variant.name(), model,
                      {.kind = StudyRequests::Kind::prefill, .count = 52 * num_ranks, .prompt_tokens = 128, .seed = 31}, num_ranks,
                      as_h100(model, dilation) + Settings{{"schedule.execution", "lockstep"}, {"capacity.method", variant.method}, {"capacity.gamma", variant.gamma}},
                      dilation});
    }
    const std::vector<StudyFigures> figures = run_all(options, store, runs);
    StudyTable table({"method", "dropped", "predicted", "busiest rank", "whole run", "compute share"});
    for (std::size_t v = 0; v < runs.size(); ++v) {
      const StudyFigures &own = figures[v], &off = figures[0];
      table.add({runs[v].variant, percent(own.pairs_dropped), fixed(off.rows_max / own.rows_max, 3), fixed(off.busy_s_max / own.busy_s_max, 3),
                 fixed(own.tokens_per_s / off.tokens_per_s, 3), percent(own.compute_share) + (own.valid > 0 ? "" : " INVALID")});
    }
    text += fmt::format("\n### {} ranks, {} of 8 experts a rank (D {:.0f}); ratios to off\n\n{}", num_ranks, 8 / num_ranks, dilation, table.markdown());
  }
  return text;
}

}  // namespace moebius::bench
