// SPDX-License-Identifier: Apache-2.0
#include "io/row_columns.hpp"

#include <algorithm>
#include <limits>
#include <string_view>

#include "base/check.hpp"
#include "io/row_digest.hpp"

namespace moebius::io {
namespace {

void append_text(std::string_view text, std::vector<std::uint8_t>& blob, std::vector<std::int64_t>& offsets) {
  blob.insert(blob.end(), text.begin(), text.end());
  offsets.push_back(static_cast<std::int64_t>(blob.size()));
}

std::string text_at(const std::vector<std::uint8_t>& blob, const std::vector<std::int64_t>& offsets, std::size_t row) {
  return {blob.begin() + offsets[row], blob.begin() + offsets[row + 1]};
}

/// Copies the row's top-k entries, filling up to the width of the table.
void append_topk(const Row& row, RowColumns& c) {
  const auto from = static_cast<std::size_t>(row.topk_width);
  const auto to = static_cast<std::size_t>(c.topk_width);
  for (std::size_t token = 0; token < row.token_ids.size(); ++token) {
    for (std::size_t k_idx = 0; k_idx < to; ++k_idx) {
      const bool there = k_idx < from;
      c.topk_id.push_back(there ? row.topk_ids[token * from + k_idx] : -1);
      c.topk_logprob.push_back(there ? row.topk_logprobs[token * from + k_idx]
                                     : std::numeric_limits<float>::quiet_NaN());
    }
  }
}

void append_row(const Row& row, RowColumns& c) {
  const Digest128 digest = row_digest(row);  // also checks the lengths of the vectors
  append_text(row.custom_id, c.custom_id, c.custom_id_offsets);
  append_text(row.message, c.message, c.message_offsets);
  append_text(row.text, c.text, c.text_offsets);
  c.input_line.push_back(row.input_line);
  c.choice_idx.push_back(row.choice_idx);
  c.status.push_back(static_cast<std::uint8_t>(row.status));
  c.num_prompt_tokens.push_back(row.num_prompt_tokens);
  c.num_output_tokens.push_back(row.num_output_tokens);
  c.finish_reason.push_back(static_cast<std::uint8_t>(row.finish_reason));
  c.sum_logprob.push_back(row.sum_logprob);
  c.is_greedy.push_back(row.is_greedy ? 1 : 0);
  c.num_bytes.push_back(row.num_bytes);
  c.label.push_back(row.label);
  c.digest_low.push_back(digest.low);
  c.digest_high.push_back(digest.high);
  c.token_id.insert(c.token_id.end(), row.token_ids.begin(), row.token_ids.end());
  c.token_logprob.insert(c.token_logprob.end(), row.token_logprobs.begin(), row.token_logprobs.end());
  c.token_offsets.push_back(static_cast<std::int64_t>(c.token_id.size()));
  append_topk(row, c);
}

void take_tokens(const RowColumns& c, std::size_t row_idx, Row& row) {
  const std::int64_t first = c.token_offsets[row_idx], last = c.token_offsets[row_idx + 1];
  row.token_ids.assign(c.token_id.begin() + first, c.token_id.begin() + last);
  row.token_logprobs.assign(c.token_logprob.begin() + first, c.token_logprob.begin() + last);
  for (std::int64_t token = first; token < last; ++token)
    row.topk_width =
        std::max(row.topk_width, num_topk(c.topk_id.data() + token * c.topk_width, static_cast<int>(c.topk_width)));
  for (std::int64_t token = first; token < last; ++token) {
    const std::int64_t begin = token * c.topk_width, end = begin + row.topk_width;
    row.topk_ids.insert(row.topk_ids.end(), c.topk_id.begin() + begin, c.topk_id.begin() + end);
    row.topk_logprobs.insert(row.topk_logprobs.end(), c.topk_logprob.begin() + begin, c.topk_logprob.begin() + end);
  }
}

}  // namespace

RowColumns to_columns(std::span<const Row> rows) {
  RowColumns c;
  for (const Row& row : rows) c.topk_width = std::max<std::int64_t>(c.topk_width, row.topk_width);
  for (const Row& row : rows) append_row(row, c);
  return c;
}

std::vector<Row> to_rows(const RowColumns& c) {
  std::vector<Row> rows(c.num_rows());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    MOEBIUS_EXPECT(c.status[i] != missing_status);
    Row& row = rows[i];
    row.custom_id = text_at(c.custom_id, c.custom_id_offsets, i);
    row.input_line = c.input_line[i];
    row.choice_idx = c.choice_idx[i];
    row.status = static_cast<RowStatus>(c.status[i]);
    row.message = text_at(c.message, c.message_offsets, i);
    row.num_prompt_tokens = c.num_prompt_tokens[i];
    row.num_output_tokens = c.num_output_tokens[i];
    row.finish_reason = static_cast<FinishReason>(c.finish_reason[i]);
    row.sum_logprob = c.sum_logprob[i];
    row.is_greedy = c.is_greedy[i] == 1;
    row.num_bytes = c.num_bytes[i];
    row.label = c.label[i];
    row.text = text_at(c.text, c.text_offsets, i);
    take_tokens(c, i, row);
  }
  return rows;
}

}  // namespace moebius::io
