// SPDX-License-Identifier: Apache-2.0
#include "model/weights.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "base/bf16.hpp"
#include "base/check.hpp"
#include "base/f8.hpp"
#include "base/failure.hpp"
#include "model/attention_stack.hpp"
#include "model/expert_stack.hpp"
#include "tests/support/random_model.hpp"

namespace moebius::model {
namespace {

class WeightReaderTest : public ::testing::Test {
 protected:
  /// The message of the Failure that loading both stacks of `model` ends with.
  static std::string failure(test::RandomModel& model) {
    try {
      const AttentionStack attention(model.config(), ComputeType::fp32, model.lookup(), 8);
      const std::vector<HostedExpert> hosted{{LayerId(0), ExpertId(4)}};
      const ExpertStack experts(model.config(), ComputeType::fp32, model.lookup(), hosted, 8);
    } catch (const Failure& problem) {
      EXPECT_EQ(problem.code(), ExitCode::unreadable_input);
      return problem.what();
    }
    return "";
  }
  test::RandomModel model_{test::odd_model_config(), DType::bf16, 3};
};

TEST_F(WeightReaderTest, names_every_missing_tensor) {
  EXPECT_EQ(failure(model_), "");
  for (const auto& [name, tensor] : model_.tensors()) {
    test::RandomModel without = model_;
    without.tensors().erase(name);
    const bool unused = name.find(".experts.") != std::string::npos && name.find("layers.0.mlp.experts.4.") == std::string::npos;
    const std::string message = failure(without);
    EXPECT_EQ(message.empty(), unused) << name;  // experts that are not hosted are not looked for
    EXPECT_EQ(message.find(name + " ") == std::string::npos, unused) << message;
  }
}

TEST_F(WeightReaderTest, names_file_and_tensor_of_another_shape_type_or_size) {
  const std::string name = "model.layers.1.self_attn.k_proj.weight";
  const auto expect_problem = [&](const test::RandomModel::Tensor& tensor, const std::string& problem) {
    test::RandomModel broken = model_;
    broken.tensors()[name] = tensor;
    const std::string message = failure(broken);
    for (const std::string& part : {std::string("memory"), name, problem}) EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  auto tensor = model_.tensors().at(name);
  tensor.shape = {52, 44};
  expect_problem(tensor, "[52, 44] (config.json asks for [44, 52])");
  tensor.shape = {44 * 52};
  expect_problem(tensor, "[2288]");
  tensor.shape = {44, 52};
  tensor.dtype = DType::i32;
  expect_problem(tensor, "floating-point");
  tensor.dtype = DType::f32;
  expect_problem(tensor, "4576 bytes");
}

TEST_F(WeightReaderTest, a_plan_counts_the_bytes_that_loading_takes) {
  ModelConfig tied = test::odd_model_config();
  tied.tie_word_embeddings = true;
  for (const ModelConfig& config : {test::odd_model_config(), tied, test::odd_window_config(), test::odd_clipped_config(), test::odd_latent_config()}) {
    for (const ComputeType compute : {ComputeType::fp32, ComputeType::bf16}) {
      const test::RandomModel model(config, DType::f32, 4);
      const AttentionStack attention(config, compute, model.lookup(), 8);
      const std::size_t rope_bytes = static_cast<std::size_t>(config.max_position_embeddings) * static_cast<std::size_t>(config.rope_dim()) * 4;
      EXPECT_EQ(attention.weight_bytes(), AttentionStack::weight_bytes(config, compute) + rope_bytes);
      EXPECT_GT(attention.scratch_bytes(), 0U);
      EXPECT_EQ(attention.bytes(), attention.weight_bytes() + attention.scratch_bytes());
      const std::vector<HostedExpert> hosted{{LayerId(2), ExpertId(1)}, {LayerId(2), ExpertId(10)}};
      const ExpertStack experts(config, compute, model.lookup(), hosted, 8);
      EXPECT_EQ(experts.weight_bytes(), 2 * ExpertStack::expert_bytes(config, compute));
    }
  }
}

/// What passes through a lookup, byte by byte.
struct CountedReads {
  std::map<std::string, std::vector<int>> reads_of_byte;  // tensor -> [num_bytes]
  TensorLookup count(TensorLookup inner) {
    return [this, inner = std::move(inner)](std::string_view name) {
      auto tensor = inner(name);
      if (!tensor) return tensor;
      auto& reads = reads_of_byte[std::string(name)];
      reads.resize(tensor->num_bytes);
      tensor->read = [&reads, read = tensor->read](std::size_t first, std::span<std::byte> out) {
        for (std::size_t i = 0; i < out.size(); ++i) ++reads.at(first + i);
        read(first, out);
      };
      return tensor;
    };
  }
  void expect_once() const {
    for (const auto& [name, reads] : reads_of_byte) EXPECT_TRUE(std::ranges::all_of(reads, [](int n) { return n == 1; })) << name;
  }
};

TEST_F(WeightReaderTest, sharers_fill_the_same_memory_and_read_every_byte_once) {
  ModelConfig tied = test::odd_model_config();
  tied.tie_word_embeddings = true;
  for (const ModelConfig& config : {test::odd_model_config(), tied, test::odd_window_config(), test::odd_clipped_config(), test::odd_latent_config()}) {
    test::RandomModel model(config, DType::bf16, 4);
    const auto num_others =
        std::ranges::count_if(model.tensors(), [](const auto& tensor) { return tensor.first.find(".experts.") == std::string::npos; });
    const std::size_t bytes = AttentionStack::weight_bytes(config, ComputeType::bf16);
    std::vector<std::byte> alone;
    for (const int num_sharers : {1, 2, 3, 7}) {
      CountedReads counted;
      const TensorLookup tensors = counted.count(model.lookup());
      WeightArena arena = WeightArena::owning(bytes);
      const std::span<std::byte> memory = arena.take(bytes);
      std::ranges::fill(memory, std::byte{0});
      for (int idx = 0; idx < num_sharers; ++idx) {
        const AttentionStack stack(config, ComputeType::bf16, tensors, 8, {.memory = memory, .share = {idx, num_sharers}});
      }
      counted.expect_once();
      EXPECT_EQ(counted.reads_of_byte.size(), static_cast<std::size_t>(num_others)) << "all tensors but those of the experts";
      if (num_sharers == 1) alone.assign(memory.begin(), memory.end());
      EXPECT_TRUE(std::ranges::equal(memory, alone)) << num_sharers;
    }
  }
}

TEST_F(WeightReaderTest, a_matrix_that_is_larger_than_a_piece_of_work_is_divided) {
  // 90 MB in rows of 300 kB: more than one piece of work, and many reads.
  constexpr int num_out = 300, num_in = 75'000;
  const std::array<std::int64_t, 2> shape{num_out, num_in};
  std::vector<std::pair<std::size_t, std::size_t>> reads;
  int num_small = 0;
  const TensorLookup tensors = [&](std::string_view) {
    return TensorRef{.dtype = DType::f32, .shape = {shape.begin(), shape.end()}, .num_bytes = std::size_t{num_out} * num_in * 4,
                     .read = [&](std::size_t first, std::span<std::byte> out) {
                       reads.emplace_back(first, out.size());
                       std::vector<float> row(num_in);
                       for (std::size_t at = 0; at < out.size(); at += row.size() * 4) {
                         std::ranges::fill(row, static_cast<float>((first + at) / (row.size() * 4)));  // the row's number
                         std::memcpy(out.data() + at, row.data(), row.size() * 4);
                       }
                     },
                     .file = "large.safetensors"};
  };
  const std::size_t bytes = kernels::packed_bytes(ComputeType::bf16, num_out, num_in);
  WeightArena arena = WeightArena::owning(bytes);
  const std::span<std::byte> memory = arena.take(bytes);
  for (int idx = 0; idx < 2; ++idx) {
    WeightArena over = WeightArena::over(memory);
    WeightReader reader(tensors, ComputeType::bf16, over, {idx, 2});
    const kernels::PackedMatrix matrix = reader.matrix("m", num_out, num_in);
    EXPECT_FALSE(reads.empty());
    if (idx == 0) {
      EXPECT_LT(reads.back().first, bytes * 2) << "the first sharer reads a part";
      continue;
    }
    std::size_t next = 0;  // all reads of both sharers lie side by side
    for (const auto& [first, size] : reads) {
      EXPECT_EQ(first, next);
      next += size;
      num_small += size < (1U << 20);
    }
    EXPECT_EQ(next, std::size_t{num_out} * num_in * 4);
    EXPECT_LE(num_small, 2) << "only the last read of a share may be small";
    std::vector<float> row(num_in);
    for (const int r : {0, 31, 32, 199, 200, 223, 224, 299}) {
      kernels::unpack_row(matrix, r, row);
      EXPECT_EQ(row.front(), to_float(to_bf16(static_cast<float>(r))));
      EXPECT_EQ(row.back(), row.front());
    }
  }
}

// FP8 --------------------------------------------------------------------------------------------

class Fp8Test : public ::testing::Test {
 protected:
  static constexpr int num_out = 300, num_in = 200;  // 3 x 2 blocks, the last ones cut
  Fp8Test() {
    codes_.resize(std::size_t{num_out} * num_in);
    for (std::size_t i = 0; i < codes_.size(); ++i) codes_[i] = static_cast<std::byte>(i * 7 % 256);
    scales_ = {0.5F, 3.0F, 1e-3F, 0.25F, -1.0F, 0x1p-130F};
  }
  TensorLookup lookup(std::vector<std::int64_t> scales_shape = {3, 2}, DType scales_type = DType::f32) {
    return [=, this](std::string_view name) -> std::optional<TensorRef> {
      const auto over = [](std::span<const std::byte> bytes) {
        return [bytes](std::size_t first, std::span<std::byte> out) { std::ranges::copy(bytes.subspan(first, out.size()), out.begin()); };
      };
      const auto scales = std::as_bytes(std::span(scales_));
      if (name == "w.weight") return TensorRef{DType::f8_e4m3, {num_out, num_in}, codes_.size(), over(codes_), "f8.safetensors"};
      if (name == "w.weight_scale_inv" && !scales_shape.empty()) {
        return TensorRef{scales_type, scales_shape, scales.size(), over(scales), "f8.safetensors"};
      }
      return std::nullopt;
    };
  }
  [[nodiscard]] float expected(int row, int column) const {
    const auto code = static_cast<std::uint8_t>(codes_[static_cast<std::size_t>(row * num_in + column)]);
    return to_float(F8E4M3{code}) * scales_[static_cast<std::size_t>(row / 128 * 2 + column / 128)];
  }
  std::vector<std::byte> codes_;
  std::vector<float> scales_;
};

TEST_F(Fp8Test, every_code_is_multiplied_by_the_scale_of_its_block) {
  const TensorLookup tensors = lookup();
  std::vector<float> row(num_in);
  for (const ComputeType compute : {ComputeType::fp32, ComputeType::bf16}) {
    WeightArena arena = WeightArena::owning(kernels::packed_bytes(compute, num_out, num_in));
    WeightReader reader(tensors, compute, arena);
    const kernels::PackedMatrix matrix = reader.matrix("w.weight", num_out, num_in);
    std::set<unsigned> seen;
    for (int r = 0; r < num_out; ++r) {
      kernels::unpack_row(matrix, r, row);
      for (int c = 0; c < num_in; ++c) {
        const float exact = expected(r, c), found = row[static_cast<std::size_t>(c)];
        const float rounded = compute == ComputeType::fp32 ? exact : to_float(to_bf16(exact));
        if (std::isnan(exact)) {
          ASSERT_TRUE(std::isnan(found));
        } else {
          ASSERT_EQ(found, rounded) << r << "," << c;
          ASSERT_EQ(std::signbit(found), std::signbit(rounded));
        }
        seen.insert(std::to_integer<unsigned>(codes_[static_cast<std::size_t>(r * num_in + c)]));
      }
    }
    EXPECT_EQ(seen.size(), 256U);
  }
}

TEST_F(Fp8Test, scales_that_are_absent_or_of_another_shape_are_named) {
  WeightArena arena = WeightArena::owning(4 << 20);
  const auto failure = [&](const TensorLookup& tensors, auto&& read) -> std::string {
    WeightReader reader(tensors, ComputeType::fp32, arena);
    try {
      read(reader);
    } catch (const Failure& problem) {
      EXPECT_EQ(problem.code(), ExitCode::unreadable_input);
      return problem.what();
    }
    return "no failure";
  };
  const auto matrix = [](WeightReader& reader) { (void)reader.matrix("w.weight", num_out, num_in); };
  EXPECT_EQ(failure(lookup(), matrix), "no failure");
  EXPECT_NE(failure(lookup({}), matrix).find("w.weight_scale_inv is not in the checkpoint"), std::string::npos);
  EXPECT_NE(failure(lookup({2, 3}), matrix).find("w.weight_scale_inv has the shape [2, 3] (config.json asks for [3, 2])"), std::string::npos);
  EXPECT_NE(failure(lookup({3, 2}, DType::i32), matrix).find("w.weight_scale_inv is not of a floating-point type"), std::string::npos);
  // Embeddings and norms are never published in FP8.
  const auto rows = [](WeightReader& reader) { (void)reader.rows("w.weight", num_out, num_in); };
  EXPECT_NE(failure(lookup(), rows).find("f8.safetensors: tensor w.weight is not of a floating-point type"), std::string::npos);
}

// Parts ------------------------------------------------------------------------------------------

TEST_F(WeightReaderTest, rows_can_be_picked_in_any_order_and_matrices_computed) {
  const TensorLookup tensors = model_.lookup();
  const std::string q = "model.layers.0.self_attn.q_proj.weight", k = "model.layers.0.self_attn.k_proj.weight";
  WeightArena arena = WeightArena::owning(1 << 20);
  WeightReader reader(tensors, ComputeType::fp32, arena);
  std::vector<int> backwards(132);
  for (int i = 0; i < 132; ++i) backwards[static_cast<std::size_t>(i)] = 131 - i;
  const auto matrix = reader.stacked({{q, 132, backwards}, {k, 44}, {q, 132, {5, 5}}}, 52);
  const std::vector<float> q_values = reader.values(q, {132, 52}), k_values = reader.values(k, {44, 52});
  ASSERT_EQ(matrix.num_out(), 132 + 44 + 2);
  std::vector<float> row(52);
  for (int r = 0; r < matrix.num_out(); ++r) {
    kernels::unpack_row(matrix, r, row);
    const auto& from = r >= 132 && r < 176 ? k_values : q_values;
    const int at = r < 132 ? 131 - r : r < 176 ? r - 132 : 5;
    ASSERT_TRUE(std::ranges::equal(row, std::span(from).subspan(static_cast<std::size_t>(at) * 52, 52))) << r;
  }
  const auto made = reader.computed(ComputeType::fp32, 52, 132, [&] {
    std::vector<float> transposed(q_values.size());
    for (std::size_t i = 0; i < q_values.size(); ++i) transposed[i % 52 * 132 + i / 52] = q_values[i];
    return transposed;
  });
  std::vector<float> column(132);
  kernels::unpack_row(made, 7, column);
  for (std::size_t r = 0; r < 132; ++r) ASSERT_EQ(column[r], q_values[r * 52 + 7]);
}

}  // namespace
}  // namespace moebius::model
