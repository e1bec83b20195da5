// SPDX-License-Identifier: Apache-2.0
// The LM head in chunks against the product and the summary of whole rows: same bits, for any number of rows.
#include "kernels/lm_head.hpp"

#include <cmath>
#include <limits>

#include "base/check.hpp"
#include "tests/kernels/kernel_test.hpp"
#include "tests/support/owned_matrix.hpp"

namespace moebius::kernels {
namespace {

using test::OwnedMatrix;

class LmHeadTest : public KernelTest {};

bool same(const LogitsSummary& a, const LogitsSummary& b) {
  return std::bit_cast<std::uint32_t>(a.max) == std::bit_cast<std::uint32_t>(b.max) && a.argmax == b.argmax &&
         std::bit_cast<std::uint64_t>(a.log_sum_exp) == std::bit_cast<std::uint64_t>(b.log_sum_exp);
}

TEST_P(LmHeadTest, HasTheBitsOfWholeRowsForAnyNumberOfRows) {
  constexpr int most_rows = 200, num_in = 10;
  for (const ComputeType type : compute_types) {
    for (const int vocab : {1, 33, logits_chunk, logits_chunk + 1, 2 * logits_chunk + 700}) {
      const OwnedMatrix w(type, normal(static_cast<std::size_t>(vocab * num_in)), vocab, num_in);
      const StoredRows x(type, normal(most_rows * num_in, 3.0F), num_in);
      std::vector<float> logits(static_cast<std::size_t>(most_rows * vocab));
      gemm(w, x.view, most_rows, logits.data(), vocab);
      for (const int num_rows : {1, 2, 13, 96, 97, most_rows}) {
        std::vector<LogitsSummary> summaries(static_cast<std::size_t>(num_rows));
        std::vector<WantedLogit> wanted;  // none, one or several of a row, first and last tokens too
        for (int i = 0; i < 2 * num_rows; ++i) wanted.push_back({between(0, num_rows - 1), between(0, vocab - 1)});
        wanted.push_back({num_rows - 1, 0});
        wanted.push_back({0, vocab - 1});
        summarise_head(w, x.view, summaries, wanted);
        for (std::size_t row = 0; row < summaries.size(); ++row) {
          const auto whole = std::span<const float>(logits).subspan(row * static_cast<std::size_t>(vocab), static_cast<std::size_t>(vocab));
          ASSERT_TRUE(same(summaries[row], summarise(whole))) << vocab << " tokens, row " << row << " of " << num_rows;
        }
        for (const WantedLogit& want : wanted) {
          ASSERT_EQ(want.logit, logits[static_cast<std::size_t>(want.row * vocab + want.token)]) << want.row << ", " << want.token;
        }
      }
    }
  }
}

TEST_P(LmHeadTest, ChecksWhatIsWanted) {
  const OwnedMatrix w(ComputeType::fp32, normal(40), 4, 10);
  const StoredRows x(ComputeType::fp32, normal(20), 10);
  std::vector<LogitsSummary> summaries(2);
  for (const WantedLogit& want : {WantedLogit{2, 0}, WantedLogit{-1, 0}, WantedLogit{0, 4}, WantedLogit{0, -1}}) {
    std::vector<WantedLogit> wanted{want};
    EXPECT_THROW(summarise_head(w, x.view, summaries, wanted), ContractError);
  }
}

/// The chunks of a row, whatever they hold, add up to what a sum in double gives.
TEST_P(LmHeadTest, ChunksWithoutANumberAndAscendingMaximaAreSummedRightly) {
  const std::size_t chunk = logits_chunk;
  const float lowest = -std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const auto with = [&](std::vector<std::pair<std::size_t, float>> places) {
    std::vector<float> logits(3 * chunk, lowest);
    for (const auto& [at, logit] : places) logits[at] = logit;
    return summarise(logits);
  };
  // Maxima that go up and down from chunk to chunk; a first chunk and a last one of probability zero.
  const LogitsSummary up = with({{5, -80.0F}, {chunk + 7, 2.0F}, {2 * chunk, 3.0F}, {2 * chunk + 1, 3.0F}});
  EXPECT_EQ(up.argmax, static_cast<TokenId>(2 * chunk));
  EXPECT_NEAR(up.log_sum_exp, 3.0 + std::log(2.0 + std::exp(-1.0)), 1e-7);
  const LogitsSummary down = with({{chunk + 7, 2.0F}, {2 * chunk - 1, 2.0F}});
  EXPECT_EQ(down.argmax, static_cast<TokenId>(chunk + 7));
  EXPECT_NEAR(down.log_sum_exp, 2.0 + std::log(2.0), 1e-7);
  const LogitsSummary equal = with({{0, 1.0F}, {chunk, 1.0F}, {2 * chunk, 1.0F}});
  EXPECT_EQ(equal.argmax, 0);
  EXPECT_NEAR(equal.log_sum_exp, 1.0 + std::log(3.0), 1e-7);
  // What is not a number shows in the sum, but hides no maximum.
  const LogitsSummary broken = with({{3, nan}, {chunk + 7, 2.0F}});
  EXPECT_EQ(broken.argmax, static_cast<TokenId>(chunk + 7));
  EXPECT_TRUE(std::isnan(broken.log_sum_exp));
}

MOEBIUS_FOR_ALL_ISAS(LmHeadTest);

}  // namespace
}  // namespace moebius::kernels
