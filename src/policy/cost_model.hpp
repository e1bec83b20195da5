// SPDX-License-Identifier: Apache-2.0
#pragma once
// Cost models of stages from measurements (ALGORITHMS section 5): time = sum of coefficient x term, by least squares with
// coefficients that are not negative, since no part of a stage takes less than no time. Pure.

#include <span>
#include <vector>

namespace moebius::policy {

/// A stage that was measured: how large it was in the terms of its model, and its seconds.
struct CostSample {
  std::vector<double> terms;
  double time_s = 0;
};

struct CostFit {
  std::vector<double> coefficients;  ///< [terms] seconds for one unit of a term, >= 0
  double r_squared = 0;              ///< 1: exact; of times that are all alike 1 where they are met, else 0
  double worst_residual = 0;         ///< largest |measured - predicted| / measured
  [[nodiscard]] double at(std::span<const double> terms) const;
};

/// The terms of each stage; alpha is the coefficient of the first, always 1.
/// Attention: rows through its products, (query, key) pairs (quadratic in a prompt), keys and values read (what decoding pays).
std::vector<double> attention_terms(double rows, double score_pairs, double kv_positions);
std::vector<double> gemm_terms(double rows);
/// All experts of a call: reading the weights of those that have rows, and their rows.
std::vector<double> grouped_gemm_terms(double active_experts, double rows);
std::vector<double> link_terms(double bytes);

/// Least squares over all samples, each weighed alike. Needs samples of like many terms (1 to 6), at least as many as terms;
/// a term that cannot be told from others, or would get less than nothing, gets 0.
CostFit fit_cost(std::span<const CostSample> samples);
/// The same with each sample weighed by 1 / its time squared: as good for small stages as for large ones in proportion. R^2 and the
/// worst residual are those of the times themselves.
CostFit fit_relative(std::span<const CostSample> samples);

}  // namespace moebius::policy
