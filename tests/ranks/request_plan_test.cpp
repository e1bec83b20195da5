// SPDX-License-Identifier: Apache-2.0
#include "ranks/request_plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "io/model_files.hpp"

namespace moebius::ranks {
namespace {

using Tokens = std::vector<TokenId>;

const model::Tokenizer& tokenizer() {
  static const model::Tokenizer instance(io::read_tokenizer(std::string(MOEBIUS_SOURCE_DIR) + "/inputs/models/tiny"));
  return instance;
}

ModelConfig config() {
  ModelConfig config;
  config.vocab_size = 4096;
  config.bos_token = 0;
  config.eos_tokens = {0, 2};
  return config;
}

Tokens count_up(int n, TokenId first = 100) {
  Tokens tokens(static_cast<std::size_t>(n));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

const model::ChatTemplate& chat_template() {
  static const model::ChatTemplate instance(io::read_chat_template(std::string(MOEBIUS_SOURCE_DIR) + "/inputs/models/tiny"));
  return instance;
}

RequestPlan plan(const Request& request, int max_positions) {
  return plan_request(request, tokenizer(), chat_template(), config(), max_positions);
}

Request loglikelihood(Tokens context, std::vector<Tokens> continuations) {
  Request request{.custom_id = "x", .input_line = 3, .kind = RequestKind::loglikelihood, .context = std::move(context)};
  for (Tokens& tokens : continuations) request.continuations.emplace_back(std::move(tokens));
  return request;
}

TEST(PlanRequest, ATextWithTokensThatTheModelLacksIsABadToken) {
  ModelConfig small = config();
  small.vocab_size = 5;  // the tokenizer has more
  for (const RequestKind kind : {RequestKind::loglikelihood, RequestKind::loglikelihood_rolling, RequestKind::generate_until}) {
    Request request{.custom_id = "x", .input_line = 3, .kind = kind, .context = "some text", .continuations = {}};
    if (kind == RequestKind::loglikelihood) request.continuations.emplace_back(" more");
    const RequestPlan p = plan_request(request, tokenizer(), chat_template(), small, 600);
    ASSERT_EQ(p.rows.size(), 1U);
    EXPECT_EQ(p.rows[0].status, RowStatus::bad_token);
    EXPECT_TRUE(p.trees.empty());
    EXPECT_TRUE(p.rows[0].token_ids.empty());
  }
  // Also where only the last token of a continuation, which is never fed, is unknown to the model.
  Request last = loglikelihood({1, 2}, {});
  last.continuations.emplace_back(std::string(" more"));
  EXPECT_EQ(plan_request(last, tokenizer(), chat_template(), small, 600).rows.at(0).status, RowStatus::bad_token);
}

TEST(PlanLoglikelihood, OneRootServesAllContinuations) {
  const RequestPlan p = plan(loglikelihood(count_up(5), {{7}, {8, 9, 10}}), 64);
  ASSERT_EQ(p.rows.size(), 2U);
  ASSERT_EQ(p.trees.size(), 1U);
  const TreePlan& tree = p.trees[0];
  EXPECT_EQ(tree.tokens, count_up(5));
  ASSERT_EQ(tree.targets.size(), 2U);  // the first token of each continuation
  EXPECT_EQ(tree.targets[0].fed_idx, 4);
  EXPECT_EQ(tree.targets[0].token, 7);
  EXPECT_EQ(tree.targets[1].token, 8);
  ASSERT_EQ(tree.branches.size(), 1U);  // a continuation of one token needs no branch
  EXPECT_EQ(tree.branches[0].tokens, (Tokens{8, 9}));  // the last token is never fed
  ASSERT_EQ(tree.branches[0].targets.size(), 2U);
  EXPECT_EQ(tree.branches[0].targets[1].fed_idx, 1);
  EXPECT_EQ(tree.branches[0].targets[1].token, 10);
  EXPECT_EQ(tree.branches[0].targets[1].token_idx, 2);
}

TEST(PlanLoglikelihood, LongContextsAreCutFromTheLeftForEachContinuation) {
  // 10 positions: a continuation of 3 tokens feeds 2 of them and leaves 8 for the context, one of 1 leaves 10.
  const RequestPlan p = plan(loglikelihood(count_up(9), {{1, 2, 3}, {4}}), 10);
  ASSERT_EQ(p.trees.size(), 2U);
  EXPECT_EQ(p.rows[0].status, RowStatus::truncated);
  EXPECT_EQ(p.rows[0].num_prompt_tokens, 8);
  EXPECT_NE(p.rows[0].message.find("first 1 tokens"), std::string::npos);
  EXPECT_EQ(p.rows[1].status, RowStatus::ok);
  for (const TreePlan& tree : p.trees) {
    EXPECT_EQ(tree.tokens.back(), 108);
    const std::size_t fed = tree.tokens.size() + (tree.branches.empty() ? 0 : tree.branches[0].tokens.size());
    EXPECT_LE(fed, 10U);
  }
}

TEST(PlanLoglikelihood, ContinuationsFailOneByOne) {
  const RequestPlan p = plan(loglikelihood(count_up(3), {count_up(11), {5000}, {1}}), 10);
  EXPECT_EQ(p.rows[0].status, RowStatus::too_long);
  EXPECT_EQ(p.rows[1].status, RowStatus::bad_token);
  EXPECT_EQ(p.rows[2].status, RowStatus::ok);
  EXPECT_EQ(p.trees.size(), 1U);
}

TEST(PlanLoglikelihood, EmptyContextIsTheBosToken) {
  const RequestPlan p = plan({.custom_id = "x", .kind = RequestKind::loglikelihood, .context = std::string(),
                              .continuations = {Tokens{5}}}, 10);
  ASSERT_EQ(p.trees.size(), 1U);
  EXPECT_EQ(p.trees[0].tokens, Tokens{0});
}

/// For every token of the text: how often it is a target, and how many positions its window saw before it.
void check_windows(int num_tokens, int max_positions) {
  const Tokens text = count_up(num_tokens);
  const RequestPlan p = plan({.custom_id = "x", .kind = RequestKind::loglikelihood_rolling, .context = text}, max_positions);
  std::vector<int> times(static_cast<std::size_t>(num_tokens), 0);
  for (const TreePlan& tree : p.trees) {
    EXPECT_LE(static_cast<int>(tree.tokens.size()), max_positions);
    for (const Target& target : tree.targets) {
      ++times[static_cast<std::size_t>(target.token_idx)];
      EXPECT_EQ(target.token, text[static_cast<std::size_t>(target.token_idx)]);
      // What is fed at the target's position is the token before it.
      const TokenId before = target.token_idx == 0 ? 0 : text[static_cast<std::size_t>(target.token_idx - 1)];
      EXPECT_EQ(tree.tokens[static_cast<std::size_t>(target.fed_idx)], before);
    }
  }
  for (const int count : times) EXPECT_EQ(count, 1);
  if (num_tokens > max_positions) {  // the last window is full: its tokens see the most context there is
    EXPECT_EQ(static_cast<int>(p.trees.back().tokens.size()), max_positions);
  }
}

TEST(PlanRolling, EveryTokenIsScoredOnceWithTheMostContext) {
  for (int num_tokens = 1; num_tokens <= 40; ++num_tokens) {
    for (const int max_positions : {1, 2, 7, 16, 40}) check_windows(num_tokens, max_positions);
  }
}

TEST(PlanGeneration, EchoScoresThePromptAndEachChoiceIsABranch) {
  Request request{.custom_id = "x", .kind = RequestKind::completion, .context = count_up(4), .num_choices = 2};
  request.sampling = {.max_tokens = 3, .num_logprobs = 2, .echo = true};
  const RequestPlan p = plan(request, 64);
  ASSERT_EQ(p.rows.size(), 2U);
  EXPECT_EQ(p.rows[1].token_ids, count_up(4));
  EXPECT_TRUE(std::isnan(p.rows[0].token_logprobs[0]));
  EXPECT_EQ(p.rows[0].topk_ids.size(), 8U);
  ASSERT_EQ(p.trees.size(), 1U);
  EXPECT_EQ(p.trees[0].targets.size(), 6U);
  for (std::size_t i = 1; i < 6; ++i) EXPECT_LE(p.trees[0].targets[i - 1].fed_idx, p.trees[0].targets[i].fed_idx);
  EXPECT_EQ(p.trees[0].branches.size(), 2U);
}

TEST(PlanGeneration, TooLongPromptsAreCutOrRefusedAsTheirFormSays) {
  Request request{.custom_id = "x", .kind = RequestKind::generate_until, .context = count_up(10)};
  request.sampling.max_tokens = 4;
  const RequestPlan cut = plan(request, 12);
  EXPECT_EQ(cut.rows[0].status, RowStatus::truncated);
  EXPECT_EQ(cut.trees[0].tokens, count_up(8, 102));
  request.kind = RequestKind::completion;
  EXPECT_EQ(plan(request, 12).rows[0].status, RowStatus::too_long);
  request.kind = RequestKind::generate_until;
  request.sampling.max_tokens = 12;
  EXPECT_EQ(plan(request, 12).rows[0].status, RowStatus::too_long);
}

TEST(PlanRequest, IdsOutsideTheVocabularyFailTheRequest) {
  const RequestPlan p = plan(loglikelihood({1, -1}, {{2}, {3}}), 10);
  ASSERT_EQ(p.rows.size(), 1U);
  EXPECT_EQ(p.rows[0].status, RowStatus::bad_token);
  EXPECT_TRUE(p.trees.empty());
}

Request chat(std::vector<std::pair<std::string, std::string>> turns) {
  Request request{.custom_id = "x", .input_line = 3, .kind = RequestKind::chat, .sampling = {.max_tokens = 4}};
  for (auto& [role, content] : turns) request.messages.push_back({{{"role", role}, {"content", content}}});
  return request;
}

TEST(PlanChat, MessagesBecomeThePromptOfTheTemplate) {
  Request request = chat({{"system", "Be brief."}, {"user", "Hi <|endoftext|>"}});
  request.num_choices = 2;
  const RequestPlan p = plan(request, 64);
  ASSERT_EQ(p.trees.size(), 1U);
  ASSERT_EQ(p.rows.size(), 2U);
  const std::string prompt = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <|endoftext|><|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(p.trees[0].tokens, tokenizer().encode(prompt, model::AddSpecial::no));
  EXPECT_EQ(p.trees[0].tokens.front(), 1) << "<|im_start|> is a token of its own";
  EXPECT_EQ(std::ranges::count(p.trees[0].tokens, 0), 1) << "so is a special token in a content, as transformers reads it";
  EXPECT_EQ(p.trees[0].branches.size(), 2U);
  EXPECT_EQ(p.trees[0].branches[0].max_new_tokens, 4);
  EXPECT_EQ(p.rows[1].num_prompt_tokens, static_cast<int>(p.trees[0].tokens.size()));
}

TEST(PlanChat, NoSpecialTokensAreAddedToWhatTheTemplateWrites) {
  const std::string dir = std::string(MOEBIUS_SOURCE_DIR) + "/tests/data/goldens/tokenizers/llama3";  // adds a BOS otherwise
  const model::Tokenizer with_bos(io::read_tokenizer(dir));
  const model::ChatTemplate plain({.text = "{{ messages[0].content }}", .origin = "t", .problem = "", .special_tokens = {}});
  const RequestPlan p = plan_request(chat({{"user", "Hello world"}}), with_bos, plain, config(), 64);
  EXPECT_EQ(p.trees.at(0).tokens, with_bos.encode("Hello world", model::AddSpecial::no));
}

TEST(PlanChat, AProblemOfTheTemplateIsTheStatusOfTheRow) {
  const auto plan_with = [](const std::string& text) {
    const model::ChatTemplate given({.text = text, .origin = "tokenizer_config.json: key chat_template", .problem = "", .special_tokens = {}});
    Request request = chat({{"user", "x"}});
    request.num_choices = 3;
    return plan_request(request, tokenizer(), given, config(), 64);
  };
  const RequestPlan refused = plan_with("{{ raise_exception('roles must alternate') }}");
  ASSERT_EQ(refused.rows.size(), 1U);
  EXPECT_TRUE(refused.trees.empty());
  EXPECT_EQ(refused.rows[0].status, RowStatus::bad_field);
  EXPECT_EQ(refused.rows[0].custom_id, "x");
  EXPECT_NE(refused.rows[0].message.find("roles must alternate"), std::string::npos);
  const RequestPlan unknown = plan_with("{% include 'x' %}");
  EXPECT_EQ(unknown.rows.at(0).status, RowStatus::unsupported);
  EXPECT_NE(unknown.rows.at(0).message.find("tokenizer_config.json"), std::string::npos);
  EXPECT_NE(unknown.rows.at(0).message.find("/v1/completions"), std::string::npos);
}

TEST(PlanChat, APromptThatDoesNotFitIsNotCut) {
  EXPECT_EQ(plan(chat({{"user", std::string(500, 'x')}}), 64).rows.at(0).status, RowStatus::too_long);
}

}  // namespace
}  // namespace moebius::ranks
