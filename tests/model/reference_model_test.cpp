// SPDX-License-Identifier: Apache-2.0
// The naive reference model against transformers: it may only serve as the specification because it gives
// the same numbers.
#include "tests/support/reference_model.hpp"

#include <gtest/gtest.h>

#include "tests/support/compare.hpp"
#include "tests/support/golden_model.hpp"

namespace moebius::test {
namespace {

class ReferenceModelTest : public ::testing::TestWithParam<std::string> {
 protected:
  GoldenModel golden_ = load_golden_model(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Goldens, ReferenceModelTest, ::testing::ValuesIn(golden_model_names),
                         [](const auto& name) { return name.param; });

// Relative to the largest number compared: goldens are stored as float32 (6e-8), and transformers computes
// the norms, the router's softmax and the rotary angles in float32 even when the model runs in float64.
// DeepSeek-V2 has its queries and keys turned in float32 as well, and one of the two has its routed experts
// multiplied by 16.
double double_tolerance(const GoldenModel& golden) { return golden.config.model_type == "deepseek_v2" ? 4e-6 : 1e-6; }

struct Distances {
  double hidden = 0, logits = 0, logprobs = 0;
};

Distances distances(const ReferenceRun& run, const GoldenPrompt& prompt) {
  Distances far;
  for (std::size_t l = 0; l < prompt.hidden.size(); ++l) {
    far.hidden = std::max(far.hidden, max_abs_difference(run.hidden.at(l), prompt.hidden[l]));
  }
  far.logits = max_abs_difference(run.logits, prompt.logits);
  far.logprobs = max_abs_difference(run.token_logprobs, prompt.token_logprobs);
  return far;
}

TEST_P(ReferenceModelTest, double_matches_transformers) {
  const ReferenceModel<double> model(golden_.config, golden_.tensors);
  for (const GoldenPrompt& prompt : golden_.prompts) {
    const Distances far = distances(model.run(prompt.token_ids), prompt);
    const double largest_logit = max_abs(prompt.logits);
    double largest_hidden = 0;
    for (const auto& layer : prompt.hidden) largest_hidden = std::max(largest_hidden, max_abs(layer));
    EXPECT_LT(far.hidden, double_tolerance(golden_) * largest_hidden);
    EXPECT_LT(far.logits, double_tolerance(golden_) * largest_logit);
    EXPECT_LT(far.logprobs, double_tolerance(golden_) * largest_logit);
    std::printf("%s double, %zu tokens: hidden %.2e of %.1f, logits %.2e of %.1f, logprobs %.2e\n", golden_.name.c_str(),
                prompt.token_ids.size(), far.hidden, largest_hidden, far.logits, largest_logit, far.logprobs);
  }
}

TEST_P(ReferenceModelTest, float_is_as_close_as_transformers_in_float) {
  const ReferenceModel<float> model(golden_.config, golden_.tensors);
  for (const GoldenPrompt& prompt : golden_.prompts) {
    const Distances far = distances(model.run(prompt.token_ids), prompt);
    EXPECT_LT(far.logits, 10 * golden_.float32_max_abs_logit_error);
    EXPECT_LT(far.logprobs, 10 * golden_.float32_max_abs_logit_error);
    std::printf("%s float, %zu tokens: hidden %.2e logits %.2e logprobs %.2e (transformers: %.2e)\n", golden_.name.c_str(),
                prompt.token_ids.size(), far.hidden, far.logits, far.logprobs, golden_.float32_max_abs_logit_error);
  }
}

TEST_P(ReferenceModelTest, greedy_tokens_match) {
  const ReferenceModel<double> model(golden_.config, golden_.tensors);
  for (std::size_t i = 0; i < 3; ++i) {  // the short prompts; each token costs a whole forward pass
    const GoldenPrompt& prompt = golden_.prompts[i];
    EXPECT_EQ(model.greedy(prompt.token_ids, static_cast<int>(prompt.greedy_token_ids.size())), prompt.greedy_token_ids);
  }
}

TEST_P(ReferenceModelTest, other_tokens_and_other_order_give_other_numbers) {
  const ReferenceModel<double> model(golden_.config, golden_.tensors);
  const GoldenPrompt& prompt = golden_.prompts[3];
  const ReferenceRun right = model.run(prompt.token_ids);
  std::vector<TokenId> tokens = prompt.token_ids;
  std::swap(tokens[3], tokens[4]);
  const ReferenceRun swapped = model.run(tokens);
  const std::size_t vocab = static_cast<std::size_t>(golden_.config.vocab_size);
  const std::span<const double> last(right.logits.data() + right.logits.size() - vocab, vocab);
  const std::span<const double> last_swapped(swapped.logits.data() + swapped.logits.size() - vocab, vocab);
  EXPECT_GT(max_abs_difference(last, last_swapped), 1e-4) << "positions make no difference";
  EXPECT_EQ(max_abs_difference(std::span(right.logits).first(3 * vocab), std::span(swapped.logits).first(3 * vocab)), 0.0)
      << "a token sees a later one";
}

TEST(ReferenceModelRead, refuses_a_missing_or_misshapen_tensor) {
  const GoldenModel golden = load_golden_model("qwen3_moe");
  const TensorLookup without = [&](std::string_view name) {
    return name == "model.layers.1.self_attn.q_norm.weight" ? std::nullopt : golden.tensors(name);
  };
  EXPECT_THROW(ReferenceModel<float>(golden.config, without), std::runtime_error);
  ModelConfig config = golden.config;
  config.head_dim *= 2;
  EXPECT_THROW(ReferenceModel<float>(config, golden.tensors), std::runtime_error);
}

}  // namespace
}  // namespace moebius::test
