// SPDX-License-Identifier: Apache-2.0
#pragma once
// How far apart, or whether the same bits. A NaN or another length is infinitely far.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <ranges>
#include <type_traits>

namespace moebius::test {

/// Largest absolute difference of two ranges of numbers.
template <std::ranges::sized_range A, std::ranges::sized_range B>
double max_abs_difference(const A& a, const B& b) {
  constexpr double far = std::numeric_limits<double>::infinity();
  if (std::ranges::size(a) != std::ranges::size(b)) return far;
  double largest = 0;
  auto other = std::ranges::begin(b);
  for (const auto& value : a) {
    const double difference = std::abs(static_cast<double>(value) - static_cast<double>(*other++));
    if (std::isnan(difference)) return far;
    largest = std::max(largest, difference);
  }
  return largest;
}

/// Largest absolute value.
template <std::ranges::range A>
double max_abs(const A& a) {
  double largest = 0;
  for (const auto& value : a) largest = std::max(largest, std::abs(static_cast<double>(value)));
  return largest;
}

/// Contiguous ranges of the same element type, compared as bytes.
template <std::ranges::contiguous_range A, std::ranges::contiguous_range B>
bool same_bits(const A& a, const B& b) {
  static_assert(std::is_same_v<std::ranges::range_value_t<A>, std::ranges::range_value_t<B>>);
  return std::ranges::size(a) == std::ranges::size(b) &&
         (std::ranges::size(a) == 0 ||
          std::memcmp(std::ranges::data(a), std::ranges::data(b), std::ranges::size(a) * sizeof(*std::ranges::data(a))) == 0);
}

}  // namespace moebius::test
