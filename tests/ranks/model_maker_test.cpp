// SPDX-License-Identifier: Apache-2.0
#include "ranks/model_maker.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <set>

#include "base/bf16.hpp"
#include "base/f16.hpp"
#include "base/failure.hpp"
#include "base/model_family.hpp"
#include "io/model_files.hpp"
#include "io/safetensors.hpp"
#include "model/attention_stack.hpp"
#include "model/expert_stack.hpp"
#include "model/family.hpp"
#include "model/tokenizer.hpp"
#include "model/weights.hpp"

namespace moebius::ranks {
namespace {

using ::testing::HasSubstr;

class ModelMakerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(MOEBIUS_BINARY_DIR) / "tests/ranks/tmp" / test->test_suite_name() / test->name();
    std::filesystem::remove_all(folder_);
  }
  std::filesystem::path make(const std::string& name, const MakeModelOptions& options) {
    std::filesystem::create_directories(folder_ / name);
    std::int64_t last = 0;
    const std::int64_t bytes = make_model(folder_ / name, options, [&](std::int64_t done, std::int64_t) { last = done; });
    EXPECT_EQ(bytes, last);
    return folder_ / name;
  }
  static MakeModelOptions small() {
    MakeModelOptions options;
    options.shape = {.hidden_size = 64, .num_layers = 2, .num_heads = 4, .num_kv_heads = 2, .head_dim = 16, .num_experts = 8,
                     .experts_per_token = 2, .expert_width = 24, .vocab_size = 400, .max_positions = 128};
    return options;
  }
  std::filesystem::path folder_;
};

std::vector<float> values(const TensorRef& tensor) {
  const std::vector<std::byte> bytes = read_bytes(tensor);
  std::vector<float> result(bytes.size() / dtype_bytes(tensor.dtype));
  for (std::size_t i = 0; i < result.size(); ++i) {
    std::uint16_t half = 0;
    if (tensor.dtype == DType::f32) {
      std::memcpy(&result[i], bytes.data() + 4 * i, 4);
    } else {
      std::memcpy(&half, bytes.data() + 2 * i, 2);
      result[i] = tensor.dtype == DType::f16 ? to_float(F16{half}) : to_float(Bf16{half});
    }
  }
  return result;
}

TEST_F(ModelMakerTest, numbers_depend_on_seed_and_name_and_not_on_shards) {
  auto options = small();
  const auto one = io::Checkpoint::open(make("one", options));
  options.max_shard_bytes = 20'000;
  const auto shards = io::Checkpoint::open(make("shards", options));
  options.seed = 1;
  const auto other = io::Checkpoint::open(make("other", options));
  EXPECT_EQ(one.names(), shards.names());
  std::set<std::string> seen;
  for (const auto& name : one.names()) {
    const auto a = read_bytes(*one.find(name)), b = read_bytes(*shards.find(name)), c = read_bytes(*other.find(name));
    EXPECT_TRUE(std::ranges::equal(a, b)) << name;
    const bool is_norm = name.ends_with("norm.weight");
    EXPECT_EQ(std::ranges::equal(a, c), is_norm) << name;
    if (is_norm) continue;
    EXPECT_TRUE(seen.insert(std::string(reinterpret_cast<const char*>(a.data()), a.size())).second) << name << " repeats another";
  }
}

TEST_F(ModelMakerTest, weights_are_normal_and_as_wide_as_their_inputs_ask) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    auto options = small();
    options.shape.dtype = dtype;
    const auto checkpoint = io::Checkpoint::open(make("model", options));
    EXPECT_EQ(values(*checkpoint.find("model.layers.1.input_layernorm.weight")), std::vector<float>(64, 1.0F));
    const auto weights = values(*checkpoint.find("lm_head.weight"));
    ASSERT_EQ(weights.size(), 400U * 64U);
    double sum = 0, squares = 0, fourth = 0;
    for (const float w : weights) {
      const double x = double{w} * 8.0;  // the square root of 64 inputs
      sum += x;
      squares += x * x;
      fourth += x * x * x * x;
    }
    const auto n = static_cast<double>(weights.size());
    EXPECT_NEAR(sum / n, 0.0, 4 / std::sqrt(n));
    EXPECT_NEAR(squares / n, 1.0, 4 * std::sqrt(2 / n));
    EXPECT_NEAR(fourth / n, 3.0, 4 * std::sqrt(96 / n));  // of a normal distribution; a uniform one has 1.8
    const auto router = values(*checkpoint.find("model.layers.0.mlp.gate.weight"));
    double shortest = 1e9, longest = 0;
    for (std::size_t row = 0; row < 8; ++row) {
      double length = 0;
      for (std::size_t i = 0; i < 64; ++i) length += double{router[row * 64 + i]} * double{router[row * 64 + i]};
      shortest = std::min(shortest, length);
      longest = std::max(longest, length);
    }
    EXPECT_GT(longest / shortest, 1.5);
  }
}

TEST_F(ModelMakerTest, a_router_skew_orders_experts_by_zipfs_law_along_a_direction_that_all_tokens_share) {
  for (const bool tied : {false, true}) {
    auto options = small();
    options.shape.dtype = DType::f32;
    options.shape.tie_word_embeddings = tied;
    options.shape.router_skew = 1.5;
    const auto folder = make("skewed", options);
    EXPECT_EQ(io::read_model_config(folder).router_skew, 1.5);
    const auto checkpoint = io::Checkpoint::open(folder);
    const auto embedding = values(*checkpoint.find("model.embed_tokens.weight"));
    const double deviation = tied ? 0.125 : 1.0;
    for (std::size_t row = 0; row < 400; ++row) EXPECT_NEAR(double{embedding[row * 64]}, 4 * deviation, 1e-6) << row;  // half of the root of 64
    std::vector<std::vector<std::size_t>> orders;
    for (const char* name : {"model.layers.0.mlp.gate.weight", "model.layers.1.mlp.gate.weight"}) {
      const auto router = values(*checkpoint.find(name));
      std::vector<std::size_t> order(8);
      for (std::size_t e = 0; e < 8; ++e) order[e] = e;
      std::ranges::sort(order, std::greater{}, [&](std::size_t e) { return router[e * 64]; });
      // First choices of many tokens, whose logits are normal beside what the direction adds to them.
      std::vector<double> share(8), zipf(8);
      double sum = 0;
      std::mt19937_64 random(3);
      std::normal_distribution<double> normal;
      constexpr int num_tokens = 40'000;
      for (int token = 0; token < num_tokens; ++token) {
        std::vector<double> logits(8);
        for (std::size_t e = 0; e < 8; ++e) logits[e] = normal(random) + 4.0 * double{router[e * 64]};
        share[static_cast<std::size_t>(std::ranges::max_element(logits) - logits.begin())] += 1.0 / num_tokens;
      }
      for (std::size_t rank = 0; rank < 8; ++rank) sum += zipf[rank] = std::pow(1.0 + static_cast<double>(rank), -1.5);
      for (std::size_t rank = 0; rank < 8; ++rank) EXPECT_NEAR(share[order[rank]], zipf[rank] / sum, 0.01) << name << " rank " << rank;
      orders.push_back(order);
    }
    // Nothing but the router reads it.
    for (const char* name : {"model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.experts.3.up_proj.weight"}) {
      const auto weights = values(*checkpoint.find(name));
      for (std::size_t i = 0; i < weights.size(); i += 64) EXPECT_EQ(weights[i], 0.0F) << name;
      EXPECT_NE(weights[1], 0.0F) << name;
    }
    EXPECT_NE(orders[0], orders[1]);  // a hot expert is not hot in all layers
  }
  auto options = small();
  EXPECT_EQ(io::read_model_config(make("plain", options)).router_skew, std::nullopt);
}

TEST_F(ModelMakerTest, what_was_made_is_read_as_asked) {
  auto options = small();
  options.shape.tie_word_embeddings = true;
  options.shape.overrides = {"rope_theta=5e5", "mlp_only_layers=[1]"};
  const auto folder = make("model", options);
  const ModelConfig config = io::read_model_config(folder);
  EXPECT_EQ(config.model_type, "qwen3_moe");
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.moe_intermediate_size, 24);
  EXPECT_EQ(config.experts_per_token, 2);
  EXPECT_EQ(config.rope_theta, 5e5);
  EXPECT_TRUE(config.is_moe(LayerId(0)) && !config.is_moe(LayerId(1)));
  EXPECT_EQ(config.eos_tokens, std::vector<TokenId>{0});
  const auto checkpoint = io::Checkpoint::open(folder);
  EXPECT_FALSE(checkpoint.find("lm_head.weight"));
  EXPECT_EQ(checkpoint.find("model.layers.1.mlp.up_proj.weight")->shape, (std::vector<std::int64_t>{48, 64}));
}

TEST_F(ModelMakerTest, every_family_can_be_made) {
  for (const ModelFamily& family : model_families()) {
    auto options = small();
    options.shape.family = family.model_type;
    const auto folder = make(std::string(family.model_type), options);
    const ModelConfig config = io::read_model_config(folder);
    EXPECT_EQ(config.model_type, family.model_type);
    const auto checkpoint = io::Checkpoint::open(folder);
    std::size_t num_listed = 0;
    for (const model::TensorSpec& tensor : model::checkpoint_schema(config)) {
      ++num_listed;
      ASSERT_TRUE(checkpoint.find(tensor.name)) << tensor.name;
      EXPECT_EQ(checkpoint.find(tensor.name)->shape, tensor.shape) << tensor.name;
    }
    EXPECT_EQ(checkpoint.names().size(), num_listed);
  }
}

/// Every family in every type: what was made is exactly what the loader asks for, and nothing else.
TEST_F(ModelMakerTest, every_family_loads) {
  for (const std::string& family : io::new_model_families()) {
    for (const DType dtype : {DType::bf16, DType::f16, DType::f32, DType::f8_e4m3}) {
      auto options = small();
      options.shape.family = family;
      options.shape.dtype = dtype;
      options.shape.hidden_size = 160;  // more than one block of scales
      const auto folder = make("model", options);
      const ModelConfig config = io::read_model_config(folder);
      const auto checkpoint = io::Checkpoint::open(folder);
      const TensorLookup tensors = checkpoint.lookup();
      const model::AttentionStack attention(config, ComputeType::bf16, tensors, 8);
      std::vector<model::HostedExpert> hosted;
      for (int l = 0; l < config.num_layers; ++l) {
        for (int e = 0; config.is_moe(LayerId(l)) && e < config.num_experts; ++e) hosted.push_back({LayerId(l), ExpertId(e)});
      }
      const model::ExpertStack experts(config, ComputeType::bf16, tensors, hosted, 8);
      EXPECT_EQ(checkpoint.counters().bytes, checkpoint.total_bytes()) << family;
      const auto names = checkpoint.names();
      const bool has_scales = std::ranges::any_of(names, [](const std::string& name) { return name.ends_with("_scale_inv"); });
      EXPECT_EQ(has_scales, dtype == DType::f8_e4m3) << family;
    }
  }
}

TEST_F(ModelMakerTest, fp8_weights_are_as_wide_as_those_of_other_types) {
  auto options = small();
  options.shape.dtype = DType::f8_e4m3;
  options.shape.hidden_size = 256;
  const auto checkpoint = io::Checkpoint::open(make("model", options));
  const TensorLookup tensors = checkpoint.lookup();
  const std::string name = "model.layers.0.self_attn.q_proj.weight";
  model::WeightArena arena = model::WeightArena::owning(1);
  double squares = 0;
  for (const float w : model::WeightReader(tensors, ComputeType::fp32, arena).values(name, {64, 256})) squares += double{w} * double{w};
  EXPECT_NEAR(squares / 64, 1.0, 0.1);  // a row of 256 numbers that are 1/16 wide
}

TEST_F(ModelMakerTest, the_tokenizer_has_the_vocabulary_asked_for_and_knows_every_byte) {
  for (const int vocab_size : {257, 400, 20'000}) {
    auto options = small();
    options.shape.vocab_size = vocab_size;
    model::Tokenizer tokenizer(io::read_tokenizer(make("model", options)));
    EXPECT_EQ(tokenizer.vocab_size(), vocab_size);
    const std::string text = "The rest, \n\t \xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80 of the test.";
    const auto tokens = tokenizer.encode(text, model::AddSpecial::no);
    EXPECT_EQ(tokenizer.decode(tokens, model::SkipSpecial::no), text);
    EXPECT_EQ(tokens.size() < text.size(), vocab_size > 257);
  }
}

TEST_F(ModelMakerTest, what_cannot_be_made_is_one_clear_failure) {
  const auto failure = [&](const MakeModelOptions& options) -> std::string {
    try {
      make("model", options);
    } catch (const Failure& problem) {
      return problem.what();
    }
    return "no failure";
  };
  auto options = small();
  options.shape.family = "gpt2";
  EXPECT_THAT(failure(options), HasSubstr("gpt2"));
  options = small();
  options.shape.num_kv_heads = 3;
  EXPECT_THAT(failure(options), HasSubstr("num_key_value_heads"));
  options = small();
  options.shape.vocab_size = 256;
  EXPECT_THAT(failure(options), HasSubstr("256"));
  options = small();
  options.shape.overrides = {"rope_theta"};
  EXPECT_THAT(failure(options), HasSubstr("--config rope_theta"));
  options = small();
  options.tokenizer_from = "/nowhere";
  EXPECT_THAT(failure(options), HasSubstr("/nowhere/tokenizer.json"));
}

}  // namespace
}  // namespace moebius::ranks
