// SPDX-License-Identifier: Apache-2.0
#include "policy/cost_model.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

constexpr std::size_t max_terms = 6;
/// A column of which less than this is left beside those before it says nothing of its own.
constexpr double independent = 1e-9;

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// Least squares by modified Gram-Schmidt on columns scaled to length 1; nothing where they depend on each other.
std::optional<std::vector<double>> solve(std::vector<std::vector<double>> columns, std::vector<double> times) {
  const std::size_t n = columns.size();
  std::vector<double> length(n), along(n);
  std::vector<std::vector<double>> upper(n, std::vector<double>(n, 0.0));
  for (std::size_t j = 0; j < n; ++j) {
    length[j] = std::sqrt(dot(columns[j], columns[j]));
    if (length[j] == 0) return std::nullopt;
    for (double& value : columns[j]) value /= length[j];
  }
  for (std::size_t j = 0; j < n; ++j) {
    upper[j][j] = std::sqrt(dot(columns[j], columns[j]));
    if (upper[j][j] < independent) return std::nullopt;
    for (double& value : columns[j]) value /= upper[j][j];
    for (std::size_t k = j + 1; k < n; ++k) {
      upper[j][k] = dot(columns[j], columns[k]);
      for (std::size_t i = 0; i < times.size(); ++i) columns[k][i] -= upper[j][k] * columns[j][i];
    }
    along[j] = dot(columns[j], times);
    for (std::size_t i = 0; i < times.size(); ++i) times[i] -= along[j] * columns[j][i];
  }
  for (std::size_t j = n; j-- > 0;) {
    for (std::size_t k = j + 1; k < n; ++k) along[j] -= upper[j][k] * along[k];
    along[j] /= upper[j][j];
  }
  for (std::size_t j = 0; j < n; ++j) along[j] /= length[j];
  return along;
}

double squared_error(std::span<const CostSample> samples, const std::vector<double>& coefficients) {
  double sum = 0;
  for (const CostSample& sample : samples) {
    const double error = sample.time_s - dot(sample.terms, coefficients);
    sum += error * error;
  }
  return sum;
}

/// The coefficients with some terms left out (bit t of `used` unset); nothing where one would be negative.
std::optional<std::vector<double>> fit_with(std::span<const CostSample> samples, std::size_t num_terms, unsigned used) {
  std::vector<std::vector<double>> columns;
  std::vector<double> times;
  for (const CostSample& sample : samples) times.push_back(sample.time_s);
  for (std::size_t t = 0; t < num_terms; ++t) {
    if ((used >> t & 1U) == 0) continue;
    columns.emplace_back();
    for (const CostSample& sample : samples) columns.back().push_back(sample.terms[t]);
  }
  const auto solution = solve(std::move(columns), std::move(times));
  if (!solution || std::ranges::any_of(*solution, [](double value) { return value < 0; })) return std::nullopt;
  std::vector<double> coefficients(num_terms, 0.0);
  for (std::size_t t = 0, next = 0; t < num_terms; ++t) {
    if ((used >> t & 1U) != 0) coefficients[t] = (*solution)[next++];
  }
  return coefficients;
}

/// How well it fits.
void judge(std::span<const CostSample> samples, CostFit& fit) {
  double mean = 0, spread = 0;
  for (const CostSample& sample : samples) mean += sample.time_s / static_cast<double>(samples.size());
  for (const CostSample& sample : samples) {
    spread += (sample.time_s - mean) * (sample.time_s - mean);
    if (sample.time_s > 0) fit.worst_residual = std::max(fit.worst_residual, std::abs(sample.time_s - fit.at(sample.terms)) / sample.time_s);
  }
  constexpr double exact = 1e-24;
  fit.r_squared = spread > exact * mean * mean ? 1 - squared_error(samples, fit.coefficients) / spread : (fit.worst_residual < 1e-9 ? 1.0 : 0.0);
}

}  // namespace

double CostFit::at(std::span<const double> terms) const {
  MOEBIUS_EXPECT(terms.size() == coefficients.size());
  double sum = 0;
  for (std::size_t t = 0; t < terms.size(); ++t) sum += coefficients[t] * terms[t];
  return sum;
}

std::vector<double> attention_terms(double rows, double score_pairs, double kv_positions) { return {1.0, rows, score_pairs, kv_positions}; }
std::vector<double> gemm_terms(double rows) { return {1.0, rows}; }
std::vector<double> grouped_gemm_terms(double active_experts, double rows) { return {1.0, active_experts, rows}; }
std::vector<double> link_terms(double bytes) { return {1.0, bytes}; }

CostFit fit_cost(std::span<const CostSample> samples) {
  MOEBIUS_EXPECT(!samples.empty() && samples[0].terms.size() <= max_terms && samples.size() >= samples[0].terms.size());
  const std::size_t num_terms = samples[0].terms.size();
  for (const CostSample& sample : samples) MOEBIUS_EXPECT(sample.terms.size() == num_terms);
  // The best fit without negative coefficients is the free fit of some subset of terms; there are few.
  CostFit fit{.coefficients = std::vector<double>(num_terms, 0.0)};
  double error = squared_error(samples, fit.coefficients);
  for (unsigned used = 1; used < (1U << num_terms); ++used) {
    const auto coefficients = fit_with(samples, num_terms, used);
    if (!coefficients) continue;
    if (const double its_error = squared_error(samples, *coefficients); its_error < error) {
      error = its_error;
      fit.coefficients = *coefficients;
    }
  }
  judge(samples, fit);
  return fit;
}

CostFit fit_relative(std::span<const CostSample> samples) {
  std::vector<CostSample> scaled(samples.begin(), samples.end());
  for (CostSample& sample : scaled) {
    MOEBIUS_EXPECT(sample.time_s > 0);
    for (double& term : sample.terms) term /= sample.time_s;
    sample.time_s = 1;
  }
  CostFit fit{.coefficients = fit_cost(scaled).coefficients};
  judge(samples, fit);
  return fit;
}

}  // namespace moebius::policy
