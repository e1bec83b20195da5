// SPDX-License-Identifier: Apache-2.0
#include "kernels/peak.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "kernels/kernel_table.hpp"

namespace moebius::kernels {

double measure_peak_flops(ComputeType type, double seconds) {
  const KernelTable& kernels = active_kernels();
  const PeakLoop& loop = type == ComputeType::bf16 ? kernels.bf16_peak : kernels.fp32_peak;
  const double end = now_s() + seconds;
  std::int64_t steps = 1000;
  double best = 0;
  do {
    const double begin = now_s();
    const float sum = loop.run(steps, 1.0F);
    const double taken = now_s() - begin;
    MOEBIUS_ENSURE(std::isfinite(sum));  // also keeps the loop from being removed
    best = std::max(best, static_cast<double>(steps) * loop.flops_per_step / taken);
    if (taken < 1e-3) steps *= 2;
  } while (now_s() < end);
  return best;
}

double measure_read_bandwidth(std::span<const float> array, double seconds) {
  MOEBIUS_EXPECT(!array.empty());
  constexpr std::size_t piece_floats = std::size_t{1} << 20;
  const KernelTable& kernels = active_kernels();
  const double end = now_s() + seconds;
  std::vector<double> rates;
  do {
    for (std::size_t first = 0; first < array.size(); first += piece_floats) {
      const auto piece = array.subspan(first, std::min(piece_floats, array.size() - first));
      const double begin = now_s();
      const float max = kernels.max_row(piece.data(), static_cast<std::int64_t>(piece.size()));
      const double taken = now_s() - begin;
      MOEBIUS_ENSURE(!std::isnan(max));
      rates.push_back(static_cast<double>(piece.size_bytes()) / taken);
    }
  } while (now_s() < end);
  const auto median = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::nth_element(rates.begin(), median, rates.end());
  return *median;
}

}  // namespace moebius::kernels
