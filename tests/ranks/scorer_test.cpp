// SPDX-License-Identifier: Apache-2.0
#include "ranks/scorer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/clock.hpp"
#include "io/model_files.hpp"

namespace moebius::ranks {
namespace {

const model::Tokenizer& tokenizer() {
  static const model::Tokenizer instance(io::read_tokenizer(std::string(MOEBIUS_SOURCE_DIR) + "/inputs/models/tiny"));
  return instance;
}

/// Pieces are characters, with bytes to fall back on.
const model::Tokenizer& character_tokenizer() {
  static const model::Tokenizer instance(
      io::read_tokenizer(std::string(MOEBIUS_SOURCE_DIR) + "/tests/data/goldens/tokenizers/mixtral"));
  return instance;
}

/// A prompt of two tokens with one generation branch, driven by logits that make one token certain.
class GenerationTest : public ::testing::Test {
 protected:
  explicit GenerationTest(const model::Tokenizer& used = tokenizer()) : scorer(used, {0, 2}, 1) {}
  void start(std::vector<std::string> stop, int max_tokens) {
    request.plan.sampling = {.max_tokens = max_tokens, .num_logprobs = 1, .stop = std::move(stop)};
    Row row{.custom_id = "x"};
    row.is_greedy = true;
    row.topk_width = 1;
    request.plan.rows = {row};
    request.generations.resize(1);
    request.plan.trees = {{.tokens = {5, 6}, .targets = {}, .branches = {{.row_idx = 0, .tokens = {}, .targets = {}, .max_new_tokens = max_tokens}}}};
    tree.request = &request;
    tree.plan = &request.plan.trees[0];
    root.tree = &tree;
    root.tokens = {5, 6};
  }
  /// Feeds certain tokens until the generation ends; returns how many were drawn.
  int generate(const std::vector<TokenId>& certain) {
    int drawn = 0;
    Sequence* sequence = &root;
    for (const TokenId token : certain) {
      std::vector<float> logits(4096, 0.0F);
      logits[static_cast<std::size_t>(token)] = 50.0F;
      EXPECT_EQ(Scorer::wants(*sequence, sequence->num_tokens() - 1), Scorer::Wants::logits);
      const std::int32_t before = sequence->num_tokens();
      scorer.on_logits(*sequence, before - 1, logits);
      ++drawn;
      if (sequence == &root) {
        if (tree.waiting.empty()) break;
        branch.tree = &tree;
        branch.branch = tree.waiting.front().plan;
        branch.tokens = tree.waiting.front().tokens;
        branch.first_position = 2;
        sequence = &branch;
      } else if (sequence->num_tokens() == before) {
        break;
      }
    }
    return drawn;
  }
  Row finished() { return scorer.finish(request).front(); }

  Scorer scorer;
  ActiveRequest request;
  Tree tree;
  Sequence root, branch;
};

TEST_F(GenerationTest, StopStringMayCrossTokenBordersAndIsCutOff) {
  const auto tokens = tokenizer().encode("The end. Stop here and go on", model::AddSpecial::no);
  start({"nothing", "p he"}, 50);  // begins in " Stop", ends in " here"
  const int drawn = generate(tokens);
  EXPECT_LT(drawn, static_cast<int>(tokens.size()));
  const Row row = finished();
  EXPECT_EQ(row.text, "The end. Sto");
  EXPECT_EQ(row.finish_reason, FinishReason::stop);
  EXPECT_EQ(row.num_output_tokens, drawn);
  EXPECT_EQ(row.num_bytes, 12);
}

TEST_F(GenerationTest, TheEarliestOfSeveralStopStringsCuts) {
  start({"nd.", "end"}, 50);
  generate(tokenizer().encode("The end. More", model::AddSpecial::no));
  EXPECT_EQ(finished().text, "The ");
}

TEST_F(GenerationTest, EndOfSequenceEndsAndIsNotText) {
  auto tokens = tokenizer().encode("Amen", model::AddSpecial::no);
  tokens.push_back(2);
  tokens.push_back(7);
  start({}, 50);
  EXPECT_EQ(generate(tokens), static_cast<int>(tokens.size()) - 1);
  const Row row = finished();
  EXPECT_EQ(row.text, "Amen");
  EXPECT_EQ(row.token_ids.back(), 2);
  EXPECT_EQ(row.finish_reason, FinishReason::stop);
}

TEST_F(GenerationTest, LengthEndsAndSumsAreInOrder) {
  start({}, 3);
  EXPECT_EQ(generate({100, 101, 102, 103}), 3);
  const Row row = finished();
  EXPECT_EQ(row.finish_reason, FinishReason::length);
  EXPECT_EQ(row.token_ids, (std::vector<TokenId>{100, 101, 102}));
  EXPECT_EQ(row.topk_ids, row.token_ids);
  EXPECT_TRUE(row.is_greedy);
  double sum = 0;
  for (const float logprob : row.token_logprobs) sum += static_cast<double>(logprob);
  EXPECT_EQ(row.sum_logprob, sum);
}

double fake_s = 0;

TEST_F(GenerationTest, TimesBetweenTokensAreCountedFromTheSecondTokenOn) {
  start({}, 4);
  // Tokens are drawn 1, 2, 4, 8 s after each other: the clock is asked once for each.
  set_clock_source([] { return fake_s += fake_s > 0 ? fake_s : 1.0; });
  EXPECT_EQ(generate({100, 101, 102, 103}), 4);
  set_clock_source(nullptr);
  const LatencyHistogram& times = scorer.inter_token_times();
  EXPECT_EQ(times.count(), 3);
  EXPECT_NEAR(times.quantile(0.0), 1.0, 0.006);
  EXPECT_NEAR(times.quantile(0.5), 2.0, 0.011);
  EXPECT_NEAR(times.quantile(1.0), 4.0, 0.021);
}

class CharacterGenerationTest : public GenerationTest {
 protected:
  CharacterGenerationTest() : GenerationTest(character_tokenizer()) {}
};

TEST_F(CharacterGenerationTest, TextIsWhatTheTokenizerDecodes) {
  auto tokens = character_tokenizer().encode("The \u65e5\u672c and \U0001f389", model::AddSpecial::no);
  tokens.pop_back();  // the last character is not complete
  start({}, static_cast<int>(tokens.size()));
  generate(tokens);
  const Row row = finished();
  EXPECT_EQ(row.text, character_tokenizer().decode(tokens, model::SkipSpecial::yes));
  EXPECT_EQ(row.text, "The \u65e5\u672c and \ufffd\ufffd\ufffd");
  EXPECT_EQ(row.num_bytes, static_cast<std::int64_t>(row.text.size()));
}

TEST_F(CharacterGenerationTest, AStopStringOfFallbackBytesEndsAtItsLastByte) {
  const auto tokens = character_tokenizer().encode("It is \U0001f389 more", model::AddSpecial::no);
  start({"\U0001f389"}, 50);
  const int drawn = generate(tokens);
  const Row row = finished();
  EXPECT_EQ(row.text, "It is ");
  EXPECT_EQ(row.finish_reason, FinishReason::stop);
  EXPECT_EQ(character_tokenizer().token_bytes(tokens[static_cast<std::size_t>(drawn) - 1]), "\x89");
}

/// A root of two tokens; of the logits after each, one token is wanted.
class ScoringTest : public ::testing::Test {
 protected:
  explicit ScoringTest(int topk_width = 0) {
    Row row{.custom_id = "x", .token_ids = {3, 4}, .token_logprobs = {0, 0}};
    row.is_greedy = true;
    row.topk_width = topk_width;
    row.topk_ids.resize(2 * static_cast<std::size_t>(topk_width));
    row.topk_logprobs.resize(row.topk_ids.size());
    request.plan.rows = {row};
    request.generations.resize(1);
    request.plan.trees = {{.tokens = {1, 2}, .targets = {{0, 0, 0, 3}, {1, 0, 1, 4}}, .branches = {{.row_idx = 0, .tokens = {7}}}}};
    tree.request = &request;
    tree.plan = &request.plan.trees[0];
    root.tree = &tree;
    root.tokens = {1, 2};
    logits[3] = 2.0F;
  }
  void expect_scored() {
    const Row done = scorer.finish(request).front();
    EXPECT_NEAR(done.token_logprobs[0], 2.0 - std::log(7.0 + std::exp(2.0)), 1e-6);
    EXPECT_NEAR(done.token_logprobs[1], -std::log(7.0 + std::exp(2.0)), 1e-6);
    EXPECT_FALSE(done.is_greedy);  // 4 was not the most probable token
    ASSERT_EQ(tree.waiting.size(), 1U);  // the branch may start
    EXPECT_EQ(tree.waiting.front().tokens, std::vector<TokenId>{7});
  }
  std::vector<float> logits = std::vector<float>(8, 0.0F);
  Scorer scorer{tokenizer(), {0}, 1};
  ActiveRequest request;
  Tree tree;
  Sequence root;
};

TEST_F(ScoringTest, KnownTokensAreGatheredAndGreedinessIsNoticed) {
  for (int i = 0; i < 2; ++i) scorer.on_logits(root, i, logits);
  expect_scored();
}

TEST_F(ScoringTest, LogProbabilitiesAloneDoAsWell) {
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(Scorer::wants(root, i), Scorer::Wants::log_probs);
    std::vector<model::WantedLogit> wanted;
    ASSERT_EQ(Scorer::add_wanted(root, i, 9, wanted), 1U);
    EXPECT_EQ(wanted[0].row, 9);
    EXPECT_EQ(wanted[0].token, 3 + i);
    wanted[0].logit = logits[static_cast<std::size_t>(wanted[0].token)];
    scorer.on_log_probs(root, i, kernels::summarise(logits), wanted);
  }
  expect_scored();
}

class TopScoringTest : public ScoringTest {
 protected:
  TopScoringTest() : ScoringTest(1) {}
};

TEST_F(TopScoringTest, TheMostProbableTokensTakeAllLogits) {
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(Scorer::wants(root, i), Scorer::Wants::logits);
    scorer.on_logits(root, i, logits);
  }
  EXPECT_EQ(request.plan.rows[0].topk_ids, (std::vector<TokenId>{3, 3}));
  expect_scored();
}

TEST_F(ScoringTest, NothingIsWantedWhereNoTargetIs) {
  request.plan.trees[0].targets.erase(request.plan.trees[0].targets.begin());
  EXPECT_EQ(Scorer::wants(root, 0), Scorer::Wants::nothing);
  EXPECT_EQ(Scorer::wants(root, 1), Scorer::Wants::log_probs);
  request.plan.trees[0].branches[0].max_new_tokens = 4;
  EXPECT_EQ(Scorer::wants(root, 1), Scorer::Wants::logits);
}

}  // namespace
}  // namespace moebius::ranks
