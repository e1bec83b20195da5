// SPDX-License-Identifier: Apache-2.0
#include "kernels/isa.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/check.hpp"
#include "kernels/attention.hpp"
#include "kernels/ffn.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/peak.hpp"
#include "tests/kernels/kernel_test.hpp"
#include "tests/support/owned_matrix.hpp"

namespace moebius::kernels {
namespace {

TEST(IsaTest, TheBestOneIsAvailableAndActive) {
  EXPECT_TRUE(isa_available(Isa::portable));
  EXPECT_TRUE(isa_available(best_isa()));
  for (const Isa isa : available_isas()) {
    set_active_isa(isa);
    EXPECT_EQ(active_isa(), isa);
    EXPECT_EQ(active_kernels().isa, isa);
    EXPECT_GE(best_isa(), isa);
  }
  set_active_isa(best_isa());
  EXPECT_STREQ(to_string(Isa::avx512), "avx512");
}

TEST(IsaTest, PeaksAreMeasured) {
  for (const ComputeType type : compute_types) EXPECT_GT(measure_peak_flops(type, 0.02), 1e7);
  EXPECT_GT(measure_read_bandwidth(std::vector<float>(100000, 1.0F), 0.01), 1e6);
}

/// Everything that goes into a log-probability, one after the other, with its bits.
std::vector<float> fingerprint(Isa isa, ComputeType kv_type) {
  set_active_isa(isa);
  const KernelTable& kernels = active_kernels();
  std::minstd_rand random(7);
  std::uniform_real_distribution<float> uniform(-3.0F, 3.0F);
  std::vector<float> x(3 * 32 * 40);
  for (float& value : x) value = uniform(random);
  const KvLayout layout{kv_type, 1, 40, 40};
  std::vector<float> block(layout.block_layer_bytes() / sizeof(float));
  auto* bytes = reinterpret_cast<std::byte*>(block.data());
  const std::byte* blocks[] = {bytes};
  for (int slot = 0; slot < 32; ++slot) store_kv(layout, bytes, slot, &x[0] + slot * 40, &x[1280] + slot * 40);
  std::vector<float> bits(5000);
  const SegmentQueries segment{x.data(), 40, bits.data(), 40, blocks, 0, 32};
  attention(layout, {.num_heads = 1, .scale = 0.3F, .window = 21}, {&segment, 1});
  kernels.rms_norm_row(x.data(), x.data() + 100, 333, 1e-6F, bits.data() + 1280);
  const test::OwnedMatrix matrix(ComputeType::fp32, std::span(x).first(333 * 3), 333, 3);
  const test::OwnedMatrix down(ComputeType::fp32, std::span(x).first(333 * 3), 3, 333);
  FfnScratch scratch;
  expert_ffn({matrix, matrix, down}, {ComputeType::fp32, reinterpret_cast<const std::byte*>(x.data()), 3}, 100, bits.data() + 1700, scratch);
  kernels.rope_row(x.data(), x.data() + 50, 33, bits.data() + 1280);
  kernels.combine_row(bits.data() + 1700, x.data(), x.data() + 500, 3, 300);
  bits[4000] = static_cast<float>(kernels.sum_exp_row(x.data(), 3.0F, 2111));
  return bits;
}

/// README.md of kernels promises it: the instruction sets that fuse give the same bits, all in fp32 and, with
/// bf16, those that do not multiply pairs of it.
TEST(IsaTest, FusedInstructionSetsAgree) {
  for (const ComputeType type : compute_types) {
    std::vector<Isa> agree;
    for (const Isa isa : available_isas()) {
      if (isa != Isa::portable && (type == ComputeType::fp32 || isa != Isa::avx512_bf16)) agree.push_back(isa);
    }
    for (const Isa isa : agree) {
      EXPECT_TRUE(same_bits(fingerprint(isa, type), fingerprint(agree[0], type))) << to_string(isa) << " " << to_string(type);
    }
  }
  set_active_isa(best_isa());
}

}  // namespace
}  // namespace moebius::kernels
