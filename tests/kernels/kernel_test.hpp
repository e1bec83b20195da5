// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the tests of kernels share: every test runs with every instruction set of this processor, with
// random numbers whose seed is printed when it fails (MOEBIUS_TEST_SEED repeats one).

#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/bf16.hpp"
#include "base/model_config.hpp"
#include "kernels/activations.hpp"
#include "kernels/isa.hpp"

namespace moebius::kernels {

inline std::uint32_t test_seed() {
  const char* given = std::getenv("MOEBIUS_TEST_SEED");
  static const std::uint32_t seed =
      given != nullptr ? static_cast<std::uint32_t>(std::strtoul(given, nullptr, 10)) : std::random_device{}();
  return seed;
}

class KernelTest : public ::testing::TestWithParam<Isa> {
 protected:
  KernelTest() { set_active_isa(GetParam()); }
  ~KernelTest() override { set_active_isa(best_isa()); }

  std::vector<float> normal(std::size_t n, float deviation = 1.0F) {
    std::normal_distribution<float> distribution(0.0F, deviation);
    std::vector<float> x(n);
    for (float& value : x) value = distribution(random_);
    return x;
  }
  int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  std::mt19937 random_{test_seed()};
  ::testing::ScopedTrace trace_{__FILE__, __LINE__, "MOEBIUS_TEST_SEED=" + std::to_string(test_seed())};
};

inline std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    if (isa_available(isa)) isas.push_back(isa);
  }
  return isas;
}

inline std::string isa_name(const ::testing::TestParamInfo<Isa>& info) { return to_string(info.param); }

#define MOEBIUS_FOR_ALL_ISAS(Suite) \
  INSTANTIATE_TEST_SUITE_P(, Suite, ::testing::ValuesIn(available_isas()), isa_name)

/// Equal bits, NaN included; names the first difference.
inline ::testing::AssertionResult same_bits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << "sizes " << a.size() << " and " << b.size();
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) {
      return ::testing::AssertionFailure() << "element " << i << ": " << a[i] << " and " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

/// What a kernel sees of x in compute type.
inline float as_stored(ComputeType type, float x) { return type == ComputeType::bf16 ? to_float(to_bf16(x)) : x; }

/// Dense rows in compute type and the view of them.
struct StoredRows {
  std::vector<float> memory;  // float for its alignment
  RowsView view;

  StoredRows(ComputeType type, std::span<const float> x, std::int64_t width) : memory(x.size()) {
    auto* bytes = reinterpret_cast<std::byte*>(memory.data());
    convert_rows(type, x, bytes);
    view = {type, bytes, width};
  }
  [[nodiscard]] RowsView from_row(std::int64_t row) const {
    const auto bytes = static_cast<std::size_t>(row * view.row_stride) * element_bytes(view.type);
    return {view.type, view.data + bytes, view.row_stride};
  }
};

inline constexpr ComputeType compute_types[] = {ComputeType::fp32, ComputeType::bf16};

}  // namespace moebius::kernels
