// SPDX-License-Identifier: Apache-2.0
#include "kernels/logits.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.hpp"
#include "kernels/kernel_table.hpp"

namespace moebius::kernels {

namespace {

/// More probable first, lower id first among equals; a strict order also where logits are not numbers,
/// which come last.
struct MoreProbable {
  std::span<const float> logits;
  bool operator()(TokenId a, TokenId b) const {
    const float x = logits[static_cast<std::size_t>(a)];
    const float y = logits[static_cast<std::size_t>(b)];
    if (std::isnan(x) || std::isnan(y)) return std::isnan(x) == std::isnan(y) ? a < b : std::isnan(y);
    return x != y ? x > y : a < b;
  }
};

double weight_of(const SampleScratch& scratch, TokenId token) {
  return static_cast<double>(scratch.weights[static_cast<std::size_t>(token)]);
}

double sum_of(const SampleScratch& scratch, std::span<const TokenId> tokens) {
  double sum = 0;
  for (const TokenId token : tokens) sum += weight_of(scratch, token);
  return sum;
}

/// Brings the most probable `count` candidates to the front, in order, and drops the rest.
void keep_top_k(std::span<const float> logits, std::size_t count, std::vector<TokenId>& candidates) {
  const auto end = candidates.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(candidates.begin(), end, candidates.end(), MoreProbable{logits});
  candidates.erase(end, candidates.end());
}

/// Keeps the shortest run of most probable candidates that reaches top_p of their total. A heap gives them
/// one by one, since the run is usually short beside the vocabulary.
void keep_top_p(std::span<const float> logits, double top_p, SampleScratch& scratch) {
  auto& candidates = scratch.candidates;
  const double wanted = top_p * sum_of(scratch, candidates);
  const auto less_probable = [order = MoreProbable{logits}](TokenId a, TokenId b) { return order(b, a); };
  std::make_heap(candidates.begin(), candidates.end(), less_probable);
  auto heap_end = candidates.end();
  double reached = 0;
  do {
    std::pop_heap(candidates.begin(), heap_end, less_probable);
    --heap_end;
    reached += weight_of(scratch, *heap_end);
  } while (heap_end != candidates.begin() && reached < wanted);
  candidates.erase(candidates.begin(), heap_end);
}

/// The largest weight is exp(0) = 1: what min_p compares with.
void keep_min_p(double min_p, SampleScratch& scratch) {
  std::erase_if(scratch.candidates, [&](TokenId token) { return weight_of(scratch, token) < min_p; });
}

}  // namespace

void LogitsSums::add(std::span<const float> chunk) {
  MOEBIUS_EXPECT(!chunk.empty() && chunk.size() <= logits_chunk && num_added_ % logits_chunk == 0);
  const KernelTable& kernels = active_kernels();
  const auto size = static_cast<std::int64_t>(chunk.size());
  const float max = kernels.max_row(chunk.data(), size);
  // Of no number at all, or of minus infinity: the sum is not a number or zero, whatever is subtracted.
  const bool any = max > -std::numeric_limits<float>::infinity();
  const double sum = kernels.sum_exp_row(chunk.data(), any ? max : 0.0F, size);
  if (max > max_) {
    sum_ = sum_ * std::exp(static_cast<double>(max_) - static_cast<double>(max)) + sum;
    argmax_ = num_added_ + static_cast<TokenId>(std::find(chunk.begin(), chunk.end(), max) - chunk.begin());
    max_ = max;
  } else {
    sum_ += any ? sum * std::exp(static_cast<double>(max) - static_cast<double>(max_)) : sum;
  }
  num_added_ += static_cast<TokenId>(size);
}

LogitsSummary LogitsSums::summary() const {
  MOEBIUS_EXPECT(num_added_ > 0);
  return {.max = max_, .log_sum_exp = static_cast<double>(max_) + std::log(sum_), .argmax = argmax_};
}

LogitsSummary summarise(std::span<const float> logits) {
  LogitsSums sums;
  for (std::size_t begin = 0; begin < logits.size(); begin += logits_chunk) {
    sums.add(logits.subspan(begin, std::min<std::size_t>(logits_chunk, logits.size() - begin)));
  }
  return sums.summary();
}

float log_prob(const LogitsSummary& summary, float logit) {
  return static_cast<float>(static_cast<double>(logit) - summary.log_sum_exp);
}

void top_logprobs(std::span<const float> logits, int k, std::span<TokenId> ids, std::span<float> values) {
  top_logprobs(logits, summarise(logits), k, ids, values);
}

void top_logprobs(std::span<const float> logits, const LogitsSummary& summary, int k, std::span<TokenId> ids,
                  std::span<float> values) {
  MOEBIUS_EXPECT(k >= 0 && ids.size() >= static_cast<std::size_t>(k) && values.size() >= static_cast<std::size_t>(k));
  const auto wanted = static_cast<std::size_t>(k);
  const MoreProbable more_probable{logits};
  std::size_t found = 0;
  for (std::size_t i = 0; wanted > 0 && i < logits.size(); ++i) {
    const auto token = static_cast<TokenId>(i);
    if (found == wanted && !more_probable(token, ids[found - 1])) continue;
    if (found < wanted) ++found;
    std::size_t place = found - 1;
    for (; place > 0 && more_probable(token, ids[place - 1]); --place) ids[place] = ids[place - 1];
    ids[place] = token;
  }
  for (std::size_t i = 0; i < wanted; ++i) {
    if (i >= found) ids[i] = -1;
    values[i] = i < found ? log_prob(summary, logits[static_cast<std::size_t>(ids[i])])
                          : std::numeric_limits<float>::quiet_NaN();
  }
}

TokenId sample(std::span<const float> logits, double temperature, int top_k, double top_p, double min_p, double uniform,
               SampleScratch& scratch) {
  MOEBIUS_EXPECT(!logits.empty() && uniform >= 0.0 && uniform < 1.0);
  const KernelTable& kernels = active_kernels();
  const auto size = static_cast<std::int64_t>(logits.size());
  const float max = kernels.max_row(logits.data(), size);
  const auto largest = std::find(logits.begin(), logits.end(), max);
  const TokenId argmax = largest == logits.end() ? 0 : static_cast<TokenId>(largest - logits.begin());
  if (!(temperature > 0)) return argmax;

  // Beyond 1e30 every logit below the maximum has weight zero; a larger factor would give 0 * infinity.
  const auto factor = static_cast<float>(std::min(1.0 / temperature, 1e30));
  scratch.weights.resize(logits.size());
  kernels.exp_row(logits.data(), max, factor, size, scratch.weights.data());
  scratch.candidates.resize(logits.size());
  std::iota(scratch.candidates.begin(), scratch.candidates.end(), TokenId{0});

  if (top_k > 0 && static_cast<std::size_t>(top_k) < logits.size()) {
    keep_top_k(logits, static_cast<std::size_t>(top_k), scratch.candidates);
  }
  if (top_p < 1.0) keep_top_p(logits, top_p, scratch);
  if (min_p > 0.0) keep_min_p(std::min(min_p, 1.0), scratch);
  std::sort(scratch.candidates.begin(), scratch.candidates.end());

  const double total = sum_of(scratch, scratch.candidates);
  if (!(total > 0)) return argmax;
  double reached = 0;
  TokenId last = argmax;
  for (const TokenId token : scratch.candidates) {
    if (!(weight_of(scratch, token) > 0)) continue;
    reached += weight_of(scratch, token);
    last = token;
    if (reached > uniform * total) return token;
  }
  return last;
}

}  // namespace moebius::kernels
