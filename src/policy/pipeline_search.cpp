// SPDX-License-Identifier: Apache-2.0
#include "policy/pipeline_search.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

/// The time is nearly convex in 1 / r2 (FinDEP): after so many r2 in a row that shortened nothing no later one will. For the order
/// without a closed form alone, where a look costs a recurrence.
constexpr int most_in_vain = 16;
/// Of samples that are cut evenly: more micro-batches have only shortened what a few do not hide (ours).
constexpr int most_even_r1 = 64;

class Search {
 public:
  Search(const PipelineSearch& search, const PipelineCosts& costs) : search_(search), costs_(costs) {}

  PipelineChoice run(int max_r2) {
    // The order that has a closed form first: what it finds leaves few schedules of the other to look at.
    for (const PipelineOrder order : {PipelineOrder::asas, PipelineOrder::aass}) {
      if (search_.order.value_or(order) == order) scan_micro_batches(order, max_r2);
    }
    MOEBIUS_EXPECT(best_.samples > 0);
    return best_;
  }

 private:
  void scan_even(PipelineOrder order, int max_r2) {
    const int asked = search_.max_r1 > 0 ? search_.max_r1 : std::max(most_even_r1, search_.min_r1);
    const int most = std::min(search_.even_samples, asked);
    for (int r1 = std::min(search_.min_r1, most); r1 <= most; ++r1) scan_parts(static_cast<double>(search_.even_samples) / r1, r1, order, max_r2);
  }

  void scan_micro_batches(PipelineOrder order, int max_r2) {
    if (search_.even_samples > 0) return scan_even(order, max_r2);
    const bool fixed = search_.fixed_samples > 0;
    const int total = fixed ? search_.fixed_samples : search_.max_samples;
    int last_r1 = 0;
    for (int samples = std::min(total, search_.max_samples); samples >= 1; --samples) {
      const int r1 = total / samples;
      if (r1 == last_r1 || (search_.max_r1 > 0 && r1 > search_.max_r1) || (fixed && r1 * samples != total)) continue;
      last_r1 = r1;
      scan_parts(samples, r1, order, max_r2);
    }
  }

  void scan_parts(double samples, int r1, PipelineOrder order, int max_r2) {
    const auto rows = static_cast<std::int64_t>(samples * search_.rows_per_sample);
    const auto most = static_cast<int>(std::clamp<std::int64_t>(rows, 1, max_r2));
    EvenPipeline even{.num_layers = search_.num_layers, .r1 = r1, .attention_s = costs_.attention(samples), .shared_s = costs_.shared(samples)};
    if (order == PipelineOrder::aass && even.shared_s <= 0 && !search_.order) return;  // the same as asas
    double shortest_s = std::numeric_limits<double>::infinity();
    int in_vain = 0;
    for (even.r2 = std::max(1, std::min(search_.min_r2, most)); even.r2 <= most; ++even.r2) {
      const double part = samples / even.r2;
      even.dispatch_s = costs_.dispatch(part);
      even.expert_s = costs_.expert(part);
      even.combine_s = costs_.combine(part);
      const double needed_s = best_.samples > 0 ? r1 * samples / best_.samples_per_s : std::numeric_limits<double>::infinity();
      if (busy_s(even) >= needed_s) break;
      if (passage_s(even) >= needed_s) continue;
      const double makespan_s = try_schedule(even, order, samples);
      if (order == PipelineOrder::asas) continue;
      in_vain = makespan_s < shortest_s ? 0 : in_vain + 1;
      shortest_s = std::min(shortest_s, makespan_s);
      if (in_vain == most_in_vain) break;
    }
  }

  /// No schedule is shorter than its busiest group, with what has to come before and after the work of that group.
  static double busy_s(const EvenPipeline& even) {
    const double tasks = static_cast<double>(even.num_layers) * even.r1;
    return std::max(tasks * (even.attention_s + even.shared_s), tasks * even.r2 * std::max({even.dispatch_s, even.expert_s, even.combine_s}));
  }
  /// Nor than a micro-batch on its way, nor than the work of a resource and the way to and from it.
  static double passage_s(const EvenPipeline& even) {
    const double tasks = static_cast<double>(even.num_layers) * even.r1 * even.r2;
    const double part = std::max({even.dispatch_s, even.expert_s, even.combine_s});
    const double once = even.attention_s + even.dispatch_s + even.expert_s + even.combine_s;
    return std::max(even.num_layers * (once + (even.r2 - 1) * part), once + (tasks - 1) * part);
  }

  double try_schedule(const EvenPipeline& even, PipelineOrder order, double samples) {
    ++best_.num_evaluations;
    double makespan_s = 0;
    if (order == PipelineOrder::asas) {
      makespan_s = asas_makespan(even);
    } else {
      ++best_.num_recurrences;
      makespan_s = pipeline_makespan(even.num_layers, order, micro_batches_of(even));
    }
    const double samples_per_s = even.r1 * samples / makespan_s;
    if (best_.samples > 0 && samples_per_s <= best_.samples_per_s) return makespan_s;
    best_.samples = static_cast<int>(std::ceil(samples));
    best_.r1 = even.r1;
    best_.r2 = even.r2;
    best_.order = order;
    best_.makespan_s = makespan_s;
    best_.samples_per_s = samples_per_s;
    return makespan_s;
  }

  const PipelineSearch& search_;
  const PipelineCosts& costs_;
  PipelineChoice best_;
};

PipelineChoice search_fused(PipelineSearch search, const PipelineCosts& costs) {
  PipelineCosts fused = costs;
  fused.attention = [&](double samples) { return costs.attention(samples) + costs.shared(samples); };
  fused.shared = [](double /*samples*/) { return 0.0; };
  search.order = PipelineOrder::asas;
  PipelineChoice choice = search_pipeline(search, fused);
  choice.order = PipelineOrder::fused;
  return choice;
}

}  // namespace

PipelineChoice search_pipeline(const PipelineSearch& search, const PipelineCosts& costs) {
  MOEBIUS_EXPECT(search.num_layers >= 1 && search.max_samples >= 1 && search.rows_per_sample >= 1);
  if (search.order == PipelineOrder::fused) return search_fused(search, costs);
  constexpr int any = 1 << 30;
  return Search(search, costs).run(search.max_r2 > 0 ? search.max_r2 : any);
}

PipelineChoice search_pingpong(const PipelineSearch& search, const PipelineCosts& costs) {
  PipelineSearch whole = search;
  whole.min_r2 = whole.max_r2 = 1;
  return search_fused(whole, costs);
}

}  // namespace moebius::policy
