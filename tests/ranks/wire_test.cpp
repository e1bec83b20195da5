// SPDX-License-Identifier: Apache-2.0
#include "ranks/wire.hpp"

#include <gtest/gtest.h>

namespace moebius::ranks {
namespace {

TEST(Wire, PartsOfABlockDoNotOverlapAndFit) {
  for (std::size_t rows = 1; rows <= 40; ++rows) {
    for (std::size_t k = 1; k <= 8; ++k) {
      const BlockLayout layout = dispatch_layout(rows, rows * k, 512);
      EXPECT_GE(layout.pairs_offset, rows * sizeof(RowTag));
      EXPECT_GE(layout.data_offset, layout.pairs_offset + rows * k * sizeof(ExpertPair));
      EXPECT_EQ(layout.data_offset % 64, 0U);
      EXPECT_EQ(layout.total_bytes, layout.data_offset + rows * 512);
    }
  }
}

TEST(Wire, MostRowsFitAndOneMoreDoesNot) {
  for (const std::size_t payload : {4096UL, 65536UL}) {
    const std::size_t rows = max_dispatch_rows(payload, 4, 512);
    EXPECT_LE(dispatch_layout(rows, rows * 4, 512).total_bytes, payload);
    EXPECT_GT(dispatch_layout(rows + 1, (rows + 1) * 4, 512).total_bytes, payload);
    const std::size_t outputs = max_output_rows(payload, 1024);
    EXPECT_LE(outputs_layout(outputs, 1024).total_bytes, payload);
    EXPECT_GT(outputs_layout(outputs + 1, 1024).total_bytes, payload);
  }
  EXPECT_EQ(max_dispatch_rows(256, 4, 512), 0U);
}

TEST(Wire, ReadingPastTheEndOfAPayloadIsAContractFailure) {
  const std::byte bytes[16] = {};
  EXPECT_NO_THROW((void)load_at<std::uint64_t>(bytes, 0, 1));
  EXPECT_THROW((void)load_at<std::uint64_t>(bytes, 0, 2), ContractError);
}

}  // namespace
}  // namespace moebius::ranks
