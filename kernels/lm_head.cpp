// SPDX-License-Identifier: Apache-2.0
#include "kernels/lm_head.hpp"

#include <algorithm>
#include <array>

#include "base/check.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/panel.hpp"
#include "kernels/row_pieces.hpp"
#include "kernels/workspace.hpp"

namespace moebius::kernels {

namespace {

static_assert(logits_chunk % max_strip_columns == 0);

/// From row to row of a chunk: a cache line more than the chunk, since rows that lie a power of two apart would meet
/// in few sets of a cache.
constexpr int chunk_stride = logits_chunk + vector_width;

struct Gathered {
  int first_row, num_rows;
  TokenId first_token;
  int num_tokens;
  const float* logits;  // [num_rows, num_tokens] at chunk_stride
};

void gather(const Gathered& chunk, std::span<WantedLogit> wanted) {
  for (WantedLogit& want : wanted) {
    const int row = want.row - chunk.first_row;
    const TokenId column = want.token - chunk.first_token;
    if (row < 0 || row >= chunk.num_rows || column < 0 || column >= chunk.num_tokens) continue;
    want.logit = chunk.logits[std::int64_t{row} * chunk_stride + column];
  }
}

}  // namespace

void summarise_head(const PackedMatrix& lm_head, RowsView x, std::span<LogitsSummary> summaries, std::span<WantedLogit> wanted) {
  const auto num_rows = static_cast<int>(summaries.size());
  if (num_rows == 0) return;
  MOEBIUS_EXPECT(lm_head.num_out() > 0 && x.type == lm_head.type() && (num_rows == 1 || x.row_stride >= lm_head.num_in()));
  for (const WantedLogit& want : wanted) {
    MOEBIUS_EXPECT(want.row >= 0 && want.row < num_rows && want.token >= 0 && want.token < lm_head.num_out());
  }
  thread_local Workspace of_pieces, of_logits;
  const KernelTable& kernels = active_kernels();
  for_row_blocks(num_rows, [&](int first_row, int rows) {
    float* pieces = of_pieces.floats(pieces_size(kernels, x.type, rows, lm_head.num_in()));
    float* logits = of_logits.floats(static_cast<std::size_t>(rows) * chunk_stride);
    std::array<LogitsSums, max_strip_rows> sums;
    cut_rows(kernels, x, first_row, rows, lm_head.num_in(), pieces);
    for (int token = 0; token < lm_head.num_out(); token += logits_chunk) {
      const int num_tokens = std::min(logits_chunk, lm_head.num_out() - token);
      multiply_pieces(kernels, lm_head.outputs(token, num_tokens), pieces, rows, RowsOut{.data = logits, .row_stride = chunk_stride});
      Kokkos::parallel_for("log-softmax", HostRange(0, rows), [&sums, logits, num_tokens](const int row) {
        sums[static_cast<std::size_t>(row)].add({logits + std::int64_t{row} * chunk_stride, static_cast<std::size_t>(num_tokens)});
      });
      gather({first_row, rows, token, num_tokens, logits}, wanted);
    }
    for (int row = 0; row < rows; ++row) {
      summaries[static_cast<std::size_t>(first_row + row)] = sums[static_cast<std::size_t>(row)].summary();
    }
  });
}

}  // namespace moebius::kernels
