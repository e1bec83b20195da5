// SPDX-License-Identifier: Apache-2.0
#include "model/weights.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "model/attention_stack.hpp"
#include "model/expert_stack.hpp"
#include "tests/support/random_model.hpp"

namespace moebius::model {
namespace {

TensorRef tensor_of(DType dtype, std::vector<std::int64_t> shape, std::span<const std::byte> bytes) {
  return {.dtype = dtype, .shape = std::move(shape), .bytes = bytes, .file = "some.safetensors"};
}

TEST(WidenTest, every_half) {
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  std::vector<float> values(halves.size());
  widen(tensor_of(DType::f16, {65536}, std::as_bytes(std::span(halves))), 0, values);
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const int exponent = static_cast<int>(i >> 10 & 31), fraction = static_cast<int>(i & 1023);
    ASSERT_EQ(std::signbit(values[i]), i >= 32768) << i;
    const double magnitude = std::abs(static_cast<double>(values[i]));
    if (exponent == 31) {
      ASSERT_TRUE(fraction == 0 ? std::isinf(magnitude) : std::isnan(magnitude)) << i;
    } else {
      ASSERT_EQ(magnitude, exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25)) << i;
    }
  }
}

TEST(WidenTest, unaligned_bytes_and_parts) {
  const std::vector<float> source{1.5F, -2.25F, 3e-40F, 1e30F};
  std::vector<std::byte> shifted(1 + source.size() * 4);
  std::memcpy(shifted.data() + 1, source.data(), source.size() * 4);
  std::vector<float> values(3);
  const TensorRef tensor = tensor_of(DType::f32, {4}, std::span(shifted).subspan(1));
  widen(tensor, 1, values);
  EXPECT_EQ(values, (std::vector<float>{-2.25F, 3e-40F, 1e30F}));
  EXPECT_THROW(widen(tensor, 2, values), ContractError);
}

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
  for (const bool tied : {false, true}) {
    for (const ComputeType compute : {ComputeType::fp32, ComputeType::bf16}) {
      ModelConfig config = test::odd_model_config();
      config.tie_word_embeddings = tied;
      const test::RandomModel model(config, DType::f32, 4);
      const AttentionStack attention(config, compute, model.lookup(), 8);
      EXPECT_EQ(attention.weight_bytes(), AttentionStack::weight_bytes(config, compute));
      EXPECT_GT(attention.scratch_bytes(), 0U);
      EXPECT_EQ(attention.bytes(), attention.weight_bytes() + attention.scratch_bytes());
      const std::vector<HostedExpert> hosted{{LayerId(0), ExpertId(1)}, {LayerId(2), ExpertId(10)}};
      const ExpertStack experts(config, compute, model.lookup(), hosted, 8);
      EXPECT_EQ(experts.weight_bytes(), 2 * ExpertStack::expert_bytes(config, compute));
    }
  }
}

}  // namespace
}  // namespace moebius::model
