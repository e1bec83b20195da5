// SPDX-License-Identifier: Apache-2.0
// The headline, below the ranks: the bits of a token's hidden states and logits depend on its sequence
// alone, not on chunks, neighbours, branches, rows or the grouping of expert calls.
#include <gtest/gtest.h>

#include <random>

#include "tests/support/compare.hpp"
#include "tests/support/direct_engine.hpp"
#include "tests/support/golden_model.hpp"
#include "tests/support/random_model.hpp"

namespace moebius::test {
namespace {

/// A golden checkpoint, or random weights of a configuration.
struct Subject {
  const char* name;
  ModelConfig (*random_config)() = nullptr;
};

const Subject subjects[] = {{"qwen3_moe"},
                            {"qwen2_moe"},
                            {"deepseek_v2_yarn"},
                            {"odd", odd_model_config},
                            {"odd_window", odd_window_config},
                            {"odd_latent", odd_latent_config}};

/// The models and element types under test, each with sequences of several lengths.
class StacksBitsTest : public ::testing::TestWithParam<std::tuple<Subject, ComputeType>> {
 protected:
  StacksBitsTest() {
    const auto& [subject, compute] = GetParam();
    options_.compute = compute;
    if (subject.random_config != nullptr) {
      random_.emplace(subject.random_config(), DType::bf16, 5);
      config_ = random_->config();
      tensors_ = random_->lookup();
    } else {
      golden_.emplace(load_golden_model(subject.name));
      config_ = golden_->config;
      tensors_ = golden_->tensors;
    }
  }

  [[nodiscard]] std::vector<TokenId> tokens(std::size_t num_tokens, std::uint64_t seed) const {
    std::mt19937_64 random(seed);
    std::vector<TokenId> result(num_tokens);
    for (TokenId& token : result) token = static_cast<TokenId>(random() % static_cast<std::uint64_t>(config_.vocab_size));
    return result;
  }
  DirectRun alone(std::span<const TokenId> sequence) {
    DirectEngine engine(config_, tensors_, options_);
    return engine.run(sequence);
  }
  /// Tokens first..end-1 of a run.
  [[nodiscard]] DirectRun part(const DirectRun& run, std::size_t first, std::size_t end) const {
    const auto cut = [&](const std::vector<float>& values, int width) {
      const auto begin = values.begin() + static_cast<std::ptrdiff_t>(first) * width;
      return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(end - first) * width);
    };
    DirectRun result;
    for (const auto& layer : run.hidden) result.hidden.push_back(cut(layer, config_.hidden_size));
    result.logits = cut(run.logits, config_.vocab_size);
    return result;
  }

  std::optional<RandomModel> random_;
  std::optional<GoldenModel> golden_;
  ModelConfig config_;
  TensorLookup tensors_;
  DirectEngineOptions options_;
};
INSTANTIATE_TEST_SUITE_P(Models, StacksBitsTest,
                         ::testing::Combine(::testing::ValuesIn(subjects), ::testing::Values(ComputeType::fp32, ComputeType::bf16)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param).name) + "_" + to_string(std::get<1>(test.param));
                         });

::testing::AssertionResult equal_bits(const DirectRun& a, const DirectRun& b) {
  if (a.hidden.size() != b.hidden.size()) return ::testing::AssertionFailure() << "other number of layers";
  for (std::size_t l = 0; l < a.hidden.size(); ++l) {
    if (!same_bits(a.hidden[l], b.hidden[l])) {
      return ::testing::AssertionFailure() << "hidden states " << l << " differ by up to " << max_abs_difference(a.hidden[l], b.hidden[l]);
    }
  }
  if (!same_bits(a.logits, b.logits)) {
    return ::testing::AssertionFailure() << "logits differ by up to " << max_abs_difference(a.logits, b.logits);
  }
  return ::testing::AssertionSuccess();
}

TEST_P(StacksBitsTest, chunks_of_a_prefill) {
  const auto sequence = tokens(129, 1);
  const DirectRun whole = alone(sequence);
  DirectEngine engine(config_, tensors_, options_);
  for (const int chunk : {1, 7, 32, 33}) EXPECT_TRUE(equal_bits(engine.run(sequence, chunk), whole)) << "chunks of " << chunk;
  EXPECT_EQ(engine.kv().num_used(), 0);
  EXPECT_EQ(engine.kv().num_reserved(), 0);
}

TEST_P(StacksBitsTest, segments_of_one_sequence_in_one_micro_batch) {
  const auto sequence = tokens(75, 2);
  DirectEngine engine(config_, tensors_, options_);
  DirectEngine::Sequence state = engine.begin(75);
  std::vector<DirectEngine::Piece> pieces;
  for (std::size_t first = 0, width = 1; first < sequence.size(); first += width, width = std::min(width * 2, 75 - first)) {
    pieces.push_back({&state, std::span(sequence).subspan(first, std::min(width, sequence.size() - first))});
    width = pieces.back().tokens.size();
  }
  EXPECT_GT(pieces.size(), 4U);
  EXPECT_TRUE(equal_bits(engine.step(pieces), alone(sequence)));
}

TEST_P(StacksBitsTest, sequences_beside_each_other) {
  const std::vector<std::vector<TokenId>> sequences{tokens(1, 3), tokens(33, 4), tokens(64, 5), tokens(20, 6), tokens(2, 7)};
  DirectEngine engine(config_, tensors_, options_);
  std::vector<DirectEngine::Sequence> states;
  for (const auto& sequence : sequences) states.push_back(engine.begin(static_cast<int>(sequence.size())));
  std::vector<DirectEngine::Piece> pieces;
  for (std::size_t i = 0; i < sequences.size(); ++i) pieces.push_back({&states[i], sequences[i]});
  const DirectRun together = engine.step(pieces);
  std::size_t first = 0;
  for (const auto& sequence : sequences) {
    EXPECT_TRUE(equal_bits(part(together, first, first + sequence.size()), alone(sequence))) << sequence.size() << " tokens";
    first += sequence.size();
  }
}

TEST_P(StacksBitsTest, branches_of_one_context) {
  const auto context = tokens(70, 8), first_tail = tokens(40, 9), second_tail = tokens(9, 10);
  for (const int at : {70, 64, 33, 1}) {
    DirectEngine engine(config_, tensors_, options_);
    DirectEngine::Sequence root = engine.begin(70 + 9);
    const DirectEngine::Piece feed{&root, context};
    (void)engine.step({&feed, 1});
    DirectEngine::Sequence branch = engine.fork(root, at, at + 40);
    // The branch and, on the table that it was forked from, the root itself go on in the same micro-batch.
    const std::vector<DirectEngine::Piece> pieces{{&branch, first_tail}, {&root, second_tail}};
    const DirectRun both = engine.step(pieces);

    const auto joined = [&](int num_context, const std::vector<TokenId>& tail) {
      std::vector<TokenId> all(context.begin(), context.begin() + num_context);
      all.insert(all.end(), tail.begin(), tail.end());
      return all;
    };
    const auto branch_tokens = joined(at, first_tail), root_tokens = joined(70, second_tail);
    EXPECT_TRUE(equal_bits(part(both, 0, 40), part(alone(branch_tokens), branch_tokens.size() - 40, branch_tokens.size()))) << at;
    EXPECT_TRUE(equal_bits(part(both, 40, 49), part(alone(root_tokens), 70, 79))) << at;
    engine.end(branch);
    engine.end(root);
    EXPECT_EQ(engine.kv().num_used(), 0);
  }
}

TEST_P(StacksBitsTest, a_recycled_cache_full_of_other_keys) {
  const auto sequence = tokens(50, 11), other = tokens(120, 12);
  options_.num_kv_blocks = 4;
  DirectEngine engine(config_, tensors_, options_);
  (void)engine.run(other);
  EXPECT_TRUE(equal_bits(engine.run(sequence, 13), alone(sequence)));
}

TEST_P(StacksBitsTest, rows_and_expert_calls_in_any_grouping) {
  const auto sequence = tokens(90, 13);
  const DirectRun whole = alone(sequence);
  for (const int expert_rows : {1, 3, 8, 256}) {
    for (const std::uint64_t seed : {0U, 21U, 22U}) {
      options_.expert_rows = expert_rows;
      options_.row_seed = seed;
      DirectEngine engine(config_, tensors_, options_);
      EXPECT_TRUE(equal_bits(engine.run(sequence, 45), whole)) << expert_rows << " rows a call, seed " << seed;
    }
  }
}

// The comparison itself: one residual that is off by its last bit must be seen.
TEST_P(StacksBitsTest, one_bit_is_noticed) {
  const auto sequence = tokens(10, 14);
  const DirectRun whole = alone(sequence);
  options_.before_layer = [](LayerId layer, std::span<const std::int32_t> rows, model::TokenStates& states) {
    float* value = states.residual(rows.front());
    if (layer == LayerId(1)) *value = std::nextafter(*value, 1e9F);
  };
  DirectEngine engine(config_, tensors_, options_);
  EXPECT_FALSE(equal_bits(engine.run(sequence), whole));
}

}  // namespace
}  // namespace moebius::test
