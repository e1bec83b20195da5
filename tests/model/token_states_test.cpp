// SPDX-License-Identifier: Apache-2.0
#include "model/token_states.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "base/check.hpp"

namespace moebius::model {
namespace {

ModelConfig small_config() {
  ModelConfig config;
  config.hidden_size = 5;
  config.experts_per_token = 3;
  return config;
}

TEST(TokenStatesTest, hands_out_the_lowest_rows_first_and_a_released_run_in_the_same_order) {
  TokenStates states(small_config(), ComputeType::bf16, 8);
  std::vector<std::int32_t> first(3), second(2), again(3);
  states.acquire(first);
  states.acquire(second);
  EXPECT_EQ(first, (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(second, (std::vector<std::int32_t>{3, 4}));
  states.release(first);
  states.acquire(again);
  EXPECT_EQ(again, first);
  EXPECT_EQ(states.num_free(), 3);
}

TEST(TokenStatesTest, refuses_too_many_rows_and_rows_that_are_free) {
  TokenStates states(small_config(), ComputeType::fp32, 4);
  std::vector<std::int32_t> rows(5);
  EXPECT_THROW(states.acquire(rows), ContractError);
  EXPECT_EQ(states.num_free(), 4);
  rows.resize(4);
  states.acquire(rows);
  EXPECT_THROW(states.acquire(std::span(rows).first(1)), ContractError);
  states.release(std::span(rows).first(2));
  EXPECT_THROW(states.release(std::span(rows).first(1)), ContractError);
  const std::vector<std::int32_t> unknown{4}, negative{-1};
  EXPECT_THROW(states.release(unknown), ContractError);
  EXPECT_THROW(states.release(negative), ContractError);
  EXPECT_THROW((void)states.residual(4), ContractError);
  EXPECT_THROW((void)states.topk_ids(-1), ContractError);
  EXPECT_THROW((void)states.expert_output(0, 3), ContractError);
}

TEST(TokenStatesTest, rows_do_not_overlap) {
  constexpr int capacity = 6, hidden = 5, k = 3;
  TokenStates states(small_config(), ComputeType::fp32, capacity);
  for (std::int32_t row = 0; row < capacity; ++row) {
    std::fill_n(states.residual(row), hidden, static_cast<float>(row));
    std::fill_n(states.topk_ids(row), k, row);
    std::fill_n(states.topk_weights(row), k, static_cast<float>(100 + row));
    for (int k_idx = 0; k_idx < k; ++k_idx) std::fill_n(states.expert_output(row, k_idx), hidden, static_cast<float>(10 * row + k_idx));
  }
  for (std::int32_t row = 0; row < capacity; ++row) {
    EXPECT_EQ(std::count(states.residual(row), states.residual(row) + hidden, static_cast<float>(row)), hidden);
    EXPECT_EQ(std::count(states.topk_ids(row), states.topk_ids(row) + k, row), k);
    EXPECT_EQ(std::count(states.topk_weights(row), states.topk_weights(row) + k, static_cast<float>(100 + row)), k);
    for (int k_idx = 0; k_idx < k; ++k_idx) {
      const float* output = states.expert_outputs() + (row * k + k_idx) * hidden;  // the layout that combine reads
      EXPECT_EQ(output, states.expert_output(row, k_idx));
      EXPECT_EQ(std::count(output, output + hidden, static_cast<float>(10 * row + k_idx)), hidden);
    }
  }
}

TEST(TokenStatesTest, random_use_never_gives_a_row_twice) {
  constexpr int capacity = 50;
  TokenStates states(small_config(), ComputeType::fp32, capacity);
  std::mt19937_64 random(17);
  std::vector<std::vector<std::int32_t>> held;
  std::set<std::int32_t> in_use;
  for (int step = 0; step < 3000; ++step) {
    if (random() % 2 == 0 || held.empty()) {
      std::vector<std::int32_t> rows(random() % 9);
      if (static_cast<int>(rows.size()) > states.num_free()) continue;
      states.acquire(rows);
      for (const std::int32_t row : rows) {
        ASSERT_TRUE(row >= 0 && row < capacity && in_use.insert(row).second) << "step " << step;
      }
      held.push_back(rows);
    } else {
      const auto victim = held.begin() + static_cast<std::ptrdiff_t>(random() % held.size());
      states.release(*victim);
      for (const std::int32_t row : *victim) in_use.erase(row);
      held.erase(victim);
    }
    ASSERT_EQ(states.num_free(), capacity - static_cast<int>(in_use.size()));
  }
}

TEST(TokenStatesTest, counts_its_bytes) {
  // residual 5, outputs 3 x 5, weights 3 floats; input 5 numbers; ids 3, free list 1 ints; 1 flag.
  EXPECT_EQ(TokenStates(small_config(), ComputeType::fp32, 10).bytes(), 10U * (23 * 4 + 5 * 4 + 4 * 4 + 1));
  EXPECT_EQ(TokenStates(small_config(), ComputeType::bf16, 10).bytes(), 10U * (23 * 4 + 5 * 2 + 4 * 4 + 1));
}

TEST(TokenStatesTest, shares_its_exchange_with_whoever_looks_at_the_same_memory) {
  const ModelConfig config = small_config();
  for (const ComputeType compute : {ComputeType::fp32, ComputeType::bf16}) {
    const std::size_t bytes = RowExchange::bytes(config, compute, 4), input_bytes = 5 * element_bytes(compute);
    EXPECT_EQ(bytes, 4 * (3 * 5 * sizeof(float) + input_bytes));
    std::vector<std::byte> memory(bytes);
    TokenStates states(config, compute, 4, memory);
    const RowExchange experts(config, compute, 4, memory.data());
    std::set<const void*> places;
    for (std::int32_t row = 0; row < 4; ++row) {
      EXPECT_EQ(experts.input(row), states.expert_input(row));
      EXPECT_GE(experts.input(row), memory.data());
      EXPECT_LE(experts.input(row) + input_bytes, memory.data() + bytes);
      places.insert(experts.input(row));
      for (int k_idx = 0; k_idx < 3; ++k_idx) {
        EXPECT_EQ(experts.output(row, k_idx), states.expert_output(row, k_idx));
        places.insert(experts.output(row, k_idx));
      }
    }
    EXPECT_EQ(places.size(), 16U);
    EXPECT_THROW((void)experts.input(4), ContractError);
    EXPECT_THROW((void)experts.output(-1, 0), ContractError);
    EXPECT_THROW((void)experts.output(0, 3), ContractError);
    EXPECT_THROW(TokenStates(config, compute, 4, std::span(memory).first(bytes - 1)), ContractError);
  }
}

}  // namespace
}  // namespace moebius::model
