// SPDX-License-Identifier: Apache-2.0
#include "kernels/router.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/check.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/workspace.hpp"

namespace moebius::kernels {

namespace {

/// The k largest of `values`, in descending order, earlier ones first among equals.
void select_topk(const float* values, int num_values, int k, std::int32_t* ids) {
  for (int i = 0; i < num_values; ++i) {
    int place = std::min(i, k);
    if (place == k && !(values[i] > values[ids[k - 1]])) continue;
    if (place == k) --place;
    while (place > 0 && values[i] > values[ids[place - 1]]) {
      ids[place] = ids[place - 1];
      --place;
    }
    ids[place] = i;
  }
}

void softmax(const KernelTable& kernels, const float* logits, int n, float* probabilities) {
  kernels.exp_row(logits, kernels.max_row(logits, n), 1.0F, n, probabilities);
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += static_cast<double>(probabilities[i]);
  const auto total = static_cast<float>(sum);
  for (int i = 0; i < n; ++i) probabilities[i] /= total;
}

void sigmoid(const KernelTable& kernels, const float* logits, int n, float* scores) {
  kernels.exp_row(logits, 0.0F, -1.0F, n, scores);
  for (int i = 0; i < n; ++i) scores[i] = 1.0F / (1.0F + scores[i]);
}

float group_score(RouterOptions::GroupScores kind, const float* choice, int group_size) {
  float best = -std::numeric_limits<float>::infinity(), second = best;
  for (int i = 0; i < group_size; ++i) {
    if (choice[i] > best) {
      second = best;
      best = choice[i];
    } else if (choice[i] > second) {
      second = choice[i];
    }
  }
  return kind == RouterOptions::GroupScores::best ? best : best + second;
}

/// Takes the experts of all groups but the best ones out of the choice. group_scores, group_ids: scratch,
/// [num_groups] and [topk_groups].
void keep_best_groups(const RouterOptions& options, int num_experts, float* choice, float* group_scores,
                      std::int32_t* group_ids) {
  const int group_size = num_experts / options.num_groups;
  for (int group = 0; group < options.num_groups; ++group) {
    group_scores[group] = group_score(options.group_scores, choice + group * group_size, group_size);
  }
  select_topk(group_scores, options.num_groups, options.topk_groups, group_ids);
  const std::span<const std::int32_t> kept(group_ids, static_cast<std::size_t>(options.topk_groups));
  for (int group = 0; group < options.num_groups; ++group) {
    if (std::ranges::find(kept, group) != kept.end()) continue;
    std::fill_n(choice + group * group_size, group_size, -std::numeric_limits<float>::infinity());
  }
}

struct RouterCall {
  const RouterOptions& options;
  std::span<const float> bias;
  int num_experts;
  int k;
};

void route_row(const KernelTable& kernels, const RouterCall& call, const float* logits, std::int32_t* ids,
               float* weights) {
  thread_local Workspace workspace;
  thread_local std::vector<std::int32_t> group_ids;
  const RouterOptions& options = call.options;
  const int n = call.num_experts, k = call.k;
  const bool is_sigmoid = options.scores == RouterOptions::Scores::sigmoid;
  float* scores = workspace.floats(static_cast<std::size_t>(2 * n + options.num_groups));
  float* choice = scores + n;
  (is_sigmoid ? sigmoid : softmax)(kernels, logits, n, scores);
  std::copy_n(scores, n, choice);
  for (std::size_t expert = 0; expert < call.bias.size(); ++expert) choice[expert] += call.bias[expert];
  if (options.num_groups > 1) {
    group_ids.resize(static_cast<std::size_t>(options.topk_groups));
    keep_best_groups(options, n, choice, choice + n, group_ids.data());
  }
  select_topk(choice, n, k, ids);
  std::sort(ids, ids + k);
  float sum = is_sigmoid ? 1e-20F : 0.0F;  // sigmoids may all be zero
  for (int k_idx = 0; k_idx < k; ++k_idx) sum += scores[ids[k_idx]];
  const float divisor = options.norm_topk_prob ? sum : 1.0F;
  const auto scaling = static_cast<float>(options.scaling);
  for (int k_idx = 0; k_idx < k; ++k_idx) weights[k_idx] = scores[ids[k_idx]] / divisor * scaling;
}

}  // namespace

void route_topk(const RouterOptions& options, std::span<const float> bias, const float* logits, int num_rows,
                int num_experts, int k, std::int32_t* ids, float* weights) {
  MOEBIUS_EXPECT(options.num_groups >= 1 && num_experts % options.num_groups == 0);
  MOEBIUS_EXPECT(options.topk_groups >= 1 && options.topk_groups <= options.num_groups);
  MOEBIUS_EXPECT(k >= 1 && k <= options.topk_groups * (num_experts / options.num_groups));
  MOEBIUS_EXPECT(bias.empty() || bias.size() == static_cast<std::size_t>(num_experts));
  const KernelTable& kernels = active_kernels();
  const RouterCall call{options, bias, num_experts, k};
  Kokkos::parallel_for("route_topk", HostRange(0, num_rows), [=, &kernels, &call](const int row) {
    const std::int64_t out = std::int64_t{row} * k;
    route_row(kernels, call, logits + std::int64_t{row} * num_experts, ids + out, weights + out);
  });
}

}  // namespace moebius::kernels
