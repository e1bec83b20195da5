// SPDX-License-Identifier: Apache-2.0
// Contracts of AttentionStack and what the comparisons of stacks_*_test do not reach: embedding, order and
// chunks of the LM head, the routing of single rows, scratch that stays where it is.
#include "model/attention_stack.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "base/bf16.hpp"
#include "base/check.hpp"
#include "model/row_runs.hpp"
#include "model/weights.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random_model.hpp"

namespace moebius::model {
namespace {

TEST(RowRunsTest, cuts_where_ids_do_not_follow) {
  const std::vector<std::int32_t> rows{4, 5, 6, 2, 1, 9, 10};
  std::vector<std::tuple<std::size_t, std::int32_t, int>> runs;
  for_each_run(rows, [&](std::size_t first, std::int32_t row, int num_rows) { runs.emplace_back(first, row, num_rows); });
  EXPECT_EQ(runs, (decltype(runs){{0, 4, 3}, {3, 2, 1}, {4, 1, 1}, {5, 9, 2}}));
  for_each_run(std::span<const std::int32_t>{}, [](std::size_t, std::int32_t, int) { FAIL() << "a run of nothing"; });
}

class AttentionStackTest : public ::testing::TestWithParam<ComputeType> {
 protected:
  static constexpr int max_tokens = 24;
  AttentionStackTest() {
    EXPECT_TRUE(kv_.reserve(4));
    kv_.append_until(table_, 100);
    states_.acquire(rows_);
  }
  ~AttentionStackTest() override { kv_.free(table_); }

  test::RandomModel model_{test::odd_model_config(), DType::f32, 8};
  const ModelConfig& config_ = model_.config();
  std::size_t hidden_ = static_cast<std::size_t>(config_.hidden_size);
  AttentionStack stack_{config_, GetParam(), model_.lookup(), max_tokens};
  KvCache kv_{stack_.kv_layout(), config_.num_layers, 4};
  KvTable table_ = kv_.make_table();
  TokenStates states_{config_, GetParam(), 40};
  std::vector<std::int32_t> rows_ = std::vector<std::int32_t>(40);
};
INSTANTIATE_TEST_SUITE_P(Types, AttentionStackTest, ::testing::Values(ComputeType::fp32, ComputeType::bf16),
                         [](const auto& type) { return to_string(type.param); });

TEST_P(AttentionStackTest, embeds_the_row_of_each_token) {
  const std::vector<TokenId> tokens{300, 0, 17, 17};
  const std::vector<std::int32_t> rows{3, 1, 0, 2};
  stack_.embed(states_, rows, tokens);
  const auto tensor = model_.lookup()("model.embed_tokens.weight");
  const auto bytes = read_bytes(*tensor);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::vector<float> expected(hidden_);
    const std::size_t row_bytes = hidden_ * dtype_bytes(tensor->dtype);
    widen(tensor->dtype, std::span<const std::byte>(bytes).subspan(static_cast<std::size_t>(tokens[i]) * row_bytes, row_bytes), expected);
    if (GetParam() == ComputeType::bf16) {
      for (float& value : expected) value = to_float(to_bf16(value));
    }
    EXPECT_TRUE(test::same_bits(std::span(states_.residual(rows[i]), hidden_), expected)) << i;
  }
  const std::vector<TokenId> beyond{301}, negative{-1};
  EXPECT_THROW(stack_.embed(states_, std::span(rows).first(1), beyond), ContractError);
  EXPECT_THROW(stack_.embed(states_, std::span(rows).first(1), negative), ContractError);
  EXPECT_THROW(stack_.embed(states_, std::span(rows).first(2), beyond), ContractError);
}

TEST_P(AttentionStackTest, gives_the_logits_of_any_rows_in_their_order) {
  std::vector<TokenId> tokens;
  for (TokenId i = 0; i < 40; ++i) tokens.push_back(i * 7);
  stack_.embed(states_, rows_, tokens);
  std::vector<std::vector<float>> single(40);
  for (std::size_t row = 0; row < 40; ++row) {
    stack_.lm_head(std::span(rows_).subspan(row, 1), states_, [&](int i, std::span<const float> logits) {
      EXPECT_EQ(i, 0);
      single[row].assign(logits.begin(), logits.end());
    });
  }
  EXPECT_FALSE(test::same_bits(single[0], single[1]));
  const std::vector<std::int32_t> backwards(rows_.rbegin(), rows_.rend());  // more rows than fit in one micro-batch
  int next = 0;
  stack_.lm_head(backwards, states_, [&](int i, std::span<const float> logits) {
    EXPECT_EQ(i, next++);
    EXPECT_TRUE(test::same_bits(logits, single[static_cast<std::size_t>(backwards[static_cast<std::size_t>(i)])]));
  });
  EXPECT_EQ(next, 40);
  stack_.lm_head({}, states_, [](int, std::span<const float>) { FAIL() << "logits of nothing"; });
}

TEST_P(AttentionStackTest, summarises_the_logits_that_it_gives) {
  std::vector<TokenId> tokens;
  for (TokenId i = 0; i < 40; ++i) tokens.push_back(i * 7);
  stack_.embed(states_, rows_, tokens);
  const std::vector<std::int32_t> rows(rows_.rbegin(), rows_.rbegin() + max_tokens);
  std::vector<kernels::LogitsSummary> summaries(rows.size());
  std::vector<kernels::WantedLogit> wanted;
  for (int i = 0; i < max_tokens; ++i) wanted.push_back({.row = i, .token = i * 3});
  stack_.summarise_head(rows, states_, summaries, wanted);
  stack_.lm_head(rows, states_, [&](int i, std::span<const float> logits) {
    const auto row = static_cast<std::size_t>(i);
    const kernels::LogitsSummary whole = kernels::summarise(logits);
    EXPECT_EQ(summaries[row].log_sum_exp, whole.log_sum_exp);
    EXPECT_EQ(summaries[row].argmax, whole.argmax);
    EXPECT_EQ(wanted[row].logit, logits[static_cast<std::size_t>(wanted[row].token)]);
  });
  stack_.summarise_head({}, states_, {}, {});
}

TEST_P(AttentionStackTest, routes_to_distinct_ascending_experts_and_sends_the_normed_rows) {
  std::vector<TokenId> tokens;
  for (TokenId i = 0; i < max_tokens; ++i) tokens.push_back(i * 11);
  const auto rows = std::span(rows_).first(max_tokens);
  stack_.embed(states_, rows, tokens);
  stack_.route(LayerId(2), rows, states_);
  const std::size_t row_bytes = hidden_ * element_bytes(GetParam());
  for (std::size_t i = 0; i < max_tokens; ++i) {
    const std::int32_t* ids = states_.topk_ids(rows[i]);
    const std::vector<std::int32_t> chosen(ids, ids + config_.experts_per_token);
    const std::vector<float> weights(states_.topk_weights(rows[i]), states_.topk_weights(rows[i]) + config_.experts_per_token);
    for (std::size_t k_idx = 1; k_idx < chosen.size(); ++k_idx) EXPECT_LT(chosen[k_idx - 1], chosen[k_idx]);
    float sum = 0;
    for (const float weight : weights) sum += weight;
    EXPECT_LT(sum, 1.0F);  // this model does not renormalise
    const std::span input(states_.expert_input(rows[i]), row_bytes);
    const std::vector<std::byte> in_batch(input.begin(), input.end());
    std::ranges::fill(input, std::byte{0xff});
    stack_.route(LayerId(2), rows.subspan(i, 1), states_);
    EXPECT_TRUE(test::same_bits(input, in_batch));
    EXPECT_TRUE(test::same_bits(std::span(states_.topk_ids(rows[i]), chosen.size()), chosen));
    EXPECT_TRUE(test::same_bits(std::span(states_.topk_weights(rows[i]), weights.size()), weights));
  }
}

TEST_P(AttentionStackTest, combine_adds_the_weighted_outputs_once) {
  const std::vector<std::int32_t> rows{5, 2};
  for (const std::int32_t row : rows) {
    for (std::size_t i = 0; i < hidden_; ++i) states_.residual(row)[i] = static_cast<float>(row);
    for (int k_idx = 0; k_idx < 3; ++k_idx) {
      states_.topk_ids(row)[k_idx] = k_idx;
      states_.topk_weights(row)[k_idx] = static_cast<float>(1 << k_idx);
      for (std::size_t i = 0; i < hidden_; ++i) states_.expert_output(row, k_idx)[i] = static_cast<float>(row * 100 + k_idx);
    }
  }
  stack_.combine(LayerId(0), rows, states_);
  for (const std::int32_t row : rows) {
    const auto expected = static_cast<float>(row + row * 100 * 7 + 2 + 8);
    for (std::size_t i = 0; i < hidden_; ++i) EXPECT_EQ(states_.residual(row)[i], expected);
  }
}

TEST_P(AttentionStackTest, refuses_batches_that_do_not_add_up) {
  const std::vector<TokenId> tokens(40, 1);
  stack_.embed(states_, rows_, tokens);
  const std::vector<int> positions{0, 1, 2, 3};
  const auto rows = std::span(rows_).first(4);
  const auto attend = [&](std::vector<SegmentRef> segments, std::span<const int> at) {
    stack_.attend(LayerId(0), {.rows = rows, .positions = at, .segments = segments}, states_, kv_);
  };
  attend({{&table_, 0, 4}}, positions);
  EXPECT_THROW(attend({{&table_, 0, 3}}, positions), ContractError);                  // a row without a segment
  EXPECT_THROW(attend({{&table_, 0, 5}}, positions), ContractError);                  // a segment without rows
  EXPECT_THROW(attend({{&table_, 0, 4}, {&table_, 4, 0}}, positions), ContractError); // an empty segment
  EXPECT_THROW(attend({{&table_, 1, 4}}, positions), ContractError);                  // other positions
  EXPECT_THROW(attend({{&table_, 0, 4}}, std::span(positions).first(3)), ContractError);
  const KvTable empty;
  EXPECT_THROW(attend({{&empty, 0, 4}}, positions), ContractError);                   // no block to write to
  std::vector<int> many(40);
  for (int i = 0; i < 40; ++i) many[static_cast<std::size_t>(i)] = i;
  const std::vector<SegmentRef> segment{{&table_, 0, 40}};
  EXPECT_THROW(stack_.attend(LayerId(0), {.rows = rows_, .positions = many, .segments = segment}, states_, kv_), ContractError);
  EXPECT_THROW(stack_.route(LayerId(1), rows, states_), ContractError);  // the dense layer has no router
  EXPECT_THROW(stack_.combine(LayerId(1), rows, states_), ContractError);
  EXPECT_THROW(stack_.dense_mlp(LayerId(0), rows, states_), ContractError);
}

// What is allocated at construction lasts: after one full micro-batch nothing grows any more.
TEST_P(AttentionStackTest, scratch_stays_as_it_is) {
  const std::vector<TokenId> tokens(max_tokens, 5);
  const auto rows = std::span(rows_).first(max_tokens);
  stack_.embed(states_, rows, tokens);
  std::vector<int> positions(max_tokens);
  std::vector<SegmentRef> segments;
  const auto run = [&](int first) {
    segments.clear();
    for (int i = 0; i < max_tokens; ++i) {
      positions[static_cast<std::size_t>(i)] = first + i;
      segments.push_back({&table_, first + i, 1});
    }
    stack_.attend(LayerId(1), {.rows = rows, .positions = positions, .segments = segments}, states_, kv_);
    stack_.dense_mlp(LayerId(1), rows, states_);
    stack_.route(LayerId(2), rows, states_);
    stack_.lm_head(rows, states_, [](int, std::span<const float>) {});
  };
  for (int first = 0; first < 96; first += max_tokens) run(first);  // a key is written before it is looked for
  const std::size_t before = stack_.scratch_bytes();
  run(72);
  EXPECT_EQ(stack_.scratch_bytes(), before);
}

}  // namespace
}  // namespace moebius::model
