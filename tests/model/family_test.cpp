// SPDX-License-Identifier: Apache-2.0
// The list of a model's tensors against checkpoints as they are published.
#include "model/family.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/model_family.hpp"
#include "tests/support/golden_model.hpp"
#include "tests/support/random_model.hpp"

namespace moebius::model {
namespace {

class FamilyTest : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Goldens, FamilyTest, ::testing::ValuesIn(test::golden_model_names),
                         [](const auto& name) { return name.param; });

TEST_P(FamilyTest, lists_exactly_what_the_checkpoint_has) {
  const test::GoldenModel golden = test::load_golden_model(GetParam());
  std::vector<std::string> listed;
  for (const TensorSpec& tensor : checkpoint_schema(golden.config)) {
    listed.push_back(tensor.name);
    const auto found = golden.tensors(tensor.name);
    ASSERT_TRUE(found) << tensor.name;
    EXPECT_EQ(found->shape, tensor.shape) << tensor.name;
  }
  std::ranges::sort(listed);
  EXPECT_EQ(listed, golden.checkpoint.names());
}

TEST_P(FamilyTest, the_parts_make_the_whole) {
  const ModelConfig config = test::load_golden_model(GetParam()).config;
  std::size_t num_tensors = outer_schema(config).size();
  for (LayerId layer(0); layer.value < config.num_layers; ++layer.value) {
    for (const TensorSpec& tensor : layer_schema(config, layer)) {
      ++num_tensors;
      EXPECT_EQ(tensor.layer, layer);
      EXPECT_FALSE(tensor.expert.valid());
    }
    EXPECT_EQ(find_tensor(layer_schema(config, layer), TensorRole::router) != nullptr, config.is_moe(layer));
    if (!config.is_moe(layer)) continue;
    const auto expert = expert_schema(config, layer, ExpertId(config.num_experts - 1));
    ASSERT_EQ(expert.size(), 3U);
    EXPECT_EQ(expert[0].role, TensorRole::expert_gate);
    EXPECT_EQ(expert[1].role, TensorRole::expert_up);
    EXPECT_EQ(expert[2].role, TensorRole::expert_down);
    EXPECT_EQ(expert[2].expert, ExpertId(config.num_experts - 1));
    num_tensors += 3 * static_cast<std::size_t>(config.num_experts);
  }
  EXPECT_EQ(checkpoint_schema(config).size(), num_tensors);
}

TEST(ModelFamilyTest, families_are_found_by_their_model_type) {
  for (const ModelFamily& family : model_families()) EXPECT_EQ(find_model_family(family.model_type), &family);
  EXPECT_EQ(find_model_family("llama4"), nullptr);
  EXPECT_EQ(model_families().size(), 6U);
}

}  // namespace
}  // namespace moebius::model
