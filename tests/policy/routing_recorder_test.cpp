// SPDX-License-Identifier: Apache-2.0
#include "policy/routing_recorder.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

TEST(RoutingRecorder, counts_every_row_in_the_step_of_its_token) {
  RoutingRecorder recorder(2, 3);
  for (int token = 0; token < 130; ++token) recorder.add(LayerId(0), std::vector<std::int32_t>{0, token < 64 ? 1 : 2});
  recorder.add(LayerId(1), std::vector<std::int32_t>{2, 1});
  const RoutingTrace& trace = recorder.trace();
  EXPECT_EQ(trace.step_tokens, 64);
  ASSERT_EQ(trace.num_steps, 3);
  EXPECT_EQ(trace.rows, (std::vector<std::int32_t>{64, 64, 0, 0, 1, 1, 64, 0, 64, 0, 0, 0, 2, 0, 2, 0, 0, 0}));
  EXPECT_THROW(recorder.add(LayerId(2), {}), ContractError);
  EXPECT_THROW(recorder.add(LayerId(0), std::vector<std::int32_t>{3}), ContractError);
}

TEST(RoutingRecorder, a_long_run_keeps_its_rows_in_bounded_memory) {
  RoutingRecorder recorder(1, 2);
  constexpr std::int64_t num_tokens = RoutingRecorder::first_step_tokens * RoutingRecorder::max_steps * 5 / 2;
  for (std::int64_t token = 0; token < num_tokens; ++token) recorder.add(LayerId(0), std::vector<std::int32_t>{token < num_tokens / 2 ? 0 : 1});
  const RoutingTrace& trace = recorder.trace();
  EXPECT_EQ(trace.step_tokens, 4 * RoutingRecorder::first_step_tokens);
  EXPECT_LE(trace.num_steps, RoutingRecorder::max_steps);
  EXPECT_EQ(std::accumulate(trace.rows.begin(), trace.rows.end(), std::int64_t{0}), num_tokens);
  EXPECT_EQ(trace.rows[0], trace.step_tokens);
  EXPECT_EQ(trace.rows[1], 0);
  EXPECT_EQ(trace.rows[trace.rows.size() - 2], 0);
}

TEST(RoutingRecorder, ranks_are_added_step_by_step) {
  const RoutingTrace fine{64, 3, 1, 2, {1, 2, 3, 4, 5, 6}}, coarse{128, 1, 1, 2, {10, 20}}, nothing;
  const RoutingTrace sum = add_traces({fine, nothing, coarse});
  EXPECT_EQ(sum, (RoutingTrace{128, 2, 1, 2, {14, 26, 5, 6}}));
  EXPECT_EQ(add_traces({coarse, nothing, fine}), sum);
  EXPECT_EQ(add_traces({nothing}), nothing);
  EXPECT_EQ(add_traces({fine}), fine);
}

}  // namespace
}  // namespace moebius::policy
