// SPDX-License-Identifier: Apache-2.0
// AttentionStack and ExpertStack together against transformers' float64 results and against the naive
// reference model, and proof that these comparisons notice a broken residual or position.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "io/model_files.hpp"
#include "kernels/isa.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/direct_engine.hpp"
#include "tests/support/golden_model.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/reference_model.hpp"

namespace moebius::test {
namespace {

class StacksGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  /// What fp32 must reach: ten times the error of transformers' own float32 run.
  [[nodiscard]] double logit_tolerance() const { return 10 * golden_.float32_max_abs_logit_error; }
  GoldenModel golden_ = load_golden_model(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Goldens, StacksGoldenTest, ::testing::ValuesIn(golden_model_names),
                         [](const auto& name) { return name.param; });

// Hidden states before the logits: about a hundred roundings of float32 at their size.
constexpr double hidden_tolerance = 1e-5;

double hidden_distance(const DirectRun& run, const GoldenPrompt& prompt) {
  double far = 0;
  for (std::size_t l = 0; l < prompt.hidden.size(); ++l) {
    far = std::max(far, max_abs_difference(run.hidden.at(l), prompt.hidden[l]) / std::max(1.0, max_abs(prompt.hidden[l])));
  }
  return far;
}

TEST_P(StacksGoldenTest, fp32_logits_hidden_states_and_logprobs) {
  DirectEngine engine(golden_.config, golden_.tensors);
  for (const GoldenPrompt& prompt : golden_.prompts) {
    const DirectRun run = engine.run(prompt.token_ids);
    const double logits = max_abs_difference(run.logits, prompt.logits), hidden = hidden_distance(run, prompt);
    const double logprobs = max_abs_difference(engine.token_logprobs(run, prompt.token_ids), prompt.token_logprobs);
    EXPECT_LT(logits, logit_tolerance());
    EXPECT_LT(hidden, hidden_tolerance);
    EXPECT_LT(logprobs, logit_tolerance());
    std::printf("%s fp32, %zu tokens: logits %.2e hidden %.2e logprobs %.2e (transformers float32: %.2e)\n",
                golden_.name.c_str(), prompt.token_ids.size(), logits, hidden, logprobs, golden_.float32_max_abs_logit_error);
  }
}

TEST_P(StacksGoldenTest, every_instruction_set) {
  const GoldenPrompt& prompt = golden_.prompts.back();
  const kernels::Isa before = kernels::active_isa();
  std::vector<DirectRun> fused;
  for (const kernels::Isa isa : {kernels::Isa::portable, kernels::Isa::avx2, kernels::Isa::avx512}) {
    if (!kernels::isa_available(isa)) continue;
    kernels::set_active_isa(isa);
    DirectEngine engine(golden_.config, golden_.tensors);
    const DirectRun run = engine.run(prompt.token_ids);
    EXPECT_LT(max_abs_difference(run.logits, prompt.logits), logit_tolerance()) << kernels::to_string(isa);
    if (isa != kernels::Isa::portable) fused.push_back(run);
  }
  kernels::set_active_isa(before);
  for (const DirectRun& run : fused) EXPECT_TRUE(same_bits(run.logits, fused.front().logits));
}

// A greedy token is decided where the gap to the second is wider than what two float32 runs may differ by.
TEST_P(StacksGoldenTest, fp32_greedy_tokens) {
  DirectEngine engine(golden_.config, golden_.tensors);
  int num_decided = 0;
  for (const GoldenPrompt& prompt : golden_.prompts) {
    if (static_cast<double>(prompt.greedy_margin) < 2 * logit_tolerance()) continue;
    ++num_decided;
    EXPECT_EQ(engine.greedy(prompt.token_ids, static_cast<int>(prompt.greedy_token_ids.size())), prompt.greedy_token_ids);
  }
  EXPECT_GE(num_decided, 5);
}

/// sqrt(mean difference^2 / mean golden^2).
double relative_rms(std::span<const float> values, std::span<const float> golden) {
  if (values.size() != golden.size()) return std::numeric_limits<double>::infinity();
  double error = 0, power = 0;
  for (std::size_t i = 0; i < golden.size(); ++i) {
    error += std::pow(static_cast<double>(values[i]) - static_cast<double>(golden[i]), 2);
    power += std::pow(static_cast<double>(golden[i]), 2);
  }
  return std::sqrt(error / power);
}

std::ptrdiff_t top_token(std::span<const float> logits) { return std::ranges::max_element(logits) - logits.begin(); }

/// A run, and the experts that each token went to. // [tokens][layers]
struct RoutedRun {
  DirectRun run;
  std::vector<std::vector<std::vector<std::int32_t>>> experts;
};

RoutedRun routed_run(const GoldenModel& golden, ComputeType compute, std::span<const TokenId> tokens) {
  RoutedRun result;
  result.experts.resize(tokens.size());
  DirectEngineOptions options;
  options.compute = compute;
  options.before_layer = [&](LayerId layer, std::span<const std::int32_t> rows, const model::TokenStates& states) {
    if (layer == LayerId(0) || !golden.config.is_moe(LayerId(layer.value - 1))) return;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::int32_t* ids = states.topk_ids(rows[i]);
      result.experts[i].emplace_back(ids, ids + states.experts_per_token());
    }
  };
  DirectEngine engine(golden.config, golden.tensors, options);
  result.run = engine.run(tokens);
  return result;
}

// bf16 keeps 8 bits, so each rounding is off by up to 2^-9 = 0.2 %, and hidden states are rounded some ten
// times a layer: 2 % for a token that, like those before it, goes to the experts it goes to in fp32. Where
// two experts are almost equally probable, bf16 may choose the other one; such tokens are few, and their logits
// only stay related. Where routed experts are multiplied by routed_scaling_factor, so are their errors.
constexpr double bf16_tolerance = 0.02;
double bf16_tolerance_of(const ModelConfig& config) { return bf16_tolerance * std::max(1.0, config.router.scaling / 4); }
double bf16_tolerance_with_other_experts(const ModelConfig& config) { return config.router.scaling > 1 ? 1.0 : 0.3; }

TEST_P(StacksGoldenTest, bf16_is_within_its_tolerance) {
  const auto vocab = static_cast<std::size_t>(golden_.config.vocab_size);
  int num_tokens = 0, num_other_experts = 0, num_same_top = 0;
  double farthest = 0, farthest_of_others = 0;
  for (const GoldenPrompt& prompt : golden_.prompts) {
    const RoutedRun bf16 = routed_run(golden_, ComputeType::bf16, prompt.token_ids);
    const RoutedRun fp32 = routed_run(golden_, ComputeType::fp32, prompt.token_ids);
    bool same_so_far = true;
    for (std::size_t i = 0; i < prompt.token_ids.size(); ++i, ++num_tokens) {
      const double far = relative_rms(std::span(bf16.run.logits).subspan(i * vocab, vocab),
                                      std::span(prompt.logits).subspan(i * vocab, vocab));
      num_same_top += top_token(std::span(bf16.run.logits).subspan(i * vocab, vocab)) ==
                              top_token(std::span(prompt.logits).subspan(i * vocab, vocab))
                          ? 1
                          : 0;
      if (bf16.experts[i] != fp32.experts[i]) {
        ++num_other_experts;
        same_so_far = false;
      }
      double& most = same_so_far ? farthest : farthest_of_others;
      most = std::max(most, far);
    }
    EXPECT_GT(relative_rms(bf16.run.logits, prompt.logits), 1e-4) << "bf16 was not used";
  }
  std::printf("%s bf16: %d tokens, farthest %.2e; %d went to other experts, farthest %.2e; same most probable token %.1f %%\n",
              golden_.name.c_str(), num_tokens, farthest, num_other_experts, farthest_of_others, 100.0 * num_same_top / num_tokens);
  EXPECT_GT(num_same_top, num_tokens * 9 / 10);
  EXPECT_LT(farthest, bf16_tolerance_of(golden_.config));
  EXPECT_LT(num_other_experts, num_tokens / 20);
  EXPECT_LT(farthest_of_others, bf16_tolerance_with_other_experts(golden_.config));
}

TEST_P(StacksGoldenTest, a_zeroed_residual_is_noticed) {
  const GoldenPrompt& prompt = golden_.prompts[3];
  for (const ComputeType compute : {ComputeType::fp32, ComputeType::bf16}) {
    DirectEngineOptions options;
    options.compute = compute;
    options.before_layer = [&](LayerId layer, std::span<const std::int32_t> rows, model::TokenStates& states) {
      if (layer == LayerId(1)) std::fill_n(states.residual(rows.front()), states.hidden_size(), 0.0F);
    };
    DirectEngine engine(golden_.config, golden_.tensors, options);
    const DirectRun run = engine.run(prompt.token_ids);
    EXPECT_GT(max_abs_difference(run.logits, prompt.logits), logit_tolerance());
    EXPECT_GT(hidden_distance(run, prompt), hidden_tolerance);
    EXPECT_GT(relative_rms(run.logits, prompt.logits), bf16_tolerance);
  }
}

TEST_P(StacksGoldenTest, a_shifted_position_is_noticed) {
  const GoldenPrompt& prompt = golden_.prompts[4];
  const std::span<const TokenId> tokens = prompt.token_ids;
  const auto vocab = static_cast<std::size_t>(golden_.config.vocab_size);
  const auto run_from = [&](int first_token, int first_position) {
    DirectEngine engine(golden_.config, golden_.tensors);
    DirectEngine::Sequence sequence = engine.begin(static_cast<int>(tokens.size()) + 1);
    const DirectEngine::Piece head{&sequence, tokens.first(33)};
    (void)engine.step({&head, 1});
    DirectEngine::Sequence child = engine.fork(sequence, first_position, static_cast<int>(tokens.size()) + 1);
    const DirectEngine::Piece tail{&child, tokens.subspan(static_cast<std::size_t>(first_token))};
    return engine.step({&tail, 1}).logits;
  };
  const std::span<const float> golden = std::span(prompt.logits).subspan(32 * vocab);
  EXPECT_LT(max_abs_difference(run_from(32, 32), golden), logit_tolerance());
  EXPECT_GT(max_abs_difference(run_from(32, 33), golden), logit_tolerance());
}

// The model that the shipped jobs run.
TEST(StacksReferenceTest, tiny_model_matches_the_reference_model) {
  const std::filesystem::path folder = std::filesystem::path(MOEBIUS_SOURCE_DIR) / "inputs/models/tiny";
  const ModelConfig config = io::read_model_config(folder);
  const io::Checkpoint checkpoint = io::Checkpoint::open(folder);
  std::vector<TokenId> tokens;
  for (TokenId i = 0; i < 40; ++i) tokens.push_back(i * 101 % config.vocab_size);
  const ReferenceRun reference = ReferenceModel<double>(config, checkpoint.lookup()).run(tokens);
  DirectEngine engine(config, checkpoint.lookup());
  const DirectRun run = engine.run(tokens);
  const double far = max_abs_difference(run.logits, reference.logits);
  EXPECT_LT(far, 2e-5 * max_abs(reference.logits));
  EXPECT_LT(max_abs_difference(engine.token_logprobs(run, tokens), reference.token_logprobs), 2e-5 * max_abs(reference.logits));
  std::printf("tiny: logits %.2e of %.1f\n", far, max_abs(reference.logits));
}

// Random weights in sizes that no vector length divides, with every option of a family, in each element type
// of checkpoints.
TEST(StacksReferenceTest, odd_sizes_match_the_reference_model) {
  std::vector<TokenId> tokens;
  for (TokenId i = 0; i < 71; ++i) tokens.push_back(i * 37 % 301);
  ModelConfig tied = odd_model_config();
  tied.tie_word_embeddings = true;
  tied.router.norm_topk_prob = true;
  ModelConfig neighbours_apart = odd_latent_config();
  neighbours_apart.rope_interleaved = false;
  neighbours_apart.q_lora_rank = 0;
  for (const ModelConfig& config :
       {odd_model_config(), tied, odd_window_config(), odd_clipped_config(), odd_latent_config(), neighbours_apart}) {
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      const RandomModel random(config, dtype, 11);
      const ReferenceRun reference = ReferenceModel<double>(config, random.lookup()).run(tokens);
      DirectEngine engine(config, random.lookup());
      const DirectRun run = engine.run(tokens, 40);
      const double far = max_abs_difference(run.logits, reference.logits);
      EXPECT_LT(far, 2e-5 * max_abs(reference.logits)) << "seed 11";
      for (std::size_t l = 0; l < reference.hidden.size(); ++l) {
        EXPECT_LT(max_abs_difference(run.hidden.at(l), reference.hidden[l]), 2e-5 * max_abs(reference.hidden[l])) << l;
      }
      EXPECT_LT(max_abs_difference(engine.token_logprobs(run, tokens), reference.token_logprobs), 2e-5 * max_abs(reference.logits));
      std::printf("odd sizes of %s: logits %.2e of %.1f\n", config.model_type.c_str(), far, max_abs(reference.logits));
    }
  }
}

}  // namespace
}  // namespace moebius::test
